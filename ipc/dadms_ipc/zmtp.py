"""ZMTP 3.1 as the side that connects speaks it over a unix socket: bytes in, messages out (RFC 37 of the ZeroMQ project).

1. Only the mechanism NULL: on a unix socket the operating system says who speaks. Over a network libzmq speaks, with CURVE.
2. GREETING and READY may leave together; nothing else may before the other side's READY, which is when it takes messages.
3. Commands behind READY (heartbeats, subscriptions) are nobody's here, and are passed over.
4. Whatever breaks the protocol raises PeerViolation, and what was read of that connection is worth nothing any more.
"""

from collections import deque
from typing import Final

from dadms_ipc.envelope import HEADER_LIMIT
from dadms_ipc.errors import PeerViolation

MORE: Final = 1  # flags of a frame: another one of the same message follows
LONG: Final = 2  # its size has 8 bytes
COMMAND: Final = 4  # it is no message's
SHORT_MOST: Final = 255  # bytes of a frame whose size has one byte
FRAMES_LIMIT: Final = 16  # of a message: the bus's have two
GREETING_BYTES: Final = 64
MECHANISM: Final = b"NULL".ljust(20, b"\0")


def _property(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + len(value).to_bytes(4, "big") + value


_READY: Final = b"\x05READY" + _property(b"Socket-Type", b"DEALER") + _property(b"Identity", b"")
OPENING: Final = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + MECHANISM + bytes(32) + bytes([COMMAND, len(_READY)]) + _READY
PROBE: Final = b"\0\0"  # an empty message, with which a new connection begins (ZMQ_PROBE_ROUTER)


def encode(header: bytes, body: bytes) -> list[bytes]:
    """Give the pieces of a message of two frames; a large body is not copied."""
    size, length = len(header), len(body)
    head = b"%c%c%b" % (MORE, size, header) if size <= SHORT_MOST else b"%c%b%b" % (MORE | LONG, size.to_bytes(8, "big"), header)
    if length <= SHORT_MOST:
        return [b"%b\0%c%b" % (head, length, body)]
    return [b"%b%c%b" % (head, LONG, length.to_bytes(8, "big")), body]


class Reader:
    """What came over one connection, and the whole messages in it."""

    __slots__ = ("_frames", "_limit", "_needed", "_pieces", "_size", "has_greeted", "is_ready", "messages")

    def __init__(self, limit: int) -> None:
        self._limit = limit  # bytes of a frame
        self.messages: deque[list[bytes]] = deque()
        self.has_greeted = False  # the other side
        self.is_ready = False  # it takes messages
        self._frames: list[bytes] = []  # of the message that has begun
        self._pieces: list[bytes] = []  # of what is not whole yet
        self._size = 0  # bytes of these
        self._needed = GREETING_BYTES  # before there is any use in looking again

    @property
    def missing(self) -> int:
        """How many bytes will come at least."""
        return self._needed - self._size

    def feed(self, data: bytes) -> None:
        """Take what came next."""
        if self._pieces:
            self._pieces.append(data)
            self._size += len(data)
            if self._size < self._needed:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        place = self._read(data)
        self._size = len(data) - place
        if self._size:
            self._pieces.append(data[place:] if place else data)

    def _read(self, data: bytes) -> int:
        """Take what is whole; gives where the rest begins, and notes how much of it is needed."""
        place, end, frames = 0, len(data), self._frames
        if not self.has_greeted:
            if end < GREETING_BYTES:
                return 0
            self._greeted(data[:GREETING_BYTES])
            place = GREETING_BYTES
        while end - place >= 2:
            flags = data[place]
            if not flags & LONG:
                size, start = data[place + 1], place + 2
            elif end - place < 9:
                self._needed = 9
                return place
            else:
                size, start = int.from_bytes(data[place + 1 : place + 9], "big"), place + 9
            if flags > MORE | LONG and flags & ~LONG != COMMAND:
                raise PeerViolation(f"a frame with the flags {flags}")
            if size > self._limit:
                raise PeerViolation(f"a frame of {size} bytes, at most {self._limit}")
            behind = start + size
            if behind > end:
                self._needed = behind - place
                return place
            frame = data[start:behind]
            place = behind
            if flags & COMMAND:
                self._command(frame)
            elif not self.is_ready:
                raise PeerViolation("a message before READY")
            else:
                frames.append(frame)
                if not flags & MORE:
                    self.messages.append(frames)
                    self._frames = frames = []
                elif size > HEADER_LIMIT:
                    raise PeerViolation(f"a frame of {size} bytes before the last of a message, at most {HEADER_LIMIT}")
                elif len(frames) == FRAMES_LIMIT:
                    raise PeerViolation(f"a message of more than {FRAMES_LIMIT} frames")
        self._needed = 2
        return place

    def _greeted(self, greeting: bytes) -> None:
        if greeting[0] != 0xFF or greeting[9] != 0x7F or greeting[10] < 3:
            raise PeerViolation("whoever listens does not speak ZMTP 3")
        if greeting[12:32] != MECHANISM:
            name = greeting[12:32].rstrip(b"\0").decode("ascii", "replace")
            raise PeerViolation(f'whoever listens wants the mechanism "{name}"')
        self.has_greeted = True

    def _command(self, frame: bytes) -> None:
        if self.is_ready:
            return
        if frame[:6] != b"\x05READY":
            raise PeerViolation("a handshake without READY")
        self.is_ready = True
