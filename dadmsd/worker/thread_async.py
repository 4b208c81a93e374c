"""What an async entry is told about the thread that it runs in. What asks the kernel, or writes files, is awaited: the loop steps other threads meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec

from dadms_ipc.artifacts import Artifact, Store
from dadms_ipc.port import Asked, ContextAnswer
from dadms_ipc.shared import reserve
from dadms_ipc.shared_async import AsyncContext


class AsyncPlace(msgspec.Struct, frozen=True):
    """What all threads of an async worker have in common."""

    pid: int
    worker: int  # number within the incarnation
    directory: str
    config: msgspec.Raw  # msgpack
    report: Callable[[int, str, float | None], None]
    ask: Callable[[int, Asked, int, float], Awaitable[ContextAnswer]]  # (tid, operation, whose context, seconds)
    workplace: str  # that its user named
    loop: asyncio.AbstractEventLoop


class AsyncThread:
    """One thread, as its async entry sees it."""

    __slots__ = ("_place", "tid")

    def __init__(self, tid: int, place: AsyncPlace) -> None:
        self.tid = tid
        self._place = place

    @property
    def pid(self) -> int:
        """Give the process that it belongs to."""
        return self._place.pid

    @property
    def worker(self) -> int:
        """Give the number of its worker within the incarnation."""
        return self._place.worker

    @property
    def directory(self) -> str:
        """Give the working directory of the process, or the one that its user named."""
        return self._place.workplace or self._place.directory

    @property
    def config(self) -> Any:
        """Give what the process was started with, decoded anew: what one thread changes in it, another does not see."""
        return msgspec.msgpack.decode(self._place.config)

    @property
    def context(self) -> AsyncContext:
        """Give the shared context of the process, as this thread may use it."""
        return AsyncContext(partial(self._place.ask, self.tid))

    async def artifact(self, value: object) -> Artifact:
        """Keep bytes, a NumPy array or an Arrow table; the reference travels in results, arguments and contexts. It is written in a helper thread."""
        return await asyncio.to_thread(self._store().put, value)

    def open(self, value: object) -> Any:
        """Give what a reference stands for, mapped into memory and read-only."""
        return self._store().open(value)

    def progress(self, text: str, fraction: float | None = None) -> None:
        """Say how far the work is; ``fraction`` is 0..1. Costs one small message at most, lost without harm."""
        self._place.report(self.tid, text, fraction)

    def _store(self) -> Store:
        return Store(self._place.directory, self._place.pid, partial(reserve, self._ask_from_helper))

    def _ask_from_helper(self, operation: Asked, pid: int, seconds: float) -> ContextAnswer:
        """Ask the kernel from a helper thread, and wait there."""

        async def ask() -> ContextAnswer:
            return await self._place.ask(self.tid, operation, pid, seconds)

        return asyncio.run_coroutine_threadsafe(ask(), self._place.loop).result()
