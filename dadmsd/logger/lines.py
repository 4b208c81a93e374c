"""Frames the output of one process into the lines of its log; pure.

1. A line is ``TIME TAG TEXT``: the time at which it was read, and which incarnation wrote it. TEXT is what the process wrote, byte for byte.
2. A line longer than LINE_LIMIT is split; each piece but the last ends with CONTINUES, each but the first begins with CONTINUED.
3. What has no end yet is not taken: it waits where it came from, LINE_LIMIT bytes at most.
4. Ready and live commands share a pipe, run by run: the kernel writes an end of line behind each run, for what has none must not be joined with the next one. An empty line of theirs is none.
"""

import time

LINE_LIMIT = 16 * 1024  # bytes of a process's text in one line: a quarter of a pipe, so that an unfinished one never fills it
CONTINUES = b" [continues]"
CONTINUED = b"[continued] "


class Lines:
    """What one pipe brings, as lines."""

    def __init__(self, *, has_runs: bool = False) -> None:
        self._has_runs = has_runs
        self._is_continued = False

    def take(self, chunk: bytes, *, is_last: bool = False) -> tuple[list[bytes], int]:
        """Give the texts of the lines that are complete, and how many bytes of the chunk they are; with ``is_last`` what has no end is a line too."""
        *lines, rest = chunk.split(b"\n")
        out: list[bytes] = []
        for line in lines:
            self._finish(line, out)
        if is_last and rest:
            self._finish(rest, out)
            rest = b""
        elif len(rest) > LINE_LIMIT:
            rest = self._split(rest, out)
        return out, len(chunk) - len(rest)

    def cut(self, chunk: bytes) -> tuple[list[bytes], int]:
        """Give what has no end as a piece of a line; the same as ``take``."""
        piece = (CONTINUED if self._is_continued else b"") + chunk + CONTINUES
        self._is_continued = True
        return [piece], len(chunk)

    def skip(self, chunk: bytes) -> tuple[int, int]:
        """Pass the complete lines over; gives their number, and how many bytes of the chunk they are."""
        size = chunk.rfind(b"\n") + 1
        if size:
            self._is_continued = False
        elif len(chunk) > LINE_LIMIT:
            size, self._is_continued = len(chunk), True  # of a line without end
        return max(chunk.count(b"\n", 0, size), min(size, 1)), size

    def _finish(self, line: bytes, out: list[bytes]) -> None:
        if self._has_runs and not line and not self._is_continued:
            return
        last = self._split(line, out) if len(line) > LINE_LIMIT else line
        out.append(CONTINUED + last if self._is_continued else last)
        self._is_continued = False

    def _split(self, line: bytes, out: list[bytes]) -> bytes:
        """Put all pieces but the last out, and give that one."""
        while len(line) > LINE_LIMIT:
            piece, line = line[:LINE_LIMIT], line[LINE_LIMIT:]
            out.append((CONTINUED if self._is_continued else b"") + piece + CONTINUES)
            self._is_continued = True
        return line


def head(tag: str, now: float) -> bytes:
    """Give what stands before the text of a line; ``now`` is the wall clock in seconds."""
    seconds = int(now)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{stamp}.{int((now - seconds) * 1000):03d}Z {tag} ".encode()


def moment(line: bytes) -> float | None:
    """Give the time that a line of a log begins with, in seconds; None when it begins with none."""
    try:
        seconds = time.strptime(line[:19].decode("ascii"), "%Y-%m-%dT%H:%M:%S")
        return _seconds(seconds) + int(line[20:23]) / 1000
    except ValueError:
        return None


def _seconds(moment: time.struct_time) -> float:
    import calendar  # here: a logger reads a time once for each file that it finds

    return float(calendar.timegm(moment))
