"""Dead letters: listed, shown, replayed, dropped; and what the bus says of itself."""

from typing import Any

import msgspec
import pytest

from dadms_ipc import dead_letters
from dadms_ipc.codec import encode_body, trouble_of
from dadms_ipc.envelope import HOST, OK, REFUSED, Door, Flag, Kind
from dadmsd.kernel import link
from tests.unit.bus.disk import Disk
from tests.unit.bus.room import Guest, Room


def _ask(guest: Guest, request: object) -> tuple[str, Any]:
    """Ask the bus; gives the status, and the answer or the reason."""
    guest.say(Kind.CALL, encode_body(request), to="bus")
    header, body = guest.only()
    return header.topic, msgspec.msgpack.decode(body) if header.topic == OK else trouble_of(body)


def _died(room: Room, *bodies: bytes) -> Guest:
    """Let messages to process 1001 die, as it ends for good; gives their sender."""
    sender = room.member()
    room.hear(link.Expected(1001, "etl"))
    for body in bodies:
        sender.say(Kind.SEND, body, to="1001/3", topic="TASK_REQUEST", flags=int(Flag.URGENT))
    room.pass_time(0.3)
    room.commit()
    room.hear(link.Discharged(1001, 1))
    room.commit()
    sender.take()
    return sender


def test_dead_letters_are_listed_and_shown() -> None:
    """Who, what, why, when, how often; the body of the one that is shown."""
    room = Room()
    sender = _died(room, b"zero", b"one")
    guest = room.member(door=Door.CONTROL)
    status, letters = _ask(guest, dead_letters.DeadLetters())
    assert status == OK
    assert [letter["number"] for letter in letters] == [1, 2]
    assert letters[0]["to"] == "1001/3"
    assert (letters[0]["type"], letters[0]["size"], letters[0]["attempts"]) == ("TASK_REQUEST", 4, 0)
    assert letters[0]["reason"] == "process 1001 ended"
    assert letters[0]["died_at"] - 1_700_000_000 == pytest.approx(1000.3, abs=0.2)
    assert letters[0]["sender"] == f"client/{sender.client.hex()[:12]}"
    assert [letter["number"] for letter in _ask(guest, dead_letters.DeadLetters(after=1))[1]] == [2]
    assert _ask(guest, dead_letters.DeadLetters(limit=1))[1] == letters[:1]
    assert _ask(guest, dead_letters.DeadLetters(after=99))[1] == []
    shown = _ask(guest, dead_letters.ShowDeadLetter(2))[1]
    assert shown["body"] == b"one"
    assert msgspec.convert(shown, dead_letters.DeadLetter).reason == "process 1001 ended"
    guest.say(Kind.CALL, encode_body(dead_letters.ShowDeadLetter(9)), to="bus")
    assert guest.reason() == "cannot show dead letter 9: there is none"


def test_a_replayed_letter_is_a_new_message_to_a_process_that_lives() -> None:
    """With a new id, the old sender and priority; the letter is gone when it is on disk."""
    room = Room(is_slow=True)
    sender = _died(room, b"body")
    guest = room.member(door=Door.CONTROL)
    guest.say(Kind.CALL, encode_body(dead_letters.ReplayDeadLetter(1)), to="bus")
    assert guest.reason() == 'cannot replay dead letter 1: there is no process "1001/3"'
    receiver = room.member(room.enroll(1002))
    asked = guest.say(Kind.CALL, encode_body(dead_letters.ReplayDeadLetter(1, "1002", 60.0)), to="bus")
    guest.say(Kind.CALL, encode_body(dead_letters.ReplayDeadLetter(1, "1002")), to="bus")
    assert guest.reason() == "cannot replay dead letter 1: it is being replayed"
    assert receiver.heard == []
    room.commit()
    header, body = guest.only()
    assert (header.topic, header.correlation, msgspec.msgpack.decode(body)) == (OK, asked, {"number": 2})
    header, body = receiver.only()
    assert (header.sender, header.to, header.topic, header.flags, body) == (
        f"client/{sender.client.hex()[:12]}",
        "1002",
        "TASK_REQUEST",
        Flag.URGENT,
        b"body",
    )
    receiver.say(Kind.ACK, id=b"", topic=OK, correlation=header.id)
    room.commit()
    assert (room.disk.rows, room.disk.letters) == ({}, {})
    assert {name: count for name, count in room.disk.tallies.items() if count} == {"kept": 2, "dead": 1, "replayed": 1, "handled": 1}


def test_a_replay_that_the_disk_refuses_leaves_the_letter() -> None:
    """And says so."""
    room = Room(is_slow=True)
    _died(room, b"body")
    guest = room.member(door=Door.CONTROL)
    room.hear(link.Expected(1002, "etl"))
    guest.say(Kind.CALL, encode_body(dead_letters.ReplayDeadLetter(1, "1002")), to="bus")
    room.refuse("full")
    header, body = guest.only()
    assert (header.topic, trouble_of(body)) == (HOST, "cannot replay dead letter 1: full")
    assert list(room.bus.letters.letters) == [1]
    guest.say(Kind.CALL, encode_body(dead_letters.ReplayDeadLetter(1, "1002")), to="bus")
    assert guest.reason() == "cannot replay dead letter 1: full"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (dead_letters.ReplayDeadLetter(9), "cannot replay dead letter 9: there is none"),
        (dead_letters.ReplayDeadLetter(1, "1002", -1.0), "cannot replay dead letter 1: an expiry of -1.0 s"),
        (dead_letters.DropDeadLetters([1, 9]), "cannot drop dead letter 9: there is none"),
    ],
)
def test_what_cannot_be_done_with_letters_is_refused(request_: object, reason: str) -> None:
    """With the number and the reason; nothing is changed."""
    room = Room()
    _died(room, b"body")
    room.enroll(1002)
    guest = room.member(door=Door.CONTROL)
    guest.say(Kind.CALL, encode_body(request_), to="bus")
    assert guest.reason() == reason
    assert list(room.disk.letters) == [1]


def test_dropped_letters_are_gone_when_it_is_said() -> None:
    """From the disk, too."""
    room = Room(is_slow=True)
    _died(room, b"zero", b"one", b"two")
    guest = room.member(door=Door.CONTROL)
    guest.say(Kind.CALL, encode_body(dead_letters.DropDeadLetters([1, 3, 1])), to="bus")
    assert guest.heard == []
    room.commit()
    assert msgspec.msgpack.decode(guest.only()[1]) == {"dropped": 2}
    assert list(room.disk.letters) == [2]


def test_the_oldest_letters_make_room() -> None:
    """In number and in bytes; counted."""
    for room, kept in ((Room(letters=2), [2, 3]), (Room(letters_bytes=9), [3])):
        _died(room, b"12345", b"12345", b"12345")
        assert list(room.disk.letters) == kept
        assert room.disk.tallies["evicted"] == 3 - len(kept)


def test_letters_outlive_the_bus() -> None:
    """In the order in which they died."""
    disk = Disk()
    _died(Room(disk=disk), b"zero", b"one")
    room = Room(disk=disk)
    guest = room.member(door=Door.CONTROL)
    assert [letter["number"] for letter in _ask(guest, dead_letters.DeadLetters())[1]] == [1, 2]


def test_roles_hold_for_dead_letters() -> None:
    """Who observes may list them, and no more."""
    room = Room()
    _died(room, b"body")
    guest = room.member(door=Door.CONTROL, uid=1002)
    assert _ask(guest, dead_letters.DeadLetters())[0] == OK
    for request in (dead_letters.ShowDeadLetter(1), dead_letters.ReplayDeadLetter(1), dead_letters.DropDeadLetters([1])):
        assert _ask(guest, request) == (REFUSED, "cannot do this with dead letters: the role operate is needed, yours is observe")


def test_what_is_no_request_is_refused() -> None:
    """Whatever it is."""
    guest = Room().member(door=Door.CONTROL)
    for body in (b"", b"\xc1", b"\x90", encode_body({"verb": "dance"}), encode_body({"verb": "dead-letters", "limit": "x"})):
        guest.say(Kind.CALL, body, to="bus")
        assert guest.reason().startswith("cannot ask the bus: ")
