"""Threads as things to hold: create one, wait for one, any or all of them, read what it returned.

1. Each call of ``create`` makes a thread of its own. Those that find a submission waiting for its turn, for the same entry and with the same time-out, travel with
   it: one message, one row, consecutive numbers.
2. What a thread came to stands in a column of its submission until its handle is asked; a value is decoded when it is read, each time anew.
3. A thread that was refused, by a full queue for one, has ended: reading its result raises RequestRefused.
"""

from typing import Any, Final, NamedTuple

import msgspec

from dadms_ipc import port
from dadms_ipc.errors import DadmsError, InternalError, RequestRefused

TRAVEL_MOST: Final = 10_000  # threads in one submission: as many as the kernel takes
TRAVEL_BYTES: Final = 1 << 20  # of arguments in one submission of many threads

_OPEN: Final = None  # in the column: not ended

_decode = msgspec.msgpack.Decoder().decode


class ThreadFailed(DadmsError):
    """A thread did not complete; ``result`` tells how it ended."""

    def __init__(self, tid: int, result: port.Result) -> None:
        what = f"{result.kind}: {result.message}" if result.kind else result.message or result.cause
        super().__init__(f"thread {tid} ended as {result.status}: {what}")
        self.tid = tid
        self.result = result


class Team(NamedTuple):
    """The group of threads that a submission belongs to, as it is said to the kernel."""

    name: str
    cancels: bool  # a failure cancels the others


class Submission:
    """Threads that travel together, and a column for what they come to."""

    __slots__ = (
        "count",
        "deadline",
        "entry",
        "failures",
        "first_tid",
        "group",
        "is_held",
        "keys",
        "labels",
        "left",
        "outcomes",
        "packed",
        "priority",
        "refusal",
        "retry",
        "ticket",
        "timeout",
    )

    def __init__(self, ticket: int, entry: str, timeout: float | None, *, is_held: bool = True) -> None:
        self.is_held = is_held  # by handles: nobody hears of its threads by events
        self.ticket = ticket
        self.entry = entry
        self.timeout = timeout
        self.priority = 0
        self.deadline: float | None = None  # seconds from the time at which it is sent
        self.retry: port.Retry | None = None
        self.packed = bytearray()  # msgpack of the arguments, one after the other
        self.count = 0
        self.labels: list[str] = []
        self.keys: list[str] = []
        self.group: Team | None = None
        self.failures: list[int] = []  # threads that did not complete, by their index
        self.first_tid = 0  # 0: not known yet
        self.left = 0  # threads that have not ended, of those that were sent
        self.outcomes: list[msgspec.Raw | port.Result | None] = []
        self.refusal = ""

    def message(self) -> port.PackedSubmit:
        """Give what asks the kernel for these threads; from then on no more are added."""
        head = b"\xdd" + self.count.to_bytes(4, "big")  # msgpack: array 32
        packed, self.packed = self.packed, bytearray()
        self.left = self.count
        self.outcomes = [_OPEN] * self.count
        if self.labels:
            self.labels.extend([""] * (self.count - len(self.labels)))
        if self.keys:
            self.keys.extend([""] * (self.count - len(self.keys)))
        return port.PackedSubmit(
            self.ticket,
            self.entry,
            msgspec.Raw(head + packed),
            self.labels,
            self.timeout,
            self.priority,
            self.deadline,
            self.retry,
            self.keys,
            *(self.group or ("", False)),
        )

    def takes(
        self,
        entry: str,
        timeout: float | None,
        priority: int,
        deadline: float | None,
        retry: port.Retry | None,
        group: "Team | None" = None,
    ) -> bool:
        """Tell whether one more thread may travel with these: one that is asked for in the same way."""
        is_alike = (self.entry, self.timeout, self.priority, self.deadline, self.retry, self.group) == (
            entry,
            timeout,
            priority,
            deadline,
            retry,
            group,
        )
        return self.is_held and is_alike and self.count < TRAVEL_MOST and len(self.packed) < TRAVEL_BYTES

    def add(self, argument: bytes, label: str, key: str = "") -> int:
        """Take in one more thread; its index is given."""
        index = self.count
        if index >= TRAVEL_MOST:
            raise InternalError(f"a submission of more than {TRAVEL_MOST} threads")
        self.packed += argument
        self.count = index + 1
        if label:
            self.labels.extend([""] * (index - len(self.labels)))
            self.labels.append(label)
        if key:
            self.keys.extend([""] * (index - len(self.keys)))
            self.keys.append(key)
        return index

    def refuse(self, reason: str) -> None:
        """Nothing of it will run."""
        self.refusal = reason
        self.left = 0


class Handle:
    """One thread that this process created."""

    __slots__ = ("_index", "_submission")

    def __init__(self, submission: Submission, index: int) -> None:
        self._submission = submission
        self._index = index

    @property
    def tid(self) -> int:
        """Give its number; 0 until the kernel has it in its journal."""
        first = self._submission.first_tid
        return first + self._index if first else 0

    @property
    def place(self) -> tuple[int, int]:
        """Give ticket and index, as events name it."""
        return self._submission.ticket, self._index

    @property
    def submission(self) -> Submission:
        """Give what it travelled with."""
        return self._submission

    @property
    def result(self) -> port.Result | None:
        """Give how it ended, in full; None when it has not ended, was refused, or completed among short ones."""
        outcome = self._submission.outcomes[self._index] if self._index < len(self._submission.outcomes) else _OPEN
        return outcome if isinstance(outcome, port.Result) else None

    @property
    def has_ended(self) -> bool:
        """Tell whether it has ended, in whatever way."""
        submission = self._submission
        if submission.refusal:
            return True
        return self._index < len(submission.outcomes) and submission.outcomes[self._index] is not _OPEN

    @property
    def status(self) -> str:
        """Give "open", "refused", or how it ended: "completed", "error", "terminated", "timed_out"."""
        if not self.has_ended:
            return "open"
        if self._submission.refusal:
            return "refused"
        outcome = self._submission.outcomes[self._index]
        return outcome.status if isinstance(outcome, port.Result) else "completed"

    @property
    def cause(self) -> str:
        """Give why it did not complete; "" when it did, or has not ended."""
        outcome = self._submission.outcomes[self._index] if self._index < len(self._submission.outcomes) else _OPEN
        return outcome.cause if isinstance(outcome, port.Result) else ""

    @property
    def attempts(self) -> int:
        """Count the attempts that were made; 0 when it has not ended, or was never begun."""
        if not self.has_ended or self._submission.refusal:
            return 0
        outcome = self._submission.outcomes[self._index]
        return outcome.attempts if isinstance(outcome, port.Result) else 1

    @property
    def is_repeated(self) -> bool:
        """Tell whether it was given what an earlier thread with its key had come to, and did not run."""
        outcome = self._submission.outcomes[self._index] if self._index < len(self._submission.outcomes) else _OPEN
        return isinstance(outcome, port.Result) and outcome.repeats != 0

    def value(self) -> Any:
        """Give what its entry returned. Raises ThreadFailed when it did not complete, RequestRefused when it was refused or has not ended."""
        submission = self._submission
        outcome = submission.outcomes[self._index] if self._index < len(submission.outcomes) else _OPEN
        if type(outcome) is msgspec.Raw:
            return _decode(outcome)
        if isinstance(outcome, port.Result):
            if outcome.status == "completed":
                return _decode(outcome.value)
            raise ThreadFailed(self.tid, outcome)
        raise RequestRefused(submission.refusal or f"cannot read the result of thread {self.tid}: it has not ended")
