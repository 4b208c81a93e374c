"""A kernel for these tests: it speaks the real messages to real zygotes and workers, and decides nothing.

Every wait has a deadline and waits for a message or a descriptor. What a later kernel would get from the keeper's store are the sockets and descriptors kept
in ``Ends``: a kernel dies here by closing its own duplicates only.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from dadms_ipc.channel import Channel, pair
from dadms_ipc.port import FromProcess
from dadms_ipc.port import Gate as MainGate
from dadmsd.worker import messages as worker
from dadmsd.worker.page import Page
from dadmsd.zygote.messages import Exited, Fork, Forked, FromZygote, Greeting, Hello, Imported, Reap, WorkerGate, ZygoteGate

PATIENCE = 20.0  # seconds for anything at all; nothing here takes one
ROOT = Path(__file__).parents[3]
SAMPLE = "tests.integration.zygote.sample_orchestrator:ORCHESTRATOR"

Wanted = TypeVar("Wanted")


def packed(value: object) -> msgspec.Raw:
    """Encode a value for a message."""
    return msgspec.Raw(msgspec.msgpack.encode(value))


class Child:
    """A child as a kernel holds it: its port, its page, its log."""

    def __init__(self, name: str, port: Channel[Any], page: Page | None, page_fd: int, log: int) -> None:
        self.name = name
        self.port = port
        self.page = page
        self.page_fd = page_fd
        self.log = log
        self.forked: Forked | None = None
        self.pidfd = -1

    def expect(self, kind: type[Wanted]) -> Wanted:
        """Wait for the next message of this kind; others are dropped."""
        return _expect(self.port, kind)[0]

    def read_log(self) -> str:
        """Read everything up to the end of the log: call it when the child is gone."""
        text = b""
        while chunk := os.read(self.log, 65536):
            text += chunk
        return text.decode()

    def kill(self) -> None:
        """Send SIGKILL."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def await_exit(self) -> None:
        """Wait until the process is dead, reaped or not."""
        assert _ended(self.pidfd, PATIENCE), f"{self.name} did not end"


def _expect(channel: Channel[Any], kind: type[Wanted]) -> tuple[Wanted, list[int]]:
    deadline = time.monotonic() + PATIENCE
    while True:
        frame = channel.receive(deadline - time.monotonic())
        assert frame is not None, f"no {kind.__name__} came"
        if isinstance(frame.body, kind):
            return frame.body, frame.fds
        for fd in frame.fds:
            os.close(fd)


class Kernel:
    """One kernel on one zygote's control channel."""

    def __init__(self, control: socket.socket, *, epoch: int = 1) -> None:
        self.epoch = epoch
        self.control: Channel[FromZygote] = Channel(control, FromZygote, epoch=epoch)
        self.children: dict[str, Child] = {}

    def hello(self) -> Greeting:
        """Greet the zygote."""
        self.control.send(Hello())
        return self.expect(Greeting)

    def expect(self, kind: type[Wanted]) -> Wanted:
        """Wait for the next message of this kind; others are dropped."""
        body, fds = _expect(self.control, kind)
        for fd in fds:
            os.close(fd)
        return body

    def ask(self, name: str, role: str, *, gate_timeout: float = PATIENCE, receives: Any = None) -> Child:
        """Ask for a child, without waiting for it."""
        mine, theirs = pair()
        log, log_end = os.pipe2(os.O_CLOEXEC)
        page, page_fd = Page.create(name) if role == "worker" else (None, -1)
        fds = [theirs.fileno(), log_end, log_end, *([page_fd] if page else [])]
        self.control.send(Fork(name, role, gate_timeout), fds)
        theirs.close()
        os.close(log_end)
        vocabulary = receives or {"zygote": FromZygote, "main": FromProcess, "worker": worker.FromWorker, "command": FromZygote}[role]
        child = Child(name, Channel(mine, vocabulary, epoch=self.epoch), page, page_fd, log)
        self.children[name] = child
        return child

    def await_fork(self, child: Child) -> Child:
        """Wait until the zygote reports the child."""
        while True:
            forked, fds = _expect(self.control, Forked)
            owner = self.children[forked.name]
            owner.forked = forked
            if owner.pidfd >= 0:
                os.close(owner.pidfd)
            owner.pidfd = fds[0]
            if owner is child:
                return child

    def fork(self, name: str, role: str, *, gate_timeout: float = PATIENCE) -> Child:
        """Fork a child that waits at its gate."""
        return self.await_fork(self.ask(name, role, gate_timeout=gate_timeout))

    def reap(self, name: str) -> None:
        """Have an exit forgotten."""
        self.control.send(Reap(name))

    def start_worker(self, name: str, directory: Path, *, config: object = None, sequence: int = 1) -> Child:
        """Fork a worker and open its gate."""
        child = self.fork(name, "worker")
        child.port.send(WorkerGate(1001, 1, 3, sequence, packed(config), str(directory)))
        child.expect(worker.Ready)
        return child

    def start_main(self, name: str, directory: Path, *, config: object) -> Child:
        """Fork an orchestrator's main and open its gate."""
        child = self.fork(name, "main")
        child.port.send(MainGate(1001, 1, bytes(32), name, packed(config), "ipc://c", "ipc://d", str(directory), 10.0))
        return child

    def exited(self, child: Child) -> Exited:
        """Wait for the report of this child's end."""
        while True:
            exited = self.expect(Exited)
            if exited.name == child.name:
                return exited


class Zygote:
    """A base zygote that was started for a test, and the kernel on it; everything is ended when the block is left."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("w+b")
        kept, theirs = pair()
        self.kept = kept  # the keeper's duplicate of the kernel's end
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dadmsd.zygote", "--keeper-fd", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        theirs.close()
        self.kernel = Kernel(kept.dup())
        self._kernels = [self.kernel]
        try:
            self.kernel.hello()
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def next_kernel(self) -> Kernel:
        """Give a kernel of the next epoch; the old one is closed first, as if it had been killed."""
        old = self.kernel
        old.control.close()
        self.kernel = Kernel(self.kept.dup(), epoch=old.epoch + 1)
        self._kernels.append(self.kernel)
        return self.kernel

    def version_kernel(self, *, handlers: Path | None = None, orchestrator: str = SAMPLE, name: str = "zygote/1") -> Kernel:
        """Start a version zygote, and give a kernel on it."""
        child = self.start_version(handlers=handlers, orchestrator=orchestrator, name=name)
        child.expect(Imported)
        kernel = Kernel(child.port._sock.dup(), epoch=self.kernel.epoch)
        kernel.hello()
        self._kernels.append(kernel)
        return kernel

    def start_version(self, *, handlers: Path | None = None, orchestrator: str = SAMPLE, name: str = "zygote/1") -> Child:
        """Fork a version zygote and open its gate; its answer is still to come."""
        child = self.kernel.fork(name, "zygote")
        groups = os.getgroups()
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        child.port.send(
            ZygoteGate(name, os.getuid(), os.getgid(), groups, orchestrator, str(handlers) if handlers else None, environment, "/")
        )
        return child

    def read_log(self) -> str:
        """Give what the base zygote printed."""
        self._log.seek(0)
        return self._log.read().decode()

    def end(self) -> None:
        """Kill everything that was forked, by descriptor, and the zygote; close every end."""
        for kernel in reversed(self._kernels):
            for child in kernel.children.values():
                if child.pidfd >= 0:
                    signal.pidfd_send_signal(child.pidfd, signal.SIGKILL) if _runs(child.pidfd) else None
                    os.close(child.pidfd)
                child.port.close()
                os.close(child.log)
                if child.page is not None:
                    child.page.close()
                    os.close(child.page_fd)
            kernel.control.close()
        self.kept.close()
        self.process.kill()
        self.process.wait(PATIENCE)
        self._log.close()


def _runs(pidfd: int) -> bool:
    return not _ended(pidfd, 0.0)


def run_batch(child: Child, first: int, calls: Sequence[tuple[str, object]], *, count: int | None = None) -> list[worker.Outcome]:
    """Send a batch and collect that many outcomes (one for each call unless told), consuming as they come."""
    child.port.send(worker.Batch(first, [worker.Item(first + index, entry, packed(value)) for index, (entry, value) in enumerate(calls)]))
    return collect(child, len(calls) if count is None else count)


def collect(child: Child, count: int) -> list[worker.Outcome]:
    """Wait for this many outcomes, consuming as they come."""
    assert child.page is not None
    outcomes: list[worker.Outcome] = []
    while True:
        found = child.page.read_results()
        outcomes += found
        if found:
            child.page.consume(found[-1].sequence)
            if child.page.waits:
                child.port.send(worker.Consumed())
        if len(outcomes) >= count:
            return outcomes
        child.expect(worker.Doorbell)


def _ended(pidfd: int, timeout: float) -> bool:
    poll = select.poll()  # select(2) takes no descriptor above 1023
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout * 1000.0))
