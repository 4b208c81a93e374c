"""A kernel's side of the port, small enough to be killed anywhere: it runs the main and every thread in OS processes of their own, forked from the test.

What a real kernel has in its journal is in ``Journal``; everything else is lost when it dies. A fault names the place where it dies, and how many times it must
have been there before.
"""

import contextlib
import os
import select
import socket
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from dadms_ipc import port
from dadms_ipc.channel import Channel, pair
from dadms_ipc.errors import ChannelClosed
from dadms_orchestrators.contract import Orchestrator

PID = 1001
DEADLINE = 60.0  # seconds for a whole run


class Died(Exception):
    """The kernel dies here; the next one goes on."""


@dataclass
class Journal:
    """What outlives a kernel."""

    submissions: dict[int, int] = field(default_factory=dict)  # sequence -> first tid
    refused: dict[int, str] = field(default_factory=dict)
    threads: dict[int, tuple[str, Any, str]] = field(default_factory=dict)  # tid -> entry, argument, label
    waiting: deque[int] = field(default_factory=deque)
    results: list[port.Result] = field(default_factory=list)
    cancelled: set[int] = field(default_factory=set)
    seen: int = 0
    is_ready: bool = False
    outcome: port.Outcome | None = None


@dataclass
class WorkerThread:
    """The entries' view of the thread that they run in."""

    tid: int
    config: Any
    directory: str
    pid: int = PID
    worker: int = 1
    context: Any = None
    artifacts: Any = None

    def artifact(self, value: object) -> Any:
        raise NotImplementedError

    def open(self, value: object) -> Any:
        raise NotImplementedError

    def progress(self, text: str, fraction: float | None = None) -> None:
        assert isinstance(text, str)
        assert fraction is None or 0.0 <= fraction <= 1.0


class PortKernel:
    """Starts a main and serves its port until it has exited."""

    def __init__(
        self,
        orchestrator: Orchestrator,
        config: dict[str, Any],
        *,
        topics: list[str],
        directory: str,
        slots: int = 4,
        fault: tuple[str, int] | None = None,
        control: str = "",
        on_submit: Callable[["PortKernel", port.Submit], None] | None = None,
    ) -> None:
        self.orchestrator = orchestrator
        self.config = config
        self.topics = topics
        self.directory = directory
        self.slots = slots
        self.fault = fault
        self.control = control  # the bus's endpoint, as the gate names it
        self.on_submit = on_submit
        self.journal = Journal()
        self.notes: list[port.Note] = []
        self.deaths = 0
        self.starts: Counter[int] = Counter()  # how often each thread was begun
        self.exit_code: int | None = None
        self.os_pid = 0
        self._visits: Counter[str] = Counter()
        self._running: dict[int, tuple[int, int, float]] = {}  # read end -> os pid, tid, started
        self._end: socket.socket
        self._channel: Channel[port.FromProcess]

    @property
    def outcome(self) -> dict[str, Any]:
        """The value of the outcome."""
        assert self.journal.outcome is not None, "no outcome was given"
        value: dict[str, Any] = msgspec.msgpack.decode(self.journal.outcome.value)
        return value

    @property
    def status(self) -> str:
        assert self.journal.outcome is not None, "no outcome was given"
        return self.journal.outcome.status

    @property
    def reason(self) -> str:
        assert self.journal.outcome is not None, "no outcome was given"
        return self.journal.outcome.reason

    def send(self, message: port.ToProcess) -> None:
        """Say something to the process, which may be gone."""
        with contextlib.suppress(ChannelClosed):
            self._channel.send(message)

    def abandon(self) -> None:
        """Close the port, as the end of the whole daemon does."""
        self._channel.close()

    def run(self) -> "PortKernel":
        """Run the main to its exit."""
        self._start()
        deadline = time.monotonic() + DEADLINE
        try:
            while self.exit_code is None:
                assert time.monotonic() < deadline, "the process has not ended"
                try:
                    self._turn()
                except Died:
                    self._succeed()
        finally:
            self._clear()
        return self

    def _start(self) -> None:
        self._end, theirs = pair()
        gate = port.Gate(
            PID,
            1,
            b"s" * 32,
            "test",
            msgspec.Raw(msgspec.msgpack.encode(self.config)),
            self.control,
            "",
            self.directory,
            10.0,
            topics=self.topics,
        )
        self.os_pid = os.fork()
        if self.os_pid == 0:
            code = 99
            try:
                self._end.close()
                code = self.orchestrator.main(theirs, gate)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        theirs.close()
        self._channel = Channel(self._end, port.FromProcess)
        self._pidfd = os.pidfd_open(self.os_pid)

    def _turn(self) -> None:
        """Wait for the process or a worker, and do what is to be done."""
        self._dispatch()
        watched = [self._pidfd, *self._running]
        if self._channel.fileno() >= 0:
            watched.append(self._channel.fileno())
        ready, _, _ = select.select(watched, [], [], 5.0)
        for fd in ready:
            if fd in self._running:
                self._collect(fd)
        if self._channel.fileno() in ready:
            self._read()
        if self._pidfd in ready:
            if self._channel.fileno() >= 0:
                self._read()
            self.exit_code = os.waitstatus_to_exitcode(os.waitpid(self.os_pid, 0)[1])

    def _read(self) -> None:
        while self._channel.fileno() >= 0:
            try:
                frame = self._channel.receive(0.0)
            except ChannelClosed:
                return
            if frame is None:
                return
            self._take(frame.body)

    def _take(self, message: port.FromProcess) -> None:
        journal = self.journal
        match message:
            case port.Ready():
                journal.is_ready = True
            case port.Submit():
                self._submit(message)
            case port.Cancel():
                for tid in message.tids:
                    self._terminate(tid)
            case port.Seen():
                assert message.sequence <= len(journal.results), "a result was acknowledged that was never given"
                journal.seen = max(journal.seen, message.sequence)
            case port.Note():
                self.notes.append(message)
            case port.Outcome():
                self._at("outcome read")
                if journal.outcome is None:
                    journal.outcome = message
                self._at("outcome committed")
                self.send(port.Recorded())

    def _submit(self, message: port.Submit) -> None:
        journal = self.journal
        assert journal.is_ready, "a submission before the process was ready"
        self._at("submit read")
        if message.entry not in self.orchestrator.entries:
            self.send(port.Refused(message.sequence, f'no entry "{message.entry}"'))
            return
        if message.sequence not in journal.submissions:
            assert message.sequence > max(journal.submissions, default=0), "submissions came out of order"
            first = len(journal.threads) + 1
            journal.submissions[message.sequence] = first
            for index, argument in enumerate(message.arguments):
                label = message.labels[index] if message.labels else ""
                journal.threads[first + index] = message.entry, msgspec.msgpack.decode(argument), label
                journal.waiting.append(first + index)
        self._at("submit committed")
        self.send(port.Accepted(message.sequence, journal.submissions[message.sequence]))
        if self.on_submit is not None:
            self.on_submit(self, message)

    def _dispatch(self) -> None:
        while self.journal.waiting and len(self._running) < self.slots:
            tid = self.journal.waiting.popleft()
            self.starts[tid] += 1
            entry, argument, _ = self.journal.threads[tid]
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    os.write(write, msgspec.msgpack.encode(self._work(entry, argument, tid)))
                finally:
                    os._exit(0)
            os.close(write)
            self._running[read] = pid, tid, time.time()

    def _work(self, entry: str, argument: Any, tid: int) -> port.Result:
        started = time.time()
        try:
            config = msgspec.msgpack.decode(msgspec.msgpack.encode(self.config))
            value = self.orchestrator.entries[entry](argument, WorkerThread(tid, config, self.directory))
            result = port.Result(tid, "completed", msgspec.Raw(msgspec.msgpack.encode(value)))
        except Exception as error:
            text = traceback.format_exc()
            code = getattr(error, "bpmn_code", "")
            result = port.Result(tid, "error", msgspec.Raw(b"\xc0"), "exception", type(error).__name__, str(error), text, code)
        return msgspec.structs.replace(result, os_pid=os.getpid(), started_at=started, run_seconds=time.time() - started)

    def _collect(self, fd: int) -> None:
        pid, tid, _ = self._running.pop(fd)
        pieces = []
        while piece := os.read(fd, 65536):
            pieces.append(piece)
        os.close(fd)
        os.waitpid(pid, 0)
        data = b"".join(pieces)
        result = msgspec.msgpack.decode(data, type=port.Result) if data else None
        if result is None or tid in self.journal.cancelled:
            cause = "terminated" if tid in self.journal.cancelled else "worker_lost"
            result = port.Result(tid, "terminated" if cause == "terminated" else "error", msgspec.Raw(b"\xc0"), cause)
        self.journal.results.append(result)
        self._at("result committed")
        self.send(port.Finished(len(self.journal.results), [result]))

    def _terminate(self, tid: int) -> None:
        for pid, running, _ in self._running.values():
            if running == tid:
                self.journal.cancelled.add(tid)
                os.kill(pid, 9)

    def _at(self, place: str) -> None:
        self._visits[place] += 1
        if self.fault == (place, self._visits[place]):
            raise Died

    def _succeed(self) -> None:
        """The next kernel: it has the journal and the socket, and nothing else."""
        self.deaths += 1
        self._channel = Channel(self._end, port.FromProcess, epoch=self.deaths)
        self.send(port.Hello())
        if unseen := self.journal.results[self.journal.seen :]:
            self.send(port.Finished(len(self.journal.results), unseen))

    def _clear(self) -> None:
        for fd, (pid, _, _) in self._running.items():
            os.close(fd)
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        if self.exit_code is None:
            os.kill(self.os_pid, 9)
            os.waitpid(self.os_pid, 0)
        os.close(self._pidfd)
        self._channel.close()
