"""Waiting for threads: one, any of several, all of several, or those of a group. A client is answered when enough have ended, or when its time is up.

A request that waits is no row: the bus repeats it to the next kernel.
"""

from collections import Counter

from dadms_ipc import requests
from dadms_ipc.requests import WaitedInfo
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.stages import COMPLETED, SENT, STATES
from dadmsd.kernel.core.standing import Refusal, find
from dadmsd.kernel.core.state import State, Waiter

TIDS_MOST = 10_000  # of one request
UNTIL = "threads"  # of Waiter


def waiter_of(state: State, request: requests.WaitThreads) -> Waiter:
    """Make what is waited for; raises Refusal for what cannot be."""
    process = find(state, request.pid)
    pool = state.pools.get(request.pid)
    if bool(request.tids) == bool(request.group):
        raise Refusal("cannot wait: threads or a group, one of the two")
    if len(request.tids) > TIDS_MOST:
        raise Refusal(f"cannot wait for {len(request.tids)} threads: at most {TIDS_MOST}")
    if request.count is not None and request.count < 1:
        raise Refusal(f"cannot wait for {request.count} threads")
    if request.group and (pool is None or request.group not in pool.groups):
        raise Refusal(f'cannot wait for group "{request.group}": process {request.pid} has none, or it was forgotten')
    tids = sorted(set(request.tids))
    known = (
        {info.tid for info in state.threads if info.pid == process.pid} if any(pool is None or tid not in pool for tid in tids) else set()
    )
    for tid in tids:
        if (pool is None or tid not in pool) and tid not in known:
            raise Refusal(f"cannot wait for thread {tid} of process {request.pid}: there is none, or it ended long ago")
    if tids and request.count is not None and request.count > len(tids):
        raise Refusal(f"cannot wait for {request.count} of {len(tids)} threads")
    return Waiter(pid=request.pid, until=UNTIL, tids=tids, group=request.group, count=request.count or 0)


def look(state: State, waiter: Waiter) -> WaitedInfo:
    """Say how far it is."""
    if waiter.waited is not None:
        return waiter.waited
    pool = state.pools.get(waiter.pid)
    if waiter.group:
        group = pool.groups.get(waiter.group) if pool is not None else None
        if group is None:
            return WaitedInfo(waiter.pid, is_over=True, open=0, statuses={})
        ended = {STATES[number]: group.counts[number] for number in range(COMPLETED, len(STATES)) if group.counts[number]}
        return _info(waiter, group.open, ended)
    return _info(waiter, *_count(state, pool, waiter.tids))


def _count(state: State, pool: Pool | None, tids: list[int]) -> tuple[int, dict[str, int]]:
    ended: Counter[str] = Counter()
    gone: set[int] = set()
    is_open = 0
    for tid in tids:
        if pool is None or tid not in pool:
            gone.add(tid)
        elif pool.state(tid) <= SENT:
            is_open += 1
        else:
            ended[STATES[pool.state(tid)]] += 1
    if gone:
        ended.update(info.state for info in state.threads if info.tid in gone)
    return is_open, dict(ended)


def _info(waiter: Waiter, is_open: int, ended: dict[str, int]) -> WaitedInfo:
    is_over = not is_open or 0 < waiter.count <= sum(ended.values())
    return WaitedInfo(waiter.pid, is_over=is_over, open=is_open, statuses=ended)


def close(state: State, pool: Pool) -> None:
    """The pool of a process goes: what is left open of it was terminated with it, and nobody will know more."""
    for key in state.watchers.get(pool.pid, ()):
        waiter = state.waiters[key]
        if waiter.until != UNTIL:
            continue
        info = look(state, waiter)
        statuses = dict(info.statuses)
        if info.open:
            statuses["terminated"] = statuses.get("terminated", 0) + info.open
        waiter.waited = WaitedInfo(waiter.pid, is_over=True, open=0, statuses=statuses)
        state.told.add(pool.pid)
