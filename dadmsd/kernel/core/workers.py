"""What it means that a worker is ready, and that it is gone.

1. A worker that ends unexpectedly has begun at most one thread that has no result: that one ends in error with the cause; the others go back to the front.
2. A worker that ends before it has begun anything came to nothing. After WORKER_FAILURES of them in a row, none of which we ended, what waits for them fails with
   the reason: all threads when no worker comes up, the thread at the head when workers come up and break over it. While other workers live, theirs is the work.
3. Workers that a zygote was asked for and did not fork before it ended are asked of the next one; those of one zygote count once.
"""

from dadmsd.kernel.core import looping, sharing, timeouts, waiting
from dadmsd.kernel.core.deliveries import Failure, close, fail
from dadmsd.kernel.core.dispatch import WORKER_FAILURES, failures_of, new_head, note_failures
from dadmsd.kernel.core.ending import settle
from dadmsd.kernel.core.kinds import PLAIN, Kind
from dadmsd.kernel.core.loops import Loop
from dadmsd.kernel.core.processes import zygote_keys
from dadmsd.kernel.core.records import Child, Process
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.state import State

_WHY = {"timed_out": "timed out", "terminated": "terminated"}  # intents, for people
CAME_TO_NOTHING = ("", "violation", "not ready")  # intents with which the end of a worker that has begun nothing is its own failure


def worker_ready(state: State, child: Child) -> None:
    """A worker waits for threads."""
    pool = state.pools[child.pid]
    worker = pool.workers[child.name]
    worker.is_ready = True
    worker.ready_since = state.now
    state.workers_coming -= worker.takes_slots
    if pool.ready:
        state.ready_pools.setdefault(child.pid)
    new_head(state, pool, worker)
    text = f"w{child.number} is ready (pid {child.os_pid})"
    state.tell_event("worker.ready", text, pid=child.pid, data={"worker": child.number, "os_pid": child.os_pid})


def worker_gone(state: State, child: Child, *, begun: int, oom: str) -> None:
    """A worker ended: the thread that it had begun ends with the cause, what it had not begun goes back to the front."""
    process = state.processes[child.pid]
    pool = state.pools[child.pid]
    worker = pool.workers.pop(child.name)
    sharing.child_gone(state, child)
    for batch in worker.batches:
        state.deleted(batch)
    if not worker.is_ready:
        state.workers_coming -= worker.takes_slots
    if worker.holds_slot:
        state.slots_held -= 1
    lost: list[Failure] = []
    given_up: list[Failure] = []
    again: list[int] = []
    if isinstance(worker, Loop):
        again = looping.lose(state, child, pool, worker, begun=begun, oom=oom, words=_lost_words(child, oom))
    flying = [sequence for sequence, _ in worker.in_flight]
    if flying and child.intent == "violation" and not flying[0] <= begun <= flying[-1]:
        begun = flying[0]  # what a page says that was written over is no evidence; it runs one after the other
    for sequence, tid in worker.in_flight:
        condemned = pool.condemned.pop(tid, None)
        if sequence <= begun and condemned is not None and condemned[0] == "terminated" and not child.intent:
            lost.append(Failure(tid, *condemned))  # its worker was quicker, and nobody wants it back
        elif sequence <= begun:
            lost.append(_loss(state, process, child, pool, tid, oom))
        elif condemned is not None:
            given_up.append(Failure(tid, *condemned))
        elif tid == child.intent_tid:
            given_up.append(_loss(state, process, child, pool, tid, oom))
        else:
            again.append(tid)
    ran = worker.ran(process.suspended_since if process.suspension else state.now)
    worker.batches.clear()
    fail(state, pool, lost, child=child, head_at=worker.head_at, seconds=ran)
    if lost:
        pool.note_used(ran)  # it was served, whatever came of it
    fail(state, pool, given_up, child=child)
    suspended = [tid for tid in again if tid in process.suspended]
    pool.requeue([tid for tid in again if tid not in process.suspended])
    for tid in suspended:
        pool.set_aside(tid)
    _report(state, process, child, oom)
    is_unused = not child.ready_at or (bool(again) and not begun)
    if is_unused and child.intent in CAME_TO_NOTHING and not process.ending_as:
        came_to_nothing(
            state,
            process,
            pool,
            child.failure or f"out of memory: {oom}" if oom else child.failure or _words(child),
            again[:1],
            kind=child.kind,
        )
    if pool.ready:
        state.ready_pools.setdefault(process.pid)
    settle(state, process)


def came_to_nothing(state: State, process: Process, pool: Pool, why: str, head: list[int], *, kind: Kind = PLAIN) -> None:
    """Count what ended before it was of use; when it is enough, fail what waits for it: the threads of ``head``, or all of the kind if there are none."""
    count = failures_of(process, kind) + 1
    note_failures(process, kind, count)
    state.changed(process)
    if count < WORKER_FAILURES or any(worker.kind == kind for worker in pool.workers.values()):
        return
    said = "ended before they had begun a thread" if head else "ended before they were ready"
    what = f"no worker ({kind.words})" if kind.words else "no worker"
    message = f"{what} can be started: {count} in a row {said}, the last one: {why}"
    note_failures(process, kind, 0)
    fail(state, pool, [Failure(tid, "error", "worker_lost", message) for tid in head or pool.waiting_in(kind)])


def import_failed(state: State, zygote: Child, why: str) -> None:
    """A zygote did not come up: running processes that need it for their workers cannot try for ever."""
    for pid, pool in list(state.pools.items()):
        process = state.processes[pid]
        if pool.ready and not process.ending_as and zygote.key in zygote_keys(process):
            for lane in [lane for lane in pool.lanes.values() if lane.ready]:
                came_to_nothing(state, process, pool, why, [], kind=lane.kind)


def _words(child: Child) -> str:
    if child.exit_how > 1:
        return f"signal {child.exit_status}"
    return f"exit code {child.exit_status}" if child.exit_how == 1 else "an unknown end"


def _loss(state: State, process: Process, child: Child, pool: Pool, tid: int, oom: str) -> Failure:
    """Say how a thread ends whose worker is gone."""
    if tid == child.intent_tid and child.intent == "timed_out":
        return Failure(tid, "timed_out", "timed_out", timeouts.thread_words(state, process, pool.chunk_of(tid).timeout))
    if tid == child.intent_tid and child.intent:
        return Failure(tid, "terminated", "terminated", "was terminated while it ran")
    if oom:
        return Failure(tid, "error", "oom", f"out of memory: {oom}")
    if process.ending_as or process.desired == "down":
        return Failure(tid, "terminated", "terminated", "its process was ended while it ran")
    return Failure(tid, "error", "worker_lost", _lost_words(child, ""))


def _lost_words(child: Child, oom: str) -> str:
    """Say what became of a worker."""
    if oom:
        return f"its worker w{child.number} (pid {child.os_pid}) ran out of memory: {oom}"
    if child.intent == "violation":
        return f"its worker {child.failure}"
    why = f", since it did not end a thread that was {_WHY[child.intent]}" if child.kind.is_async and child.intent in _WHY else ""
    return f"its worker w{child.number} (pid {child.os_pid}) ended by {_words(child)}{why}"


def _report(state: State, process: Process, child: Child, oom: str) -> None:
    if child.intent in ("idle", "process ended", "unforked"):
        return
    how = "failed" if child.failure else f"{'signal' if child.exit_how > 1 else 'exit'} {child.exit_status}"
    cause = "oom" if oom else child.intent or how
    data = {"worker": child.number, "os_pid": child.os_pid, "cause": cause, "reason": child.failure or oom}
    state.tell_event(
        "worker.lost", f"w{child.number} (pid {child.os_pid}) is gone: {child.failure or oom or cause}", pid=process.pid, data=data
    )


def drop_pool(state: State, process: Process) -> None:
    """End the threads of a process that has ended, and forget its pool."""
    pool = state.pools.get(process.pid)
    if pool is None:
        return  # it never ran
    close(state, pool, f"its process ended: {process.cause}")
    waiting.close(state, pool)
    del state.pools[process.pid]
    state.ready_pools.pop(process.pid, None)
