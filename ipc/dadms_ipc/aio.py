"""The asyncio client: the same session, moved by the event loop.

What is asked in one turn of the loop leaves in one batch. A client belongs to the loop and the process in which it was opened.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import zmq

from dadms_ipc import targets
from dadms_ipc.answers import Request, decode_answer, patience, raise_for, service_of
from dadms_ipc.client import CLOSE_TIMEOUT, HANDLED, NO_TOPIC, START_TIMEOUT, bounded, priority_flags
from dadms_ipc.codec import decode_body, encode_body, trouble, trouble_of
from dadms_ipc.envelope import (
    BODY_LIMIT,
    CONTROL_BODY_LIMIT,
    COORDINATION_SIGNAL,
    EXPIRED,
    OK,
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


class Client:
    """A session with the daemon, for asyncio programs: ``async with Client() as client``."""

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
        self._start_timeout = start_timeout
        self._pid = os.getpid()
        self._session = Session(os.urandom(16), identity=identity, software="dadms_ipc (python, asyncio)")
        self._sockets: dict[Door, zmq.Socket[bytes]] = {}
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        self._denials: Denials | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None

    async def __aenter__(self) -> Self:
        """Connect; raises Unreachable when nobody answers in time, RequestRefused when the bus does not let this client in."""
        self._loop = asyncio.get_running_loop()
        end = self._loop.time() + self._start_timeout
        while not self.target.is_bound(Door.CONTROL):
            if self._loop.time() >= end:
                raise self.target.unreachable(self._start_timeout)
            await asyncio.sleep(0.005)
        self._context = zmq.Context()
        try:
            self._open(Door.CONTROL)
            if not await self._until(lambda: self._session.is_welcomed(Door.CONTROL) or self._is_over, self.timeout):
                raise self.target.unreachable(self.timeout)
            self._raise_if_over()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    # requests to the kernel

    async def call(self, request: Request, *, timeout: float | None = None) -> Any:
        """Ask the kernel, or the bus about its dead letters, and give the answer, of the type that dadms_ipc.answers names; errors as of the synchronous client."""
        seconds = (self.timeout if timeout is None else timeout) + patience(request)
        answer = await self._ask(Kind.CALL, encode_body(request), to=service_of(request), timeout=seconds)
        return decode_answer(request, answer.status, answer.body)

    async def bus_status(self, *, timeout: float | None = None) -> dict[str, Any]:
        """Give the counters of the bus."""
        answer = await self._ask(Kind.CALL, encode_body({"verb": "status"}), to="bus", timeout=timeout)
        raise_for(answer.status, answer.body)
        return msgspec.msgpack.decode(answer.body, type=dict[str, Any])

    # messages

    async def send(
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
        answer = await self._ask(Kind.SEND, body, to=to, topic=topic, timeout=timeout, flags=flags, expiry=expiry)
        raise_for(answer.status, answer.body)
        return STORED if answer.status == STORED else HANDLED

    async def broadcast(
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
        answer = await self._ask(Kind.BROADCAST, body, to=scope, topic=topic, timeout=timeout, flags=flags, expiry=expiry)
        raise_for(answer.status, answer.body)
        return decode_body(answer.body, Reached)

    async def request(
        self, to: str, body: bytes = b"", *, topic: str = "TASK_REQUEST", timeout: float | None = None, priority: str = "normal"
    ) -> bytes:
        """Send a request and give the body of its answer."""
        flags = priority_flags(priority)
        answer = await self._ask(Kind.REQUEST, body, to=to, topic=topic, timeout=timeout, flags=flags)
        raise_for(answer.status, answer.body)
        return answer.body

    async def publish(self, topic: str, body: bytes = b"", *, timeout: float | None = None) -> None:
        """Tell whoever subscribes, at most once; returns when the message is on its way."""
        seconds = self.timeout if timeout is None else timeout
        bounded(body, BODY_LIMIT)
        self._open(Door.DATA)
        self._session.publish(topic, body, deadline=self._loop.time() + seconds)
        self._flush_soon()
        session = self._session
        if not await self._until(lambda: self._is_over or (session.is_welcomed(Door.DATA) and session.waiting(Door.DATA) == 0), seconds):
            raise self.target.unreachable(seconds)
        self._raise_if_over()

    async def confirm(self, *, timeout: float | None = None) -> None:
        """Return when the bus has taken everything that was published; raises RequestRefused with the reason when it would not have the last of it."""
        await self.unsubscribe(NO_TOPIC, timeout=timeout)  # what comes after it is answered after it
        complaint, self._session.complaint = self._session.complaint, None
        if complaint is not None:
            raise_for(complaint.status, complaint.body)

    async def subscribe(self, pattern: str, *, timeout: float | None = None) -> None:
        """Ask for publications; the subscription survives lost connections."""
        raise_for(*(await self._ask(Kind.SUBSCRIBE, topic=pattern, timeout=timeout))[:2])

    async def unsubscribe(self, pattern: str, *, timeout: float | None = None) -> None:
        """Ask for no more publications of a pattern."""
        self._open(Door.DATA)
        seconds = self.timeout if timeout is None else timeout
        raise_for(*(await self._wait_for(self._session.unsubscribe(pattern, deadline=self._loop.time() + seconds), seconds))[:2])

    async def receive(self, *, timeout: float | None = None, acknowledge: bool = True) -> Message:
        """Give the next message; raises DeadlinePassed when none comes in ``timeout`` seconds. See the synchronous client about ``acknowledge``."""
        self._open(Door.DATA)
        seconds = self.timeout if timeout is None else timeout
        end = self._loop.time() + seconds
        while (message := self._session.receive(self._loop.time())) is None:
            self._raise_if_over()
            if not await self._until(lambda: len(self._session.inbox) > 0 or self._is_over, end - self._loop.time()):
                raise DeadlinePassed(f"no message came in {seconds:g} s")
        if acknowledge and message.kind == Kind.SEND:
            self._session.respond(message, OK)
        self._flush_soon()
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

    async def close(self) -> None:
        """End the session; what was asked and has no answer is cancelled."""
        if self._pid != os.getpid() or self._context is None:
            return
        if self._sockets:
            session = self._session
            session.close()
            self._flush()
            await self._until(lambda: not any(session.waiting(door) and session.is_welcomed(door) for door in self._sockets), CLOSE_TIMEOUT)
        for handle in (self._timer, self._soon):
            if handle is not None:
                handle.cancel()
        if self._denials is not None:
            self._loop.remove_reader(self._denials.socket.fileno())
            self._sockets[Door.CONTROL].disable_monitor()
            self._denials.socket.close(0)
            self._denials = None
        for socket in self._sockets.values():
            self._loop.remove_reader(socket.fileno())
            socket.close()
        self._sockets.clear()
        for future in self._answers.values():
            future.cancel()
        self._answers.clear()
        context, self._context = self._context, None
        context.term()

    # within

    async def _ask(
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
        now = self._loop.time()
        expires = 0.0 if expiry is None else now + expiry
        sequence = self._session.ask(kind, body, to=to, topic=topic, deadline=now + seconds, flags=flags, expires=expires)
        return await self._wait_for(sequence, seconds)

    async def _wait_for(self, sequence: int, seconds: float) -> Answer:
        answer = self._session.take(sequence)  # a session that is over answers at once
        if answer is None:
            future: asyncio.Future[Answer] = self._loop.create_future()
            self._answers[sequence] = future
            self._flush_soon()
            try:
                answer = await future
            finally:
                self._answers.pop(sequence, None)
                self._session.forget(sequence)
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
        self._flush_soon()

    def _open(self, door: Door) -> None:
        if self._pid != os.getpid():
            raise RequestRefused(
                f"cannot use this client in process {os.getpid()}: it belongs to process {self._pid}; open another after the fork"
            )
        if self._context is None:
            raise RequestRefused("cannot use this client: it is not open")
        if door not in self._sockets:
            socket = self._sockets[door] = connect(self._context, self.target, door, self._session.doors)
            self._session.open(door)
            if door == Door.CONTROL and isinstance(self.target, Remote):
                self._denials = Denials(socket)
                self._loop.add_reader(self._denials.socket.fileno(), self._pump)
            self._loop.add_reader(socket.fileno(), self._pump)
            self._flush_soon()

    async def _until(self, is_done: Callable[[], bool], seconds: float) -> bool:
        """Wait until something holds; False when it does not in time."""
        if is_done():
            return True
        future: asyncio.Future[None] = self._loop.create_future()
        waiter = (is_done, future)
        self._waiters.append(waiter)
        try:
            await asyncio.wait_for(future, max(0.0, seconds))
        except TimeoutError:
            return is_done()
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        return True

    def _flush_soon(self) -> None:
        """Send at the end of this turn of the loop, with whatever else is asked in it."""
        if self._soon is None:
            self._soon = self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Read all there is, send all that may go. libzmq's descriptor tells of changes only, so every look must be a thorough one."""
        self._soon = None
        session = self._session
        for door, socket in self._sockets.items():
            while _events(socket) & zmq.POLLIN:
                for sequence in session.handle(door, socket.recv_multipart(zmq.NOBLOCK), self._loop.time()):
                    self._resolve(sequence)
        if self._denials is not None and self._denials.hear():
            for sequence in session.deny(str(self.target.denied())):
                self._resolve(sequence)
        self._flush()
        for door, socket in self._sockets.items():
            # Sending may have taken the signal that tells of something to read.
            wanted = zmq.POLLIN | (zmq.POLLOUT if session.frames_to_send(door, self._loop.time()) is not None else 0)
            if _events(socket) & wanted:
                self._flush_soon()
        for is_done, future in list(self._waiters):
            if not future.done() and is_done():
                future.set_result(None)
        self._arm()

    def _flush(self) -> None:
        for door, socket in self._sockets.items():
            while (frames := self._session.frames_to_send(door, self._loop.time())) is not None:
                try:
                    socket.send_multipart(frames, zmq.NOBLOCK)
                except zmq.Again:
                    break
                self._session.sent(door)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._session.next_deadline()
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._on_deadline)

    def _on_deadline(self) -> None:
        self._timer = None
        self._session.tick(self._loop.time())
        for sequence in list(self._answers):
            self._resolve(sequence)
        self._pump()

    def _resolve(self, sequence: int) -> None:
        future = self._answers.get(sequence)
        if future is not None and not future.done() and (answer := self._session.take(sequence)) is not None:
            future.set_result(answer)

    @property
    def _is_over(self) -> bool:
        return self._session.refusal is not None or self._session.ended is not None

    def _raise_if_over(self) -> None:
        if self._session.refusal is not None:
            raise_for(self._session.refusal.status, self._session.refusal.body)
        if self._session.ended is not None:
            raise RequestRefused(f"the bus ended this session: {self._session.ended}")


def _events(socket: "zmq.Socket[bytes]") -> int:
    """Give what a socket is ready for."""
    return int(socket.getsockopt(zmq.EVENTS))
