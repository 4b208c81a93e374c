"""Who may speak, and as whom."""

from collections.abc import Callable

import pytest

from dadms_ipc.codec import decode_body, encode_body, encode_header
from dadms_ipc.envelope import (
    NO_SESSION,
    REFUSED,
    VERSION,
    VIOLATION,
    WRONG_VERSION,
    Door,
    Header,
    Hello,
    Identity,
    Invite,
    Kind,
    Welcome,
    message_id,
)
from dadmsd.bus.core.auditing import BURST
from dadmsd.bus.core.events import Audit, Grant, KeysChanged, Noted, Peer, Received, Vanished, Who
from dadmsd.bus.core.state import Bounds
from dadmsd.kernel import link
from tests.unit.bus.room import BUS, Guest, Room


def test_a_new_connection_is_invited() -> None:
    """With the bus's id and the versions that it speaks."""
    guest = Room().guest()
    guest.frames(b"")
    header, body = guest.only()
    assert header.kind == Kind.INVITE
    assert decode_body(body, Invite) == Invite(BUS, [VERSION])


def test_a_hello_is_welcomed_with_its_address_and_role() -> None:
    """The role is that of the uid."""
    for uid, role in ((0, "admin"), (1001, "operate"), (1002, "observe")):
        guest = Room().guest(uid=uid).hello()
        header, body = guest.only()
        assert header.correlation == message_id(guest.client, guest.sequence)
        assert decode_body(body, Welcome) == Welcome(BUS, VERSION, f"client/{guest.client.hex()[:12]}", role)


def test_a_uid_without_a_role_is_refused_and_written_down() -> None:
    """Whatever it knows of the protocol."""
    room = Room()
    guest = room.guest(uid=7).hello()
    assert guest.reason() == "cannot speak with uid 7: it has no role here"
    assert room.audits == ["refused uid 7 pid 4242: cannot speak with uid 7: it has no role here"]


def test_a_process_proves_itself_with_its_secret() -> None:
    """Its role and uid are the process's, not the connection's."""
    room = Room()
    identity = room.enroll(1001)
    guest = room.guest(Door.CONTROL, uid=7).hello(identity)
    assert decode_body(guest.only()[1], Welcome) == Welcome(BUS, VERSION, "1001", "operate")
    guest.say(Kind.CALL, b"\x80")
    (request,) = room.asked
    assert isinstance(request, link.Request)
    assert (request.uid, request.role, request.origin) == (2000, "operate", "process 1001.1")


def test_a_wrong_secret_of_a_living_process_is_refused_at_once() -> None:
    """There is nothing to wait for."""
    room = Room()
    room.enroll(1001)
    guest = room.guest().hello(Identity(1001, 1, b"guess"))
    assert "cannot speak as process 1001.1" in guest.reason()
    assert room.counter("identity_refused") == 1


def test_a_hello_may_be_a_little_ahead_of_its_enrolment() -> None:
    """The kernel's word travels another way."""
    room = Room()
    early, absent = room.guest().hello(room.identity(1001)), room.guest().hello(room.identity(1002))
    room.pass_time(0.4)
    assert early.heard == []
    room.enroll(1001)
    assert early.kinds() == [Kind.WELCOME]
    room.pass_time(0.2)
    assert "cannot speak as process 1002.1" in absent.reason()


def test_a_hello_does_not_wait_for_a_connection_that_another_has_replaced() -> None:
    """Who has a session, says hello as a process that is not there yet, and connects anew: nobody is told anything over the old connection."""
    room = Room()
    old = room.member()
    old.hello(room.identity(1001))
    room.guest(client=old.client).hello()
    assert room.forgotten == [old.peer]
    room.enroll(1001)
    room.pass_time(1)
    assert old.heard == []


def test_before_the_roster_a_hello_waits_as_long_as_it_takes() -> None:
    """A fresh bus knows nobody; then the right ones are welcomed and the others refused."""
    room = Room(has_roster=False)
    right, wrong = room.guest().hello(room.identity(1001)), room.guest().hello(Identity(1001, 1, b"guess"))
    absent = room.guest().hello(room.identity(1002))
    room.pass_time(60)
    assert (right.heard, wrong.heard, absent.heard) == ([], [], [])
    room.attach_kernel(room.entry(room.identity(1001)))
    assert right.kinds() == [Kind.WELCOME]
    assert "cannot speak as" in wrong.reason()
    room.pass_time(1)
    assert "cannot speak as" in absent.reason()


def test_one_client_has_one_session_over_both_doors() -> None:
    """A later connection at the same door takes the place of the earlier."""
    room = Room()
    data = room.member()
    control = room.guest(Door.CONTROL, client=data.client).hello()
    assert control.kinds() == [Kind.WELCOME]
    assert len(room.bus.admission.sessions) == 1
    again = room.guest(Door.CONTROL, client=data.client).hello()
    assert again.kinds() == [Kind.WELCOME]
    assert room.forgotten == [control.peer]
    again.hello()
    assert again.kinds() == [Kind.WELCOME]
    assert len(room.bus.admission.connections) == 2


def test_a_session_is_not_entered_by_others() -> None:
    """Neither from another uid nor as another process."""
    room = Room()
    identity = room.enroll(1001)
    client, process = room.member(), room.member(identity)
    assert room.guest(client=client.client, uid=0).hello().reason() == "cannot speak in a session that somebody else opened"
    assert room.guest(client=process.client).hello().reason() == "cannot speak in a session that somebody else opened"
    assert room.guest(client=client.client).hello(identity).reason() == "cannot speak in a session that somebody else opened"
    assert room.guest(client=process.client, uid=5).hello(identity).kinds() == [Kind.WELCOME]


def test_a_connection_keeps_its_client() -> None:
    """Another client id on it is a violation."""
    room = Room()
    guest = room.member()
    guest.client = b"other" + bytes(11)
    guest.hello()
    header, _ = guest.only()
    assert header.topic == VIOLATION


def test_clients_whose_ids_begin_alike_have_addresses_of_their_own() -> None:
    """The short address is a convenience, not a key."""
    room = Room()
    one, two = b"same prefix" + b"12345", b"same prefix" + b"67890"
    first, second = room.guest(client=one).hello(), room.guest(client=two).hello()
    addresses = [decode_body(guest.only()[1], Welcome).address for guest in (first, second)]
    assert addresses == [f"client/{one.hex()[:12]}", f"client/{two.hex()}"]


def test_versions_are_agreed_or_refused() -> None:
    """A client of the future may still speak ours."""
    room = Room()
    guest = room.guest()
    guest.say(Kind.HELLO, encode_body(Hello(guest.client, [7])))
    header, _ = guest.only()
    assert header.topic == WRONG_VERSION
    guest.say(Kind.HELLO, encode_body(Hello(guest.client, [7, VERSION])))
    assert guest.kinds() == [Kind.WELCOME]
    guest.frames(encode_header(Header(9, Kind.PUBLISH, bytes(24))), b"")
    assert guest.only()[0].topic == WRONG_VERSION


def test_nothing_is_done_without_a_session() -> None:
    """Everything but goodbyes and credit is told to say hello first."""
    room = Room()
    for kind, door in ((Kind.CALL, Door.CONTROL), (Kind.SEND, Door.DATA), (Kind.ACK, Door.DATA)):
        guest = room.guest(door)
        guest.say(kind)
        assert guest.only()[0].topic == NO_SESSION
    for kind in (Kind.BYE, Kind.CREDIT):
        guest = room.guest()
        guest.say(kind, b"\x01")
        assert guest.heard == []


def test_observers_only_look() -> None:
    """The role decides, and who tried is written down."""
    room = Room()
    guest = room.member(uid=1002)
    guest.say(Kind.SUBSCRIBE, topic="a")
    assert guest.kinds() == [Kind.ACK]
    for kind in (Kind.SEND, Kind.REQUEST, Kind.PUBLISH):
        guest.say(kind, to="1001", topic="a")
        assert guest.reason() == f"cannot {kind.name.lower()}: the role operate is needed, yours is observe"
    assert len(room.audits) == 3


def test_a_session_speaks_as_itself_and_its_threads() -> None:
    """Not as others, nor as names that begin alike."""
    room = Room()
    guest = room.member(room.enroll(1001))
    for sender in ("1002", "10011", "1001x", "kernel"):
        guest.say(Kind.PUBLISH, topic="a", sender=sender)
        assert guest.reason() == f'cannot speak as "{sender}": this session is "1001"'
    guest.say(Kind.SUBSCRIBE, topic="a")
    guest.take()
    for sender in ("1001", "1001/17"):
        guest.say(Kind.PUBLISH, topic="a", sender=sender)
        assert guest.only()[0].sender == sender


def test_ids_are_the_clients_own() -> None:
    """A message with another's id could answer for another's message."""
    guest = Room().member()
    for identifier in (b"", b"x" * 24, guest.client, guest.client + bytes(7)):
        guest.say(Kind.PUBLISH, topic="a", id=identifier)
        assert guest.only()[0].topic == VIOLATION


def test_the_ends_of_processes_end_their_sessions() -> None:
    """With the reason; a late word of the dead is told to say hello."""
    room = Room()
    identity = room.enroll(1001)
    process, client = room.member(identity), room.member()
    room.hear(link.Discharged(1001, 2))
    assert process.heard == []
    room.hear(link.Discharged(1001, 1))
    header, body = process.only()
    assert (header.kind, decode_body(body, dict)) == (Kind.BYE, {"message": "process 1001.1 ended"})
    process.say(Kind.PUBLISH, topic="a")
    assert process.only()[0].topic == NO_SESSION
    assert client.heard == []
    room.hear(link.Discharged(1001, 1))


def test_a_new_incarnation_ends_the_sessions_of_the_old() -> None:
    """One process, one living incarnation."""
    room = Room()
    old = room.member(room.enroll(1001, 1))
    new_identity = room.enroll(1001, 2)
    assert old.kinds() == [Kind.BYE]
    assert room.member(new_identity)
    room.enroll(1001, 2)
    assert len(room.bus.admission.sessions) == 1


def test_a_roster_ends_the_sessions_of_who_is_not_on_it() -> None:
    """And only when it is complete; a process that ends while it is sent is not on it."""
    room = Room()
    one, two, three = room.enroll(1001), room.enroll(1002), room.enroll(1003)
    stays, goes, ends = room.member(one), room.member(two), room.member(three)
    room.detach_kernel()
    room.attach_kernel(room.entry(one), room.entry(three), epoch=2)
    assert (stays.heard, goes.kinds(), ends.heard) == ([], [Kind.BYE], [])
    room.hear(link.KernelHello("boot", "1"), epoch=3)
    room.hear(room.entry(one), epoch=3)
    room.hear(room.entry(three), epoch=3)
    room.hear(link.Discharged(1003, 1), epoch=3)
    assert ends.kinds() == [Kind.BYE]
    room.hear(link.RosterSent(1), epoch=3)
    assert stays.heard == []


def test_a_roster_without_a_beginning_changes_nobody() -> None:
    """A kernel that says only its end is taken at its word about who was enrolled before."""
    room = Room(has_roster=False)
    identity = room.enroll(1001)
    room.hear(link.RosterSent(1))
    assert room.member(identity)


def test_a_session_that_loses_one_of_two_connections_goes_on() -> None:
    """It is not gone."""
    room = Room()
    data = room.member()
    control = room.guest(Door.CONTROL, client=data.client).hello()
    room.do(Vanished(control.peer, is_gone=True))
    room.pass_time(20)
    data.say(Kind.SUBSCRIBE, topic="a")
    assert data.kinds() == [Kind.ACK]


def test_saying_goodbye_at_one_door_leaves_the_other() -> None:
    """Answers may still be on their way there; the session ends with the last."""
    room = Room()
    data = room.member()
    control = room.guest(Door.CONTROL, client=data.client).hello()
    control.say(Kind.BYE)
    assert len(room.bus.admission.sessions) == 1
    data.say(Kind.BYE)
    assert room.bus.admission.sessions == {}
    assert room.asked == [link.ClientGone(data.client)]


def test_a_session_without_connections_is_kept_for_a_while() -> None:
    """A client that was cut finds its subscriptions again; one that stays away is gone for good."""
    room = Room()
    guest = room.member()
    guest.say(Kind.SUBSCRIBE, topic="a")
    room.do(Vanished(guest.peer, is_gone=True))
    room.pass_time(9)
    back = room.guest(client=guest.client).hello()
    back.say(Kind.PUBLISH, topic="a")
    assert back.kinds() == [Kind.WELCOME, Kind.PUBLISH]
    room.do(Vanished(back.peer, is_gone=True))
    room.pass_time(10.1)
    assert room.bus.admission.sessions == {}
    assert room.asked == [link.ClientGone(guest.client)]


def test_a_connection_that_does_not_read_is_cut() -> None:
    """What is gone needs no cutting; what is not known changes nothing."""
    room = Room()
    guest, gone = room.member(), room.member()
    room.do(Vanished(guest.peer, is_gone=False))
    room.do(Vanished(gone.peer, is_gone=True))
    room.do(Vanished(gone.peer, is_gone=True))
    assert (guest.is_cut, gone.is_cut) == (True, False)
    assert room.forgotten == [guest.peer, gone.peer]
    assert room.counter("vanished") == 3


def test_a_suspended_process_is_not_cut_for_being_slow() -> None:
    """What its connection did not take waits for it; one that has more than may wait is cut all the same."""
    room = Room()
    process = room.member(room.enroll(1001))
    room.hear(link.Paused(1001, is_paused=True))
    room.do(Vanished(process.peer, is_gone=False, is_slow=True))
    assert not process.is_cut
    room.do(Vanished(process.peer, is_gone=False))
    assert process.is_cut
    other = room.member(room.enroll(1002))
    room.do(Vanished(other.peer, is_gone=False, is_slow=True))
    assert other.is_cut


def test_a_connection_without_a_session_is_cut_in_time() -> None:
    """It holds a descriptor for nothing; one whose hello waits is not to blame."""
    room = Room(has_roster=False)
    silent, waiting, member = room.guest(), room.guest(), room.guest()
    silent.frames(b"")
    waiting.hello(room.identity(1001))
    room.pass_time(5)
    member.hello()
    room.pass_time(5.2)
    assert (silent.is_cut, waiting.is_cut, member.is_cut) == (True, False, False)


def test_connections_and_sessions_are_bounded() -> None:
    """With the numbers."""
    room = Room(connections=2, sessions=1)
    room.member()
    assert room.guest().hello().reason() == "too many sessions: 1, at most 1"
    third = room.guest().hello()
    assert third.reason() == "too many connections: 2, at most 2"
    assert third.is_cut


def test_a_chosen_routing_id_is_turned_away() -> None:
    """It could be chosen again by somebody else."""
    room = Room()
    guest = room.guest()
    guest.peer = Peer(Door.DATA, b"chosen")
    room.guests[guest.peer] = guest
    guest.frames(b"")
    assert "does not choose its routing id" in guest.reason()
    assert guest.is_cut
    assert room.bus.admission.connections == {}


def test_connections_are_looked_at_from_time_to_time() -> None:
    """ROUTER tells of a connection that is gone only when it is written to; thousands are looked at in slices."""
    room = Room()
    guest = room.member()
    room.pass_time(29)
    assert guest.pings == 0
    room.pass_time(2)
    assert guest.pings == 1
    members = [room.member() for _ in range(299)]
    room.pass_time(30)
    assert sum(member.pings for member in members) == 256
    room.do(Vanished(members[0].peer, is_gone=True))  # it was to be in the second slice
    room.pass_time(15)
    assert {member.pings for member in members[1:]} == {1}
    assert members[0].pings == 0
    for one in [guest, *members]:
        room.do(Vanished(one.peer, is_gone=True))
    room.pass_time(60)
    assert room.bus.next_deadline() is None


def test_audit_lines_are_bounded_for_each_origin() -> None:
    """A flood of refusals is summed up at its period's end, and hides nobody else's."""
    room = Room()
    room.enroll(1001)
    for _ in range(60):
        room.guest().hello(Identity(1001, 1, b"guess"))
    assert len(room.audits) == 20
    room.guest(uid=7).hello()
    assert room.audits[20] == "refused uid 7 pid 4242: cannot speak with uid 7: it has no role here"
    room.pass_time(9)
    assert len(room.audits) == 21
    room.pass_time(1)
    assert room.audits[21].startswith("40 lines about uid 1000 pid 4242 were left out, the last: cannot speak as process 1001.1")
    assert room.counter("audits_silenced") >= 40


def test_origins_beyond_a_bound_share_their_lines() -> None:
    """Whoever forks for each refusal does not get a burst each."""
    room = Room()
    for pid in range(300):
        guest = room.guest(uid=7)
        guest.who = Who(7, pid)
        guest.hello()
    assert len(room.audits) == 256 + 20
    room.pass_time(20)
    assert room.audits[-1].startswith("24 lines about many others were left out")


@pytest.mark.parametrize(
    "frames",
    [
        (b"a", b"b", b"c"),
        (b"\xc1", b""),
        (encode_header(Header(VERSION, 999)), b""),
        (encode_header(Header(VERSION, Kind.WELCOME)), b""),
        (encode_header(Header(VERSION, Kind.HELLO)), b"\xc1"),
        (encode_header(Header(VERSION, Kind.BATCH)), b"\xc1"),
        (encode_header(Header(VERSION, Kind.BATCH)), b"\xc4\0" * (600 * 1024)),
        (encode_header(Header(VERSION, Kind.CALL, bytes(24))), b""),
    ],
)
def test_what_breaks_the_protocol_is_answered_and_counted(frames: tuple[bytes, ...]) -> None:
    """One violation each; a hundred of them cut the connection."""
    room = Room()
    guest = room.guest()
    for _ in range(99):
        guest.frames(*frames)
        assert guest.only()[0].topic == VIOLATION
    assert not guest.is_cut
    guest.frames(*frames)
    assert guest.is_cut
    assert room.counter("violations") == 100
    assert "sent 100 broken messages" in room.audits[-1]


def test_a_message_with_more_frames_than_were_kept_is_a_violation() -> None:
    """The shell drops what no message has, and says so."""
    guest = Room().member()
    guest.frames(encode_header(Header(VERSION, Kind.PUBLISH, bytes(24), topic="a")), b"", is_cut_short=True)
    assert guest.only()[0].topic == VIOLATION


def test_received_without_frames_is_a_violation() -> None:
    """A shell that gives nothing gets a violation, not an exception."""
    room = Room()
    guest = room.guest()
    room.do(Received(guest.peer, 1000, 1, []))
    assert guest.only()[0].topic == VIOLATION


def test_refused_is_not_a_violation() -> None:
    """A well-formed message that may not be done does not count against its connection."""
    room = Room()
    guest = room.member()
    for _ in range(150):
        guest.say(Kind.SEND, to="nobody", topic="t")
    assert {header.topic for header, _ in guest.take()} == {REFUSED}
    assert not guest.is_cut


def test_a_group_gives_its_role_and_the_strongest_one_counts() -> None:
    """Of all groups that the system says a process has."""
    room = Room(groups={50: "observe", 60: "operate"})
    for uid, gids, role in ((7, (50,), "observe"), (7, (1, 50, 60), "operate"), (1002, (60,), "operate"), (1000, (50,), "admin")):
        guest = room.guest(uid=uid)
        guest.who = Who(uid, 1, gids)
        assert decode_body(guest.hello().only()[1], Welcome).role == role
    guest = room.guest(uid=7)
    guest.who = Who(7, 1, (1, 2))
    assert guest.hello().reason() == "cannot speak with uid 7: it has no role here"


KEYS = {"laptop": Grant("P" * 40, "operate", 1000), "wall": Grant("Q" * 40, "observe", 65534)}
LAPTOP, WALL = Who(-1, -1, (), "laptop", "P" * 40, "10.0.0.5"), Who(-1, -1, (), "wall", "Q" * 40, "10.0.0.6")


def from_afar(room: Room, who: Who, door: Door = Door.CONTROL) -> Guest:
    """Let a key connect."""
    guest = room.guest(door, uid=-1)
    guest.who = who
    return guest


def test_a_key_has_the_role_and_the_user_of_its_entry() -> None:
    """And is told where the other door is; who it is travels with each request."""
    room = Room(keys=KEYS, doors={"data": 3018})
    guest = from_afar(room, LAPTOP).hello()
    welcome = decode_body(guest.only()[1], Welcome)
    assert (welcome.role, welcome.doors) == ("operate", {"data": 3018})
    guest.say(Kind.CALL, b"\x80")
    (request,) = room.asked
    assert isinstance(request, link.Request)
    assert (request.uid, request.role, request.origin) == (1000, "operate", 'key "laptop" at 10.0.0.5')
    assert decode_body(room.guest().hello().only()[1], Welcome).doors == {}


@pytest.mark.parametrize("who", [LAPTOP._replace(key="stolen"), LAPTOP._replace(public="Z" * 40), LAPTOP._replace(key="")])
def test_a_key_that_is_not_on_the_list_has_no_role(who: Who) -> None:
    """Nor has another key by the name of one that is."""
    room = Room(keys=KEYS)
    assert "it has no role here" in from_afar(room, who).hello().reason()
    assert len(room.audits) == 1


def test_a_process_does_not_speak_over_a_network() -> None:
    """Its secret would be all that is asked of it."""
    room = Room(keys=KEYS)
    identity = room.enroll(1001)
    assert "a process does so on its own host" in from_afar(room, LAPTOP).hello(identity).reason()


def test_a_key_does_not_enter_another_keys_session() -> None:
    """Nor that of a user of this machine, whose uid its entry may have."""
    room = Room(keys=KEYS)
    local = room.member(uid=1000)
    owner = from_afar(room, LAPTOP).hello()
    for client, who in ((owner.client, WALL), (local.client, LAPTOP)):
        thief = room.guest(client=client, uid=-1)
        thief.who = who
        assert thief.hello().reason() == "cannot speak in a session that somebody else opened"


def test_a_revoked_key_is_cut_at_once() -> None:
    """Over both doors, with the reason, and its session ends; the others stay."""
    room = Room(keys=KEYS)
    control, other = from_afar(room, LAPTOP).hello(), from_afar(room, WALL).hello()
    data = from_afar(room, LAPTOP, Door.DATA)
    data.client = control.client
    data.hello()
    silent = from_afar(room, LAPTOP)
    silent.frames(b"")
    for guest in (control, data, silent, other):
        guest.take()
    room.do(KeysChanged({"wall": KEYS["wall"]}))
    for guest in (control, data, silent):
        assert guest.is_cut
        assert guest.only()[0].kind == Kind.BYE
    assert not other.is_cut
    assert len(room.bus.admission.sessions) == 1
    assert room.audits[0] == 'cut a connection: key "laptop" was revoked'
    again = from_afar(room, LAPTOP)
    assert again.hello().reason() == 'cannot speak with key "laptop": it has no role here'


def test_a_revoked_key_without_a_connection_loses_its_session() -> None:
    """It would find its subscriptions and answers otherwise."""
    room = Room(keys=KEYS)
    guest = from_afar(room, LAPTOP).hello()
    kept = from_afar(room, WALL).hello()
    for one in (guest, kept):
        room.do(Vanished(one.peer, is_gone=True))
    room.do(KeysChanged({"wall": KEYS["wall"]}))
    assert list(room.bus.admission.sessions) == [kept.client]


def test_a_key_whose_role_changed_comes_back_with_the_new_one() -> None:
    """Its connection is cut without a word: its client connects again."""
    room = Room(keys=KEYS)
    guest = from_afar(room, LAPTOP).hello()
    guest.take()
    room.do(KeysChanged({"laptop": Grant("P" * 40, "observe", 1000)}))
    assert guest.is_cut
    assert guest.heard == []
    again = from_afar(room, LAPTOP)
    again.client = guest.client
    assert decode_body(again.hello().only()[1], Welcome).role == "observe"


def test_every_refused_message_is_written_down_with_who_what_and_why() -> None:
    """Whatever the reason."""
    room = Room()
    guest = room.member(uid=1001)
    guest.say(Kind.SEND, to="nobody", topic="t")
    guest.say(Kind.PUBLISH, topic="events/x")
    assert [(one.verdict, one.who, one.subject, one.what, one.why) for one in room.lines] == [
        ("refused", Who(1001, 4242), "uid 1001 pid 4242", "SEND", 'cannot reach "nobody": nobody of that address is connected'),
        ("refused", Who(1001, 4242), "uid 1001 pid 4242", "PUBLISH", 'cannot publish to "events/x": "events" is the daemon\'s own'),
    ]


OF_ANOTHER = message_id(b"q" * 16, 1)


@pytest.mark.parametrize(
    ("broken", "what", "why"),
    [
        (lambda guest: guest.frames(b"\xc1", b""), "message", "cannot read a header: "),
        (lambda guest: guest.say(99), "message", "a client does not send messages of kind 99"),
        (lambda guest: guest.say(Kind.CALL, to="kernel"), "CALL", "a CALL at the data door"),
        (lambda guest: guest.say(Kind.SEND, id=OF_ANOTHER, to="1001"), "SEND", "a message id is the client id of its session"),
        (
            lambda guest: guest.frames(encode_header(Header(2, Kind.SEND, b"", to="1001")), b""),
            "SEND",
            "cannot read version 2 of the protocol",
        ),
        (
            lambda guest: guest.say(Kind.HELLO, encode_body(Hello(b"z" * 16, [VERSION]))),
            "HELLO",
            "cannot change the client of a connection",
        ),
        (
            lambda guest: guest.say(Kind.HELLO, encode_body(Hello(guest.client, [2]))),
            "HELLO",
            "cannot speak with you: you know versions [2]",
        ),
    ],
    ids=[
        "no header",
        "a kind that there is not",
        "the wrong door",
        "another's id",
        "another version",
        "another client",
        "no common version",
    ],
)
def test_what_breaks_the_protocol_is_written_down_as_what_is_forbidden(broken: Callable[[Guest], object], what: str, why: str) -> None:
    """Each refusal is a line, as long as they are few."""
    room = Room()
    guest = room.member(uid=1001)
    broken(guest)
    (line,) = room.lines
    assert (line.verdict, line.who, line.what) == ("refused", Who(1001, 4242), what)
    assert line.why.startswith(why)


def test_an_answer_to_what_was_given_to_another_is_written_down() -> None:
    """It claims to be the other."""
    room = Room()
    asker, asked, forger = room.member(), room.member(), room.member(uid=1001)
    identifier = asker.say(Kind.REQUEST, to=f"client/{asked.client.hex()[:12]}")
    forger.say(Kind.RESPONSE, id=b"", topic="ok", correlation=identifier)
    (line,) = room.lines
    assert (line.verdict, line.who, line.what) == ("refused", Who(1001, 4242), "RESPONSE")
    assert line.why.endswith("answers a message that was not given to it")


def test_too_many_sessions_are_written_down() -> None:
    room = Room(sessions=1)
    room.member()
    room.guest().hello()
    assert [(line.verdict, line.what, line.why) for line in room.lines] == [("refused", "HELLO", "too many sessions: 1, at most 1")]


def test_nobodys_refusals_hide_that_it_was_cut_or_what_it_did_as_an_admin() -> None:
    """Each kind of line has a burst of its own."""
    room = Room()
    guest = room.member()
    for _ in range(Bounds().violations):
        guest.frames(b"\xc1", b"")
    assert [line.verdict for line in room.lines] == ["refused"] * BURST + ["cut"]
    admin = room.guest(Door.CONTROL).hello()
    admin.say(Kind.CALL, encode_body({"verb": "drop-dead-letters", "numbers": []}), to="bus")
    assert room.lines[-1].verdict == "did"


def test_what_a_door_has_to_say_is_bounded_as_well() -> None:
    """Whoever fails a hundred handshakes causes no hundred lines."""
    room = Room()
    who = Who(-1, -1, (), "", "", "10.0.0.9")
    for _ in range(100):
        room.do(Noted(Audit("refused somebody at 10.0.0.9: no key", "refused", who, "", "handshake", "no key")))
    assert len(room.lines) == 20
    assert room.lines[0] == Audit("refused somebody at 10.0.0.9: no key", "refused", who, "somebody at 10.0.0.9", "handshake", "no key")
    room.do(Noted(Audit("shut the control door")))
    assert room.audits[-1] == "shut the control door"
