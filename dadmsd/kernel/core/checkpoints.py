"""Checkpoints: from where the next incarnation of an orchestrator goes on when this one is lost.

1. A process has one, its newest; it is a row of the turn in which it came, and what its process says after it is not read before. What is in it is the orchestrator's business.
2. It is given at the gate of every later incarnation, after the end of the main, of the daemon or of the machine, until the process has given an outcome, was killed for good, or leaves the table.
3. With a checkpoint, and where its spec names no policy, a process that was lost is started again (``restarts``): by a reboot, the end of the daemon, a signal that nobody here sent, a lack of
   memory, a watchdog. RESUMES_MOST times in a row; a new checkpoint begins the count anew.
"""

from dadms_ipc import port
from dadms_ipc.port import CHECKPOINT_BYTES
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.records import Checkpoint, Process
from dadmsd.kernel.core.state import State


def on_given(state: State, event: events.CheckpointGiven) -> None:
    """A process says from where its next incarnation is to go on."""
    child = state.children.get(event.name)
    process = state.processes.get(child.pid) if child is not None and child.role == "main" else None
    if child is None or process is None or child.incarnation != process.incarnation:
        return
    size = len(event.value)
    if size > CHECKPOINT_BYTES:
        reason = f"cannot keep a checkpoint of {size} bytes: at most {CHECKPOINT_BYTES} are kept"
    elif process.outcome_status:
        reason = "cannot keep a checkpoint: the process has given its outcome"
    else:
        reason = ""
        known = state.checkpoints.get(process.pid)
        if known is None or known.value != event.value:
            made = Checkpoint(pid=process.pid, incarnation=process.incarnation, at=state.wall, value=event.value)
            state.checkpoints[process.pid] = made
            state.changed(made)
            if process.resumed:
                process.resumed = 0
                state.changed(process)
    state.do(effects.Tell(child.name, port.Kept(event.number, reason)))


def drop(state: State, process: Process) -> None:
    """Nothing is to go on from there any more."""
    known = state.checkpoints.pop(process.pid, None)
    if known is not None:
        state.deleted(known)
