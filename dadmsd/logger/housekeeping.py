"""What is done to log files that nothing is written to: compressed, and removed when they are too old or too many. In a thread of its own, so that draining never waits.

1. It works off what it finds in the directory, not a list: whatever a killed logger left half done is found by the next one.
2. A compressed file gets its name when it is whole; only then the original is removed. Where both are there, the original goes.
3. Of each process ``keep_files`` are kept. The log of a process that writes no more goes ``keep_days`` after its last line. When all logs together are larger than
   ``total_size_mb``, the oldest file goes, whosever it is, but never one that is written to.
"""

import contextlib
import os
import queue
import threading
import time
from pathlib import Path
from typing import NamedTuple

from dadmsd.config import Logger as Settings
from dadmsd.logger import segments
from dadmsd.stderr import say

EVERY = 3600.0  # seconds: how late what grew too old may go
NICENESS = 10  # compression gives way to everything else
_KEEPERS_OWN = ("servers.log",)
_SUFFIX, _ASIDE = ".log", ".log.d"


class _File(NamedTuple):
    """A file that may go."""

    changed: float  # wall clock
    size: int  # bytes
    stem: str
    segment: segments.Segment | None  # None: the one that was written to


class Housekeeping:
    """The thread and what it does; ``in_use`` are the stems that are written to, changed under ``lock``."""

    def __init__(self, logs: Path, settings: Settings, in_use: set[str], lock: threading.Lock) -> None:
        self._logs, self._settings, self._in_use, self._lock = logs, settings, in_use, lock
        self._asked: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        """Have everything looked through once more; comes back at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)  # it is cut off at any point: rule 2
            self._thread.start()
        if self._asked.empty():
            self._asked.put(None)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)  # of this thread alone (setpriority(2), NOTES)
        while True:
            with contextlib.suppress(queue.Empty):
                self._asked.get(timeout=EVERY)
            try:
                self.sweep(time.time())
            except OSError as error:
                say(f"logger: cannot tidy up {self._logs}: {error}")

    def sweep(self, now: float) -> None:
        """Look through everything once."""
        for stem in self._stems():
            self._trim(stem)
        self._remove_old(now)
        self._remove_excess()
        if self._settings.compress:
            for stem in self._stems():
                self._compress(stem)

    def _stems(self) -> list[str]:
        names = os.listdir(self._logs)  # noqa: PTH208 - names
        return sorted({name.removesuffix(_ASIDE) for name in names if name.endswith(_ASIDE)})

    def _trim(self, stem: str) -> None:
        """Remove what a killed logger left of its work, and all but the newest files."""
        directory = segments.aside(self._logs, stem)
        for name in os.listdir(directory):  # noqa: PTH208 - names
            if name.endswith(segments.UNFINISHED):
                (directory / name).unlink(missing_ok=True)
        kept: list[segments.Segment] = []
        for segment in segments.listed(directory):
            if segment.is_compressed and kept and kept[-1].end == segment.end:
                (directory / kept.pop().name).unlink(missing_ok=True)
            kept.append(segment)
        for segment in kept[: -self._settings.keep_files]:
            (directory / segment.name).unlink(missing_ok=True)

    def _files(self) -> list[_File]:
        """List everything that may go, oldest first."""
        found: list[_File] = []
        for entry in os.scandir(self._logs):
            with contextlib.suppress(FileNotFoundError):
                if entry.name.endswith(_SUFFIX) and entry.name not in _KEEPERS_OWN:
                    about = entry.stat(follow_symlinks=False)
                    found.append(_File(about.st_mtime, about.st_size, entry.name.removesuffix(_SUFFIX), None))
        for stem in self._stems():
            directory = segments.aside(self._logs, stem)
            for segment in segments.listed(directory):
                with contextlib.suppress(FileNotFoundError):
                    about = (directory / segment.name).stat()
                    found.append(_File(about.st_mtime, about.st_size, stem, segment))
        return sorted(found, key=lambda file: (file.changed, file.segment or (1 << 62,)))

    def _remove_old(self, now: float) -> None:
        """Remove the logs whose last line was written long ago."""
        newest: dict[str, float] = {}
        for file in self._files():
            newest[file.stem] = file.changed
        for stem, changed in newest.items():
            if now - changed > self._settings.keep_days * 86_400:
                self._forget(stem)

    def _forget(self, stem: str) -> None:
        """Remove all of a log, unless it is written to."""
        with self._lock:
            if stem in self._in_use:
                return
            directory = segments.aside(self._logs, stem)
            for segment in segments.listed(directory):
                (directory / segment.name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                directory.rmdir()
            segments.path(self._logs, stem).unlink(missing_ok=True)

    def _remove_excess(self) -> None:
        """Remove the oldest files until the rest is within the size of all."""
        files = self._files()
        excess = sum(file.size for file in files) - self._settings.total_size_mb * 1024 * 1024
        for file in files:
            if excess <= 0:
                return
            if file.size and self._remove(file):
                excess -= file.size

    def _remove(self, file: _File) -> bool:
        with self._lock:
            directory = segments.aside(self._logs, file.stem)
            if file.segment is None:
                if file.stem in self._in_use:
                    return False
                self_kept = segments.listed(directory)
                segments.path(self._logs, file.stem).unlink(missing_ok=True)
                for segment in self_kept:  # they are older
                    (directory / segment.name).unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    directory.rmdir()
            elif file.segment.end == segments.end(directory):
                os.truncate(directory / file.segment.name, 0)  # its name says where the file begins that is written to
            else:
                (directory / file.segment.name).unlink(missing_ok=True)
        return True

    def _compress(self, stem: str) -> None:
        from dadmsd.logger import blocks  # here: a logger whose files stay small never needs it

        directory = segments.aside(self._logs, stem)
        for segment in segments.listed(directory):
            original = directory / segment.name
            try:
                if segment.is_compressed or not original.stat().st_size:
                    continue
                target = directory / f"{segment.name}.gz{segments.UNFINISHED}"
                source = os.open(original, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    about = os.fstat(source)
                    sink = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                    try:
                        blocks.compress(source, sink)
                        os.utime(sink, (about.st_atime, about.st_mtime))  # it is as old as what is in it
                    finally:
                        os.close(sink)
                finally:
                    os.close(source)
                target.rename(directory / segment._replace(is_compressed=True).name)
                original.unlink(missing_ok=True)
            except FileNotFoundError:
                continue  # somebody else removed it
            except OSError as error:
                (directory / f"{segment.name}.gz{segments.UNFINISHED}").unlink(missing_ok=True)
                say(f"logger: cannot compress {original}: {error.strerror}")
                return
