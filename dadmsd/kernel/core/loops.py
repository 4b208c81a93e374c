"""What one async worker has been given and not returned: threads that are under way at the same time and end in any order."""

import math
from collections.abc import Mapping

from dadmsd.kernel.core.assignments import Worker
from dadmsd.kernel.core.kinds import Kind
from dadmsd.kernel.core.records import Batch

FLYING_MOST = 2  # times at_once that a worker has at most, suspended threads included: each keeps what it holds in memory


class Flight:
    """One thread in an async worker."""

    __slots__ = ("at", "batch", "cancel_by", "held_since", "sequence", "since", "timeout")

    def __init__(self, sequence: int, batch: Batch, timeout: float, *, now: float, wall: float) -> None:
        self.sequence = sequence
        self.batch = batch
        self.timeout = timeout  # seconds
        self.since = now  # monotonic: when its time began
        self.at = wall  # the same, wall clock
        self.held_since: float | None = None  # monotonic: it is to stand still
        self.cancel_by: float | None = None  # monotonic: it was cancelled, and has to have ended by then

    @property
    def due(self) -> float:
        """Give when it is looked at: the grace after its cancellation is over, or its time; never while it stands still."""
        if self.cancel_by is not None:
            return self.cancel_by
        return math.inf if self.held_since is not None else self.since + self.timeout

    def ran(self, now: float) -> float:
        """Give the seconds since its time began: none in which it stood still."""
        return max(0.0, (now if self.held_since is None else self.held_since) - self.since)


class Loop(Worker):
    """An async worker. It never holds a slot, and nothing is at its head."""

    def __init__(self, name: str, number: int, *, next_sequence: int, kind: Kind) -> None:
        super().__init__(name, number, next_sequence=next_sequence, kind=kind)
        self.flights: dict[int, Flight] = {}  # by thread, in the order in which they were handed out
        self._held = 0
        self._open: dict[int, int] = {}  # first sequence of a batch -> its threads that have not ended

    @property
    def is_busy(self) -> bool:
        """Tell whether it has threads."""
        return bool(self.flights)

    @property
    def holds_slot(self) -> bool:
        """Tell that it holds none: its threads wait."""
        return False

    @property
    def head(self) -> tuple[int, int]:
        """Tell that none of its threads is before the others."""
        return 0, 0

    @property
    def in_flight(self) -> list[tuple[int, int]]:
        """Give (sequence, tid) of all that it has."""
        return [(flight.sequence, tid) for tid, flight in self.flights.items()]

    @property
    def room(self) -> int:
        """Count the threads that it can be given."""
        active = len(self.flights) - self._held
        return max(0, min(self.kind.at_once - active, FLYING_MOST * self.kind.at_once - len(self.flights)))

    def runs(self, tid: int) -> bool:
        """Tell whether it has a thread."""
        return tid in self.flights

    def stood(self, seconds: float) -> None:
        """Note that time stood still for all that it has."""
        for tid, flight in self.flights.items():
            if flight.held_since is None:
                flight.since += seconds
            else:  # what stands anyway gets all of it back at its release
                flight.batch.stood[tid] = flight.batch.stood.get(tid, 0.0) - seconds
            if flight.cancel_by is not None:
                flight.cancel_by += seconds
        for batch in self.batches:
            batch.since = (batch.since or 0.0) + seconds

    def hold(self, tid: int, now: float) -> None:
        """Note that a thread is to stand still."""
        flight = self.flights[tid]
        flight.held_since = flight.batch.held[tid] = now
        self._held += 1

    def release(self, tid: int, now: float) -> float:
        """Note that a thread that stands still is to go on; gives the seconds that it stood."""
        flight = self.flights[tid]
        assert flight.held_since is not None, f"thread {tid} does not stand still"
        stood = now - flight.held_since
        flight.since += stood
        flight.held_since = None
        flight.batch.held.pop(tid, None)
        flight.batch.stood[tid] = flight.batch.stood.get(tid, 0.0) + stood
        self._held -= 1
        return stood

    def add(self, batch: Batch, timeouts: Mapping[int, float], *, now: float, wall: float) -> None:
        """Take in threads of a batch, all of them or those that have not ended, with the seconds that each may take."""
        for sequence, tid in enumerate(batch.tids, batch.first_sequence):
            if tid in timeouts:
                self.flights[tid] = Flight(sequence, batch, timeouts[tid], now=now, wall=wall)
        self._open[batch.first_sequence] = len(timeouts)
        self.batches.append(batch)

    def land(self, tid: int) -> Batch | None:
        """Take out a thread whose run has ended; gives its batch when it was the last of it."""
        flight = self.flights.pop(tid)
        self._held -= flight.held_since is not None
        batch = flight.batch
        self._open[batch.first_sequence] -= 1
        if self._open[batch.first_sequence]:
            return None
        del self._open[batch.first_sequence]
        self.batches.remove(batch)
        return batch

    def drop_all(self) -> None:
        """Forget all that it had: it has ended."""
        self.flights.clear()
        self.batches.clear()
        self._open.clear()
        self._held = 0

    def open_batches(self) -> list[tuple[Batch, int]]:
        """Give each batch with the number of its threads that have not ended."""
        return [(batch, self._open[batch.first_sequence]) for batch in self.batches]


def worker_of(name: str, number: int, *, next_sequence: int, kind: Kind) -> Worker:
    """Make what is known of a worker of a kind."""
    make = Loop if kind.is_async else Worker
    return make(name, number, next_sequence=next_sequence, kind=kind)
