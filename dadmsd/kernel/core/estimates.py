"""How long entries run, as far as was seen, and how many of their threads travel together therefore.

1. Threads travel one by one until their entry has proved to be short; then in batches of about BATCH_SECONDS. Nothing is sent to wait behind a thread that is not
   known to be short.
2. What is left in the end is parted among the workers, unless it is so little that sending it costs as much.
"""

import math

BATCH_SECONDS = 0.012  # of measured run time that travel together, where so much waits: a batch costs kernel and process a quarter of a millisecond of a core that the workers want
PART_SECONDS = 0.001  # of run time that is not parted among workers: sending it costs as much
SHORT_SECONDS = 0.004  # threads that run longer travel alone: nobody waits behind them
BATCH_MOST = 1024  # threads
TAIL = 16  # times its median that the mean may be before it counts: of an entry that is mostly short, and sometimes very long, fewer travel together
SAMPLE = 31  # run times whose median is looked at
SEEN_MOST = 40  # threads that what is known of an entry stands for: as many new ones weigh as much


class Estimates:
    """What is known of the entries of a process."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}  # threads that the estimate of an entry stands for
        self._seconds: dict[str, float] = {}  # that an entry runs, a moving average

    def of(self, entry: str) -> float:
        """Give the seconds that an entry runs; infinite while nothing is known."""
        return self._seconds.get(entry, math.inf)

    def learn(self, entry: str, seconds: float, *, count: int = 1) -> None:
        """Learn how long an entry runs, from ``count`` threads of it. A worker may say anything: what is no number counts as long.

        One thread says little once many have run: on a busy machine, one of many is interrupted for a thousand times as long as it runs.
        """
        if not 0.0 <= seconds < math.inf:
            seconds = 2 * SHORT_SECONDS
        seen = self._seen.get(entry, 0)
        self._seen[entry] = min(SEEN_MOST, seen + count)
        known = self._seconds.get(entry, seconds)
        self._seconds[entry] = known + (seconds - known) * count / (min(SEEN_MOST, seen) + count)

    def learn_all(self, entry: str, seconds: list[float], total: float) -> None:
        """Learn from short threads that ran one after the other, ``total`` seconds together: how long most of them take, and at least a part of their mean."""
        count = len(seconds)
        some = sorted(seconds[:SAMPLE])
        self.learn(entry, max(some[len(some) // 2], total / count / TAIL), count=count)

    def is_short(self, entry: str) -> bool:
        """Tell whether an entry has proved to be short."""
        return self._seconds.get(entry, math.inf) <= SHORT_SECONDS

    def batch_size(self, entry: str, *, ready: int, workers: int) -> int:
        """Give how many threads of an entry travel together, of those that are ready for so many workers."""
        estimate = self._seconds.get(entry)
        if estimate is None or estimate > SHORT_SECONDS:
            return 1
        estimate = max(estimate, 1e-6)
        share = max(-(-ready // workers), int(PART_SECONDS / estimate))  # when little is left, every worker has a part of it
        return max(1, min(BATCH_MOST, int(BATCH_SECONDS / estimate), share))
