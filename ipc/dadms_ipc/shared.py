"""Shared context as a program uses it: ``thread.context`` in an entry, ``process.context`` in a main.

Every call is synchronous and has a deadline. It raises RequestRefused with the kernel's sentence, DeadlinePassed when what was waited for did not happen, and
ChannelClosed when the daemon is gone. After DeadlinePassed of a change that no kernel answered, whether it took effect is not known.
"""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from dadms_ipc import context
from dadms_ipc.errors import DadmsError, DeadlinePassed, PeerViolation, RequestRefused
from dadms_ipc.port import Asked, ContextAnswer, Reserve, Room

TIMEOUT = 10.0  # seconds that a lock or a newer version is waited for, unless the caller says otherwise
PATIENCE = 10.0  # seconds for the kernel to answer, on top of what it is let wait: its successor is there within one

# (operation, whose context, seconds): raises DeadlinePassed without an answer
Ask = Callable[[Asked, int, float], ContextAnswer]
Answer = TypeVar("Answer")
Seen = TypeVar("Seen", context.Cell, context.RegionView)
_encode = msgspec.msgpack.Encoder().encode


class Lock:
    """A lock that this thread, or this main, has; a context manager that gives it back."""

    def __init__(self, owner: "Context", region: str, name: str, token: int) -> None:
        self._owner = owner
        self.region = region
        self.name = name
        self.token = token  # larger than that of everybody who had it before

    def release(self) -> bool:
        """Give it back; False when it had passed on already."""
        return self._owner.change(context.Unlock(self.region, self.name, self.token)).applied

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


class Context:
    """The shared context of a process."""

    def __init__(self, ask: Ask, pid: int = 0) -> None:
        self._ask = ask
        self._pid = pid

    def of(self, pid: int) -> "Context":
        """Give the context of another process, whose regions say who may use them."""
        return Context(self._ask, pid)

    # reading

    def get(self, region: str, key: str) -> context.Cell:
        """Give a value with its version; version 0 and None where there is none."""
        return self._call(context.Get(region, key), context.Cell)

    def read(self, region: str) -> context.RegionView:
        """Give all values of a region, as they were at one instant."""
        return self._call(context.Get(region), context.RegionView)

    def regions(self) -> list[context.RegionInfo]:
        """Give the regions that may be read here."""
        return self._call(context.Regions(), list[context.RegionInfo])

    def watch(self, region: str, key: str, *, after: int, timeout: float = TIMEOUT) -> context.Cell:
        """Give a value once its version is another than ``after``; raises DeadlinePassed when that did not happen in time."""
        return self._watch(context.Watch(region, key, after, timeout), context.Cell)

    def watch_region(self, region: str, *, after: int, timeout: float = TIMEOUT) -> context.RegionView:
        """Give what is newer than ``after`` in a region, once its version is another; raises DeadlinePassed when that did not happen in time."""
        return self._watch(context.Watch(region, None, after, timeout), context.RegionView)

    # changing

    def set(self, region: str, key: str, value: object, *, guard: Lock | None = None) -> int:
        """Put a value, whatever was there; gives its version."""
        return self.change(context.Set(region, key, encoded(value, key), _guard(guard))).version

    def update(self, region: str, key: str, values: Mapping[str, object], *, guard: Lock | None = None) -> int:
        """Merge a map into the map that is there; gives the version."""
        return self.change(context.Update(region, key, encoded(dict(values), key), _guard(guard))).version

    def cas(self, region: str, key: str, value: object, *, expected: int, guard: Lock | None = None) -> context.Changed:
        """Put a value if the version is ``expected`` (0: if there is none); ``applied`` says whether, ``version`` and ``value`` what is there otherwise."""
        return self.change(context.Cas(region, key, encoded(value, key), expected, _guard(guard)))

    def increment(self, region: str, key: str, by: float = 1, *, guard: Lock | None = None) -> Any:
        """Add to a number, from 0 where there is none; gives the new number."""
        return self.change(context.Increment(region, key, by, _guard(guard))).value

    def delete(self, region: str, key: str | None = None, *, guard: Lock | None = None) -> bool:
        """Remove a value, or the whole region; False when it was not there."""
        return self.change(context.Delete(region, key, _guard(guard))).applied

    def share(self, region: str, *, readers: Sequence[str] | None = None, writers: Sequence[str] | None = None) -> None:
        """Say who may use a region, and make it if need be: "*", "main", "1001/17", "1002" (docs/reference/context.md)."""
        lists = [None if each is None else list(each) for each in (readers, writers)]
        self.change(context.Share(region, *lists))

    def lock(self, region: str, name: str, *, timeout: float = TIMEOUT) -> Lock:
        """Have a lock, in the order of asking: ``with thread.context.lock("results", "writer") as lock: …``; raises DeadlinePassed."""
        held = self._call(context.Lock(region, name, timeout), context.Held)
        return Lock(self, region, name, held.token)

    def change(self, operation: context.Change | context.Unlock) -> context.Changed:
        """Make a change and give what it came to."""
        return self._call(operation, context.Changed)

    def _watch(self, operation: context.Watch, kind: type[Seen]) -> Seen:
        answer = self._call(operation, kind)
        if answer.version == operation.after:
            what = f'"{operation.key}" of region "{operation.region}"' if operation.key is not None else f'region "{operation.region}"'
            raise DeadlinePassed(f"nothing newer than version {operation.after} of {what} in {operation.timeout:g} s")
        return answer

    def _call(self, operation: context.AnyOperation, kind: type[Answer]) -> Answer:
        return decoded(self._ask(operation, self._pid, context.patience(operation) + PATIENCE), kind)


def reserve(ask: Ask, size: int) -> Room:
    """Ask for room on the disk for an artifact. Raises RequestRefused with the numbers."""
    return decoded(ask(Reserve(size), 0, PATIENCE), Room)


def decoded(answer: ContextAnswer, kind: type[Answer]) -> Answer:
    """Give what an answer says. Raises RequestRefused or DeadlinePassed with the kernel's sentence."""
    if answer.status != "ok":
        raise _ERRORS.get(answer.status, PeerViolation)(msgspec.msgpack.decode(answer.body)["message"])
    return msgspec.msgpack.decode(answer.body, type=kind)


_ERRORS: dict[str, type[DadmsError]] = {"refused": RequestRefused, "expired": DeadlinePassed}


def encoded(value: object, key: str) -> msgspec.Raw:
    """Make a value travel. Raises RequestRefused for one that cannot."""
    try:
        return msgspec.Raw(_encode(value))
    except (TypeError, OverflowError, RecursionError, UnicodeEncodeError) as error:
        raise RequestRefused(f'cannot put "{key}": its value does not encode as msgpack: {error}') from error


def _guard(lock: Lock | None) -> context.Guard | None:
    return None if lock is None else context.Guard(lock.name, lock.token)
