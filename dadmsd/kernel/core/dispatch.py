"""Which worker gets which threads now: slots, batches, growth, and what a worker has at its head.

1. Whoever is given a slot goes behind all who wait for one. While nobody else waits for a slot, busy workers get their next batch before they ask for it; while somebody does,
   they run dry, so that their slot can go to him.
2. A batch is in the journal before it is sent.
3. A pool grows while threads wait and slots are free that no worker which is on its way will use.
4. The time of a thread begins when it comes to the head of its worker, for then it is running.
5. Kinds of worker that hold slots share the workers of a process: where it may have no more, an idle one of a kind goes for one of the kind whose thread is next.
"""

from functools import partial

from dadmsd.kernel.core import effects, timeouts, yielding
from dadmsd.kernel.core.assignments import IN_FLIGHT, Worker
from dadmsd.kernel.core.deliveries import TOLD_ONE_BY_ONE, UNSEEN_MOST, label_of
from dadmsd.kernel.core.estimates import BATCH_MOST
from dadmsd.kernel.core.kinds import PLAIN, Kind, Lane
from dadmsd.kernel.core.loops import worker_of
from dadmsd.kernel.core.moves import ASKED, end, freeze, give, make
from dadmsd.kernel.core.policies import CREDIT
from dadmsd.kernel.core.processes import zygote_for
from dadmsd.kernel.core.records import Batch, Child, Process
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.state import State
from dadmsd.worker.messages import Span

WORKER_FAILURES = 5  # workers in a row that may come to nothing; then waiting threads fail instead of being tried for ever


def dispatch(state: State) -> None:
    """Send ready threads to workers with room, processes taking turns, as long as slots are free; grow pools that want to."""
    if state.is_strained or (state.slots_held >= state.settings.slots and len(state.ready_pools) > 1):
        return
    for pid in _by_standing(state):
        if state.slots_held >= state.settings.slots and len(state.ready_pools) > 1:
            return  # who is first now is first when a slot is free
        pool = state.pools.get(pid)
        if pool is None or not pool.wants_slots:
            del state.ready_pools[pid]
            continue
        if state.processes[pid].suspension:
            del state.ready_pools[pid]  # its resume puts it back
            continue
        if not pool.workers and _free(state) <= 0:
            continue  # a thousand may wait for the workers of others to come and go
        if pool.unseen > UNSEEN_MOST:
            del state.ready_pools[pid]  # its next acknowledgement puts it back
            continue
        held = state.slots_held
        if pool.yielded:
            yielding.go_on(state, pool, partial(_can_serve, state, pool))
        _serve(state, pool)
        wants = pool.wants_slots
        if wants:
            _grow(state, pool)  # which hands out nothing
        if not wants or state.slots_held > held:
            del state.ready_pools[pid]
        if wants and state.slots_held > held:
            state.ready_pools[pid] = None


def _by_standing(state: State) -> list[int]:
    """Give the processes that want a slot, the next one first; among equals they take turns."""
    pids = list(state.ready_pools)
    if len(pids) < 2:
        return pids
    for pool in (state.pools.get(pid) for pid in pids):
        if pool is not None:
            pool.used = max(pool.used, state.served - CREDIT)  # who wanted nothing for long does not get all of it back
    standings = {pid: state.policy.standing(state.pools[pid], state.now) if pid in state.pools else 0.0 for pid in pids}
    return sorted(pids, key=standings.__getitem__)


def on_look_deadline(state: State, _key: str) -> None:
    """Look at the pages of busy workers, whatever they rang; and where one thread keeps others waiting that were sent behind it, take them back."""
    are_behind = False
    for pool in state.pools.values():
        for worker in pool.workers.values():
            if not worker.holds_slot or not worker.has_followers:
                continue  # what it runs alone it announces when it ends
            are_behind = True
            if state.now - worker.head_since >= state.settings.look_interval:
                state.do(effects.LookAt(worker.name))
                freeze(state, state.children[worker.name])
    if are_behind:
        state.arm(state.now + state.settings.look_interval, "look", "")


def _serve(state: State, pool: Pool) -> None:
    """Give each worker what it takes: first one batch to each, then what travels while that one runs."""
    several = len(pool.slotted) > 1
    are_too_many = len(pool.workers) > pool.most  # one may be idle beside those that stood still and went on
    for worker in sorted(pool.workers.values(), key=lambda each: len(each.batches)) * IN_FLIGHT:
        lane = pool.plain if not several else pool.lanes[worker.kind]
        if not several and not lane.ready:
            return
        child = state.children[worker.name]
        if several and _gives_way(pool, worker, lane):
            if worker.is_ready and not worker.is_busy and not worker.is_leaving and child.phase == "ready" and not child.freeze:
                retire(state, child, worker)
            continue
        entry = pool.next_entry(lane)
        is_quick = pool.estimates.is_short(entry)
        if are_too_many and not worker.is_busy and pool.running >= pool.most:
            continue
        if not entry or not worker.takes(is_quick=is_quick) or child.phase != "ready" or child.freeze:
            continue
        left = left_of(state, pool, worker)
        if left <= 0:
            if not worker.is_busy:
                retire(state, child, worker)
            continue
        is_full = state.slots_held >= state.settings.slots
        if is_full and (not worker.is_busy or len(state.ready_pools) > 1):
            continue
        _send(state, pool, worker, pool.take(min(left, pool.batch_size(entry)), lane), is_quick=is_quick)


def _can_serve(state: State, pool: Pool) -> bool:
    """Tell whether what is first in the queue has a worker, or may have one."""
    lane = pool.first_lane()
    if lane is None:
        return False
    mine = [worker for worker in pool.workers.values() if worker.kind == lane.kind and not worker.stands and not worker.is_leaving]
    return any(not worker.is_ready or not worker.is_busy for worker in mine) or may_grow(state.processes[pool.pid], pool, lane.kind)


def _gives_way(pool: Pool, worker: Worker, lane: Lane) -> bool:
    """Tell whether a worker must run dry and go, for one of the kind whose thread is next: the process may have no more, and no other goes or is free."""
    first = pool.first_lane()
    if first is None or first is lane or worker.kind.is_async:
        return False
    crew = [each for each in pool.workers.values() if each.takes_slots and not each.stands]
    return len(crew) >= pool.most and not any(
        each.is_leaving or (each.kind == first.kind and (not each.is_ready or not each.is_busy)) for each in crew
    )


def left_of(state: State, pool: Pool, worker: Worker) -> int:  # also of async ones
    """Count the threads that a worker may still be sent before it is replaced."""
    spec = state.processes[pool.pid].spec
    if spec.recycle_seconds is not None and state.now - worker.ready_since >= spec.recycle_seconds:
        return 0
    return spec.recycle_threads + 1 - worker.next_sequence if spec.recycle_threads is not None else BATCH_MOST


def retire(state: State, child: Child, worker: Worker) -> None:
    """Have an idle worker exit."""
    worker.is_leaving = True
    child.intent = "idle"
    state.changed(child)
    state.do(effects.Retire(child.name))
    give(state, child, state.settings.gate_timeout)


def _send(state: State, pool: Pool, worker: Worker, tids: list[int], *, is_quick: bool) -> None:
    first = worker.next_sequence
    worker.next_sequence += len(tids)
    worker.is_quick = is_quick
    batch = Batch(worker=worker.name, first_sequence=first, tids=tids)
    state.changed(batch)
    child = state.children[worker.name]
    child.next_sequence = worker.next_sequence
    was_idle = not worker.batches
    worker.batches.append(batch)
    if len(tids) > 1 or not was_idle:  # somebody follows the one at the head
        state.arm(state.now + state.settings.look_interval, "look", "")
    if was_idle:
        state.slots_held += 1
        pool.served_at = state.now
        state.served = max(state.served, pool.used)
        new_head(state, pool, worker)
    else:
        state.changed(child)
    state.do_first(effects.SendBatch(worker.name, first, spans(pool, tids)))
    if was_idle and not (is_quick and pool.told >= TOLD_ONE_BY_ONE):
        chunk = pool.chunk_of(tids[0])
        label = label_of(chunk, tids[0])
        data = {"tid": tids[0], "entry": chunk.entry, "label": label, "worker": worker.number, "os_pid": child.os_pid}
        state.tell_event("thread.started", f"{label} runs in w{worker.number} (pid {child.os_pid})", pid=pool.pid, data=data)


def spans(pool: Pool, tids: list[int]) -> list[Span]:
    """Make what a batch holds of its threads: consecutive ones of a chunk are one span."""
    made = []
    place = 0
    while place < len(tids):
        first = tids[place]
        chunk = pool.chunk_of(first)
        index = first - chunk.first_tid
        count = min(len(tids) - place, len(chunk.arguments) - index)
        if count > 1 and tids[place : place + count] != list(range(first, first + count)):
            count = next(count for count in range(1, count) if tids[place + count] != first + count)
        made.append(Span(first, chunk.entry, chunk.arguments[index : index + count]))
        place += count
    return made


def new_head(state: State, pool: Pool, worker: Worker) -> None:
    """The oldest thread of a worker is another one, and its time starts; or there is none."""
    child = state.children[worker.name]
    worker.head_since = child.head_since = state.now
    worker.head_at = state.wall
    child.stood = 0.0
    state.changed(child)
    if not worker.is_busy:
        worker.idle_since = state.now
        if worker.is_ready and child.phase == "ready" and not worker.is_leaving and left_of(state, pool, worker) <= 0:
            retire(state, child, worker)
            return
        state.arm(state.now + state.settings.idle_timeout, "idle", worker.name)
        return
    tid = worker.head[1]
    state.arm(state.now + pool.chunk_of(tid).timeout, "head", worker.name)
    if tid in pool.condemned:
        strike(state, pool, worker, tid)


def strike(state: State, pool: Pool, worker: Worker, tid: int) -> None:
    """Kill the worker of a condemned thread that is at its head; where others were sent behind it, they are taken back first."""
    child = state.children[worker.name]
    if child.freeze == ASKED:
        return  # once it stands still
    if len(worker.in_flight) > 1 and child.phase == "ready":
        freeze(state, child)
    else:
        end(state, child, pool.condemned.pop(tid)[1], tid=tid)


def condemn(state: State, pool: Pool, worker: Worker, tid: int, sentence: tuple[str, str, str]) -> None:
    """Have a thread that is in a worker ended: status, cause, message."""
    pool.condemned[tid] = sentence
    batch = next(batch for batch in reversed(worker.batches) if tid in batch.tids)  # an earlier attempt may be in the one before
    batch.condemned[tid] = sentence
    state.changed(batch)
    if tid == worker.head[1]:
        strike(state, pool, worker, tid)
    else:
        freeze(state, state.children[worker.name])


def _free(state: State) -> int:
    """Count the slots that no worker holds and none that is on its way will."""
    return state.settings.slots - state.slots_held - state.workers_coming


def _grow(state: State, pool: Pool) -> None:
    """Fork workers for threads that wait, as far as there are slots for them to use; first of the kind whose thread is next."""
    process = state.processes[pool.pid]
    waiting = [lane for lane in pool.slotted if pool.next_entry(lane)]
    for lane in sorted(waiting, key=lambda each: each.queue[0]) if len(waiting) > 1 else waiting:
        crew = [worker.kind for worker in pool.workers.values() if worker.takes_slots and not worker.stands]
        mine = crew.count(lane.kind)
        wanted = min(min(pool.wanted_workers(lane), pool.most - (len(crew) - mine)) - mine, _free(state))
        if wanted > 0 and may_grow(process, pool, lane.kind):
            fork_workers(state, pool, lane.kind, wanted)


def failures_of(process: Process, kind: Kind) -> int:
    """Count the workers of a kind in a row that came to nothing."""
    return process.workers_failed if kind == PLAIN else process.kinds_failed.get(kind.words, 0)


def note_failures(process: Process, kind: Kind, count: int) -> None:
    """Keep that count, in the record of the process."""
    if kind == PLAIN:
        process.workers_failed = count
    else:
        process.kinds_failed = {**process.kinds_failed, kind.words: count}


def may_grow(process: Process, pool: Pool, kind: Kind) -> bool:
    """Tell whether workers of a kind may be forked: not for one that ends, and not again and again where others that could be started do the work."""
    if process.ending_as or process.desired != "up":
        return False
    return failures_of(process, kind) < WORKER_FAILURES or not any(worker.kind == kind for worker in pool.workers.values())


def fork_workers(state: State, pool: Pool, kind: Kind, count: int) -> None:
    """Have workers of a kind forked."""
    process = state.processes[pool.pid]
    zygote = zygote_for(state, process)
    if zygote is None:
        return  # its readiness puts this pool back among those to look at
    for _ in range(count):
        process.workers_made += 1
        number = process.workers_made
        name = f"{process.pid}.{process.incarnation}/w{number}"
        child = Child(
            name=name,
            role="worker",
            parent=zygote.name,
            pid=process.pid,
            incarnation=process.incarnation,
            number=number,
            uid=process.uid,
            kind=kind,
        )
        worker = pool.workers[name] = worker_of(name, number, next_sequence=1, kind=kind)
        state.workers_coming += worker.takes_slots
        make(state, child)
    state.changed(process)


def take_up_head(state: State, pool: Pool, worker: Worker) -> None:
    """The oldest thread of a worker is the one that an earlier kernel knew: its time goes on."""
    child = state.children[worker.name]
    if not worker.is_busy or child.head_since is None:
        new_head(state, pool, worker)
        return
    worker.head_since = child.head_since
    worker.head_at = state.wall - max(0.0, state.now - child.head_since + child.stood)
    tid = worker.head[1]
    state.arm(worker.head_since + pool.chunk_of(tid).timeout, "head", worker.name)
    if tid in pool.condemned:
        strike(state, pool, worker, tid)


# deadlines


def _worker(state: State, name: str) -> tuple[Child, Pool, Worker] | None:
    """Give what is known of a worker that has not ended; the pool of a process lives as long as its workers."""
    child = state.children.get(name)
    if child is None:
        return None
    pool = state.pools[child.pid]
    return child, pool, pool.workers[name]


def on_head_deadline(state: State, name: str) -> None:
    """The thread at the head of a worker may have used up its time."""
    known = _worker(state, name)
    if known is None or not known[2].holds_slot or state.processes[known[0].pid].suspension:
        return  # time stands still for what is suspended, thread or process; its resume looks again
    _, pool, worker = known
    tid = worker.head[1]
    deadline = worker.head_since + pool.chunk_of(tid).timeout
    if deadline > state.now:
        state.arm(deadline, "head", name)  # another thread came to the head meanwhile
    else:
        seconds = pool.chunk_of(tid).timeout
        why = timeouts.thread_words(state, state.processes[known[0].pid], seconds)
        condemn(state, pool, worker, tid, ("timed_out", "timed_out", why))


def on_idle_deadline(state: State, name: str) -> None:
    """A worker may have been idle for long enough to go."""
    known = _worker(state, name)
    if known is None or known[2].is_busy or known[0].phase != "ready" or known[2].is_leaving:
        return
    child, _, worker = known
    deadline = worker.idle_since + state.settings.idle_timeout
    if state.processes[child.pid].suspension:
        deadline = state.now + state.settings.idle_timeout
    if deadline > state.now:
        state.arm(deadline, "idle", name)
        return
    retire(state, child, worker)
