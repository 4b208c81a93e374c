"""What reports about children do: each is looked up in LIFECYCLE, and who owns the child is told what it means for them.

A child is a version zygote, a main or a worker; all are forked, limited, opened, watched and buried in the same way. What differs is decided in
``processes`` (mains and zygotes) and ``threads`` (workers), which are called from here at the four moments that matter: opened, ready, failed, exited.
"""

from dadmsd.kernel.core import effects, events, processes, readiness, silence, workers
from dadmsd.kernel.core.kinds import Kind
from dadmsd.kernel.core.moves import give, step, violate
from dadmsd.kernel.core.records import Child, Process
from dadmsd.kernel.core.state import State

STRANGERS_TOLD = 60.0  # seconds between two events about strangers at one notify socket: they can speak as often as they like


def on_forked(state: State, event: events.Forked) -> None:
    """A child exists: its gate may open, unless its end was asked for meanwhile."""
    child = state.children.get(event.name)
    if child is None or child.phase != "forking":
        return
    silence.said(state, child.parent)
    child.os_pid = event.os_pid
    child.start_ticks = event.start_ticks
    step(state, child, "forked")
    if child.intent:
        step(state, child, "kill")
    else:
        give(state, child, state.settings.gate_timeout)


def on_fork_failed(state: State, event: events.ForkFailed) -> None:
    """No child was made."""
    child = state.children.get(event.name)
    if child is not None and step(state, child, "fork_failed"):
        silence.said(state, child.parent)
        child.failure = child.failure or event.reason[: processes.TEXT_MOST]
        _gone(state, child, begun=0, oom="")


def ask_again(state: State) -> None:
    """Have what a zygote was asked for and did not fork before it ended forked by the next one."""
    waiting: dict[tuple[int, Kind], None] = {}
    while state.orphaned:
        child = state.children.get(state.orphaned.pop())
        if child is None or not step(state, child, "fork_failed"):
            continue
        child.failure = "its zygote is gone"
        process = state.processes[child.pid]
        if child.role == "worker":
            child.intent = child.intent or "unforked"
            waiting[child.pid, child.kind] = None
        if child.role == "worker" or child.intent or process.forks_lost >= processes.FORKS_LOST_MOST:
            _gone(state, child, begun=0, oom="")
        else:
            state.do(effects.Bury(child.name))
            state.drop_child(child)
            processes.ask_again(state, process, child)
    for pid, kind in waiting:
        if not state.processes[pid].ending_as:
            workers.came_to_nothing(state, state.processes[pid], state.pools[pid], "its zygote is gone", [], kind=kind)


def on_parent_reported(state: State, event: events.ParentReported) -> None:
    """Ask a zygote again for the children that it should have made and has not.

    What this kernel asked for itself may still be on its way, and is not asked for twice: its port would be another one than the child's.
    """
    silence.said(state, event.name)
    for child in list(state.children.values()):
        if child.parent != event.name or child.phase != "forking" or child.name in event.children:
            continue
        if event.is_new or child.name in state.unconfirmed:
            state.unconfirmed.discard(child.name)
            state.do(effects.Fork(child.name, child.wire_role, child.parent, child.pid))


def on_gate_opened(state: State, event: events.GateOpened) -> None:
    """Limits are in force and the child knows who it is: it has so long to be ready."""
    child = state.children.get(event.name)
    if child is None or not step(state, child, "gate_opened"):
        return
    if child.role == "main":
        processes.main_opened(state, child, event)
        give(state, child, processes.left_to_be_ready(state, state.processes[child.pid]))
    elif child.role == "zygote":
        give(state, child, processes.import_timeout(state, child))
    elif child.role == "probe":
        give(state, child, state.processes[child.pid].spec.probe_timeout)
    else:
        processes.worker_opened(state, child, event)
        give(state, child, state.settings.ready_timeout)


def on_gate_shut(state: State, event: events.GateShut) -> None:
    """A limit could not be enforced: the child ends before it has run anything of the user's."""
    child = state.children.get(event.name)
    if child is not None and step(state, child, "gate_shut"):
        child.failure = event.reason


def on_zygote_ready(state: State, event: events.ZygoteReady) -> None:
    """A version zygote has its code: whoever waited for it is forked."""
    child = state.children.get(event.name)
    if child is not None and step(state, child, "ready"):
        child.topics = event.topics
        child.warnings = event.warnings
        child.seconds = event.seconds
        child.ready_at = state.wall
        if not child.pid:
            state.do(effects.MakeRoom(child.name))
        processes.zygote_ready(state, child)


def on_main_ready(state: State, event: events.MainReady) -> None:
    """The contract handshake."""
    child = state.children.get(event.name)
    if child is not None and step(state, child, "ready"):
        child.ready_at = state.wall
        processes.main_ready(state, child, event)


def on_executed(state: State, event: events.Executed) -> None:
    """The main of a command has become its program: where nothing else says that it is ready, this does."""
    child = state.children.get(event.name)
    if child is None or child.phase != "opened" or child.role != "main":
        return
    process = state.processes[child.pid]
    if not process.started_at:  # an earlier kernel may have found its port closed as well
        processes.main_executed(state, child)
    if readiness.mode_of(process) == "none":
        on_main_ready(state, events.MainReady(event.name, [], []))


def on_notified(state: State, event: events.Notified) -> None:
    """A process said something about itself."""
    child = state.children.get(event.name)
    if child is None or child.phase not in ("opened", "ready", "stopping"):
        return
    process = state.processes[child.pid]
    if not process.started_at:  # its port is found closed later in this turn: who can speak runs
        processes.main_executed(state, child)
    if readiness.take_word(state, child, event):
        on_main_ready(state, events.MainReady(event.name, [], []))


def on_notify_refused(state: State, event: events.NotifyRefused) -> None:
    """Somebody spoke in a process's name who does not belong to it: people are told, now and then, and nothing else happens."""
    child = state.children.get(event.name)
    if child is not None and abs(state.wall - child.stranger_told) >= STRANGERS_TOLD:
        child.stranger_told = state.wall
        state.changed(child)
        text = f"process {event.os_pid} spoke to the notify socket of {child.pid} and does not belong to it"
        state.tell_event("process.notify-refused", text, pid=child.pid, data={"os_pid": event.os_pid})


def on_worker_ready(state: State, event: events.WorkerReady) -> None:
    """A worker waits for threads."""
    child = state.children.get(event.name)
    if child is not None and step(state, child, "ready"):
        child.ready_at = state.wall
        workers.worker_ready(state, child)


def on_failed(state: State, event: events.ChildFailed) -> None:
    """A child said why it is about to exit."""
    child = state.children.get(event.name)
    if child is not None and not child.failure:
        child.failure = event.reason[: processes.TEXT_MOST]
        state.changed(child)


def on_violation(state: State, event: events.PortViolated) -> None:
    """A child that breaks the protocol is ended."""
    child = state.children.get(event.name)
    if child is not None:
        violate(state, child, event.reason)


def on_exited(state: State, event: events.Exited) -> None:
    """A child ended."""
    child = state.children.get(event.name)
    if child is None:
        state.do(effects.Bury(event.name))  # its row is gone, its zygote did not hear so
        return
    silence.said(state, child.parent)
    step(state, child, "exited")
    child.exit_how = event.how
    child.exit_status = event.status
    process = state.processes.get(child.pid)
    if (
        process is not None and child.role != "zygote"
    ):  # what a zygote used has its children in it; where there are cgroups, they know better
        _count(state, process, event)
    if process is not None and child.role == "main":
        processes.note_exit(state, process, event)
    if process is not None and event.oom_kills:
        processes.note_victims(state, process, event)
    _gone(state, child, begun=event.begun, oom=event.oom)


def _count(state: State, process: Process, event: events.Exited) -> None:
    """Add what a child used to what its process did; a row is written only where that is something."""
    if event.cpu_seconds or event.memory_peak > process.memory_peak:
        process.cpu_seconds += event.cpu_seconds
        process.memory_peak = max(process.memory_peak, event.memory_peak)
        state.changed(process)


def _gone(state: State, child: Child, *, begun: int, oom: str) -> None:
    """Bury a child and tell whom it concerns. The end of a main is waited for: it is told before anybody is woken to clear away."""
    state.drop_child(child)
    if child.role == "main":
        processes.main_gone(state, child, oom)
        state.do(effects.Bury(child.name))
        return
    state.do(effects.Bury(child.name))
    if child.role == "zygote":
        silence.forget(state, child.name)
        why = processes.zygote_gone(state, child, oom)
        if why:
            workers.import_failed(state, child, why)
    elif child.role == "probe":
        if readiness.probe_gone(state, child):
            on_main_ready(state, events.MainReady(f"{child.pid}.{child.incarnation}", [], []))
    else:
        workers.worker_gone(state, child, begun=begun, oom=oom)


def on_deadline(state: State, name: str) -> None:
    """A child has used up the time of its phase."""
    child = state.children.get(name)
    if child is None or child.deadline is None:
        return  # the timer was armed for an earlier phase, or its process is suspended
    if child.deadline > state.now:
        state.arm(child.deadline, "child", name)
        return
    if child.phase == "forking":
        on_fork_failed(state, events.ForkFailed(name, f"its zygote did not fork it within {state.settings.gate_timeout:g} s"))
        return
    if child.role == "main" and state.processes[child.pid].outcome_status:
        child.intent = child.intent or "lingering"  # its outcome stands; what keeps it from exiting is its own affair
    elif child.role == "main" and child.is_command and child.phase == "opened" and not child.intent:
        readiness.on_not_ready(state, state.processes[child.pid])
        return
    elif child.phase in ("opened", "gated"):
        child.intent = child.intent or "not ready"
    step(state, child, "deadline")
    if child.role == "main" and child.phase == "killing":
        state.do(effects.KillGroup(child.pid))
