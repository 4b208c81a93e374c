"""What one worker has been given and not returned.

1. A worker that has threads holds one slot, for the one at the head of its queue; the others that were sent with it hold none and can be taken back.
2. Sequences count what a worker was given in its life; batches end in the order in which they were sent.
"""

from collections import deque

from dadmsd.kernel.core.kinds import PLAIN, Kind
from dadmsd.kernel.core.records import Batch

IN_FLIGHT = 2  # batches a worker, when threads are short: one runs while the other travels


class Worker:
    """What one worker has been given and not returned."""

    def __init__(self, name: str, number: int, *, next_sequence: int, kind: Kind = PLAIN) -> None:
        self.name = name
        self.number = number
        self.kind = kind
        self.is_ready = False
        self.is_leaving = False  # it will get no more threads
        self.is_quick = False  # what it was sent last was known to be short
        self.next_sequence = next_sequence
        self.done = 0  # sequence of the last thread that ended
        self.batches: deque[Batch] = deque()  # those with threads that have not ended, oldest first
        self.head_since = 0.0  # monotonic: when the oldest became the oldest
        self.head_at = 0.0  # the same, wall clock
        self.idle_since = 0.0
        self.ready_since = 0.0  # monotonic
        self.is_suspended = False  # it stands still with the thread that it runs, and holds no slot
        self.suspended_at = 0.0  # monotonic
        self.is_yielded = False  # its thread gave way, and waits for a slot to go on
        self.yielded_at = 0.0  # monotonic
        self.yield_order = 0  # of its newest place in the queue
        self.is_asked = False  # its page says that others wait for its slot

    @property
    def is_busy(self) -> bool:
        """Tell whether it has threads: it holds a slot then."""
        return bool(self.batches)

    @property
    def holds_slot(self) -> bool:
        """Tell whether it holds a slot."""
        return bool(self.batches) and not self.is_suspended and not self.is_yielded

    @property
    def stands(self) -> bool:
        """Tell whether it stands still in the middle of a thread, and takes no place among the workers of its process."""
        return self.is_suspended or self.is_yielded

    @property
    def takes_slots(self) -> bool:
        """Tell whether it is one of those that hold a slot while they are busy."""
        return not self.kind.is_async

    def stood(self, seconds: float) -> None:
        """Note that time stood still for it."""
        if not self.stands:  # its own time stands still until it goes on
            self.head_since += seconds

    def ran(self, now: float) -> float:
        """Give the seconds that the oldest thread has run: none in which it stood still."""
        until = self.suspended_at if self.is_suspended else self.yielded_at if self.is_yielded else now
        return max(0.0, until - self.head_since)

    def runs(self, tid: int) -> bool:
        """Tell whether a thread is the one that it runs."""
        return self.head[1] == tid

    @property
    def has_followers(self) -> bool:
        """Tell whether threads were sent behind the one at its head."""
        return len(self.batches) > 1 or (
            bool(self.batches) and self.batches[0].first_sequence + len(self.batches[0].tids) > self.head[0] + 1
        )

    @property
    def head(self) -> tuple[int, int]:
        """Give sequence and number of the thread that it runs, or is about to; (0, 0) when it has none."""
        if not self.batches:
            return 0, 0
        batch = self.batches[0]
        place = max(0, self.done + 1 - batch.first_sequence)
        return batch.first_sequence + place, batch.tids[place]

    @property
    def in_flight(self) -> list[tuple[int, int]]:
        """Give (sequence, tid) of all that it has, oldest first."""
        return [
            (sequence, tid)
            for batch in self.batches
            for sequence, tid in enumerate(batch.tids, batch.first_sequence)
            if sequence > self.done
        ]

    def has_next(self, sequence: int, first_tid: int, count: int = 1) -> bool:
        """Tell whether these threads are the next that it has, within one batch."""
        if not self.batches or self.head[0] != sequence:
            return False
        batch = self.batches[0]
        place = sequence - batch.first_sequence
        return batch.tids[place : place + count] == list(range(first_tid, first_tid + count))

    def passed(self, sequence: int) -> list[Batch]:
        """Note that everything up to this sequence has ended; give the batches that are through."""
        self.done = sequence
        through: list[Batch] = []
        while self.batches and self.batches[0].first_sequence + len(self.batches[0].tids) <= sequence + 1:
            through.append(self.batches.popleft())
        return through

    def takes(self, *, is_quick: bool) -> bool:
        """Tell whether it may be sent a batch: one that is idle always, one that is busy when neither batch waits long for the other."""
        if not self.is_ready or self.is_leaving or self.stands or self.kind.is_async:
            return False
        return not self.batches or (is_quick and self.is_quick and len(self.batches) < IN_FLIGHT)
