"""The asyncio client: the same session, moved by the event loop.

What is asked in one turn of the loop leaves together. A client belongs to the loop and the process in which it was opened.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dadms_ipc.codec import decode_body, encode_body
from dadms_ipc.dialogue import (
    CLOSE_TIMEOUT,
    NO_TOPIC,
    SLICE,
    START_TIMEOUT,
    TAKEN,
    Dialogue,
    check_body,
    check_texts,
    decode_map,
    decoded,
    outcome,
)
from dadms_ipc.envelope import BODY_LIMIT, COORDINATION_SIGNAL, Door, Identity, Kind, Reached
from dadms_ipc.errors import DeadlinePassed, Unreachable
from dadms_ipc.inbox import Message
from dadms_ipc.keys import Key
from dadms_ipc.session import Answer
from dadms_ipc.statuses import raise_for

if TYPE_CHECKING:
    from dadms_ipc.answers import Request

__all__ = ["Client", "Identity", "Message"]


class Client(Dialogue):
    """A session with the daemon, for asyncio programs: ``async with Client() as client``."""

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
            software="dadms_ipc (python, asyncio)",
            coalesce=coalesce,
            service=service,
            receives=receives,
        )
        self._start_timeout = start_timeout
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        self._watch: asyncio.TimerHandle | None = None  # while answers are waited for

    @classmethod
    def of_process(
        cls,
        *,
        timeout: float = 5.0,  # seconds, of every call that names none
        start_timeout: float = START_TIMEOUT,
        coalesce: bool = True,
        receives: bool = True,  # False: this one sends and asks, and what is sent to the process is for another of its clients
    ) -> Self:
        """Give the client of a service or tool, or of a program that one runs: it speaks as its process (``async with Client.of_process()``).

        Raises RequestRefused where the program is no part of one, or the incarnation has ended.
        """
        from dadms_ipc.identity import own_identity  # here: most programs are clients

        directory, identity = own_identity()
        return cls(directory, timeout=timeout, identity=identity, start_timeout=start_timeout, coalesce=coalesce, receives=receives)

    async def __aenter__(self) -> Self:
        """Connect; raises Unreachable when nobody answers in time, RequestRefused when the bus does not let this client in."""
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(None, self.target.check)
        end = self._loop.time() + self._start_timeout
        while not self.target.is_bound(Door.CONTROL):
            if self._loop.time() >= end:
                raise self.target.unreachable(self._start_timeout)
            await asyncio.sleep(0.005)
        self._is_open = True
        try:
            self._open(Door.CONTROL)
            if not await self._until(lambda: self._session.is_welcomed(Door.CONTROL) or self._is_over, self.timeout):
                raise self.target.unreachable(self.timeout, await self._loop.run_in_executor(None, self.target.diagnosis))
            self._raise_if_over()
            self._raise_if_misled()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    # requests to the kernel

    async def call(self, request: "Request", *, timeout: float | None = None) -> Any:
        """Ask the kernel, or the bus about its dead letters, and give the answer, of the type that dadms_ipc.answers names; errors as of the synchronous client."""
        sequence, seconds = self._ask_service(request, timeout)
        answer = await self._wait_for(sequence, seconds)
        return decoded(request, answer)

    async def call_raw(self, body: bytes, *, to: str = "kernel", timeout: float | None = None) -> Answer:
        """Ask a service with a body of the caller's own making; gives the status and the body of the answer."""
        return await self._answer_to(Kind.CALL, body, to, "", timeout)

    async def bus_status(self, *, timeout: float | None = None) -> dict[str, Any]:
        """Give the counters of the bus."""
        return decode_map(await self._answer_to(Kind.CALL, encode_body({"verb": "status"}), "bus", "", timeout))

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
        return outcome(await self._answer_to(Kind.SEND, body, to, topic, timeout, priority, expiry))

    async def send_many(
        self,
        to: str,
        topic: str,
        bodies: Sequence[bytes],
        *,
        timeout: float | None = None,
        expiry: float | None = None,
        priority: str = "normal",
    ) -> None:
        """Send messages to one receiver, in their order; returns when each is handled, or stored. See the synchronous client."""
        answer: Answer | None = None
        with closing(self._sending(to, topic, bodies, timeout, priority, expiry)) as sending, suppress(StopIteration):
            while True:
                answer = await self._answer(sending.send(answer))

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
        answer = await self._answer_to(Kind.BROADCAST, body, scope, topic, timeout, priority, expiry)
        raise_for(answer.status, answer.body)
        return decode_body(answer.body, Reached)

    async def request(
        self, to: str, body: bytes = b"", *, topic: str = "TASK_REQUEST", timeout: float | None = None, priority: str = "normal"
    ) -> bytes:
        """Send a request and give the body of its answer."""
        answer = await self._answer_to(Kind.REQUEST, body, to, topic, timeout, priority)
        raise_for(answer.status, answer.body)
        return answer.body

    async def publish(self, topic: str, body: bytes = b"", *, timeout: float | None = None) -> None:
        """Tell whoever subscribes, at most once; returns when the message is on its way."""
        seconds = self._seconds(timeout)
        check_texts("", topic)
        check_body(body, BODY_LIMIT)
        self._open(Door.DATA)
        self._session.publish(topic, body, deadline=self._loop.time() + seconds)
        self._hand_over()
        if not await self._until(self._is_published, seconds):
            raise self.target.unreachable(seconds)
        self._raise_if_over()

    async def confirm(self, *, timeout: float | None = None) -> None:
        """Return when the bus has taken everything that was published; raises RequestRefused with the reason when it would not have the last of it."""
        await self.unsubscribe(NO_TOPIC, timeout=timeout)  # what comes after it is answered after it
        self._complain()

    async def subscribe(self, pattern: str, *, timeout: float | None = None) -> None:
        """Ask for publications; the subscription survives lost connections."""
        raise_for(*(await self._answer_to(Kind.SUBSCRIBE, b"", "", pattern, timeout))[:2])

    async def unsubscribe(self, pattern: str, *, timeout: float | None = None) -> None:
        """Ask for no more publications of a pattern."""
        self._open(Door.DATA)
        seconds = self._seconds(timeout)
        raise_for(*(await self._wait_for(self._session.unsubscribe(pattern, deadline=self._loop.time() + seconds), seconds))[:2])

    async def receive(self, *, timeout: float | None = None, acknowledge: bool = True) -> Message:
        """Give the next message; raises DeadlinePassed when none comes in ``timeout`` seconds. See the synchronous client about ``acknowledge``."""
        return (await self._receive(1, timeout, acknowledge))[0]

    async def receive_many(self, limit: int = TAKEN, *, timeout: float | None = None, acknowledge: bool = True) -> list[Message]:
        """Give the messages that are here, at least one and at most ``limit``; what is handed over together is acknowledged together."""
        return await self._receive(limit, timeout, acknowledge)

    async def close(self, *, farewell: bool = True) -> None:
        """End the session; what was asked and has no answer is cancelled.

        Without a ``farewell`` the bus is left to find out: what a process had in its hands and did not acknowledge counts as what it died with.
        """
        if self._pid != os.getpid() or not self._is_open:
            return
        if self._wires:
            if farewell:
                self._session.close()
            self._flush()
            await self._until(self._is_said, CLOSE_TIMEOUT)
        for handle in (self._timer, self._soon, self._watch):
            if handle is not None:
                handle.cancel()
        self._disconnect_all()
        for future in self._answers.values():
            future.cancel()
        self._answers.clear()

    # within

    def _clock(self) -> float:
        return self._loop.time()

    async def _answer_to(
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
        return await self._wait_for(self._ask(kind, body, to, topic, seconds, priority, expiry), seconds)

    async def _wait_for(self, sequence: int, seconds: float) -> Answer:
        return self._conclude(await self._answer(sequence), seconds)

    async def _answer(self, sequence: int) -> Answer:
        answer = self._session.take(sequence)  # a session that is over answers at once
        if answer is None:
            future: asyncio.Future[Answer] = self._loop.create_future()
            self._answers[sequence] = future
            if self._watch is None:
                self._watch = self._loop.call_later(SLICE, self._look)
            self._hand_over()
            try:
                answer = await future
            finally:
                self._answers.pop(sequence, None)
                if answer is None:
                    self._session.forget(sequence)
        return answer

    async def _receive(self, limit: int, timeout: float | None, acknowledge: bool) -> list[Message]:
        self._open(Door.DATA)
        seconds = self._seconds(timeout)
        end = self._loop.time() + seconds
        while not (messages := self._take(limit, acknowledge=acknowledge)):
            self._raise_if_over()
            if not await self._until(lambda: len(self._session.inbox) > 0 or self._is_over, end - self._loop.time()):
                raise DeadlinePassed(f"no message came in {seconds:g} s")
        if self._session.has_outgoing:
            self._hand_over()
        return messages

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

    def _hand_over(self) -> None:
        """Send at the end of this turn of the loop, with whatever else is asked in it."""
        if self._soon is None:
            self._soon = self._loop.call_soon(self._pump)

    def _joined(self, fd: int) -> None:
        self._loop.add_reader(fd, self._pump)

    def _left(self, fd: int) -> None:
        self._loop.remove_reader(fd)
        self._loop.remove_writer(fd)

    def _wants_room(self, fd: int, wants: bool) -> None:
        if wants:
            self._loop.add_writer(fd, self._pump)
        else:
            self._loop.remove_writer(fd)

    def _pump(self) -> None:
        """Read all there is, TAKEN messages a turn, and send all that may go. A socket's descriptor tells of changes only, so every look must be a thorough one."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        session = self._session
        for door, wire in self._wires.items():
            if not wire.is_settled:
                wire.revive(self._loop.time())
                wire.push()
            for _ in range(TAKEN):
                if (frames := wire.receive()) is None:
                    break
                for sequence in session.handle(door, frames, self._loop.time()):
                    self._resolve(sequence)
        for sequence in self._hear_denials():
            self._resolve(sequence)
        self._flush()
        if any(not wire.is_quiet and wire.has_more() for wire in self._wires.values()):
            self._hand_over()  # the turn was over, or sending took the signal that tells of something to read
        for is_done, future in list(self._waiters):
            if not future.done() and is_done():
                future.set_result(None)
        self._arm()

    def _arm(self) -> None:
        deadline = self._session.next_deadline()
        for wire in self._wires.values():
            if wire.due is not None and (deadline is None or wire.due < deadline):
                deadline = wire.due
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline and not self._timer.cancelled():
                return  # it rings early, and is set anew then
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._on_deadline)

    def _look(self) -> None:
        """Look whether anybody keeps the daemon, as long as somebody waits for an answer of it."""
        self._watch = None
        if not self._answers:
            return
        try:
            self._demand_a_keeper(self._loop.time())
        except Unreachable as error:
            for future in self._answers.values():
                if not future.done():
                    future.set_exception(error)
        self._watch = self._loop.call_later(SLICE, self._look)

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
