"""The programs around a kernel, as plain objects: a main, a worker with its page, a fork server, the keeper. They keep the promises of docs/reference, no more."""

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from dadms_ipc import port
from dadmsd.kernel.core.state import Settings
from dadmsd.worker.messages import Item, Outcome
from tests.property.kernel import looper

NIL = msgspec.Raw(b"\xc0")

SECONDS = {"work": 0.0001, "slow": 0.02, "capped": 0.001}  # that an entry takes
FLAKY = 3  # attempts after which a flaky thread completes
DEADLY = {"crash": (1, 1, ""), "oom": (2, 9, "worker limit of 64 MiB")}  # entries that end their worker: how, status, whose memory
ENTRIES = [*looper.ENTRIES, "work", "slow", "stuck", "crash", "oom", "flaky", "polite"]  # "stuck" never ends


def settings(**changes: Any) -> Settings:
    """Make settings for a test."""
    defaults: dict[str, Any] = {
        "epoch": 1,
        "boot_id": "boot",
        "version": "test",
        "instance_key": b"k" * 32,
        "uid": 0,
        "runtime_dir": "/run/test",
        "state_dir": "/state/test",
        "is_private": False,
        "limits_backend": "simulated",
        "max_processes": 100,
        "slots": 8,
        "ready_timeout": 60.0,
        "thread_timeout": 30.0,
        "memory_limit": 1 << 32,
        "cpu_limit": 2.0,
    }
    return Settings(**{**defaults, **changes})


class Steady(random.Random):
    """Chance without chance: everything is read, nothing dies by itself, and who may act takes turns."""

    def __init__(self) -> None:
        super().__init__(0)
        self._turns: dict[type, int] = {}

    def random(self) -> float:
        return 1.0

    def randint(self, _a: int, b: int) -> int:
        return b

    def choice(self, seq: Any) -> Any:
        kind = type(seq[0])  # times and names each take their own turns
        self._turns[kind] = self._turns.get(kind, 0) + 1
        return seq[self._turns[kind] % len(seq)]

    def shuffle(self, x: Any) -> None:
        """Leave the order."""


@dataclass
class Submission:
    """What a process asks for at once."""

    entry: str
    count: int
    timeout: float | None = None  # seconds
    cancel: bool = False  # half of its threads are given up as soon as their numbers are known
    retry: port.Retry | None = None
    group: str = ""
    cancels: bool = False  # a failure cancels the rest of the group
    keys: int = 0  # different ones that its threads have in turn; 0: none has any


class Main:
    """A process that submits one thing after the other, waits for every result, and ends with the number of those that completed."""

    def __init__(self, plan: list[Submission], *, is_stubborn: bool) -> None:
        self.plan = deque(plan)
        self.is_stubborn = is_stubborn  # SIGTERM does not end it
        self.sequence = 0
        self.unanswered: port.Submit | None = None
        self.submission: Submission | None = None  # the one that is not answered
        self.cancels: list[port.Cancel] = []  # until a later submission is answered: only then is it certain that they were taken
        self.tids: set[int] = set()
        self.results: dict[int, port.Result] = {}
        self.seen = 0
        self.outcome: port.Outcome | None = None
        self.outbox: deque[Any] = deque([port.Ready(ENTRIES, [], looper.DECLARATIONS)])
        self._go_on()

    def hello(self) -> None:
        """Repeat what was not answered, in the order of its numbers; an outcome alone."""
        if self.outcome is not None:
            self.outbox.append(self.outcome)
            return
        self.outbox.append(port.Ready(ENTRIES, [], looper.DECLARATIONS))
        waiting: list[Any] = [*self.cancels, *([self.unanswered] if self.unanswered is not None else [])]
        self.outbox.extend(sorted(waiting, key=lambda each: each.sequence))
        if self.seen:
            self.outbox.append(port.Seen(self.seen))

    def _go_on(self) -> None:
        if self.unanswered is None and self.plan:
            self.submission = self.plan.popleft()
            self.sequence += 1
            count, keys = self.submission.count, self.submission.keys
            named = [f"{self.submission.entry} {number % keys}" for number in range(count)] if keys else []
            self.unanswered = port.Submit(
                self.sequence,
                self.submission.entry,
                [NIL] * count,
                [],
                self.submission.timeout,
                retry=self.submission.retry,
                keys=named,
                group=self.submission.group,
                cancels=self.submission.cancels,
            )
            self.outbox.append(self.unanswered)
            self.outbox.append(port.Note("step", f"{count} {self.submission.entry}"))
        if not self.plan and self.unanswered is None and self.outcome is None and self.tids <= self.results.keys():
            done = sum(1 for result in self.results.values() if result.status == "completed")
            self.outcome = port.Outcome("completed", msgspec.Raw(msgspec.msgpack.encode({"done": done})))
            self.outbox.append(self.outcome)

    def hear(self, message: Any) -> bool:
        """Take a message in; True when the process exits with 0."""
        match message:
            case port.Accepted():
                self._accepted(message)
            case port.Refused():
                assert message.reason == "cannot run threads: the process is not running" or "are being cancelled" in message.reason
                self._answered(message.sequence)
            case port.Finished():
                self._finished(message)
            case port.Recorded():
                return True
        return False

    def _accepted(self, message: port.Accepted) -> None:
        if self.unanswered is None or message.sequence != self.unanswered.sequence:
            return
        assert self.submission is not None
        self.cancels.clear()
        tids = range(message.first_tid, message.first_tid + len(self.unanswered.arguments))
        assert not self.tids & set(tids), "a submission was answered with another's threads"
        self.tids |= set(tids)
        self.unanswered = None
        if self.submission.cancel:
            self.sequence += 1
            self.cancels.append(port.Cancel(self.sequence, list(tids)[::2]))
            self.outbox.append(self.cancels[-1])
        self._go_on()

    def _answered(self, sequence: int) -> None:
        if self.unanswered is not None and sequence == self.unanswered.sequence:
            self.unanswered = None
            self._go_on()

    def _finished(self, message: port.Finished) -> None:
        first = message.sequence - len(message.results) + 1
        assert first <= self.seen + 1, "a delivery was skipped"
        for offset, result in enumerate(message.results):
            if first + offset > self.seen:
                assert result.tid not in self.results, f"thread {result.tid} ended twice"
                self.results[result.tid] = result
        self.seen = max(self.seen, message.sequence)
        self.outbox.append(port.Seen(self.seen))
        self._go_on()


class Program:
    """What the main of a service or tool becomes: it ends by itself as its plan says, or runs until it is ended."""

    def __init__(self, end: tuple[int, int] | None, *, is_stubborn: bool) -> None:
        self.end = end  # how, status
        self.is_stubborn = is_stubborn
        self.results: dict[int, port.Result] = {}
        self.outbox: deque[Any] = deque()

    def hello(self) -> None:
        """Say nothing: a program has no port."""

    def hear(self, _message: Any) -> bool:
        return False


class Worker:
    """A worker with its page."""

    def __init__(self, begun: dict[int, int], finished: set[int]) -> None:
        self.begun_by_tid = begun
        self.finished = finished
        self.seen = self.begun = self.done = 0
        self.queue: deque[tuple[int, Item]] = deque()
        self.page: list[Outcome] = []
        self.is_finishing = False
        self.wants_to_ring = False
        self.yields = 0
        self.says_so = False  # that it gives way, soon
        self.gave_way: dict[int, int] = {}  # sequence -> how often
        self.waits = False  # for its turn
        self.is_frozen = False
        self.revoked: set[int] = set()

    def revoke(self, first: int, last: int) -> None:
        """Take in what must not begin; only a worker that stands still may be told."""
        fresh = set(range(max(first, self.begun + 1), last + 1)) - self.revoked
        assert self.is_frozen or not fresh, f"{sorted(fresh)} revoked from a worker that runs"
        self.revoked |= fresh

    def batch(self, first: int, items: list[Item]) -> None:
        for offset, item in enumerate(items):
            if first + offset > self.seen:
                self.seen = first + offset
                self.queue.append((first + offset, item))

    @property
    def can_act(self) -> bool:
        """Tell whether anything can happen here."""
        is_stuck = self.begun > self.done and self.queue[0][1].entry == "stuck"
        return self.wants_to_ring or self.says_so or (not is_stuck and not self.waits and (bool(self.queue) or self.is_finishing))

    @property
    def is_idle(self) -> bool:
        """Tell whether the doorbell has to ring: at the end of a batch, at the latest when the next thread runs."""
        return not self.queue or self.begun > self.done

    def step(self) -> tuple[int, int, str] | None:
        """Begin the next thread, or end the one that was begun; gives (how, status, whose memory) when the worker ends over it."""
        if self.is_frozen or self.waits:
            return None
        while self.queue and self.begun == self.done and self.queue[0][0] in self.revoked:
            self.begun = self.done = self.queue.popleft()[0]
        if self.begun > self.done:
            sequence, item = self.queue[0]
            if item.entry in DEADLY:
                return DEADLY[item.entry]
            if item.entry == "flaky" and self.begun_by_tid[item.tid] < FLAKY:
                self.queue.popleft()
                self.page.append(Outcome(sequence, item.tid, "error", NIL, "ValueError", "not yet", run_seconds=0.001))
                self.done = sequence
                self.wants_to_ring = True
            elif item.entry == "polite" and self.gave_way.get(sequence, 0) < 2:
                self.gave_way[sequence] = self.gave_way.get(sequence, 0) + 1
                self.yields += 1
                self.waits = self.says_so = True
            elif item.entry in SECONDS or item.entry in ("flaky", "polite"):
                self.queue.popleft()
                self.page.append(Outcome(sequence, item.tid, "completed", NIL, run_seconds=SECONDS.get(item.entry, 0.001)))
                self.done = sequence
                self.finished.add(item.tid)
                self.wants_to_ring = True
        elif self.queue:
            self.begun, item = self.queue[0]
            self.begun_by_tid[item.tid] = self.begun_by_tid.get(item.tid, 0) + 1
        elif self.is_finishing:
            return 1, 0, ""
        return None


class End(NamedTuple):
    """How a child ended."""

    name: str
    os_pid: int
    how: int
    status: int
    oom: str  # whose memory


@dataclass
class Zygote:
    """What a fork server knows of its children, by name."""

    alive: dict[str, int] = field(default_factory=dict)  # OS pids
    dead: dict[str, End] = field(default_factory=dict)  # not reaped


@dataclass
class Keeper:
    """What the keeper knows of the children of fork servers that are gone: OS pids, no names."""

    alive: dict[str, int] = field(default_factory=dict)  # the names are the test's
    dead: dict[int, End] = field(default_factory=dict)  # not acknowledged
