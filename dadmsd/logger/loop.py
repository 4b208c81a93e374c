"""The logger's loop: pipes in, files out.

1. The keeper gives it the read end of each pipe (``Stored``) and takes it back (``Drop``): what is left is written first, then ``Drained`` is said.
2. It holds READ_SIZE bytes at a time and an unfinished line a pipe: it never grows with what is written to it.
3. It may be killed: the pipes live on in the keeper, and the next logger marks in every file where it began. SIGTERM is not for it: it ends when the keeper says
   so, or is gone, and then writes what is left; a service manager that signals everybody must not cut the last words of those who obey.
"""

import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from dadms_ipc.channel import Channel
from dadms_ipc.errors import ChannelClosed, PeerViolation
from dadmsd.keeper import messages
from dadmsd.keeper.store import log_name
from dadmsd.logger.files import LogFiles
from dadmsd.logger.lines import Lines

READ_SIZE = 64 * 1024  # bytes: the capacity of a pipe
LEFT_LIMIT = 1024 * 1024  # bytes that a dropped pipe can hold (pipe-max-size); a writer that goes on is none of ours
LAST_WORDS = 2.0  # seconds after the keeper's end for writers to end: the kernel kills them
RESTARTED = f"the logger was restarted here: up to {READ_SIZE // 1024} KiB before this line may be missing"


class Pipe:
    """One process's output."""

    def __init__(self, name: str, fd: int, files: LogFiles) -> None:
        os.set_blocking(fd, False)
        tag, self.stem = log_name(name)
        self.fd = fd
        self._files = files
        self._file = files.take(self.stem)
        self._lines = Lines(tag)

    def read(self) -> int:
        """Write what one read gives; gives its size, 0 at the end, and -1 when nothing waits."""
        try:
            chunk = os.read(self.fd, READ_SIZE)
        except BlockingIOError:
            return -1
        lines = self._lines.take(chunk, time.time())
        if lines:
            self._file.write(lines)
        return len(chunk)

    def note(self, text: str) -> None:
        """Write a line of our own."""
        self._file.write(self._lines.note(text, time.time()))

    def close(self) -> None:
        """Write what is left, and close."""
        left = LEFT_LIMIT
        while left > 0 and (size := self.read()) > 0:
            left -= size
        if lines := self._lines.end(time.time()):
            self._file.write(lines)
        os.close(self.fd)
        self._files.leave(self.stem)


class Logger:
    """Pipes by the name of their entry."""

    def __init__(self, channel: Channel[messages.FromKeeper]) -> None:
        self._channel = channel
        self._selector = selectors.DefaultSelector()
        self._pipes: dict[str, Pipe] = {}
        self._files: LogFiles | None = None
        self._marks = False  # entries that come now were another logger's
        self._ends: float | None = None

    def run(self) -> None:
        """Run until the keeper asks for the end, or is gone."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._register_channel()
        while self._ends is None or (self._selector.get_map() and time.monotonic() < self._ends):
            timeout = None if self._ends is None else max(0.0, self._ends - time.monotonic())
            for key, mask in self._selector.select(timeout):
                if self._selector.get_map().get(key.fd) is key:  # else closed, and its number used again, by an earlier event of this batch
                    key.data(mask)
        for name in list(self._pipes):
            self._close(name)

    def _register_channel(self) -> None:
        wants = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._channel.waits_to_write else 0)
        if self._channel.fileno() not in self._selector.get_map():
            self._selector.register(self._channel, wants, self._hear)
        elif self._selector.get_key(self._channel).events != wants:
            self._selector.modify(self._channel, wants, self._hear)

    def _hear(self, _mask: int) -> None:
        try:
            self._channel.flush()
            while (frame := self._channel.receive()) is not None:
                self._obey(frame.body, frame.fds)
                if self._ends is not None:
                    return
        except PeerViolation as error:
            print(f"logger: {error}", file=sys.stderr, flush=True)  # noqa: T201 - stderr is servers.log
        except ChannelClosed:
            self._end(LAST_WORDS)
            return
        self._register_channel()

    def _obey(self, body: messages.FromKeeper, fds: list[int]) -> None:
        match body:
            case messages.Welcome():
                self._files = LogFiles(Path(body.state_dir) / "logs")
                self._marks = body.incarnation > 1
                self._channel.send(messages.Ready())
            case messages.StoreSent():
                self._marks = False
            case messages.Stored(name) if self._files is not None and fds:
                self._open(name, fds.pop(0), self._files)
            case messages.Drop(name):
                if name in self._pipes:
                    self._close(name)
                self._channel.send(messages.Drained(name))
            case messages.StopAsked():
                self._end(0.0)
        for fd in fds:
            os.close(fd)

    def _open(self, name: str, fd: int, files: LogFiles) -> None:
        if name in self._pipes:
            self._close(name)
        pipe = self._pipes[name] = Pipe(name, fd, files)
        if self._marks:
            pipe.note(RESTARTED)
        self._selector.register(fd, selectors.EVENT_READ, self._reader(pipe))

    def _reader(self, pipe: Pipe) -> Callable[[int], None]:
        def read(_mask: int) -> None:
            if pipe.read() == 0:
                self._selector.unregister(pipe.fd)  # its writers are gone; it stays until it is dropped

        return read

    def _close(self, name: str) -> None:
        pipe = self._pipes.pop(name)
        if pipe.fd in self._selector.get_map():
            self._selector.unregister(pipe.fd)
        pipe.close()

    def _end(self, lasts: float) -> None:
        self._ends = time.monotonic() + lasts
        self._selector.unregister(self._channel)
