"""The logger's loop: pipes in, lines out.

1. The keeper gives it the read end of each pipe (``Stored``) and takes it back (``Drop``): what is left is written first, then ``Drained`` is said.
2. Every pipe in which something waits has a look's worth of lines written in turn. It holds one look at a time: it never grows with what is written to it.
3. A log that did not take what it lost stays, also when nobody writes to it any more, until it takes that.
4. It may be killed: the pipes live on in the keeper, what was not written is still in them (pipe.py), and the next logger marks in every log where it began. SIGTERM is
   not for it: it ends when the keeper says so, or is gone, and then writes what is left; a service manager that signals everybody must not cut the last words of those
   who obey.
"""

import contextlib
import os
import select
import signal
import time
from collections import deque
from pathlib import Path

from dadms_ipc.channel import Channel
from dadms_ipc.errors import ChannelClosed, DadmsError, PeerViolation
from dadmsd import config as configuration
from dadmsd.keeper import messages
from dadmsd.keeper.store import log_name
from dadmsd.logger import last
from dadmsd.logger.files import LogFiles
from dadmsd.logger.journald import Journal, JournalLog
from dadmsd.logger.losses import Losses
from dadmsd.logger.peeking import Peephole
from dadmsd.logger.pipe import Pipe, Step
from dadmsd.logger.rate import Allowance
from dadmsd.logger.sink import Busy, Destination, Sink
from dadmsd.stderr import say

LOOK_SIZE = 64 * 1024  # bytes: the capacity of a pipe
LAST_WORDS = 2.0  # seconds after the keeper's end for writers to end: the kernel kills them
LAST_TRIES = 1.0  # seconds at the end for a log that takes nothing just now
AGAIN = 0.1  # seconds until a log that took nothing is tried again
MARK_AGAIN = 1.0  # seconds until losses are told where the log took nothing
RESTARTED = "the logger was restarted here: lines before this one may be repeated after it"
_READ = select.EPOLLIN | select.EPOLLET  # told once of what is new: an unfinished line stays in its pipe


class Logger:
    """Pipes by the name of their entry."""

    def __init__(self, channel: Channel[messages.FromKeeper]) -> None:
        self._channel = channel
        self._wants = 0  # what the channel is watched for
        self._epoll = select.epoll()
        self._pipes: dict[str, Pipe] = {}
        self._by_fd: dict[int, str] = {}
        self._sinks: dict[str, Sink] = {}
        self._ready: deque[str] = deque()  # names of pipes to look at, each once
        self._later: dict[str, float] = {}  # names of pipes to look at again, and when (monotonic seconds)
        self._mark_at: float | None = None
        self._peephole = Peephole(LOOK_SIZE)
        self._settings = configuration.Logger()
        self._files: LogFiles | None = None
        self._losses: Losses | None = None
        self._journal: Journal | None = None
        self._marks = False  # entries that come now were another logger's
        self._ends: float | None = None
        self._private_dir = ""  # runtime directory of a private daemon
        self._orphaned = ""  # the same, once its keeper is gone

    def run(self) -> None:
        """Run until the keeper asks for the end, or is gone."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._watch_channel()
        while self._ends is None or (self._by_fd and time.monotonic() < self._ends):
            self._turn()
        for pipe in self._pipes.values():
            pipe.drop()
        self._ends = time.monotonic() + LAST_TRIES
        self._ready.extend(name for name in self._pipes if name not in self._ready)
        while self._pipes and time.monotonic() < self._ends:
            self._turn()
        for name in list(self._pipes):
            self._close(name)
        if self._orphaned:
            last.end_what_is_left(self._orphaned)

    def _turn(self) -> None:
        for fd, mask in self._epoll.poll(self._timeout()):
            if fd == self._channel.fileno():
                self._hear()
            elif (name := self._by_fd.get(fd)) is not None:
                self._look_at(name)
                if mask & select.EPOLLHUP:  # its writers are gone; it stays until it is dropped
                    self._unwatch(self._pipes[name])
        now = time.monotonic()
        for name in [name for name, at in self._later.items() if at <= now]:
            self._look_at(name)
        for _ in range(len(self._ready)):
            name = self._ready.popleft()
            if (pipe := self._pipes.get(name)) is not None:
                self._went(name, pipe, pipe.step(now), now)
        if self._mark_at is not None and self._mark_at <= now:
            self._mark(now)

    def _timeout(self) -> float:
        if self._ready:
            return 0.0
        times = [at for at in (self._ends, self._mark_at, *self._later.values()) if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else -1.0

    def _look_at(self, name: str) -> None:
        self._later.pop(name, None)
        if name not in self._ready:
            self._ready.append(name)

    def _went(self, name: str, pipe: Pipe, step: Step, now: float) -> None:
        if pipe.sink.has_losses and self._mark_at is None:
            self._mark_at = now + MARK_AGAIN
        match step:
            case Step.MORE:
                self._look_at(name)
            case Step.LATER:
                self._later[name] = pipe.again or now + AGAIN
            case Step.OVER if pipe.is_dropped:
                self._close(name)
                if self._ends is None:
                    self._say(messages.Drained(name))

    def _mark(self, now: float) -> None:
        """Tell the logs of their losses."""
        self._mark_at = None
        for stem, sink in list(self._sinks.items()):
            if sink.has_losses:
                with contextlib.suppress(Busy):
                    sink.mark(time.time())
                if sink.has_losses:
                    self._mark_at = now + MARK_AGAIN
                elif not sink.users:
                    self._leave(stem)

    # the keeper

    def _watch_channel(self) -> None:
        wants = select.EPOLLIN | (select.EPOLLOUT if self._channel.waits_to_write else 0)
        if not self._wants:
            self._epoll.register(self._channel, wants)
        elif self._wants != wants:
            self._epoll.modify(self._channel, wants)
        self._wants = wants

    def _hear(self) -> None:
        try:
            self._channel.flush()
            while (frame := self._channel.receive()) is not None:
                self._obey(frame.body, frame.fds)
                if self._ends is not None:
                    return
        except PeerViolation as error:
            say(f"logger: {error}")
        except ChannelClosed:
            self._orphaned = self._private_dir
            self._end(LAST_WORDS)
            return
        self._watch_channel()

    def _say(self, message: messages.FromLogger) -> None:
        try:
            self._channel.send(message)
            self._watch_channel()
        except ChannelClosed:
            return  # its end will be heard

    def _obey(self, body: messages.FromKeeper, fds: list[int]) -> None:
        match body:
            case messages.Welcome():
                self._begin(body)
            case messages.StoreSent():
                self._take_over()
            case messages.Stored(name) if self._files is not None and fds:
                self._open(name, fds.pop(0))
            case messages.Drop(name):
                if name in self._pipes:
                    self._pipes[name].drop()
                    self._look_at(name)
                else:
                    self._say(messages.Drained(name))
            case messages.StopAsked():
                self._end(0.0)
        for fd in fds:
            os.close(fd)

    def _begin(self, welcome: messages.Welcome) -> None:
        try:
            self._settings = configuration.load(welcome.config).logger
        except DadmsError as error:  # the keeper had checked it: lines are worth more than where they go
            say(f"logger: {error}")
        self._files = LogFiles(Path(welcome.state_dir) / "logs", self._settings)
        self._losses = Losses(Path(welcome.state_dir) / "losses")
        self._journal = Journal() if self._settings.to == "journald" else None
        self._private_dir = welcome.runtime_dir if welcome.is_private else ""
        self._marks = welcome.incarnation > 1
        self._say(messages.Ready())

    def _take_over(self) -> None:
        """Everything has come that writes: tell also the logs of others what earlier loggers could not tell them."""
        self._marks = False
        if self._files is not None and self._losses is not None:
            for stem in self._losses.stems:
                self._sink(stem)
                self._mark_at = time.monotonic()
            self._files.tidy()

    # pipes

    def _open(self, name: str, fd: int) -> None:
        if name in self._pipes:
            self._close(name)
        tag, stem = log_name(name)
        sink = self._sink(stem)
        sink.users += 1
        pipe = self._pipes[name] = Pipe(fd, tag, stem, sink, self._peephole)
        if self._marks:
            pipe.note(RESTARTED)
        self._epoll.register(fd, _READ)
        self._by_fd[fd] = name
        self._look_at(name)

    def _sink(self, stem: str) -> Sink:
        if stem not in self._sinks:
            assert self._losses is not None
            rate = self._settings.rate_limit_kb
            allowance = Allowance(rate * 1024, time.monotonic())
            self._sinks[stem] = Sink(self._destination(stem), allowance, f"{rate} KiB/s", self._losses.take(stem))
        return self._sinks[stem]

    def _destination(self, stem: str) -> Destination:
        if self._journal is not None:
            return JournalLog(self._journal, stem)
        assert self._files is not None
        return self._files.take(stem)

    def _unwatch(self, pipe: Pipe) -> None:
        if self._by_fd.pop(pipe.fd, None) is not None:
            self._epoll.unregister(pipe.fd)

    def _close(self, name: str) -> None:
        pipe = self._pipes.pop(name)
        self._later.pop(name, None)
        self._unwatch(pipe)
        pipe.close()
        pipe.sink.users -= 1
        if not pipe.sink.users:
            with contextlib.suppress(Busy):
                pipe.sink.mark(time.time())
            if not pipe.sink.has_losses:
                self._leave(pipe.stem)
            elif self._mark_at is None:
                self._mark_at = time.monotonic() + MARK_AGAIN

    def _leave(self, stem: str) -> None:
        self._sinks.pop(stem).leave()

    def _end(self, lasts: float) -> None:
        self._ends = time.monotonic() + lasts
        self._epoll.unregister(self._channel)
