"""Async workers: many threads at a time in each, which hold no slot.

1. What waits for an async kind is handed to its workers as far as they have room: ``at_once`` threads that are not suspended. A pool grows such workers by that
   number too, and has LOOPS_MOST of a kind at most; what more there is waits in the queue.
2. A thread has begun when its worker marked its sequence begun, which is when it arrived: it begins at most once. They end in any order, so a result's sequence is the ordinal of its end
   in its worker, and names no place in a batch; a batch stays in the journal until all of it has ended.
3. One thread is cancelled alone: its worker is told, and it has CANCEL_GRACE to end. One that does not (it goes on all the same, or blocks the loop) costs the
   worker, and with it what else runs there.
4. A worker that ends takes every thread with it that it had begun: each ends in error, by ``worker_lost``; nobody can tell who it was. The one for whose sake the
   worker was ended ends as was asked. What had not begun goes back to the queue.
5. Suspension is cooperative: the worker steps a thread no more from its next wait on. Its time stands still from the demand on.
"""

import math
from collections.abc import Iterable

import msgspec

from dadmsd.kernel.core import effects, retrying, sharing, timeouts
from dadmsd.kernel.core.deliveries import (
    TOLD_ONE_BY_ONE,
    TOLD_SECONDS,
    UNSEEN_MOST,
    Ended,
    Failure,
    fail,
    failed_attempt,
    label_of,
    outcome_of,
    record,
)
from dadmsd.kernel.core.dispatch import fork_workers, left_of, may_grow, new_head, retire, spans
from dadmsd.kernel.core.estimates import BATCH_MOST
from dadmsd.kernel.core.kinds import Lane
from dadmsd.kernel.core.loops import Loop
from dadmsd.kernel.core.moves import end, violate
from dadmsd.kernel.core.records import LABEL_MOST, Batch, Child, Process
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.stages import SENT, STATE_NUMBER
from dadmsd.kernel.core.state import State
from dadmsd.worker.messages import Outcome, Stretch

LOOPS_MOST = 4  # async workers of a kind and a process that are given threads: each takes at_once of them
DRAINING_MOST = 4  # of a kind, that are to be replaced (recycle_seconds) and wait for their last threads
CANCEL_GRACE = 2.0  # seconds that a cancelled thread has to end by itself: to close what it has open

NOBODY = 0  # in a batch, in place of a thread that waits for its next attempt

LOST = "{0}; {1} threads ran in it, and nobody can tell which of them it was"
LOST_WITH = "{0}; {1} threads ran in it"  # where the one is known that it was ended for


# handing out


def dispatch(state: State) -> None:
    """Hand out what waits for async workers, whoever holds slots; grow those pools that want to."""
    for pid in list(state.looping):
        pool = state.pools.get(pid)
        if pool is None:
            del state.looping[pid]
            continue
        if not any(lane.ready for lane in pool.loops) or state.processes[pid].suspension or pool.unseen > UNSEEN_MOST:
            continue
        for lane in pool.loops:
            if lane.ready:
                _serve(state, pool, lane)
            if lane.ready:
                _grow(state, pool, lane)


def _loops(pool: Pool, lane: Lane) -> list[Loop]:
    return [worker for worker in pool.workers.values() if isinstance(worker, Loop) and worker.kind == lane.kind]


def _serve(state: State, pool: Pool, lane: Lane) -> None:
    """Fill one worker after the other: those that are not needed can go."""
    for loop in _loops(pool, lane):
        child = state.children[loop.name]
        if not loop.is_ready or loop.is_leaving or child.phase != "ready":
            continue
        left = left_of(state, pool, loop)
        if left <= 0 and not loop.is_busy:
            retire(state, child, loop)
        while lane.ready and (most := min(loop.room, left, BATCH_MOST)) > 0:
            tids = pool.take(most, lane)
            _send(state, pool, loop, tids)
            left -= len(tids)


def _send(state: State, pool: Pool, loop: Loop, tids: list[int]) -> None:
    child = state.children[loop.name]
    batch = Batch(worker=loop.name, first_sequence=loop.next_sequence, tids=tids, since=state.now)
    loop.next_sequence += len(tids)
    child.next_sequence = loop.next_sequence
    state.changed(batch)
    state.changed(child)
    loop.add(batch, {tid: pool.chunk_of(tid).timeout for tid in tids}, now=state.now, wall=state.wall)
    state.arm(min(loop.flights[tid].due for tid in tids), "loop", loop.name)
    state.do_first(effects.SendBatch(loop.name, batch.first_sequence, spans(pool, tids)))
    _tell_started(state, pool, child, tids)


def _tell_started(state: State, pool: Pool, child: Child, tids: list[int]) -> None:
    """Tell of each while they are few, of many at once by their number, and else not at all: their ends are counted."""
    if state.now >= pool.told_until:
        pool.told_until = state.now + TOLD_SECONDS
        pool.told = 0
    where = {"worker": child.number, "os_pid": child.os_pid}
    if len(tids) > TOLD_ONE_BY_ONE:
        words = f"{len(tids)} threads run in w{child.number} (pid {child.os_pid})"
        state.tell_event("threads.started", words, pid=pool.pid, data={"count": len(tids), "entry": pool.chunk_of(tids[0]).entry, **where})
    elif pool.told + len(tids) > TOLD_ONE_BY_ONE:
        return
    pool.told += len(tids)
    for tid in tids if len(tids) <= TOLD_ONE_BY_ONE else ():
        chunk = pool.chunk_of(tid)
        label = label_of(chunk, tid)
        data = {"tid": tid, "entry": chunk.entry, "label": label, **where}
        state.tell_event("thread.started", f"{label} runs in w{child.number} (pid {child.os_pid})", pid=pool.pid, data=data)


def _grow(state: State, pool: Pool, lane: Lane) -> None:
    """Fork workers for what those that exist have no room for."""
    process = state.processes[pool.pid]
    loops = _loops(pool, lane)
    given = [loop for loop in loops if not loop.is_leaving and (not loop.is_ready or left_of(state, pool, loop) > 0)]
    room = sum(loop.room for loop in given if not loop.is_ready)
    wanted = min(-(-(lane.ready - room) // lane.kind.at_once), LOOPS_MOST - len(given), LOOPS_MOST + DRAINING_MOST - len(loops))
    if wanted > 0 and may_grow(process, pool, lane.kind):
        fork_workers(state, pool, lane.kind, wanted)


# results


def on_results(state: State, child: Child, pool: Pool, loop: Loop, outcomes: Iterable[Outcome | Stretch]) -> None:
    """Record what threads of an async worker came to, in the order of their ends; what is known already has been dropped."""
    ended: list[Ended] = []
    is_any_tried_again = False
    for part in outcomes:
        if isinstance(part, Stretch) or part.sequence != child.done_sequence + 1 or part.tid not in loop.flights:
            violate(state, child, f"claims a result after number {child.done_sequence} that is none of a thread which it has")
            break
        child.done_sequence = part.sequence
        pool.note_used(part.cpu_seconds)
        flight = loop.flights[part.tid]
        batch = flight.batch
        if part.run_seconds > (ran := flight.ran(state.now)):  # its worker counts what it stood still
            part = msgspec.structs.replace(part, run_seconds=ran)  # noqa: PLW2901 - the same, told better
        is_through = loop.land(part.tid) is not None
        if _is_tried_again(state, pool, child, part):
            is_any_tried_again = True
            batch.tids[batch.tids.index(part.tid)] = NOBODY
            state.changed(batch)
        else:
            ended.append(_end(pool, child, part))
        if is_through:
            state.deleted(batch)
    state.changed(child)
    if is_any_tried_again:
        sharing.threads_ended(state, pool)
    record(state, pool, ended)
    state.do(effects.Consume(child.name, child.done_sequence))
    if not loop.is_busy:
        new_head(state, pool, loop)


def _is_tried_again(state: State, pool: Pool, child: Child, outcome: Outcome) -> bool:
    """Have a thread that failed wait for its next attempt, if its policy calls for one; one that was cancelled failed for the reason of that."""
    if outcome.status == "completed":
        return False
    sentence = pool.condemned.get(outcome.tid)
    attempt = failed_attempt(child, outcome)
    if sentence is None or outcome.status != "cancelled":
        return retrying.is_tried_again(state, pool, outcome.tid, attempt, outcome.kind, outcome.code)
    return retrying.is_tried_again(
        state, pool, outcome.tid, msgspec.structs.replace(attempt, cause=sentence[1], message=sentence[2][:LABEL_MOST])
    )


def _end(pool: Pool, child: Child, outcome: Outcome) -> Ended:
    """End a thread as its worker says; what is recorded of it is given."""
    ended = outcome_of(pool.chunk_of(outcome.tid), child, outcome, pool.tries.get(outcome.tid))
    sentence = pool.condemned.pop(outcome.tid, None)
    if sentence is not None and outcome.status == "cancelled":
        ended = _sentenced(ended, sentence)
    pool.end(outcome.tid, STATE_NUMBER[ended[0].state])
    return ended


def _sentenced(made: Ended, sentence: tuple[str, str, str]) -> Ended:
    """Make what is recorded of a thread that ended because it was cancelled: not what it raised then, but why."""
    info, result = made
    status, cause, message = sentence
    return (
        msgspec.structs.replace(info, state=status, cause=cause, message=message),
        msgspec.structs.replace(result, status=status, cause=cause, message=message, kind="", code=""),
    )


# ends that are asked for


def condemn(state: State, pool: Pool, loop: Loop, tid: int, sentence: tuple[str, str, str]) -> None:
    """Have one thread of an async worker cancelled: status, cause, message."""
    process = state.processes[pool.pid]
    flight = loop.flights[tid]
    if tid in pool.condemned:
        return  # its grace has begun
    pool.condemned[tid] = sentence
    flight.batch.condemned[tid] = sentence
    state.changed(flight.batch)
    if tid in process.suspended:
        process.suspended.remove(tid)
        state.changed(process)
        release(state, loop, tid)
    _cancel(state, loop, [tid])


def _cancel(state: State, loop: Loop, tids: list[int]) -> None:
    for tid in tids:
        loop.flights[tid].cancel_by = state.now + CANCEL_GRACE
    state.do(effects.SteerWorker(loop.name, "cancel", tids))
    state.arm(state.now + CANCEL_GRACE, "loop", loop.name)


def on_deadline(state: State, name: str) -> None:
    """A thread of an async worker may have used up its time, or the grace after its cancellation."""
    child = state.children.get(name)
    pool = state.pools.get(child.pid) if child is not None else None
    loop = pool.workers.get(name) if pool is not None else None
    if child is None or pool is None or not isinstance(loop, Loop) or state.processes[child.pid].suspension or child.phase != "ready":
        return  # time stands still for what is suspended; its resume looks again
    stubborn = next((tid for tid, flight in loop.flights.items() if flight.cancel_by is not None and flight.cancel_by <= state.now), 0)
    if stubborn:
        end(state, child, pool.condemned[stubborn][1], tid=stubborn)
        return
    for tid, flight in list(loop.flights.items()):
        seconds = flight.timeout
        if flight.cancel_by is None and flight.due <= state.now:
            why = timeouts.thread_words(state, state.processes[child.pid], seconds)
            condemn(state, pool, loop, tid, ("timed_out", "timed_out", why))
    look_again(state, loop)


def look_again(state: State, loop: Loop) -> None:
    """Arm the timer for the next thread whose time, or whose grace, is up."""
    due = min((flight.due for flight in loop.flights.values()), default=math.inf)
    if due < math.inf:
        state.arm(due, "loop", loop.name)


# the end of a worker


def lose(state: State, child: Child, pool: Pool, loop: Loop, *, begun: int, oom: str, words: str) -> list[int]:
    """End what an async worker had begun when it ended; gives what it had not, and what is to go back."""
    process = state.processes[pool.pid]
    again: list[int] = []
    now = process.suspended_since if process.suspension else state.now
    lost: dict[tuple[float, float], list[Failure]] = {}  # by when they began, and how long they ran
    count = len(loop.flights)
    for tid, flight in loop.flights.items():
        sentence = pool.condemned.pop(tid, None)
        if sentence is not None:
            failure = Failure(tid, *sentence)
        elif flight.sequence > begun:
            again.append(tid)
            continue
        elif process.ending_as or process.desired == "down":
            failure = Failure(tid, "terminated", "terminated", "its process was ended while it ran")
        elif oom and count == 1:
            failure = Failure(tid, "error", "oom", f"out of memory: {oom}")
        else:
            told = "{0}" if count == 1 else LOST_WITH if child.intent_tid else LOST
            failure = Failure(tid, "error", "worker_lost", told.format(words, count))
        lost.setdefault((flight.at, flight.ran(now)) if flight.sequence <= begun else (0.0, 0.0), []).append(failure)
    loop.drop_all()
    for (at, seconds), failures in lost.items():
        fail(state, pool, failures, child=child, head_at=at, seconds=seconds)
    return again


# standing still


def hold(state: State, loop: Loop, tid: int) -> None:
    """Have a thread not stepped any more, from its next wait on; its time stands still at once."""
    loop.hold(tid, state.now)
    state.changed(loop.flights[tid].batch)
    _say_held(state, loop)


def release(state: State, loop: Loop, tid: int) -> float:
    """Let a thread go on that is not to stand still any more; gives the seconds that it stood."""
    stood = loop.release(tid, state.now)
    state.changed(loop.flights[tid].batch)
    _say_held(state, loop)
    state.arm(loop.flights[tid].due, "loop", loop.name)
    return stood


def _say_held(state: State, loop: Loop) -> None:
    """Tell a worker all that it must not step: so each word makes those before it superfluous."""
    held = [tid for tid, flight in loop.flights.items() if flight.held_since is not None]
    state.do(effects.SteerWorker(loop.name, "hold", held))


# what an earlier kernel left


def adopt(state: State, process: Process, pool: Pool, loop: Loop, batches: list[Batch]) -> None:
    """Take up what a worker has of the batches that were in the journal."""
    for batch in batches:
        timeouts = {tid: pool.chunk_of(tid).timeout for tid in batch.tids if tid in pool and pool.state(tid) == SENT}
        since = batch.since if batch.since is not None else state.now
        loop.add(batch, timeouts, now=since, wall=state.wall - max(0.0, state.now - since))
        for tid in timeouts:
            loop.flights[tid].since += batch.stood.get(tid, 0.0)
            if tid in batch.condemned:
                pool.condemned[tid] = batch.condemned[tid]
            if tid in process.suspended:
                loop.hold(tid, batch.held.get(tid, state.now))
    look_again(state, loop)


def repeat(state: State, pool: Pool, loop: Loop) -> None:
    """Say again what an earlier kernel may not have said: a worker drops what it has seen. A batch of which something has ended has arrived."""
    for batch, open_count in loop.open_batches():
        if open_count == len(batch.tids):
            state.do(effects.SendBatch(loop.name, batch.first_sequence, spans(pool, batch.tids)))
    if loop.is_busy:
        _say_held(state, loop)
    condemned = [tid for tid in loop.flights if tid in pool.condemned]
    if condemned:
        _cancel(state, loop, condemned)
