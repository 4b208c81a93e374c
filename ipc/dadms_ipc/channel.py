"""A channel: msgpack messages, with descriptors, over a SOCK_SEQPACKET socket.

Keeper, kernel, bus, zygotes, workers and processes talk to each other over channels; ZeroMQ is for clients and for messages between processes.

1. A frame is the msgpack array ``[version, epoch, sequence, body]``. ``epoch`` is the running kernel's, as the sender knows it; ``sequence`` counts the
   sender's frames on this channel object; ``body`` is a tagged array (``msgspec.Struct`` with ``array_like``).
2. A frame above ``INLINE_LIMIT`` travels in a sealed memfd: the packet holds ``[version, epoch, sequence, nil, size]`` and the memfd is the first of its
   descriptors. A seqpacket socket refuses large packets (EMSGSIZE) and truncates silently on a short read, so sizes are bounded here and nowhere else.
3. Nothing blocks unless asked to. What the socket does not take waits in a bounded outbox; a peer that lets it overflow is in violation.
4. A dead peer's socket reports ECONNRESET first and what the peer had sent after it: an error is skipped once, and only an empty read is the end.
5. Descriptors arrive close-on-exec (``recvmsg`` with MSG_CMSG_CLOEXEC; ``socket.recv_fds`` ignores its flags). What a receiver does not expect is closed.
"""

import array
import fcntl
import os
import select
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from dadms_ipc.errors import ChannelClosed, PeerViolation

VERSION = 1  # of the frame; a receiver drops frames of any other
INLINE_LIMIT = 64 * 1024  # bytes: well under the default SO_SNDBUF (212 992), above which send gives EMSGSIZE
FRAME_LIMIT = 64 * 1024 * 1024  # bytes: the largest body that travels by memfd
FDS_LIMIT = 16  # descriptors a frame
OUTBOX_FRAMES = 4096  # a socket holds about 278 small packets; this bounds what waits behind them

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_ANCILLARY = socket.CMSG_SPACE(FDS_LIMIT * 4)
_RECEIVE_FLAGS = socket.MSG_CMSG_CLOEXEC
_HEAD = msgspec.msgpack.Decoder(list[msgspec.Raw])
_INTEGER = msgspec.msgpack.Decoder(int)

Received = TypeVar("Received")


class Frame(NamedTuple, Generic[Received]):
    """One received message and where it stands in its sender's history."""

    epoch: int
    sequence: int
    body: Received
    fds: list[int]  # owned by the receiver


class Channel(Generic[Received]):
    """One end of a channel; ``receives`` is the union of Structs that the other end may send."""

    def __init__(self, sock: socket.socket, receives: Any, *, epoch: int = 0) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._decoder: msgspec.msgpack.Decoder[Received] = msgspec.msgpack.Decoder(receives)
        self._encoder = msgspec.msgpack.Encoder()
        self._outbox: deque[tuple[bytes, list[int]]] = deque()
        self._buffer = bytearray(INLINE_LIMIT + 1024)  # the slack is the header's
        self._sequence = 0
        self._is_reset = False
        self.epoch = epoch  # stamped on every frame sent

    def fileno(self) -> int:
        """Give the descriptor, for a selector."""
        return self._sock.fileno()

    @property
    def waits_to_write(self) -> bool:
        """Tell whether frames wait for the socket: register for writing while it is so."""
        return bool(self._outbox)

    def send(self, body: msgspec.Struct, fds: Sequence[int] = ()) -> None:
        """Send a message, or queue it behind those that wait; descriptors stay the caller's.

        Raises ChannelClosed when the peer is gone, PeerViolation when it has not read for OUTBOX_FRAMES frames.
        """
        self._sequence += 1
        packet = self._encoder.encode((VERSION, self.epoch, self._sequence, body))
        if len(packet) <= INLINE_LIMIT:
            self._post(packet, fds)
            return
        if len(packet) > FRAME_LIMIT:
            raise PeerViolation(f"cannot send {type(body).__name__}: {len(packet)} bytes, at most {FRAME_LIMIT} travel in a frame")
        memfd = _sealed(packet)
        try:
            self._post(self._encoder.encode((VERSION, self.epoch, self._sequence, None, len(packet))), [memfd, *fds])
        finally:
            os.close(memfd)

    def _post(self, packet: bytes, fds: Sequence[int]) -> None:
        if not self._outbox and self._write(packet, fds):
            return
        if len(self._outbox) >= OUTBOX_FRAMES:
            raise PeerViolation(f"the peer has not read for {OUTBOX_FRAMES} frames")
        self._outbox.append((packet, [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in fds]))

    def _write(self, packet: bytes, fds: Sequence[int]) -> bool:
        """Hand a packet to the socket; False when it would block."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        while True:
            try:
                self._sock.sendmsg([packet], ancillary, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return False
            except ConnectionResetError:  # the peer's unread input was dropped; the next call tells whether it lives
                continue
            except (BrokenPipeError, OSError) as error:
                raise ChannelClosed(f"the peer's end is gone: {error.strerror}") from error
            return True

    def flush(self) -> bool:
        """Write what waits; True when nothing waits any more."""
        while self._outbox:
            packet, fds = self._outbox[0]
            if not self._write(packet, fds):
                return False
            self._outbox.popleft()
            for fd in fds:
                os.close(fd)
        return True

    def receive(self, timeout: float | None = 0.0) -> Frame[Received] | None:
        """Give the next message, or None when none came within ``timeout`` seconds (None: wait for ever).

        Raises ChannelClosed at the end of the stream, PeerViolation for a frame that breaks the protocol (it is dropped; the channel stays usable).
        """
        while True:
            try:
                size, ancillary, flags, _ = self._sock.recvmsg_into([self._buffer], _ANCILLARY, _RECEIVE_FLAGS)
            except BlockingIOError:
                if timeout == 0.0 or not self._wait(timeout):
                    return None
                timeout = 0.0 if timeout is not None else None
                continue
            except ConnectionResetError as error:
                if self._is_reset:
                    raise ChannelClosed("the peer's end is gone") from error
                self._is_reset = True
                continue
            except OSError as error:
                raise ChannelClosed(f"the channel is gone: {error.strerror}") from error
            break
        fds: list[int] = []
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.extend(array.array("i", data[: len(data) - len(data) % 4]))
        if size == 0:
            _close(fds)
            raise ChannelClosed("the peer closed its end")
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise PeerViolation("a packet above the limit was cut")
            return self._parse(memoryview(self._buffer)[:size], fds)
        except (msgspec.DecodeError, OSError, ValueError) as error:
            _close(fds)
            raise PeerViolation(f"cannot read a frame: {error}") from error
        except PeerViolation:
            _close(fds)
            raise

    def _parse(self, packet: memoryview, fds: list[int]) -> Frame[Received]:
        parts = _HEAD.decode(packet)
        if len(parts) < 4 or _INTEGER.decode(parts[0]) != VERSION:
            raise PeerViolation("a frame of another version, or none at all")
        if bytes(parts[3]) == b"\xc0" and len(parts) > 4 and fds:
            size = _INTEGER.decode(parts[4])
            if size > FRAME_LIMIT:
                raise PeerViolation(f"a frame of {size} bytes, at most {FRAME_LIMIT}")
            memfd = fds.pop(0)
            try:
                if fcntl.fcntl(memfd, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
                    raise PeerViolation("a frame in a memfd that its sender can still change")
                whole = os.pread(memfd, size, 0)
            finally:
                os.close(memfd)
            parts = _HEAD.decode(whole)
            if len(parts) < 4:
                raise PeerViolation("a frame without a body")
        return Frame(_INTEGER.decode(parts[1]), _INTEGER.decode(parts[2]), self._decoder.decode(parts[3]), fds)

    def _wait(self, timeout: float | None) -> bool:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(None if timeout is None else max(0.0, timeout) * 1000.0))

    def close(self) -> None:
        """Close this end; what waits in the outbox is dropped."""
        for _, fds in self._outbox:
            _close(fds)
        self._outbox.clear()
        self._sock.close()


def pair() -> tuple[socket.socket, socket.socket]:
    """Make the two ends of a channel, close-on-exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def adopt(fd: int) -> socket.socket:
    """Take ownership of a descriptor that is one end of a channel."""
    return socket.socket(fileno=fd)


def _sealed(content: bytes) -> int:
    memfd = os.memfd_create("dadms-frame", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(content)
    while view:
        view = view[os.write(memfd, view) :]
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, _SEALS)
    return memfd


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
    fds.clear()
