"""When a process is ready, and whether it still lives: its contract, its own word (sd_notify), or what a probe of it says.

1. Ready: an orchestrator by its handshake; a command as its spec says: "none" when it has become its program, "notify" with READY=1, "exec" when the ready command exits with 0.
2. Alive: with ``watchdog``, a message at least so often; with a live command, that it exits with 0, but for fewer than ``live_threshold`` times in a row. One that is not is ended, and
   what follows is the policy's affair.
3. A probe is a child of its process: its user, its cgroup, its limits. There is one at a time, and it has ``probe_timeout``.
4. Who is suspended is not asked: clocks stand still.
"""

import hmac

from dadms_ipc.requests import Spec
from dadmsd.kernel.core import events, timeouts
from dadmsd.kernel.core.clocks import is_due, start_clock, stop_clock
from dadmsd.kernel.core.ending import settle, stop
from dadmsd.kernel.core.moves import end, give, make
from dadmsd.kernel.core.records import Child, Process
from dadmsd.kernel.core.state import State

STATUS_MOST = 200  # characters of what a process says about itself
EXTENSION_MOST = 3600.0  # seconds that a process may ask for at once, to become ready
CLD_EXITED = 1  # si_code of waitid(2)


def mode_of(process: Process) -> str:
    """Give what says that a process is ready: "contract", "none", "notify" or "exec"."""
    return "contract" if process.spec.kind == "orchestrator" else process.spec.ready or "none"


def run_timeout(state: State, process: Process) -> float:
    """Give the seconds that an incarnation may run; 0.0 is without an end."""
    asked = process.spec.run_timeout
    if asked is None:
        return state.settings.ready_timeout if process.spec.kind == "tool" else 0.0
    return asked


def begin_run(state: State, process: Process) -> None:
    """The program of a process runs: its time is counted from now on."""
    seconds = run_timeout(state, process)
    if seconds and "run" not in process.clocks:
        start_clock(state, process, "run", seconds)
    if mode_of(process) == "exec" and not process.ready_at:
        start_clock(state, process, "probe", 0.0)
    if process.spec.watchdog and "watchdog" not in process.clocks and mode_of(process) == "none":
        start_clock(state, process, "watchdog", process.spec.watchdog)


def begin_ready(state: State, process: Process) -> None:
    """A process is ready: it is watched from now on."""
    spec = process.spec
    if spec.watchdog:
        start_clock(state, process, "watchdog", spec.watchdog)
    if spec.live_command:
        start_clock(state, process, "probe", spec.live_interval)
    else:
        stop_clock(state, process, "probe")
    if spec.max_age is not None:
        drawn = hmac.digest(state.settings.instance_key, f"age {process.pid}.{process.incarnation}".encode(), "sha256")
        jitter = spec.max_age_jitter * int.from_bytes(drawn[:4], "big") / 2**32
        start_clock(state, process, "age", spec.max_age * (1.0 + jitter))


def on_beat(state: State, event: events.Beaten) -> None:
    """A process says that it lives."""
    child = state.children.get(event.name)
    if child is not None and child.role == "main":
        _beat(state, state.processes[child.pid])


def _beat(state: State, process: Process) -> None:
    if process.spec.watchdog and "watchdog" in process.clocks:
        start_clock(state, process, "watchdog", process.spec.watchdog)


def take_word(state: State, child: Child, event: events.Notified) -> bool:
    """Take in what a process says about itself; True when it says for the first time that it is ready."""
    process = state.processes[child.pid]
    if event.status is not None and event.status[:STATUS_MOST] != process.said:
        process.said = event.status[:STATUS_MOST]
        state.changed(process)
    if event.extension and child.phase == "opened":
        _extend(state, child, min(EXTENSION_MOST, event.extension))
    if event.is_stopping and not child.is_leaving:  # said over and over it would push everybody's events out of the table
        child.is_leaving = True
        state.changed(child)
        state.tell_event("process.leaving", f"{process.spec.name} says that it is ending", pid=process.pid)
    if event.is_alive:
        _beat(state, process)
    return event.is_ready and mode_of(process) == "notify" and child.phase == "opened"


def _extend(state: State, child: Child, seconds: float) -> None:
    """Let a process have so long from now on to become ready, and never less than it has."""
    if child.left is not None:  # it stands still
        child.left = max(child.left, seconds)
    elif child.deadline is not None and child.deadline < state.now + seconds:
        give(state, child, seconds)
    state.changed(child)


# what is due


def why_unready(process: Process) -> str:
    """Say what a command that is not ready has been waited for."""
    if mode_of(process) != "exec":
        return "it did not say READY=1" if mode_of(process) == "notify" else "its program did not begin"
    return probe_words(process) or "its ready command has not ended"


def probe_words(process: Process) -> str:
    """Say what the ready command last said of a process that is not ready; "" before it said anything."""
    if not process.unready or process.ready_at:
        return ""
    times = "once" if process.probes_made == 1 else f"{process.probes_made} times"
    return f"its ready command was asked {times}, the last time: {process.unready}"


def on_not_ready(state: State, process: Process) -> None:
    """A command has not become ready in time: its program runs, and may put things in order."""
    seconds = state.settings.ready_timeout if process.spec.ready_timeout is None else process.spec.ready_timeout
    _fail(state, process, "not ready", f"not ready in {timeouts.ready_words(state, seconds)}: {why_unready(process)}")


def _fail(state: State, process: Process, intent: str, text: str) -> None:
    main = state.main_of(process)
    if main is None or process.status not in ("starting", "running"):
        return
    state.tell_event(f"process.{intent.replace(' ', '-')}", text, pid=process.pid)
    main.failure = main.failure or text
    end(state, main, intent, grace=process.spec.stop_timeout)


def on_run_over(state: State, pid: str) -> None:
    """A process has used up its time."""
    process = is_due(state, pid, "run")
    if process is not None:
        _fail(state, process, "timed out", f"did not end within {timeouts.run_words(state, process, run_timeout(state, process))}")


def on_watchdog(state: State, pid: str) -> None:
    """A process has not said in time that it lives."""
    process = is_due(state, pid, "watchdog")
    if process is not None:
        _fail(state, process, "watchdog", f"did not say within {process.spec.watchdog:g} s that it lives")


def on_age(state: State, pid: str) -> None:
    """A process is so old that it is to be replaced by its next incarnation."""
    process = is_due(state, pid, "age")
    if process is not None and process.status == "running":
        stop(state, process, f"its age of {process.spec.max_age:g} s", force=False, into="stopped", again=True)


def on_probe_due(state: State, pid: str) -> None:
    """A process is to be asked how it is."""
    process = is_due(state, pid, "probe")
    main = state.main_of(process) if process is not None else None
    if process is None or main is None or main.phase not in ("opened", "ready"):
        return
    if any(child.role == "probe" for child in state.owned(process.pid)):
        return  # its end asks for the next one
    process.probes_made += 1
    state.changed(process)
    make(
        state,
        Child(
            name=f"{process.pid}.{process.incarnation}/p{process.probes_made}",
            role="probe",
            parent="base",
            pid=process.pid,
            incarnation=process.incarnation,
            number=process.probes_made,
            key="live" if main.phase == "ready" else "ready",
            uid=process.uid,
            is_command=True,
        ),
    )


def probe_gone(state: State, child: Child) -> bool:
    """A probe ended; True when its process is ready by it."""
    process = state.processes[child.pid]
    main = state.main_of(process)
    if process.ending_as or main is None or main.phase not in ("opened", "ready"):
        settle(state, process)
        return False
    is_well = child.exit_how == CLD_EXITED and child.exit_status == 0 and not child.intent and not child.failure
    if main.phase == "opened":
        if is_well:
            return True
        process.unready = child.failure or _words(process, child)
        state.changed(process)
        start_clock(state, process, "probe", process.spec.ready_interval)
        return False
    if process.spec.live_command:
        start_clock(state, process, "probe", process.spec.live_interval)
    if child.key != "live":
        return False
    process.probe_failures = 0 if is_well else process.probe_failures + 1
    state.changed(process)
    if not is_well:
        words = child.failure or _words(process, child)
        most = process.spec.live_threshold
        if process.probe_failures >= most:
            _fail(state, process, "unhealthy", f"its live command failed {process.probe_failures} times in a row, the last time: {words}")
        else:
            text = f"the live command of {process.spec.name} failed ({process.probe_failures} of {most}): {words}"
            state.tell_event("process.probe-failed", text, pid=process.pid)
    return False


def _words(process: Process, child: Child) -> str:
    if child.intent:
        return f"it did not end within {timeouts.words(process.spec.probe_timeout, 'probe_timeout', Spec('').probe_timeout)}"
    return f"exited {child.exit_status}" if child.exit_how == CLD_EXITED else f"signal {child.exit_status}"
