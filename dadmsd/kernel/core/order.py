"""The order of starts and ends, looked at again whenever the status of a process has changed (dependencies.py has the rules)."""

from dadmsd.kernel.core import dependencies
from dadmsd.kernel.core.ending import proceed
from dadmsd.kernel.core.moves import enter
from dadmsd.kernel.core.processes import advance
from dadmsd.kernel.core.state import State


def look(state: State) -> None:
    """Start what waits for nothing any more, and end what nothing that depends on it holds up."""
    while state.has_shifted:
        state.has_shifted = False
        for pid in list(state.blocked):
            process = state.processes.get(pid)
            if process is None or process.status != "waiting":
                del state.blocked[pid]
            elif dependencies.may_start(state, process):
                del state.blocked[pid]
                enter(state, process, "unblocked")
                advance(state, process)
        for pid in list(state.held):
            process = state.processes.get(pid)
            if process is None or process.status not in dependencies.HAS_TREE or process.desired == "up":
                del state.held[pid]
            else:
                proceed(state, process, force=False)


def take_up(state: State) -> None:
    """Find those that an earlier kernel left waiting."""
    state.has_shifted = True
    for process in state.live_processes():
        main = state.main_of(process)
        if process.status == "waiting":
            state.blocked[process.pid] = None
        elif process.desired != "up" and process.status in ("starting", "running") and (main is None or main.phase in ("opened", "ready")):
            state.held[process.pid] = None
