"""What was lost and not yet told, in a file that outlives the logger: a log that takes nothing cannot say so, and a logger that is killed then must not take its count along.

1. Each log has a slot from when it is opened, while there is room for it: to write over a slot needs none. A log without one (the disk was full when it was opened) is counted in memory alone.
2. A count is written before its lines are taken from their pipe, and wiped after it was told: whatever instant a logger is killed at, lines are counted or told of twice rather than never.
3. Nothing is synced: this is for the death of a logger, or of everything, not for that of the machine.
"""

import os
import struct
from pathlib import Path
from typing import NamedTuple

import msgspec

from dadms_ipc.errors import PeerViolation
from dadmsd.keeper.store import LOG, log_name
from dadmsd.stderr import say

SLOT = 512  # bytes: a tag (191), a reason, two numbers; none crosses a page, so none is half written when its writer is killed
ROOM = 128  # slots that are made room for at once
MOST = 65_536  # slots: twice as many as there are pipes (ENTRIES_LIMIT of the keeper's store)
_LENGTH = struct.Struct("<H")
_COUNTS = 2**63  # what a count may be: more can be added to it for ever, and it still fits its slot


class Loss(NamedTuple):
    """Lines that are not in a log."""

    tag: str  # who wrote the last of them
    lines: int
    size: int  # bytes
    reason: str


NOTHING = Loss("", 0, 0, "")


class Slot:
    """Where the losses of one log are kept."""

    def __init__(self, losses: "Losses", number: int | None, found: Loss = NOTHING) -> None:
        self._losses, self.number = losses, number
        self.found = found  # what a logger before this one had not told

    def keep(self, loss: Loss) -> None:
        """Keep what was lost until now, ``NOTHING`` once it was told."""
        if self.number is not None:
            self._losses.write(self.number, loss)

    def leave(self) -> None:
        """Give it back: its log has been told everything."""
        if self.number is not None:
            self._losses.give_back(self.number)
            self.number = None


class Losses:
    """The file and its slots; one that cannot be opened is said and done without."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._slots = 0
        self._free: list[int] = []
        self._found: dict[str, tuple[int, Loss]] = {}  # of loggers before, by the stem of their log
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            self._read()
        except OSError as error:
            say(f"logger: cannot use {path}: {error.strerror}: losses are not counted beyond the life of a logger")

    def _read(self) -> None:
        while self._slots < MOST and len(slot := os.pread(self._fd, SLOT, self._slots * SLOT)) == SLOT:
            stem, loss = _decoded(slot)
            if stem and stem not in self._found:
                self._found[stem] = self._slots, loss
            else:
                self._free.append(self._slots)
            self._slots += 1

    @property
    def stems(self) -> list[str]:
        """Name the logs for which something was found that nobody has taken."""
        return list(self._found)

    def take(self, stem: str) -> Slot:
        """Give a log its slot, with what was found in it."""
        if stem in self._found:
            return Slot(self, *self._found.pop(stem))
        if not self._free:
            self._extend()
        return Slot(self, self._free.pop() if self._free else None)

    def _extend(self) -> None:
        if self._slots >= MOST:
            return
        try:
            size = os.pwrite(self._fd, bytes(ROOM * SLOT), self._slots * SLOT)  # written, not a hole: each is there from now on
        except OSError:
            return  # the next log that is opened tries again
        self._free += range(self._slots, self._slots + size // SLOT)
        self._slots += size // SLOT

    def write(self, number: int, loss: Loss) -> None:
        """Write a slot over."""
        body = msgspec.msgpack.encode(loss) if loss.lines else b""
        try:
            os.pwrite(self._fd, _LENGTH.pack(len(body)) + body, number * SLOT)
        except OSError as error:
            say(f"logger: cannot write {self._path}: {error.strerror}")

    def give_back(self, number: int) -> None:
        """Take a slot back, which says nothing any more."""
        self._free.append(number)


def _decoded(slot: bytes) -> tuple[str, Loss]:
    """Give the stem of the log and the loss; an empty stem where there is none, or the slot is not ours."""
    (length,) = _LENGTH.unpack_from(slot)
    try:
        loss = msgspec.msgpack.decode(slot[_LENGTH.size : _LENGTH.size + length], type=Loss)
        _, stem = log_name(LOG + loss.tag)
    except (msgspec.DecodeError, ValueError, PeerViolation):  # UnicodeDecodeError is a ValueError
        return "", NOTHING
    is_count = 0 < loss.lines < _COUNTS and 0 <= loss.size < _COUNTS
    return (stem, loss) if is_count else ("", NOTHING)
