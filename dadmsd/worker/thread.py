"""What an entry is told about the thread that it runs in, and how it says how far it is."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from dadms_ipc.artifacts import Artifact, Store
from dadms_ipc.port import Asked, ContextAnswer
from dadms_ipc.shared import Context, reserve


class Thread:
    """One thread, as its entry sees it."""

    __slots__ = ("_place", "tid")

    def __init__(self, tid: int, place: "Place") -> None:
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
    def context(self) -> Context:
        """Give the shared context of the process, as this thread may use it."""
        return Context(partial(self._place.call, self.tid))

    @property
    def artifacts(self) -> Store:
        """Give the artifacts of the process."""
        return Store(self._place.directory, self.pid, partial(reserve, partial(self._place.call, self.tid)))

    def artifact(self, value: object) -> Artifact:
        """Keep bytes, a NumPy array or an Arrow table; the reference travels in results, arguments and contexts."""
        return self.artifacts.put(value)

    def open(self, value: object) -> Any:
        """Give what a reference stands for, mapped into memory and read-only."""
        return self.artifacts.open(value)

    def yield_(self) -> None:
        """Give way where others wait for a slot: they are served, and this goes on from here when its turn has come again. Otherwise it costs next to nothing."""
        self._place.give_way()

    def progress(self, text: str, fraction: float | None = None) -> None:
        """Say how far the work is; ``fraction`` is 0..1. Costs one small message at most, lost without harm."""
        self._place.report(self.tid, text, fraction)


class Place(msgspec.Struct, frozen=True):
    """What all threads of a plain worker have in common; ``thread_async`` has what those of an async one do."""

    pid: int
    worker: int  # number within the incarnation
    directory: str
    config: msgspec.Raw  # msgpack
    report: Callable[[int, str, float | None], None]
    call: Callable[[int, Asked, int, float], ContextAnswer]  # (tid, operation, whose context, seconds)
    workplace: str = ""  # that its user named
    give_way: Callable[[], None] = lambda: None
