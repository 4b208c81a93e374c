"""What clients ask: permission, deduplication, and the answer or the wait for it.

1. A mutating request takes effect once: its reply is a row of the same transaction, and a retry with the same ``(client, sequence)`` gets that reply again.
2. A reading request is answered from memory, as often as it is asked.
3. A request that waits is parked; it is not a row, because the bus repeats it to the next kernel.
4. A request whose deadline has passed is not done: its client was told that it was not, or has gone; and none is parked for longer than its client waits.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from dadms_ipc import requests
from dadms_ipc.infos import EventPage
from dadmsd.kernel.core import effects, events, freezing, sharing, supervising, unkept, waiting
from dadmsd.kernel.core.answers import daemon_info, events_after, group_infos, open_info, process_info, thread_infos
from dadmsd.kernel.core.context import Refused
from dadmsd.kernel.core.grouped import Group
from dadmsd.kernel.core.lifecycle import ENDED
from dadmsd.kernel.core.lives import past_info
from dadmsd.kernel.core.records import Process
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.selecting import threads_in
from dadmsd.kernel.core.stages import SENT
from dadmsd.kernel.core.standing import Refusal, find, find_past, owned, patience_of, settle
from dadmsd.kernel.core.state import Address, State, Waiter
from dadmsd.kernel.core.steering import GROUP_VERBS, steer_group
from dadmsd.kernel.core.threads import set_priority, terminate

WAITERS_MOST = 10_000
RANKS = {"observe": 0, "operate": 1, "admin": 2}


def on_request(state: State, event: events.RequestArrived) -> None:
    """Answer a request, or park it."""
    if 0 < event.deadline <= state.now:
        return  # it lay in the link, of a kernel that was stopped or busy
    request = event.request
    key = (event.client, event.sequence)
    is_mutating = isinstance(request, requests.MUTATING)
    if is_mutating and key in state.answered:
        known = state.answered[key]
        if isinstance(request, requests.Shutdown):
            state.do(effects.AskShutdown())  # the kernel that answered may have died before it asked
        state.do(effects.Reply(event.client, event.sequence, known.status, encoded=known.body))
        return
    needed = requests.ROLE_NEEDED[type(request)]
    verb = str(type(request).__struct_config__.tag)
    try:
        if RANKS.get(event.role, -1) < RANKS[needed]:
            raise Refusal(f'cannot {verb}: needs the role "{needed}", {event.origin} has "{event.role}"')
        if why := unkept.refusal(state, request):
            raise Refusal(why)
        answer = _VERBS[type(request)](state, event, request)
    except Refusal as refused:
        state.do(effects.Reply(event.client, event.sequence, "refused", {"message": str(refused)}))
        return
    if answer is None:
        return  # parked
    if is_mutating:
        settle(state, key, answer)
    else:
        state.do(effects.Reply(*key, "ok", answer, is_measured=not isinstance(request, requests.Wait)))


def _open_thread(state: State, event: events.RequestArrived, tid: int, verb: str) -> Pool:
    """Find the pool of a thread that has not ended, and that this client may touch."""
    for pool in state.pools.values():
        if tid in pool and pool.state(tid) <= SENT:
            owned(state, event, state.processes[pool.pid], f"{verb} threads of")
            return pool
    known = next((info for info in reversed(state.threads) if info.tid == tid), None)
    raise Refusal(f"cannot {verb} thread {tid}: " + (f"it has ended ({known.state})" if known is not None else "there is none"))


def _kill_thread(state: State, event: events.RequestArrived, request: requests.KillThread) -> object:
    pool = _open_thread(state, event, request.tid, "kill")
    terminate(state, pool, [request.tid], "terminated", "terminated", f"was terminated by {event.origin}")
    return {"tid": request.tid}


def _suspend_thread(state: State, event: events.RequestArrived, request: requests.SuspendThread) -> object:
    pool = _open_thread(state, event, request.tid, "suspend")
    why = freezing.suspend(state, pool, [request.tid])
    if why:
        raise Refusal(why)
    return {"tid": request.tid, "cooperative": any(worker.kind.is_async and worker.runs(request.tid) for worker in pool.workers.values())}


def _resume_thread(state: State, event: events.RequestArrived, request: requests.ResumeThread) -> object:
    pool = _open_thread(state, event, request.tid, "resume")
    if request.tid not in state.processes[pool.pid].suspended:
        group = pool.chunk_of(request.tid).group
        is_aside = group and pool.groups[group].row.is_suspended
        why = f'its group "{group}" is suspended; resume that' if is_aside else "it is not suspended"
        raise Refusal(f"cannot resume thread {request.tid}: {why}")
    freezing.resume(state, pool, [request.tid])
    return {"tid": request.tid}


def _set_priority(state: State, event: events.RequestArrived, request: requests.SetThreadPriority) -> object:
    pool = _open_thread(state, event, request.tid, "set the priority of")
    why = set_priority(state, pool, [request.tid], request.priority)
    if why:
        raise Refusal(why)
    return {"tid": request.tid}


def _group_of(state: State, pid: int, name: str) -> tuple[Pool, Group]:
    process = find(state, pid)
    pool = state.pools.get(pid)
    group = pool.groups.get(name) if pool is not None else None
    if pool is None or group is None:
        known = ", ".join(list(pool.groups)[-5:]) if pool is not None and pool.groups else "none"
        raise Refusal(f'no group "{name[:200]}" of process {pid} ("{process.spec.name}"); there is {known}')
    return pool, group


def _steer_group(state: State, event: events.RequestArrived, request: requests.SteerGroup) -> object:
    owned(state, event, find(state, request.pid), f"{request.action[:40]} threads of")
    if request.action not in GROUP_VERBS:
        raise Refusal(f"cannot {request.action[:40]} a group: {', '.join(GROUP_VERBS)} are possible")
    pool, group = _group_of(state, request.pid, request.group)
    why = steer_group(state, pool, group, request.action, request.priority, event.origin)
    if why:
        raise Refusal(why)
    return group.info()


def _groups(state: State, _event: events.RequestArrived, request: requests.Groups) -> object:
    find(state, request.pid)
    pool = state.pools.get(request.pid)
    return [group.info() for group in pool.groups.values()] if pool is not None else []


def _wait_threads(state: State, event: events.RequestArrived, request: requests.WaitThreads) -> object:
    waiter = waiting.waiter_of(state, request)
    found = waiting.look(state, waiter)
    if found.is_over:
        return found
    _park(state, event, request.timeout, waiter)
    return None


def _show_thread(state: State, _event: events.RequestArrived, request: requests.ShowThread) -> object:
    for pool in state.pools.values():
        if request.tid in pool and pool.state(request.tid) <= SENT:
            return open_info(state, pool, request.tid)
    known = next((info for info in reversed(state.threads) if info.tid == request.tid), None)
    if known is None:
        raise Refusal(f"no thread {request.tid}, or it ended long ago")
    return known


def _wait(state: State, event: events.RequestArrived, request: requests.Wait) -> object:
    if request.until not in ("started", "ready", "suspended", "ended"):
        raise Refusal(f'cannot wait until {request.until!r}: "started", "ready", "suspended" or "ended"')
    past = find_past(state, request.pid)
    if past is not None:
        return past_info(past, state.settings.state_dir)
    process = find(state, request.pid)
    if _has_come(process, request.until, is_patient=request.is_patient):
        return process_info(state, process)
    _park(state, event, request.timeout, Waiter(pid=request.pid, until=request.until, is_patient=request.is_patient))
    return None


def _has_come(process: Process, until: str, *, is_patient: bool) -> bool:
    if process.status in ENDED:
        return True
    if until == "ended" or process.status == "stopping":
        return False
    if until == "suspended":
        return process.suspension == "frozen"
    if is_patient and process.status in ("backoff", "waiting"):
        return False
    is_pausing = process.status == "backoff" and "backoff" in process.clocks
    if until == "started":
        return is_pausing or process.status in ("running", "waiting") or bool(process.started_at)
    return is_pausing or process.status == "running"


def _list(state: State, _event: events.RequestArrived, request: requests.List) -> object:
    shown = [process for process in state.processes.values() if request.include_ended or process.status not in ENDED]
    return [process_info(state, process, with_outcome=False) for process in shown]  # hundreds of outcomes may be more than a frame holds


def _status(state: State, _event: events.RequestArrived, request: requests.Status) -> object:
    if request.pid is None:
        return daemon_info(state)
    past = find_past(state, request.pid)
    return process_info(state, find(state, request.pid)) if past is None else past_info(past, state.settings.state_dir)


def _threads_in(state: State, request: requests.Threads, limit: int) -> object:
    if request.state not in requests.THREAD_STATES:
        raise Refusal(f'cannot list threads that are "{request.state}": a thread is {", ".join(requests.THREAD_STATES)}')
    if request.group:
        if request.pid is None:
            raise Refusal("cannot list a group: of which process?")
        _group_of(state, request.pid, request.group)
    return threads_in(state, request.pid, request.state, limit, group=request.group)


def _threads(state: State, _event: events.RequestArrived, request: requests.Threads) -> object:
    if request.pid is not None:
        find(state, request.pid)
    limit = max(1, min(1000, request.limit))
    if request.state:
        return _threads_in(state, request, limit)
    if not request.group:
        return thread_infos(state, request.pid, limit)
    if request.pid is None:
        raise Refusal("cannot list a group: of which process?")
    return group_infos(state, *_group_of(state, request.pid, request.group), limit)


def _events(state: State, event: events.RequestArrived, request: requests.Events) -> object:
    pid, limit = request.pid or 0, max(1, min(1000, request.limit))
    after = request.after if request.began in (0.0, state.counters.began_at) else 0  # the number is one of a journal that is lost
    page = events_after(state, after, pid, limit)
    if page.events or request.wait <= 0:
        return page
    _park(state, event, request.wait, Waiter(pid=pid, after=after, whole_after=page.after, limit=limit))
    return None


def _read_log(state: State, event: events.RequestArrived, request: requests.ReadLog) -> object:
    owned(state, event, find_past(state, request.pid) or find(state, request.pid), "read the log of")
    if state.settings.logs_to == "journald":
        raise Refusal(f"cannot read the log of {request.pid}: logs go to the journal, where it is: journalctl DADMS_PID={request.pid}")
    return request  # the shell reads the file: what is in it is nobody's decision


def _read_context(state: State, event: events.RequestArrived, request: requests.ReadContext) -> object:
    owned(state, event, find(state, request.pid), "read the context of")
    try:
        return sharing.on_read(state, event, request)
    except Refused as refused:
        raise Refusal(str(refused)) from None


def _change_context(state: State, event: events.RequestArrived, request: requests.ChangeContext) -> object:
    owned(state, event, find(state, request.pid), "change the context of")
    try:
        return sharing.on_change(state, event, request)
    except Refused as refused:
        raise Refusal(str(refused)) from None


def _shutdown(state: State, _event: events.RequestArrived, _request: requests.Shutdown) -> object:
    state.do(effects.AskShutdown())
    return {"processes": len(state.live_processes())}


_VERBS: dict[type[Any], Callable[[State, events.RequestArrived, Any], object]] = {
    **supervising.VERBS,
    requests.KillThread: _kill_thread,
    requests.SuspendThread: _suspend_thread,
    requests.ResumeThread: _resume_thread,
    requests.SetThreadPriority: _set_priority,
    requests.SteerGroup: _steer_group,
    requests.Groups: _groups,
    requests.WaitThreads: _wait_threads,
    requests.ShowThread: _show_thread,
    requests.Wait: _wait,
    requests.List: _list,
    requests.Status: _status,
    requests.Threads: _threads,
    requests.Events: _events,
    requests.ReadLog: _read_log,
    requests.ReadContext: _read_context,
    requests.ChangeContext: _change_context,
    requests.Shutdown: _shutdown,
}


# requests that wait


def _park(state: State, event: events.RequestArrived, seconds: float, waiter: Waiter) -> None:
    key = (event.client, event.sequence)
    if len(state.waiters) >= WAITERS_MOST and key not in state.waiters:
        raise Refusal(f"cannot wait: {WAITERS_MOST} requests wait already")
    waiter.client, waiter.sequence = key
    waiter.deadline = patience_of(state, event, seconds)
    _drop(state, key)
    state.waiters[key] = waiter
    state.watchers.setdefault(waiter.pid, {})[key] = None
    state.arm(waiter.deadline, "waiter", key)


def _drop(state: State, key: Address) -> None:
    waiter = state.waiters.pop(key, None)
    if waiter is not None:
        watchers = state.watchers[waiter.pid]
        del watchers[key]
        if not watchers:
            del state.watchers[waiter.pid]


def answer_waiters(state: State, due: list[Address]) -> None:
    """Answer the parked requests whose fact has come, which an event of this turn tells of, and those whose time has come."""
    touched = [key for pid in ({0, *state.told} & state.watchers.keys() if state.told else ()) for key in state.watchers[pid]]
    for key in touched:
        waiter = state.waiters[key]
        if waiter.until == waiting.UNTIL:
            waited = waiting.look(state, waiter)
            if waited.is_over:
                _answer(state, key, waited)
        elif waiter.until:
            process = state.processes[waiter.pid]
            if _has_come(process, waiter.until, is_patient=waiter.is_patient):
                _answer(state, key, process_info(state, process))
        else:
            page = _page(state, waiter)
            if page.events:
                _answer(state, key, page)
    for key in due:
        late = state.waiters.get(key)
        if late is None:
            continue
        if late.deadline > state.now:
            state.arm(late.deadline, "waiter", key)  # it was asked again meanwhile
        elif late.until == waiting.UNTIL:
            _answer(state, key, waiting.look(state, late))
        elif late.until:
            _answer(state, key, process_info(state, state.processes[late.pid]))
        else:
            _answer(state, key, _page(state, late))


def _page(state: State, waiter: Waiter) -> EventPage:
    """Give what one who waits has been waiting for. Whatever was told meanwhile of others and is gone, it misses nothing: each turn that told of its own answered it."""
    page = events_after(state, waiter.after, waiter.pid, waiter.limit)
    is_too_much = page.oldest > state.told_before + 1  # for one turn
    return page if is_too_much else msgspec.structs.replace(page, after=waiter.whole_after)


def _answer(state: State, key: Address, answer: object) -> None:
    _drop(state, key)
    state.do(effects.Reply(*key, "ok", answer, is_measured=False))


def on_client_left(state: State, event: events.ClientLeft) -> None:
    """Nobody reads these answers any more."""
    sharing.on_client_left(state, event.client)
    for key in [key for key in state.waiters if key[0] == event.client]:
        _drop(state, key)


def forget_answered(state: State, _key: str) -> None:
    """Drop replies that no retry can ask for any more, and look again when the next one is to go."""
    for key, answered in list(state.answered.items()):
        if answered.until > state.now:  # in the order in which they were given
            state.arm(answered.until, "answered", "")
            return
        del state.answered[key]
        state.deleted(answered)
