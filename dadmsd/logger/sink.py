"""Where the lines of a process go, and what is said there of those that could not go.

1. A destination takes lines, or says which it did not take (``Unwritten``) or that it takes them later (``Busy``).
2. Lines that are lost, for want of room or beyond the process's share, are counted; the count is the first thing written when something can be written again,
   by whichever logger can (losses.py).
"""

from typing import Protocol

from dadmsd.logger.losses import NOTHING, Loss, Slot
from dadmsd.logger.rate import Allowance

MARK = "[logger: {lines} ({bytes} bytes) were lost here: {reason}]"


class Unwritten(Exception):
    """Lines were not written."""

    def __init__(self, texts: list[bytes], reason: str) -> None:
        super().__init__(reason)
        self.texts, self.reason = texts, reason


class Busy(Exception):
    """Nothing was written, and it is worth while to try again soon."""


class Destination(Protocol):
    """One process's log."""

    def write(self, texts: list[bytes], tag: str, now: float) -> None:
        """Write lines; raises Unwritten, Busy."""
        ...

    def leave(self) -> None:
        """Let go of it."""
        ...


class Sink:
    """A destination, what one process may write to it, and what was lost on the way."""

    def __init__(self, destination: Destination, allowance: Allowance, rate_text: str, slot: Slot) -> None:
        self._destination, self._allowance, self._rate_text, self._slot = destination, allowance, rate_text, slot
        self.users = 0  # pipes that end here
        self._lost = slot.found  # and not yet told

    @property
    def has_losses(self) -> bool:
        """Tell whether there are losses that the log does not know of."""
        return self._lost.lines > 0

    def is_over(self, now: float) -> bool:
        """Tell whether the process has written its share (monotonic seconds)."""
        return self._allowance.is_used_up(now)

    def write(self, texts: list[bytes], tag: str, now: float) -> None:
        """Write lines, or count them as lost; raises Busy."""
        self.mark(now)
        if self.has_losses:  # where the mark does not go, nothing goes
            self._lose(len(texts), sum(map(len, texts)), self._lost.reason, tag)
            return
        try:
            self._destination.write(texts, tag, now)
            self._allowance.use(sum(map(len, texts)) + len(texts))
        except Unwritten as error:
            self._lose(len(error.texts), sum(map(len, error.texts)), error.reason, tag)

    def exceed(self, lines: int, size: int, tag: str) -> None:
        """Count what is beyond the process's share."""
        self._lose(lines, size, f"more than {self._rate_text}", tag)

    def _lose(self, lines: int, size: int, reason: str, tag: str) -> None:
        self._keep(Loss(tag, self._lost.lines + lines, self._lost.size + size, reason))

    def _keep(self, lost: Loss) -> None:
        self._lost = lost
        self._slot.keep(lost)

    def mark(self, now: float) -> None:
        """Write what was lost, if anything was and it can be written; raises Busy."""
        if self.has_losses:
            tag, count, size, reason = self._lost
            text = MARK.format(lines=f"{count} line{'s' if count != 1 else ''}", bytes=size, reason=reason)
            try:
                self._destination.write([text.encode()], tag, now)
            except Unwritten:
                return
            self._keep(NOTHING)

    def leave(self) -> None:
        """Let go of the destination, which has been told everything."""
        self._slot.leave()
        self._destination.leave()
