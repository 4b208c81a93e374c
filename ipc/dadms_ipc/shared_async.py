"""Shared context as an async entry uses it: ``await thread.context.get(...)``. The calls are those of ``dadms_ipc.shared``, and none of them keeps the loop waiting."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from dadms_ipc import context
from dadms_ipc.errors import DeadlinePassed
from dadms_ipc.port import Asked, ContextAnswer
from dadms_ipc.shared import PATIENCE, TIMEOUT, Answer, Seen, decoded, encoded

# (operation, whose context, seconds): raises DeadlinePassed without an answer
AskAsync = Callable[[Asked, int, float], Awaitable[ContextAnswer]]


class AsyncLock:
    """A lock that this thread has: ``async with await thread.context.lock("results", "writer") as lock: …``."""

    def __init__(self, owner: "AsyncContext", region: str, name: str, token: int) -> None:
        self._owner = owner
        self.region = region
        self.name = name
        self.token = token  # larger than that of everybody who had it before

    async def release(self) -> bool:
        """Give it back; False when it had passed on already."""
        return (await self._owner.change(context.Unlock(self.region, self.name, self.token))).applied

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.release()


class AsyncContext:
    """The shared context of a process, for coroutines."""

    def __init__(self, ask: AskAsync, pid: int = 0) -> None:
        self._ask = ask
        self._pid = pid

    def of(self, pid: int) -> "AsyncContext":
        """Give the context of another process, whose regions say who may use them."""
        return AsyncContext(self._ask, pid)

    async def get(self, region: str, key: str) -> context.Cell:
        """Give a value with its version; version 0 and None where there is none."""
        return await self._call(context.Get(region, key), context.Cell)

    async def read(self, region: str) -> context.RegionView:
        """Give all values of a region, as they were at one instant."""
        return await self._call(context.Get(region), context.RegionView)

    async def regions(self) -> list[context.RegionInfo]:
        """Give the regions that may be read here."""
        return await self._call(context.Regions(), list[context.RegionInfo])

    async def watch(self, region: str, key: str, *, after: int, timeout: float = TIMEOUT) -> context.Cell:
        """Give a value once its version is another than ``after``; raises DeadlinePassed when that did not happen in time."""
        return await self._watch(context.Watch(region, key, after, timeout), context.Cell)

    async def watch_region(self, region: str, *, after: int, timeout: float = TIMEOUT) -> context.RegionView:
        """Give what is newer than ``after`` in a region, once its version is another; raises DeadlinePassed when that did not happen in time."""
        return await self._watch(context.Watch(region, None, after, timeout), context.RegionView)

    async def set(self, region: str, key: str, value: object, *, guard: AsyncLock | None = None) -> int:
        """Put a value, whatever was there; gives its version."""
        return (await self.change(context.Set(region, key, encoded(value, key), _guard(guard)))).version

    async def update(self, region: str, key: str, values: Mapping[str, object], *, guard: AsyncLock | None = None) -> int:
        """Merge a map into the map that is there; gives the version."""
        return (await self.change(context.Update(region, key, encoded(dict(values), key), _guard(guard)))).version

    async def cas(self, region: str, key: str, value: object, *, expected: int, guard: AsyncLock | None = None) -> context.Changed:
        """Put a value if the version is ``expected`` (0: if there is none); ``applied`` says whether, ``version`` and ``value`` what is there otherwise."""
        return await self.change(context.Cas(region, key, encoded(value, key), expected, _guard(guard)))

    async def increment(self, region: str, key: str, by: float = 1, *, guard: AsyncLock | None = None) -> Any:
        """Add to a number, from 0 where there is none; gives the new number."""
        return (await self.change(context.Increment(region, key, by, _guard(guard)))).value

    async def delete(self, region: str, key: str | None = None, *, guard: AsyncLock | None = None) -> bool:
        """Remove a value, or the whole region; False when it was not there."""
        return (await self.change(context.Delete(region, key, _guard(guard)))).applied

    async def share(self, region: str, *, readers: Sequence[str] | None = None, writers: Sequence[str] | None = None) -> None:
        """Say who may use a region, and make it if need be: "*", "main", "1001/17", "1002" (docs/reference/context.md)."""
        lists = [None if each is None else list(each) for each in (readers, writers)]
        await self.change(context.Share(region, *lists))

    async def lock(self, region: str, name: str, *, timeout: float = TIMEOUT) -> AsyncLock:
        """Have a lock, in the order of asking; raises DeadlinePassed."""
        held = await self._call(context.Lock(region, name, timeout), context.Held)
        return AsyncLock(self, region, name, held.token)

    async def change(self, operation: context.Change | context.Unlock) -> context.Changed:
        """Make a change and give what it came to."""
        return await self._call(operation, context.Changed)

    async def _watch(self, operation: context.Watch, kind: type[Seen]) -> Seen:
        answer = await self._call(operation, kind)
        if answer.version == operation.after:
            what = f'"{operation.key}" of region "{operation.region}"' if operation.key is not None else f'region "{operation.region}"'
            raise DeadlinePassed(f"nothing newer than version {operation.after} of {what} in {operation.timeout:g} s")
        return answer

    async def _call(self, operation: context.AnyOperation, kind: type[Answer]) -> Answer:
        return decoded(await self._ask(operation, self._pid, context.patience(operation) + PATIENCE), kind)


def _guard(lock: AsyncLock | None) -> context.Guard | None:
    return None if lock is None else context.Guard(lock.name, lock.token)
