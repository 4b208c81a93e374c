"""A channel: msgpack messages, with descriptors, over a SOCK_SEQPACKET socket.

Keeper, kernel, bus, zygotes, workers and processes talk to each other over channels; ZeroMQ is for clients and for messages between processes.

1. A frame is the msgpack array ``[version, epoch, sequence, body]``. ``epoch`` is the running kernel's, as the sender knows it; ``sequence`` counts the
   sender's frames on this channel object; ``body`` is a tagged array (``msgspec.Struct`` with ``array_like``).
2. A frame above ``INLINE_LIMIT`` travels in a sealed memfd: the packet holds ``[version, epoch, sequence, nil, size]`` and the memfd is the first of its
   descriptors. A seqpacket socket refuses large packets (EMSGSIZE) and truncates silently on a short read, so sizes are bounded here and nowhere else.
3. Nothing blocks unless asked to: each call says so by itself, so it does not matter who else holds this end and how. What the socket does not take waits in
   an outbox that is bounded in frames and bytes; a peer that lets it overflow is in violation.
4. A dead peer's socket reports ECONNRESET first and what the peer had sent after it: an error is skipped once, and only an empty read is the end. What the
   peer sent can still be received after a send has found it gone.
5. Descriptors arrive close-on-exec (``recvmsg`` with MSG_CMSG_CLOEXEC; ``socket.recv_fds`` ignores its flags). Those of a frame that is dropped are closed;
   those of a frame that is given are the receiver's, wanted or not.
6. A body is decoded from a copy of its own: ``msgspec.Raw`` fields are views of what was decoded, and outlive the next receive.
"""

import array
import errno
import fcntl
import mmap
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, Generic, NamedTuple, Optional, TypeVar

import msgspec

from dadms_ipc.errors import ChannelClosed, HostFailure, PeerViolation, RequestRefused

VERSION = 1  # of the frame; a receiver drops frames of any other
INLINE_LIMIT = 64 * 1024  # bytes: well under the default SO_SNDBUF (212 992), above which send gives EMSGSIZE
FRAME_LIMIT = 64 * 1024 * 1024  # bytes: the largest body that travels by memfd
FDS_LIMIT = 16  # descriptors a frame
OUTBOX_FRAMES = 4096  # a socket holds about 278 small packets; this bounds what waits behind them
OUTBOX_BYTES = 2 * FRAME_LIMIT  # what the waiting frames hold, those in memfds included

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_ANCILLARY = socket.CMSG_SPACE(FDS_LIMIT * 4)
_BUFFER = INLINE_LIMIT + 1024  # bytes; the slack is the header's
_RECEIVE = int(socket.MSG_CMSG_CLOEXEC)  # plain numbers: testing a flag of an enum costs as much as a system call
_RECEIVE_NOW = int(socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)
_SEND = int(socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
_CUT = int(socket.MSG_TRUNC)
_CUT_FDS = int(socket.MSG_CTRUNC)
_CUT_ANY = _CUT | _CUT_FDS
_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ECONNREFUSED, errno.ENOTCONN, errno.ESHUTDOWN}
_encoder = msgspec.msgpack.Encoder()

Received = TypeVar("Received")


class Frame(NamedTuple, Generic[Received]):
    """One received message and where it stands in its sender's history."""

    epoch: int
    sequence: int
    body: Received
    fds: list[int]  # owned by the receiver


_frame: Callable[[tuple[int, int, Any, list[int]]], Frame[Any]] = partial(
    tuple.__new__, Frame
)  # without the step in Python that Frame() takes


class _Waiting(NamedTuple):
    """A packet that the socket did not take, with duplicates of its descriptors."""

    packet: bytes
    fds: list[int]
    size: int  # bytes that it holds, its memfd included


@lru_cache(maxsize=64)  # a vocabulary's decoder costs a hundred times a frame's decoding; forked children find it made
def decoder(receives: Any) -> msgspec.msgpack.Decoder[Any]:
    """Give the decoder of frames with a body of this type; a fork server makes those that its children will need."""
    fields: list[Any] = [("version", int), ("epoch", int), ("sequence", int), ("body", Optional[receives]), ("size", int, 0)]  # noqa: UP045 - not all types know |
    return msgspec.msgpack.Decoder(msgspec.defstruct("Packet", fields, array_like=True))


class Channel(Generic[Received]):
    """One end of a channel; ``receives`` is the union of Structs that the other end may send."""

    def __init__(self, sock: socket.socket, receives: Any, *, epoch: int = 0) -> None:
        if sock.gettimeout() is not None:
            sock.settimeout(None)  # else Python polls before each call
        self._sock = sock
        self._decode = decoder(receives).decode
        self._outbox: deque[_Waiting] = deque()
        self._outbox_size = 0  # bytes
        self._buffer = mmap.mmap(-1, _BUFFER, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # a page is taken when a packet first reaches it
        self._buffers = [self._buffer]  # as recvmsg wants it
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

    @property
    def backlog(self) -> int:
        """Count the frames that wait for the socket."""
        return len(self._outbox)

    def send(self, body: msgspec.Struct, fds: Sequence[int] = ()) -> None:
        """Send a message, or queue it behind those that wait; descriptors stay the caller's.

        Raises ChannelClosed when the peer is gone, PeerViolation when it has let the outbox fill, HostFailure when descriptors ran out, RequestRefused for
        a message that is too large.
        """
        self._sequence += 1
        packet = _encoder.encode((VERSION, self.epoch, self._sequence, body))
        size = len(packet)
        if size <= INLINE_LIMIT:
            if fds or self._outbox or not self._write(packet, fds):
                self._post(packet, fds, size)
            return
        if size > FRAME_LIMIT:
            raise RequestRefused(f"cannot send {type(body).__name__}: {size} bytes, at most {FRAME_LIMIT} travel in a frame")
        memfd = _sealed(packet)
        try:
            self._post(_encoder.encode((VERSION, self.epoch, self._sequence, None, size)), [memfd, *fds], size)
        finally:
            os.close(memfd)

    def _post(self, packet: bytes, fds: Sequence[int], size: int) -> None:
        if len(fds) > FDS_LIMIT:
            raise RequestRefused(f"cannot send {len(fds)} descriptors: at most {FDS_LIMIT} travel in a frame")
        if not self._outbox and self._write(packet, fds):
            return
        if len(self._outbox) >= OUTBOX_FRAMES or self._outbox_size + size > OUTBOX_BYTES:
            raise PeerViolation(f"the peer has not read for {len(self._outbox)} frames, {self._outbox_size} bytes")
        kept: list[int] = []
        try:
            kept.extend(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in fds)
        except OSError as error:
            _close(kept)
            raise HostFailure(f"cannot keep descriptors for a peer that does not read: {error.strerror}") from error
        self._outbox.append(_Waiting(packet, kept, size))
        self._outbox_size += size

    def _write(self, packet: bytes, fds: Sequence[int]) -> bool:
        """Hand a packet to the socket; False when it would block."""
        while True:
            try:
                if fds:
                    self._sock.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))], _SEND)
                else:
                    self._sock.send(packet, _SEND)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno == errno.ECONNRESET and not self._is_reset:
                    self._is_reset = True  # the peer's unread input was dropped; the next call tells whether it lives
                    continue
                if error.errno in _GONE or self._sock.fileno() < 0:
                    raise ChannelClosed(f"the peer's end is gone: {error.strerror}") from error
                raise HostFailure(f"cannot send a frame with {len(fds)} descriptors: {error.strerror}") from error
            return True

    def flush(self) -> bool:
        """Write what waits; True when nothing waits any more."""
        while self._outbox:
            waiting = self._outbox[0]
            if not self._write(waiting.packet, waiting.fds):
                return False
            self._outbox.popleft()
            self._outbox_size -= waiting.size
            _close(waiting.fds)
        return True

    def receive(self, timeout: float | None = 0.0) -> Frame[Received] | None:
        """Give the next message, or None when none came within ``timeout`` seconds (None: wait for ever); what waits is written meanwhile.

        Raises ChannelClosed at the end of the stream, PeerViolation for a frame that breaks the protocol (it is dropped; the channel stays usable).
        """
        how = _RECEIVE if timeout is None and not self._outbox else _RECEIVE_NOW
        deadline: float | None = None
        while True:
            try:
                size, ancillary, flags, _ = self._sock.recvmsg_into(self._buffers, _ANCILLARY, how)
            except BlockingIOError:
                if timeout is not None:
                    if timeout <= 0.0:
                        return None
                    now = time.monotonic()
                    deadline = now + timeout if deadline is None else deadline
                    if now > deadline:
                        return None
                self._wait(deadline)
                how = _RECEIVE_NOW
                continue
            except ConnectionResetError as error:
                if self._is_reset:
                    raise ChannelClosed("the peer's end is gone") from error
                self._is_reset = True
                continue
            except (OSError, ValueError) as error:
                raise ChannelClosed(f"the channel is gone: {error}") from error
            break
        fds = _descriptors(ancillary) if ancillary else []
        if size == 0:
            _close(fds)
            raise ChannelClosed("the peer closed its end")
        try:
            if flags & _CUT_ANY:
                what = (
                    f"a packet above {_BUFFER} bytes was cut"
                    if flags & _CUT
                    else f"descriptors were cut from a packet: above {FDS_LIMIT} of them, or this process can open no more"
                )
                raise PeerViolation(what)
            head = self._decode(self._buffer[:size])
            if head.body is None or head.version != VERSION:
                head = self._content(head, fds)
            return _frame((head.epoch, head.sequence, head.body, fds))
        except (msgspec.DecodeError, OSError, ValueError, RecursionError) as error:
            _close(fds)
            raise PeerViolation(f"cannot read a frame: {error}") from error
        except BaseException:
            _close(fds)
            raise

    def _content(self, head: Any, fds: list[int]) -> Any:
        """Give the frame that travelled in a memfd; any other without a body, or of another version, breaks the protocol."""
        if head.version != VERSION:
            raise PeerViolation(f"a frame of version {head.version}")
        if not fds:
            raise PeerViolation("a frame without a body")
        head = self._decode(_content(fds.pop(0), head.size))
        if head.version != VERSION or head.body is None:
            raise PeerViolation("a large frame without a body")
        return head

    def _wait(self, deadline: float | None) -> None:
        """Wait until there is something to read, or the deadline; write what waits meanwhile."""
        poll = select.poll()
        while True:
            poll.register(self._sock, select.POLLIN | (select.POLLOUT if self._outbox else 0))
            events = poll.poll(None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000.0)
            if not events or events[0][1] & ~select.POLLOUT:
                return
            self.flush()

    def close(self) -> None:
        """Close this end; what waits in the outbox is dropped."""
        for waiting in self._outbox:
            _close(waiting.fds)
        self._outbox.clear()
        self._outbox_size = 0
        self._sock.close()


def pair() -> tuple[socket.socket, socket.socket]:
    """Make the two ends of a channel, close-on-exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def adopt(fd: int) -> socket.socket:
    """Take ownership of a descriptor that is one end of a channel."""
    return socket.socket(fileno=fd)


def _sealed(content: bytes) -> int:
    memfd = os.memfd_create("dadms-frame", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(memfd, view) :]
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(memfd)
        raise
    return memfd


def _content(memfd: int, size: int) -> bytes:
    """Read a large frame out of its memfd, which is closed."""
    try:
        if size > FRAME_LIMIT:
            raise PeerViolation(f"a frame of {size} bytes, at most {FRAME_LIMIT}")
        if fcntl.fcntl(memfd, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            raise PeerViolation("a frame in a memfd that its sender can still change")
        if os.fstat(memfd).st_size != size:  # before anything is allocated for it
            raise PeerViolation(f"a frame of {size} bytes in a memfd of {os.fstat(memfd).st_size}")
        return os.pread(memfd, size, 0)
    finally:
        os.close(memfd)


def _descriptors(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds.tolist()


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
    fds.clear()
