"""What is remembered of the idempotency keys of one process: who is open under each, and what ended ones came to. Nothing is decided here."""

import hashlib
from typing import NamedTuple

import msgspec

from dadmsd.kernel.core.records import Kept

OVERHEAD = 250  # bytes that a kept result takes beside its own and its key's
DIGEST_BYTES = 16

_sorted = msgspec.msgpack.Encoder(order="deterministic")


class Work(NamedTuple):
    """What a thread with a key is: another one with the key has to be the same."""

    entry: str
    digest: bytes  # of entry and argument


def work(entry: str, argument: msgspec.Raw) -> Work:
    """Tell what a thread is. The order of the keys of a map does not matter."""
    try:
        plain = _sorted.encode(msgspec.msgpack.decode(argument))
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):  # keys of several kinds, or nested too deep: as it came
        plain = bytes(argument)
    return Work(entry, hashlib.blake2b(plain, digest_size=DIGEST_BYTES, key=entry.encode()[:64]).digest())


class Keyed:
    """The keys of one process, over its incarnations."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}  # oldest first
        self.size = 0  # bytes of these
        self.order = 0  # of the newest
        self.open: dict[str, list[int]] = {}  # key -> the thread that runs, then those that end with it
        self.key_of: dict[int, str] = {}  # of open threads
        self.work_of: dict[str, Work] = {}  # of open keys: what the thread that runs is

    def add(self, kept: Kept) -> None:
        """Remember a result."""
        self.kept[kept.key] = kept
        self.size += weight(kept)
        self.order = max(self.order, kept.order)

    def pop_oldest(self) -> Kept:
        """Forget the oldest result, and give it."""
        oldest = self.kept.pop(next(iter(self.kept)))
        self.size -= weight(oldest)
        return oldest


def weight(kept: Kept) -> int:
    """Give about how many bytes a kept result takes."""
    return len(kept.result) + len(kept.key) + OVERHEAD
