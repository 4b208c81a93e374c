"""The moves of a child and of a process: the only places where its phase or its status changes, and what is done on entering a phase.

The table is in ``lifecycle``; who decides to move is in ``children`` (reports), ``processes`` and ``threads``.
"""

from dadmsd.kernel.core import effects
from dadmsd.kernel.core.lifecycle import IGNORE, LIFECYCLE, PROCESS_LIFECYCLE, SIGKILL, THE_END
from dadmsd.kernel.core.records import Child, Process
from dadmsd.kernel.core.state import State

ASKED, FROZEN = "asked", "frozen"  # of Child.freeze


def step(state: State, child: Child, stimulus: str) -> bool:
    """Move a child along the table; False when the report lost a race and changes nothing."""
    phase = LIFECYCLE[child.phase][stimulus]
    if phase == IGNORE:
        return False
    child.phase = phase
    child.deadline = None
    child.left = None
    state.changed(child)
    if phase == "gated" and not child.intent:  # one that is to end runs nothing
        state.do(effects.OpenGate(child.name))
    elif phase == "stopping":
        state.do(effects.Signal(child.name, child.stop_signal))
        if child.is_command and child.role == "main":  # it is a tree of programs, each of which may have something to put in order
            state.do(effects.SignalGroup(child.pid, child.stop_signal, child.name))
    elif phase == "killing":
        state.expect_word(child.parent)
        state.do(effects.Signal(child.name, SIGKILL))
        if child.freeze:  # in a v1 freezer, not even SIGKILL ends what stands still
            thaw(state, child)
    return True


def enter(state: State, process: Process, stimulus: str) -> bool:
    """Move a process along its table; False when the stimulus means nothing to it now."""
    status = PROCESS_LIFECYCLE[process.status][stimulus]
    if status == IGNORE:
        return False
    process.status = process.ending_as if status == THE_END else status
    state.has_shifted = True
    state.changed(process)
    return True


def freeze(state: State, child: Child) -> None:
    """Have a worker stand still, so that it can be said what it has begun."""
    if child.phase == "ready" and not child.freeze:
        child.freeze = ASKED
        child.has_stood = True
        state.changed(child)
        state.do(effects.FreezeWorker(child.name))


def thaw(state: State, child: Child) -> None:
    """Let a worker go on."""
    child.freeze = ""
    state.changed(child)
    state.do(effects.ThawWorker(child.name))


def give(state: State, child: Child, seconds: float) -> None:
    """Give a child so long for the phase it is in."""
    child.deadline = state.now + seconds
    state.arm(child.deadline, "child", child.name)


def make(state: State, child: Child) -> None:
    """Take a new child in and have it forked."""
    state.add_child(child)
    state.do(effects.Fork(child.name, child.wire_role, child.parent, child.pid))
    give(state, child, state.settings.gate_timeout)
    state.expect_word(child.parent)


def violate(state: State, child: Child, reason: str) -> None:
    """Have a child ended that broke the protocol: nothing that it says can be trusted."""
    child.failure = child.failure or f"broke the protocol: {reason}"
    state.changed(child)
    end(state, child, "violation")


def end(state: State, child: Child, intent: str, *, tid: int = 0, grace: float = 0.0) -> None:
    """Have a child ended: at once, or by SIGTERM with ``grace`` seconds before SIGKILL."""
    if not child.intent:
        child.intent = intent
        child.intent_tid = tid
        state.changed(child)
        if child.phase == "forking":
            state.expect_word(child.parent)
    if step(state, child, "stop" if grace > 0.0 else "kill") and child.phase == "stopping":
        give(state, child, grace)
