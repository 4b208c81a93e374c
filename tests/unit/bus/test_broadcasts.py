"""BROADCAST: who is meant, what each gets, and the one answer."""

from typing import Any

import msgspec
import pytest

from dadms_ipc.codec import encode_body
from dadms_ipc.envelope import OK, REFUSED, Flag, Kind
from dadmsd.kernel import link
from tests.unit.bus.room import Guest, Room


def _enroll(room: Room, pid: int, *, group: str = "", parent: int = 0, kind: str = "orchestrator") -> Guest:
    """Let a process live, and connect."""
    identity = room.identity(pid)
    room.hear(link.Enrolled(pid, 1, f"name {pid}", 2000, room.entry(identity).secret_digest, group, parent, kind))
    return room.member(identity)


def test_a_broadcast_is_for_a_command_from_its_first_hello_on() -> None:
    """Also between its incarnations; what never listens would leave its copies on the disk."""
    room = Room()
    speaker = _enroll(room, 1001)
    for pid in (1002, 1003):
        identity = room.identity(pid)
        room.hear(link.Enrolled(pid, 1, f"name {pid}", 2000, room.entry(identity).secret_digest, kind="service"))
    room.member(room.identity(1003))
    room.hear(link.Discharged(1003, 1, returns=True))
    speaker.say(Kind.BROADCAST, b"", to="all", topic="x")
    room.pass_time(0.2)
    assert _answer(speaker) == {"handled": 0, "stored": 1, "failures": 0, "failed": {}}
    room.hear(link.Discharged(1003, 1))
    room.attach_kernel(link.Expected(1002, "name 1002", kind="service"), link.Expected(1003, "name 1003", kind="service"))
    room.guest().hello().say(Kind.BROADCAST, b"", to="type/service", topic="x")
    assert room.bus.roster.get(1003) is not None
    assert not any(room.bus.roster.listens(entry) for entry in room.bus.roster.entries())


def _answer(guest: Guest) -> dict[str, Any]:
    header, body = guest.only()
    assert (header.kind, header.topic, header.sender) == (Kind.ACK, OK, "bus")
    found = msgspec.msgpack.decode(body)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("scope", "meant"),
    [
        ("all", [1002, 1003, 1004]),
        ("children", [1002]),
        ("children/1002", [1003]),
        ("group/blue", [1003, 1004]),
        ("type/service", [1004]),
        ("group/none", []),
    ],
)
def test_a_broadcast_reaches_its_scope_and_nobody_else(scope: str, meant: list[int]) -> None:
    """And never the one that speaks."""
    room = Room()
    speaker = _enroll(room, 1001, group="blue")
    others = {
        1002: _enroll(room, 1002, parent=1001),
        1003: _enroll(room, 1003, parent=1002, group="blue"),
        1004: _enroll(room, 1004, group="blue", kind="service"),
    }
    sent = speaker.say(Kind.BROADCAST, b"stop", to=scope, topic="COORDINATION_SIGNAL", flags=int(Flag.URGENT))
    ids = set()
    for pid, guest in others.items():
        heard = guest.take()
        assert len(heard) == (pid in meant)
        for header, body in heard:
            ids.add(header.id)
            assert (header.kind, header.sender, header.to, header.topic, body) == (
                Kind.SEND,
                "1001",
                str(pid),
                "COORDINATION_SIGNAL",
                b"stop",
            )
            guest.say(Kind.ACK, id=b"", topic=OK, correlation=header.id)
    assert len(ids) == len(meant)
    assert sent not in ids
    assert _answer(speaker) == {"handled": len(meant), "stored": 0, "failures": 0, "failed": {}}


def test_the_answer_says_what_became_of_each() -> None:
    """Handled, stored for one that is not there, refused by one."""
    room = Room()
    speaker = room.member()
    willing, unwilling = _enroll(room, 1001), _enroll(room, 1002)
    room.hear(link.Expected(1003, "later"))
    speaker.say(Kind.BROADCAST, to="all", topic="t")
    for guest, status, body in ((willing, OK, b""), (unwilling, REFUSED, encode_body({"message": "not today"}))):
        guest.say(Kind.ACK, body, id=b"", topic=status, correlation=guest.only()[0].id)
    assert speaker.heard == []
    room.pass_time(0.2)
    assert _answer(speaker) == {"handled": 1, "stored": 1, "failures": 1, "failed": {"1002": "not today"}}
    assert len(room.disk.rows) == 1


def test_a_repeated_broadcast_reaches_nobody_twice() -> None:
    """Whether its copies are open, answered or on disk."""
    room = Room()
    speaker = room.member()
    one, two = _enroll(room, 1001), _enroll(room, 1002)
    room.hear(link.Expected(1003, "later"))
    sent = speaker.say(Kind.BROADCAST, to="all", topic="t")
    one.say(Kind.ACK, id=b"", topic=OK, correlation=one.only()[0].id)
    room.pass_time(0.2)
    speaker.say(Kind.BROADCAST, id=sent, to="all", topic="t", flags=Flag.RETRY)
    assert one.heard == []
    two.say(Kind.ACK, id=b"", topic=OK, correlation=two.only()[0].id)
    assert _answer(speaker) == {"handled": 2, "stored": 1, "failures": 0, "failed": {}}
    speaker.say(Kind.BROADCAST, id=sent, to="all", topic="t", flags=Flag.RETRY)
    assert _answer(speaker) == {"handled": 2, "stored": 1, "failures": 0, "failed": {}}


def test_a_receiver_that_ends_is_a_failure_of_its_copy() -> None:
    """The others' copies are as they are."""
    room = Room()
    speaker = room.member()
    _enroll(room, 1001)
    speaker.say(Kind.BROADCAST, to="all", topic="t")
    room.hear(link.Discharged(1001, 1))
    answer = _answer(speaker)
    assert (answer["failures"], list(answer["failed"])) == (1, ["1001"])


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        ("nobody", "no such scope; there are all, children, children/PID, type/TYPE, group/NAME"),
        ("group/", "no such scope; there are all, children, children/PID, type/TYPE, group/NAME"),
        ("children", "who asks is no process, and has no children"),
        ("children/x", '"x" is no pid'),
    ],
)
def test_a_scope_that_is_none_is_refused(scope: str, reason: str) -> None:
    """With those that there are."""
    speaker = Room().member()
    speaker.say(Kind.BROADCAST, to=scope, topic="t")
    assert speaker.reason() == f'cannot broadcast to "{scope}": {reason}'


def test_a_broadcast_beyond_the_bounds_is_refused_as_a_whole() -> None:
    """In messages, in bytes; and before the kernel has said who lives."""
    room = Room(open=2)
    speaker = room.member()
    guests = [_enroll(room, pid) for pid in (1001, 1002, 1003)]
    speaker.say(Kind.BROADCAST, to="all", topic="t")
    assert "3 copies beside 0 messages" in speaker.reason()
    assert all(guest.heard == [] for guest in guests)
    room = Room(open_bytes=10)
    speaker = room.member()
    _enroll(room, 1001)
    speaker.say(Kind.SEND, b"1", to="1001", topic="t")
    speaker.say(Kind.BROADCAST, b"x" * 10, to="all", topic="t")
    assert "cannot broadcast 10 bytes to 1 processes" in speaker.reason()
    early = Room(has_roster=False).member()
    early.say(Kind.BROADCAST, to="all", topic="t")
    assert early.reason() == 'cannot broadcast to "all": the kernel has not said yet who lives'


def test_a_full_queue_fails_its_copy() -> None:
    """Others get theirs."""
    room = Room(queue=1)
    speaker = room.member()
    identity = room.enroll(1001)
    room.member(identity, credit=0)
    speaker.say(Kind.SEND, to="1001", topic="t")
    quick = _enroll(room, 1002)
    speaker.say(Kind.BROADCAST, to="all", topic="t")
    quick.say(Kind.ACK, id=b"", topic=OK, correlation=quick.only()[0].id)
    assert _answer(speaker)["failed"] == {"1001": "1 messages wait for it"}
