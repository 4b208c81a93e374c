"""What a process might say to its notify socket, right and wrong, from one seeded source of chance: sd_notify(3) is lines of assignments, and Linux lets anything through."""

import random

NAMES = (
    "READY",
    "STATUS",
    "WATCHDOG",
    "STOPPING",
    "EXTEND_TIMEOUT_USEC",
    "RELOADING",
    "MAINPID",
    "ERRNO",
    "BUSERROR",
    "FDSTORE",
    "FDNAME",
    "BARRIER",
    "X",
    "",
    "status",
    " READY",
)
VALUES = (
    "1", "0", "", "-1", "yes", "1 ", " 1", "18446744073709551616", "9" * 400, "1e9", "0x10", "\u0661\u0662", "\u00b2", "nan", "inf",
    "\0", "\x1b[2J\x1b]0;x\x07", "\r\b", "\u202e", "\ud7ff", "\U0010ffff", "é" * 300, "=", "a=b", "../x", "%s%n", "x" * 5000,
)  # fmt: skip
BROKEN = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"STATUS=\xed\xa0\x80",
    b"STATUS=\xc0\x80",
    b"READY=1\xff",
    b"\n\n\n",
    b"=",
    b"=\n=",
    b"READY",
    b"STATUS=" + b"\xe2\x82" * 2500,
)
SIZE_MOST = 100_000  # bytes: beyond what the reader looks at, within what Linux carries


def word(chance: random.Random) -> bytes:
    """Give one datagram."""
    way = chance.random()
    if way < 0.15:
        return chance.choice(BROKEN)
    if way < 0.25:
        return chance.randbytes(chance.randrange(200))
    if way < 0.26:
        return chance.randbytes(chance.randrange(SIZE_MOST))
    lines = [f"{chance.choice(NAMES)}={chance.choice(VALUES)}" for _ in range(chance.choice((1, 1, 1, 2, 5, 60)))]
    said = bytearray(chance.choice(("\n", "\n", "\n", "\r\n", "")).join(lines).encode("utf-8", "surrogatepass"))
    if said and chance.random() < 0.1:
        said[chance.randrange(len(said))] = chance.randrange(256)
    return bytes(said)
