"""Threads that ended: they are journaled as deliveries, told to their process until it has seen them, and forgotten once nobody needs them.

1. A thread ends once. What ends together is one delivery: one row, one message, and one event when there are many.
2. A delivery is kept in full until its process has seen it; what it came to is kept while other threads of the same submission are open, for a new kernel has to
   know which of them ended, and beyond that for the newest RESULTS_KEPT deliveries of a process, for people.
3. A process that does not handle its results gets no more threads started until it does.
"""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from dadms_ipc import port
from dadms_ipc.requests import AttemptInfo, ThreadInfo
from dadmsd.kernel.core import effects, events, groups, keys, retrying, sharing
from dadmsd.kernel.core.history import infos_of
from dadmsd.kernel.core.records import LABEL_MOST, Child, Chunk, Process, Results, Run, Tries
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.stages import SENT, STATE_NUMBER
from dadmsd.kernel.core.state import THREADS_KEPT, State
from dadmsd.worker.messages import Outcome

TOLD_ONE_BY_ONE = 16  # threads of a process that end within TOLD_SECONDS and have an event of their own each; more are counted
TOLD_SECONDS = 0.1
DELIVERY_MOST = 10_000  # threads in one delivery: far below what a frame holds
RESULTS_KEPT = 256  # deliveries of a process that stay when nobody needs them: some hundred kilobytes
REWRITTEN_LEAST = 64 * 1024  # bytes of a payload that was seen and is worth a row written anew; a smaller one goes with its row
UNSEEN_MOST = 64 * 1024 * 1024  # bytes of results that a process may leave unhandled before no more of its threads are started
SOON_SECONDS = 0.0005  # that a thread runs at most, for whose end the answer to its submission waits
ANSWER_SECONDS = 0.02  # that it waits at most
TEXT_MOST = 2000  # characters of a message in tables and events; the process gets all of it

_NIL = msgspec.Raw(b"\xc0")
_encode = msgspec.msgpack.Encoder().encode
_infos = msgspec.msgpack.Decoder(list[ThreadInfo])
_runs = msgspec.msgpack.Decoder(list[Run])

Ended = tuple[ThreadInfo, port.Result]
EndedRun = tuple[Run, port.Run]


class Failure(NamedTuple):
    """How a thread ends that has no result."""

    tid: int
    status: str  # "error", "terminated", "timed_out"
    cause: str
    message: str


def label_of(chunk: Chunk, tid: int) -> str:
    """Name a thread for people."""
    return chunk.label_of(tid)


def _cause_of(outcome: Outcome) -> str:
    if outcome.status == "completed":
        return ""
    return "oom" if outcome.kind == "MemoryError" else "result" if outcome.kind.startswith("result-") else "exception"


def _message_of(outcome: Outcome) -> str:
    return (f"{outcome.kind}: {outcome.message}" if outcome.kind else outcome.message)[:TEXT_MOST]


def failed_attempt(child: Child, outcome: Outcome) -> AttemptInfo:
    """Make what is kept of an attempt whose worker wrote that it failed."""
    cause, message = _cause_of(outcome), _message_of(outcome)[:LABEL_MOST]
    return AttemptInfo(cause, message, child.number, child.os_pid, outcome.started_at, outcome.run_seconds)


def outcome_of(chunk: Chunk, child: Child, outcome: Outcome, tries: Tries | None = None) -> Ended:
    """Make what is recorded of a thread whose worker wrote a result."""
    completed = outcome.status == "completed"
    cause = _cause_of(outcome)
    failed = tries.failed if tries is not None else []
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
        _message_of(outcome),
        len(failed) + 1,
        failed,
        key=chunk.key_of(outcome.tid),
        group=chunk.group,
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
        len(failed) + 1,
    )
    return info, result


def run_of(chunk: Chunk, child: Child, first: int, started_at: float, values: list[msgspec.Raw], seconds: list[float]) -> EndedRun:
    """Make what is recorded of short threads of one chunk that completed one after the other."""
    index = first - chunk.first_tid
    labels = [label[:LABEL_MOST] for label in chunk.labels[index : index + len(values)]] if chunk.labels else []
    column = array("f", seconds).tobytes()
    facts = Run(first, child.pid, chunk.entry, child.number, child.os_pid, chunk.created_at, started_at, column, labels, chunk.group)
    return facts, port.Run(first, values, column, child.number, child.os_pid, started_at)


def fail(
    state: State, pool: Pool, failures: Sequence[Failure], *, child: Child | None = None, head_at: float = 0.0, seconds: float = 0.0
) -> None:
    """End threads that will have no result; ``head_at`` is when they began, wall clock, 0.0 when they did not, and ``seconds`` for how long they ran."""
    number, os_pid = (child.number, child.os_pid) if child is not None else (0, 0)
    ended: list[Ended] = []
    is_any_tried_again = False
    for tid, status, cause, message in failures:
        chunk = pool.chunk_of(tid)
        if chunk.retry is not None and retrying.is_tried_again(
            state, pool, tid, AttemptInfo(cause, message[:LABEL_MOST], number, os_pid, head_at, seconds)
        ):
            is_any_tried_again = True
            continue
        tries = pool.tries.get(tid)
        if not pool.end(tid, STATE_NUMBER[status]):
            continue
        failed = tries.failed if tries is not None else []
        made = len(failed) + bool(head_at)
        label = label_of(chunk, tid)
        words = message[:TEXT_MOST]
        info = ThreadInfo(
            tid,
            pool.pid,
            chunk.entry,
            label,
            status,
            number,
            os_pid,
            chunk.created_at,
            head_at,
            seconds,
            cause,
            words,
            made,
            failed,
            key=chunk.key_of(tid),
            group=chunk.group,
        )
        result = port.Result(tid, status, _NIL, cause, "", message, "", "", number, os_pid, head_at, seconds, attempts=made)
        ended.append((info, result))
    if is_any_tried_again:
        sharing.threads_ended(state, pool)
    for first in range(0, len(ended), DELIVERY_MOST):
        record(state, pool, ended[first : first + DELIVERY_MOST])


def answer(process: Process) -> port.Accepted | port.Refused:
    if process.refusal:
        return port.Refused(process.submitted, process.refusal)
    return port.Accepted(process.submitted, process.submitted_tid)


def is_ended_soon(pool: Pool, request: port.Submit) -> bool:
    """Tell whether all that a process asks for is one thread that an idle worker will have run in no time."""
    return (
        len(request.arguments) == 1
        and not request.keys
        and not pool.ready
        and pool.estimates.of(request.entry) <= SOON_SECONDS
        and any(worker.is_ready and not worker.is_busy and not worker.is_leaving for worker in pool.workers.values())
    )


def owe_answer(state: State, pool: Pool) -> None:
    """Answer a submission with the result of its thread, or in a moment: the process is woken once, and not twice."""
    pool.owes_answer = True
    state.arm(state.now + ANSWER_SECONDS, "answer", str(pool.pid))


def give_answer(state: State, pool: Pool) -> None:
    """Answer a submission that was not answered yet."""
    if pool.owes_answer:
        pool.owes_answer = False
        process = state.processes[pool.pid]
        main = state.main_of(process)
        if main is not None:
            state.do(effects.Tell(main.name, answer(process)))


def on_answer_deadline(state: State, pid: str) -> None:
    """A submission may have waited for its answer long enough: its thread takes longer than those before it."""
    pool = state.pools.get(int(pid))
    if pool is not None:
        give_answer(state, pool)


def record(state: State, pool: Pool, ended: list[Ended], runs: Sequence[EndedRun] = ()) -> None:
    """Put ended threads into the journal as one delivery, and deliver it."""
    if pool.pid in state.watchers:
        state.told.add(pool.pid)  # somebody may wait for these
    if pool.pid in state.keyed:
        ended = [*ended, *keys.settle(state, pool, ended)]
    for chunk in pool.take_emptied():
        state.deleted(chunk)
    if pool.tries:
        for info, _ in ended:
            tries = pool.tries.pop(info.tid, None)
            if tries is not None:
                state.deleted(tries)
    if pool.touched:
        groups.note_ends(state, pool, [info for info, _ in ended])
    infos = [info for info, _ in ended] if ended else []
    facts = [each for each, _ in runs] if runs else []
    count = len(infos)
    for _, run in runs:
        count += len(run.values)
    if not count:
        return
    process = state.processes[pool.pid]
    delivery = port.Delivery([result for _, result in ended] if ended else [], [run for _, run in runs] if runs else [])
    payload = _encode(delivery)
    results = Results(
        pid=process.pid,
        incarnation=process.incarnation,
        first_sequence=process.results + 1,
        last_sequence=process.results + count,
        facts=_encode(infos),
        payload=payload,
        runs=_encode(facts),
    )
    if process.suspended:
        process.suspended = [tid for tid in process.suspended if pool.state(tid) <= SENT]
        state.changed(process)
    failed = sum(1 for info in infos if info.state != "completed") if infos else 0
    process.results = results.last_sequence
    process.threads_done += count
    process.threads_failed += failed
    state.changed_talk(process)
    state.changed(results)
    state.results.setdefault(process.pid, []).append(results)
    for each in facts:
        state.threads.add_run(each)
    if infos:
        state.threads.extend(infos)
    pool.unseen += len(payload)
    main = state.main_of(process)
    if main is not None:
        accepts = (process.submitted, process.submitted_tid) if pool.owes_answer else (0, 0)
        state.do(effects.Tell(main.name, port.Finished(results.last_sequence, delivery.results, delivery.runs, *accepts)))
    pool.owes_answer = False
    _tell_all(state, pool, ended, runs, count=count, failed=failed)
    sharing.threads_ended(state, pool)
    _sweep(state, pool)


def _tell_all(state: State, pool: Pool, ended: list[Ended], runs: Sequence[EndedRun], *, count: int, failed: int) -> None:
    """Tell of threads that ended: one by one while they are few, and counted beyond that, ever TOLD_SECONDS."""
    if state.now >= pool.told_until:
        pool.told_until = state.now + TOLD_SECONDS
        pool.told = 0
        tell_untold(state, pool)
    if pool.told + count <= TOLD_ONE_BY_ONE and not pool.untold:
        pool.told += count
        for facts, run in runs:
            for info, result in zip(infos_of(facts), run.results(), strict=True):
                _tell(state, info, result)
        for each in ended:
            _tell(state, *each)
        return
    pool.told = TOLD_ONE_BY_ONE
    pool.untold += count
    pool.untold_failed += failed
    if count > TOLD_ONE_BY_ONE and not runs:
        tell_untold(state, pool)  # an end of many at once is news by itself
    else:
        state.arm(pool.told_until, "told", str(pool.pid))


def tell_untold(state: State, pool: Pool) -> None:
    """Tell how many threads have ended that were not told of."""
    retrying.tell_untold(state, pool)
    if pool.untold:
        count, failed, pool.untold, pool.untold_failed = pool.untold, pool.untold_failed, 0, 0
        state.tell_event("threads.ended", f"{count} threads ended", pid=pool.pid, data={"count": count, "failed": failed})


def on_told_deadline(state: State, pid: str) -> None:
    """Threads may have ended that were not told of."""
    pool = state.pools.get(int(pid))
    if pool is not None and state.now >= pool.told_until:
        tell_untold(state, pool)
    elif pool is not None and (pool.untold or pool.untold_retrying):
        state.arm(pool.told_until, "told", pid)


def _tell(state: State, info: ThreadInfo, result: port.Result) -> None:
    data = {
        "tid": info.tid,
        "entry": info.entry,
        "label": info.label,
        "worker": info.worker,
        "os_pid": info.os_pid,
        "run_seconds": info.run_seconds,
        "cpu_seconds": result.cpu_seconds,
        "cause": info.cause,
        "kind": result.kind[:LABEL_MOST],
        "message": result.message[:TEXT_MOST],
    }
    words = f"{info.label} {info.state} in {info.run_seconds:.3f} s" + (f": {info.message}" if info.message else "")
    state.tell_event(f"thread.{info.state}", words, pid=info.pid, data=data)


def _sweep(state: State, pool: Pool) -> None:
    """Forget deliveries that nobody needs, each time that twice as many are there as the last time left."""
    kept = state.results[pool.pid]
    if len(kept) < 2 * RESULTS_KEPT or len(kept) < pool.sweep_at:
        return
    older, newest = kept[:-RESULTS_KEPT], kept[-RESULTS_KEPT:]
    needed = []
    for results in older:
        if results.payload is not None or any(pool.is_open(tid) for tid in _tids(results)):
            needed.append(results)
        else:
            state.deleted(results)
    state.results[pool.pid] = needed + newest
    pool.sweep_at = 2 * (len(needed) + RESULTS_KEPT)


def _tids(results: Results) -> list[int]:
    """Give the threads of a delivery: of a run, which is of one submission, one."""
    return [*(run.first_tid for run in _runs.decode(results.runs)), *(info.tid for info in _infos.decode(results.facts))]


def on_results_seen(state: State, event: events.ResultsSeen) -> None:
    """A process has handled results: their payload may go."""
    child = state.children.get(event.name)
    process = state.processes.get(child.pid) if child is not None else None
    pool = state.pools.get(child.pid) if child is not None else None
    if process is None or pool is None or not process.seen < event.sequence <= process.results:
        return
    process.seen = event.sequence
    state.changed_talk(process)
    for results in reversed(state.results[process.pid]):
        if results.last_sequence > event.sequence:
            continue
        if results.payload is None:
            break
        pool.unseen -= len(results.payload)
        if len(results.payload) > REWRITTEN_LEAST:
            state.changed(results)
        results.payload = None
    if pool.ready or pool.yielded:
        state.ready_pools.setdefault(process.pid)


def close(state: State, pool: Pool, message: str) -> None:
    """End the threads of a process that has ended, and keep of its deliveries what people may want to look at: nobody else reads them.

    A million threads that waited are not a million lines: those that no table would show are counted.
    """
    process = state.processes[pool.pid]
    shown = pool.newest(THREADS_KEPT)
    unseen = pool.open - len(shown)
    for tries in pool.tries.values():
        state.deleted(tries)
    keys.close(state, pool)
    process.threads_done += unseen
    process.threads_failed += unseen
    state.changed(process)
    for chunk in pool.chunks():
        state.deleted(chunk)
    fail(state, pool, [Failure(tid, "terminated", "terminated", message) for tid in reversed(shown)])
    groups.close(state, pool)
    tell_untold(state, pool)
    kept = state.results.get(pool.pid, [])
    for results in kept[:-RESULTS_KEPT]:
        state.deleted(results)
    state.results[pool.pid] = kept[-RESULTS_KEPT:]
    for results in state.results[pool.pid]:
        if results.payload is not None:
            results.payload = None
            state.changed(results)
