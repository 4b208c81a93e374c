"""Who is next: the policies of the configuration's ``[thread_scheduler] policy``, each a small pure class.

1. ``rank`` orders the threads of one process: the lowest is next. It is fixed when a thread is queued and grows with the time of that, so whoever comes later
   overtakes for a bounded time only: that is how waiting makes up for a low priority.
2. ``standing`` orders the processes that want a slot: the lowest is next; among equals they take turns. It falls while a process is not served, or rises while
   it is, so that none waits for ever.
"""

from typing import Final, Protocol

AGEING: Final = 10.0  # seconds of waiting that make up for one step of priority
HORIZON: Final = 60.0  # seconds after which a thread without a deadline is taken to be wanted
PRIORITY_MOST: Final = 100  # either way: beyond it, waiting would make up for nothing within a quarter of an hour
CREDIT: Final = 1.0  # seconds of run time that a process which wanted nothing is ahead of the others at most


class Candidate(Protocol):
    """A process that wants a slot."""

    served_at: float  # monotonic: when it was given one last, or came
    used: float  # seconds of run time by its weight

    def head(self) -> tuple[float, int]:
        """Give rank and priority of its next thread."""
        ...


class Policy(Protocol):
    """One way to order."""

    def rank(self, priority: int, queued_at: float, deadline: float | None) -> float:
        """Give a thread's place among those of its process; times are wall clock."""
        ...

    def standing(self, candidate: Candidate, now: float) -> float:
        """Give a process's place among those that want a slot."""
        ...


class Priority:
    """The highest priority first; waiting raises it."""

    def rank(self, priority: int, queued_at: float, deadline: float | None) -> float:  # noqa: ARG002 -- of the protocol
        """Give the time at which a thread of priority 0 would have had to come."""
        return queued_at - AGEING * priority

    def standing(self, candidate: Candidate, now: float) -> float:
        """Go by the next thread's priority, and by how long the process has had no slot."""
        return -(candidate.head()[1] + (now - candidate.served_at) // AGEING)


class Fair:
    """The process first that has had the least run time by its weight; its threads by priority."""

    def rank(self, priority: int, queued_at: float, deadline: float | None) -> float:  # noqa: ARG002 -- of the protocol
        """Give the same as the policy by priority."""
        return queued_at - AGEING * priority

    def standing(self, candidate: Candidate, now: float) -> float:  # noqa: ARG002 -- of the protocol
        """Go by what the process has had."""
        return candidate.used


class Deadline:
    """The earliest deadline first; a thread without one is taken to be wanted HORIZON seconds after it came."""

    def rank(self, priority: int, queued_at: float, deadline: float | None) -> float:  # noqa: ARG002 -- of the protocol
        """Give the deadline."""
        return deadline if deadline is not None else queued_at + HORIZON

    def standing(self, candidate: Candidate, now: float) -> float:  # noqa: ARG002 -- of the protocol
        """Go by the next thread's deadline."""
        return candidate.head()[0]


POLICIES: Final[dict[str, type[Policy]]] = {"priority": Priority, "fair": Fair, "deadline": Deadline}
