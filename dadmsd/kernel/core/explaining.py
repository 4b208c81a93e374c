"""Why a process is as it is, in sentences: what it waits for and until when, what it would take, and how it came to this."""

from dadms_ipc.requests import Explanation, LifeInfo
from dadmsd.kernel.core import dependencies, readiness, restarts
from dadmsd.kernel.core.durations import duration
from dadmsd.kernel.core.lifecycle import ENDED
from dadmsd.kernel.core.lives import HAS_ENDED
from dadmsd.kernel.core.records import Child, Life, Process
from dadmsd.kernel.core.state import State

LIVES_SHOWN = 10
EVENTS_SHOWN = 20
FLIGHT_SHOWN = 200
WORDS = {2: "SIGINT", 15: "SIGTERM"}


def life_info(life: Life) -> LifeInfo:
    """Show an incarnation that ended."""
    return LifeInfo(
        pid=life.pid,
        incarnation=life.incarnation,
        name=life.name,
        uid=life.uid,
        status=life.status,
        cause=life.cause,
        reason=life.reason,
        begun_at=life.begun_at,
        started_at=life.started_at,
        ready_at=life.ready_at,
        ended_at=life.ended_at,
        exit_code=life.exit_status if life.exit_how == restarts.CLD_EXITED else None,
        exit_signal=life.exit_status if life.exit_how > restarts.CLD_EXITED else None,
        memory_peak=life.memory_peak,
        cpu_seconds=life.cpu_seconds,
        oom_kills=life.oom_kills,
        exited_at=life.exited_at,
    )


def lives_of(state: State, pid: int | None, limit: int) -> list[LifeInfo]:
    """Give the newest lives, of one process or of all, in the order of their ends."""
    found: list[LifeInfo] = []
    for life in reversed(state.lives):
        if pid is None or life.pid == pid:
            found.append(life_info(life))
            if len(found) >= limit:
                break
    return found[::-1]


def explain(state: State, pid: int) -> Explanation | None:
    """Explain a process, also one that has left the table; None when there never was one, or nothing is known of it any more."""
    process = state.processes.get(pid)
    lives = lives_of(state, pid, LIVES_SHOWN)
    if process is None and not lives:
        return None
    told = [info for info in state.events if info.pid == pid][-EVENTS_SHOWN:]
    flight = [entry for entry in state.flight if entry.subject.partition(".")[0].partition("/")[0] == str(pid)][-FLIGHT_SHOWN:]
    if process is None:
        last = lives[-1]
        sentences = [_end_words(last.status, last.reason or last.cause), "it has left the table; its lives are in the history"]
        return Explanation(pid, last.name, last.status, "down", sentences, lives, told, flight)
    spec = process.spec
    return Explanation(pid, spec.name, process.status, process.desired, _sentences(state, process), lives, told, flight, spec.kind)


def _sentences(state: State, process: Process) -> list[str]:
    if process.status in ENDED:
        return [*_ended(state, process), *_resources(process)]
    found = {
        "admitted": _admitted,
        "waiting": dependencies.unmet,
        "starting": _starting,
        "running": _running,
        "stopping": stopping,
        "backoff": _backoff,
    }[process.status](state, process)
    if process.suspension:
        found.insert(0, f"it is suspended ({process.suspension}), and so is its time; dadmsctl resume {process.pid} lets it go on")
    return [*found, *_resources(process)]


def _resources(process: Process) -> list[str]:
    return [f"warning: {warning}" for warning in process.warnings]


def _ended(state: State, process: Process) -> list[str]:
    spec = process.spec
    found = [_end_words(process.status, process.reason or process.cause)]
    if process.cause == "start limit":
        starts = "1 start" if spec.start_limit == 1 else f"{spec.start_limit} starts"
        found.append(f"its limit is {starts} within {spec.start_limit_seconds:g} s (start_limit)")
    elif process.desired == "down":
        found.append(f"it is not to run: {process.stop_reason or 'somebody asked for its end'}")
    elif process.cause == "start failed":
        found.append("its program never ran, so there is nothing to bring back")
    else:
        found.append(f"it is not started again: {_final(state, process)}")
    if process.resume:
        found.append("it was up when the daemon was ended; the next daemon starts it")
    elif not state.is_stopping:
        found.append(f"dadmsctl start {process.pid} starts it")
    return found


def _end_words(status: str, why: str) -> str:
    """Say how an end came; one that is as it should be has no reason beside it."""
    return f"it {HAS_ENDED[status]}" + (f": {why}" if why not in ("", status) else "")


def _final(state: State, process: Process) -> str:
    """Say why an end is one for good: the rule of restarts.py that decided so."""
    spec = process.spec
    if process.exit_how == restarts.CLD_EXITED and process.exit_status in spec.final_codes:
        return f"{process.exit_status} is a final code"
    if restarts.goes_on(state, process):
        return (
            f"it went on from the same checkpoint {process.resumed} times, at most {restarts.RESUMES_MOST} are tried"
            if process.resumed
            else ("it has a checkpoint, from which it goes on when it is lost; this was no loss")
        )
    if process.outcome_status and not spec.restart:
        return "it has given its outcome"
    return f'its policy is "{restarts.policy_of(spec)}"'


def _admitted(state: State, process: Process) -> list[str]:
    found = []
    for child in state.children.values():
        if child.role == "zygote" and child.phase != "ready" and child.uid == process.uid and child.pid in (0, process.pid):
            found.append(f"its code is being imported by {child.name} ({_left(state, child)})")
    return found or ["it is about to be forked"]


def _left(state: State, child: Child) -> str:
    return f"{duration(child.deadline - state.now)} left" if child.deadline is not None else "without a time limit"


def _starting(state: State, process: Process) -> list[str]:
    main = state.main_of(process)
    if main is None:
        return ["its main is about to be forked"]
    left = _left(state, main)
    if main.phase == "forking":
        return [f"{main.parent} was asked to fork it ({left})"]
    if main.phase == "gated":
        return [f"OS process {main.os_pid} waits at its gate until its limits are in force ({left})"]
    mode = readiness.mode_of(process)
    waits = {
        "contract": "shakes hands",
        "none": "becomes its program",
        "notify": "says READY=1 on its notify socket",
        "exec": f"is ready by its ready command, {' '.join(process.spec.ready_command)}",
    }[mode]
    said = f'; it says "{process.said}"' if process.said else ""
    asked = readiness.probe_words(process)
    return [f"OS process {main.os_pid} runs, and is waited for until it {waits} ({left}){said}", *([asked] if asked else [])]


def _running(state: State, process: Process) -> list[str]:
    found = [f"it has been ready for {duration(state.wall - process.ready_at)}" + (f'; it says "{process.said}"' if process.said else "")]
    names = {
        "run": "its time is over",
        "watchdog": "it must have said that it lives",
        "age": "it is replaced by its next incarnation",
        "probe": "its live command is asked",
    }
    found += [f"in {duration(at - state.now)} {names[kind]}" for kind, at in sorted(process.clocks.items()) if kind in names]
    if process.probe_failures:
        found.append(f"its live command failed {process.probe_failures} of {process.spec.live_threshold} times")
    return [*found, *_held(state, process)]


def _held(state: State, process: Process) -> list[str]:
    if process.pid not in state.held:
        return []
    return [f'ends after "{each.spec.name}" ({each.pid}), which depends on it' for each in dependencies.holders(state, process)]


def stopping(state: State, process: Process) -> list[str]:
    """Say what the end of a process waits for."""
    held = _held(state, process)
    if held:
        return held
    main = state.main_of(process)
    found = []
    if main is not None and main.phase == "stopping":
        name = WORDS.get(main.stop_signal, f"signal {main.stop_signal}")
        found.append(
            f"OS process {main.os_pid} was sent {name}, and has {duration((main.deadline or state.now) - state.now)} until SIGKILL"
        )
    elif main is not None:
        found.append(f"OS process {main.os_pid} was sent SIGKILL, and has not ended")
    others = [child.name for child in state.owned(process.pid) if child is not main]
    if others:
        found.append(f"{len(others)} others of it are being ended: {', '.join(others[:5])}")
    if main is None and not others:
        left = process.clocks.get("grace", 0.0) - state.now
        found.append(
            "its main has ended; if something that it started lives on, it "
            + (f"gets SIGKILL in {duration(left)}" if left > 0 else "was sent SIGKILL")
        )
    return found


def _backoff(state: State, process: Process) -> list[str]:
    spec = process.spec
    pause = process.clocks.get("backoff", state.now) - state.now
    counted = [at for at in process.starts if at > state.now - spec.start_limit_seconds]
    found = [
        f"its incarnation {process.incarnation} ended: {process.reason or process.cause}",
        f"the next one is started in {duration(pause)}",
    ]
    if spec.start_limit:
        found.append(f"{len(counted)} of {spec.start_limit} starts within {spec.start_limit_seconds:g} s are used up")
    return found
