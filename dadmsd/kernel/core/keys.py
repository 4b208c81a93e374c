"""Idempotency keys: a key that a process has used does not run again, whichever incarnation uses it.

1. While a thread with the key is open, a second one waits for it and ends as it does; afterwards a second one is given what was kept, in the turn in which it is submitted.
2. Kept is what the entry itself came to: what it returned, or the exception that it raised for good. Who was terminated, timed out, ran out of memory or lost its
   worker came to nothing of its own: the key is free again.
3. A key stands for an entry and its argument: with another one it is refused, and both are named. Giving the first one's result would pass for the answer to another question.
4. What is kept is a row of the transaction that ends the thread. It is bounded for each process by KEPT_MOST and KEPT_BYTES; the oldest gives way, and that is told.
5. It is kept until the process ends for good; not when it is stopped, or to be started again.
"""

from collections.abc import Iterable, Sequence

import msgspec

from dadms_ipc import port
from dadms_ipc.requests import ThreadInfo
from dadmsd.kernel.core.keyed import Keyed, Work, work
from dadmsd.kernel.core.records import Chunk, Kept, Process
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.stages import SENT, STATE_NUMBER
from dadmsd.kernel.core.state import MEBIBYTE, State

KEPT_MOST = 100_000  # results of one process
KEPT_BYTES = 32 * MEBIBYTE  # of these: they are in the kernel's memory
OPEN_MOST = 100_000  # threads of one process with a key that have not ended
KEY_MOST = 200  # characters
KEPT_CAUSES = ("", "exception", "result")  # of what the entry itself came to
TOLD_EVERY = 10_000  # results that give way between two events about it

_result = msgspec.msgpack.Decoder(port.Result)

Repeated = tuple[ThreadInfo, port.Result]


def flaw_of(state: State, pid: int, request: port.Submit) -> str:
    """Say why a submission with keys is refused; "" when it is not."""
    count = len(request.arguments)
    if len(request.keys) != count:
        return f"cannot submit {count} threads with {len(request.keys)} keys"
    longest = max(map(len, request.keys))
    if longest > KEY_MOST:
        return f"cannot submit with a key of {longest} characters: at most {KEY_MOST}"
    keyed = state.keyed.get(pid)
    is_open = len(keyed.key_of) if keyed is not None else 0
    if is_open + count > OPEN_MOST:
        return f"cannot submit {count} threads with keys: {is_open} with keys are open already, at most {OPEN_MOST} may be"
    return _other_work(keyed or Keyed(), request)


def _other_work(keyed: Keyed, request: port.Submit) -> str:
    """Say which key stands for something else already, in this submission or before it; "" for none."""
    first: dict[str, int] = {}  # key -> where it stands in this submission
    for index, key in enumerate(request.keys):
        if not key:
            continue
        now = work(request.entry, request.arguments[index]) if key in first or key in keyed.open or key in keyed.kept else None
        if now is None:
            first[key] = index
            continue
        if key in keyed.open:
            known, who = keyed.work_of[key], f"thread {keyed.open[key][0]}, which is open,"
        elif key in keyed.kept:
            kept = keyed.kept[key]
            known, who = Work(kept.entry, kept.digest), f"thread {_result.decode(kept.result).tid}, which has ended,"
        else:
            known, who = work(request.entry, request.arguments[first[key]]), f"number {first[key] + 1} of the same submission"
        if known.digest and known != now:
            is_same = known.entry == now.entry
            what = f'"{now.entry}" with another argument' if is_same else f'"{now.entry}"'
            return f'cannot submit {what} with the key "{key}": {who} is "{known.entry}" {"with its own" if is_same else "with it"}'
    return ""


def enter(state: State, pool: Pool, chunk: Chunk) -> list[Repeated]:
    """Take in the keys of a submission that was queued; give those of its threads that end at once."""
    keyed = state.keyed.setdefault(pool.pid, Keyed())
    ended = []
    for tid, key in enumerate(chunk.keys, chunk.first_tid):
        kept = keyed.kept.get(key)
        if key and kept is not None:
            ended.append(_repeat(pool, chunk, tid, _result.decode(kept.result)))
        elif key:
            _open(keyed, pool, chunk, tid)
    return ended


def _open(keyed: Keyed, pool: Pool, chunk: Chunk, tid: int) -> None:
    key = chunk.key_of(tid)
    who = keyed.open.setdefault(key, [])
    who.append(tid)
    keyed.key_of[tid] = key
    if len(who) > 1:
        pool.park(tid)
    else:
        keyed.work_of[key] = work(chunk.entry, chunk.arguments[tid - chunk.first_tid])


def _repeat(pool: Pool, chunk: Chunk, tid: int, result: port.Result) -> Repeated:
    """End a thread as another one with its key did."""
    pool.end(tid, STATE_NUMBER[result.status])
    first = result.repeats or result.tid
    info = ThreadInfo(
        tid,
        pool.pid,
        chunk.entry,
        chunk.label_of(tid),
        result.status,
        created_at=chunk.created_at,
        started_at=result.started_at,
        cause=result.cause,
        message=f"{result.kind}: {result.message}" if result.kind else result.message,
        attempts=0,
        key=chunk.key_of(tid),
        repeats=first,
        group=chunk.group,
    )
    return info, msgspec.structs.replace(result, tid=tid, repeats=first)


def have(state: State, pid: int, tids: Iterable[int]) -> bool:
    """Tell whether any of these open threads has a key."""
    keyed = state.keyed.get(pid)
    return keyed is not None and bool(keyed.key_of) and any(tid in keyed.key_of for tid in tids)


def leader_of(state: State, pool: Pool, tid: int) -> int:
    """Give the thread that an open one waits for and ends with; 0 for none."""
    keyed = state.keyed.get(pool.pid)
    key = keyed.key_of.get(tid) if keyed is not None else None
    if keyed is None or key is None:
        return 0
    first = keyed.open[key][0]
    return first if first != tid else 0


def settle(state: State, pool: Pool, ended: Sequence[Repeated]) -> list[Repeated]:
    """Keep what threads with keys came to; give those that end with them."""
    keyed = state.keyed.get(pool.pid)
    if keyed is None or not keyed.key_of:
        return []
    more: list[Repeated] = []
    for _, result in ended:
        key = keyed.key_of.pop(result.tid, None)
        if key is None:
            continue
        who = keyed.open[key]
        if who[0] != result.tid:  # it was given up while it waited
            who.remove(result.tid)
            continue
        del keyed.open[key]
        known = keyed.work_of.pop(key)
        if result.cause in KEPT_CAUSES:
            _keep(state, keyed, pool.pid, key, result, known)
        for tid in who[1:]:
            del keyed.key_of[tid]
            if pool.state(tid) <= SENT:
                more.append(_repeat(pool, pool.chunk_of(tid), tid, result))
    return more


def _keep(state: State, keyed: Keyed, pid: int, key: str, result: port.Result, known: Work) -> None:
    kept = Kept(pid=pid, key=key, order=keyed.order + 1, result=msgspec.msgpack.encode(result), entry=known.entry, digest=known.digest)
    keyed.add(kept)
    state.changed(kept)
    while len(keyed.kept) > KEPT_MOST or keyed.size > KEPT_BYTES:
        state.deleted(keyed.pop_oldest())
        _count_dropped(state, state.processes[pid])


def _count_dropped(state: State, process: Process) -> None:
    """Tell that a result gave way: ``status`` shows how many, an event the first and each TOLD_EVERY-th."""
    process.keys_dropped += 1
    state.changed(process)
    if process.keys_dropped % TOLD_EVERY == 1:
        results = "result of a thread with a key has" if process.keys_dropped == 1 else "results of threads with keys have"
        words = (
            f"{process.keys_dropped} {results} given way to newer ones: {KEPT_MOST} or {KEPT_BYTES // MEBIBYTE} MiB are kept, "
            "and what is submitted again with an older key runs again"
        )
        state.tell_event("threads.keys_dropped", words, pid=process.pid, data={"count": process.keys_dropped})


def close(state: State, pool: Pool) -> None:
    """The threads of an incarnation end with it: what they came to is kept, no key is open."""
    keyed = state.keyed.get(pool.pid)
    if keyed is not None:
        keyed.open.clear()
        keyed.key_of.clear()
        keyed.work_of.clear()


def forget(state: State, pid: int) -> None:
    """A process has ended for good."""
    keyed = state.keyed.pop(pid, None)
    for kept in keyed.kept.values() if keyed is not None else ():
        state.deleted(kept)


def adopt(state: State, rows: Iterable[Kept]) -> None:
    """Take up what an earlier kernel knew; the threads are in their pools."""
    for kept in sorted(rows, key=lambda each: each.order):
        if kept.pid in state.processes:
            state.keyed.setdefault(kept.pid, Keyed()).add(kept)
        else:
            state.deleted(kept)
    for pool in state.pools.values():
        for chunk in pool.chunks():
            for tid, key in enumerate(chunk.keys, chunk.first_tid):
                if key and pool.state(tid) <= SENT:
                    _open(state.keyed.setdefault(pool.pid, Keyed()), pool, chunk, tid)
