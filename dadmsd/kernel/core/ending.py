"""The end of an incarnation: asked for or not, it takes the whole tree, and is over when nothing is left.

1. It begins when its main is gone or its end was asked for, and is over when nothing is left: no worker, no zygote of its own, no cgroup. Only then is the status
   final, or the next incarnation due; what a process that has ended had reserved is free.
2. Asked for, it is the stop signal first, for a command to its whole tree; then the grace; then SIGKILL to the whole group. What a command's main leaves behind by
   ending has what is left of the grace; where nobody asked for the end, it is killed at once.
3. What depends on a process ends before it, where both are to end; else no end waits for another's.
4. Who is suspended goes on, to end.
"""

from dadms_ipc import port
from dadmsd.kernel.core import checkpoints, dependencies, effects, events, keys, restarts, sharing
from dadmsd.kernel.core.clocks import start_clock, stop_clock
from dadmsd.kernel.core.lifecycle import ENDED
from dadmsd.kernel.core.moves import end, enter
from dadmsd.kernel.core.records import Process
from dadmsd.kernel.core.state import State
from dadmsd.kernel.core.suspension import resume


def stop(
    state: State, process: Process, reason: str, *, force: bool, into: str = "killed", again: bool = False, is_first: bool = False
) -> None:
    """Have a process ended, tree and all; ``into`` is the status that this comes to, ``again`` has it started anew, ``is_first`` leaves the deed to ``proceed``."""
    if process.status in ENDED:
        return
    state.has_shifted = True
    desired = "restart" if again else "down"
    if process.desired != desired:
        process.stop_reason = reason
        process.stop_as = into
        process.desired = desired
        state.changed(process)
        text = f"{process.spec.name} is {'restarted' if again else 'stopped'} by {reason}"
        state.tell_event("process.stopping", text, pid=process.pid, data={"reason": reason, "force": force})
    if not is_first:
        proceed(state, process, force=force)


def outdo(state: State, process: Process, reason: str, *, force: bool) -> None:
    """A kill of one that is ending, or was stopped, counts for more than what was asked before: it is for good, and a SIGKILL by it is its own."""
    data = {"reason": reason, "force": force}
    if process.status in ENDED:
        if enter(state, process, "kill"):
            process.resume = False
            lapse(state, process)
            state.tell_event("process.killed", f"{process.spec.name}, which was stopped, is killed by {reason}", pid=process.pid, data=data)
            state.arm(state.now + state.settings.cleanup_interval, "cleanup", "")
        return
    main = state.main_of(process)
    is_milder = process.stop_as != "killed" or (force and main is not None and main.phase == "stopping")
    if process.desired == "down" and is_milder and process.stop_reason != reason:
        process.stop_reason = reason
        state.tell_event("process.stopping", f"{process.spec.name} is killed by {reason}", pid=process.pid, data=data)
    process.stop_as = "killed"
    process.resume = False
    if process.ending_as == "stopped":
        process.ending_as = "killed"
    state.changed(process)


def stop_all(state: State, chosen: list[Process], reason: str, *, force: bool = False) -> None:
    """Have several ended, in the order of what depends on what; those that are to run again some day are marked as such by ``resume``."""
    for process in chosen:
        stop(state, process, reason, force=force, into="stopped" if process.resume else "killed", is_first=True)
    for process in chosen:
        if process.status not in ENDED:
            proceed(state, process, force=force)


def proceed(state: State, process: Process, *, force: bool) -> None:
    """Go on with an end that was asked for, unless something that depends on the process has to end first."""
    if not force and process.status in dependencies.HAS_TREE and not process.ending_as and dependencies.holders(state, process):
        state.held[process.pid] = None
        return
    state.held.pop(process.pid, None)
    reason = process.stop_reason
    main = state.main_of(process)
    if main is not None:
        grace = 0.0 if force else process.spec.stop_timeout
        if main.phase in ("opened", "ready") and not force and not main.is_command:
            state.do(effects.Tell(main.name, port.Stop(reason, grace)))
        enter(state, process, "end")
        if main.phase not in ("stopping", "killing"):
            start_clock(state, process, "grace", grace)
        end(state, main, "stop", grace=grace)
        _end_watch(state, process)
        if force:
            stop_clock(state, process, "grace")
            state.do(effects.KillGroup(process.pid))
    elif process.status == "backoff" or not process.ending_as:
        is_fresh = process.status != "backoff"
        begin_end(
            state, process, process.stop_as, f"{'killed before its start' if is_fresh else 'stopped in its backoff'}, by {reason}", ""
        )
    elif force:
        stop_clock(state, process, "grace")
        state.do(effects.KillGroup(process.pid))


def begin_end(state: State, process: Process, status: str, cause: str, reason: str) -> None:
    """Settle how an incarnation ended, and end what is left of it."""
    process.ending_as = status
    process.cause = cause
    process.reason = reason or process.reason
    if process.oom_note:
        process.reason = f"{process.reason or cause}; {process.oom_note}"
    enter(state, process, "end")
    _end_watch(state, process)
    state.changed(process)
    for child in state.owned(process.pid):
        if child.role in ("worker", "probe"):
            end(state, child, "process ended")
    settle(state, process)


def _end_watch(state: State, process: Process) -> None:
    """Nothing is due for the incarnation any more but its end, and it does not stand still."""
    for kind in ("run", "probe", "watchdog", "age"):
        stop_clock(state, process, kind)
    if process.suspension:
        resume(state, process, "its end")
        for kind in ("run", "probe", "watchdog", "age"):
            stop_clock(state, process, kind)


def settle(state: State, process: Process) -> None:
    """Go on with the end of an incarnation: workers first, then its zygote (their parent), then the cgroup."""
    if not process.ending_as or process.status != "stopping":
        return
    left = state.owned(process.pid)
    if any(child.role != "zygote" for child in left):
        return
    for child in left:
        end(state, child, "unused")
    if not left:
        patience = process.clocks.get("grace", 0.0) if process.spec.kind != "orchestrator" and process.desired != "up" else 0.0
        state.do(effects.ClearGroup(process.pid, process.incarnation, patience))


def on_grace_over(state: State, pid: str) -> None:
    """What is left of a process after its grace is killed by the one who clears its group."""
    process = state.processes.get(int(pid))
    if process is not None and process.clocks.get("grace", state.now) <= state.now:
        stop_clock(state, process, "grace")


def forget_oldest(state: State) -> None:
    """Let those that ended first leave the table, when more have ended than are kept: as soon as their ends could be seen, or nobody else has room."""
    settings = state.settings
    most = settings.ended_kept + settings.max_processes
    if len(state.ended) <= settings.ended_kept or (state.now < state.forget_at and len(state.ended) <= most):
        return
    for pid in [pid for pid in state.ended if not state.processes[pid].definition][: len(state.ended) - settings.ended_kept]:
        left = state.processes[pid].ended_at + settings.ended_least - state.wall
        if left > 0 and len(state.ended) <= most:
            state.forget_at = state.now + min(left, settings.ended_least)  # the wall clock may have been set back
            return
        forget(state, pid)


def on_cleanup(state: State, _key: str) -> None:
    """Let those that ended long enough ago leave the table, and look again in a while."""
    for pid in list(state.ended):
        if state.processes[pid].ended_at + state.settings.retention > state.wall:
            break  # in the order of their ends
        if not state.processes[pid].is_kept:
            forget(state, pid)
    if any(not state.processes[pid].is_kept for pid in state.ended):
        state.arm(state.now + state.settings.cleanup_interval, "cleanup", "")


def forget(state: State, pid: int) -> None:
    """Let a process that has ended leave the table; its lives stay in the history."""
    del state.ended[pid]
    checkpoints.drop(state, state.processes[pid])
    state.deleted(state.processes.pop(pid))
    state.ordered.pop(pid, None)
    for results in state.results.pop(pid, []):
        state.deleted(results)
    sharing.forget(state, pid)
    keys.forget(state, pid)
    state.do(effects.DropArtifacts(pid))


def lapse(state: State, process: Process) -> None:
    """Forget what the next incarnation of a process would go on from, where none is meant to come."""
    if process.status == "killed":
        checkpoints.drop(state, process)
    if process.status in ("killed", "completed"):
        keys.forget(state, process.pid)


def on_group_gone(state: State, event: events.GroupGone) -> None:
    """Nothing is left of an incarnation: the next one is due, or its end is final and what it had reserved is free."""
    process = state.processes.get(event.pid)
    if process is None or not process.ending_as or process.status != "stopping" or event.incarnation not in (0, process.incarnation):
        return
    if event.is_counted and process.spec.kind != "orchestrator":
        process.memory_peak = event.memory_peak  # getrusage(2) of a program begins at what its zygote held before execve(2)
    else:
        process.memory_peak = max(process.memory_peak, event.memory_peak)
    process.cpu_seconds = max(process.cpu_seconds, event.cpu_seconds)
    stop_clock(state, process, "grace")
    state.just_ended.append(process.pid)
    is_again = restarts.follow(state, process)
    restarts.record_life(state, process)
    if is_again:
        _await_next(state, process)
        return
    enter(state, process, "over")
    state.do(effects.Discharge(process.pid, process.incarnation))  # messages waited for what would follow
    for kind in list(process.clocks):
        stop_clock(state, process, kind)
    lapse(state, process)
    state.ended[process.pid] = None
    state.arm(state.now + state.settings.cleanup_interval, "cleanup", "")
    process.ended_at = state.wall
    state.ledger.give_back(process.pid)
    state.changed(process)
    data = {"status": process.status, "cause": process.cause, "reason": process.reason, "seconds": process.ended_at - process.created_at}
    text = f"{process.spec.name} {process.status}" + (f": {process.reason or process.cause}" if process.status != "completed" else "")
    state.tell_event("process.ended", text, pid=process.pid, data=data)
    for other in restarts.escalate(state, process):
        stop(state, other, f'the start limit of "{process.spec.name}" ({process.pid})', force=False)
    if process.status != "completed":
        stop_dependents(state, process)


def stop_dependents(state: State, process: Process) -> None:
    """Have what requires a process end, to wait until it is there again."""
    for other in dependencies.dependents(state, process):
        if other.status in dependencies.HAS_TREE and other.desired == "up" and not other.ending_as:
            reason = f'the end of "{process.spec.name}" ({process.pid}), which it requires'
            stop(state, other, reason, force=False, into="stopped", again=True)
        elif other.status == "waiting":
            tell_wait(state, other)


def tell_wait(state: State, process: Process) -> None:
    """Say what a process waits for, when it begins to and when there is news of it."""
    missing = dependencies.unmet(state, process)
    data = {"waits_for": missing, "is_stuck": dependencies.stuck_on(state, process) is not None}
    state.tell_event("process.waiting", f"{process.spec.name} {'; '.join(missing)}", pid=process.pid, data=data)


def _await_next(state: State, process: Process) -> None:
    enter(state, process, "again")
    pause = max(0.0, process.clocks.get("backoff", state.now) - state.now)
    words = process.reason or process.cause
    text = f"{process.spec.name} ended ({words}) and is started again" + (f" in {pause:.3g} s" if pause else "")
    data = {"status": process.ending_as, "cause": process.cause, "reason": process.reason, "pause": pause, "failures": process.failures}
    state.tell_event("process.backoff", text, pid=process.pid, data=data)
