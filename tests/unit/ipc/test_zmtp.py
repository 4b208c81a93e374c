"""ZMTP as the side that connects: whole messages come out of any pieces, and whatever is no ZMTP raises PeerViolation and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dadms_ipc.errors import PeerViolation
from dadms_ipc.zmtp import COMMAND, FRAMES_LIMIT, GREETING_BYTES, LONG, MECHANISM, MORE, OPENING, Reader, encode

LIMIT = 100_000  # bytes of a frame
GREETING = OPENING[:GREETING_BYTES]
READY = bytes([COMMAND, 6]) + b"\x05READY"


def reader() -> Reader:
    """Give one behind the handshake."""
    fresh = Reader(LIMIT)
    fresh.feed(GREETING + READY)
    return fresh


def test_the_other_sides_ready_is_what_opens_the_connection() -> None:
    fresh = Reader(LIMIT)
    assert (fresh.has_greeted, fresh.is_ready) == (False, False)
    fresh.feed(GREETING[:10])
    assert not fresh.has_greeted
    fresh.feed(GREETING[10:])
    assert (fresh.has_greeted, fresh.is_ready) == (True, False)
    fresh.feed(READY[:3])
    assert not fresh.is_ready
    fresh.feed(READY[3:])
    assert fresh.is_ready


def test_what_this_side_opens_with_is_a_greeting_and_a_ready_that_it_understands_itself() -> None:
    fresh = Reader(LIMIT)
    fresh.feed(OPENING)
    assert fresh.is_ready
    assert not fresh.messages


@given(
    messages=st.lists(st.tuples(st.binary(max_size=600), st.one_of(st.binary(max_size=600), st.sampled_from([bytes(70_000)]))), max_size=6),
    cuts=st.lists(st.integers(1, 70_000), max_size=12),
)
def test_messages_come_out_as_they_went_in_however_they_are_cut(messages: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    stream = GREETING + READY + b"".join(piece for header, body in messages for piece in encode(header, body))
    fresh, place = Reader(LIMIT), 0
    for cut in [*cuts, len(stream)]:
        assert fresh.missing > 0 or place == len(stream)
        if place < len(stream):
            fresh.feed(stream[place : place + cut])
            place += cut
    assert [tuple(frames) for frames in fresh.messages] == messages


def test_how_much_is_missing_of_a_large_frame_is_known() -> None:
    fresh = reader()
    fresh.feed(bytes([LONG]) + (50_000).to_bytes(8, "big") + bytes(10_000))
    assert fresh.missing == 40_000
    fresh.feed(bytes(40_000))
    assert [len(frames[0]) for frames in fresh.messages] == [50_000]
    assert fresh.missing > 0


def test_commands_behind_the_handshake_are_passed_over() -> None:
    fresh = reader()
    fresh.feed(
        bytes([COMMAND, 7]) + b"\x04PING\0\0" + b"\0\x01a" + bytes([COMMAND | LONG]) + (5).to_bytes(8, "big") + b"\x04NEWS" + b"\0\x01b"
    )
    assert list(fresh.messages) == [[b"a"], [b"b"]]


@pytest.mark.parametrize(
    ("before", "data", "reason"),
    [
        (b"", b"HTTP/1.1 400 Bad Request".ljust(64), "does not speak ZMTP 3"),
        (b"", GREETING[:10] + b"\x01" + GREETING[11:], "does not speak ZMTP 3"),
        (b"", GREETING[:12] + b"CURVE".ljust(len(MECHANISM), b"\0") + GREETING[32:], 'the mechanism "CURVE"'),
        (GREETING, bytes([COMMAND, 9]) + b"\x05ERROR\x02no", "without READY"),
        (GREETING, b"\0\0", "before READY"),
        (GREETING + READY, bytes([8, 0]), "the flags 8"),
        (GREETING + READY, bytes([COMMAND | MORE, 0]), "the flags 5"),
        (GREETING + READY, bytes([LONG]) + (2**63).to_bytes(8, "big"), "at most 100000"),
        (GREETING + READY, bytes([MORE, 0]) * FRAMES_LIMIT, "more than 16 frames"),
        (GREETING + READY, bytes([MORE | LONG]) + (4097).to_bytes(8, "big") + bytes(4097), "4097 bytes before the last"),
    ],
)
def test_what_breaks_the_protocol_is_told(before: bytes, data: bytes, reason: str) -> None:
    fresh = Reader(LIMIT)
    fresh.feed(before)
    with pytest.raises(PeerViolation, match=reason):
        fresh.feed(data)


@given(st.lists(st.binary(max_size=300), max_size=6), st.booleans())
def test_garbage_raises_nothing_else(pieces: list[bytes], is_open: bool) -> None:
    fresh = reader() if is_open else Reader(LIMIT)
    try:
        for piece in pieces:
            fresh.feed(piece)
    except PeerViolation:
        return
    assert all(len(frames) < FRAMES_LIMIT for frames in fresh.messages)
