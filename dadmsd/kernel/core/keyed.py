"""What is remembered of the idempotency keys of one process: who is open under each, and what ended ones came to. Nothing is decided here."""

from dadmsd.kernel.core.records import Kept

OVERHEAD = 200  # bytes that a kept result takes beside its own and its key's


class Keyed:
    """The keys of one process, over its incarnations."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}  # oldest first
        self.size = 0  # bytes of these
        self.order = 0  # of the newest
        self.dropped = 0  # that were kept, and gave way
        self.open: dict[str, list[int]] = {}  # key -> the thread that runs, then those that end with it
        self.key_of: dict[int, str] = {}  # of open threads

    def add(self, kept: Kept) -> None:
        """Remember a result."""
        self.kept[kept.key] = kept
        self.size += weight(kept)
        self.order = max(self.order, kept.order)

    def pop_oldest(self) -> Kept:
        """Forget the oldest result, and give it."""
        oldest = self.kept.pop(next(iter(self.kept)))
        self.size -= weight(oldest)
        self.dropped += 1
        return oldest


def weight(kept: Kept) -> int:
    """Give about how many bytes a kept result takes."""
    return len(kept.result) + len(kept.key) + OVERHEAD
