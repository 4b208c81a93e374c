"""The tasks that an async entry begins of its own: they are its thread's, and end with it.

A task belongs to the thread in whose context it is made: that of the entry, of its tasks, and of what they run by ``asyncio.to_thread``. What is to outlive the thread (a connection that
others use as well) is begun in a context of its own: ``asyncio.create_task(..., context=contextvars.Context())``.
"""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from dadms_ipc.running import TID


class Tasks:
    """The unfinished tasks of each open thread, beside the one that drives it; a task factory of the loop."""

    def __init__(self) -> None:
        self._of: dict[int, set[asyncio.Task[Any]]] = {}

    def open(self, tid: int) -> None:
        """Keep the tasks of a thread from here on: the one that drives it exists."""
        self._of[tid] = set()

    def close(self, tid: int) -> int:
        """Cancel what a thread that ended left; give how many those were."""
        left = self._of.pop(tid)
        for task in left:
            task.cancel()
        return len(left)

    def make(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **options: Any
    ) -> asyncio.Task[Any]:
        """Make a task, as the loop would."""
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        context = options.get("context")
        known = self._of.get(TID.get() if context is None else context.get(TID, 0))
        if known is not None:
            known.add(task)
            task.add_done_callback(known.discard)
        return task
