"""Measures what is below directories, and removes what nobody refers to any more, in a thread of its own: a tree may have a million files, and the kernel does not wait.

The trees belong to users, who may change them meanwhile and put anything there. So no link is followed, no more than DEPTH levels and ENTRIES_MOST entries are looked
at, and what cannot be read counts as nothing. A file is what it takes on the disk; one with several names counts once a name.
"""

import contextlib
import os
import shutil
import stat
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path

DEPTH = 48  # levels; each holds a descriptor while it is read
ENTRIES_MOST = 2_000_000  # that one measurement looks at
BLOCK = 512  # bytes of a unit of st_blocks (stat(2)), whatever the file system's own


class Surveyor:
    """The thread, and what it found."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = list(roots)
        self._jobs: deque[Path | None] = deque()  # a directory to remove, or None: measure
        self._found: deque[int | None] = deque()  # bytes, or None: something was removed
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._is_busy = False

    def fileno(self) -> int:
        """Give the descriptor that is readable when something was found."""
        return self._wake

    def measure(self) -> None:
        """Have the roots measured."""
        self._do(None)

    def remove(self, directory: Path) -> None:
        """Have a directory removed with all that is in it."""
        self._do(directory)

    def found(self) -> list[int | None]:
        """Take what was found, oldest first: what was measured, in bytes, and None each time that all there was to remove is gone."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        taken: list[int | None] = []
        while self._found:
            taken.append(self._found.popleft())
        return taken

    def _do(self, job: Path | None) -> None:
        with self._lock:
            self._jobs.append(job)
            if self._is_busy:
                return
            self._is_busy = True
        threading.Thread(target=self._work, name="survey", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._is_busy = False
                    return
                job = self._jobs.popleft()
            if job is not None:
                shutil.rmtree(job, ignore_errors=True)  # follows no link (shutil.rmtree.avoids_symlink_attacks)
                with contextlib.suppress(OSError):
                    job.parent.rmdir()  # if it was the last that was there
                with self._lock:
                    is_more = bool(self._jobs) and self._jobs[0] is not None
                if is_more:
                    continue
            self._found.append(sum(measure(root) for root in self._roots) if job is None else None)
            os.eventfd_write(self._wake, 1)


def measure(root: Path) -> int:
    """Give the bytes that a tree takes on the disk."""
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0
    left = [ENTRIES_MOST]
    return _measure(fd, DEPTH, left)


def _measure(fd: int, depth: int, left: list[int]) -> int:
    """Measure an open directory, and close it."""
    size = 0
    below: list[str] = []
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                left[0] -= 1
                if left[0] < 0:
                    break
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    size += found.st_blocks * BLOCK
                    if stat.S_ISDIR(found.st_mode):
                        below.append(entry.name)
        for name in below if depth else ():
            with contextlib.suppress(OSError):
                size += _measure(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd), depth - 1, left)
    except OSError:  # it went meanwhile
        pass
    finally:
        os.close(fd)
    return size
