"""The synchronous client: a thin shell that moves frames between ZeroMQ sockets and the session, on the caller's own thread.

There is no thread of ours: what arrives while the program does something else waits in the socket, and the session's work is done whenever the program
calls. A client belongs to one thread of one process: after a fork the child opens its own (ZeroMQ contexts do not survive a fork).
"""

import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

import msgspec
import zmq

from dadms_ipc import targets
from dadms_ipc.answers import Request, decode_answer, patience, raise_for, service_of
from dadms_ipc.codec import decode_body, encode_body, trouble, trouble_of
from dadms_ipc.envelope import (
    BODY_LIMIT,
    CONTROL_BODY_LIMIT,
    COORDINATION_SIGNAL,
    EXPIRED,
    OK,
    PRIORITIES,
    REFUSED,
    STORED,
    Door,
    Identity,
    Kind,
    Reached,
)
from dadms_ipc.errors import DeadlinePassed, RequestRefused
from dadms_ipc.inbox import Message
from dadms_ipc.keys import Key
from dadms_ipc.session import Answer, Session
from dadms_ipc.sockets import Denials, connect
from dadms_ipc.targets import Remote

__all__ = ["Client", "Identity", "Message"]

START_TIMEOUT = 0.1  # seconds that a missing socket may take to appear: a restarted bus binds it anew
CLOSE_TIMEOUT = 0.2  # seconds that close may take to hand over what waits
NO_TOPIC = "dadms/none"  # that nobody subscribes to
HANDLED = "handled"  # what `send` gives when its receiver has said so
SLICE = 1000  # milliseconds of one poll. Signal handlers of Python run between polls only, and libzmq may poll again by itself after a wake-up for nothing, or another
# thread may take the signal: neither is seen in here, and SIGINT or SIGCHLD would wait for the request's own deadline
WAITING_LIMIT = 1024  # publications that may wait for the socket before `publish` waits too


class Client:
    """A session with the daemon, for programs that block."""

    def __init__(
        self,
        runtime_dir: str | Path | None = None,  # or tcp://HOST[:PORT]; None: what the environment says
        *,
        timeout: float = 5.0,  # seconds, of every call that names none
        identity: Identity | None = None,  # of a process that speaks as itself
        start_timeout: float = START_TIMEOUT,  # seconds; more for a daemon that was just started
        key: str | Path | Key | None = None,  # for tcp://: the file that `dadmsctl keys new` wrote
    ) -> None:
        self.target = targets.find(runtime_dir, key)
        self.timeout = timeout
        self._pid = os.getpid()
        self._session = Session(os.urandom(16), identity=identity, software="dadms_ipc (python)")
        self._sockets: dict[Door, zmq.Socket[bytes]] = {}
        self._denials: Denials | None = None
        self._await_path(start_timeout)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._open(Door.CONTROL)
            self._pump_until(lambda: self._session.is_welcomed(Door.CONTROL) or self._is_over, monotonic() + timeout)
            self._raise_if_over()
            if not self._session.is_welcomed(Door.CONTROL):
                raise self.target.unreachable(timeout)
        except BaseException:
            self.close()
            raise

    # requests to the kernel

    def call(self, request: Request, *, timeout: float | None = None) -> Any:
        """Ask the kernel, or the bus about its dead letters, and give the answer, of the type that dadms_ipc.answers names.

        The deadline is ``timeout`` seconds, and whatever the request lets the kernel wait on top. Raises RequestRefused, HostFailure, InternalError,
        DeadlinePassed or Unreachable.
        """
        seconds = (self.timeout if timeout is None else timeout) + patience(request)
        answer = self._ask(Kind.CALL, encode_body(request), to=service_of(request), timeout=seconds)
        return decode_answer(request, answer.status, answer.body)

    def call_raw(self, body: bytes, *, to: str = "kernel", timeout: float | None = None) -> Answer:
        """Ask a service with a body of the caller's own making; gives the status and the body of the answer."""
        return self._ask(Kind.CALL, body, to=to, timeout=timeout)

    def bus_status(self, *, timeout: float | None = None) -> dict[str, Any]:
        """Give the counters of the bus."""
        answer = self._ask(Kind.CALL, encode_body({"verb": "status"}), to="bus", timeout=timeout)
        raise_for(answer.status, answer.body)
        return msgspec.msgpack.decode(answer.body, type=dict[str, Any])

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
        flags = priority_flags(priority)
        answer = self._ask(Kind.SEND, body, to=to, topic=topic, timeout=timeout, flags=flags, expiry=expiry)
        raise_for(answer.status, answer.body)
        return STORED if answer.status == STORED else HANDLED

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
        flags = priority_flags(priority)
        answer = self._ask(Kind.BROADCAST, body, to=scope, topic=topic, timeout=timeout, flags=flags, expiry=expiry)
        raise_for(answer.status, answer.body)
        return decode_body(answer.body, Reached)

    def request(
        self, to: str, body: bytes = b"", *, topic: str = "TASK_REQUEST", timeout: float | None = None, priority: str = "normal"
    ) -> bytes:
        """Send a request and give the body of its answer."""
        flags = priority_flags(priority)
        answer = self._ask(Kind.REQUEST, body, to=to, topic=topic, timeout=timeout, flags=flags)
        raise_for(answer.status, answer.body)
        return answer.body

    def publish(self, topic: str, body: bytes = b"", *, timeout: float | None = None) -> None:
        """Tell whoever subscribes, at most once; returns when the message is on its way."""
        seconds = self.timeout if timeout is None else timeout
        deadline = monotonic() + seconds
        bounded(body, BODY_LIMIT)
        self._open(Door.DATA)
        self._session.publish(topic, body, deadline=deadline)
        self._pump_until(lambda: self._session.is_welcomed(Door.DATA) and self._session.waiting(Door.DATA) == 0, deadline)
        self._raise_if_over()
        if self._session.waiting(Door.DATA) > WAITING_LIMIT or not self._session.is_welcomed(Door.DATA):
            raise self.target.unreachable(seconds)

    def confirm(self, *, timeout: float | None = None) -> None:
        """Return when the bus has taken everything that was published; raises RequestRefused with the reason when it would not have the last of it."""
        self.unsubscribe(NO_TOPIC, timeout=timeout)  # what comes after it is answered after it
        complaint, self._session.complaint = self._session.complaint, None
        if complaint is not None:
            raise_for(complaint.status, complaint.body)

    def subscribe(self, pattern: str, *, timeout: float | None = None) -> None:
        """Ask for publications; returns when the bus has the subscription, which then survives lost connections."""
        raise_for(*self._ask(Kind.SUBSCRIBE, topic=pattern, timeout=timeout)[:2])

    def unsubscribe(self, pattern: str, *, timeout: float | None = None) -> None:
        """Ask for no more publications of a pattern."""
        self._open(Door.DATA)
        seconds = self.timeout if timeout is None else timeout
        raise_for(*self._wait_for(self._session.unsubscribe(pattern, deadline=monotonic() + seconds), seconds)[:2])

    def receive(self, *, timeout: float | None = None, acknowledge: bool = True) -> Message:
        """Give the next message; raises DeadlinePassed when none comes in ``timeout`` seconds.

        A SEND is acknowledged as it is handed over. With ``acknowledge=False`` the program says ``acknowledge`` or ``refuse`` itself, once it has handled it.
        """
        self._open(Door.DATA)
        seconds = self.timeout if timeout is None else timeout
        deadline = monotonic() + seconds
        while (message := self._session.receive(monotonic())) is None:
            self._raise_if_over()
            if not self._pump_once(deadline):
                raise DeadlinePassed(f"no message came in {seconds:g} s")
        if acknowledge and message.kind == Kind.SEND:
            self._session.respond(message, OK)
        self._flush()
        return message

    def acknowledge(self, message: Message) -> None:
        """Tell the sender that its message was handled."""
        self._respond(message, Kind.SEND, OK, b"")

    def reply(self, message: Message, body: bytes = b"") -> None:
        """Answer a request."""
        self._respond(message, Kind.REQUEST, OK, body)

    def refuse(self, message: Message, reason: str) -> None:
        """Tell the sender that its message or request was not handled, and why."""
        self._respond(message, message.kind, REFUSED, trouble(reason))

    @property
    def address(self) -> str:
        """Under which others reach this client."""
        return self._session.address

    @property
    def role(self) -> str:
        """What the bus lets this client do: "observe", "operate" or "admin"."""
        return self._session.role

    @property
    def lost(self) -> int:
        """Publications that the bus dropped as this client did not keep up."""
        return self._session.lost

    # the life of it

    def close(self) -> None:
        """End the session; takes CLOSE_TIMEOUT and the sockets' linger at most."""
        if self._pid != os.getpid():  # the parent's: pyzmq leaves it alone in a child
            return
        if self._sockets:
            self._session.close()
            deadline = monotonic() + CLOSE_TIMEOUT
            self._pump_until(
                lambda: not any(self._session.waiting(door) and self._session.is_welcomed(door) for door in self._sockets), deadline
            )
        if self._denials is not None:
            self._sockets[Door.CONTROL].disable_monitor()
            self._denials.socket.close(0)
            self._denials = None
        for socket in self._sockets.values():
            socket.close()
        self._sockets.clear()
        if hasattr(self, "_context"):
            self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # within

    def _ask(
        self,
        kind: Kind,
        body: bytes = b"",
        *,
        to: str = "",
        topic: str = "",
        timeout: float | None,
        flags: int = 0,
        expiry: float | None = None,
    ) -> Answer:
        seconds = self.timeout if timeout is None else timeout
        bounded(body, CONTROL_BODY_LIMIT if kind == Kind.CALL else BODY_LIMIT)
        self._open(Door.CONTROL if kind == Kind.CALL else Door.DATA)
        now = monotonic()
        expires = 0.0 if expiry is None else now + expiry
        sequence = self._session.ask(kind, body, to=to, topic=topic, deadline=now + seconds, flags=flags, expires=expires)
        return self._wait_for(sequence, seconds)

    def _wait_for(self, sequence: int, seconds: float) -> Answer:
        answer: Answer | None = None
        try:
            while (answer := self._session.take(sequence)) is None:
                self._pump_once(None)  # the session's own deadline ends it
        finally:
            if answer is None:
                self._session.forget(sequence)  # an interrupt: nobody waits any more
        if answer.status == EXPIRED and not all(self.target.is_bound(door) for door in self._sockets):
            raise self.target.unreachable(seconds)
        if answer.status == EXPIRED:
            raise DeadlinePassed(f"no answer in {seconds:g} s: {trouble_of(answer.body)}")
        return answer

    def _respond(self, message: Message, expected: Kind, status: str, body: bytes) -> None:
        if message.kind != expected or message.kind == Kind.PUBLISH:
            raise RequestRefused(f'cannot answer message {message.number} of "{message.sender}" so: it is a {message.kind.name}')
        bounded(body, BODY_LIMIT)
        self._open(Door.DATA)
        self._session.respond(message, status, body)
        self._flush()

    def _open(self, door: Door) -> None:
        if self._pid != os.getpid():
            raise RequestRefused(
                f"cannot use this client in process {os.getpid()}: it belongs to process {self._pid}; open another after the fork"
            )
        if door not in self._sockets:
            if self._context.closed:
                raise RequestRefused("cannot use this client: it is closed")
            self._connect(door)
            self._session.open(door)

    def _connect(self, door: Door) -> None:
        self._sockets[door] = connect(self._context, self.target, door, self._session.doors)
        if door == Door.CONTROL and isinstance(self.target, Remote):
            if self._denials is not None:
                self._denials.socket.close(0)
            self._denials = Denials(self._sockets[door])

    def _pump_until(self, is_done: Callable[[], bool], deadline: float) -> None:
        self._flush()
        while not is_done() and self._pump_once(deadline):
            pass

    def _pump_once(self, deadline: float | None) -> bool:
        """Do what can be done now, or else wait for something to do; False when the deadline passed.

        Sending is doing something: the caller looks at what it waits for before this waits.
        """
        now = monotonic()
        if deadline is not None and now >= deadline:
            return False
        if self._flush():
            return True
        session = self._session
        own = session.next_deadline()
        ends = [moment for moment in (deadline, own) if moment is not None]
        wait = max(0.0, min(ends) - now) * 1000.0 if ends else None
        events = []
        for door, socket in self._sockets.items():
            is_stuck = session.frames_to_send(door, now) is not None  # what waits for WELCOME is not the socket's concern
            events.append((socket, zmq.POLLIN | (zmq.POLLOUT if is_stuck else 0)))
        if self._denials is not None:
            events.append((self._denials.socket, zmq.POLLIN))
        happened = dict(zmq.zmq_poll(events, SLICE if wait is None else min(int(wait) + 1, SLICE)))
        for door, socket in list(self._sockets.items()):
            if happened.get(socket, 0) & zmq.POLLIN:
                self._read(door, socket)
        if self._denials is not None and self._denials.hear():
            session.deny(str(self.target.denied()))
        session.tick(monotonic())
        self._flush()
        return True

    def _read(self, door: Door, socket: zmq.Socket[bytes]) -> None:
        """Take one message: it is most often the one that was waited for, and looking for a second costs more than the next poll."""
        try:
            frames = socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        except BaseException:
            self._reconnect(door)
            raise
        self._session.handle(door, frames, monotonic())

    def _flush(self) -> bool:
        """Send all that the sockets take; tell whether that was anything."""
        has_sent = False
        for door, socket in list(self._sockets.items()):
            while (frames := self._session.frames_to_send(door, monotonic())) is not None:
                try:
                    socket.send_multipart(frames, zmq.NOBLOCK)
                except zmq.Again:
                    break
                except BaseException:
                    self._reconnect(door)
                    raise
                self._session.sent(door)
                has_sent = True
        return has_sent

    def _reconnect(self, door: Door) -> None:
        """Replace a socket that an interrupt (Ctrl-C) may have left between two frames of a message."""
        self._sockets[door].close(0)
        self._connect(door)

    @property
    def _is_over(self) -> bool:
        return self._session.refusal is not None or self._session.ended is not None

    def _raise_if_over(self) -> None:
        if self._session.refusal is not None:
            raise_for(self._session.refusal.status, self._session.refusal.body)
        if self._session.ended is not None:
            raise RequestRefused(f"the bus ended this session: {self._session.ended}")

    def _await_path(self, start_timeout: float) -> None:
        """Wait until the control door exists; only a daemon that is just starting makes this wait."""
        end = monotonic() + start_timeout
        while not self.target.is_bound(Door.CONTROL):
            if monotonic() >= end:
                raise self.target.unreachable(start_timeout)
            zmq.zmq_poll([], 5)


def priority_flags(priority: str) -> int:
    """Give the flags of a priority; raises RequestRefused for a word that is none."""
    flags = PRIORITIES.get(priority)
    if flags is None:
        raise RequestRefused(f'cannot send with priority "{priority}": there are {", ".join(PRIORITIES)}')
    return flags


def bounded(body: bytes, limit: int) -> None:
    """Raise RequestRefused for a body that no door takes."""
    if len(body) > limit:
        raise RequestRefused(f"cannot send {len(body)} bytes: a body has at most {limit}")
