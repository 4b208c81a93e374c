"""Kinds of worker: what an entry asks of the worker that runs it, and the queue of those that ask for the same.

1. A worker is of one kind for its life, and gets threads of that kind only. Most are plain: one thread after the other, under the limits of their process.
2. A kind with a memory limit has it on the leaf of each of its workers; where the process's own ``worker_memory`` is lower, that one holds.
3. An async kind runs up to ``at_once`` threads at a time in one worker. Its threads wait for most of their time, so such a worker holds no slot; how many of them
   a process has is bounded instead (LOOPS_MOST of a kind), and the caps of the process hold them all.
4. What a process declares is in the journal with it, so that the next kernel knows the kinds.
"""

from collections.abc import Sequence

import msgspec

from dadms_ipc.port import Declaration
from dadmsd.kernel.core.ledger import MEBIBYTE, size_text

AT_ONCE = 1000  # threads that one async worker has at a time, unless their entry says otherwise
AT_ONCE_MOST = 10_000
MEMORY_LEAST = 8 * MEBIBYTE  # of a worker: below it an interpreter does not fork
KINDS_MOST = 16  # of one process, the plain one included


class Kind(msgspec.Struct, frozen=True):
    """What workers of a kind are like."""

    at_once: int = 0  # threads at a time, multiplexed; 0: one after the other, plain
    memory: int | None = None  # bytes, of the leaf of each worker

    @property
    def is_async(self) -> bool:
        """Tell whether its workers run many threads at a time and hold no slot."""
        return self.at_once > 0

    @property
    def words(self) -> str:
        """Name it for people; "" for the plain one."""
        parts = [f"async, {self.at_once} at once"] if self.is_async else []
        return ", ".join([*parts, f"memory {size_text(self.memory)}"] if self.memory is not None else parts)


PLAIN = Kind()


class Lane:
    """The queue of the threads of one kind."""

    __slots__ = ("kind", "queue", "ready")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.queue: list[
            tuple[float, int, int, int]
        ] = []  # a heap: rank, order, and a span [first, last) of threads that were ready when they were queued
        self.ready = 0


def kinds_of(declarations: Sequence[Declaration]) -> dict[str, Kind]:
    """Give the kinds of the entries that are not plain."""
    made = {each.entry: Kind(at_once=(each.at_once or AT_ONCE) if each.is_async else 0, memory=each.memory_limit) for each in declarations}
    return {entry: kind for entry, kind in made.items() if kind != PLAIN}


def flaw_of(declarations: Sequence[Declaration], entries: Sequence[str]) -> str:
    """Say what is wrong with what a process declares, whatever the host can do; "" when nothing is."""
    known = set(entries)
    for each in declarations:
        if each.entry not in known:
            return f'declares "{each.entry[:200]}", which is not among its entries'
        if each.at_once and not (each.is_async and 1 <= each.at_once <= AT_ONCE_MOST):
            return f'declares at_once = {each.at_once} of "{each.entry}": 1 to {AT_ONCE_MOST}, of an async entry'
        if each.memory_limit is not None and each.memory_limit < MEMORY_LEAST:
            return f'declares a memory limit of {size_text(each.memory_limit)} for "{each.entry}": at least {size_text(MEMORY_LEAST)} is needed'
    count = len({PLAIN, *kinds_of(declarations).values()})
    if count > KINDS_MOST:
        return f"declares {count} kinds of worker: at most {KINDS_MOST}; let entries share memory limits and at_once"
    return ""
