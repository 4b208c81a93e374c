"""Finds places in a log that the daemon holds, a piece at a time: the last lines, and the first one since a moment.

Lines are in the order in which they were read, so a moment is found by halving: twenty pieces are read for a gigabyte.
"""

from datetime import datetime
from typing import TYPE_CHECKING

from dadms_ipc import requests
from dadms_ipc.requests import LogPiece
from dadmsctl import loglines

if TYPE_CHECKING:
    from dadms_ipc.client import Client

PIECE = 60_000  # bytes: what one answer holds


class Log:
    """One process's log."""

    def __init__(self, client: "Client", pid: int) -> None:
        self._client, self._pid = client, pid

    def piece(self, offset: int, limit: int = PIECE) -> LogPiece:
        """Give a piece from an offset, or from the next one that is kept."""
        answer: LogPiece = self._client.call(requests.ReadLog(self._pid, offset, limit))
        return answer

    def between(self, start: int, end: int) -> bytes:
        """Give all that is kept between two offsets."""
        found = b""
        while start < end and (piece := self.piece(start, min(PIECE, end - start))).data:
            found += piece.data[: max(0, end - piece.offset)]
            start = piece.offset + len(piece.data)
        return found


def last_lines(log: Log, count: int) -> int:
    """Give the offset where the last ``count`` lines begin."""
    about = log.piece(-1, 1)
    start = end = about.size
    newlines = 0
    is_whole = about.data in (b"", b"\n")
    wanted = count + 1 if is_whole else count  # the end of the line before them is looked for
    while start > about.first and wanted > 0:
        before = max(about.first, start - PIECE)
        content = log.between(before, start)
        if newlines + content.count(b"\n") >= wanted:
            for _ in range(wanted - newlines):
                position = content.rindex(b"\n")
                content = content[:position]
            return start - (start - before) + position + 1
        newlines += content.count(b"\n")
        start = before
    return start if wanted > 0 else end


def first_since(log: Log, since: float) -> int:
    """Give the offset of the first line that was written at or after a moment (seconds of the wall clock)."""
    about = log.piece(-1, 1)
    low, high = about.first, about.size  # the first such line begins in between, ends included
    while high - low > PIECE:
        middle = (low + high) // 2
        found = _first_line(log, middle, high)
        if found is None or found[1] >= since:
            high = middle
        else:
            low = found[0]
    place = low
    for line in log.between(low, min(high + PIECE, about.size)).splitlines(keepends=True):
        written = _moment(line)
        if written is not None and written >= since:
            return place
        place += len(line)
    return place


def _first_line(log: Log, start: int, end: int) -> tuple[int, float] | None:
    """Give the offset and the time of the first whole line with a time that begins after an offset."""
    piece = log.piece(start)
    place = piece.offset
    for number, line in enumerate(piece.data.splitlines(keepends=True)):
        written = _moment(line) if number or piece.offset > start else None  # the first may be cut
        if written is not None:
            return (place, written) if place < end else None
        place += len(line)
    return None


def _moment(line: bytes) -> float | None:
    time = loglines.read(line.decode(errors="replace")).time
    try:
        return datetime.fromisoformat(time).timestamp() if time else None
    except ValueError:
        return None
