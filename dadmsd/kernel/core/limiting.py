"""Limits that change while a process lives: admitted against the ledger, put in force by the host, read back; or refused with the numbers, and then nothing has changed.

1. What is asked is in the journal (``Process.before`` has what holds until then) before the host is asked; a kernel that died in between asks it again.
2. The host has the last word: where it refuses one of the limits, all of them are what they were.
3. One change of a process at a time. The answer waits for the host, and says what was read back.
4. Where no group exists yet or any more, the new limits hold from the next start on.
5. A limit that changed and that the host does not read back any more holds no longer, and is not shown. The rlimits of what runs are the exception: they are lowered only, so one that is lifted stays.
"""

import difflib
from typing import Any

import msgspec

from dadms_ipc.requests import Limits, Spec
from dadmsd.kernel.core import effects, events, limit_words
from dadmsd.kernel.core.admission import limits_flaw, lowered
from dadmsd.kernel.core.ledger import Grant
from dadmsd.kernel.core.lifecycle import ENDED
from dadmsd.kernel.core.records import Process
from dadmsd.kernel.core.state import State

HAS_GROUP = frozenset({"opened", "ready", "stopping"})  # phases of a main whose limits are in force
REQUESTS = ("memory_request", "cpu_request")
BESIDE = (*REQUESTS, "nice")  # of the specification itself, that change as limits do
STAYING = frozenset({"files", "core"})  # rlimits, which a host that is asked for none leaves as they are


def wanted_spec(spec: Spec, changes: dict[str, Any]) -> Spec | str:
    """Give the specification with changed limits, or say what cannot be meant."""
    known = [*Limits.__struct_fields__, *BESIDE]
    for name in changes:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            return f'unknown limit "{name}"; ' + (f'did you mean "{near[0]}"?' if near else f"there are {', '.join(known)}")
    own = {name: value for name, value in changes.items() if name not in BESIDE}
    try:
        limits = msgspec.convert(msgspec.to_builtins(spec.limits) | own, Limits)
        beside = {name: msgspec.convert(changes[name] or 0, float if name == "cpu_request" else int) for name in BESIDE if name in changes}
    except msgspec.ValidationError as error:
        return str(error).replace("`", "")
    return msgspec.structs.replace(spec, limits=limits, **beside)


def change(state: State, process: Process, spec: Spec) -> str:
    """Begin to put other limits in force; gives why that is refused, or "". Whether the host has to be asked is whether ``process.before`` is set afterwards."""
    if process.before is not None:
        return "its limits are being changed already"
    why = limits_flaw(state, spec)
    if why:
        return why
    spec, warnings = lowered(state, spec)
    process.warnings = process.warnings + [warning for warning in warnings if warning not in process.warnings]
    if process.status not in ENDED:
        why = state.ledger.change(process.spec.name, process.pid, Grant(spec.memory_request, spec.cpu_request))
        if why:
            return why.partition(": ")[2]
    main = state.main_of(process)
    if main is not None and main.phase in HAS_GROUP and (spec.limits, spec.nice) != (process.spec.limits, process.spec.nice):
        process.before = process.spec
        state.do(effects.SetLimits(process.pid, process.incarnation))
    process.spec = spec
    state.changed(process)
    return ""


def repeat(state: State, process: Process) -> None:
    """Ask the host again for what an earlier kernel may or may not have asked it for."""
    if process.before is not None:
        state.do(effects.SetLimits(process.pid, process.incarnation))


def on_limits_set(state: State, event: events.LimitsSet) -> list[str]:
    """The host has put the limits in force, or says why it cannot; gives the warnings that are not known from its start or its last change."""
    process = state.processes.get(event.pid)
    if process is None or process.before is None:
        return []
    fresh = [warning for warning in event.warnings if warning not in process.warnings and warning not in process.limit_warnings]
    earlier = process.before
    if event.reason and process.incarnation == event.incarnation:
        before, process.spec = process.spec, earlier
        if process.defined == before:  # the definition asked for it, and is not obeyed: the next reload asks again
            process.defined = None
        if process.status not in ENDED:
            state.ledger.change(before.name, process.pid, Grant(process.spec.memory_request, process.spec.cpu_request))
    process.before = None
    if not event.reason:
        process.limit_warnings = event.warnings
        lifted = _lifted(process, earlier, event.limits)
        process.limits = {name: text for name, text in {**process.limits, **event.limits}.items() if name not in lifted}
        values = process.limit_values | event.values
        process.limit_values = {name: value for name, value in values.items() if name not in lifted}
        words = ", ".join([limit_words.brief(event.limits)] * bool(event.limits) + [f"{name} lifted" for name in lifted])
        data = {"limits": event.limits, "warnings": fresh, "lifted": lifted, "values": event.values}
        state.tell_event("limits", f"limits changed: {words}", pid=process.pid, data=data)
    else:
        state.tell_event("limits.refused", f"limits stay what they were: {event.reason}", pid=process.pid)
    state.changed(process)
    return fresh


def _lifted(process: Process, earlier: Spec, held: dict[str, str]) -> list[str]:
    """Give the limits that were shown, were changed, and are read back no more."""
    changed = [name for name in Limits.__struct_fields__ if getattr(earlier.limits, name) != getattr(process.spec.limits, name)]
    return [name for name in changed if name in process.limits and name not in held and name not in STAYING]
