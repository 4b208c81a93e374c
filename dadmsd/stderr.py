"""What a server or a child of a zygote says on descriptor 2, its log: it never raises, and a server never waits for whoever reads it.

A log may be a file on a full disk (ENOSPC, EFBIG, EDQUOT), a pipe whose reader is gone (EPIPE) or slow, or nothing at all; what was to be said is lost then, and nobody ends for it.
"""

import contextlib
import os
import select
from typing import Final

DESCRIPTOR: Final = 2


def say(line: str, *, to: int = DESCRIPTOR) -> None:
    """Write a line whole, or not at all: now or never."""
    encoded = f"{line}\n".encode(errors="backslashreplace")
    if len(encoded) > select.PIPE_BUF:  # a writable pipe takes so much without waiting
        encoded = encoded[: select.PIPE_BUF - 1] + b"\n"
    with contextlib.suppress(OSError):
        poll = select.poll()
        poll.register(to, select.POLLOUT)
        if any(happened & select.POLLOUT for _, happened in poll.poll(0)):
            os.write(to, encoded)


def say_all(text: str) -> None:
    """Write a text of any length, and wait for whoever reads it: of a process that has nothing else to do, such as one that ends with a traceback."""
    left = text.encode(errors="backslashreplace")
    with contextlib.suppress(OSError):
        while left:
            left = left[os.write(DESCRIPTOR, left) :]
