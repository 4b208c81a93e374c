"""The channel: frames arrive whole or not at all, nothing is lost, nothing leaks, and nothing that a peer sends does more than raise."""

import array
import fcntl
import os
import resource
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dadms_ipc import channel as channels
from dadms_ipc.channel import FDS_LIMIT, FRAME_LIMIT, INLINE_LIMIT, OUTBOX_FRAMES, Channel, pair
from dadms_ipc.errors import ChannelClosed, HostFailure, PeerViolation, RequestRefused

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class Note(msgspec.Struct, frozen=True, array_like=True, tag="note"):
    text: str
    raw: msgspec.Raw = msgspec.Raw(b"\xc0")


class Other(msgspec.Struct, frozen=True, array_like=True, tag="other"):
    number: int


class Ends:
    """Both ends of a channel."""

    def __init__(self) -> None:
        left, right = pair()
        self.left: Channel[Any] = Channel(left, Note | Other, epoch=3)
        self.right: Channel[Any] = Channel(right, Note | Other)
        self.raw = left

    def close(self) -> None:
        self.left.close()
        self.right.close()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Whatever a test does, both ends are closed after it and no descriptor is left."""
    before = open_descriptors()
    ends = Ends()
    yield ends
    ends.close()
    assert open_descriptors() == before


def received(channel: Channel[Any]) -> Any:
    frame = channel.receive(5.0)
    assert frame is not None
    return frame


def sealed(content: bytes, seals: int = SEALS) -> int:
    memfd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(memfd, content)
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, seals)
    return memfd


def test_a_frame_says_its_epoch_and_its_number(ends: Ends) -> None:
    ends.left.send(Note("one"))
    ends.left.send(Other(2))
    assert received(ends.right) == (3, 1, Note("one"), [])
    assert received(ends.right) == (3, 2, Other(2), [])
    assert ends.right.receive() is None


def test_a_frame_looks_like_this(ends: Ends) -> None:
    ends.left.send(Other(7))
    assert ends.right._sock.recv(100).hex(" ") == "94 01 03 01 92 a5 6f 74 68 65 72 07"


def test_raw_fields_outlive_the_next_receive(ends: Ends) -> None:
    raw = msgspec.Raw(msgspec.msgpack.encode("first"))
    ends.left.send(Note("a", raw))
    ends.left.send(Note("b", msgspec.Raw(msgspec.msgpack.encode("other"))))
    first = received(ends.right).body
    received(ends.right)
    assert msgspec.msgpack.decode(first.raw) == "first"


def test_descriptors_arrive_close_on_exec_and_are_the_receivers(ends: Ends) -> None:
    read, write = os.pipe()
    ends.left.send(Note("pipe"), [read, write])
    os.close(read)
    os.close(write)
    read, write = received(ends.right).fds
    assert not os.get_inheritable(read)
    os.write(write, b"through")
    assert os.read(read, 10) == b"through"
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("size", [INLINE_LIMIT - 100, INLINE_LIMIT + 1, 5_000_000])
def test_a_message_of_any_size_arrives_whole_with_its_descriptors(ends: Ends, size: int) -> None:
    with Path(os.devnull).open() as null:
        ends.left.send(Note("x" * size), [null.fileno()])
    body, fds = received(ends.right)[2:]
    assert body.text == "x" * size
    assert len(fds) == 1
    os.close(fds[0])


def test_a_message_above_the_limit_is_refused_and_the_channel_lives(ends: Ends) -> None:
    with pytest.raises(RequestRefused, match=f"at most {FRAME_LIMIT}"):
        ends.left.send(Note("x" * FRAME_LIMIT))
    ends.left.send(Other(1))
    assert received(ends.right).body == Other(1)


def test_too_many_descriptors_are_refused(ends: Ends) -> None:
    with pytest.raises(RequestRefused, match=str(FDS_LIMIT)):
        ends.left.send(Other(1), [0] * (FDS_LIMIT + 1))


def test_what_the_socket_does_not_take_waits_in_order(ends: Ends) -> None:
    count = 1000
    for number in range(count):
        ends.left.send(Other(number))
    assert ends.left.waits_to_write
    for number in range(count):
        ends.left.flush()
        assert received(ends.right).body == Other(number)
    assert ends.left.flush()
    assert not ends.left.waits_to_write


def test_descriptors_wait_too_and_the_senders_may_be_closed_meanwhile(ends: Ends) -> None:
    while not ends.left.waits_to_write:
        ends.left.send(Other(0))
    read, write = os.pipe()
    ends.left.send(Note("pipe"), [write])
    os.close(write)
    while True:
        ends.left.flush()
        frame = received(ends.right)
        if frame.fds:
            break
    os.write(frame.fds[0], b"late")
    os.close(frame.fds[0])
    assert os.read(read, 10) == b"late"
    os.close(read)


def test_a_peer_that_never_reads_is_in_violation(ends: Ends) -> None:
    while len(ends.left._outbox) < OUTBOX_FRAMES:
        ends.left.send(Other(0))
    with pytest.raises(PeerViolation, match=f"for {OUTBOX_FRAMES} frames"):
        ends.left.send(Other(1))
    assert len(ends.left._outbox) == OUTBOX_FRAMES


def test_what_waits_is_bounded_in_bytes(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "OUTBOX_BYTES", 3_000_000)
    large = Note("x" * 1_000_000)
    while ends.left._outbox_size < 2_000_000:
        ends.left.send(large)
    with pytest.raises(PeerViolation, match=r"2000\d{3} bytes"):
        ends.left.send(large)
    assert len(ends.left._outbox) == 2


def test_running_out_of_descriptors_is_the_hosts_failure(ends: Ends) -> None:
    while not ends.left.waits_to_write:
        ends.left.send(Other(0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare + 1, hard))
    taken = []
    try:
        while True:
            taken.append(os.dup(spare))
    except OSError:
        pass
    os.close(spare)  # room for one of two
    try:
        with pytest.raises(HostFailure, match="Too many open files"):
            ends.left.send(Other(1), [ends.left.fileno(), ends.left.fileno()])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)


def test_waiting_ends_at_the_deadline_and_not_before(ends: Ends) -> None:
    import time

    started = time.monotonic()
    assert ends.right.receive(0.05) is None
    assert 0.05 <= time.monotonic() - started < 5.0


def test_waiting_for_ever_ends_with_a_message(ends: Ends) -> None:
    sender = threading.Timer(0.02, ends.left.send, [Other(5)])
    sender.start()
    frame = ends.right.receive(None)
    sender.join()
    assert frame is not None
    assert frame.body == Other(5)


def test_a_shared_end_that_somebody_made_non_blocking_is_waited_for_all_the_same(ends: Ends) -> None:
    os.set_blocking(ends.right.fileno(), False)
    sender = threading.Timer(0.02, ends.left.send, [Other(6)])
    sender.start()
    frame = ends.right.receive(None)
    sender.join()
    assert frame is not None
    assert frame.body == Other(6)


def test_waiting_to_receive_writes_what_waits(ends: Ends) -> None:
    """Both sides have sent more than a socket holds, and each only receives."""
    count = 600
    for number in range(count):
        ends.left.send(Other(number))
        ends.right.send(Other(number))

    def drain(channel: Channel[Any], found: list[int]) -> None:
        while len(found) < count:
            found.append(received(channel).body.number)
        while not channel.flush():  # what the other side is still to get
            select.select([], [channel], [], 5.0)

    found: tuple[list[int], list[int]] = ([], [])
    other = threading.Thread(target=drain, args=[ends.left, found[0]])
    other.start()
    drain(ends.right, found[1])
    other.join(10.0)
    assert found == (list(range(count)), list(range(count)))


def test_everything_that_a_dead_peer_had_sent_is_received_before_the_end(ends: Ends) -> None:
    """Its unread input makes the socket report ECONNRESET first."""
    ends.right.send(Note("unread"))
    for number in range(3):
        ends.left.send(Other(number))
    ends.left.close()
    assert [received(ends.right).body.number for _ in range(3)] == [0, 1, 2]
    for _ in range(2):
        with pytest.raises(ChannelClosed):
            ends.right.receive()


def test_a_send_that_finds_the_peer_gone_leaves_what_it_had_sent(ends: Ends) -> None:
    ends.right.send(Note("unread"))
    ends.left.send(Other(9))
    ends.left.close()
    with pytest.raises(ChannelClosed):
        ends.right.send(Note("too late"))
    assert received(ends.right).body == Other(9)
    with pytest.raises(ChannelClosed):
        ends.right.receive(None)


def test_what_waits_when_a_channel_is_closed_leaks_nothing(ends: Ends) -> None:
    with Path(os.devnull).open() as null:
        for _ in range(400):
            ends.left.send(Other(0), [null.fileno()])
    assert ends.left._outbox
    ends.left.close()  # the fixture counts; what is in the socket goes with the socket
    with pytest.raises(ChannelClosed):
        ends.left.receive()


NULL = b"\xc0"
GARBAGE = {
    "no msgpack": b"\xc1",
    "no array": b"\x01",
    "empty array": b"\x90",
    "too few parts": msgspec.msgpack.encode([1, 0, 0]),
    "another version": msgspec.msgpack.encode([2, 0, 0, Other(1)]),
    "another vocabulary": msgspec.msgpack.encode([1, 0, 0, ["stranger", 1]]),
    "wrong type": msgspec.msgpack.encode([1, 0, 0, ["other", "one"]]),
    "no body": msgspec.msgpack.encode([1, 0, 0, None]),
    "text for a number": msgspec.msgpack.encode([1, "x", 0, Other(1)]),
    "an array that claims four thousand million parts": b"\xdd\xff\xff\xff\xff",
    "nested without end": b"\x94\x01\x00\x00\x93\xa4note\xa1x" + b"\x91" * 60_000,
    "cut": msgspec.msgpack.encode([1, 0, 0, Note("abc")])[:-2],
    "large without its memfd": msgspec.msgpack.encode([1, 0, 0, None, 100]),
}


@pytest.mark.parametrize("packet", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_dropped_with_its_descriptors_and_the_channel_lives(ends: Ends, packet: bytes) -> None:
    with Path(os.devnull).open() as null:
        socket.send_fds(ends.raw, [packet], [null.fileno(), null.fileno()])
        with pytest.raises(PeerViolation):
            ends.right.receive(1.0)
    ends.left.send(Other(1))
    assert received(ends.right).body == Other(1)


LARGE = msgspec.msgpack.encode([1, 0, 7, Note("large")])
MEMFDS: dict[str, tuple[bytes, int, int]] = {
    "may still change": (LARGE, SEALS & ~fcntl.F_SEAL_WRITE, len(LARGE)),
    "smaller than stated": (LARGE, SEALS, len(LARGE) + 1),
    "larger than stated": (LARGE, SEALS, len(LARGE) - 1),
    "stated beyond the limit": (LARGE, SEALS, FRAME_LIMIT + 1),
    "stated negative": (LARGE, SEALS, -1),
    "stated without bound": (LARGE, SEALS, 2**63),
    "holds another": (msgspec.msgpack.encode([1, 0, 7, None, 5]), SEALS, 6),
    "holds garbage": (b"\xc1" * 10, SEALS, 10),
    "holds another version": (msgspec.msgpack.encode([9, 0, 7, Note("x")]), SEALS, 11),
}


@pytest.mark.parametrize(("content", "seals", "size"), MEMFDS.values(), ids=MEMFDS.keys())
def test_a_memfd_that_is_not_what_it_is_said_to_be_is_a_violation(ends: Ends, content: bytes, seals: int, size: int) -> None:
    memfd = sealed(content, seals)
    socket.send_fds(ends.raw, [msgspec.msgpack.encode([1, 0, 7, None, size])], [memfd])
    os.close(memfd)
    with pytest.raises(PeerViolation):
        ends.right.receive(1.0)
    ends.left.send(Other(1))
    assert received(ends.right).body == Other(1)


def test_a_memfd_as_it_should_be_is_read(ends: Ends) -> None:
    memfd = sealed(LARGE)
    socket.send_fds(ends.raw, [msgspec.msgpack.encode([1, 0, 7, None, len(LARGE)])], [memfd])
    os.close(memfd)
    assert received(ends.right) == (0, 7, Note("large"), [])


def test_a_descriptor_that_is_no_memfd_is_a_violation(ends: Ends) -> None:
    read, write = os.pipe()
    socket.send_fds(ends.raw, [msgspec.msgpack.encode([1, 0, 7, None, 10])], [read])
    os.close(read)
    os.close(write)
    with pytest.raises(PeerViolation):
        ends.right.receive(1.0)


def test_a_packet_that_was_cut_is_a_violation_and_leaks_nothing(ends: Ends) -> None:
    packet = msgspec.msgpack.encode([1, 0, 0, Note("x" * (INLINE_LIMIT + 5000))])
    with Path(os.devnull).open() as null:
        socket.send_fds(ends.raw, [packet], [null.fileno()])
    with pytest.raises(PeerViolation, match="was cut"):
        ends.right.receive(1.0)


def test_more_descriptors_than_a_frame_may_hold_are_a_violation_and_leak_nothing(ends: Ends) -> None:
    many = array.array("i", [ends.raw.fileno()] * (FDS_LIMIT + 5))
    ends.raw.sendmsg([msgspec.msgpack.encode([1, 0, 0, Other(1)])], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, many)])
    with pytest.raises(PeerViolation, match="descriptors were cut"):
        ends.right.receive(1.0)


def test_an_empty_packet_is_the_end(ends: Ends) -> None:
    """It cannot be told from one, so nobody may send it; its descriptors are closed."""
    socket.send_fds(ends.raw, [b""], [ends.raw.fileno()])
    with pytest.raises(ChannelClosed):
        ends.right.receive(1.0)


def test_a_channel_can_be_waited_for_with_others(ends: Ends) -> None:
    assert not select.select([ends.right], [], [], 0)[0]
    ends.left.send(Other(1))
    assert select.select([ends.right], [], [], 1.0)[0] == [ends.right]


def test_an_older_peer_may_know_fewer_fields_and_a_newer_one_more(ends: Ends) -> None:
    ends.raw.send(msgspec.msgpack.encode([1, 0, 0, ["note", "old"]]))
    ends.raw.send(msgspec.msgpack.encode([1, 0, 0, ["note", "new", 5, "added later"], 0, "as well"]))
    assert received(ends.right).body == Note("old")
    assert received(ends.right).body.text == "new"
