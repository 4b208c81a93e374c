"""Requests on their way to the kernel and back."""

import msgspec
import pytest

from dadms_ipc.codec import decode_body, encode_body
from dadms_ipc.envelope import OK, REFUSED, Door, Kind, split_id
from dadmsd.bus.core.events import LinkRecovered, Vanished
from dadmsd.kernel import link
from tests.unit.bus.room import Guest, Room

ASKED = encode_body({"verb": "status"})


def _caller(room: Room) -> Guest:
    return room.member(door=Door.CONTROL)


def _requests(room: Room) -> list[tuple[bytes, int]]:
    return [(one.client, one.sequence) for one in room.asked if isinstance(one, link.Request)]


def _reply(room: Room, identifier: bytes, status: str = OK) -> None:
    client, sequence = split_id(identifier)
    room.hear(link.Reply(client, sequence, status, msgspec.Raw(b"\x01")))


def test_the_bus_says_hello_first_and_then_what_is_pending() -> None:
    """In the order in which it came; a call made without a kernel waits for one."""
    room = Room(has_roster=False)
    guest = _caller(room)
    calls = [guest.say(Kind.CALL, ASKED, to=to) for to in ("", "kernel", "process-manager")]
    assert room.asked == []
    room.attach_kernel()
    assert room.asked[0] == link.BusHello(3, 77)
    assert _requests(room) == [split_id(call) for call in calls]


def test_a_reply_reaches_its_client_once() -> None:
    """With the kernel's status; a second is dropped and counted."""
    room = Room()
    guest = _caller(room)
    call = guest.say(Kind.CALL, ASKED)
    _reply(room, call, REFUSED)
    header, body = guest.only()
    assert (header.kind, header.sender, header.topic, header.correlation, body) == (Kind.REPLY, "kernel", REFUSED, call, b"\x01")
    _reply(room, call)
    room.hear(link.Reply(b"", -1, OK, msgspec.Raw(b"\x01")))
    assert guest.heard == []
    assert room.counter("replies_late") == 2


def test_what_is_pending_is_said_again_to_each_kernel() -> None:
    """With the same client and sequence; what was answered is not."""
    room = Room()
    guest = _caller(room)
    answered, pending = guest.say(Kind.CALL, ASKED), guest.say(Kind.CALL, ASKED)
    _reply(room, answered)
    room.detach_kernel()
    late = guest.say(Kind.CALL, ASKED)
    room.asked.clear()
    room.attach_kernel(epoch=2)
    assert _requests(room) == [split_id(pending), split_id(late)]
    room.asked.clear()
    room.do(LinkRecovered())
    assert _requests(room) == [split_id(pending), split_id(late)]


def _deadlines(room: Room) -> list[float]:
    return [one.deadline - room.now for one in room.asked if isinstance(one, link.Request)]


def test_a_repeat_of_what_is_pending_is_not_said_twice() -> None:
    """Unless it waits for longer; a repeat of what was answered goes to the kernel, which remembers."""
    room = Room()
    guest = _caller(room)
    call = guest.say(Kind.CALL, ASKED, deadline=1000)
    room.pass_time(0.9)
    guest.say(Kind.CALL, ASKED, id=call, deadline=100, flags=1)
    assert len(_requests(room)) == 1
    guest.say(Kind.CALL, ASKED, id=call, deadline=1000, flags=1)
    assert len(_requests(room)) == 2
    room.pass_time(0.9)
    assert len(room.bus.calls.pending) == 1
    _reply(room, call)
    guest.say(Kind.CALL, ASKED, id=call, deadline=1000, flags=1)
    assert len(_requests(room)) == 3


def test_the_kernel_is_told_until_when_a_call_is_waited_for() -> None:
    """At the first word, to each next kernel, and again when its client says that it waits longer."""
    room = Room()
    guest = _caller(room)
    call = guest.say(Kind.CALL, ASKED, deadline=1000)
    assert _deadlines(room) == pytest.approx([1.0])
    room.asked.clear()
    room.pass_time(0.25)
    guest.say(Kind.CALL, ASKED, id=call, deadline=2000, flags=1)
    assert _deadlines(room) == pytest.approx([2.0])
    room.detach_kernel()
    room.asked.clear()
    room.pass_time(0.5)
    guest.say(Kind.CALL, ASKED, id=call, deadline=3000, flags=1)
    assert room.asked == []
    room.attach_kernel(epoch=2)
    assert _deadlines(room) == pytest.approx([3.0])


def test_a_call_is_dropped_at_its_deadline() -> None:
    """The client has given up; the next kernel is not asked."""
    room = Room()
    guest = _caller(room)
    guest.say(Kind.CALL, ASKED, deadline=500)
    longer = guest.say(Kind.CALL, ASKED, deadline=700)
    room.pass_time(0.6)
    assert list(room.bus.calls.pending) == [longer]
    room.pass_time(0.2)
    assert room.bus.calls.pending == {}
    assert room.counter("calls_expired") == 2
    assert guest.heard == []


def test_no_deadline_means_an_hour() -> None:
    """And so does a longer one."""
    room = Room()
    guest = _caller(room)
    guest.say(Kind.CALL, ASKED)
    guest.say(Kind.CALL, ASKED, deadline=2**50)
    room.pass_time(3599)
    assert len(room.bus.calls.pending) == 2
    room.pass_time(2)
    assert room.bus.calls.pending == {}


def test_a_reply_finds_the_clients_newest_connection() -> None:
    """Without any it is dropped: the client asks again when it is back."""
    room = Room()
    guest = _caller(room)
    one, two = guest.say(Kind.CALL, ASKED), guest.say(Kind.CALL, ASKED)
    room.do(Vanished(guest.peer, is_gone=True))
    _reply(room, one)
    back = room.guest(Door.CONTROL, client=guest.client).hello()
    back.take()
    _reply(room, two)
    assert back.only()[0].correlation == two
    assert guest.heard == []


def test_calls_end_with_their_session() -> None:
    """The kernel is told, when there is one."""
    room = Room()
    stays, goes = _caller(room), _caller(room)
    stays.say(Kind.CALL, ASKED)
    goes.say(Kind.CALL, ASKED)
    goes.say(Kind.BYE)
    assert len(room.bus.calls.pending) == 1
    assert room.asked[-1] == link.ClientGone(goes.client)
    room.detach_kernel()
    room.asked.clear()
    stays.say(Kind.BYE)
    assert room.asked == []


@pytest.mark.parametrize("body", [b"", b"\x81", b"\x80\x80", b"\xc1", b"\x91" * 4000])
def test_a_body_that_is_not_one_value_is_refused(body: bytes) -> None:
    """It would break the message that it is embedded in."""
    guest = _caller(Room())
    guest.say(Kind.CALL, body)
    assert guest.reason() == "cannot ask the kernel: the body is not exactly one msgpack value"


def test_calls_of_a_client_are_bounded() -> None:
    """With the numbers."""
    guest = _caller(Room(calls=2))
    for _ in range(3):
        guest.say(Kind.CALL, ASKED)
    assert guest.reason() == "cannot ask the kernel: 2 requests of this client wait for it already"


def test_the_bus_answers_for_itself() -> None:
    """And knows no services but the kernel's and its own."""
    room = Room()
    guest = _caller(room)
    call = guest.say(Kind.CALL, ASKED, to="bus")
    header, body = guest.only()
    assert (header.kind, header.topic, header.correlation) == (Kind.REPLY, OK, call)
    status = decode_body(body, dict)
    assert (status["sessions"], status["is_linked"], status["counters"]["hellos"]) == (1, True, 1)
    guest.say(Kind.CALL, ASKED, to="weather")
    assert guest.reason() == 'cannot call "weather": there is no such service'


def test_a_kernel_of_an_older_epoch_is_not_obeyed() -> None:
    """What it says is dropped, and written down."""
    room = Room()
    guest = _caller(room)
    room.attach_kernel(epoch=5)
    call = guest.say(Kind.CALL, ASKED)
    client, sequence = split_id(call)
    room.hear(link.Reply(client, sequence, OK, msgspec.Raw(b"\x01")), epoch=4)
    assert guest.heard == []
    assert room.audits == ["dropped a Reply of the kernel's epoch 4: the newest is 5"]


def test_a_process_that_ends_takes_its_calls_along() -> None:
    """Its requests are dropped, the kernel's own word came first."""
    room = Room()
    process = room.member(room.enroll(1001), door=Door.CONTROL)
    process.say(Kind.CALL, ASKED)
    room.hear(link.Discharged(1001, 1))
    assert room.bus.calls.pending == {}


def test_what_the_kernel_refused_and_what_only_an_admin_may_ask_is_written_down() -> None:
    """By the name of the request; what was granted to anybody is not."""
    room = Room()
    guest = room.member(door=Door.CONTROL)
    for body, status, reply in (
        ({"verb": "kill", "pid": 1}, "refused", {"message": "no process 1"}),
        ({"verb": "status"}, "ok", {}),
        ({"verb": "shutdown"}, "ok", {}),
        ({"verb": 5}, "refused", {"message": "no request"}),
    ):
        guest.say(Kind.CALL, encode_body(body))
        room.hear(link.Reply(guest.client, guest.sequence, status, msgspec.Raw(encode_body(reply))))
    assert [(one.verdict, one.subject, one.what, one.why) for one in room.lines] == [
        ("refused", "uid 1000 pid 4242", "kill", "no process 1"),
        ("did", "uid 1000 pid 4242", "shutdown", ""),
        ("refused", "uid 1000 pid 4242", "", "no request"),
    ]
