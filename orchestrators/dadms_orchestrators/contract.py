"""What an orchestrator is to the daemon: a named, versioned object with a main and entries; docs/reference/contract.md has it in full.

1. It is imported once, in a zygote. Everything heavy is imported then, at module level; between its gate and ``Ready`` a main does next to nothing.
2. ``main`` runs in a process of its own and talks to the kernel over its port. It never runs the work of a model itself.
3. ``entries`` are what workers run: named functions, since nothing is imported by wire. An entry gets its arguments and the thread, and returns a value
   that msgpack encodes; it fails by raising.
"""

import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from dadms_ipc.artifacts import Artifact, Store
from dadms_ipc.errors import ChannelClosed, DadmsError, RequestRefused
from dadms_ipc.port import Gate
from dadms_ipc.shared import Context
from dadms_orchestrators.sdk import loading
from dadms_orchestrators.sdk.process import Process

if TYPE_CHECKING:
    from dadms_ipc.shared_async import AsyncContext  # with asyncio, which a zygote without async entries need not hold
    from dadms_orchestrators.entries import Declared  # which needs Thread of this module

EXIT_DONE = 0
EXIT_FAILED = 1  # the main broke, which is our bug or the orchestrator's
EXIT_ABANDONED = 3  # the daemon is gone: there is nobody left to tell


class Thread(Protocol):
    """What an entry is told about the thread that it runs in."""

    @property
    def tid(self) -> int: ...
    @property
    def pid(self) -> int: ...
    @property
    def worker(self) -> int: ...  # number of the worker within the incarnation
    @property
    def config(self) -> Any: ...  # what the process was started with, decoded
    @property
    def directory(self) -> str: ...
    @property
    def context(self) -> Context: ...  # shared with the process and its other threads
    @property
    def artifacts(self) -> Store: ...  # of the process
    def artifact(self, value: object) -> Artifact: ...  # keeps what is too large for a message
    def open(self, value: object) -> Any: ...  # what a reference stands for, mapped and read-only
    def progress(self, text: str, fraction: float | None = None) -> None: ...
    def yield_(self) -> None: ...  # gives way where others wait for a slot


class AsyncThread(Protocol):
    """What an async entry is told about the thread that it runs in; what asks the kernel is awaited, so that it keeps no other thread waiting."""

    @property
    def tid(self) -> int: ...
    @property
    def pid(self) -> int: ...
    @property
    def worker(self) -> int: ...
    @property
    def config(self) -> Any: ...
    @property
    def directory(self) -> str: ...
    @property
    def context(self) -> "AsyncContext": ...
    async def artifact(self, value: object) -> Artifact: ...
    def open(self, value: object) -> Any: ...
    def progress(self, text: str, fraction: float | None = None) -> None: ...


Entry = Callable[[Any, Any], object]  # (arguments, Thread or AsyncThread); of an async entry, it gives the coroutine


class Orchestrator:
    """The object that a zygote finds under ``module:attribute``.

    ``run(process)`` is the orchestrator itself: it becomes ready, submits threads, gives an outcome and returns. ``entries`` are ``@thread`` functions
    (entries.py), or functions by name. ``takes_handlers`` tells whether its tasks are functions of a handlers module.
    """

    def __init__(
        self,
        *,
        name: str,
        version: str,
        run: Callable[[Process], None],
        entries: Mapping[str, Entry] | Iterable["Declared"],
        takes_handlers: bool = False,
    ) -> None:
        self.name = name
        self.version = version
        self.entries: dict[str, Entry] = dict(entries) if isinstance(entries, Mapping) else {entry.name: entry for entry in entries}
        self._run = run
        self._takes_handlers = takes_handlers

    def load_handlers(self, path: str) -> list[str]:
        """Import a handlers module into this process and give its topics; raises DadmsError, fit for a person."""
        if not self._takes_handlers:
            raise RequestRefused(f'cannot use handlers "{path}": the orchestrator "{self.name}" calls none')
        return loading.load(path)

    def main(self, port: socket.socket, gate: Gate) -> int:
        """Run one incarnation to its end and give the exit code. What goes wrong becomes an outcome; a traceback goes to the log only."""
        process = Process(port, gate)
        is_broken = False
        try:
            try:
                self._run(process)
            except ChannelClosed:
                raise
            except DadmsError as error:
                process.outcome("failed", {}, str(error))
            except Exception as error:
                is_broken = True
                traceback.print_exc()
                process.outcome("failed", {}, f'the orchestrator "{self.name}" {self.version} broke: {type(error).__name__}: {error}')
                process.settle()
                return EXIT_FAILED
            process.settle()
        except ChannelClosed as error:
            print(f"the daemon is gone: {error}", file=sys.stderr)  # noqa: T201 - stderr is this process's log
            return EXIT_ABANDONED
        finally:
            process.close(is_broken=is_broken)
        return EXIT_DONE
