"""A client's own ZMTP against libzmq's ROUTER: what the bus sees is an ordinary DEALER, whatever happens to the connection."""

import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest
import zmq

from dadms_ipc import unix_wire
from dadms_ipc.envelope import Door
from dadms_ipc.unix_wire import RETRY_LAST, UNSENT, UnixWire
from dadms_ipc.wires import PATIENCE, WAIT, Watcher
from dadms_ipc.zmtp import COMMAND, LONG, OPENING

SOON = 10.0  # seconds in which anything here happens


class Watched:
    """A wire with whoever watches its descriptor."""

    def __init__(self, path: Path) -> None:
        self.poll = select.poll()
        self.lost: list[int] = []
        self.wire = UnixWire(str(path), Door.DATA, Watcher(self._joined, self._left, self._wants_room))

    def _joined(self, fd: int) -> None:
        self.poll.register(fd, select.POLLIN)

    def _left(self, fd: int) -> None:
        self.poll.unregister(fd)
        self.lost.append(fd)

    def _wants_room(self, fd: int, wants: bool) -> None:
        self.poll.modify(fd, select.POLLIN | (select.POLLOUT if wants else 0))

    def until(self, is_done: Callable[[], bool]) -> None:
        """Drive the wire as a client does, until something holds."""
        end = monotonic() + SOON
        while not is_done():
            assert monotonic() < end
            due = self.wire.due
            for _, happened in self.poll.poll(20 if due is None else max(0.0, due - monotonic()) * 1000.0):
                if happened & select.POLLOUT:
                    self.wire.push()
            self.wire.revive(monotonic())

    def next(self) -> list[bytes]:
        """Give the next message."""
        found: list[list[bytes]] = []

        def has_come() -> bool:
            frames = self.wire.receive()
            found.extend([] if frames is None else [frames])
            return bool(found)

        self.until(has_come)
        return found[0]


class Bus:
    """A ROUTER of libzmq's at the path, which invites whoever sends an empty message."""

    def __init__(self, path: Path) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.router = self._context.socket(zmq.ROUTER)
        self.router.setsockopt(zmq.RCVTIMEO, int(SOON * 1000))
        self.router.bind(f"ipc://{path}")
        self.route = b""

    def invite(self, watched: Watched) -> None:
        """Let a client in."""
        watched.until(lambda: watched.wire.receive() is None and bool(self.router.poll(0)))
        self.route, probe = self.router.recv_multipart()
        assert (probe, self.route[:1]) == (b"", b"\0")
        self.router.send_multipart([self.route, b"invite", b""])
        assert watched.next() == [b"invite", b""]

    def close(self) -> None:
        """Go, with every connection."""
        self.router.close(0)
        self._context.term()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "door.sock"


@pytest.fixture
def bus(path: Path) -> Iterator[Bus]:
    bus = Bus(path)
    yield bus
    bus.close()


@pytest.fixture
def watched(bus: Bus, path: Path) -> Iterator[Watched]:
    watched = Watched(path)
    yield watched
    watched.wire.close()


def test_nothing_is_sent_before_the_bus_has_spoken(watched: Watched, bus: Bus) -> None:
    watched.until(lambda: watched.wire.receive() is None and bool(bus.router.poll(0)))
    assert not watched.wire.send([b"header", b"body"])
    bus.invite(watched)
    assert watched.wire.send([b"header", b"body"])
    watched.wire.push()
    assert bus.router.recv_multipart() == [bus.route, b"header", b"body"]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 40_000, 200_000, 20_000_000])
def test_bodies_of_every_size_pass_both_ways(watched: Watched, bus: Bus, size: int) -> None:
    bus.invite(watched)
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert watched.wire.send([b"h" * min(size, 4000), body])
    watched.wire.push()
    watched.until(lambda: watched.wire.is_settled and bool(bus.router.poll(0)))
    assert bus.router.recv_multipart() == [bus.route, b"h" * min(size, 4000), body]
    bus.router.send_multipart([bus.route, b"back", body])
    assert watched.next() == [b"back", body]


def test_what_is_sent_together_arrives_in_its_order(watched: Watched, bus: Bus) -> None:
    bus.invite(watched)
    bodies = [bytes([number % 256]) * (number * 37 % 3000) for number in range(200)]
    for number, body in enumerate(bodies):
        watched.until(lambda number=number, body=body: watched.wire.send([str(number).encode(), body]))  # type: ignore[misc] # a lambda with defaults
    watched.wire.push()
    for number, body in enumerate(bodies):
        watched.until(lambda: bool(bus.router.poll(0)))
        assert bus.router.recv_multipart() == [bus.route, str(number).encode(), body]


def test_a_receive_that_waits_gives_up_after_its_patience(watched: Watched, bus: Bus) -> None:
    bus.invite(watched)
    began = monotonic()
    assert watched.wire.receive(WAIT) is None
    assert monotonic() - began >= PATIENCE * 0.9
    bus.router.send_multipart([bus.route, b"word", b""])
    assert watched.wire.receive(WAIT) == [b"word", b""]


def test_a_lost_connection_is_made_anew_and_begins_with_an_empty_message(watched: Watched, bus: Bus, path: Path) -> None:
    bus.invite(watched)
    bus.router.send_multipart([bus.route, b"last word", b""])
    watched.until(lambda: bool(watched.poll.poll(0)))
    bus.close()
    assert watched.next() == [b"last word", b""]
    watched.until(lambda: watched.wire.receive() is None and watched.wire.due is not None)
    assert not watched.wire.send([b"stale", b""])
    again = Bus(path)
    try:
        began = monotonic()
        again.invite(watched)
        assert monotonic() - began < 20 * RETRY_LAST
        assert watched.wire.send([b"fresh", b""])
        watched.wire.push()
        assert again.router.recv_multipart() == [again.route, b"fresh", b""]
        assert len(watched.lost) == 1
    finally:
        again.close()


def test_what_the_socket_has_no_room_for_is_bounded_and_leaves_when_there_is_room(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(1)
        watched = Watched(path)
        peer, _ = listening.accept()
        with peer:
            opening = peer.recv(1000)
            peer.sendall(opening)  # a DEALER's, but who connects asks for no more than READY
            watched.until(lambda: watched.wire.receive() is None and watched.wire.is_settled and bool(select.select([peer], [], [], 0)[0]))
            assert peer.recv(1000) == b"\0\0"
            peer.sendall(b"\x01\x06invite\0\0")
            assert watched.next() == [b"invite", b""]
            taken = 0
            while watched.wire.send([b"h", bytes(10_000)]):
                watched.wire.push()
                taken += 1
                assert taken * 10_000 < 2 * UNSENT + 4 * 1024 * 1024
            assert not watched.wire.is_settled
            assert watched.poll.poll(0) == []  # it waits for room, and there is none
            peer.settimeout(SOON)
            received = 0
            while received < taken * (10_000 + 12):
                received += len(peer.recv(1 << 20))
                for _, happened in watched.poll.poll(0):
                    if happened & select.POLLOUT:
                        watched.wire.push()
            assert received == taken * (10_000 + 12)  # a header of three bytes and the nine before a long frame
            assert watched.wire.is_settled
        watched.wire.close()


@pytest.mark.parametrize("words", [b"HTTP/1.1 400 Bad Request".ljust(64), b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE".ljust(55, b"\0"), b""])
def test_whoever_listens_and_is_no_bus_is_asked_again_later(path: Path, words: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(1)
        watched = Watched(path)
        for _ in range(2):
            listening.settimeout(SOON)
            watched.until(lambda: bool(select.select([listening], [], [], 0)[0]))
            with listening.accept()[0] as peer:
                peer.sendall(words)
            watched.until(lambda: watched.wire.receive() is None and watched.wire.due is not None)
        watched.wire.close()
    assert watched.wire.due is None


INVITE = b"\x01\x06invite\0\0"


@pytest.fixture
def listening(path: Path) -> Iterator[socket.socket]:
    """Stand where a bus would, and say what one would not."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(1)
        listening.settimeout(SOON)
        yield listening


def test_a_piece_of_a_message_ends_the_waiting_so_that_the_caller_sees_its_deadline(path: Path, listening: socket.socket) -> None:
    """A bus that says one byte a second would otherwise be listened to for ever."""
    watched = Watched(path)
    with listening.accept()[0] as peer:
        peer.sendall(OPENING + INVITE)
        assert watched.next() == [b"invite", b""]
        peer.sendall(bytes([LONG]) + (50_000_000).to_bytes(8, "big") + b"a")
        began = monotonic()
        assert watched.wire.receive(WAIT) is None
        assert monotonic() - began < PATIENCE / 2
        began = monotonic()
        assert watched.wire.receive(WAIT) is None
        assert monotonic() - began >= PATIENCE * 0.9
        watched.wire.close()


def test_words_without_end_that_are_no_message_end_with_the_turn(
    path: Path, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever receives gets its turn while more of them wait."""
    monkeypatch.setattr(unix_wire, "TURN", 1000)
    watched = Watched(path)
    with listening.accept()[0] as peer:
        peer.sendall(OPENING + INVITE)
        assert watched.next() == [b"invite", b""]
        command = bytes([COMMAND, 7]) + b"\x04PING\0\0"
        peer.sendall(command * (100_000 // len(command)) + b"\x01\x04word\0\0")
        assert watched.wire.receive() is None
        assert watched.poll.poll(0) != []
        assert watched.next() == [b"word", b""]
        watched.wire.close()


def test_a_connection_that_ended_with_its_first_word_opens_no_other(path: Path, listening: socket.socket) -> None:
    """The next one begins with an empty message as the first did."""
    watched = Watched(path)
    with listening.accept()[0] as peer:
        peer.sendall(OPENING + INVITE)
        peer.recv(1000)
    assert watched.next() == [b"invite", b""]
    watched.until(lambda: watched.wire.receive() is None and bool(select.select([listening], [], [], 0)[0]))
    with listening.accept()[0] as peer:
        peer.settimeout(SOON)
        assert not watched.wire.send([b"stale", b""])
        assert peer.recv(1000) == OPENING
        peer.sendall(OPENING)
        watched.until(lambda: watched.wire.receive() is None and bool(select.select([peer], [], [], 0)[0]))
        assert peer.recv(1000) == b"\0\0"
        peer.sendall(INVITE)
        assert watched.next() == [b"invite", b""]
        assert watched.wire.send([b"fresh", b""])
        watched.wire.close()
