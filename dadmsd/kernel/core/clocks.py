"""Clocks of a process: what is due for it and when, apart from the time that each of its children has for its phase.

Rule 1: a clock is a row's: the next kernel arms it again. Rule 2: who is called when one is due finds out with ``is_due`` whether it still stands; one that was moved is armed anew.
"""

from dadmsd.kernel.core.records import Process
from dadmsd.kernel.core.state import State


def start_clock(state: State, process: Process, kind: str, seconds: float) -> None:
    """Have ``kind`` due after so many seconds, in place of when it was due."""
    process.clocks[kind] = state.now + seconds
    state.changed(process)
    state.arm(process.clocks[kind], f"process.{kind}", str(process.pid))


def stop_clock(state: State, process: Process, kind: str) -> None:
    """Have ``kind`` not due any more."""
    if process.clocks.pop(kind, None) is not None:
        state.changed(process)


def is_due(state: State, pid: str, kind: str) -> Process | None:
    """Give the process whose clock is due now, once; None when it was stopped or moved."""
    process = state.processes.get(int(pid))
    deadline = process.clocks.get(kind) if process is not None else None
    if process is None or deadline is None:
        return None
    if deadline > state.now:
        state.arm(deadline, f"process.{kind}", pid)
        return None
    stop_clock(state, process, kind)
    return process


def arm_clocks(state: State, process: Process) -> None:
    """Arm what an earlier kernel had armed."""
    for kind, deadline in process.clocks.items():
        state.arm(deadline, f"process.{kind}", str(process.pid))
