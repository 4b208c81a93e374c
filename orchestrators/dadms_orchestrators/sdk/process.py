"""The process as its orchestrator sees it: submit threads, wait for the next event, give an outcome. The I/O around ``Session``.

1. Nothing here blocks but ``next_event`` and ``settle``, and both wake up for the port, for SIGTERM and for what the bus brings.
2. A kernel that does not read (it is being replaced) costs nothing: requests wait here in their order, notes are bounded and the oldest are dropped.
3. SIGTERM is a request to stop like the kernel's own, and both together are one.
4. Between gate and ``Ready`` no module is imported and no file opened: a hundred of these start at once.
5. A process with a watchdog says that it lives while it waits here, and at no other time: a main that hangs in its own code is one that does not live.
"""

import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from inspect import iscoroutinefunction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dadms_ipc import port as wire
from dadms_ipc.artifacts import Artifact, Store
from dadms_ipc.channel import FRAME_LIMIT, Channel, decoder
from dadms_ipc.errors import DeadlinePassed, PeerViolation, RequestRefused
from dadms_ipc.shared import Context, reserve
from dadms_orchestrators.sdk import terms
from dadms_orchestrators.sdk.checkpoints import Checkpoints
from dadms_orchestrators.sdk.groups import Group
from dadms_orchestrators.sdk.handles import TRAVEL_BYTES, TRAVEL_MOST, Handle, Team
from dadms_orchestrators.sdk.session import CheckpointKept, Event, LineWanted, Session, StopRequested

if TYPE_CHECKING:
    from dadms_ipc.client import Client
    from dadms_ipc.inbox import Message
    from dadms_orchestrators.sdk.line import Line

decoder(wire.ToProcess)  # made here, in the zygote, instead of in every process: it takes 0.7 ms and 150 pages

Check = Callable[[Any], None]  # raises RequestRefused for arguments that do not fit

IPC = "ipc://"  # the line needs the runtime directory, which is where the sockets are
NOTES_LIMIT = 1000  # notes that wait for a kernel that does not read; older ones are dropped
SUBMIT_LIMIT = FRAME_LIMIT - 4096  # bytes of arguments; the slack is the header's and the labels'
LOOK_EVERY = 64  # threads that are created between two looks at the port: a look costs as much as creating two
SETTLE_SECONDS = 10.0  # for the kernel to write the outcome down; it answers in milliseconds, its successor within a second
BEATS_A_WATCHDOG = 3.0  # signs of life in the time that the kernel waits for one: two may come late
SIGNAL_GRACE = 5.0  # seconds assumed when SIGTERM came without the kernel's word


class MessageArrived(Event, frozen=True):
    """Somebody sent this process a message over the bus: answer a request, acknowledge or refuse a send."""

    message: "Message"


class Process:
    """One incarnation, from its open gate to its outcome. One thread owns it."""

    def __init__(self, port: socket.socket, gate: wire.Gate) -> None:
        self.pid = gate.pid
        self.incarnation = gate.incarnation
        self.name = gate.name
        self.directory = gate.workplace or gate.directory
        self.topics = gate.topics
        self.gate = gate
        self._channel: Channel[wire.ToProcess] = Channel(port, wire.ToProcess)
        self._session = Session()
        self._outgoing: deque[wire.Said] = deque()  # rule 2
        self._events: deque[Event] = deque()
        self._encoder = msgspec.msgpack.Encoder()
        self._is_stopping = False
        self._until_look = LOOK_EVERY
        self._checks: dict[str, Check] = {}  # of the entries that declared their arguments
        self._retries: dict[str, wire.Retry] = {}  # of the entries that declared when they are tried again
        self._signals = _SignalPipe()
        self._poll = select.poll()
        self._poll.register(self._channel.fileno(), select.POLLIN)
        self._is_written_later = False  # it is looked at for writing as well
        if self._signals.fd is not None:
            self._poll.register(self._signals.fd, select.POLLIN)
        self._line: Line | None = None
        self._beat_every = gate.watchdog / BEATS_A_WATCHDOG  # seconds; 0.0: nobody wants to hear it
        self._beat_at = 0.0  # monotonic: when the next is due
        self._is_closed = False

    @cached_property
    def config(self) -> Any:
        """Give what the process was started with."""
        return msgspec.msgpack.decode(self.gate.config)

    @cached_property
    def restored(self) -> Any:
        """Give the last checkpoint of an earlier incarnation, from which this one is to go on; None when it begins anew. Raises RequestRefused when it cannot be read."""
        return self._checkpoints.restored(self.gate.restored)

    def checkpoint(self, value: object) -> None:
        """Say from where the next incarnation is to go on, should this one be lost; the newest counts, until there is an outcome. Does not wait.

        What is submitted afterwards begins after it is in the journal. A large value is kept as an artifact. Raises RequestRefused when it does not encode, or there is no room for it.
        """
        made = self._checkpoints.make(value, self._session.last_checkpoint + 1)
        self._outgoing = deque(message for message in self._outgoing if not isinstance(message, wire.Checkpoint))
        self._send(self._session.checkpoint(made))

    @cached_property
    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(self.incarnation, lambda: self.artifacts)

    @cached_property
    def context(self) -> Context:
        """Give the shared context of this process; a call waits for its answer, and what comes meanwhile waits for ``next_event``."""
        return Context(self._call)

    @cached_property
    def artifacts(self) -> Store:
        """Give the artifacts of this process."""
        return Store(self.gate.directory, self.pid, lambda size: reserve(self._call, size))

    def artifact(self, value: object) -> Artifact:
        """Keep bytes, a NumPy array or an Arrow table; the reference travels in arguments, results and contexts."""
        return self.artifacts.put(value)

    def open(self, value: object) -> Any:
        """Give what a reference stands for, mapped into memory and read-only."""
        return self.artifacts.open(value)

    def _call(self, operation: wire.Asked, pid: int, seconds: float) -> wire.ContextAnswer:
        calls = self._session.calls
        deadline = time.monotonic() + seconds
        call = calls.ask(operation, pid=pid)
        poll = select.poll()  # of the port alone: a signal waits for next_event
        try:
            self._send([call])
            while (answer := calls.take(call.sequence)) is None:
                left = deadline - time.monotonic()
                if left <= 0.0:
                    raise DeadlinePassed(f"cannot {operation.__struct_config__.tag}: no kernel answered in {seconds:g} s")
                self._pump()
                poll.register(self._channel.fileno(), select.POLLIN | (select.POLLOUT if self._channel.waits_to_write else 0))
                piece = self._beat(left)
                if poll.poll(None if piece is None else piece * 1000.0):
                    self._read()
        finally:
            calls.abandon(call.sequence)  # if it has no answer: an exception came instead
        return answer

    @property
    def open_threads(self) -> int:
        """Count the threads that were submitted and have not ended."""
        return self._session.open_threads

    @property
    def has_outcome(self) -> bool:
        """Tell whether the outcome is in the kernel's journal."""
        return self._session.is_recorded

    def ready(self, entries: Iterable[str], warnings: Sequence[str] = ()) -> None:
        """Say which entries this process runs, and that it is ready. The arguments of those that declared them are checked from now on.

        What an entry asks of its workers (``async``, a memory limit) is known of a map of entries only.
        """
        declarations: list[wire.Declaration] = []
        if isinstance(entries, Mapping):
            self._checks = {name: check for name, entry in entries.items() if (check := getattr(entry, "check", None)) is not None}
            self._retries = {name: retry for name, entry in entries.items() if (retry := getattr(entry, "retry", None)) is not None}
            declarations = [made for name, entry in entries.items() if (made := declaration_of(name, entry)) is not None]
        self._send(self._session.ready(list(entries), warnings, declarations))

    def submit(
        self,
        entry: str,
        arguments: Iterable[object],
        *,
        labels: Sequence[str] = (),
        timeout: float | None = None,
        retry: wire.Retry | None = None,
        keys: Sequence[str] = (),
        group: Team | None = None,
    ) -> int:
        """Run an entry once for each argument, in parallel as far as workers and slots allow; events name the ticket given.

        ``timeout`` is in seconds of running; ``retry`` takes the place of what the entry declared; ``keys``, one a thread, are as for ``create``. Raises RequestRefused when the arguments cannot travel, or do not fit what the entry declared.
        """
        terms.check(
            f'submit "{entry}"',
            labels=list(labels),
            timeout=timeout,
            retry=retry,
            keys=list(keys),
            group=group.name if group is not None else "",
        )
        check = self._checks.get(entry)
        if check is not None:
            arguments = list(arguments)
            for argument in arguments:
                check(argument)
        try:
            encoded = [self._encoder.encode(argument) for argument in arguments]
        except (TypeError, OverflowError, RecursionError) as error:
            raise RequestRefused(f'cannot submit "{entry}": its arguments do not encode as msgpack: {error}') from error
        if not encoded:
            raise RequestRefused(
                f'cannot submit "{entry}": no arguments are given, and each would be a thread; [None] is one thread without any'
            )
        for what, given in (("labels", labels), ("keys", keys)):
            if given and len(given) != len(encoded):
                raise RequestRefused(f'cannot submit "{entry}": {len(given)} {what} for {len(encoded)} arguments')
        size = sum(map(len, encoded))
        if size > SUBMIT_LIMIT:
            raise RequestRefused(
                f'cannot submit "{entry}": {size} bytes of arguments, at most {SUBMIT_LIMIT} travel at once; give it artifacts instead, process.artifact(value)'
            )
        ticket, messages = self._session.submit(
            entry,
            [msgspec.Raw(argument) for argument in encoded],
            labels,
            timeout,
            retry=retry or self._retries.get(entry),
            keys=keys,
            group=group,
        )
        self._send(messages)
        return ticket

    def create(
        self,
        entry: str,
        argument: object = None,
        *,
        label: str = "",
        timeout: float | None = None,
        priority: int = 0,
        deadline: float | None = None,
        retry: wire.Retry | None = None,
        key: str = "",
        group: Team | None = None,
    ) -> Handle:
        """Make one thread and give its handle; it is on its way at once, or with the next ones when others are. Never waits.

        ``timeout`` is in seconds of running, ``deadline`` in seconds until it should have begun (the policy "deadline" goes by it); a higher ``priority``,
        -100 to 100, is sooner; ``retry`` takes the place of what the entry declared. One whose ``key`` this process used before, in an earlier incarnation too, does not run: it ends as that one does or did. Raises RequestRefused when the argument does not encode, or does not fit what the entry declared; that the kernel refuses the thread (its queue is full) is told by the handle.
        """
        if label or key or timeout is not None or priority or deadline is not None or retry is not None:
            terms.check(f'submit "{entry}"', labels=[label], timeout=timeout, priority=priority, deadline=deadline, retry=retry, keys=[key])
        if entry in self._checks:
            self._checks[entry](argument)
        try:
            encoded = self._encoder.encode(argument)
        except (TypeError, OverflowError, RecursionError) as error:
            raise RequestRefused(f'cannot submit "{entry}": its argument does not encode as msgpack: {error}') from error
        if len(encoded) > SUBMIT_LIMIT:
            raise RequestRefused(
                f'cannot submit "{entry}": {len(encoded)} bytes of arguments, at most {SUBMIT_LIMIT} travel at once; give it an artifact instead, process.artifact(value)'
            )
        if retry is None and self._retries:
            retry = self._retries.get(entry)
        session = self._session
        submission = session.tail
        if (
            submission is None
            or submission.entry != entry
            or submission.timeout != timeout
            or submission.count >= TRAVEL_MOST
            or priority
            or deadline
            or submission.priority
            or submission.deadline
            or submission.retry is not retry
            or submission.group is not group
        ):
            submission = session.place(entry, timeout, priority, deadline, retry, group)
        handle = Handle(submission, submission.add(encoded, label, key))
        self._until_look -= 1
        if not session.is_asking:
            self._send(session.advance())
        elif self._until_look <= 0:  # for the answer that lets the next ones go
            self._until_look = LOOK_EVERY
            if len(submission.packed) >= TRAVEL_BYTES:
                session.tail = None
            self._pump()
            self._read()
        return handle

    def wait(self, handles: Iterable[Handle], *, count: int | None = None, timeout: float | None = None) -> bool:
        """Wait until so many of these threads have ended, all of them unless ``count`` says otherwise; False after ``timeout`` seconds.

        It returns early, with False, when the process is asked to stop: the next event tells why. Raises RequestRefused where there are not so many,
        ChannelClosed when the daemon is gone.
        """
        waiting = list(handles)
        needed = len(waiting) if count is None else count
        if count is not None and not 1 <= count <= len(waiting):
            raise RequestRefused(f"cannot wait for {count} of {len(waiting)} threads")
        deadline = None if timeout is None else time.monotonic() + timeout
        done = 0
        if needed == len(waiting):
            waiting.reverse()
        while True:
            if needed == len(waiting) + done:  # all: each is looked at once it may have ended, and not again
                while waiting and waiting[-1].has_ended:
                    waiting.pop()
                    done += 1
            else:
                done = sum(1 for handle in waiting if handle.has_ended)
            if done >= needed:
                return True
            left = None if deadline is None else deadline - time.monotonic()
            if self._is_stopping or (left is not None and left <= 0.0):
                return False
            self._await(left)

    def suspend(self, handle: Handle) -> None:
        """Have a thread stand still: one that runs in the middle of its work, one that waits in the queue. One that has ended is left alone."""
        self._send(self._session.steer("suspend", *handle.place))

    def resume(self, handle: Handle) -> None:
        """Let a suspended thread go on as soon as a slot is free for it."""
        self._send(self._session.steer("resume", *handle.place))

    def set_priority(self, handle: Handle, priority: int) -> None:
        """Give a thread that waits another priority, -100 to 100; higher is sooner."""
        self._send(self._session.steer("priority", *handle.place, value=priority))

    def terminate(self, handle: Handle) -> None:
        """Terminate a thread; one that has ended is left alone."""
        self.cancel(*handle.place)

    def cancel(self, ticket: int, index: int = 0) -> None:
        """Terminate a thread; its end comes as an event."""
        self._send(self._session.cancel(ticket, index))

    def group(self, name: str, *, cancel_on_failure: bool = False) -> Group:
        """Give a group of threads, to be waited for and steered together; with ``cancel_on_failure``, one that fails has the kernel cancel the others."""
        terms.check("make a group", group=name, cancels=cancel_on_failure)
        return Group(self, name, cancel_on_failure=cancel_on_failure)

    def steer_group(self, name: str, verb: str, value: int = 0) -> None:
        """Have something done with all open threads of a group: "suspend", "resume", "priority" or "kill"."""
        self._send(self._session.steer_group(verb, name, value))

    def note(self, kind: str, text: str, data: object = None) -> None:
        """Put a fact into the event stream; it may be lost while no kernel reads."""
        waiting = sum(isinstance(message, wire.Note) for message in self._outgoing) if len(self._outgoing) >= NOTES_LIMIT else 0
        if waiting >= NOTES_LIMIT:
            self._outgoing.remove(next(message for message in self._outgoing if isinstance(message, wire.Note)))
        self._send([wire.Note(kind, text, msgspec.Raw(self._encoder.encode(data)))])

    def outcome(self, status: str, value: object, reason: str = "") -> None:
        """Say what the process came to: "completed" or "failed" with one sentence. The first outcome stands; then ``settle`` and exit."""
        self._send(self._session.outcome(status, msgspec.Raw(self._encoder.encode(value)), reason))

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Wait for what comes next, at most ``timeout`` seconds (None: for ever); None when nothing came.

        Asking for the next event acknowledges the results that were given before. Raises ChannelClosed when the daemon is gone.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._events:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._await(left) and not self._events:
                return None
        return self._events.popleft()

    def _await(self, timeout: float | None) -> bool:
        """Take in what comes next, of the kernel one message: it is mostly what is waited for. False when nothing came in time. What was given before is acknowledged by it."""
        if not self._events:
            self._send(self._session.seen())
        if self._outgoing or self._channel.waits_to_write:
            self._pump()
        ready = self._wait(timeout)
        if self._channel.fileno() in ready:
            self._read_one()
        if self._line is not None and self._line.fileno() in ready:
            self._events.extend(map(MessageArrived, self._line.messages()))
        if self._signals.fd in ready and self._signals.drain():
            self._read()  # the kernel's own word comes first, it has the reason
            self._stop(StopRequested("SIGTERM", SIGNAL_GRACE))
        return bool(ready)

    def listen(self) -> None:
        """Open the line to the bus now: what others send comes as MessageArrived. A process without a bus hears nothing, and that is all."""
        if self._line is None and self.gate.control.startswith(IPC) and not self._is_closed:
            from dadms_ipc.envelope import Identity
            from dadms_orchestrators.sdk.line import Line  # heavy: an orchestrator that speaks imports it in its zygote

            self._line = Line(Path(self.gate.control.removeprefix(IPC)).parent, Identity(self.pid, self.incarnation, self.gate.secret))
            self._poll.register(self._line, select.POLLIN)

    def client(self, *, timeout: float = 5.0) -> "Client":
        """Give a client that speaks as this process, to start, watch and end others: what it has spawned is a child of this one. What is sent to the process comes as before.

        Its calls wait for their answers, and nothing comes to ``next_event`` meanwhile. Raises RequestRefused where the process has no bus.
        """
        if not self.gate.control.startswith(IPC):
            raise RequestRefused(f"cannot speak as process {self.pid}: it was started without a bus")
        from dadms_ipc.client import Client, Identity  # heavy, as the line

        return Client(
            Path(self.gate.control.removeprefix(IPC)).parent,
            identity=Identity(self.pid, self.incarnation, self.gate.secret),
            timeout=timeout,
            receives=False,
        )

    def publish(self, topic: str, body: object) -> None:
        """Tell whoever subscribes. Never waits; what finds no bus is dropped."""
        self.listen()
        if self._line is not None:
            self._line.publish(topic, self._encoder.encode(body))

    def reply(self, message: "Message", body: object) -> None:
        """Answer a request. A SEND is acknowledged or refused instead; the log says it when it is not."""
        if self._line is not None:
            self._line.reply(message, self._encoder.encode(body))

    def acknowledge(self, message: "Message") -> None:
        """Tell the sender of a message that is no request that it was handled."""
        if self._line is not None:
            self._line.acknowledge(message)

    def refuse(self, message: "Message", reason: str) -> None:
        """Tell a sender that its message or request was not handled, and why."""
        if self._line is not None:
            self._line.refuse(message, reason)

    def settle(self) -> None:
        """Wait until the outcome, when there is one, is in the kernel's journal. Raises ChannelClosed when the daemon is gone."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._session.owes_outcome and not self._is_stopping and time.monotonic() < deadline:
            self.next_event(deadline - time.monotonic())
        self._pump()

    def close(self, *, is_broken: bool = False) -> None:
        """Give the descriptors back; what was not sent is dropped. What a process that is broken had not acknowledged may be what broke it, and counts as that."""
        self._is_closed = True
        if self._line is not None:
            self._line.close(is_broken=is_broken)
            self._line = None
        self._signals.close()
        self._channel.close()

    def _send(self, messages: Sequence[wire.Said]) -> None:
        if messages:
            self._outgoing.extend(messages)
            self._pump()

    def _pump(self) -> None:
        """Hand over what the socket takes; the rest stays in its order."""
        if self._channel.waits_to_write and not self._channel.flush():
            return
        while self._outgoing and not self._channel.waits_to_write:
            self._channel.send(self._outgoing.popleft())

    def _wait(self, timeout: float | None) -> set[int]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            piece = self._beat(left) if self._beat_every else left
            if self._channel.waits_to_write != self._is_written_later:
                self._is_written_later = not self._is_written_later
                self._poll.modify(self._channel.fileno(), select.POLLIN | (select.POLLOUT if self._is_written_later else 0))
            events = self._poll.poll(None if piece is None else piece * 1000.0)
            if events or piece == left:
                return {fd for fd, _ in events}

    def _beat(self, left: float | None) -> float | None:
        """Say that the process lives, when that is due (rule 5); gives the seconds of ``left`` that may pass until it is due again."""
        if not self._beat_every:
            return left
        now = time.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + self._beat_every
            if not self._channel.waits_to_write:  # a kernel that does not read hears the next one
                self._send([wire.Watchdog()])
        due = self._beat_at - now
        return due if left is None else min(left, due)

    def _read(self) -> None:
        """Take in what has come."""
        while self._read_one():
            pass

    def _read_one(self) -> bool:
        """Take in the next message, if one has come."""
        try:
            frame = self._channel.receive(0.0)
            if frame is None:
                return False
            if isinstance(frame.body, wire.Hello):  # everything unanswered comes again: not twice
                self._outgoing = deque(message for message in self._outgoing if isinstance(message, wire.Note))
            events, messages = self._session.receive(frame.body)
        except PeerViolation as violation:
            print(f"the kernel broke the protocol: {violation}", file=sys.stderr)  # noqa: T201 - stderr is this process's log
            return True
        for event in events:
            if isinstance(event, StopRequested):
                self._stop(event)
            elif isinstance(event, LineWanted):
                self.listen()
            elif isinstance(event, CheckpointKept):
                self._checkpoints.kept(event.number, event.reason)
            else:
                self._events.append(event)
        if messages:
            self._send(messages)
        return True

    def _stop(self, event: StopRequested) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._events.append(event)


def declaration_of(name: str, entry: object) -> wire.Declaration | None:
    """Give what an entry asks of its workers; None when a plain worker will do."""
    made = wire.Declaration(
        name,
        is_async=getattr(entry, "is_async", None) or iscoroutinefunction(entry),
        at_once=getattr(entry, "at_once", None) or 0,
        memory_limit=getattr(entry, "memory_limit", None),
    )
    return made if made != wire.Declaration(name) else None


class _SignalPipe:
    """SIGTERM as a readable descriptor. In a thread other than the main one (a test's) there are no signals, and no descriptor."""

    def __init__(self) -> None:
        self.fd: int | None = None
        fd, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._previous_fd = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        except ValueError:
            os.close(fd)
            os.close(write)
            return
        self.fd, self._write = fd, write
        # The wakeup descriptor tells; the default would end us at once.
        self._previous = signal.signal(signal.SIGTERM, lambda _number, _frame: None)

    def drain(self) -> bool:
        """Read what is there; tell whether SIGTERM was in it."""
        assert self.fd is not None
        return signal.SIGTERM in os.read(self.fd, 4096)

    def close(self) -> None:
        if self.fd is not None:
            signal.set_wakeup_fd(self._previous_fd)
            signal.signal(signal.SIGTERM, self._previous)
            os.close(self.fd)
            os.close(self._write)
            self.fd = None
