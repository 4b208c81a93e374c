"""Threads that give way: one that says so lets its slot go while others wait, and its worker waits in the middle of it.

1. Running threads are asked by a word in the page of their worker, once others have waited for YIELD_AFTER; who is not asked, does not give way.
2. What gives way is behind all that wait with its priority, and is shown as ready. It holds no slot, its time stands still, and it goes on where it stood: in
   its worker, beside which its process may have another. At most STANDING_MOST workers of a process wait like this or are frozen; beyond that a thread goes on at once.
3. Words about it carry the worker's count of them. A worker repeats its word to each new kernel until it may go on; one that was answered is answered again.
4. That a worker waits is in the journal before its slot is another's.
"""

from collections.abc import Callable
from heapq import heappop

from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.assignments import Worker
from dadmsd.kernel.core.moves import freeze
from dadmsd.kernel.core.records import Child
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.state import State

STANDING_MOST = 16  # workers of a process that are frozen or wait like this: each keeps its memory
YIELD_AFTER = 0.02  # seconds that others wait before a running thread is asked, and that it ran


def look_soon(state: State) -> None:
    """Have running threads asked in a while, if others still wait then; called when slots were handed out."""
    if state.ready_pools and state.is_stirred:
        state.arm(state.now + YIELD_AFTER, "yield", "")


def on_deadline(state: State, _key: str) -> None:
    """Ask those that run to give way, where others wait for what they have; those that began just now, a little later."""
    young = []
    for pool in state.pools.values():
        for worker in pool.workers.values():
            if not worker.holds_slot or worker.is_asked or not is_wanted(state, pool):
                continue
            if state.now - worker.head_since < YIELD_AFTER:
                young.append(worker.head_since + YIELD_AFTER)
            else:
                worker.is_asked = True
                state.do(effects.AskYield(worker.name))
    if young:
        state.arm(min(young), "yield", "")


def is_wanted(state: State, pool: Pool) -> bool:
    """Tell whether somebody waits for what a worker of this pool has: a slot, or its place among the workers of its process."""
    if pool.wants_slots and pool.running >= pool.most:
        return True
    return state.slots_held >= state.settings.slots and any(state.pools[pid].wants_slots for pid in state.ready_pools if pid in state.pools)


def on_yielded(state: State, event: events.Yielded) -> None:
    """A thread says that others may have its slot; its worker waits until it is told to go on."""
    child = state.children.get(event.name)
    pool = state.pools.get(child.pid) if child is not None else None
    worker = pool.workers.get(event.name) if pool is not None else None
    if child is None or pool is None or worker is None or not worker.takes_slots or child.phase != "ready":
        return
    if event.number <= child.yields:  # repeated for a new kernel
        if not child.is_yielded:
            state.do(effects.GoOn(child.name, child.yields))
        return
    child.yields = event.number
    state.changed(child)
    standing = sum(1 for each in pool.workers.values() if each.stands or state.children[each.name].freeze)
    if not worker.holds_slot or worker.head[0] != event.sequence or standing >= STANDING_MOST or not is_wanted(state, pool):
        _let_go_on(state, child, worker)
        return
    child.is_yielded = True
    worker.is_yielded = True
    worker.yielded_at = child.stands_since = state.now
    state.slots_held -= 1
    pool.queue_yielded(worker, state.wall)
    state.ready_pools.setdefault(pool.pid)
    if worker.has_followers:
        freeze(state, child)  # others are not to wait behind it


def _let_go_on(state: State, child: Child, worker: Worker) -> None:
    worker.is_asked = False
    state.do(effects.GoOn(child.name, child.yields))


def go_on(state: State, pool: Pool, can_serve: Callable[[], bool]) -> None:
    """Give slots to threads that gave way and whose turn has come; ``can_serve`` tells whether a worker is there, or may be, for what is first in the queue."""
    while pool.yielded:
        rank, order, name = pool.yielded[0]
        worker = pool.workers.get(name)
        child = state.children.get(name)
        if worker is None or child is None or not worker.is_yielded or worker.yield_order != order or child.phase != "ready":
            heappop(pool.yielded)
            continue
        if state.slots_held >= state.settings.slots or pool.running >= pool.most:
            return
        lane = pool.first_lane()
        if lane is not None and lane.queue[0][0] <= rank and can_serve():
            return
        if child.freeze:
            return  # what was sent behind it is being taken back
        heappop(pool.yielded)
        worker.is_yielded = False
        state.slots_held += 1
        went_on(state, pool, worker, state.now - worker.yielded_at)
        end_wait(state, child, worker)


def went_on(state: State, pool: Pool, worker: Worker, seconds: float) -> None:
    """The oldest thread of a worker stood still for so long, and goes on: that was none of its time."""
    child = state.children[worker.name]
    worker.head_since += seconds
    child.head_since, child.stands_since = worker.head_since, None
    child.stood += 0.0 if child.is_yielded else seconds  # one that waits takes that off itself
    state.changed(child)
    state.arm(worker.head_since + pool.chunk_of(worker.head[1]).timeout, "head", worker.name)


def end_wait(state: State, child: Child, worker: Worker) -> None:
    """Tell a worker that waits to go on."""
    child.is_yielded = False
    state.changed(child)
    _let_go_on(state, child, worker)


def adopt(state: State, pool: Pool, worker: Worker) -> None:
    """Take up what waited under an earlier kernel; called before slots are counted."""
    child = state.children[worker.name]
    if child.is_yielded and worker.is_busy and not worker.is_suspended:
        worker.is_yielded = True
        worker.yielded_at = child.stands_since if child.stands_since is not None else state.now
        pool.queue_yielded(worker, state.wall)
