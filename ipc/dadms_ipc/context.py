"""Shared context in words: what may be done with the regions of a process, and what comes back; docs/reference/context.md explains it.

One vocabulary for everybody who speaks to the kernel: clients put an operation into a ``read-context`` or ``change-context`` request, mains and threads into a
``context`` call over their port. Operations are msgpack maps with the name under "op", so that they can be written by hand.

1. A region is a map of named values. Every change takes the next number of the process's context, and a value's version is the number of its last change. Numbers
   only grow, also over a value's or a region's removal; version 0 means that a value is not there.
2. A lock is given with a token, larger than any that the region gave before. A write may carry one (``guard``); it is refused once the lock has passed on.
3. Tags that are not used here and stay free for what is to come: ``semaphore``, ``barrier``, ``event``.
"""

from typing import Any

import msgspec

NIL = msgspec.Raw(b"\xc0")
EVERYONE = ("*",)  # the process and all of its threads


class Guard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A lock under which a write is made, and the token that came with it."""

    lock: str
    token: int


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="op"):
    """Base of what may be done."""


# reading


class Regions(Operation, tag="ls", frozen=True):
    """The regions that the asker may read, as a list of RegionInfo."""


class Get(Operation, tag="get", frozen=True):
    """One value as a Cell, or the whole region as a RegionView."""

    region: str
    key: str | None = None


class Watch(Operation, tag="watch", frozen=True):
    """The same once the version is another than ``after``, or when ``timeout`` has passed; of a region, only what is newer."""

    region: str
    key: str | None = None
    after: int = 0
    timeout: float = 10.0  # seconds


# changing


class Set(Operation, tag="set", frozen=True):
    """Put a value, whatever was there."""

    region: str
    key: str
    value: msgspec.Raw
    guard: Guard | None = None


class Update(Operation, tag="update", frozen=True):
    """Merge a map into the map that is there; where nothing is, it is put."""

    region: str
    key: str
    values: msgspec.Raw
    guard: Guard | None = None


class Cas(Operation, tag="cas", frozen=True):
    """Compare and swap: put a value if the version is the expected one; 0: if nothing is there."""

    region: str
    key: str
    value: msgspec.Raw
    expected: int
    guard: Guard | None = None


class Increment(Operation, tag="increment", frozen=True):
    """Add to a number; where nothing is, to 0."""

    region: str
    key: str
    by: int | float = 1
    guard: Guard | None = None


class Delete(Operation, tag="delete", frozen=True):
    """Remove a value, or a region with all that is in it."""

    region: str
    key: str | None = None
    guard: Guard | None = None


class Share(Operation, tag="share", frozen=True):
    """Say who may read and write a region, and make it if need be; what is left out stays as it is.

    "*": the process and its threads; "main": its main; "1001/17": one thread; "1002": another process and its threads.
    """

    region: str
    readers: list[str] | None = None
    writers: list[str] | None = None


class Break(Operation, tag="break", frozen=True):
    """Take a lock away from whoever holds it: the writes that it still makes under it are refused."""

    region: str
    lock: str


# locks: of threads and mains, whose end gives them back


class Lock(Operation, tag="lock", frozen=True):
    """Have a lock, after those who asked before; answered with Held, or with "expired" after ``timeout`` seconds."""

    region: str
    lock: str
    timeout: float = 10.0  # seconds


class Unlock(Operation, tag="unlock", frozen=True):
    """Give a lock back; that one has lost it already is said, and is no error."""

    region: str
    lock: str
    token: int


Read = Regions | Get | Watch
Change = Set | Update | Cas | Increment | Delete | Share | Break
AnyOperation = Read | Change | Lock | Unlock

READS = (Regions, Get, Watch)


# answers


class Cell(msgspec.Struct, frozen=True):
    """A value and its version; version 0: there is none."""

    version: int = 0
    value: Any = None


class RegionView(msgspec.Struct, frozen=True):
    """A region: its version is that of its last change, removals included."""

    version: int
    cells: dict[str, Cell]
    keys: int = 0  # that the region has, those that are not in ``cells`` included


class Changed(msgspec.Struct, frozen=True):
    """What a change came to."""

    version: int  # of the value now
    applied: bool = True  # False: the version was another one (``cas``), or the lock was lost already (``unlock``)
    value: Any = None  # of ``increment``: the new number; of a ``cas`` that was not applied: what is there


class Held(msgspec.Struct, frozen=True):
    """A lock is the asker's."""

    token: int


class RegionInfo(msgspec.Struct, frozen=True):
    """A region, as it is shown."""

    name: str
    owner: str  # "1001/17", "1001", "uid 1000"
    readers: list[str]
    writers: list[str]
    version: int
    keys: int
    bytes: int  # of keys and values
    locks: dict[str, str]  # name -> holder, and those who wait for it


def answer_type(operation: AnyOperation) -> Any:
    """Give the type that the answer to an operation is decoded into."""
    if isinstance(operation, Get | Watch):
        return RegionView if operation.key is None else Cell
    if isinstance(operation, Regions):
        return list[RegionInfo]
    return Held if isinstance(operation, Lock) else Changed


def patience(operation: AnyOperation) -> float:
    """Give the seconds that the kernel may wait on purpose before it answers."""
    return max(0.0, operation.timeout) if isinstance(operation, Watch | Lock) else 0.0
