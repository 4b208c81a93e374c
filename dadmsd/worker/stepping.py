"""Driving a coroutine step by step, so that it can be held between two of them.

What a coroutine waits for is handed on to its task as it is; before each step it is looked at whether the thread is to stand still. So a hold takes effect where the
coroutine waits next, and nothing that it waits for is lost: it is told once it goes on. What it was waiting for raises there is kept for it as well.
"""

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any


class Stepped:
    """A coroutine as something to await, with a gate before each of its steps."""

    def __init__(self) -> None:
        self.cpu_seconds = 0.0  # of its own steps; the tasks that it starts are not in it
        self._is_held = False
        self._gate: asyncio.Future[None] | None = None
        self._coroutine: Coroutine[Any, Any, Any] | None = None

    def of(self, awaitable: Awaitable[Any]) -> "Stepped":
        """Say what is driven."""
        self._coroutine = awaitable if isinstance(awaitable, Coroutine) else _awaiting(awaitable)
        return self

    def hold(self) -> None:
        """Let it not begin another step."""
        self._is_held = True

    def release(self) -> None:
        """Let it go on."""
        self._is_held = False
        if self._gate is not None and not self._gate.done():
            self._gate.set_result(None)

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine = self._coroutine
        assert coroutine is not None, "nothing to drive"
        error: BaseException | None = None
        while True:
            while self._is_held:
                self._gate = asyncio.get_running_loop().create_future()
                try:
                    yield from self._gate
                except asyncio.CancelledError as cancelled:  # by a time-out of its own: it hears of it when it goes on
                    error = cancelled
                finally:
                    self._gate = None
            began = time.thread_time()
            try:
                waited_for = coroutine.send(None) if error is None else coroutine.throw(error)
            except StopIteration as done:
                return done.value
            finally:
                self.cpu_seconds += time.thread_time() - began
            error = None
            try:
                yield waited_for
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as raised:
                error = raised


async def _awaiting(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
