"""The synchronous client: a thin shell that moves frames between its wires (wires.py) and the session, on the caller's own thread.

There is no thread of ours: what arrives while the program does something else waits in the socket, and the session's work is done whenever the program
calls. A client belongs to one thread of one process: after a fork the child opens its own.
"""

import os
import select
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dadms_ipc.codec import decode_body, encode_body, encode_request
from dadms_ipc.dialogue import (
    CLOSE_TIMEOUT,
    NO_TOPIC,
    SLICE,
    START_TIMEOUT,
    TAKEN,
    Dialogue,
    UnderWay,
    check_body,
    check_texts,
    decode_map,
    decoded,
    outcome,
)
from dadms_ipc.envelope import BODY_LIMIT, COORDINATION_SIGNAL, OK, Door, Identity, Kind, Reached
from dadms_ipc.errors import DadmsError, DeadlinePassed, Unreachable
from dadms_ipc.inbox import Message
from dadms_ipc.keys import Key
from dadms_ipc.session import Answer
from dadms_ipc.statuses import raise_for
from dadms_ipc.wires import WAIT, Wire

if TYPE_CHECKING:
    from dadms_ipc.answers import Request

__all__ = ["Client", "Identity", "Message"]

WAITING_LIMIT = 1024  # publications that may wait for the socket before `publish` waits too


class Client(Dialogue):
    """A session with the daemon, for programs that block: ``with Client() as client``."""

    def __init__(
        self,
        runtime_dir: str | Path | None = None,  # or tcp://HOST[:PORT]; None: what the environment says
        *,
        timeout: float = 5.0,  # seconds, of every call that names none
        identity: Identity | None = None,  # of a process that speaks as itself
        start_timeout: float = START_TIMEOUT,  # seconds; more for a daemon that was just started
        key: str | Path | Key | None = None,  # for tcp://: the file that `dadmsctl keys new` wrote
        coalesce: bool = True,  # False: each message leaves in a frame of its own
        service: str = "",  # name under which others reach this client as well; refused when it is somebody else's
        receives: bool = True,  # False, of a process: what is sent to it is for another of its clients
    ) -> None:
        super().__init__(
            runtime_dir,
            key,
            timeout=timeout,
            identity=identity,
            software="dadms_ipc (python)",
            coalesce=coalesce,
            service=service,
            receives=receives,
        )
        self._poll = select.poll()
        self._next_look = 0.0  # when every door is looked at again
        self._is_torn = False  # an exception left the wires as they were in the middle of something
        self._taken: list[Message] = []  # whose acknowledgement an interrupt kept from its socket: for the next who receives
        self.target.check()
        self._await_path(start_timeout)
        self._is_open = True
        try:
            self._open(Door.CONTROL)
            self._until(lambda: self._session.is_welcomed(Door.CONTROL) or self._is_over, monotonic() + timeout)
            self._raise_if_over()
            if not self._session.is_welcomed(Door.CONTROL):
                raise self.target.unreachable(timeout, self.target.diagnosis())
            self._raise_if_misled()
        except BaseException:
            self.close()
            raise

    @classmethod
    def of_process(
        cls,
        *,
        timeout: float = 5.0,  # seconds, of every call that names none
        start_timeout: float = START_TIMEOUT,
        coalesce: bool = True,
        receives: bool = True,  # False: this one sends and asks, and what is sent to the process is for another of its clients
    ) -> Self:
        """Give the client of a service or tool, or of a program that one runs: it speaks as its process (``with Client.of_process()``).

        Raises RequestRefused where the program is no part of one, or the incarnation has ended.
        """
        from dadms_ipc.identity import own_identity  # here: most programs are clients

        directory, identity = own_identity()
        return cls(directory, timeout=timeout, identity=identity, start_timeout=start_timeout, coalesce=coalesce, receives=receives)

    # requests to the kernel

    def call(self, request: "Request", *, timeout: float | None = None) -> Any:
        """Ask the kernel, or the bus about its dead letters, and give the answer, of the type that dadms_ipc.answers names.

        The deadline is ``timeout`` seconds, and whatever the request lets the kernel wait on top. Raises RequestRefused, HostFailure, InternalError,
        DeadlinePassed or Unreachable.
        """
        sequence, seconds = self._ask_service(request, timeout)
        answer = self._wait_for(sequence, seconds, Door.CONTROL)
        return decoded(request, answer)

    def call_many(self, requests: "Iterable[Request]", *, timeout: float | None = None) -> list[Any]:
        """Ask as `call` does, several at a time, and give what each came to, in their order: its answer, or the DadmsError that `call` would have raised.

        Many times faster than one after the other: what is asked together is decided together. The time-out is of each request, from when it is asked: an iterator is asked for the
        next ones as answers make room. Raises Unreachable when nobody is there to ask.
        """
        asked: list[tuple[Request, float]] = []
        answers: list[Any] = []
        under_way, left = UnderWay(), iter(requests)
        try:
            while True:
                while not under_way.is_enough() and (request := next(left, None)) is not None:
                    body = encode_request(request)
                    sequence, seconds = self._ask_encoded(request, body, timeout)
                    under_way.add(sequence, len(asked), [body])
                    asked.append((request, seconds))
                if not under_way:
                    return answers
                answer: Answer | None = self._answer(under_way.first()[0], Door.CONTROL)
                while answer is not None:  # so do those whose answers came with it
                    answers.append(self._came_to(*asked[under_way.pop()[1]], answer))
                    answer = self._session.take(under_way.first()[0]) if under_way else None
        finally:
            for sequence in under_way:
                self._session.forget(sequence)

    def call_raw(self, body: bytes, *, to: str = "kernel", timeout: float | None = None) -> Answer:
        """Ask a service with a body of the caller's own making; gives the status and the body of the answer."""
        return self._answer_to(Kind.CALL, body, to, "", timeout)

    def bus_status(self, *, timeout: float | None = None) -> dict[str, Any]:
        """Give the counters of the bus."""
        return decode_map(self._answer_to(Kind.CALL, encode_body({"verb": "status"}), "bus", "", timeout))

    # messages

    def send(
        self,
        to: str,
        topic: str,
        body: bytes = b"",
        *,
        timeout: float | None = None,
        expiry: float | None = None,  # seconds that it may wait on disk for its receiver; None: an hour
        priority: str = "normal",  # or "urgent", "later": in order among its like
    ) -> str:
        """Send a message; gives "handled" when its receiver has handled it, "stored" when it waits for its receiver on disk.

        Raises RequestRefused with the receiver's reason, or the bus's, and DeadlinePassed when neither happened in time: then it may still be handled.
        """
        return outcome(self._answer_to(Kind.SEND, body, to, topic, timeout, priority, expiry))

    def send_many(
        self,
        to: str,
        topic: str,
        bodies: Sequence[bytes],
        *,
        timeout: float | None = None,
        expiry: float | None = None,
        priority: str = "normal",
    ) -> None:
        """Send messages to one receiver, in their order; returns when each is handled, or stored.

        Many times faster than one after the other: what travels together costs once. The time-out is of each message, from when it is sent. Raises
        PartlyRefused, which tells the refused ones, when the others have been handled.
        """
        answer: Answer | None = None
        with closing(self._sending(to, topic, bodies, timeout, priority, expiry)) as sending, suppress(StopIteration):
            while True:
                answer = self._answer(sending.send(answer))

    def broadcast(
        self,
        scope: str,  # "all", "children", "children/PID", "type/TYPE", "group/NAME"
        topic: str = COORDINATION_SIGNAL,
        body: bytes = b"",
        *,
        timeout: float | None = None,
        expiry: float | None = None,
        priority: str = "normal",
    ) -> Reached:
        """Send a message to every process of a scope; says how many have handled it, and for how many it waits on disk, once that is known of each."""
        answer = self._answer_to(Kind.BROADCAST, body, scope, topic, timeout, priority, expiry)
        raise_for(answer.status, answer.body)
        return decode_body(answer.body, Reached)

    def request(
        self, to: str, body: bytes = b"", *, topic: str = "TASK_REQUEST", timeout: float | None = None, priority: str = "normal"
    ) -> bytes:
        """Send a request and give the body of its answer."""
        seconds = self.timeout if timeout is None else timeout
        answer = self._conclude(self._answer(self._ask(Kind.REQUEST, body, to, topic, seconds, priority)), seconds)
        if answer.status != OK:
            raise_for(answer.status, answer.body)
        return answer.body

    def publish(self, topic: str, body: bytes = b"", *, timeout: float | None = None) -> None:
        """Tell whoever subscribes, at most once; returns when the message is on its way."""
        seconds = self._seconds(timeout)
        deadline = monotonic() + seconds
        check_texts("", topic)
        check_body(body, BODY_LIMIT)
        self._open(Door.DATA)
        self._session.publish(topic, body, deadline=deadline)
        self._until(self._is_published, deadline)
        self._raise_if_over()
        if self._session.waiting(Door.DATA) > WAITING_LIMIT or not self._session.is_welcomed(Door.DATA):
            raise self.target.unreachable(seconds)

    def confirm(self, *, timeout: float | None = None) -> None:
        """Return when the bus has taken everything that was published; raises RequestRefused with the reason when it would not have the last of it."""
        self.unsubscribe(NO_TOPIC, timeout=timeout)  # what comes after it is answered after it
        self._complain()

    def subscribe(self, pattern: str, *, timeout: float | None = None) -> None:
        """Ask for publications; returns when the bus has the subscription, which then survives lost connections."""
        raise_for(*self._answer_to(Kind.SUBSCRIBE, b"", "", pattern, timeout)[:2])

    def unsubscribe(self, pattern: str, *, timeout: float | None = None) -> None:
        """Ask for no more publications of a pattern."""
        self._open(Door.DATA)
        seconds = self._seconds(timeout)
        raise_for(*self._wait_for(self._session.unsubscribe(pattern, deadline=monotonic() + seconds), seconds)[:2])

    def receive(self, *, timeout: float | None = None, acknowledge: bool = True) -> Message:
        """Give the next message; raises DeadlinePassed when none comes in ``timeout`` seconds.

        A SEND is acknowledged as it is handed over. With ``acknowledge=False`` the program says ``acknowledge`` or ``refuse`` itself, once it has handled it.
        """
        return self._receive(1, timeout, acknowledge)[0]

    def receive_many(self, limit: int = TAKEN, *, timeout: float | None = None, acknowledge: bool = True) -> list[Message]:
        """Give the messages that are here, at least one and at most ``limit``; what is handed over together is acknowledged together."""
        return self._receive(limit, timeout, acknowledge)

    def wait(self, other: int, *, timeout: float | None = None) -> bool:
        """Wait for a message, or until another descriptor of the program's is readable; True when there is a message to receive.

        For a program that serves both, and for one whose other threads have to wake it: an eventfd is the descriptor then.
        """
        self._open(Door.DATA)
        deadline = monotonic() + self._seconds(timeout)
        theirs = select.poll()
        theirs.register(other, select.POLLIN)
        self._flush_safely()
        try:
            while not self._taken and not self._session.inbox:
                self._raise_if_over()
                self._poll.register(other, select.POLLIN)  # again each time: it may be a new poll object
                if theirs.poll(0) or not self._step(deadline):
                    return False
            return True
        finally:
            self._left(other)

    # the life of it

    def close(self, *, farewell: bool = True) -> None:
        """End the session; takes CLOSE_TIMEOUT and the sockets' linger at most.

        Without a ``farewell`` the bus is left to find out: what a process had in its hands and did not acknowledge counts as what it died with.
        """
        if self._pid != os.getpid():  # the parent's, which is not to be said goodbye to
            return
        if self._wires:
            if farewell:
                self._session.close()
            self._until(self._is_said, monotonic() + CLOSE_TIMEOUT)
        self._disconnect_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # within

    def _clock(self) -> float:
        return monotonic()

    def _answer_to(
        self,
        kind: Kind,
        body: bytes,
        to: str,
        topic: str,
        timeout: float | None,
        priority: str = "normal",
        expiry: float | None = None,
    ) -> Answer:
        seconds = self.timeout if timeout is None else timeout
        door = Door.CONTROL if kind == Kind.CALL else Door.DATA
        return self._wait_for(self._ask(kind, body, to, topic, seconds, priority, expiry), seconds, door)

    def _wait_for(self, sequence: int, seconds: float, door: Door = Door.DATA) -> Answer:
        return self._conclude(self._answer(sequence, door), seconds)

    def _came_to(self, request: "Request", seconds: float, answer: Answer) -> Any:
        try:
            return decoded(request, self._conclude(answer, seconds))
        except Unreachable:
            raise
        except DadmsError as error:
            return error

    def _answer(self, sequence: int, door: Door = Door.DATA) -> Answer:
        session, answer = self._session, None
        try:
            self._flush_safely()
            looked = monotonic()
            while (answer := session.take(sequence)) is None:
                self._listen(door, None)  # the session's own deadline ends it
                if monotonic() - looked >= SLICE:
                    looked = monotonic()
                    self._demand_a_keeper(looked)
        finally:
            if answer is None:
                session.forget(sequence)  # an interrupt: nobody waits any more
        return answer

    def _receive(self, limit: int, timeout: float | None, acknowledge: bool) -> list[Message]:
        self._open(Door.DATA)
        seconds = self._seconds(timeout)
        deadline = monotonic() + seconds
        self._flush_safely()
        while not self._taken and not (messages := self._take(limit, acknowledge=acknowledge)):
            self._raise_if_over()
            if not self._listen(Door.DATA, deadline):
                raise DeadlinePassed(f"no message came in {seconds:g} s")
        if not self._taken:
            self._taken = messages
        self._hand_over()
        messages, self._taken = self._taken[:limit], self._taken[limit:]
        return messages

    def _hand_over(self) -> None:
        """Give answers to the socket, and wait for room there: nobody else will when the program does not call again."""
        session = self._session
        if session.has_outgoing:
            self._flush_safely()
        if self._has_unsent(Door.DATA):
            self._until(lambda: not self._has_unsent(Door.DATA), monotonic() + self.timeout)

    def _until(self, is_done: Callable[[], bool], deadline: float) -> None:
        self._flush_safely()
        while not is_done() and self._step(deadline):
            pass

    def _listen(self, door: Door, deadline: float | None) -> bool:
        """Do as `_step`, sooner: wait in the one socket that matters. What comes at the other door is looked at every SLICE."""
        if self._is_torn:
            self._mend()
        now, session, wire = monotonic(), self._session, self._wires[door]
        own, end = session.next_deadline(), now + SLICE
        if (
            now >= self._next_look
            or session.has_outgoing  # what waits for room in a socket is woken by its descriptor only
            or not wire.is_settled
            or self._network is not None
            or (deadline is not None and deadline < end)
            or (own is not None and own < end)
        ):
            self._next_look = end
            return self._step(deadline)
        try:
            frames = wire.receive(WAIT)
            if frames is not None:
                session.handle(door, frames, monotonic())
        except BaseException:
            self._is_torn = True
            raise
        if frames is None:
            self._next_look = now
            return True
        if session.has_outgoing:
            self._flush_safely()
        return True

    def _step(self, deadline: float | None) -> bool:
        """Take what came, or else wait for something to come; False when the deadline passed. Ends with nothing left that a socket would take."""
        if deadline is not None and monotonic() >= deadline:
            return False
        if self._is_torn:
            self._mend()
        try:
            return self._take_turn(deadline)
        except BaseException:
            self._is_torn = True
            raise

    def _take_turn(self, deadline: float | None) -> bool:
        now, session = monotonic(), self._session
        if self._network is not None:
            self._hear_denials()
            if self._is_over:
                return True
        for wire in self._wires.values():
            if wire.due is not None:
                wire.revive(now)
        wires = [wire for wire in self._wires.values() if not wire.is_quiet and wire.has_more()]
        if not wires:
            own = session.next_deadline()
            end = now + SLICE
            if deadline is not None and deadline < end:
                end = deadline
            if own is not None and own < end:
                end = own
            for wire in self._wires.values():
                if wire.due is not None and wire.due < end:
                    end = wire.due
            for fd, happened in self._poll.poll(max(0.0, end - now) * 1000.0):
                wires += [wire for wire in self._wires.values() if wire.fd == fd]
                if happened & select.POLLOUT and wires:
                    wires[-1].push()
        for wire in wires:
            self._read(wire)
        due = session.next_deadline()
        if due is not None and (now := monotonic()) >= due:
            session.tick(now)
        if session.has_outgoing:
            self._flush_safely()
        return True

    def _read(self, wire: Wire) -> None:
        """Take one message: it is most often the one that was waited for, and whoever waited looks at it before there is another."""
        frames = wire.receive()
        if frames is not None:
            self._session.handle(wire.door, frames, monotonic())

    def _flush_safely(self) -> None:
        if self._is_torn:
            self._mend()
        try:
            self._flush()
        except BaseException:
            self._is_torn = True
            raise

    def _mend(self) -> None:
        """Begin anew at every door: an interrupt (Ctrl-C) may have left a socket between two frames, or a message taken that nobody has. The bus delivers it again."""
        self._poll = select.poll()  # nothing is in it that an interrupt left there
        for wire in list(self._wires.values()):
            wire.close(0)
            self._connect(wire.door)
        self._is_torn = False

    def _joined(self, fd: int) -> None:
        self._poll.register(fd, select.POLLIN)

    def _left(self, fd: int) -> None:
        with suppress(KeyError):  # of a wire that was torn
            self._poll.unregister(fd)

    def _wants_room(self, fd: int, wants: bool) -> None:
        self._poll.modify(fd, select.POLLIN | select.POLLOUT if wants else select.POLLIN)

    def _await_path(self, start_timeout: float) -> None:
        """Wait until the control door exists; only a daemon that is just starting makes this wait."""
        end = monotonic() + start_timeout
        while not self.target.is_bound(Door.CONTROL):
            if monotonic() >= end:
                raise self.target.unreachable(start_timeout)
            self._poll.poll(5)
