"""What kernel and worker say to each other; docs/reference/page.md has it literally, with the page that holds the results.

The message is a doorbell: a worker writes a result into its page, marks it done, and only then rings. A batch is journaled before it is sent and sent again
by the next kernel; a worker drops every thread whose sequence it has seen.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from dadms_ipc.port import ContextAnswer, ContextCall
from dadmsd.zygote.messages import GateFailed


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of the messages: tagged arrays whose new fields go last, with defaults."""


# kernel to worker


class Hello(Message, tag="hello", frozen=True):
    """A new kernel: ring the doorbell, whatever was rung before."""


class Item(Message, frozen=True):
    """One thread of a batch."""

    tid: int
    entry: str
    arguments: msgspec.Raw  # any msgpack value; the entry decodes it


class Span(Message, frozen=True):
    """Threads of a batch with one entry and consecutive numbers."""

    first_tid: int
    entry: str
    arguments: list[msgspec.Raw]  # any msgpack value each


class Batch(Message, tag="batch", frozen=True):
    """Threads to run in this order, the items before the spans; the sequence of the n-th is ``first_sequence + n``."""

    first_sequence: int
    items: list[Item]
    spans: list[Span] = []


class Steer(Message, tag="steer", frozen=True):
    """To an async worker: cancel these threads, or hold these, and no others, where they wait next; one that has ended is passed over."""

    verb: str  # "cancel", "hold"
    tids: list[int]


class Consumed(Message, tag="consumed", frozen=True):
    """The kernel has taken results out of the page: one that waits for room may look again."""


class GoOn(Message, tag="go-on", frozen=True):
    """A thread that gave way may go on."""

    number: int  # of the worker's word that it gave way


class Finish(Message, tag="finish", frozen=True):
    """Exit with code 0 once what has been sent is done."""


# worker to kernel


class Ready(Message, tag="ready", frozen=True):
    """The worker waits for batches."""


class Doorbell(Message, tag="doorbell", frozen=True):
    """The page holds results that no earlier doorbell announced."""

    done: int  # sequence of the newest


class Spoiled(Message, tag="spoiled", frozen=True):
    """A thread has written into the page; what it holds is not to be believed, and the worker exits."""

    tid: int


class Yield(Message, tag="yield", frozen=True):
    """The running thread gives way to others; the worker waits for ``GoOn``, and says this again to each new kernel until then."""

    number: int  # from 1
    sequence: int


class Progress(Message, tag="progress", frozen=True):
    """A running thread reports how far it is; lost without harm."""

    tid: int
    text: str
    fraction: float | None = None  # 0..1


# in the page


class Outcome(Message, frozen=True):
    """How one thread ended, as its worker wrote it into the page."""

    sequence: int
    tid: int
    status: str  # "completed", "error", or, of an async thread that ended because it was cancelled, "cancelled"
    value: msgspec.Raw  # msgpack; nil unless completed
    kind: str = ""  # of the error: the exception's class, or "result-too-large", "result-not-encodable"
    message: str = ""
    traceback: str = ""
    code: str = ""  # of a BPMN error that the entry raised on purpose
    started_at: float = 0.0  # wall clock, seconds
    run_seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def last_sequence(self) -> int:
        """Give its sequence, as a stretch gives that of its last."""
        return self.sequence


class Stretch(NamedTuple):
    """Short threads, with consecutive sequences and numbers, that completed one after the other: columns instead of an Outcome each."""

    first_sequence: int
    first_tid: int
    started_at: float  # wall clock, seconds: the first one's
    values: list[msgspec.Raw]  # msgpack
    seconds: list[float]  # that each ran; its CPU time is not measured

    @property
    def last_sequence(self) -> int:
        """Give the sequence of the last."""
        return self.first_sequence + len(self.values) - 1

    def after(self, sequence: int) -> "Stretch":
        """Give what is left of it beyond a sequence."""
        known = sequence + 1 - self.first_sequence
        if known <= 0:
            return self
        started_at = self.started_at + sum(self.seconds[:known])
        return Stretch(self.first_sequence + known, self.first_tid + known, started_at, self.values[known:], self.seconds[known:])

    def outcomes(self) -> Iterator[Outcome]:
        """Give each as it would be alone."""
        at = self.started_at
        for place, (value, seconds) in enumerate(zip(self.values, self.seconds, strict=True)):
            yield Outcome(
                self.first_sequence + place,
                self.first_tid + place,
                "completed",
                value,
                started_at=at,
                run_seconds=seconds,
                cpu_seconds=seconds,
            )
            at += seconds


ToWorker = Hello | Batch | Consumed | Finish | ContextAnswer | Steer | GoOn
FromWorker = Ready | Doorbell | Progress | Spoiled | GateFailed | ContextCall | Yield
