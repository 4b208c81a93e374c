"""Which thread the code of an async entry runs for: known in its coroutine, and in the tasks and helper threads (asyncio.to_thread) that it starts."""

from contextvars import ContextVar

TID: ContextVar[int] = ContextVar("dadms_tid", default=0)


def current_tid() -> int:
    """Give the number of the thread that runs here; 0 outside of async entries."""
    return TID.get()
