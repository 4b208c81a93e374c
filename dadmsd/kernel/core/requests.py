"""What clients ask: permission, deduplication, and the answer or the wait for it.

1. A mutating request takes effect once: its reply is a row of the same transaction, and a retry with the same ``(client, sequence)`` gets that reply again.
2. A reading request is answered from memory, as often as it is asked.
3. A request that waits is parked; it is not a row, because the bus repeats it to the next kernel.
"""

import difflib
from collections.abc import Callable
from typing import Any

import msgspec

from dadms_ipc import requests
from dadmsd.kernel.core import defined, effects, events, freezing, limiting, sharing, suspension
from dadmsd.kernel.core.admission import admit, refusal
from dadmsd.kernel.core.answers import daemon_info, events_after, open_info, process_info, thread_infos
from dadmsd.kernel.core.context import Refused
from dadmsd.kernel.core.ending import stop, stop_dependents
from dadmsd.kernel.core.explaining import explain, lives_of
from dadmsd.kernel.core.ledger import Grant
from dadmsd.kernel.core.lifecycle import ENDED
from dadmsd.kernel.core.processes import NAME_MOST
from dadmsd.kernel.core.records import Answered, Process
from dadmsd.kernel.core.scheduler import SENT, Pool
from dadmsd.kernel.core.state import REPLY_RETENTION, Address, State, Waiter
from dadmsd.kernel.core.threads import set_priority, terminate

WAIT_MOST = 60.0  # seconds a request may be parked: the client asks again
WAITERS_MOST = 10_000
ANSWERED_MOST = 20_000  # replies kept for retries: a flood of requests drops the oldest before their time
RANKS = {"observe": 0, "operate": 1, "admin": 2}


class Refusal(Exception):
    """Ends the handling of a request with a sentence for the client; nothing was changed."""


def on_request(state: State, event: events.RequestArrived) -> None:
    """Answer a request, or park it."""
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
        answer = _VERBS[type(request)](state, event, request)
    except Refusal as refused:
        state.do(effects.Reply(event.client, event.sequence, "refused", {"message": str(refused)}))
        return
    if answer is None:
        return  # parked
    if is_mutating:
        _settle(state, key, answer)
    else:
        state.do(effects.Reply(*key, "ok", answer))


def _settle(state: State, key: Address, answer: object) -> None:
    """Answer a mutating request for good: a retry gets the same."""
    answered = Answered(client=key[0], sequence=key[1], at=state.wall, status="ok", body=msgspec.msgpack.encode(answer))
    state.answered[key] = answered
    state.changed(answered)
    if len(state.answered) > ANSWERED_MOST:
        state.deleted(state.answered.pop(next(iter(state.answered))))
    state.arm(state.now + REPLY_RETENTION, "answered", "")
    state.do(effects.Reply(*key, "ok", answer))


def _find(state: State, pid: int) -> Process:
    process = state.processes.get(pid)
    if process is None:
        last = next((life for life in reversed(state.lives) if life.pid == pid), None)
        if last is not None:
            raise Refusal(f"process {pid} has left the table: it {last.status} ({last.cause}); its history is kept")
        near = difflib.get_close_matches(str(pid), [str(each) for each in state.processes], 1)
        hint = f"; there is {near[0]}" if near else ""
        raise Refusal(f"no process {pid}{hint}")
    return process


def _owned(state: State, event: events.RequestArrived, process: Process, verb: str) -> None:
    """Refuse what is another user's: only the daemon's own user and root may touch everybody's."""
    if event.uid not in (0, state.settings.uid, process.uid):
        raise Refusal(f'cannot {verb} {process.pid} ("{process.spec.name}"): it belongs to user {process.uid}, {event.origin} is not')


def _spawn(state: State, event: events.RequestArrived, request: requests.Spawn) -> object:
    uid = event.uid if request.spec.uid is None else request.spec.uid
    if uid != event.uid and event.uid != 0:
        raise Refusal(f'cannot start "{request.spec.name}" as user {uid}: {event.origin} is not root')
    if request.spec.gid is not None and event.uid != 0:
        raise Refusal(f'cannot start "{request.spec.name}" with group {request.spec.gid}: {event.origin} is not root')
    why = refusal(state, request.spec, uid)
    if why:
        raise Refusal(why)
    return {"pid": admit(state, request.spec, uid, parent=_parent(state, event, request.spec)).pid}


def _parent(state: State, event: events.RequestArrived, spec: requests.Spec) -> int:
    """Give the process that a new one belongs to: the one that is named, or the one that asks."""
    if spec.parent is not None:
        _owned(state, event, _find(state, spec.parent), f'start "{spec.name}" below')
        return spec.parent
    kind, _, name = event.origin.partition(" ")
    pid = name.partition(".")[0]
    return int(pid) if kind == "process" and pid.isdecimal() and int(pid) in state.processes else 0


def _start(state: State, event: events.RequestArrived, request: requests.Start) -> object:
    process = _find(state, request.pid)
    _owned(state, event, process, "start")
    was = process.status
    if state.is_stopping:
        raise Refusal(f'cannot start "{process.spec.name}": the daemon is shutting down')
    if was == "stopping":
        stop(state, process, f"start from {event.origin}", force=False, again=True)
    elif was in ENDED or was == "backoff":
        grant = Grant(process.spec.memory_request, process.spec.cpu_request)
        why = state.ledger.refusal(process.spec.name, grant) if was in ENDED else ""
        if why:
            raise Refusal(why)
        process.starts = []
        process.failures = 0
        state.starting[process.pid] = None
    return {"pid": process.pid, "was": was}


def _stop(state: State, event: events.RequestArrived, request: requests.Stop) -> object:
    process = _find(state, request.pid)
    _owned(state, event, process, "stop")
    was = process.status
    stop_dependents(state, process)
    stop(state, process, request.reason[:NAME_MOST] or f"stop from {event.origin}", force=False, into="stopped")
    return {"pid": process.pid, "was": was}


def _restart(state: State, event: events.RequestArrived, request: requests.Restart) -> object:
    process = _find(state, request.pid)
    if process.status in ENDED or process.status == "backoff":
        return _start(state, event, requests.Start(request.pid))
    _owned(state, event, process, "restart")
    was = process.status
    stop_dependents(state, process)
    stop(state, process, request.reason[:NAME_MOST] or f"restart from {event.origin}", force=False, into="stopped", again=True)
    return {"pid": process.pid, "was": was}


def _limits(state: State, event: events.RequestArrived, request: requests.ChangeLimits) -> object:
    process = _find(state, request.pid)
    _owned(state, event, process, "change the limits of")
    spec = limiting.wanted_spec(process.spec, request.changes)
    if isinstance(spec, str):
        raise Refusal(f'cannot change the limits of {process.pid} ("{process.spec.name}"): {spec}')
    key = (event.client, event.sequence)
    if (
        spec != process.spec or process.before is None
    ):  # otherwise a retry: an earlier kernel took it in, and died before the host had answered
        why = limiting.change(state, process, spec)
        if why:
            raise Refusal(f'cannot change the limits of {process.pid} ("{process.spec.name}"): {why}')
    if process.before is None:
        return _limits_answer(process, ["they hold from its next start on"] if state.main_of(process) is None else [])
    waiting = state.limiting.setdefault(process.pid, [])
    if key not in waiting:
        waiting.append(key)
    return None


def _limits_answer(process: Process, warnings: list[str]) -> dict[str, object]:
    return {"pid": process.pid, "limits": process.limits, "warnings": warnings}


def on_limits_set(state: State, event: events.LimitsSet) -> None:
    """The host has answered: so is whoever asked."""
    limiting.on_limits_set(state, event)
    process = state.processes.get(event.pid)
    for client, sequence in state.limiting.pop(event.pid, []):
        if process is None or event.reason:
            name = process.spec.name if process is not None else ""
            message = f'cannot change the limits of {event.pid} ("{name}"): {event.reason}'
            state.do(effects.Reply(client, sequence, "refused", {"message": message}))
        else:
            _settle(state, (client, sequence), _limits_answer(process, event.warnings))


def _suspend(state: State, event: events.RequestArrived, request: requests.Suspend) -> object:
    process = _find(state, request.pid)
    _owned(state, event, process, "suspend")
    was = process.suspension or process.status
    if process.status not in suspension.SUSPENDABLE or process.desired != "up":
        raise Refusal(f'cannot suspend {process.pid} ("{process.spec.name}"): it is {process.status}')
    if not process.suspension:
        suspension.suspend(state, process, event.origin)
    return {"pid": process.pid, "was": was}


def _resume(state: State, event: events.RequestArrived, request: requests.Resume) -> object:
    process = _find(state, request.pid)
    _owned(state, event, process, "resume")
    was = process.suspension or process.status
    if not process.suspension:
        raise Refusal(f'cannot resume {process.pid} ("{process.spec.name}"): it is {process.status}, and not suspended')
    suspension.resume(state, process, event.origin)
    return {"pid": process.pid, "was": was}


def _kill(state: State, event: events.RequestArrived, request: requests.Kill) -> object:
    process = _find(state, request.pid)
    _owned(state, event, process, "kill")
    was = process.status
    if not request.force:
        stop_dependents(state, process)
    stop(state, process, request.reason[:NAME_MOST] or f"kill from {event.origin}", force=request.force)
    return {"pid": process.pid, "was": was}


def _open_thread(state: State, event: events.RequestArrived, tid: int, verb: str) -> Pool:
    """Find the pool of a thread that has not ended, and that this client may touch."""
    for pool in state.pools.values():
        if tid in pool and pool.state(tid) <= SENT:
            _owned(state, event, state.processes[pool.pid], f"{verb} threads of")
            return pool
    known = next((info for info in reversed(state.threads) if info.tid == tid), None)
    raise Refusal(f"cannot {verb} thread {tid}: " + (f"it has ended ({known.state})" if known is not None else "there is none"))


def _kill_thread(state: State, event: events.RequestArrived, request: requests.KillThread) -> object:
    pool = _open_thread(state, event, request.tid, "kill")
    terminate(state, pool, [request.tid], "terminated", "terminated", f"was terminated by {event.origin}")
    return {"tid": request.tid}


def _suspend_thread(state: State, event: events.RequestArrived, request: requests.SuspendThread) -> object:
    why = freezing.suspend(state, _open_thread(state, event, request.tid, "suspend"), [request.tid])
    if why:
        raise Refusal(why)
    return {"tid": request.tid}


def _resume_thread(state: State, event: events.RequestArrived, request: requests.ResumeThread) -> object:
    pool = _open_thread(state, event, request.tid, "resume")
    if request.tid not in state.processes[pool.pid].suspended:
        raise Refusal(f"cannot resume thread {request.tid}: it is not suspended")
    freezing.resume(state, pool, [request.tid])
    return {"tid": request.tid}


def _set_priority(state: State, event: events.RequestArrived, request: requests.SetThreadPriority) -> object:
    pool = _open_thread(state, event, request.tid, "set the priority of")
    why = set_priority(state, pool, [request.tid], request.priority)
    if why:
        raise Refusal(why)
    return {"tid": request.tid}


def _show_thread(state: State, _event: events.RequestArrived, request: requests.ShowThread) -> object:
    for pool in state.pools.values():
        if request.tid in pool and pool.state(request.tid) <= SENT:
            return open_info(state, pool, request.tid)
    known = next((info for info in reversed(state.threads) if info.tid == request.tid), None)
    if known is None:
        raise Refusal(f"no thread {request.tid}, or it ended long ago")
    return known


def _wait(state: State, event: events.RequestArrived, request: requests.Wait) -> object:
    process = _find(state, request.pid)
    if request.until not in ("started", "ready", "suspended", "ended"):
        raise Refusal(f'cannot wait until {request.until!r}: "started", "ready", "suspended" or "ended"')
    if _has_come(process, request.until):
        return process_info(state, process)
    _park(state, event, request.timeout, pid=request.pid, until=request.until)
    return None


def _has_come(process: Process, until: str) -> bool:
    if process.status in ENDED:
        return True
    if until == "ended" or process.status == "stopping":
        return False
    if until == "suspended":
        return process.suspension == "frozen"
    is_pausing = process.status == "backoff" and "backoff" in process.clocks
    if until == "started":
        return is_pausing or process.status in ("running", "waiting") or bool(process.started_at)
    return is_pausing or process.status == "running"


def _list(state: State, _event: events.RequestArrived, request: requests.List) -> object:
    shown = [process for process in state.processes.values() if request.include_ended or process.status not in ENDED]
    return [process_info(state, process, with_outcome=False) for process in shown]  # hundreds of outcomes may be more than a frame holds


def _status(state: State, _event: events.RequestArrived, request: requests.Status) -> object:
    return daemon_info(state) if request.pid is None else process_info(state, _find(state, request.pid))


def _threads(state: State, _event: events.RequestArrived, request: requests.Threads) -> object:
    if request.pid is not None:
        _find(state, request.pid)
    return thread_infos(state, request.pid, max(1, min(1000, request.limit)))


def _events(state: State, event: events.RequestArrived, request: requests.Events) -> object:
    page = events_after(state, request.after, request.pid or 0, max(1, min(1000, request.limit)))
    if page.events or request.wait <= 0:
        return page
    _park(state, event, request.wait, pid=request.pid or 0, after=request.after, limit=max(1, min(1000, request.limit)))
    return None


def _history(state: State, _event: events.RequestArrived, request: requests.History) -> object:
    found = lives_of(state, request.pid, max(1, min(1000, request.limit)))
    if request.pid is not None and not found:
        _find(state, request.pid)
    return found


def _explain(state: State, _event: events.RequestArrived, request: requests.Explain) -> object:
    return explain(state, request.pid) or _find(state, request.pid)


def _read_log(state: State, event: events.RequestArrived, request: requests.ReadLog) -> object:
    process = _find(state, request.pid)
    _owned(state, event, process, "read the log of")
    if state.settings.logs_to == "journald":
        raise Refusal(f"cannot read the log of {request.pid}: logs go to the journal, where it is: journalctl DADMS_PID={request.pid}")
    return request  # the shell reads the file: what is in it is nobody's decision


def _read_context(state: State, event: events.RequestArrived, request: requests.ReadContext) -> object:
    _owned(state, event, _find(state, request.pid), "read the context of")
    try:
        return sharing.on_read(state, event, request)
    except Refused as refused:
        raise Refusal(str(refused)) from None


def _change_context(state: State, event: events.RequestArrived, request: requests.ChangeContext) -> object:
    _owned(state, event, _find(state, request.pid), "change the context of")
    try:
        return sharing.on_change(state, event, request)
    except Refused as refused:
        raise Refusal(str(refused)) from None


def _reload(state: State, _event: events.RequestArrived, _request: requests.Reload) -> object:
    state.do(effects.AskReload())
    return defined.apply(state, _reading(state), state.settings.definitions)


def _compare(state: State, _event: events.RequestArrived, _request: requests.Compare) -> object:
    return defined.apply(state, _reading(state), state.settings.definitions, is_dry=True)


def _reading(state: State) -> defined.Reading:
    assert isinstance(state.reading, defined.Reading), "the shell reads the definitions before it hands over the request"
    return state.reading


def on_definitions_read(state: State, event: events.DefinitionsRead) -> None:
    """Keep what the definitions are; at the start of a kernel, bring it about."""
    state.reading = event.reading
    if event.is_applied:
        for mistake in defined.apply(state, event.reading, state.settings.definitions).mistakes:
            state.tell_event("definition.refused", mistake)


def _configuration(state: State, _event: events.RequestArrived, _request: requests.Configuration) -> object:
    return requests.ConfigurationInfo(state.settings.config_source, state.settings.definitions, state.settings.config)


def _shutdown(state: State, _event: events.RequestArrived, _request: requests.Shutdown) -> object:
    state.do(effects.AskShutdown())
    return {"processes": len(state.live_processes())}


_VERBS: dict[type[Any], Callable[[State, events.RequestArrived, Any], object]] = {
    requests.Spawn: _spawn,
    requests.Start: _start,
    requests.Stop: _stop,
    requests.Restart: _restart,
    requests.ChangeLimits: _limits,
    requests.Suspend: _suspend,
    requests.Resume: _resume,
    requests.Kill: _kill,
    requests.KillThread: _kill_thread,
    requests.SuspendThread: _suspend_thread,
    requests.ResumeThread: _resume_thread,
    requests.SetThreadPriority: _set_priority,
    requests.ShowThread: _show_thread,
    requests.Wait: _wait,
    requests.List: _list,
    requests.Status: _status,
    requests.Threads: _threads,
    requests.Events: _events,
    requests.History: _history,
    requests.Explain: _explain,
    requests.ReadLog: _read_log,
    requests.ReadContext: _read_context,
    requests.ChangeContext: _change_context,
    requests.Reload: _reload,
    requests.Compare: _compare,
    requests.Configuration: _configuration,
    requests.Shutdown: _shutdown,
}


# requests that wait


def _park(
    state: State, event: events.RequestArrived, seconds: float, *, pid: int = 0, until: str = "", after: int = 0, limit: int = 0
) -> None:
    key = (event.client, event.sequence)
    if len(state.waiters) >= WAITERS_MOST and key not in state.waiters:
        raise Refusal(f"cannot wait: {WAITERS_MOST} requests wait already")
    deadline = state.now + max(0.0, min(WAIT_MOST, seconds))
    _drop(state, key)
    state.waiters[key] = Waiter(event.client, event.sequence, deadline, pid, until, after, limit)
    state.watchers.setdefault(pid, {})[key] = None
    state.arm(deadline, "waiter", key)


def _drop(state: State, key: Address) -> None:
    waiter = state.waiters.pop(key, None)
    if waiter is not None:
        watchers = state.watchers[waiter.pid]
        del watchers[key]
        if not watchers:
            del state.watchers[waiter.pid]


def answer_waiters(state: State, due: list[Address]) -> None:
    """Answer the parked requests whose fact has come, which an event of this turn tells of, and those whose time has come."""
    touched = [key for pid in ({0, *state.told} if state.told else ()) for key in state.watchers.get(pid, ())]
    for key in touched:
        waiter = state.waiters[key]
        if waiter.until:
            process = state.processes[waiter.pid]
            if _has_come(process, waiter.until):
                _answer(state, key, process_info(state, process))
        else:
            page = events_after(state, waiter.after, waiter.pid, waiter.limit)
            if page.events:
                _answer(state, key, page)
    for key in due:
        late = state.waiters.get(key)
        if late is None:
            continue
        if late.deadline > state.now:
            state.arm(late.deadline, "waiter", key)  # it was asked again meanwhile
        elif late.until:
            _answer(state, key, process_info(state, state.processes[late.pid]))
        else:
            _answer(state, key, events_after(state, late.after, late.pid, late.limit))


def _answer(state: State, key: Address, answer: object) -> None:
    _drop(state, key)
    state.do(effects.Reply(*key, "ok", answer))


def on_client_left(state: State, event: events.ClientLeft) -> None:
    """Nobody reads these answers any more."""
    sharing.on_client_left(state, event.client)
    for key in [key for key in state.waiters if key[0] == event.client]:
        _drop(state, key)


def forget_answered(state: State, _key: str) -> None:
    """Drop replies that no retry can ask for any more, and look again when the next one is to go."""
    for key, answered in list(state.answered.items()):
        left = answered.at + REPLY_RETENTION - state.wall
        if left > 0:  # in the order in which they were given
            state.arm(state.now + left, "answered", "")
            return
        del state.answered[key]
        state.deleted(answered)
