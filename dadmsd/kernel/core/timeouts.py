"""What a time-out is called where it is told: the seconds, the key that sets them, and what they are where nobody does."""

from dadmsd.kernel.core.records import Process
from dadmsd.kernel.core.state import State


def words(seconds: float, key: str, default: float) -> str:
    """Name the key of a time-out; a default of 0 is without an end."""
    return f"{seconds:g} s ({key}, {f'{default:g} s' if default else 'for ever'} by default)"


def thread_words(state: State, process: Process, seconds: float) -> str:
    """Say that a thread took too long; whoever submitted it with a time-out of its own knows where that came from."""
    default = state.settings.thread_timeout
    if seconds != (process.spec.thread_timeout or default):
        return f"did not end within {seconds:g} s"
    return f"did not end within {words(seconds, 'thread_timeout', default)}"


def ready_words(state: State, seconds: float) -> str:
    """Name the time that a process has to become ready."""
    return words(seconds, "ready_timeout", state.settings.ready_timeout)


def run_words(state: State, process: Process, seconds: float) -> str:
    """Name the time that an incarnation may run."""
    return words(seconds, "run_timeout", state.settings.ready_timeout if process.spec.kind == "tool" else 0.0)
