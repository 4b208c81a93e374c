"""The log files: one a process, appended to in single writes, so that each line is there for a reader at once.

A file that is large or old enough is set aside by a rename before the next line is written (segments.py); nothing else is done to it here, so that draining never waits.
A disk that takes nothing (full, gone) stops no process: what cannot be written is lost.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from dadmsd.config import Logger as Settings
from dadmsd.logger import segments
from dadmsd.logger.housekeeping import Housekeeping
from dadmsd.logger.lines import head, moment
from dadmsd.logger.sink import Unwritten

_HEAD_SIZE = 64  # bytes: more than the time of the first line


class LogFile:
    """One file that lines are written to, which is set aside now and then."""

    def __init__(self, logs: Path, stem: str, settings: Settings, set_aside: Callable[[], None], closed: Callable[[], None]) -> None:
        self._path = segments.path(logs, stem)
        self._aside = segments.aside(logs, stem)
        self._most, self._longest = settings.rotate_size_mb * 1024 * 1024, settings.rotate_age_hours * 3600.0
        self._set_aside, self._closed = set_aside, closed
        self._fd = -1
        self._size = 0
        self._began = 0.0  # wall clock: the time of its first line
        self._is_cut = False  # it ends in the middle of a line

    def write(self, texts: list[bytes], tag: str, now: float) -> None:
        """Append lines; raises Unwritten with those that were not written."""
        start = head(tag, now)
        left = start + (b"\n" + start).join(texts) + b"\n"
        try:
            self._be_ready(len(left), now)
            if self._is_cut:
                self._append(b"\n")
            while left:
                left = left[self._append(left) :]
        except OSError as error:
            raise Unwritten(texts[-left.count(b"\n") :], error.strerror or str(error)) from error

    def _append(self, piece: bytes) -> int:
        written = os.write(self._fd, piece)
        self._size += written
        self._is_cut = piece[written - 1 : written] != b"\n"
        return written

    def _be_ready(self, size: int, now: float) -> None:
        """Have a file open that is neither too large nor too old."""
        if self._fd < 0:
            self._open(now)
        if self._size and (self._size + size > self._most or now - self._began > self._longest):
            self._aside.mkdir(mode=0o700, exist_ok=True)
            base = segments.end(self._aside)
            self._path.rename(self._aside / segments.Segment(base, base + self._size, is_compressed=False).name)
            self.close()
            self._set_aside()
            self._open(now)

    def _open(self, now: float) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._size = os.fstat(self._fd).st_size
        begun = moment(os.pread(self._fd, _HEAD_SIZE, 0)) if self._size else now
        self._began = now if begun is None else begun
        self._is_cut = self._size > 0 and os.pread(self._fd, 1, self._size - 1) != b"\n"  # a logger was killed while it wrote

    def close(self) -> None:
        """Close it; it is opened again when something is written."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def leave(self) -> None:
        """Close it for good."""
        self.close()
        self._closed()


class LogFiles:
    """The directory of logs, and which of them are written to: the others are the housekeeping's to remove."""

    def __init__(self, logs: Path, settings: Settings) -> None:
        self._logs, self._settings = logs, settings
        self._in_use: set[str] = set()
        self._lock = threading.Lock()  # held while a file is removed, or becomes one that is written to
        self._housekeeping = Housekeeping(logs, settings, self._in_use, self._lock)

    def take(self, stem: str) -> LogFile:
        """Give the file of a process that writes."""
        with self._lock:
            self._in_use.add(stem)
        return LogFile(self._logs, stem, self._settings, self.tidy, lambda: self._leave(stem))

    def _leave(self, stem: str) -> None:
        with self._lock:
            self._in_use.discard(stem)

    def tidy(self) -> None:
        """Have what was set aside compressed, and what is too old or too much removed; comes back at once."""
        self._housekeeping.ask()
