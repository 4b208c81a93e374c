"""Idempotency keys: a key that a process has used does not run again, whichever incarnation uses it.

1. While a thread with the key is open, a second one waits for it and ends as it does; afterwards a second one is given what was kept, in the turn in which it is submitted.
2. Kept is what the entry itself came to: what it returned, or the exception that it raised for good. Who was terminated, timed out, ran out of memory or lost its
   worker came to nothing of its own: the key is free again.
3. What is kept is a row of the transaction that ends the thread. It is bounded for each process by KEPT_MOST and KEPT_BYTES; the oldest gives way, and that is told.
4. It is kept until the process ends for good; not when it is stopped, or to be started again.
"""

from collections.abc import Iterable, Sequence

import msgspec

from dadms_ipc import port
from dadms_ipc.requests import ThreadInfo
from dadmsd.kernel.core.keyed import Keyed
from dadmsd.kernel.core.records import Chunk, Kept
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
            _open(keyed, pool, tid, key)
    return ended


def _open(keyed: Keyed, pool: Pool, tid: int, key: str) -> None:
    who = keyed.open.setdefault(key, [])
    who.append(tid)
    keyed.key_of[tid] = key
    if len(who) > 1:
        pool.park(tid)


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
        if result.cause in KEPT_CAUSES:
            _keep(state, keyed, pool.pid, key, result)
        for tid in who[1:]:
            del keyed.key_of[tid]
            if pool.state(tid) <= SENT:
                more.append(_repeat(pool, pool.chunk_of(tid), tid, result))
    return more


def _keep(state: State, keyed: Keyed, pid: int, key: str, result: port.Result) -> None:
    kept = Kept(pid=pid, key=key, order=keyed.order + 1, result=msgspec.msgpack.encode(result))
    keyed.add(kept)
    state.changed(kept)
    while len(keyed.kept) > KEPT_MOST or keyed.size > KEPT_BYTES:
        state.deleted(keyed.pop_oldest())
        if keyed.dropped % TOLD_EVERY == 1:
            words = f"{keyed.dropped} results of threads with keys have given way to newer ones: {KEPT_MOST} or {KEPT_BYTES // MEBIBYTE} MiB are kept"
            state.tell_event("threads.keys_dropped", words, pid=pid, data={"count": keyed.dropped})


def close(state: State, pool: Pool) -> None:
    """The threads of an incarnation end with it: what they came to is kept, no key is open."""
    keyed = state.keyed.get(pool.pid)
    if keyed is not None:
        keyed.open.clear()
        keyed.key_of.clear()


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
                    _open(state.keyed.setdefault(pool.pid, Keyed()), pool, tid, key)
