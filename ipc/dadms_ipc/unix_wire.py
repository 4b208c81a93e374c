"""A client's connection to a door of this machine: ZMTP spoken on the unix socket itself, on the caller's own thread.

1. A thread of libzmq's between a program and its socket costs a wake-up each way, and most of what a request takes is wake-ups (docs/decisions).
2. The door sees an ordinary DEALER. Nothing but an empty message is said at a new connection before the bus has spoken, so no stale message precedes HELLO.
3. What is sent together leaves together, with ``push``. What the socket has no room for waits here, at most UNSENT and one message; it is lost with the connection, as the
   session knows: what wants an answer is said again.
"""

import os
import socket
import struct
from time import monotonic

from dadms_ipc.envelope import BODY_LIMIT, HEADER_LIMIT, Door
from dadms_ipc.errors import PeerViolation
from dadms_ipc.wires import NOW, PATIENCE, Watcher
from dadms_ipc.zmtp import OPENING, PROBE, Reader, encode

RETRY_FIRST, RETRY_LAST = 0.010, 0.050  # seconds between two attempts to connect: a restarted bus is found within tens of milliseconds
READ, READ_MOST = 64 * 1024, 1024 * 1024  # bytes at once, and of a large message
TURN = (
    4 * 1024 * 1024
)  # bytes that are read without a whole message before the caller looks at its deadline: a bus gone wrong may never end
UNSENT = 256 * 1024  # bytes: as much as a batch
JOINED = 32 * 1024  # bytes that are copied together: one piece costs less than several
PIECES = 64  # that are handed over together otherwise
SEND_BUFFER = (
    1024 * 1024
)  # bytes that are asked for: acknowledgements of a program that then does something else must find room. The system may give less

_DONT_WAIT = int(socket.MSG_DONTWAIT)
_SEND = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
_TIMEOUT = struct.pack("ll", int(PATIENCE), int(PATIENCE % 1 * 1e6))


class UnixWire:
    """The way to one door of this machine; what its methods promise is in wires.py."""

    def __init__(self, path: str, door: Door, watcher: Watcher) -> None:
        self.door = door
        self.is_quiet = True
        self.is_settled = False
        self.due: float | None = None
        self._path = path
        self._watcher = watcher
        self._interval = RETRY_FIRST
        self._socket: socket.socket | None = None
        self._reader = Reader(BODY_LIMIT + HEADER_LIMIT)
        self._has_probed = False  # this connection
        self._has_heard = False  # a word of the bus on it
        self._unsent: list[bytes | memoryview] = []
        self._unsent_bytes = 0
        self._wants_room = False
        self._connect(monotonic())

    @property
    def fd(self) -> int:
        """Descriptor; -1 while there is no connection."""
        return -1 if self._socket is None else self._socket.fileno()

    def has_more(self) -> bool:
        """Tell whether a whole message waits here."""
        return bool(self._reader.messages)

    def receive(self, flags: int = NOW) -> list[bytes] | None:
        """Give the next message, if there is one."""
        messages = self._reader.messages
        if not messages:
            self._fill(_DONT_WAIT if flags else 0)
            messages = self._reader.messages
            if not messages:
                return None
        frames = messages.popleft()
        self.is_quiet = not messages
        return frames

    def _fill(self, flags: int) -> None:
        """Read until there is a whole message, or nothing more, or a turn is over; wait for the first piece only."""
        reader, connection, left = self._reader, self._socket, TURN
        while connection is not None and not reader.messages and left > 0:
            missing = reader.missing
            try:
                data = connection.recv(READ if missing <= READ else min(missing, READ_MOST), flags)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            try:
                reader.feed(data)
            except PeerViolation:
                data = b""
            if not data:
                self._lose()
                return
            if not self._has_heard and reader.is_ready:
                self._open(reader)
                connection = self._socket
            left -= len(data)
            flags = _DONT_WAIT

    def _open(self, reader: Reader) -> None:
        """Say the first word of a connection; the answer opens the way for all others."""
        if not self._has_probed:
            self._has_probed = True
            self._put([PROBE])
            self.push()
        if reader.messages and self._socket is not None:  # else it ended with that word
            self._has_heard = True
            self._interval = RETRY_FIRST

    def send(self, frames: list[bytes]) -> bool:
        """Take a message; False when there is no room."""
        if not self._has_heard:
            return False
        if self._unsent_bytes > UNSENT:
            self.push()
            if self._unsent_bytes > UNSENT or not self._has_heard:
                return False
        self._put(encode(frames[0], frames[1]))
        return True

    def _put(self, pieces: list[bytes]) -> None:
        self._unsent += pieces
        for piece in pieces:
            self._unsent_bytes += len(piece)

    def push(self) -> None:
        """Have what was sent leave, as far as there is room."""
        connection, unsent = self._socket, self._unsent
        if connection is None:
            return
        while unsent:
            if len(unsent) > 1 and self._unsent_bytes <= JOINED:
                unsent[:] = [b"".join(unsent)]
            try:
                sent = connection.send(unsent[0], _SEND) if len(unsent) == 1 else connection.sendmsg(unsent[:PIECES], (), _SEND)
            except BlockingIOError:
                break
            except OSError:
                self._lose()
                return
            self._unsent_bytes -= sent
            while sent and sent >= len(unsent[0]):
                sent -= len(unsent.pop(0))
            if sent:
                unsent[0] = memoryview(unsent[0])[sent:]
        self.is_settled = not unsent
        if self._wants_room is self.is_settled:
            self._wants_room = not self.is_settled
            self._watcher.wants_room(connection.fileno(), self._wants_room)

    # connections

    def revive(self, now: float) -> None:
        """Connect again, when that is due."""
        if self.due is not None and now >= self.due:
            self._connect(now)

    def close(self, linger: int | None = None) -> None:  # noqa: ARG002 - what has left is the system's to deliver
        """Close the connection."""
        self._drop()
        self.due = None

    def _connect(self, now: float) -> None:
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connecting.setblocking(False)  # who finds the queue of a busy door full tries again
            connecting.connect(self._path)
            connecting.setblocking(True)
            connecting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
            connecting.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            connecting.send(OPENING, _SEND)  # an empty buffer takes it whole
        except OSError:
            connecting.close()
            self._retry(now)
            return
        self.due = None
        self._socket = connecting
        self.is_settled = True
        self._watcher.joined(connecting.fileno())

    def _retry(self, now: float) -> None:
        spread = 1.0 + os.urandom(1)[0] / 512.0  # so that a thousand clients of a bus that was restarted do not come at once
        self.due = now + self._interval * spread
        self._interval = min(RETRY_LAST, 2 * self._interval)

    def _lose(self) -> None:
        """Note that the connection is gone; what was received whole stays."""
        received = self._reader.messages
        self._drop()
        self._reader.messages.extend(received)
        self.is_quiet = not received
        self._retry(monotonic())

    def _drop(self) -> None:
        """Forget the connection and what was on its way."""
        dropped, self._socket = self._socket, None
        if dropped is not None:
            self._watcher.left(dropped.fileno())
            dropped.close()
        self._reader = Reader(BODY_LIMIT + HEADER_LIMIT)
        self._has_probed = self._has_heard = self._wants_room = self.is_settled = False
        self.is_quiet = True
        self._unsent.clear()
        self._unsent_bytes = 0
