"""What follows the end of an incarnation: the next one, after which pause, or none.

1. Somebody's word counts first: "down" is final, "restart" starts at once.
2. Then the exit code, where the spec names it; then the policy. A main that never became its program (no such executable, user or directory) fails for good in its first
   incarnation: nothing was ever running that could be brought back.
3. The pause doubles with each restart in a row up to a ceiling, and begins anew after an incarnation that was ready for ``backoff_reset`` seconds. The part of it that is chance
   is derived from the instance key and the incarnation, so that a herd of processes scatters, and a test repeats.
4. ``start_limit`` starts within ``start_limit_seconds`` are enough; then it has failed, and what its spec names fails with it.
5. What a reboot or the end of the daemon ended is started again at once, where the policy restarts at all; nobody is to blame for it. What had not begun goes on waiting, for its import too.
6. An orchestrator that has a checkpoint and whose spec names no policy goes on from there when it was lost (``checkpoints``); an outcome is no loss, whatever it is.
"""

import hmac

import msgspec

from dadms_ipc.requests import Spec
from dadmsd.kernel.core import effects
from dadmsd.kernel.core.clocks import arm_clocks, is_due, start_clock, stop_clock
from dadmsd.kernel.core.dependencies import note
from dadmsd.kernel.core.ledger import Grant
from dadmsd.kernel.core.lifecycle import ENDED
from dadmsd.kernel.core.moves import enter
from dadmsd.kernel.core.records import Life, Process
from dadmsd.kernel.core.state import State

CLD_EXITED = 1  # si_code of waitid(2)
POLICIES = ("never", "on-failure", "always")
ESCALATIONS = ("", "group", "parent", "daemon")
FACTOR = 2.0  # by which the pause grows
RESUMES_MOST = 3  # in a row, from one checkpoint: then what is in it, or what follows it, is taken for the cause
UNBEGUN = frozenset({"admitted", "waiting"})  # states in which nothing of an incarnation has run that could be cut short or be done twice
LOSSES = ("oom", "watchdog")  # causes, beside signals that nobody here sent

# What is true of an incarnation and not of the process: the next one begins with these.
_FRESH = {
    field.name: field.default if field.default is not msgspec.NODEFAULT else field.default_factory
    for field in msgspec.structs.fields(Process)
    if field.name
    in {
        "ready_at", "ended_at", "entries", "cause", "reason", "ending_as", "stop_reason", "stop_as", "outcome_status", "outcome", "limits", "limit_values", "warnings", "asked", "submitted",
        "submitted_tid", "refusal", "results", "seen", "workers_made", "workers_failed", "forks_lost", "memory_peak", "cpu_seconds", "exit_how", "exit_status", "started_at",
        "ready_since", "suspension", "paused", "said", "probes_made", "probe_failures", "is_recorded", "is_interrupted", "resume", "suspended",
        "oom_kills", "oom_note", "exited_at", "limit_warnings", "unready",
    }
}  # fmt: skip


def policy_of(spec: Spec) -> str:
    """Give the restart policy that holds."""
    return spec.restart or ("always" if spec.kind == "service" else "never")


def goes_on(state: State, process: Process) -> bool:
    """Tell whether a process that is lost goes on from a checkpoint (rule 6)."""
    return process.pid in state.checkpoints and not process.spec.restart and not process.outcome_status


def _was_lost(process: Process) -> bool:
    return process.cause in LOSSES or process.cause.startswith("signal ")


def is_wanted_again(state: State, process: Process) -> bool:
    """Tell whether the way in which an incarnation ended calls for the next one."""
    spec = process.spec
    if process.is_interrupted:
        return policy_of(spec) != "never" or bool(process.definition) or goes_on(state, process)
    if goes_on(state, process) and _was_lost(process):
        if process.resumed < RESUMES_MOST:
            return True
        process.reason = f"{process.reason or process.cause}; it had gone on from the same checkpoint {process.resumed} times"
        return False
    if process.exit_how == CLD_EXITED and process.exit_status in spec.final_codes:
        return False
    if process.exit_how == CLD_EXITED and process.exit_status in spec.restart_codes:
        return True
    if spec.kind != "orchestrator" and not process.started_at and process.incarnation == 1 and process.cause == "start failed":
        return False
    return {"never": False, "on-failure": process.ending_as == "failed", "always": True}[policy_of(spec)]


def pause_after(state: State, process: Process) -> float:
    """Give the seconds until the next incarnation of a process that has failed so often in a row."""
    spec = process.spec
    pause = min(spec.backoff_most, spec.backoff * FACTOR ** min(process.failures, 64))
    drawn = hmac.digest(state.settings.instance_key, f"backoff {process.pid}.{process.incarnation}".encode(), "sha256")
    return pause * (1.0 + spec.backoff_jitter * int.from_bytes(drawn[:4], "big") / 2**32)


def follow(state: State, process: Process) -> bool:
    """Settle what follows an incarnation of which nothing is left; True when there is to be a next one."""
    if process.desired == "restart" and not state.is_stopping:
        process.desired = "up"
        process.failures = 0
        process.starts = []
        _await(state, process, 0.0)
        return True
    if process.desired != "up" or state.is_stopping or not is_wanted_again(state, process):
        return False
    if process.ready_since and state.now - process.ready_since >= process.spec.backoff_reset:
        process.failures = 0
    if process.is_interrupted:
        process.failures = 0
        process.starts = []
        _await(state, process, 0.0)
        return True
    limit, window = process.spec.start_limit, process.spec.start_limit_seconds
    process.starts = [at for at in process.starts if at > state.now - window]
    if limit and len(process.starts) >= limit:
        often = "once" if len(process.starts) == 1 else f"{len(process.starts)} times"
        process.reason = f"started {often} within {window:g} s, the last time it ended with: {process.reason or process.cause}"
        process.cause = "start limit"
        process.ending_as = "failed"
        return False
    _await(state, process, pause_after(state, process))
    process.failures += 1
    process.resumed += goes_on(state, process)
    return True


def _await(state: State, process: Process, seconds: float) -> None:
    if seconds > 0.0:
        start_clock(state, process, "backoff", seconds)
    else:
        stop_clock(state, process, "backoff")
        state.starting[process.pid] = None


def on_backoff_over(state: State, pid: str) -> None:
    """The pause of a process is over."""
    process = is_due(state, pid, "backoff")
    if process is not None and process.status == "backoff":
        state.starting[process.pid] = None


def renew(state: State, process: Process) -> bool:
    """Begin the next incarnation of a process that has ended or whose pause is over; False when there is no room for it."""
    if process.status in ENDED:
        grant = Grant(process.spec.memory_request, process.spec.cpu_request)
        why = state.ledger.refusal(process.spec.name, grant)
        if why:
            process.reason = why
            state.changed(process)
            state.tell_event("process.refused", why, pid=process.pid)
            return False
        state.ledger.grant(process.pid, grant)
        del state.ended[process.pid]
    if not enter(state, process, "start"):
        return False
    stop_clock(state, process, "backoff")
    for name, value in _FRESH.items():
        setattr(process, name, value() if callable(value) else value)
    process.incarnation += 1
    process.desired = "up"
    began(state, process)
    return True


def take_up(state: State, process: Process, *, is_interrupted: bool) -> None:
    """Go on with a process of an earlier kernel; with an interruption nothing of it lives, and its clocks are another boot's or another daemon's."""
    note(state, process)
    if is_interrupted:
        process.clocks.clear()
        process.suspension = ""
        process.paused = {}
        process.before = None  # nobody has to be asked: the next start puts them in force
        process.starts = []
        process.failures = 0
        process.is_interrupted = process.status not in ENDED | UNBEGUN
        state.changed(process)
        if process.status in ENDED and (process.resume or (process.definition and process.desired == "up")):
            state.starting[process.pid] = None
    arm_clocks(state, process)
    if process.status == "backoff" and "backoff" not in process.clocks:
        state.starting[process.pid] = None


def began(state: State, process: Process) -> None:
    """Note the start of an incarnation."""
    process.begun_at = state.wall
    most = process.spec.start_limit
    process.starts = [*process.starts, state.now][-most:] if most else []
    state.changed(process)


def record_life(state: State, process: Process) -> None:
    """Put an incarnation that ended into the history, once: an end in its backoff is no second life."""
    if process.is_recorded:
        return
    process.is_recorded = True
    state.changed(process)
    life = Life(
        pid=process.pid,
        incarnation=process.incarnation,
        name=process.spec.name,
        uid=process.uid,
        status=process.ending_as,
        cause=process.cause,
        reason=process.reason,
        begun_at=process.begun_at or process.created_at,
        started_at=process.started_at,
        ready_at=process.ready_at,
        ended_at=state.wall,
        exit_how=process.exit_how,
        exit_status=process.exit_status,
        memory_peak=process.memory_peak,
        cpu_seconds=process.cpu_seconds,
        number=state.counters.next_life,
        kind=process.spec.kind,
        orchestrator=process.spec.orchestrator,
        group=process.spec.group,
        parent=process.parent,
        oom_kills=process.oom_kills,
        exited_at=process.exited_at,
    )
    state.counters.next_life += 1
    state.changed(state.counters)
    state.changed(life)
    for gone in state.lives.add(life):
        state.deleted(gone)


def escalate(state: State, process: Process) -> list[Process]:
    """Give those that fail with a process at its start limit; the daemon itself is asked to end where the spec says so."""
    spec = process.spec
    if process.cause != "start limit" or not spec.escalate:
        return []
    state.tell_event("process.escalated", f"{spec.name} is at its start limit: its {spec.escalate} fails with it", pid=process.pid)
    if spec.escalate == "daemon":
        state.do(effects.AskShutdown(f'the start limit of "{spec.name}" ({process.pid})'))
        return []
    others = [each for each in state.live_processes() if each.pid != process.pid]
    if spec.escalate == "parent":
        return [each for each in others if each.pid == process.parent]
    return [each for each in others if spec.group and each.spec.group == spec.group]
