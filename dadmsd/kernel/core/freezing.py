"""Workers that stand still: how a thread is suspended, and how threads that were sent and not begun come back.

1. Freeze before you look: a worker is frozen in the operating system, and only when it stands still is its page read. What it had ended is recorded, the one that
   it had begun is known, and all others go back: they are revoked in the page, so that this worker never begins them.
2. A plain thread is suspended where it stands: in the queue it is passed over; begun, its worker stays frozen and holds no slot. At most FROZEN_MOST workers of a
   process do. Its time stands still meanwhile, and it goes on in the same instruction once a slot is free for it.
3. Terminating a thread that others were sent behind freezes its worker first: only what was begun is in the worker when it is killed, so nobody is lost innocently.
4. What is asked of the machine is in the journal first (``Child.freeze``, ``revoked``, ``Process.suspended``); freezing, revoking and thawing may be done twice.
"""

from collections.abc import Iterable

from dadmsd.kernel.core import effects, events, keys, looping, retrying
from dadmsd.kernel.core.assignments import Worker
from dadmsd.kernel.core.deliveries import Failure, fail, label_of
from dadmsd.kernel.core.dispatch import new_head
from dadmsd.kernel.core.loops import Loop
from dadmsd.kernel.core.moves import ASKED, FROZEN, end, freeze, thaw
from dadmsd.kernel.core.records import Child, Process
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.stages import READY, SENT, SUSPENDED, WAITING
from dadmsd.kernel.core.state import State
from dadmsd.kernel.core.yielding import STANDING_MOST, went_on

FROZEN_MOST = STANDING_MOST  # workers of a process that stand still with a suspended thread, or one that gave way


def on_frozen(state: State, event: events.WorkerFrozen) -> None:
    """A worker stands still, and its page was read: everything that it had not begun goes back."""
    child = state.children.get(event.name)
    pool = state.pools.get(child.pid) if child is not None else None
    if child is None or pool is None or child.freeze != ASKED or child.phase != "ready":
        return
    process = state.processes[child.pid]
    worker = pool.workers[child.name]
    child.freeze = FROZEN
    process.suspended = [tid for tid in process.suspended if pool.state(tid) <= SENT]
    state.changed(process)
    was_held = worker.holds_slot
    _take_back(state, pool, worker, child, event.begun)
    running = worker.head[1]
    if running in pool.condemned:
        end(state, child, pool.condemned.pop(running)[1], tid=running)
    elif running in process.suspended:
        state.slots_held -= worker.holds_slot
        worker.suspended_at = child.stands_since = worker.yielded_at if worker.is_yielded else state.now
        worker.is_yielded = False
        worker.is_suspended = True
        _tell(state, pool, running, "suspended", f"is suspended in w{child.number}")
    else:
        thaw(state, child)
        if not running and was_held:
            state.slots_held -= 1
            new_head(state, pool, worker)
    state.changed(child)
    if pool.ready:
        state.ready_pools.setdefault(pool.pid)


def _take_back(state: State, pool: Pool, worker: Worker, child: Child, begun: int) -> None:
    """Revoke what was not begun: it goes back to the queue, is set aside, or ends, as was asked."""
    unbegun = [(sequence, tid) for sequence, tid in worker.in_flight if sequence > begun]
    if not unbegun:
        return
    child.revoked_first, child.revoked_last = unbegun[0][0], worker.next_sequence - 1
    state.do(effects.Revoke(child.name, child.revoked_first, child.revoked_last))
    for batch in list(worker.batches):
        kept = max(0, begun + 1 - batch.first_sequence)
        if not kept or batch.first_sequence + kept - 1 <= worker.done:  # nothing of it is open
            worker.batches.remove(batch)
            state.deleted(batch)
        elif kept < len(batch.tids):
            del batch.tids[kept:]
            state.changed(batch)
    worker.is_quick = False  # nothing more is sent behind what it runs
    suspended = set(state.processes[pool.pid].suspended)
    given_up = [Failure(tid, *pool.condemned.pop(tid)) for _, tid in unbegun if tid in pool.condemned]
    ended = {failure.tid for failure in given_up}
    pool.requeue([tid for _, tid in unbegun if tid not in suspended and tid not in ended])
    for _, tid in unbegun:
        if tid in suspended and tid not in ended:
            pool.set_aside(tid)
            _tell(state, pool, tid, "suspended", "is suspended before it began")
    fail(state, pool, given_up, child=child)


def on_freeze_failed(state: State, event: events.FreezeFailed) -> None:
    """The host cannot freeze a worker: what was to be suspended goes on, what was to be terminated is killed all the same."""
    child = state.children.get(event.name)
    pool = state.pools.get(child.pid) if child is not None else None
    if child is None or pool is None or child.freeze != ASKED:
        return
    process = state.processes[child.pid]
    worker = pool.workers[child.name]
    child.freeze = ""
    state.changed(child)
    flying = {tid for _, tid in worker.in_flight}
    for tid in [tid for tid in process.suspended if tid in flying]:
        process.suspended.remove(tid)
        _tell(state, pool, tid, "resumed", f"cannot be suspended: {event.reason}")
    state.changed(process)
    running = worker.head[1]
    if running in pool.condemned:
        end(state, child, pool.condemned.pop(running)[1], tid=running)


def suspend(state: State, pool: Pool, tids: Iterable[int]) -> str:
    """Have threads stand still, those in async workers cooperatively; gives "", or why not all of them can."""
    process = state.processes[pool.pid]
    places = {tid: worker for worker in pool.workers.values() for _, tid in worker.in_flight}
    for tid in tids:
        if tid in process.suspended or tid not in pool or pool.state(tid) > SENT:
            continue
        worker = places.get(tid)
        if worker is not None and not isinstance(worker, Loop):
            frozen = sum(1 for each in pool.workers.values() if each.stands or state.children[each.name].freeze)
            if frozen >= FROZEN_MOST:
                return f"cannot suspend thread {tid}: {frozen} workers of process {pool.pid} are frozen, at most {FROZEN_MOST} may be"
        process.suspended.append(tid)
        if isinstance(worker, Loop):
            if tid in pool.condemned:
                process.suspended.remove(tid)
                return f"cannot suspend thread {tid}: it was cancelled"
            looping.hold(state, worker, tid)
            _tell(state, pool, tid, "suspended", f"is suspended cooperatively in w{worker.number}: it is not stepped from its next wait on")
        elif worker is not None:
            freeze(state, state.children[worker.name])
        else:
            pool.set_aside(tid)
            _tell(state, pool, tid, "suspended", "is suspended before it began")
    state.changed(process)
    return ""


def resume(state: State, pool: Pool, tids: Iterable[int]) -> None:
    """Let suspended threads go on: those in the queue in front of it, those in a frozen worker as soon as a slot is free."""
    process = state.processes[pool.pid]
    heads = {worker.head[1]: worker for worker in pool.workers.values() if worker.is_suspended}
    loops = [worker for worker in pool.workers.values() if isinstance(worker, Loop)]
    for tid in tids:
        if tid not in process.suspended:
            continue
        process.suspended.remove(tid)
        worker = heads.get(tid)
        loop = next((each for each in loops if each.runs(tid)), None)
        if loop is not None:
            stood = looping.release(state, loop, tid)
            _tell(state, pool, tid, "resumed", f"goes on in w{loop.number} after {stood:.3f} s")
        elif worker is not None:
            state.resuming[worker.name] = None
        elif pool.state(tid) == SUSPENDED and keys.leader_of(state, pool, tid):
            pool.park(tid)
            _tell(state, pool, tid, "resumed", "waits for the thread with its key again")
        elif pool.state(tid) == SUSPENDED and retrying.waits_on(state, pool, tid):
            _tell(state, pool, tid, "resumed", "waits for its next attempt again")
        elif pool.state(tid) == SUSPENDED:
            pool.requeue([tid])
            state.ready_pools.setdefault(pool.pid)
            _tell(state, pool, tid, "resumed", "is in the queue again")
    state.changed(process)


def go_on(state: State) -> None:
    """Give free slots to suspended threads that are to go on: they come before those that have not begun."""
    for name in list(state.resuming):
        child = state.children.get(name)
        pool = state.pools.get(child.pid) if child is not None else None
        worker = pool.workers.get(name) if pool is not None else None
        if child is None or pool is None or worker is None or not worker.is_suspended or child.phase != "ready":
            del state.resuming[name]
            continue
        if state.slots_held >= state.settings.slots:
            return
        del state.resuming[name]
        worker.is_suspended = False
        state.slots_held += 1
        stood = state.now - worker.suspended_at
        went_on(state, pool, worker, stood)
        thaw(state, child)
        if child.is_yielded:  # it was suspended while it waited
            child.is_yielded = False
            worker.is_asked = False
            state.do(effects.GoOn(child.name, child.yields))
        _tell(state, pool, worker.head[1], "resumed", f"goes on in w{child.number} after {stood:.3f} s")


def adopt(state: State, process: Process, pool: Pool) -> None:
    """Take up what an earlier kernel left standing still, resumed or not: called before slots are counted."""
    for worker in pool.workers.values():
        child = state.children[worker.name]
        is_ended = child.phase != "ready" and worker.head[1] in process.suspended  # it was thawed so that it can be killed
        if child.freeze == FROZEN or is_ended:
            worker.is_suspended = worker.is_busy
            worker.suspended_at = child.stands_since if child.stands_since is not None else state.now
    for tid in process.suspended:
        if tid in pool and pool.state(tid) in (READY, WAITING):
            pool.set_aside(tid)


def repeat(state: State) -> None:
    """Do again what may not have been done: freezing, revoking and thawing are idempotent."""
    for child in state.children.values():
        pool = state.pools.get(child.pid)
        worker = pool.workers.get(child.name) if pool is not None else None
        if worker is None:
            continue
        if isinstance(worker, Loop):
            continue  # nobody freezes it alone
        if child.revoked_last:
            state.do(effects.Revoke(child.name, child.revoked_first, child.revoked_last))
        if child.freeze == ASKED:
            state.do(effects.FreezeWorker(child.name))
        elif child.freeze == FROZEN and not worker.is_suspended:
            thaw(state, child)
        elif not child.freeze and child.has_stood and not state.processes[child.pid].suspension:
            state.do(effects.ThawWorker(child.name))
        elif child.freeze == FROZEN and worker.head[1] not in state.processes[child.pid].suspended:
            state.resuming[child.name] = None


def _tell(state: State, pool: Pool, tid: int, what: str, words: str) -> None:
    label = label_of(pool.chunk_of(tid), tid)
    state.tell_event(f"thread.{what}", f"{label} {words}", pid=pool.pid, data={"tid": tid, "label": label})
