"""Calls of a main or a worker to the kernel over its port, without I/O: numbers, what is not answered, what is repeated.

1. A call is repeated after each ``Hello`` until it is answered. The kernel keeps the answer to a change until a later call says that it was had (``seen``), so a
   change takes effect once, whichever kernel dies when.
2. Calls are independent: several may be under way, from several threads of the program, and are answered in any order.
3. Who stops waiting for a call abandons it. A lock that it is given after all is given back at once.
"""

from typing import Any

import msgspec

from dadms_ipc import context
from dadms_ipc.port import Asked, ContextAnswer, ContextCall


class Calls:
    """The calls of one incarnation of a main, or of one worker."""

    def __init__(self) -> None:
        self._sequence = 0
        self._pending: dict[int, ContextCall] = {}  # in the order of their numbers
        self._answers: dict[int, ContextAnswer] = {}  # that came and were not taken
        self._abandoned: set[int] = set()

    @property
    def seen(self) -> int:
        """Give the sequence up to which every call was answered, or is waited for by nobody."""
        return min(self._pending) - 1 if self._pending else self._sequence

    def ask(self, operation: Asked, *, tid: int = 0, pid: int = 0) -> ContextCall:
        """Make a call, which is to be sent."""
        seen = self.seen
        self._sequence += 1
        call = ContextCall(self._sequence, seen, operation, tid, pid)
        self._pending[call.sequence] = call
        return call

    def receive(self, answer: ContextAnswer) -> list[ContextCall]:
        """Take an answer in; gives what is to be sent for it."""
        call = self._pending.pop(answer.sequence, None)
        if call is None:
            return []  # it was repeated, and had
        if answer.sequence not in self._abandoned:
            self._answers[answer.sequence] = answer
            return []
        self._abandoned.discard(answer.sequence)
        if isinstance(call.operation, context.Lock) and answer.status == "ok":
            token = msgspec.msgpack.decode(answer.body, type=context.Held).token
            back = self.ask(context.Unlock(call.operation.region, call.operation.lock, token), tid=call.tid, pid=call.pid)
            self._abandoned.add(back.sequence)
            return [back]
        return []

    def take(self, sequence: int) -> ContextAnswer | None:
        """Give the answer to a call, once; None while there is none."""
        return self._answers.pop(sequence, None)

    def abandon(self, sequence: int) -> None:
        """Wait no longer for a call: whether it takes effect stays unknown."""
        if sequence in self._pending:
            self._abandoned.add(sequence)

    def repeat(self) -> list[Any]:
        """Give the calls that a new kernel may not know of."""
        seen = self.seen
        return [msgspec.structs.replace(call, seen=seen) for call in self._pending.values()]
