"""A process's log as lines, and what each of them says: ``TIME PID.INCARNATION TEXT``, as the logger writes it, with ``.probe`` behind the incarnation where a probe wrote it. Pure: bytes in, lines out.

A log is read in pieces, which end anywhere; a line is given when all of it is there, so that no letter is cut in two.
"""

import re
from collections.abc import Iterator

import msgspec

_WRITTEN = re.compile(r"(?P<time>\d{4}-\d\d-\d\dT[\d:.]+Z) \d+\.(?P<incarnation>\d+)(?P<probe>\.probe)? (?P<text>.*)", re.DOTALL)


class LogLine(msgspec.Struct, frozen=True):
    """One line for a program; the logger's own remarks about a file have no time and no incarnation."""

    time: str | None  # UTC, ISO 8601
    incarnation: int | None
    text: str
    is_probe: bool = False  # a ready or live command of it wrote it


class LineReader:
    """Puts pieces of a log together to lines."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, piece: bytes) -> Iterator[str]:
        """Give the lines that are complete with this piece, without their ends."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")

    def end(self) -> Iterator[str]:
        """Give what is left when nothing comes any more."""
        if self._rest:
            yield self._rest.decode(errors="replace")
            self._rest = b""


def read(line: str) -> LogLine:
    """Take a line apart."""
    found = _WRITTEN.fullmatch(line)
    if found is None:
        return LogLine(None, None, line)
    return LogLine(found["time"], int(found["incarnation"]), found["text"], found["probe"] is not None)
