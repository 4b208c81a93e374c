"""What is known of a named group of threads of a process: counts by state, and where its open threads stand. Nothing is decided here."""

from typing import Any

from dadms_ipc.requests import GroupInfo
from dadmsd.kernel.core.records import GroupRow

STATES = 8  # of scheduler.py


class Group:
    """A group of one incarnation; the pool counts its threads as they move."""

    def __init__(self, row: GroupRow) -> None:
        self.row = row
        self.counts = [0] * STATES  # threads by state, those that ended included
        self.blocks: dict[int, Any] = {}  # submissions with open threads, by their first thread
        for number, count in row.ended.items():
            self.counts[number] = count

    @property
    def open(self) -> int:
        """Count the threads that have not ended."""
        return sum(self.counts[:4])

    @property
    def failed(self) -> int:
        """Count the threads that failed, by themselves or by what befell them; not those that somebody gave up."""
        return self.counts[5] + self.counts[7]

    def info(self) -> GroupInfo:
        """Show it."""
        ready, suspended, waiting, sent, completed, error, terminated, timed_out = self.counts
        row = self.row
        return GroupInfo(
            row.pid, row.name, ready, sent, waiting, suspended, completed, error, terminated, timed_out,
            is_suspended=row.is_suspended, priority=row.priority, cancels=row.cancels, failed_by=row.failed_by,
        )  # fmt: skip
