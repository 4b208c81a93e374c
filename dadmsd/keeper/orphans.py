"""Exits of processes that no zygote can report any more: kept until a kernel has journaled them, and bounded.

1. The keeper reaps at once and remembers ``(pid, how, status)``; a pid may be reused meanwhile, the newest exit counts.
2. A kernel is told of at most WINDOW exits that it has not acknowledged: what it has not read does not pile up in its channel.
3. A flood of orphans (a program that forks and forgets) drops the oldest exits beyond LIMIT; they are counted.
"""

from collections.abc import Iterator

from dadmsd.keeper.messages import OrphanExited

LIMIT = 20_000  # exits: an order above the processes of a full daemon with their workers, at about 200 bytes each
WINDOW = 200  # exits: less than the 278 small packets that a socket holds


class Orphans:
    """The exits that are not in a journal yet, oldest first."""

    def __init__(self) -> None:
        self._exits: dict[int, OrphanExited] = {}
        self._told: set[int] = set()
        self.dropped = 0  # exits that were forgotten unacknowledged

    def __len__(self) -> int:
        return len(self._exits)

    def add(self, exited: OrphanExited) -> None:
        """Remember an exit."""
        self._forget(exited.os_pid)
        self._exits[exited.os_pid] = exited
        if len(self._exits) > LIMIT:
            self._forget(next(iter(self._exits)))
            self.dropped += 1

    def acknowledge(self, os_pid: int) -> None:
        """Forget an exit; unknown ones are ignored."""
        self._forget(os_pid)

    def _forget(self, os_pid: int) -> None:
        self._exits.pop(os_pid, None)
        self._told.discard(os_pid)

    def begin(self) -> None:
        """Start over for a new kernel, which has been told nothing."""
        self._told.clear()

    def to_tell(self) -> Iterator[OrphanExited]:
        """Give the exits that may be told now, and count them as told."""
        if len(self._told) >= min(WINDOW, len(self._exits)):
            return
        for os_pid, exited in self._exits.items():
            if os_pid not in self._told:
                self._told.add(os_pid)
                yield exited
                if len(self._told) >= WINDOW:
                    return
