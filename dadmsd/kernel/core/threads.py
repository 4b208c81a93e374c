"""Threads: submission, results, cancellation.

1. A submission is answered once it is in the journal, and a repeated one gets the same answer. Its threads have consecutive numbers.
2. Results are in the journal before their room in the page is free and before the process hears of them.
3. A plain thread is terminated by ending its worker, an async one as ``looping`` says. The worker is ended once it is at the head; nobody else's thread is in that worker then but those that were not begun. That it is to be
   terminated is in the journal until then.
"""

from collections.abc import Iterable

import msgspec

from dadms_ipc import port
from dadmsd.kernel.core import effects, events, groups, keys, looping, retrying, sharing
from dadmsd.kernel.core.bounds import SECONDS_MOST
from dadmsd.kernel.core.deliveries import (
    Ended,
    EndedRun,
    Failure,
    answer,
    fail,
    failed_attempt,
    give_answer,
    is_ended_soon,
    label_of,
    outcome_of,
    owe_answer,
    record,
    run_of,
)
from dadmsd.kernel.core.dispatch import condemn, failures_of, new_head, note_failures
from dadmsd.kernel.core.ledger import size_text
from dadmsd.kernel.core.loops import Loop
from dadmsd.kernel.core.moves import violate
from dadmsd.kernel.core.policies import PRIORITY_MOST
from dadmsd.kernel.core.records import Child, Chunk, Process
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.stages import STATE_NUMBER
from dadmsd.kernel.core.state import MEBIBYTE, State
from dadmsd.worker.messages import Outcome, Stretch

QUEUE_MOST = 1_000_000  # threads of one process that may wait: a byte of state and their arguments each
QUEUE_BYTES = 256 * MEBIBYTE  # of arguments of one process: they are in the kernel's memory
ARGUMENT_BYTES = 16 * MEBIBYTE  # of one thread: it has to fit into a frame
SUBMIT_MOST = 10_000  # threads in one submission


# submission


def on_submitted(state: State, event: events.Submitted) -> None:
    """A process asks for threads."""
    child = state.children.get(event.name)
    process = state.processes.get(child.pid) if child is not None else None
    if child is None or process is None:
        return
    request = event.request
    pool = state.pools.get(process.pid)
    if pool is not None and pool.owes_answer:
        give_answer(state, pool)
    if not is_next(child, process, request.sequence):
        if request.sequence == process.submitted:  # repeated after a new kernel's hello
            state.do(effects.Tell(child.name, answer(process)))
        return
    if state.unkept:
        state.parked[child.name] = event
        return
    reason = _refusal(state, process, request)
    process.asked = process.submitted = request.sequence
    process.refusal = reason
    process.submitted_tid = 0
    is_answered_later = False
    if not reason and pool is not None:
        process.submitted_tid = state.counters.next_tid
        state.counters.next_tid += len(request.arguments)
        state.changed(state.counters)
        chunk = Chunk(
            first_tid=process.submitted_tid,
            pid=process.pid,
            incarnation=process.incarnation,
            entry=request.entry,
            arguments=request.arguments,
            labels=request.labels,
            timeout=request.timeout or process.spec.thread_timeout or state.settings.thread_timeout,
            created_at=state.wall,
            priority=request.priority,
            deadline=state.wall + request.deadline if request.deadline is not None else None,
            retry=request.retry,
            keys=request.keys,
            group=request.group,
        )
        if request.group:
            groups.enter(state, pool, request)
        state.changed(chunk)
        is_answered_later = is_ended_soon(pool, request)
        pool.add(chunk)
        state.ready_pools.setdefault(process.pid)
    state.changed_talk(process)
    if is_answered_later and pool is not None:
        owe_answer(state, pool)
    else:
        state.do(effects.Tell(child.name, answer(process)))
    if request.keys and not reason and pool is not None:
        record(state, pool, keys.enter(state, pool, chunk))
        if chunk.group and (group := pool.groups[chunk.group]).row.is_suspended:
            pool.set_group_aside(group)


def is_next(child: Child, process: Process, sequence: int) -> bool:
    """Tell whether a request over the port is new and its turn has come.

    One that runs ahead follows another that a dead kernel had read: all of them are repeated, in order, after the hello.
    """
    return child.phase not in ("gated", "opened") and sequence == process.asked + 1


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
    if request.group and (flaw := groups.flaw_of(pool, request)):
        return flaw
    if request.keys and (flaw := keys.flaw_of(state, process.pid, request)):
        return flaw
    if request.timeout is not None and not 0 < request.timeout <= SECONDS_MOST:
        return f"cannot submit with a time-out of {request.timeout} s: it is above 0, and at most {SECONDS_MOST} s"
    if abs(request.priority) > PRIORITY_MOST:
        return f"cannot submit with a priority of {request.priority}: -{PRIORITY_MOST} to {PRIORITY_MOST}"
    if request.deadline is not None and not 0 < request.deadline <= SECONDS_MOST:
        return f"cannot submit with a deadline in {request.deadline} s: it is above 0, and at most {SECONDS_MOST} s"
    if request.retry is not None and (flaw := retrying.flaw_of(request.retry)):
        return f"cannot submit with this retry policy: {flaw}"
    size = sum(map(len, request.arguments))
    if pool.size + size > QUEUE_BYTES:
        return f"cannot submit {size_text(size)} of arguments: {size_text(pool.size)} wait already, at most {size_text(QUEUE_BYTES)} may"
    if size > ARGUMENT_BYTES and max(map(len, request.arguments)) > ARGUMENT_BYTES:
        return f"cannot submit arguments of {size_text(max(map(len, request.arguments)))} for one thread: at most {size_text(ARGUMENT_BYTES)}; give it an artifact instead, process.artifact(value), whose reference is small"
    if pool.open + len(request.arguments) > QUEUE_MOST:
        return f"cannot submit {len(request.arguments)} threads: {pool.open} wait already, at most {QUEUE_MOST} may"
    return ""


# results


def on_results_read(state: State, event: events.ResultsRead) -> None:
    """The page of a worker holds results."""
    child = state.children.get(event.name)
    pool = state.pools.get(child.pid) if child is not None else None
    worker = pool.workers.get(event.name) if pool is not None else None
    if child is None or pool is None or worker is None:
        return
    process = state.processes[child.pid]
    done = child.done_sequence
    fresh = [part for part in event.outcomes if part.last_sequence > done]
    if not fresh:
        if event.outcomes:
            state.do(effects.Consume(child.name, child.done_sequence))
        return
    if not child.done_sequence and failures_of(process, child.kind):
        note_failures(process, child.kind, 0)  # this one is of use
        state.changed(process)
    if isinstance(worker, Loop):
        looping.on_results(state, child, pool, worker, fresh)
        return
    if worker.is_yielded:
        violate(state, child, "ends a thread that waits for a slot")
        return
    was_busy = worker.is_busy
    ended: list[Ended] = []
    runs: list[EndedRun] = []
    is_any_tried_again = False
    if child.stood:
        fresh = [_without_standing(part, worker.head[1], child.stood) for part in fresh]
    for each in fresh:
        part = each.after(child.done_sequence) if isinstance(each, Stretch) and each.first_sequence <= child.done_sequence else each
        if isinstance(part, Stretch):
            if not worker.has_next(part.first_sequence, part.first_tid, len(part.values)):
                violate(state, child, f"claims results for threads from {part.first_tid} on that it was not given")
                break
            tids = range(part.first_tid, part.first_tid + len(part.values))
            if (pool.tries and any(tid in pool.tries for tid in tids)) or (pool.pid in state.keyed and keys.have(state, pool.pid, tids)):
                ended.extend(_end_one(pool, child, outcome) for outcome in part.outcomes())  # a run says nothing of attempts and keys
            else:
                runs.extend(_end_run(pool, child, part))
        else:
            if not worker.has_next(part.sequence, part.tid):
                violate(state, child, f"claims a result for thread {part.tid} that it was not given")
                break
            if part.status != "completed" and retrying.is_tried_again(
                state, pool, part.tid, failed_attempt(child, part), part.kind, part.code
            ):
                is_any_tried_again = True
                pool.note_used(part.run_seconds)
            else:
                ended.append(_end_one(pool, child, part))
        child.done_sequence = part.last_sequence
        for batch in worker.passed(child.done_sequence):
            state.deleted(batch)
    state.changed(child)
    if was_busy and not worker.is_busy:
        state.slots_held -= 1
    new_head(state, pool, worker)
    if pool.ready:
        state.ready_pools.setdefault(pool.pid)
    if is_any_tried_again:
        sharing.threads_ended(state, pool)
    record(state, pool, ended, runs)
    state.do(effects.Consume(child.name, child.done_sequence))


def _without_standing(part: Outcome | Stretch, tid: int, stood: float) -> Outcome | Stretch:
    """Take the time that a thread stood still off what its worker says that it ran."""
    if isinstance(part, Stretch) or part.tid != tid:
        return part
    return msgspec.structs.replace(part, run_seconds=max(0.0, part.run_seconds - stood))


def _end_one(pool: Pool, child: Child, outcome: Outcome) -> Ended:
    """End a thread as its worker says; what is recorded of it is given."""
    chunk = pool.chunk_of(outcome.tid)
    pool.estimates.learn(chunk.entry, outcome.run_seconds)
    pool.note_used(outcome.run_seconds)
    ended = outcome_of(chunk, child, outcome, pool.tries.get(outcome.tid))
    pool.end(outcome.tid, STATE_NUMBER[ended[0].state])
    pool.condemned.pop(outcome.tid, None)  # it was quicker
    return ended


def _end_run(pool: Pool, child: Child, stretch: Stretch) -> list[EndedRun]:
    """End the threads of a stretch; what is recorded of them is given, chunk by chunk."""
    runs = []
    place, at = 0, stretch.started_at
    for chunk, first, count in pool.parts(stretch.first_tid, len(stretch.values)):
        values, seconds = stretch.values[place : place + count], stretch.seconds[place : place + count]
        total = sum(seconds)
        pool.estimates.learn_all(chunk.entry, seconds, total)
        pool.note_used(total)
        pool.complete(first, count)
        if pool.condemned:
            for tid in range(first, first + count):
                pool.condemned.pop(tid, None)  # it was quicker
        runs.append(run_of(chunk, child, first, at, values, seconds))
        place += count
        at += total
    return runs


def on_progress(state: State, event: events.ProgressMade) -> None:
    """A running thread says how far it is."""
    child = state.children.get(event.name)
    pool = state.pools.get(child.pid) if child is not None else None
    if child is None or pool is None or event.tid not in pool:
        return
    label = label_of(pool.chunk_of(event.tid), event.tid)
    data = {"tid": event.tid, "label": label, "worker": child.number, "text": event.text, "fraction": event.fraction}
    state.tell_event("thread.progress", f"{label}: {event.text}", pid=pool.pid, data=data)


def set_priority(state: State, pool: Pool, tids: Iterable[int], priority: int) -> str:
    """Give threads that wait another priority; gives "", or why not."""
    if abs(priority) > PRIORITY_MOST:
        return f"cannot set a priority of {priority}: -{PRIORITY_MOST} to {PRIORITY_MOST}"
    for tid in tids:
        pool.set_priority(tid, priority)
    process = state.processes[pool.pid]
    process.priorities = dict(pool.priorities)
    state.changed(process)
    return ""


# ends that are not results


def terminate(state: State, pool: Pool, tids: Iterable[int], status: str, cause: str, message: str) -> None:
    """End threads whatever they are doing: at once when they are in no worker, by ending their worker when they have begun in one, after it was frozen where
    others were sent with them.
    """
    places = {tid: worker for worker in pool.workers.values() for _, tid in worker.in_flight}
    at_once = []
    for tid in tids:
        worker = places.get(tid)
        if isinstance(worker, Loop):
            looping.condemn(state, pool, worker, tid, (status, cause, message))
        elif tid in places:
            condemn(state, pool, places[tid], tid, (status, cause, message))
        elif tid in pool:
            at_once.append(Failure(tid, status, cause, message))
    fail(state, pool, at_once)


def on_cancel(state: State, event: events.CancelAsked) -> None:
    """A process gives threads up."""
    child = state.children.get(event.name)
    process = state.processes.get(child.pid) if child is not None else None
    pool = state.pools.get(child.pid) if child is not None else None
    if child is not None and process is not None and pool is not None and is_next(child, process, event.sequence):
        process.asked = event.sequence
        state.changed(process)
        terminate(state, pool, event.tids, "terminated", "terminated", "its process gave it up")
