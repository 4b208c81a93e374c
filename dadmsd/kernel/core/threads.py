"""Threads: submission, dispatch to workers, results, time-outs, and what a lost worker means.

1. A submission is answered once it is in the journal, and a repeated one gets the same answer. Its threads have consecutive numbers.
2. A batch is in the journal before it is sent. Results are in the journal before their room in the page is free and before the process hears of them.
3. A worker that ends unexpectedly has begun at most one thread that has no result: that one ends in error with the cause; the others go back to the front.
4. A thread is terminated by ending its worker, once it is at the head; nobody else's thread is in that worker then but those that were not begun.
"""

import msgspec

from dadms_ipc import port
from dadms_ipc.requests import ThreadInfo
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.lifecycle import ENDED
from dadmsd.kernel.core.moves import end, give, make
from dadmsd.kernel.core.processes import settle, zygote_for
from dadmsd.kernel.core.records import Batch, Child, Chunk, Process, Results
from dadmsd.kernel.core.scheduler import IN_FLIGHT, STATE_NUMBER, Pool, Worker
from dadmsd.kernel.core.state import State
from dadmsd.worker.messages import Item, Outcome

QUEUE_MOST = 1_000_000  # threads of one process that may wait: a byte of state and their arguments each
RESULTS_KEPT = 200  # deliveries of a living process whose facts stay in the journal, for people
SUBMIT_MOST = 10_000  # threads in one submission
WORKER_FAILURES = 5  # workers in a row that may end before they are ready; then waiting threads fail instead of being tried for ever
TOLD_ONE_BY_ONE = 16  # threads that end together up to which each has an event of its own

_NIL = msgspec.Raw(b"\xc0")


# submission


def on_submitted(state: State, event: events.Submitted) -> None:
    """A process asks for threads."""
    child = state.children.get(event.name)
    process = state.processes.get(child.pid) if child is not None else None
    if child is None or process is None:
        return
    request = event.request
    if not _is_next(child, process, request.sequence):
        if request.sequence == process.submitted:  # repeated after a new kernel's hello
            state.do(effects.Tell(child.name, answer(process)))
        return
    reason = _refusal(state, process, request)
    process.asked = process.submitted = request.sequence
    process.refusal = reason
    process.submitted_tid = 0
    if not reason:
        process.submitted_tid = state.counters.next_tid
        state.counters.next_tid += len(request.arguments)
        state.changed(state.counters)
        chunk = Chunk(
            first_tid=process.submitted_tid,
            pid=process.pid,
            incarnation=process.incarnation,
            entry=request.entry,
            arguments=[bytes(arguments) for arguments in request.arguments],
            labels=request.labels,
            timeout=request.timeout or process.spec.thread_timeout or state.settings.thread_timeout,
            created_at=state.wall,
        )
        state.changed(chunk)
        state.pools[process.pid].add(chunk)
        state.ready_pools[process.pid] = None
    state.changed(process)
    state.do(effects.Tell(child.name, answer(process)))


def _is_next(child: Child, process: Process, sequence: int) -> bool:
    """Tell whether a request over the port is new and its turn has come.

    One that runs ahead follows another that a dead kernel had read: all of them are repeated, in order, after the hello.
    """
    return child.phase not in ("gated", "opened") and sequence == process.asked + 1


def answer(process: Process) -> port.Accepted | port.Refused:
    if process.refusal:
        return port.Refused(process.submitted, process.refusal)
    return port.Accepted(process.submitted, process.submitted_tid)


def _refusal(state: State, process: Process, request: port.Submit) -> str:
    pool = state.pools.get(process.pid)
    if pool is None or process.ending_as:
        return "cannot run threads: the process is not running"
    if request.entry not in process.entries:
        return f'cannot run "{request.entry}": not an entry of this process; it declared {", ".join(process.entries) or "none"}'
    if not 1 <= len(request.arguments) <= SUBMIT_MOST:
        return f"cannot submit {len(request.arguments)} threads at once: 1 to {SUBMIT_MOST}"
    if request.labels and len(request.labels) != len(request.arguments):
        return f"cannot submit {len(request.arguments)} threads with {len(request.labels)} labels"
    if request.timeout is not None and not request.timeout > 0:
        return f"cannot submit with a time-out of {request.timeout} s"
    if pool.ready + pool.sent + len(request.arguments) > QUEUE_MOST:
        return f"cannot submit {len(request.arguments)} threads: {pool.ready + pool.sent} wait already, at most {QUEUE_MOST} may"
    return ""


# dispatch


def dispatch(state: State) -> None:
    """Send ready threads to workers with room, processes taking turns, as long as slots are free; grow pools that want to."""
    if not state.ready_pools:
        return
    free = state.settings.slots - running(state)
    for pid in list(state.ready_pools):
        pool = state.pools.get(pid)
        if pool is None or not pool.ready:
            del state.ready_pools[pid]
            continue
        size = pool.batch_size(pool.next_entry())
        depth = IN_FLIGHT if size > 1 else 1
        for worker in sorted(pool.workers.values(), key=lambda each: len(each.batches)):
            if not pool.ready or not worker.takes(depth) or state.children[worker.name].phase != "ready":
                continue
            if not worker.in_flight:
                if free <= 0:
                    break
                free -= 1
            _send(state, pool, worker, pool.take(size))
        if pool.ready:
            _grow(state, pool, free)
        else:
            del state.ready_pools[pid]
    if len(state.ready_pools) > 1:  # the next turn begins with the next process
        first = next(iter(state.ready_pools))
        del state.ready_pools[first]
        state.ready_pools[first] = None


def running(state: State) -> int:
    """Count the slots that are held: workers that have threads."""
    return sum(1 for pool in state.pools.values() for worker in pool.workers.values() if worker.in_flight)


def _send(state: State, pool: Pool, worker: Worker, tids: list[int]) -> None:
    first = worker.next_sequence
    worker.next_sequence += len(tids)
    batch = Batch(worker=worker.name, first_sequence=first, tids=tids)
    state.changed(batch)
    child = state.children[worker.name]
    child.next_sequence = worker.next_sequence
    state.changed(child)
    worker.batches.append(batch)
    for place, tid in enumerate(tids):
        worker.in_flight.append((first + place, tid))
    if len(worker.in_flight) == len(tids):
        _new_head(state, pool, worker)
    state.do(effects.SendBatch(worker.name, first, items(pool, tids)))
    if len(tids) <= TOLD_ONE_BY_ONE and len(worker.batches) == 1:
        for tid in tids[:1]:
            label = label_of(pool.chunk_of(tid), tid)
            data = {"tid": tid, "entry": pool.chunk_of(tid).entry, "label": label, "worker": worker.number, "os_pid": child.os_pid}
            state.tell_event("thread.started", f"{label} runs in w{worker.number} (pid {child.os_pid})", pid=pool.pid, data=data)


def items(pool: Pool, tids: list[int]) -> list[Item]:
    """Make the items of a batch."""
    made = []
    for tid in tids:
        chunk = pool.chunk_of(tid)
        made.append(Item(tid, chunk.entry, msgspec.Raw(chunk.arguments[tid - chunk.first_tid])))
    return made


def label_of(chunk: Chunk, tid: int) -> str:
    """Name a thread for people."""
    return chunk.labels[tid - chunk.first_tid] if chunk.labels else f"{chunk.entry} {tid}"


def _new_head(state: State, pool: Pool, worker: Worker) -> None:
    """The oldest thread of a worker is another one: its time-out starts."""
    worker.head_since = state.now
    worker.head_at = state.wall
    if worker.in_flight:
        tid = worker.in_flight[0][1]
        state.arm(state.now + pool.chunk_of(tid).timeout, "head", worker.name)
        if tid in pool.condemned:
            end(state, state.children[worker.name], pool.condemned.pop(tid)[1], tid=tid)
    else:
        worker.idle_since = state.now
        state.arm(state.now + state.settings.idle_timeout, "idle", worker.name)


def _grow(state: State, pool: Pool, free: int) -> None:
    """Fork workers for threads that wait, as far as there are slots for them to use."""
    process = state.processes[pool.pid]
    if process.ending_as or process.desired != "up":
        return
    coming = sum(1 for worker in pool.workers.values() if not worker.is_ready)
    wanted = min(pool.wanted_workers() - len(pool.workers), free - coming)
    if wanted <= 0:
        return
    zygote = zygote_for(state, process)
    if zygote is None:
        return  # its readiness puts this pool back among those to look at
    for _ in range(wanted):
        process.workers_made += 1
        number = process.workers_made
        name = f"{process.pid}.{process.incarnation}/w{number}"
        child = Child(
            name=name, role="worker", parent=zygote.name, pid=process.pid, incarnation=process.incarnation, number=number, uid=process.uid
        )
        pool.workers[name] = Worker(name, number, next_sequence=1)
        make(state, child)
    state.changed(process)


def worker_ready(state: State, child: Child) -> None:
    """A worker waits for threads."""
    pool = state.pools.get(child.pid)
    worker = pool.workers.get(child.name) if pool is not None else None
    if pool is None or worker is None:
        end(state, child, "unused")
        return
    process = state.processes[child.pid]
    if process.workers_failed:
        process.workers_failed = 0
        state.changed(process)
    worker.is_ready = True
    state.ready_pools[child.pid] = None
    if not worker.in_flight:
        _new_head(state, pool, worker)
    text = f"w{child.number} is ready (pid {child.os_pid})"
    state.tell_event("worker.ready", text, pid=child.pid, data={"worker": child.number, "os_pid": child.os_pid})


# results


def on_results_read(state: State, event: events.ResultsRead) -> None:
    """The page of a worker holds results."""
    child = state.children.get(event.name)
    pool = state.pools.get(child.pid) if child is not None else None
    worker = pool.workers.get(event.name) if pool is not None else None
    if child is None or pool is None or worker is None:
        return
    fresh = [outcome for outcome in event.outcomes if outcome.sequence > child.done_sequence]
    if not fresh:
        if event.outcomes:
            state.do(effects.Consume(child.name, child.done_sequence))
        return
    ended: list[tuple[ThreadInfo, port.Result]] = []
    for outcome in fresh:
        if not worker.in_flight or outcome.sequence != worker.in_flight[0][0] or outcome.tid != worker.in_flight[0][1]:
            child.failure = f"claims a result for thread {outcome.tid} that it was not given"
            end(state, child, "violation")
            break
        worker.in_flight.popleft()
        child.done_sequence = outcome.sequence
        chunk = pool.chunk_of(outcome.tid)
        pool.note_run(chunk.entry, outcome.run_seconds)
        completed = outcome.status == "completed"
        if pool.end(outcome.tid, STATE_NUMBER["completed" if completed else "error"]):
            ended.append(_ended(chunk, child, outcome))
        while worker.batches and worker.batches[0].first_sequence + len(worker.batches[0].tids) <= outcome.sequence + 1:
            state.deleted(worker.batches.popleft())
    state.changed(child)
    _new_head(state, pool, worker)
    state.ready_pools[pool.pid] = None
    _record(state, pool, ended)
    state.do(effects.Consume(child.name, child.done_sequence))


def _ended(chunk: Chunk, child: Child, outcome: Outcome) -> tuple[ThreadInfo, port.Result]:
    completed = outcome.status == "completed"
    cause = "" if completed else "oom" if outcome.kind == "MemoryError" else "result" if outcome.kind.startswith("result-") else "exception"
    info = ThreadInfo(
        outcome.tid,
        child.pid,
        chunk.entry,
        label_of(chunk, outcome.tid),
        "completed" if completed else "error",
        child.number,
        child.os_pid,
        chunk.created_at,
        outcome.started_at,
        outcome.run_seconds,
        cause,
        f"{outcome.kind}: {outcome.message}" if outcome.kind else outcome.message,
    )
    result = port.Result(
        outcome.tid,
        info.state,
        outcome.value,
        cause,
        outcome.kind,
        outcome.message,
        outcome.traceback,
        outcome.code,
        child.number,
        child.os_pid,
        outcome.started_at,
        outcome.run_seconds,
        outcome.cpu_seconds,
    )
    return info, result


def fail(
    state: State, pool: Pool, tid: int, status: str, cause: str, message: str, *, child: Child | None = None, head_at: float = 0.0
) -> None:
    """End a thread that will have no result."""
    chunk = pool.chunk_of(tid)
    if not pool.end(tid, STATE_NUMBER[status]):
        return
    number, os_pid = (child.number, child.os_pid) if child is not None else (0, 0)
    seconds = max(0.0, state.wall - head_at) if head_at else 0.0
    info = ThreadInfo(
        tid, pool.pid, chunk.entry, label_of(chunk, tid), status, number, os_pid, chunk.created_at, head_at, seconds, cause, message
    )
    result = port.Result(tid, status, _NIL, cause, "", message, "", "", number, os_pid, head_at, seconds)
    _record(state, pool, [(info, result)])


def _record(state: State, pool: Pool, ended: list[tuple[ThreadInfo, port.Result]]) -> None:
    """Put ended threads into the journal as one delivery, and deliver it."""
    for chunk in pool.take_emptied():
        state.deleted(chunk)
    if not ended:
        return
    process = state.processes[pool.pid]
    results = Results(
        pid=process.pid,
        incarnation=process.incarnation,
        first_sequence=process.results + 1,
        last_sequence=process.results + len(ended),
        facts=msgspec.msgpack.encode([info for info, _ in ended]),
        payload=msgspec.msgpack.encode([result for _, result in ended]),
        newest_tid=max(info.tid for info, _ in ended),
    )
    process.results = results.last_sequence
    process.threads_done += len(ended)
    process.threads_failed += sum(1 for info, _ in ended if info.state != "completed")
    state.changed(process)
    state.changed(results)
    state.results.setdefault(process.pid, []).append(results)
    state.threads.extend(info for info, _ in ended)
    main = state.main_of(process)
    if main is not None:
        state.do(effects.Tell(main.name, port.Finished(results.last_sequence, [result for _, result in ended])))
    if len(ended) > TOLD_ONE_BY_ONE:
        text = f"{len(ended)} threads ended"
        counts = {"count": len(ended), "failed": sum(1 for info, _ in ended if info.state != "completed")}
        state.tell_event("threads.ended", text, pid=process.pid, data=counts)
        return
    for info, result in ended:
        data = {
            "tid": info.tid,
            "entry": info.entry,
            "label": info.label,
            "worker": info.worker,
            "os_pid": info.os_pid,
            "run_seconds": info.run_seconds,
            "cpu_seconds": result.cpu_seconds,
            "cause": info.cause,
            "kind": result.kind,
            "message": result.message,
        }
        words = f"{info.label} {info.state} in {info.run_seconds:.3f} s" + (f": {info.message}" if info.message else "")
        state.tell_event(f"thread.{info.state}", words, pid=process.pid, data=data)


def on_results_seen(state: State, event: events.ResultsSeen) -> None:
    """A process has handled results: their payload may go."""
    child = state.children.get(event.name)
    process = state.processes.get(child.pid) if child is not None else None
    if process is None or not process.seen < event.sequence <= process.results:
        return
    process.seen = event.sequence
    state.changed(process)
    for results in reversed(state.results.get(process.pid, [])):
        if results.payload is None and results.last_sequence <= event.sequence:
            break
        if results.payload is not None and results.last_sequence <= event.sequence:
            results.payload = None
            state.changed(results)
    _forget_results(state, process)


def _forget_results(state: State, process: Process) -> None:
    """Drop the oldest facts of a process that runs for long: those that it has handled, and that no chunk needs to tell its ended threads from the others."""
    rows = state.results.get(process.pid, [])
    pool = state.pools.get(process.pid)
    if len(rows) < 2 * RESULTS_KEPT or pool is None:
        return
    oldest = pool.oldest_open()
    gone = 0
    while gone < len(rows) - RESULTS_KEPT and rows[gone].payload is None and rows[gone].newest_tid < oldest:
        state.deleted(rows[gone])
        gone += 1
    del rows[:gone]


def on_progress(state: State, event: events.ProgressMade) -> None:
    """A running thread says how far it is."""
    child = state.children.get(event.name)
    pool = state.pools.get(child.pid) if child is not None else None
    if child is None or pool is None or event.tid not in pool:
        return
    label = label_of(pool.chunk_of(event.tid), event.tid)
    data = {"tid": event.tid, "label": label, "worker": child.number, "text": event.text, "fraction": event.fraction}
    state.tell_event("thread.progress", f"{label}: {event.text}", pid=pool.pid, data=data)


# ends that are not results


def terminate(state: State, pool: Pool, tid: int, status: str, cause: str, message: str) -> None:
    """End a thread whatever it is doing: at once when it is not in a worker, by ending its worker when it is at the head of one."""
    for worker in pool.workers.values():
        place = next((place for place, (_, each) in enumerate(worker.in_flight) if each == tid), None)
        if place is None:
            continue
        if place == 0:
            end(state, state.children[worker.name], cause, tid=tid)
        else:
            pool.condemned[tid] = (status, cause, message)  # looked at when it becomes the head
        return
    if tid in pool:
        fail(state, pool, tid, status, cause, message)


def on_cancel(state: State, event: events.CancelAsked) -> None:
    """A process gives threads up."""
    child = state.children.get(event.name)
    process = state.processes.get(child.pid) if child is not None else None
    pool = state.pools.get(child.pid) if child is not None else None
    if child is not None and process is not None and pool is not None and _is_next(child, process, event.sequence):
        process.asked = event.sequence
        state.changed(process)
        for tid in event.tids:
            terminate(state, pool, tid, "terminated", "terminated", "its process gave it up")


def on_head_deadline(state: State, name: str) -> None:
    """The thread at the head of a worker has used up its time."""
    child = state.children.get(name)
    pool = state.pools.get(child.pid) if child is not None else None
    worker = pool.workers.get(name) if pool is not None else None
    if child is None or pool is None or worker is None or not worker.in_flight:
        return
    tid = worker.in_flight[0][1]
    if state.now - worker.head_since >= pool.chunk_of(tid).timeout - 1e-9:
        end(state, child, "timed_out", tid=tid)


def on_idle_deadline(state: State, name: str) -> None:
    """A worker may have been idle for long enough to go."""
    child = state.children.get(name)
    pool = state.pools.get(child.pid) if child is not None else None
    worker = pool.workers.get(name) if pool is not None else None
    if child is None or worker is None or worker.in_flight or worker.is_leaving or not worker.is_ready:
        return
    if state.now - worker.idle_since >= state.settings.idle_timeout - 1e-9:
        worker.is_leaving = True
        child.intent = "idle"
        state.changed(child)
        state.do(effects.Retire(name))
        give(state, child, state.settings.gate_timeout)


def worker_gone(state: State, child: Child, *, begun: int, oom: str) -> None:
    """A worker ended: the thread that it had begun ends with the cause, what it had not begun goes back to the front."""
    process = state.processes.get(child.pid)
    pool = state.pools.get(child.pid)
    worker = pool.workers.pop(child.name, None) if pool is not None else None
    if process is None:
        return
    if pool is None or worker is None:
        settle(state, process)
        return
    for batch in worker.batches:
        state.deleted(batch)
    lost = [(sequence, tid) for sequence, tid in worker.in_flight if sequence <= begun]
    back = [tid for sequence, tid in worker.in_flight if sequence > begun]
    worker.in_flight.clear()
    for _, tid in lost:
        status, cause, message = _loss(process, child, pool, tid, oom)
        fail(state, pool, tid, status, cause, message, child=child, head_at=worker.head_at)
    again = []
    for tid in back:
        if tid in pool.condemned or tid == child.intent_tid:
            condemned = pool.condemned.pop(tid, None)
            status, cause, message = condemned if condemned is not None else _loss(process, child, pool, tid, oom)
            fail(state, pool, tid, status, cause, message, child=child)
        else:
            again.append(tid)
    pool.requeue(again)
    _report_worker(state, process, child, oom)
    if not child.ready_at and not child.intent and process.ending_as == "":
        process.workers_failed += 1
        state.changed(process)
        if process.workers_failed >= WORKER_FAILURES:
            _give_up(state, process, pool, child)
    state.ready_pools[process.pid] = None
    settle(state, process)


def _loss(process: Process, child: Child, pool: Pool, tid: int, oom: str) -> tuple[str, str, str]:
    """Say how a thread ends whose worker is gone: (status, cause, message)."""
    if tid == child.intent_tid and child.intent == "timed_out":
        return "timed_out", "timed_out", f"did not end within {pool.chunk_of(tid).timeout:g} s"
    if tid == child.intent_tid and child.intent:
        return "terminated", "terminated", "was terminated while it ran"
    if oom:
        return "error", "oom", f"out of memory: {oom}"
    if process.ending_as or process.desired == "down":
        return "terminated", "terminated", "its process was ended while it ran"
    if child.intent == "violation":
        return "error", "worker_lost", f"its worker {child.failure}"
    ended = (
        f"signal {child.exit_status}"
        if child.exit_how > 1
        else f"exit code {child.exit_status}"
        if child.exit_how == 1
        else "an unknown end"
    )
    return "error", "worker_lost", f"its worker w{child.number} (pid {child.os_pid}) ended by {ended}"


def _report_worker(state: State, process: Process, child: Child, oom: str) -> None:
    if child.intent in ("idle", "process ended", "unused"):
        return
    cause = (
        "oom"
        if oom
        else child.intent or ("failed" if child.failure else f"{'signal' if child.exit_how > 1 else 'exit'} {child.exit_status}")
    )
    data = {"worker": child.number, "os_pid": child.os_pid, "cause": cause, "reason": child.failure or oom}
    state.tell_event(
        "worker.lost", f"w{child.number} (pid {child.os_pid}) is gone: {child.failure or oom or cause}", pid=process.pid, data=data
    )


def _give_up(state: State, process: Process, pool: Pool, child: Child) -> None:
    """Fail what waits: workers of this process do not come up."""
    why = child.failure or f"exited {child.exit_status}"
    message = f"no worker can be started: {process.workers_failed} in a row ended before they were ready, the last one: {why}"
    process.workers_failed = 0
    for tid in pool.waiting():
        if not any(tid == each for worker in pool.workers.values() for _, each in worker.in_flight):
            fail(state, pool, tid, "error", "worker_lost", message)


def drop_pool(state: State, process: Process) -> None:
    """End the threads of a process that has ended, and forget its pool."""
    pool = state.pools.pop(process.pid, None)
    if pool is None or process.status not in ENDED:
        return
    for tid in pool.waiting():
        fail(state, pool, tid, "terminated", "terminated", f"its process ended: {process.cause}")
    state.ready_pools.pop(process.pid, None)
