"""One process's output on its way from the pipe into its log.

1. What is looked at is taken from the pipe after it was written: a logger that is killed in between leaves it there, and the next one writes it, maybe once more.
2. A line without end waits in the pipe, UNFINISHED seconds at most: a prompt is to be seen, and a pipe whose slots small writes have filled must not stop its writer. Its pipe is looked at
   again by itself, ever more seldom: a writer in the middle of one large write tells of room that it filled only where it found the pipe empty (fs/pipe.c, "was_empty").
3. Lines that the log takes later wait in the pipe; nothing that comes after them is looked at.
"""

import os
import time
from enum import Enum, auto

from dadmsd.logger.lines import Lines
from dadmsd.logger.peeking import Peephole
from dadmsd.logger.sink import Busy, Sink

UNFINISHED = 5.0  # seconds: who writes a line in pieces does so faster
PROBES = ".probe"  # at the end of the tag of what ready and live commands write
GLANCE = 0.0005  # seconds until a line without end is looked at again, twice as many each time
LEFT_LIMIT = 1024 * 1024  # bytes that a dropped pipe can hold (pipe-max-size); a writer that goes on is none of ours


class Step(Enum):
    """What a pipe wants next."""

    MORE = auto()  # to be looked at again
    WAIT = auto()  # until something is written
    LATER = auto()  # until the log takes something, or a line without end has waited long enough
    OVER = auto()  # nothing comes any more


class Pipe:
    """The read end of a pipe, and where its lines go."""

    def __init__(self, fd: int, tag: str, stem: str, sink: Sink, peephole: Peephole) -> None:
        os.set_blocking(fd, False)
        self.fd, self.tag, self.stem, self.sink = fd, tag, stem, sink
        self._peephole = peephole
        self._lines = Lines(has_runs=tag.endswith(PROBES))
        self._offered: tuple[list[bytes], int] | None = None  # lines that the log was too busy for, and their bytes in the pipe
        self._left: int | None = None  # bytes that are still taken from a dropped pipe
        self._due: float | None = None  # monotonic seconds: when a line without end has waited long enough
        self._pause = GLANCE
        self.again: float | None = None  # monotonic seconds: when it is to be looked at again

    @property
    def is_dropped(self) -> bool:
        """Tell whether its end is asked for."""
        return self._left is not None

    def drop(self) -> None:
        """Ask for its end: what is in it is written, then it is over."""
        self._left = LEFT_LIMIT

    def step(self, now: float) -> Step:
        """Move one look's worth of lines (monotonic seconds)."""
        if self._offered is not None:
            return self._write(*self._offered)
        chunk = self._peephole.look(self.fd) if self._left is None or self._left > 0 else b""
        if not chunk:
            self._due = self.again = None
            return Step.OVER if chunk == b"" or self.is_dropped else Step.WAIT
        if self.sink.is_over(now):
            lines, size = self._lines.skip(chunk)
            if size:
                self.sink.exceed(lines, size, self.tag)
                return self._take(size)
        texts, size = self._lines.take(chunk)
        if not size and (self.is_dropped or (self._due is not None and self._due <= now)):
            texts, size = self._lines.take(chunk, is_last=True) if self.is_dropped else self._lines.cut(chunk)
        if not size:
            if self._due is None:
                self._due, self._pause = now + UNFINISHED, GLANCE
            self.again = min(self._due, now + self._pause)
            self._pause *= 2.0
            return Step.LATER
        return self._write(texts, size)

    def _write(self, texts: list[bytes], size: int) -> Step:
        self._offered, self.again = (texts, size), None
        try:
            if texts:
                self.sink.write(texts, self.tag, time.time())
        except Busy:
            return Step.LATER
        self._offered = None
        return self._take(size)

    def _take(self, size: int) -> Step:
        self._due = self.again = None
        if self._left is not None:
            self._left -= size
        while size > 0 and (taken := os.read(self.fd, size)):
            size -= len(taken)
        return Step.MORE

    def note(self, text: str) -> None:
        """Write a line of our own; one that the log is too busy for is left out."""
        try:
            self.sink.write([f"[{text}]".encode()], self.tag, time.time())
        except Busy:
            return

    def close(self) -> None:
        """Let go of the pipe."""
        os.close(self.fd)
