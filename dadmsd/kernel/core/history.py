"""Threads that have ended, the newest of all processes, for people: a run is kept as columns, and a line is made of a thread when somebody looks at it."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from dadms_ipc.port import floats
from dadms_ipc.requests import ThreadInfo
from dadmsd.kernel.core.records import Run

FLOAT = 4  # bytes of a run time in a column


def infos_of(run: Run) -> Iterator[ThreadInfo]:
    """Give each thread of a run as a line of its own."""
    at = run.started_at
    for place, seconds in enumerate(floats(run.seconds)):
        tid = run.first_tid + place
        label = run.labels[place] if run.labels else f"{run.entry} {tid}"
        yield ThreadInfo(tid, run.pid, run.entry, label, "completed", run.worker, run.os_pid, run.created_at, at, seconds, group=run.group)
        at += seconds


class History:
    """The newest ``most`` threads that have ended, in the order in which they did."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: deque[ThreadInfo | Run] = deque()
        self._count = 0

    def __len__(self) -> int:
        """Count them."""
        return min(self._count, self._most)

    def __iter__(self) -> Iterator[ThreadInfo]:
        """Give them, oldest first."""
        return islice((info for part in self._parts for info in _lines(part)), max(0, self._count - self._most), None)

    def __reversed__(self) -> Iterator[ThreadInfo]:
        """Give them, newest first."""
        lines = (info for part in reversed(self._parts) for info in reversed(list(_lines(part))))
        return islice(lines, len(self))

    def extend(self, infos: Iterable[ThreadInfo]) -> None:
        """Take threads in, one by one."""
        before = len(self._parts)
        self._parts.extend(infos)
        self._count += len(self._parts) - before
        self._trim()

    def add_run(self, run: Run) -> None:
        """Take a run in."""
        self._parts.append(run)
        self._count += len(run.seconds) // FLOAT
        if self._count > self._most:
            self._trim()

    def _trim(self) -> None:
        while self._count - _size(self._parts[0]) >= self._most if self._parts else False:
            self._count -= _size(self._parts.popleft())


def _size(part: ThreadInfo | Run) -> int:
    return len(part.seconds) // FLOAT if isinstance(part, Run) else 1


def _lines(part: ThreadInfo | Run) -> Iterable[ThreadInfo]:
    return infos_of(part) if isinstance(part, Run) else (part,)
