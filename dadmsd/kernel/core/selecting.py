"""Threads of one state, the newest of them, without a look at each of a million that wait: who runs is asked of the workers, who waits is found in the column of states."""

from collections.abc import Iterator
from itertools import islice

from dadms_ipc.requests import ThreadInfo
from dadmsd.kernel.core.answers import open_info
from dadmsd.kernel.core.loops import Loop
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.stages import READY, SENT, SUSPENDED, WAITING
from dadmsd.kernel.core.state import State

COLUMN = {
    "ready": READY,
    "suspended": SUSPENDED,
    "waiting": WAITING,
    "sent": SENT,
}  # who is in no worker, and what was sent behind another; nobody runs in the queue
ENDED = ("completed", "error", "terminated", "timed_out")


def threads_in(state: State, pid: int | None, shown: str, limit: int, *, group: str = "") -> list[ThreadInfo]:
    """Show the newest threads that are in a state, by number."""
    if shown in ENDED:
        known = (info for info in reversed(state.threads) if info.state == shown and pid in (None, info.pid) and group in ("", info.group))
        found = list(islice(known, limit))
    else:
        found = [info for pool in state.pools.values() if pid in (None, pool.pid) for info in _open(state, pool, shown, limit, group)]
    found.sort(key=lambda info: info.tid)
    return found[-limit:]


def _open(state: State, pool: Pool, shown: str, limit: int, group: str) -> Iterator[ThreadInfo]:
    """Give those of one process that have not ended: the newest that workers have, and the newest that they have not."""
    heads = {worker.head[1] for worker in pool.workers.values() if worker.is_busy and worker.takes_slots}
    loops = [worker for worker in pool.workers.values() if isinstance(worker, Loop)]
    if shown == "sent":
        theirs: set[int] = set()
        known = heads.union(*(loop.flights for loop in loops))
    else:
        is_held = shown == "suspended"
        flying = {tid for loop in loops for tid, flight in loop.flights.items() if (flight.held_since is not None) == is_held}
        theirs = heads | flying if shown in ("suspended", "waiting") else heads
        known = theirs
    queued = (tid for tid in pool.newest_in(COLUMN[shown]) if tid not in known) if shown in COLUMN else iter(())
    for tids in (iter(sorted(theirs, reverse=True)), queued):
        mine = (tid for tid in tids if group in ("", pool.chunk_of(tid).group))
        infos = (open_info(state, pool, tid) for tid in mine)
        yield from islice((info for info in infos if info.state == shown), limit)
