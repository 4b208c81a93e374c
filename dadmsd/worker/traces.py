"""Tracebacks of entries that raised, in the log of their process: behind what the entry itself wrote there, and naming the thread.

1. Nobody waits for the log: what it does not take at once is lost there. The result has the traceback in any case.
2. At most MOST a second are written by one worker; that there are more is said once in that second. Thousands that fail alike would push everything else out of the log.
3. An error of ours says all in its text, and one that ends a cancelled thread is nobody's: neither is written.
"""

import contextlib
import select
import sys
import time

from dadmsd.stderr import say

MOST = 20  # a second
LENGTH = 16 * 1024  # characters of one, from its end: a message may be of any size
PIECE = (
    select.PIPE_BUF - 512
)  # bytes written at once, so that lines of other workers do not stand in the middle of it; the slack is for characters that take several


class Traces:
    """What one worker writes of them."""

    def __init__(self) -> None:
        self._second = 0.0  # monotonic: when the one that is counted in began
        self._written = 0

    def write(self, tid: int, entry: str, trace: str) -> None:
        """Put a traceback into the log; "" is none."""
        if not trace:
            return
        now = time.monotonic()
        if now - self._second >= 1.0:
            self._second, self._written = now, 0
        self._written += 1
        if self._written > MOST:
            if self._written == MOST + 1:
                say(f"worker: more than {MOST} tracebacks in a second; the others are not written")
            return
        with contextlib.suppress(Exception):  # an entry may have put anything there
            sys.stdout.flush()
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        piece: list[str] = []
        size = 0
        for line in (f"thread {tid} ({entry}):", *trace[-LENGTH:].splitlines()):
            if piece and size + len(line) > PIECE:
                say("\n".join(piece))
                piece, size = [], 0
            piece.append(line)
            size += len(line) + 1
        say("\n".join(piece))
