"""What arrived, and the memory of how it was answered."""

import pytest

from dadms_ipc import inbox
from dadms_ipc.codec import trouble_of
from dadms_ipc.envelope import OK, REFUSED, VERSION, Flag, Header, Kind, message_id
from dadms_ipc.errors import PeerViolation
from dadms_ipc.inbox import Inbox


def _header(number: int, kind: Kind = Kind.SEND, *, deadline: int = 0, flags: int = 0) -> Header:
    return Header(VERSION, kind, message_id(b"s" * 16, number), "client/s", "1001", "t", b"", deadline, flags)


def test_messages_are_taken_in_order() -> None:
    """With everything that their program may want to know."""
    box = Inbox()
    box.arrive(_header(7, flags=Flag.RETRY, deadline=500), b"a", 10.0)
    box.arrive(_header(8, Kind.PUBLISH), b"b", 10.0)
    first, second = box.take(10.1), box.take(10.1)
    assert first is not None
    assert second is not None
    assert (first.number, first.body, first.is_retry, first.deadline, first.kind) == (7, b"a", True, 10.5, Kind.SEND)
    assert (second.number, second.is_retry, second.deadline) == (8, False, None)
    assert box.take(10.1) is None


def test_an_id_is_handed_out_once() -> None:
    """While it is being handled a repeat is dropped; afterwards its answer is repeated."""
    box = Inbox()
    box.arrive(_header(1), b"", 0.0)
    assert box.arrive(_header(1, flags=Flag.RETRY), b"", 0.0) is None
    assert box.take(0.0) is not None
    assert box.take(0.0) is None
    assert box.arrive(_header(1, flags=Flag.RETRY), b"", 0.0) is None
    box.answer(message_id(b"s" * 16, 1), OK, b"done")
    box.answer(message_id(b"s" * 16, 1), REFUSED, b"a second word changes nothing")
    assert box.arrive(_header(1, flags=Flag.RETRY), b"", 0.0) == (OK, b"done")
    assert box.take(0.0) is None
    assert box.repeated == 3


def test_a_run_beyond_the_last_sequence_is_the_other_sides_fault() -> None:
    """Nothing of it is taken."""
    box = Inbox()
    with pytest.raises(PeerViolation, match="no sequence"):
        box.arrive_run(_header(2**64 - 2, Kind.RUN), [b""] * 3, 0.0)
    assert len(box) == 0
    assert box.arrive_run(_header(2**64 - 2, Kind.RUN), [b""] * 2, 0.0) == []
    assert len(box) == 2


def test_publications_are_not_remembered() -> None:
    """They come at most once anyway."""
    box = Inbox()
    for _ in range(2):
        box.arrive(_header(1, Kind.PUBLISH), b"", 0.0)
    assert len(box) == 2


def test_what_expired_here_is_not_handed_out() -> None:
    """A later repeat with time left is another matter."""
    box = Inbox()
    box.arrive(_header(1, deadline=100), b"", 0.0)
    assert box.take(0.2) is None
    assert box.expired == 1
    box.arrive(_header(1, deadline=100), b"", 1.0)
    assert box.take(1.0) is not None


def test_credit_is_given_back_by_half_windows() -> None:
    """For what was taken, what expired, and what was only a repeat."""
    box = Inbox(window=8)
    for number in range(3):
        box.arrive(_header(number), b"", 0.0)
        box.take(0.0)
    assert box.credit_due() == 0
    box.arrive(_header(0), b"", 0.0)
    assert box.credit_due() == 4
    assert box.credit_due() == 0


def test_credit_of_a_new_connection_is_what_there_is_room_for() -> None:
    """What waits here still occupies its place."""
    box = Inbox(window=8)
    for number in range(3):
        box.arrive(_header(number), b"", 0.0)
    assert box.credit_at_hello() == 5
    for number in range(3, 12):
        box.arrive(_header(number), b"", 0.0)
    assert box.credit_at_hello() == 0


def test_the_memory_is_bounded_in_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten, and what they kept with them."""
    monkeypatch.setattr(inbox, "SEEN_LIMIT", 3)
    box = Inbox()
    for number in range(5):
        box.arrive(_header(number), b"", 0.0)
        box.take(0.0)
        if number != 1:
            box.answer(message_id(b"s" * 16, number), OK, b"answer")
    assert box._kept == 3 * len(b"answer")
    assert box.arrive(_header(4), b"", 0.0) == (OK, b"answer")
    assert box.arrive(_header(0), b"", 0.0) is None
    assert box.take(0.0) is not None


def test_the_memory_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large answer that is gone is repeated as a refusal that says so: never is the message handled again."""
    monkeypatch.setattr(inbox, "KEPT_BYTES", 100)
    box = Inbox()
    for number in range(4):
        box.arrive(_header(number, Kind.REQUEST), b"", 0.0)
        box.take(0.0)
    box.answer(message_id(b"s" * 16, 1), OK, b"")
    for number in (0, 2, 3):
        box.answer(message_id(b"s" * 16, number), OK, b"x" * 45)
    status, body = box.arrive(_header(0, Kind.REQUEST), b"", 0.0) or ("", b"")
    assert (status, trouble_of(body)) == (REFUSED, "this was answered before, and the answer is no longer kept")
    assert box.arrive(_header(1, Kind.REQUEST), b"", 0.0) == (OK, b"")
    assert box.arrive(_header(3, Kind.REQUEST), b"", 0.0) == (OK, b"x" * 45)
    assert box.take(0.0) is None
    box.answer(message_id(b"s" * 16, 0), OK, b"again")
    assert box.arrive(_header(0, Kind.REQUEST), b"", 0.0) == (REFUSED, body)


def test_credit_comes_back_early_when_bodies_are_large() -> None:
    """The bus counts bytes as well: half a window of large bodies would never be handed out."""
    box = Inbox(window=1000)
    header = Header(VERSION, Kind.PUBLISH, bytes(24), "s", "", "t")
    for _ in range(3):
        box.arrive(header, bytes(3 * 1024 * 1024), 1.0)
    due = []
    for _ in range(3):
        box.take(1.0)
        due.append(box.credit_due())
    assert due == [0, 2, 0]
