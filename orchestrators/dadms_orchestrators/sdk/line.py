"""A process's line to the bus: a thread with a client of its own, so that the bus can be slow, gone or restarted without the main noticing.

1. The main never waits for the bus: what it says goes into a bounded queue, what others say waits in another; a descriptor each wakes the line and the main.
2. Without a bus nothing fails. The line tries again, ever less often; publications that found no place in the queue are counted and dropped.
3. A line that the bus refuses (another incarnation speaks as this process) is over, and says so once in the log.

Import this module where the orchestrator is imported: the client is then loaded in the zygote, and not once in every process. It starts no thread.
"""

import contextlib
import os
import select
import sys
import time
from _thread import allocate_lock, start_new_thread
from collections import deque
from collections.abc import Callable
from pathlib import Path

from dadms_ipc.client import Client, Identity, Message
from dadms_ipc.envelope import Kind
from dadms_ipc.errors import DadmsError, DeadlinePassed, RequestRefused

PUBLICATIONS_LIMIT = 1000  # that wait for the bus; the oldest are dropped
START_TIMEOUT = 0.1  # seconds for a bus to appear; then it is tried again, after a pause
RETRY_FIRST, RETRY_LAST = 0.05, 5.0  # seconds between attempts, doubling
QUIET = 3600.0  # seconds that a wait for messages takes; then there is another
CLOSE_TIMEOUT = 1.0  # seconds that close waits for what was said to leave

Saying = Callable[[Client], object]


class Line:
    """One process's connection, opened in its own thread."""

    def __init__(self, runtime_dir: Path, identity: Identity) -> None:
        self.dropped = 0  # publications
        self._runtime_dir = runtime_dir
        self._identity = identity
        self._publications: deque[tuple[str, bytes]] = deque()
        self._answers: deque[Saying] = deque()
        self._inbox: deque[Message] = deque()
        self._told: set[str] = set()  # mistakes of the main that its log has already
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)  # the main's
        self._work = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)  # the line's
        self._is_closing = False
        self._is_broken = False
        self._runs = allocate_lock()  # held by the thread
        self._runs.acquire()
        start_new_thread(self._run, ())

    def fileno(self) -> int:
        """Give the descriptor that is readable when a message has come."""
        return self._wake

    def publish(self, topic: str, body: bytes) -> None:
        """Say it to whoever subscribes, when the bus is there; never waits."""
        if len(self._publications) >= PUBLICATIONS_LIMIT:
            self._publications.popleft()
            self.dropped += 1
        self._publications.append((topic, body))
        self._stir()

    def reply(self, message: Message, body: bytes) -> None:
        """Answer a request. Anything else is not answered by it, and the log says so once."""
        if message.kind != Kind.REQUEST:
            self._complain(
                "reply", _wrong("reply to", message, "process.acknowledge(message) or process.refuse(message, reason) answers a SEND")
            )
            return
        self._answers.append(lambda client: client.reply(message, body))
        self._stir()

    def acknowledge(self, message: Message) -> None:
        """Tell the sender that its message was handled. A request is not answered by it, and the log says so once."""
        if message.kind == Kind.REQUEST:
            self._complain(
                "acknowledge", _wrong("acknowledge", message, "process.reply(message, body) or process.refuse(message, reason) answers it")
            )
            return
        self._answers.append(lambda client: client.acknowledge(message))
        self._stir()

    def refuse(self, message: Message, reason: str) -> None:
        """Answer a request, or a message, with why it was not handled."""
        self._answers.append(lambda client: client.refuse(message, reason))
        self._stir()

    def _complain(self, mistake: str, text: str) -> None:
        """Say in the log what of the main's did nothing. It is no exception: whoever may send could end a process with it, and once a mistake, or they could fill its log."""
        if mistake not in self._told:
            self._told.add(mistake)
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - stderr is this process's log

    def messages(self) -> list[Message]:
        """Take what has come."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        taken = []
        while self._inbox:
            taken.append(self._inbox.popleft())
        return taken

    def close(self, *, is_broken: bool = False) -> None:
        """Let what was said leave, for CLOSE_TIMEOUT seconds at most, and end the thread; one that is broken goes without a farewell, as the dead do."""
        self._is_broken = is_broken
        self._is_closing = True
        self._stir()
        if self._runs.acquire(timeout=CLOSE_TIMEOUT):
            os.close(self._wake)
            os.close(self._work)

    def _stir(self) -> None:
        os.eventfd_write(self._work, 1)

    # in the thread

    def _run(self) -> None:
        try:
            self._connect_and_serve()
        except RequestRefused as refused:
            print(f"the bus does not listen to this process: {refused}", file=sys.stderr)  # noqa: T201 - stderr is this process's log
        finally:
            self._runs.release()

    def _connect_and_serve(self) -> None:
        """Be connected until closed. A client repeats lost connections by itself; this repeats first ones. Raises RequestRefused."""
        pause = RETRY_FIRST
        while not self._is_closing:
            try:
                client = Client(self._runtime_dir, identity=self._identity, start_timeout=START_TIMEOUT)
                pause = RETRY_FIRST
                try:
                    self._serve(client)
                finally:
                    client.close(farewell=not self._is_broken)
            except RequestRefused:
                raise
            except DadmsError:  # no bus, or none that answers
                self._sleep(pause)
                pause = min(2.0 * pause, RETRY_LAST)

    def _sleep(self, seconds: float) -> None:
        """Wait, for the end of the process at most; other work can wait as well, since there is nobody to tell."""
        until, work = time.monotonic() + seconds, select.poll()
        work.register(self._work, select.POLLIN)
        while not self._is_closing and (left := until - time.monotonic()) > 0.0:
            if work.poll(left * 1000.0):
                os.eventfd_read(self._work)

    def _serve(self, client: Client) -> None:
        while True:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._work)
            self._say_all(client)
            if self._is_closing:
                return
            if client.wait(self._work, timeout=QUIET):
                with contextlib.suppress(DeadlinePassed):  # they expired meanwhile
                    self._inbox.extend(client.receive_many(timeout=0.0, acknowledge=False))
                    os.eventfd_write(self._wake, 1)

    def _say_all(self, client: Client) -> None:
        while self._answers:
            with contextlib.suppress(RequestRefused):  # the asker's deadline has passed, or the answer is too large for any
                self._answers[0](client)
            self._answers.popleft()
        while self._publications:
            topic, body = self._publications.popleft()
            try:
                client.publish(topic, body)
            except RequestRefused as refused:
                self._complain("publish", f'cannot publish "{topic}": {refused}')


def _wrong(what: str, message: Message, instead: str) -> str:
    return f'cannot {what} message {message.number} of "{message.sender}": it is a {message.kind.name}; {instead}'
