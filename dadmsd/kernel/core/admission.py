"""Who may start: a specification that is sound, that this host can hold to its limits, and that there is room for. What is refused changes nothing."""

import difflib
from collections.abc import Iterator

import msgspec

from dadms_ipc.requests import Spec
from dadmsd.kernel.core import bounds, dependencies, disk, restarts
from dadmsd.kernel.core.ledger import Grant, Ledger, cores_text, size_text
from dadmsd.kernel.core.processes import NAME_MOST, ORCHESTRATORS, advance, expectation
from dadmsd.kernel.core.records import Process
from dadmsd.kernel.core.soundness import flaws
from dadmsd.kernel.core.state import State

SIZES = frozenset({"memory", "worker_memory", "memory_high", "swap"})  # limits that are bytes


def refusal(state: State, spec: Spec, uid: int) -> str:
    """Say why a process cannot be admitted; "" when it can."""
    why = unsound(state, spec, uid)
    if not why and (flaw := dependencies.flaw(state, spec)):
        why = f'cannot start "{spec.name}": {flaw}'
    return why or no_room(state, spec, state.ledger)


def unsound(state: State, spec: Spec, uid: int) -> str:
    """Say why this daemon does not start a process, however much room there is and whoever else there is; "" when it would."""
    name = spec.name
    if state.is_stopping:
        return f'cannot start "{name}": the daemon is shutting down'
    if not name or len(name) > NAME_MOST or not name.isprintable():
        return f"cannot start {name!r}: a name has 1 to {NAME_MOST} printable characters"
    why = next((why for _, why in flaws_here(state, spec, uid)), "")
    return f'cannot start "{name}": {why}' if why else ""


def no_room(state: State, spec: Spec, ledger: Ledger) -> str:
    """Say what there is no room for, with the numbers; "" when there is."""
    return ledger.refusal(spec.name, Grant(spec.memory_request, spec.cpu_request)) or disk.refusal(state, f'start "{spec.name}"')


def flaws_here(state: State, spec: Spec, uid: int) -> Iterator[tuple[str, str]]:
    """Give what keeps this daemon from ever running a specification, however much room there is, each with the field that it is about."""
    if len(spec.group) > NAME_MOST:
        yield "group", f"a group has at most {NAME_MOST} characters, not {len(spec.group)}"
    yield from flaws(spec)
    if spec.kind == "orchestrator" and spec.orchestrator not in ORCHESTRATORS and not _is_code(spec.orchestrator):
        near = difflib.get_close_matches(spec.orchestrator, ORCHESTRATORS, 1)
        hint = f'; did you mean "{near[0]}"?' if near else f"; there are {', '.join(ORCHESTRATORS)}"
        yield "orchestrator", f'no orchestrator "{spec.orchestrator}"{hint}'
    if spec.enforcement not in ("strict", "best-effort"):
        yield "enforcement", f'enforcement is "strict" or "best-effort", not {spec.enforcement!r}'
    yield from _held_flaws(state, spec)
    if uid != state.settings.uid and state.settings.uid != 0:
        yield "uid", f"user {uid} asked, the daemon runs as user {state.settings.uid} and cannot change it"


def limits_flaw(state: State, spec: Spec) -> str:
    """Say why limits, reservations or niceness cannot be meant, or not be held here; "" when they can."""
    return next((why for found in (bounds.changed_flaws(spec), _held_flaws(state, spec)) for _, why in found), "")


def _held_flaws(state: State, spec: Spec) -> Iterator[tuple[str, str]]:
    """Give the limits that cannot be held here, each with its field."""
    limits = spec.limits
    if spec.enforcement == "strict":
        for field, value, cap in (
            ("memory", limits.memory, "memory"),
            ("worker_memory", limits.worker_memory, "memory"),
            ("cpu", limits.cpu, "cpu"),
            ("pids", limits.pids, "pids"),
            ("memory_high", limits.memory_high, "memory_high"),
            ("swap", limits.swap or None, "swap"),
            ("cpu_weight", limits.cpu_weight, "cpu_weight"),
            ("io", ", ".join(limits.io) or None, "io"),
        ):
            if value is not None and cap not in state.settings.holds:
                shown = size_text(value) if field in SIZES and isinstance(value, int) else value
                yield (
                    field,
                    f"{field} = {shown} cannot be enforced here ({state.settings.limits_backend}); best-effort enforcement would go without",
                )
    if limits.memory is not None and limits.memory > state.ledger.memory:
        yield (
            "memory",
            f"a memory limit of {size_text(limits.memory)} asked, all processes together may use {size_text(state.ledger.memory)} (memory_limit_mb)",
        )
    if limits.cpu is not None and spec.enforcement == "strict" and limits.cpu > state.ledger.cpu + 1e-9:
        yield "cpu", f"{cores_text(limits.cpu)} asked, all processes together may use {state.ledger.cpu:g} (cpu_limit_percent)"


def lowered(state: State, spec: Spec) -> tuple[Spec, list[str]]:
    """Lower a wish for more cores than all may use to what they may, which the host takes; says so."""
    cores = spec.limits.cpu
    if spec.enforcement == "strict" or cores is None or cores <= state.ledger.cpu + 1e-9 or "cpu" not in state.settings.holds:
        return spec, []
    limits = msgspec.structs.replace(spec.limits, cpu=state.ledger.cpu)
    words = f"{cores_text(cores)} asked, held to the {state.ledger.cpu:g} that all processes together may use (cpu_limit_percent)"
    return msgspec.structs.replace(spec, limits=limits), [words]


def _is_code(orchestrator: str) -> bool:
    """Tell whether this is "module:attribute". Anything else in it could be taken for a part of the key of another user's zygote."""
    module, _, attribute = orchestrator.partition(":")
    return all(part.isidentifier() for part in [*module.split("."), *attribute.split(".")])


def admit(state: State, spec: Spec, uid: int, *, parent: int = 0) -> Process:
    """Put a process that ``refusal`` has nothing against into the table and start it."""
    spec, warnings = lowered(state, spec)
    process = Process(pid=state.counters.next_pid, spec=spec, uid=uid, created_at=state.wall, parent=parent, warnings=warnings)
    state.counters.next_pid += 1
    state.changed(state.counters)
    state.processes[process.pid] = process
    dependencies.note(state, process)
    state.changed(process)
    state.ledger.grant(process.pid, Grant(spec.memory_request, spec.cpu_request))
    restarts.began(state, process)
    state.do(expectation(process))
    what = spec.orchestrator or spec.command[0]
    state.tell_event("process.admitted", f"{spec.name} ({what}) is admitted", pid=process.pid, data={"name": spec.name})
    for warning in warnings:
        state.tell_event("limits", warning, pid=process.pid, data={"limits": {}, "warnings": warnings})
    advance(state, process)
    return process
