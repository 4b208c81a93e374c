"""Processes: the zygote that they need, and their main.

1. A process that was admitted (journal, ledger) gets a zygote, then a main. Without handlers it is forked by the zygote that all processes of its orchestrator
   and user share; with handlers by one of its own, forked from the shared one, and with an environment by one of its own from the base zygote: what is the
   process's own is imported under its limits. A command is forked by the base zygote, which holds nobody's code.
2. The time to be ready begins when the process may start: at its admission, or when what it depends on is ready. It holds in whatever phase it then is.
3. An import that somebody kills by SIGKILL, and neither we nor the OOM killer, is begun again, IMPORTS_KILLED_MOST times in a row.
4. The cause of death is what was seen, in this order: out of memory, our doing, what the child said, how it exited.
"""

from collections.abc import Sequence

import msgspec

from dadms_ipc import port
from dadms_ipc.requests import Spec
from dadmsd.kernel.core import checkpoints, dependencies, effects, events, kinds, limit_words, readiness, restarts, sharing, timeouts
from dadmsd.kernel.core.clocks import is_due, start_clock, stop_clock
from dadmsd.kernel.core.ending import begin_end, settle, tell_wait
from dadmsd.kernel.core.ledger import size_text
from dadmsd.kernel.core.lifecycle import SIGKILL
from dadmsd.kernel.core.moves import end, enter, give, make, violate
from dadmsd.kernel.core.pools import new_pool
from dadmsd.kernel.core.records import Child, Process
from dadmsd.kernel.core.state import MEBIBYTE, State
from dadmsd.kernel.core.values import flaw

ORCHESTRATORS = {
    "bpmn": "dadms_orchestrators.bpmn.orchestrator:ORCHESTRATOR",
    "decision": "dadms_orchestrators.decision.orchestrator:ORCHESTRATOR",
}

SIGNALS = {1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS"}  # fmt: skip
CLD_EXITED, CLD_KILLED = 1, 2  # si_code of waitid(2); 3 is dumped

OUR_CAUSES = {
    "violation": "violation",
    "timed out": "timed out",
    "watchdog": "watchdog",
    "unhealthy": "liveness",
}  # why we ended a main -> the cause
INTERRUPTED = "interrupted"  # why a zygote ended during its import: the machine or the daemon did, and the next daemon begins it again
IMPORTS_KILLED_MOST = 2  # in a row, that are begun again: then the code is taken for the cause
FORKS_LOST_MOST = 3  # zygotes in a row that may end with a fork of one process unanswered: then it is taken for the cause
ENTRIES_MOST = 10_000  # that one process may declare
NAME_MOST = 200  # characters of a name
TEXT_MOST = 2000  # characters of what a process says for people
WARNINGS_MOST = 20  # that one program may give
NOTE_BYTES = 16 * 1024  # of a note's data: the event stream keeps thousands
OUTCOME_BYTES = 16 * MEBIBYTE


def ready_timeout(state: State, process: Process) -> float:
    """Give the seconds that a main has to shake hands."""
    return process.spec.ready_timeout or state.settings.ready_timeout


def left_to_be_ready(state: State, process: Process) -> float:
    """Give what is left of those seconds when the main learns who it is; from then on its own deadline holds."""
    left = process.clocks.get("ready", state.now + ready_timeout(state, process)) - state.now
    stop_clock(state, process, "ready")
    return max(0.0, left)


def on_ready_over(state: State, pid: str) -> None:
    """A process has no main that knows who it is, and the time to be ready is over."""
    process = is_due(state, pid, "ready")
    if process is None or process.desired != "up" or process.ending_as or process.status not in ("admitted", "starting"):
        return
    seconds = ready_timeout(state, process)
    main = state.main_of(process)
    if main is not None:
        end(state, main, "not ready")  # what it comes to is settled by its end, or by that of the zygote that did not fork it
        return
    zygotes = [state.children[state.zygotes[key]] for key in zygote_keys(process) if key in state.zygotes]
    importing = [child for child in zygotes if child.phase == "opened" or child.intent == "not ready"]
    if importing:
        why = f"cannot import {_code_words(state, importing[-1])}: not finished after {timeouts.ready_words(state, seconds)}"
        begin_end(state, process, "failed", "import failed", why)
        return
    cause, why = _too_late(state, process)
    begin_end(state, process, "failed", cause, f"{why}: it waited for {zygotes[-1].name}" if zygotes else why)


def _too_late(state: State, process: Process) -> tuple[str, str]:
    """Give cause and reason of the end of one that was not ready in time."""
    seconds = ready_timeout(state, process)
    return f"not ready in {seconds:g} s", f"not ready in {timeouts.ready_words(state, seconds)}"


def import_timeout(state: State, child: Child) -> float:
    """Give the seconds that a zygote has to import its code."""
    process = state.processes.get(child.pid)
    if process is None:
        return state.settings.import_timeout
    return min(state.settings.import_timeout, ready_timeout(state, process))


# zygotes


def code_of(spec: Spec) -> str:
    """Give "module:attribute" of an orchestrator."""
    return ORCHESTRATORS.get(spec.orchestrator, spec.orchestrator)


def zygote_keys(process: Process) -> list[str]:
    """Name the zygotes that a process needs, the one that forks for it last. Code that is imported under an environment is shared with nobody.

    A command needs none of its own.
    """
    if process.spec.kind != "orchestrator":
        return []
    shared = f"{code_of(process.spec)}|{process.uid}"
    if not _has_own_zygote(process.spec):
        return [shared]
    own = f"{shared}|{process.pid}"
    return [own] if process.spec.environment else [shared, own]


def _has_own_zygote(spec: Spec) -> bool:
    return bool(spec.handlers or spec.environment)


def zygote_for(state: State, process: Process) -> Child | None:
    """Give the zygote that forks for a process, or None while it is being made. Its own one serves whether the shared one still lives or not."""
    *shared, key = zygote_keys(process)
    parent = "base"
    if shared and key not in state.zygotes:
        forker = _zygote(state, shared[0], parent, 0, process.uid)
        if forker is None:
            return None
        parent = forker.name
    return _zygote(state, key, parent, process.pid if _has_own_zygote(process.spec) else 0, process.uid)


def _zygote(state: State, key: str, parent: str, pid: int, uid: int) -> Child | None:
    name = state.zygotes.get(key)
    if name is None:
        child = Child(name=f"zygote/{state.counters.next_zygote}", role="zygote", parent=parent, pid=pid, key=key, uid=uid)
        state.counters.next_zygote += 1
        state.changed(state.counters)
        state.zygotes[key] = child.name
        make(state, child)
        state.tell_event("process.importing", f"{child.name} imports {key.split('|')[0]}", pid=pid, data={"zygote": child.name})
        return None
    child = state.children[name]
    return child if child.phase == "ready" else None


def zygote_ready(state: State, child: Child) -> None:
    """Fork what waited for this zygote."""
    text = f"{child.name} has imported {child.key.split('|')[0]} in {child.seconds:.2f} s"
    state.tell_event("zygote.ready", text, pid=child.pid, data={"zygote": child.name, "seconds": child.seconds, "warnings": child.warnings})
    for process in _waiting_for(state, child):
        if child.pid:
            process.warnings = process.warnings + child.warnings
        advance(state, process)
    for pid, pool in state.pools.items():
        if pool.ready:
            state.ready_pools.setdefault(pid)  # it may have waited for a zygote to grow


def _waiting_for(state: State, child: Child) -> list[Process]:
    """Give the processes that wait for a zygote: those with one of their own wait for that one as soon as it is being made."""
    found = []
    for process in state.live_processes():
        keys = zygote_keys(process) if process.status == "admitted" else []
        if child.key in keys and (child.key == keys[-1] or keys[-1] not in state.zygotes):
            found.append(process)
    return found


def zygote_gone(state: State, child: Child, oom: str) -> str:
    """A zygote ended: those that waited for its import fail, for the reason that is given; if it had served, it is replaced when it is needed."""
    _forget_zygote(state, child)
    waiting = _waiting_for(state, child)
    why = ""
    for other in list(state.children.values()):
        if other.parent == child.name and other.phase == "forking":
            state.orphaned.append(other.name)
    if _is_begun_again(state, child, oom, bool(waiting)):
        text = f"{child.name} was killed during its import, not by us: it is begun again"
        state.tell_event("zygote.lost", text, pid=child.pid, data={"zygote": child.name})
        for process in waiting:
            advance(state, process)
        for pid, pool in state.pools.items():
            if pool.ready:
                state.ready_pools.setdefault(pid)
    elif child.ready_at or child.intent == INTERRUPTED:
        if not child.intent:
            words = f"out of memory: {oom}" if oom else _exit_words(child)
            state.tell_event("zygote.lost", f"{child.name} is gone: {words}", pid=child.pid)
        for process in waiting:
            advance(state, process)
    else:
        what = _code_words(state, child)
        if oom:
            why = f"cannot import {what}: out of memory, {oom}"
        elif child.failure:
            why = child.failure
        elif child.intent == "not ready":
            why = f"cannot import {what}: not finished after {import_timeout(state, child):g} s"
        else:
            why = f"cannot import {what}: {_exit_words(child)} during the import"
        for process in waiting:
            begin_end(state, process, "failed" if process.desired == "up" else process.stop_as, "oom" if oom else "import failed", why)
    if child.pid and not waiting:
        settle(state, state.processes[child.pid])
    return why


def _code_words(state: State, child: Child) -> str:
    process = state.processes.get(child.pid)
    return f'handlers "{process.spec.handlers}"' if process is not None and process.spec.handlers else child.key.split("|")[0]


def _is_begun_again(state: State, child: Child, oom: str, is_waited_for: bool) -> bool:
    """Tell whether an import was killed by a stranger, and count it: it is no fault of the code unless it happens again and again."""
    is_killed = not child.ready_at and child.exit_how == CLD_KILLED and child.exit_status == SIGKILL
    is_strange = is_killed and not child.intent and not child.failure and not oom and child.key not in state.zygotes
    count = state.imports_killed.pop(child.key, 0)
    if not is_strange or count >= IMPORTS_KILLED_MOST or not (is_waited_for or not child.pid or state.pools.get(child.pid)):
        return False
    state.imports_killed[child.key] = count + 1
    return True


def _forget_zygote(state: State, child: Child) -> None:
    if state.zygotes.get(child.key) == child.name:
        del state.zygotes[child.key]


def ask_again(state: State, process: Process, child: Child) -> None:
    """Have a main or a zygote, that a zygote was asked for and did not fork before it ended, forked by the next one."""
    process.forks_lost += 1
    if child.role == "main":
        enter(state, process, "unforked")
    else:
        _forget_zygote(state, child)
    state.changed(process)
    advance(state, process)


# mains


def advance(state: State, process: Process) -> None:
    """Take an admitted process as far as it can go now."""
    if process.status != "admitted" or process.desired != "up":
        return
    if not dependencies.may_start(state, process):
        enter(state, process, "blocked")
        stop_clock(state, process, "ready")
        state.blocked[process.pid] = None
        tell_wait(state, process)
        return
    is_command = process.spec.kind != "orchestrator"
    if "ready" not in process.clocks and (not is_command or readiness.mode_of(process) != "none"):
        start_clock(state, process, "ready", ready_timeout(state, process))
    parent = "base"
    if not is_command:
        zygote = zygote_for(state, process)
        if zygote is None:
            return
        parent = zygote.name
    enter(state, process, "forked")
    child = Child(
        name=f"{process.pid}.{process.incarnation}",
        role="main",
        parent=parent,
        pid=process.pid,
        incarnation=process.incarnation,
        uid=process.uid,
    )
    child.is_command = is_command
    child.stop_signal = process.spec.stop_signal
    make(state, child)
    state.tell_event("process.starting", f"{process.spec.name} is forked from {parent}", pid=process.pid, data={"zygote": parent})


def start_due(state: State) -> None:
    """Begin the next incarnation of those whose time has come."""
    for pid in list(state.starting):
        del state.starting[pid]
        process = state.processes.get(pid)
        if process is not None and not state.is_stopping and restarts.renew(state, process):
            state.do(expectation(process))
            known = state.checkpoints.get(pid)
            since = f", from its checkpoint of {max(0.0, state.wall - known.at):.1f} s ago" if known is not None else ""
            text = f"{process.spec.name} begins incarnation {process.incarnation}{since}"
            state.tell_event("process.renewed", text, pid=pid, data={"incarnation": process.incarnation, "failures": process.failures})
            advance(state, process)
        else:
            state.has_shifted = True  # who waited for it as for one that is about to start has to be looked at again


def enrolment(process: Process, uid: int) -> effects.Enroll:
    """Say to the bus who an incarnation is."""
    spec = process.spec
    return effects.Enroll(process.pid, process.incarnation, spec.name, uid, spec.group, process.parent, spec.kind)


def expectation(process: Process) -> effects.Expect:
    """Say to the bus that a process will have an incarnation."""
    spec = process.spec
    return effects.Expect(process.pid, spec.name, spec.group, process.parent, spec.kind)


def main_opened(state: State, child: Child, event: events.GateOpened) -> None:
    """Limits are in force: from now on the incarnation may speak on the bus."""
    process = state.processes[child.pid]
    process.limits, process.limit_values = event.limits, event.values
    process.warnings = process.warnings + [warning for warning in event.warnings if warning not in process.warnings]
    state.changed(process)
    state.do(enrolment(process, process.uid))
    words = limit_words.brief(event.limits) or "none"
    state.tell_event(
        "limits",
        f"limits in force: {words}",
        pid=process.pid,
        data={"limits": event.limits, "warnings": event.warnings, "values": event.values},
    )


def worker_opened(state: State, child: Child, event: events.GateOpened) -> None:
    """Limits of a worker are in force: what its process does not know yet, which its first worker brings, is said."""
    process = state.processes[child.pid]
    fresh = {name: value for name, value in event.limits.items() if name not in process.limits}
    warnings = [warning for warning in event.warnings if warning not in process.warnings]
    if not fresh and not warnings:
        return
    process.limits = {**process.limits, **fresh}
    values = {name: event.values[name] for name in fresh if name in event.values}
    process.limit_values = process.limit_values | values
    process.warnings = process.warnings + warnings
    state.changed(process)
    text = (
        f"limits of a worker in force: {limit_words.brief(fresh)}"
        if fresh
        else f"not all limits of a worker are in force: {'; '.join(warnings)}"
    )
    state.tell_event("limits", text, pid=process.pid, data={"limits": fresh, "warnings": warnings, "values": values})


def main_executed(state: State, child: Child) -> None:
    """The main of a command has become its program."""
    process = state.processes[child.pid]
    process.started_at = state.wall
    readiness.begin_run(state, process)
    state.changed(process)
    state.tell_event(
        "process.executed", f"{process.spec.name} runs {process.spec.command[0]}", pid=process.pid, data={"os_pid": child.os_pid}
    )


def main_ready(state: State, child: Child, event: events.MainReady) -> None:
    """The process runs."""
    process = state.processes[child.pid]
    if len(event.entries) > ENTRIES_MOST or any(len(entry) > NAME_MOST for entry in event.entries):
        violate(
            state, child, f"declares {len(event.entries)} entries: at most {ENTRIES_MOST}, with names of at most {NAME_MOST} characters"
        )
        return
    why, warnings = _declared(state, process, event.declarations, event.entries)
    if why:
        child.failure = why
        child.ready_at = 0.0
        end(state, child, "undeclared")
        return
    enter(state, process, "ready")
    process.forks_lost = 0
    process.ready_at = state.wall
    process.started_at = process.started_at or state.wall
    process.ready_since = state.now
    readiness.begin_run(state, process)
    readiness.begin_ready(state, process)
    process.entries = event.entries
    process.limits = {**process.limits, **event.limits}
    process.limit_values = process.limit_values | event.values
    process.warnings = process.warnings + [warning[:TEXT_MOST] for warning in event.warnings[:WARNINGS_MOST]] + warnings
    process.kinds = kinds.kinds_of(event.declarations)
    process.kinds_failed = {}
    state.changed(process)
    pool = state.pools[process.pid] = new_pool(state, process)
    if pool.loops:
        state.looping[process.pid] = None
    took = process.ready_at - process.begun_at
    state.tell_event(
        "process.running",
        f"{process.spec.name} is ready after {took:.3f} s",
        pid=process.pid,
        data={"os_pid": child.os_pid, "seconds": took},
    )


def _declared(state: State, process: Process, declarations: Sequence[port.Declaration], entries: Sequence[str]) -> tuple[str, list[str]]:
    """Look at what a process declares of its entries; gives why it cannot be, or "", and what this host does not hold of it."""
    why = kinds.flaw_of(declarations, entries)
    if why:
        return f"it {why}", []
    capped = [each for each in declarations if each.memory_limit is not None]
    if not capped or "memory" in state.settings.holds:
        return "", []
    words = ", ".join(f'{size_text(each.memory_limit or 0)} for "{each.entry}"' for each in capped[:WARNINGS_MOST])
    if process.spec.enforcement == "strict":
        return (
            f"it declares a memory limit of {words}, which cannot be enforced here ({state.settings.limits_backend}); best-effort enforcement would go without",
            [],
        )
    return "", [f"not enforced for a worker as a whole: a memory limit of {words}; each of its OS processes is held to it by RLIMIT_DATA"]


def on_outcome(state: State, event: events.OutcomeGiven) -> None:
    """A process says what it came to."""
    process = _speaker(state, event.name)
    if process is None:
        return
    if not process.outcome_status:
        value = bytes(event.outcome.value)
        wrong = flaw(value, most=OUTCOME_BYTES)
        process.outcome_status = "failed" if wrong else event.outcome.status
        process.outcome = b"\xc0" if wrong else value
        process.reason = f"its outcome cannot be kept: {wrong}" if wrong else event.outcome.reason[:TEXT_MOST]
        checkpoints.drop(state, process)
        state.changed(process)
    child = state.children[event.name]
    if child.phase in ("opened", "ready"):
        give(state, child, state.settings.exit_timeout)
    state.do(effects.Tell(event.name, port.Recorded()))


def on_line_wanted(state: State, event: events.LineWanted) -> None:
    """Have a process open its line to the bus; the bus says so again on each new link."""
    process = state.processes.get(event.pid)
    main = state.main_of(process) if process is not None else None
    if main is not None and not main.is_command and main.phase in ("opened", "ready"):  # a command opens its line by itself, or never
        state.do(effects.Tell(main.name, port.Listen()))


def on_note(state: State, event: events.NoteGiven) -> None:
    """A process states a fact."""
    process = _speaker(state, event.name)
    if process is not None:
        raw = bytes(event.note.data)
        wrong = flaw(raw, most=NOTE_BYTES)
        data = {"kind": event.note.kind[:NAME_MOST], "data": None if wrong else msgspec.msgpack.decode(raw)}
        if wrong:
            data["dropped"] = wrong
        state.tell_event("note", event.note.text[:TEXT_MOST], pid=process.pid, data=data)


def _speaker(state: State, name: str) -> Process | None:
    child = state.children.get(name)
    return state.processes.get(child.pid) if child is not None and child.role == "main" else None


def note_exit(state: State, process: Process, event: events.Exited) -> None:
    """Keep when a main ended."""
    process.exited_at = min(max(event.at, process.started_at), state.wall) if event.at else state.wall  # the wall clock may have been set


def note_victims(state: State, process: Process, event: events.Exited) -> None:
    """Keep whom the OOM killer had taken of what a main or a worker had started: a program that goes on without one of its own, or ends for its sake, says nothing of it."""
    process.oom_kills += event.oom_kills
    what = "a process" if process.oom_kills == 1 else f"{process.oom_kills} processes"
    process.oom_note = f"the OOM killer ended {what} that it had started, {event.oom_words}"
    state.changed(process)


def main_gone(state: State, child: Child, oom: str) -> None:
    """The main of a process ended: so does the process."""
    process = state.processes[child.pid]
    process.exit_how = child.exit_how
    process.exit_status = child.exit_status
    _tell_exit(state, process, child)
    may_return = not state.is_stopping and (
        process.desired == "restart"
        or restarts.policy_of(process.spec) != "never"
        or bool(process.spec.restart_codes)
        or restarts.goes_on(state, process)
    )
    state.do(effects.Discharge(process.pid, process.incarnation, may_return))
    if child.is_command:
        _command_gone(state, process, child, oom)
        return
    sharing.child_gone(state, child)
    clean = child.exit_how == CLD_EXITED and child.exit_status in process.spec.success_codes
    said = process.outcome_status
    if said == "completed" and (clean or child.intent == "lingering" or process.is_interrupted):
        begin_end(state, process, "completed", "completed", "")
    elif oom:
        begin_end(state, process, "failed", "oom", f"out of memory: {oom}")
    elif child.intent == "not ready":
        begin_end(state, process, "failed", *_too_late(state, process))
    elif child.intent in OUR_CAUSES:
        begin_end(state, process, "failed", OUR_CAUSES[child.intent], child.failure)
    elif process.desired != "up":
        begin_end(state, process, process.stop_as, f"{_exit_words(child)}, by {process.stop_reason}", "")
    elif child.failure:
        begin_end(state, process, "failed", "failed" if child.ready_at else "start failed", child.failure)
    elif said == "failed":
        begin_end(state, process, "failed", "failed", process.reason)
    elif clean:
        begin_end(state, process, "failed", f"exited {child.exit_status}", f"exited with {child.exit_status} and no outcome")
    else:
        words = _exit_words(child)
        how = ", not by us" if child.exit_how != CLD_EXITED else " after its outcome" if said else " without an outcome"
        begin_end(state, process, "failed", words, words + how)


def _tell_exit(state: State, process: Process, child: Child) -> None:
    """Say at once that a main is gone: the process has ended only when nothing is left of it, which may take its time."""
    code = child.exit_status if child.exit_how == CLD_EXITED else None
    data = {"incarnation": child.incarnation, "exit_code": code, "exit_signal": child.exit_status if child.exit_how > CLD_EXITED else None}
    state.tell_event("process.exited", f"{process.spec.name}: {_exit_words(child)}", pid=process.pid, data=data)


def _command_gone(state: State, process: Process, child: Child, oom: str) -> None:
    """The program of a service or tool ended."""
    words = _exit_words(child)
    if oom:
        begin_end(state, process, "failed", "oom", f"out of memory: {oom}")
    elif child.intent == "not ready":
        cause, why = _too_late(state, process)
        begin_end(state, process, "failed", cause, child.failure or why)
    elif child.intent in OUR_CAUSES:
        begin_end(state, process, "failed", OUR_CAUSES[child.intent], child.failure)
    elif process.is_interrupted and process.desired == "up":
        begin_end(state, process, "failed", "interrupted", child.failure)
    elif process.desired != "up":
        begin_end(state, process, process.stop_as, f"{words}, by {process.stop_reason}", "")
    elif child.failure:
        begin_end(state, process, "failed", "failed" if child.ready_at else "start failed", child.failure)
    elif child.exit_how == CLD_EXITED and child.exit_status in process.spec.success_codes:
        begin_end(state, process, "completed", words, "")
    else:
        begin_end(state, process, "failed", words, words + ("" if child.exit_how == CLD_EXITED else ", not by us"))


def _exit_words(child: Child) -> str:
    if child.exit_how == 0:
        return child.failure or "ended in a way that nobody saw"
    if child.exit_how == CLD_EXITED:
        return f"exited {child.exit_status}"
    return f"signal {child.exit_status} ({SIGNALS.get(child.exit_status, 'unnamed')})"
