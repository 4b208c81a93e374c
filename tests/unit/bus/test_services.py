"""Names that clients offer: whose they may be, whom they reach, and when they are free again."""

import pytest

from dadms_ipc.envelope import OK, Door, Flag, Kind
from dadmsd.bus.core import broadcasts, offers
from dadmsd.bus.core.events import Vanished, Who
from dadmsd.bus.core.offers import Offerers
from dadmsd.kernel import link
from tests.unit.bus.room import Guest, Room

SERVICES = {"prices": Offerers(frozenset({1001, 1002}), frozenset({50}), frozenset({"laptop"}))}


def _offer(room: Room, name: str = "prices", *, uid: int = 1000, who: Who | None = None, client: bytes | None = None) -> Guest:
    """Have somebody say hello with a name."""
    guest = room.guest(uid=uid, client=client)
    guest.who = who
    return guest.hello(service=name)


def _reason(guest: Guest) -> str:
    return guest.reason().partition(": ")[2]


def test_no_service_is_called_as_a_scope_of_broadcasts_is() -> None:
    assert {scope.partition("/")[0] for scope in broadcasts.SCOPES} == offers.SCOPES


def test_a_name_reaches_who_offers_it() -> None:
    """As a request, a message and a run would; the answer comes from its address, as all it says."""
    room = Room()
    service, asker = _offer(room), room.member()
    service.take()
    asked = asker.say(Kind.REQUEST, b"x8", to="prices", topic="t")
    header, body = service.only()
    assert (header.kind, header.id, header.to, body) == (Kind.REQUEST, asked, "prices", b"x8")
    service.say(Kind.RESPONSE, b"81", id=b"", topic=OK, correlation=asked)
    header, body = asker.only()
    assert (header.topic, body) == (OK, b"81")
    assert header.sender.startswith("client/")
    assert list(room.bus.status()["services"]) == ["prices"]  # type: ignore[call-overload]  # a map, among other things


@pytest.mark.parametrize(
    ("uid", "who", "name", "why"),
    [
        (1000, None, "7", "a name is letters"),
        (1000, None, "a/b", "a name is letters"),
        (1000, None, "client", "it is the daemon's own"),
        (1000, None, "all", "it is a scope of broadcasts"),
        (1000, None, "children", "it is a scope of broadcasts"),
        (1001, None, "other", "[access] services does not give it to uid 1001 pid 4242"),
        (1002, None, "prices", "the role operate is needed, yours is observe"),
        (1000, None, "name", "process 1001 has that name"),
    ],
)
def test_who_may_not_have_a_name_is_refused_and_written_down(uid: int, who: Who | None, name: str, why: str) -> None:
    room = Room(services=SERVICES)
    room.enroll(1001)
    guest = _offer(room, name, uid=uid, who=who)
    assert _reason(guest).startswith(why)
    assert [line.verdict for line in room.lines] == ["refused"]
    assert guest.hello().kinds() == [Kind.WELCOME]  # without the name it is welcome


@pytest.mark.parametrize("who", [None, Who(3000, 7, (50,))])
def test_the_configuration_gives_names_to_users_and_groups(who: Who | None) -> None:
    room = Room(services=SERVICES, groups={50: "operate"})
    assert _offer(room, uid=1001, who=who).kinds() == [Kind.WELCOME]


def test_a_process_has_the_name_that_it_was_spawned_with() -> None:
    room = Room()
    guest = room.guest().hello(room.enroll(1001), service="prices")
    assert _reason(guest) == "a process has the name that it was spawned with"


def test_who_comes_second_is_told_who_has_it_until_that_one_ends() -> None:
    room = Room()
    first = _offer(room)
    first.take()
    assert " (uid 1000 pid 4242) has it" in _reason(_offer(room))
    first.say(Kind.BYE, id=b"")
    second = _offer(room)
    assert second.kinds() == [Kind.WELCOME]
    room.do(Vanished(second.peer, True, True))
    assert _offer(room).kinds() == [Kind.WELCOME]


def test_a_holder_that_is_away_gives_way_to_its_own_user_alone() -> None:
    """It is most likely the same program, started again; when the first comes back, it is second."""
    room = Room(services=SERVICES)
    first = _offer(room, uid=1001)
    room.do(Vanished(first.peer, True, False))
    assert "has it" in _reason(_offer(room))
    assert _offer(room, uid=1001).kinds() == [Kind.WELCOME]
    assert "has it" in _reason(_offer(room, uid=1001, client=first.client))


def test_a_session_has_its_name_at_both_doors_and_lets_go_of_it_without() -> None:
    room = Room()
    service = _offer(room)
    other = room.guest(Door.CONTROL, client=service.client).hello(service="prices")
    assert other.kinds() == [Kind.WELCOME]
    service.hello()
    assert room.bus.services.holders == {}


def test_a_process_that_is_started_later_makes_the_name_ambiguous() -> None:
    room = Room()
    _offer(room, "name")
    room.enroll(1001)
    asker = room.member()
    asker.say(Kind.REQUEST, to="name", topic="t")
    assert "and process 1001 have that name" in asker.reason()


def test_what_is_for_clients_of_the_bus_before_waits_a_moment_for_them() -> None:
    """For a service by its name, for a client by its address; who does not come in time is refused."""
    room = Room(reunion=1.0)
    asker = room.member()
    asked = asker.say(Kind.REQUEST, b"x8", to="prices", topic="t", flags=int(Flag.RETRY))
    room.pass_time(0.5)
    service = _offer(room)
    assert [header.id for header, _ in service.take() if header.kind == Kind.REQUEST] == [asked]
    away = service.client.hex()[:12].replace("0", "f")
    for to in ("other", f"client/{away}"):
        asker.say(Kind.REQUEST, to=to, topic="t")
    assert asker.heard == []
    room.pass_time(0.7)
    assert asker.kinds() == [Kind.REFUSE, Kind.REFUSE]
    asker.say(Kind.REQUEST, to="other", topic="t")
    assert "nobody of that address" in asker.reason()


def test_a_reunion_waits_for_the_roster() -> None:
    """Whose processes have names as well."""
    room = Room(has_roster=False, reunion=1.0)
    asker = room.member()
    asker.say(Kind.REQUEST, to="prices", topic="t", deadline=60_000)
    room.pass_time(3.0)
    assert asker.heard == []
    room.attach_kernel(link.Expected(1001, "other"))
    room.pass_time(0.3)
    assert "nobody of that address" in asker.reason()
