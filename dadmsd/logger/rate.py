"""How much one process may write: a bucket that fills with time; pure.

Rule 1: what comes while there is something in the bucket is taken whole, and may empty it below zero, by one reading at most.
Rule 2: the bucket holds BURST seconds' worth: a process that prints its result at once is not what the limit is for.
"""

BURST = 10.0  # seconds


class Allowance:
    """What is left of a process's share; ``rate`` is in bytes a second, 0 is no limit."""

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._level = rate * BURST
        self._at = now

    def is_used_up(self, now: float) -> bool:
        """Tell whether nothing is left (monotonic seconds)."""
        if not self._rate:
            return False
        self._level = min(self._rate * BURST, self._level + (now - self._at) * self._rate)
        self._at = now
        return self._level <= 0

    def use(self, size: int) -> None:
        """Count bytes that were written."""
        self._level -= size
