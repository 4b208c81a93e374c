"""What comes in over a worker's port, for all who wait for it: the loop for its orders, threads for the answers to their calls.

1. One reads at a time, whoever it is, and hands what it got to whom it concerns; the others wait to be told, or to read themselves.
2. While an entry runs nobody else reads, so a call that it makes does: orders that come meanwhile wait for the loop, and a ``Hello`` is answered at once.
3. Calls are repeated after each ``Hello`` until they are answered; their deadline goes on.
"""

import os
import time
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from dadms_ipc.calls import Calls
from dadms_ipc.channel import Channel
from dadms_ipc.errors import ChannelClosed, DeadlinePassed, PeerViolation
from dadms_ipc.port import Asked, ContextAnswer
from dadmsd.stderr import say
from dadmsd.worker.messages import Batch, GoOn, Hello, Yield


class Inlet:
    """The reading side of a worker's port."""

    def __init__(self, port: Channel[Any], send: Callable[[msgspec.Struct], None], greeted: Callable[[], None]) -> None:
        self._port = port
        self._send = send
        self._greeted = greeted  # a new kernel said hello
        self._orders: deque[Any] = deque()
        self._calls = Calls()
        self._turn = allocate_lock()
        self._waiting: Yield | None = None  # to be told to go on
        self._gone_on = 0  # number of the newest word of that
        self._is_read = False  # by somebody, now
        self._others: list[LockType] = []  # of those who wait for him, held until he has read
        self._end: ChannelClosed | None = None

    def order(self) -> Any:
        """Wait for the next message that is for the loop. Raises ChannelClosed."""
        with self._turn:
            while not self._orders:
                self._step(None)
            return self._orders.popleft()

    def call(self, tid: int, operation: Asked, pid: int, seconds: float) -> ContextAnswer:
        """Ask the kernel for a thread and wait for the answer. Raises DeadlinePassed when none came, ChannelClosed."""
        deadline = time.monotonic() + seconds
        with self._turn:
            call = self._calls.ask(operation, tid=tid, pid=pid)
            try:
                self._send(call)
                while (answer := self._calls.take(call.sequence)) is None:
                    if time.monotonic() >= deadline:
                        raise DeadlinePassed(f"cannot {operation.__struct_config__.tag}: no kernel answered in {seconds:g} s")
                    self._step(deadline)
            finally:
                self._calls.abandon(call.sequence)  # if it has no answer: an exception came instead
            return answer

    def give_way(self, word: Yield) -> None:
        """Say that the running thread gives way, and wait until it may go on. Raises ChannelClosed."""
        with self._turn:
            self._waiting = word
            try:
                self._send(word)
                while self._gone_on < word.number:
                    self._step(None)
            finally:
                self._waiting = None

    def _step(self, deadline: float | None) -> None:
        """Read one message, or wait while somebody else does; the turn is held."""
        if self._end is not None:
            raise self._end
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if self._is_read:
            told = allocate_lock()
            told.acquire()
            self._others.append(told)
            self._turn.release()
            try:
                told.acquire(timeout=-1 if left is None else left)
            finally:
                self._turn.acquire()
            return
        self._is_read = True
        self._turn.release()
        body: Any = None
        try:
            body = self._read(left)
        except ChannelClosed as error:
            self._end = error
            raise
        finally:
            self._turn.acquire()
            self._is_read = False
            while self._others:
                self._others.pop().release()
        if isinstance(body, Batch):
            self._orders.append(body)
        elif isinstance(body, Hello):
            self._greeted()
            for call in self._calls.repeat():
                self._send(call)
            if self._waiting is not None:
                self._send(self._waiting)
        elif isinstance(body, GoOn):
            self._gone_on = max(self._gone_on, body.number)
        elif isinstance(body, ContextAnswer):
            for call in self._calls.receive(body):
                self._send(call)
        elif body is not None:
            self._orders.append(body)

    def _read(self, seconds: float | None) -> Any:
        """Give the next message of the newest kernel; None when none came in time."""
        try:
            frame = self._port.receive(seconds)
        except PeerViolation as error:
            say(f"worker: a message was dropped: {error}")
            return None
        if frame is None:
            return None
        for fd in frame.fds:
            os.close(fd)
        if frame.epoch < self._port.epoch:
            return None
        self._port.epoch = frame.epoch
        return frame.body
