"""Who had a connection cut for its violations is trusted with fewer for a while; nobody else is."""

import pytest

from dadmsd.bus.core.events import Cut, Received, Who
from dadmsd.bus.core.offenders import FORKED, MOST, PROBATION, Offenders
from dadmsd.bus.core.state import Bounds
from tests.unit.bus.room import Guest, Room

MANY, FEW = Bounds().violations, Bounds().violations_again


def _violations(guest: Guest) -> int:
    """Give how many violations a connection had before it was cut."""
    count = 0
    while not guest.is_cut:
        guest.frames(b"\xc1", b"")
        count += 1
    return count


def test_who_was_cut_is_cut_sooner_until_its_probation_is_over() -> None:
    """Each further cut begins it anew."""
    room = Room()
    assert [_violations(room.guest()) for _ in range(3)] == [MANY, FEW, FEW]
    room.pass_time(PROBATION - 1)
    assert _violations(room.guest()) == FEW
    room.pass_time(PROBATION - 1)
    assert _violations(room.guest()) == FEW
    room.pass_time(PROBATION + 1)
    assert _violations(room.guest()) == MANY


@pytest.mark.parametrize(
    "other",
    [Who(1000, 4243), Who(1001, 4242), Who(-1, -1, (), "key", "public", "10.0.0.1")],
    ids=["another process", "another user", "over a network"],
)
def test_others_are_trusted_as_before(other: Who) -> None:
    room = Room()
    _violations(room.guest())
    guest = room.guest()
    guest.who = other
    assert _violations(guest) == MANY


def test_a_connection_that_was_there_has_its_own_count() -> None:
    """Nine violations on one that goes on, however often its process was cut elsewhere."""
    room = Room()
    member = room.member()
    for _ in range(FEW - 1):
        member.frames(b"\xc1", b"")
    _violations(room.guest())
    _violations(room.guest())
    member.take()
    member.hello()
    assert not member.is_cut


def test_a_connection_that_is_cut_for_violations_rests_first() -> None:
    """Others are cut at once: who chose its routing id here."""
    room = Room()
    guest = room.guest()
    for _ in range(MANY - 1):
        guest.frames(b"\xc1", b"")
    effects = room.do(Received(guest.peer, guest.uid, 4242, [b"\xc1", b""]))
    assert [effect.rest for effect in effects if isinstance(effect, Cut)] == [Bounds().rest]
    chosen = room.guest()
    chosen.peer = chosen.peer._replace(route=b"chosen")
    room.guests[chosen.peer] = chosen
    effects = room.do(Received(chosen.peer, chosen.uid, 4242, [b"\xc1", b""]))
    assert [effect.rest for effect in effects if isinstance(effect, Cut)] == [0.0]


def test_offenders_are_bounded() -> None:
    """The oldest is forgotten, not the one that goes on."""
    offenders = Offenders(Bounds())
    offenders.note(Who(1, 1), 0.0)
    offenders.note(Who(1, 2), 0.0)
    offenders.note(Who(1, 1), 1.0)
    for pid in range(MOST - 1):
        offenders.note(Who(2, pid), 2.0)
    assert [offenders.most(Who(1, pid), 3.0) for pid in (1, 2)] == [FEW, MANY]


@pytest.mark.parametrize(
    ("forked", "innocent"),
    [
        ([Who(1001, 5000 + number) for number in range(FORKED)], Who(1002, 6000)),
        (
            [Who(-1, -1, (), "key", "public", f"10.0.0.{number}") for number in range(FORKED)],
            Who(-1, -1, (), "other", "public", "10.0.1.1"),
        ),
    ],
    ids=["a user's processes", "a key's addresses"],
)
def test_who_forks_for_its_violations_is_one_offender(forked: list[Who], innocent: Who) -> None:
    """However many pids it has, or addresses: from the eighth on all that are new have the few, for as long as eight of them would; nobody else has."""
    offenders, new = Offenders(Bounds()), forked[0]._replace(pid=4999, address="10.0.2.1" if forked[0].address else "")
    for number, who in enumerate(forked):
        assert offenders.most(new, float(number)) == MANY
        offenders.note(who, float(number))
    last = float(FORKED - 1)
    assert [offenders.most(who, last) for who in (new, innocent)] == [FEW, MANY]
    assert offenders.most(new, PROBATION - 0.1) == FEW
    assert offenders.most(new, PROBATION + 0.1) == MANY


def test_one_process_that_is_cut_over_and_over_takes_no_trust_from_its_user() -> None:
    """It is one offender, each time."""
    offenders = Offenders(Bounds())
    for number in range(3 * FORKED):
        offenders.note(Who(1001, 5000), float(number))
    assert [offenders.most(Who(1001, pid), 30.0) for pid in (5000, 5001)] == [FEW, MANY]


def test_users_of_offenders_are_bounded() -> None:
    """The one whose last offender is longest ago is forgotten."""
    offenders = Offenders(Bounds())
    for uid in (1, 2):
        for pid in range(FORKED):
            offenders.note(Who(uid, pid), 0.0)
    offenders.note(Who(1, FORKED), 1.0)
    for uid in range(MOST - 1):
        offenders.note(Who(10 + uid, 1), 2.0)
    assert [offenders.most(Who(uid, 99), 3.0) for uid in (1, 2)] == [FEW, MANY]
