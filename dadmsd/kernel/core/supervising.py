"""What clients ask about whole processes: spawn, start, stop, restart, kill, limits, suspend, resume, history, explain, and the definitions."""

from collections.abc import Callable
from typing import Any

from dadms_ipc import requests
from dadmsd.kernel.core import defined, effects, events, limit_words, limiting, suspension
from dadmsd.kernel.core.admission import admit, refusal
from dadmsd.kernel.core.ending import outdo, stop, stop_dependents
from dadmsd.kernel.core.explaining import explain, lives_of
from dadmsd.kernel.core.ledger import Grant
from dadmsd.kernel.core.lifecycle import ENDED
from dadmsd.kernel.core.processes import NAME_MOST
from dadmsd.kernel.core.records import Process
from dadmsd.kernel.core.standing import Refusal, find, owned, settle
from dadmsd.kernel.core.state import State


def _spawn(state: State, event: events.RequestArrived, request: requests.Spawn) -> object:
    uid = event.uid if request.spec.uid is None else request.spec.uid
    if uid != event.uid and event.uid != 0:
        raise Refusal(f'cannot start "{request.spec.name}" as user {uid}: {event.origin} is not root')
    if request.spec.gid is not None and event.uid != 0:
        raise Refusal(f'cannot start "{request.spec.name}" with group {request.spec.gid}: {event.origin} is not root')
    if request.spec.nice < 0 and event.uid != 0:
        raise Refusal(f'cannot start "{request.spec.name}" with nice = {request.spec.nice}: {event.origin} is not root')
    why = refusal(state, request.spec, uid)
    if why:
        raise Refusal(why)
    return {"pid": admit(state, request.spec, uid, parent=_parent(state, event, request.spec)).pid}


def _whose(verb: str, event: events.RequestArrived, reason: str) -> str:
    """Say who asked for an end, and why, where they said so."""
    return f"{verb} from {event.origin}" + (f": {reason[:NAME_MOST]}" if reason else "")


def _parent(state: State, event: events.RequestArrived, spec: requests.Spec) -> int:
    """Give the process that a new one belongs to: the one that is named, or the one that asks."""
    if spec.parent is not None:
        owned(state, event, find(state, spec.parent), f'start "{spec.name}" below')
        return spec.parent
    kind, _, name = event.origin.partition(" ")
    pid = name.partition(".")[0]
    return int(pid) if kind == "process" and pid.isdecimal() and int(pid) in state.processes else 0


def _start(state: State, event: events.RequestArrived, request: requests.Start) -> object:
    process = find(state, request.pid)
    owned(state, event, process, "start")
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
    process = find(state, request.pid)
    owned(state, event, process, "stop")
    was = process.status
    stop_dependents(state, process)
    stop(state, process, _whose("stop", event, request.reason), force=False, into="stopped")
    return {"pid": process.pid, "was": was}


def _restart(state: State, event: events.RequestArrived, request: requests.Restart) -> object:
    process = find(state, request.pid)
    if process.status in ENDED or process.status == "backoff":
        return _start(state, event, requests.Start(request.pid))
    owned(state, event, process, "restart")
    was = process.status
    stop_dependents(state, process)
    stop(state, process, _whose("restart", event, request.reason), force=False, into="stopped", again=True)
    return {"pid": process.pid, "was": was}


def _limits(state: State, event: events.RequestArrived, request: requests.ChangeLimits) -> object:
    process = find(state, request.pid)
    owned(state, event, process, "change the limits of")
    spec = limiting.wanted_spec(process.spec, request.changes)
    if isinstance(spec, str):
        raise Refusal(f'cannot change the limits of {process.pid} ("{process.spec.name}"): {spec}')
    if spec.nice < min(0, process.spec.nice) and event.uid != 0:
        raise Refusal(
            f'cannot change the limits of {process.pid} ("{process.spec.name}"): nice = {spec.nice} is for root, {event.origin} is not'
        )
    key = (event.client, event.sequence)
    if (
        spec != process.spec or process.before is None
    ):  # otherwise a retry: an earlier kernel took it in, and died before the host had answered
        why = limiting.change(state, process, spec)
        if why:
            raise Refusal(f'cannot change the limits of {process.pid} ("{process.spec.name}"): {why}')
    if process.before is None:
        if state.main_of(process) is not None:
            return _limits_answer(process, [])
        warnings = ["they hold from its next start on"] if request.changes else []
        texts, values = limit_words.promised(process.spec)
        return {"pid": process.pid, "limits": texts, "warnings": warnings, "limit_values": values}
    waiting = state.limiting.setdefault(process.pid, [])
    if key not in waiting:
        waiting.append(key)
    return None


def _limits_answer(process: Process, warnings: list[str]) -> dict[str, object]:
    return {"pid": process.pid, "limits": process.limits, "warnings": warnings, "limit_values": process.limit_values}


def on_limits_set(state: State, event: events.LimitsSet) -> None:
    """The host has answered: so is whoever asked."""
    warnings = limiting.on_limits_set(state, event)
    process = state.processes.get(event.pid)
    for client, sequence in state.limiting.pop(event.pid, []):
        if process is None or event.reason:
            name = process.spec.name if process is not None else ""
            message = f'cannot change the limits of {event.pid} ("{name}"): {event.reason}'
            state.do(effects.Reply(client, sequence, "refused", {"message": message}))
        else:
            settle(state, (client, sequence), _limits_answer(process, warnings))


def _suspend(state: State, event: events.RequestArrived, request: requests.Suspend) -> object:
    process = find(state, request.pid)
    owned(state, event, process, "suspend")
    was = process.suspension or process.status
    if process.status not in suspension.SUSPENDABLE or process.desired != "up":
        raise Refusal(f'cannot suspend {process.pid} ("{process.spec.name}"): it is {process.status}')
    if not process.suspension:
        suspension.suspend(state, process, event.origin)
    return {"pid": process.pid, "was": was}


def _resume(state: State, event: events.RequestArrived, request: requests.Resume) -> object:
    process = find(state, request.pid)
    owned(state, event, process, "resume")
    was = process.suspension or process.status
    if not process.suspension:
        raise Refusal(f'cannot resume {process.pid} ("{process.spec.name}"): it is {process.status}, and not suspended')
    suspension.resume(state, process, event.origin)
    return {"pid": process.pid, "was": was}


def _kill(state: State, event: events.RequestArrived, request: requests.Kill) -> object:
    process = find(state, request.pid)
    owned(state, event, process, "kill")
    was = process.status
    if not request.force:
        stop_dependents(state, process)
    outdo(state, process, _whose("kill", event, request.reason), force=request.force)
    stop(state, process, _whose("kill", event, request.reason), force=request.force)
    return {"pid": process.pid, "was": was}


def _history(state: State, _event: events.RequestArrived, request: requests.History) -> object:
    found = lives_of(state, request.pid, max(1, min(1000, request.limit)))
    if request.pid is not None and not found:
        find(state, request.pid)
    return found


def _explain(state: State, _event: events.RequestArrived, request: requests.Explain) -> object:
    return explain(state, request.pid) or find(state, request.pid)


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


def on_configuration_read(state: State, event: events.ConfigurationRead) -> None:
    """Keep what the configuration is."""
    state.config = event.values


def _configuration(state: State, _event: events.RequestArrived, _request: requests.Configuration) -> object:
    return requests.ConfigurationInfo(state.settings.config_source, state.settings.definitions, state.config)


VERBS: dict[type[Any], Callable[[State, events.RequestArrived, Any], object]] = {
    requests.Spawn: _spawn,
    requests.Start: _start,
    requests.Stop: _stop,
    requests.Restart: _restart,
    requests.ChangeLimits: _limits,
    requests.Suspend: _suspend,
    requests.Resume: _resume,
    requests.Kill: _kill,
    requests.History: _history,
    requests.Explain: _explain,
    requests.Reload: _reload,
    requests.Compare: _compare,
    requests.Configuration: _configuration,
}
