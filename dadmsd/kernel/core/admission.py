"""Who may start: a specification that is sound, that this host can hold to its limits, and that there is room for. What is refused changes nothing."""

import difflib
import math
from collections.abc import Iterator

import msgspec

from dadms_ipc.requests import Spec
from dadmsd.kernel.core import dependencies, disk, restarts
from dadmsd.kernel.core.ledger import Grant, Ledger, cores_text, size_text
from dadmsd.kernel.core.processes import NAME_MOST, ORCHESTRATORS, advance, expectation
from dadmsd.kernel.core.records import Process
from dadmsd.kernel.core.soundness import flaws
from dadmsd.kernel.core.state import MEBIBYTE, State

LEAST_MEMORY = 8 * MEBIBYTE  # below it an interpreter does not fork
LEAST_ORCHESTRATOR_MEMORY = 20 * MEBIBYTE  # main, a worker and what they import: with 18 MiB an empty model ends out of memory
LEAST_PIDS = 2
LEAST_ORCHESTRATOR_PIDS = 6  # fork server, main with its two threads for messages, worker, and one to spare: with 5 no worker comes up
MOST_PIDS = 4_194_304  # PID_MAX_LIMIT of Linux: more tasks than that are on no machine, and no pids.max takes the number
SIZES = frozenset({"memory", "worker_memory", "memory_high", "swap", "memory_request"})  # fields that are bytes
MOST_WORKERS = 256
MOST_WEIGHT = 10_000  # cpu.weight of cgroup-v2


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
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(ORCHESTRATORS)}"
        yield "orchestrator", f"no orchestrator {spec.orchestrator!r}{hint}"
    if spec.enforcement not in ("strict", "best-effort"):
        yield "enforcement", f'enforcement is "strict" or "best-effort", not {spec.enforcement!r}'
    yield from limits_flaws(state, spec)
    if uid != state.settings.uid and state.settings.uid != 0:
        yield "uid", f"user {uid} asked, the daemon runs as user {state.settings.uid} and cannot change it"


def limits_flaw(state: State, spec: Spec) -> str:
    """Say why limits and times cannot be meant, or not be held here; "" when they can."""
    return next((why for _, why in limits_flaws(state, spec)), "")


def limits_flaws(state: State, spec: Spec) -> Iterator[tuple[str, str]]:
    """Give what is wrong with limits and times, or cannot be held here, each with its field."""
    limits = spec.limits
    is_orchestrator = spec.kind == "orchestrator"
    for field, value, least in (
        ("memory", limits.memory, LEAST_ORCHESTRATOR_MEMORY if is_orchestrator else LEAST_MEMORY),
        ("worker_memory", limits.worker_memory, LEAST_MEMORY),
        ("cpu", limits.cpu, 0.01),
        ("pids", limits.pids, LEAST_ORCHESTRATOR_PIDS if is_orchestrator else LEAST_PIDS),
        ("files", limits.files, 16),
        ("core", limits.core, 0),
        ("workers", limits.workers, 1),
        ("memory_high", limits.memory_high, LEAST_MEMORY),
        ("swap", limits.swap, 0),
        ("cpu_weight", limits.cpu_weight, 1),
        *((f"{name} of {path}", rate, 1) for path, rates in limits.io.items() for name, rate in msgspec.structs.asdict(rates).items()),
        ("memory_request", spec.memory_request, 0),
        ("cpu_request", spec.cpu_request, 0),
        ("thread_timeout", spec.thread_timeout, 0.001),
        ("weight", spec.weight, 0.01),
        ("recycle_threads", spec.recycle_threads, 1),
        ("recycle_seconds", spec.recycle_seconds, 0.001),
        ("ready_timeout", spec.ready_timeout, 0.001),
        ("stop_timeout", spec.stop_timeout, 0),
    ):
        if value is not None and not least <= value < math.inf:
            shown, needed = (size_text(value), size_text(int(least))) if field in SIZES and 0 <= value < math.inf else (value, least)
            whose = " by an orchestrator and its worker" if is_orchestrator and field in ("memory", "pids") else ""
            yield ("io" if " of " in field else field), f"{field} is {shown}, at least {needed} is needed{whose}"
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
    if limits.pids is not None and limits.pids > MOST_PIDS:
        yield "pids", f"pids = {limits.pids} asked, at most {MOST_PIDS} tasks are on any Linux (kernel.pid_max)"
    if limits.cpu_weight is not None and limits.cpu_weight > MOST_WEIGHT:
        yield "cpu_weight", f"a cpu_weight of {limits.cpu_weight} asked, at most {MOST_WEIGHT} is one"
    if limits.workers > MOST_WORKERS:
        yield "workers", f"{limits.workers} workers asked, at most {MOST_WORKERS} a process"


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
