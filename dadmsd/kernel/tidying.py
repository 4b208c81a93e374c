"""Removes the working directories that processes left empty, when there is nothing else to do.

1. What a process left in its directory stays; an empty one goes some time after its end. Nobody waits for it: a file system that is busy would keep a thousand ends waiting.
2. Whose directory it is, is looked at when its turn comes, not when it was noted: a process may have begun its next incarnation meanwhile, and works there.
3. What a kernel had noted and not removed when it died, the next one finds.
"""

import contextlib
import os
import time

from dadmsd.kernel.core.lifecycle import ENDED
from dadmsd.kernel.core.state import State

QUIET_SECONDS = 0.1  # after the last end, so that none of several waits for the directory of the one before
SLICE_SECONDS = 0.0005  # of removing between two looks at who has come meanwhile
FINISH_SECONDS = 1.0  # at the end of the daemon, which somebody waits for


class Tidying:
    """The directories that are to go."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._work = state.settings.work_dir
        self._left: dict[int, None] = {}  # processes, in the order in which they were noted
        self.due: float | None = None  # monotonic: when something is to be done

    def note(self, pid: int) -> None:
        """Have the directory of a process removed of which nothing is left, if it is empty by then."""
        self._left[pid] = None
        self.due = time.monotonic() + QUIET_SECONDS

    def find(self) -> None:
        """Note the directories that nobody works in."""
        with contextlib.suppress(FileNotFoundError):  # nobody ever did
            for name in os.listdir(self._work):  # noqa: PTH208 -- of a thousand names, without a path object for each
                if name.isdecimal() and self._is_nobodys(int(name)):
                    self.note(int(name))

    def tidy(self, now: float) -> None:
        """Remove directories for a moment, if it is time."""
        if self.due is not None and now >= self.due:
            self._remove(SLICE_SECONDS)

    def finish(self) -> None:
        """Remove them now: all has ended, and this kernel will not have another quiet moment."""
        self._remove(FINISH_SECONDS)

    def _remove(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._left and time.monotonic() < end:
            pid = next(iter(self._left))
            del self._left[pid]
            if self._is_nobodys(pid):
                with contextlib.suppress(OSError):  # it is not empty, or was never made
                    os.rmdir(f"{self._work}/{pid}")  # noqa: PTH106 -- a path object costs ten times as much as the call
        if not self._left:
            self.due = None

    def _is_nobodys(self, pid: int) -> bool:
        process = self._state.processes.get(pid)
        return process is None or process.status in ENDED
