"""Frames the output of one process into the lines of its log; pure.

1. A line is ``TIME TAG TEXT``: the time at which it was read, and which incarnation wrote it. TEXT is what the process wrote, byte for byte.
2. A line longer than LINE_LIMIT is split; each piece but the last ends with CONTINUES, each but the first begins with CONTINUED.
3. At most LINE_LIMIT bytes wait for the end of their line.
"""

import time

LINE_LIMIT = 16 * 1024  # bytes of a process's text in one line: what a thousand processes may make the logger hold is 16 MB
CONTINUES = b" [continues]"
CONTINUED = b"[continued] "


class Lines:
    """What one pipe has brought, as lines."""

    def __init__(self, tag: str) -> None:
        self._tag = tag.encode()
        self._rest = b""
        self._is_continued = False

    def take(self, chunk: bytes, now: float) -> bytes:
        """Give the lines that are complete with this chunk; ``now`` is the wall clock in seconds."""
        whole = self._rest + chunk if self._rest else chunk
        *lines, self._rest = whole.split(b"\n")
        head = self._head(now)
        out: list[bytes] = []
        for line in lines:
            last = self._split(line, head, out) if len(line) > LINE_LIMIT else line
            out.append(head + (CONTINUED + last if self._is_continued else last) + b"\n")
            self._is_continued = False
        if len(self._rest) > LINE_LIMIT:
            self._rest = self._split(self._rest, head, out)
        return b"".join(out)

    def _split(self, line: bytes, head: bytes, out: list[bytes]) -> bytes:
        """Put all pieces but the last out, and give that one."""
        while len(line) > LINE_LIMIT:
            piece, line = line[:LINE_LIMIT], line[LINE_LIMIT:]
            out.append(head + (CONTINUED if self._is_continued else b"") + piece + CONTINUES + b"\n")
            self._is_continued = True
        return line

    def end(self, now: float) -> bytes:
        """Give what waits for the end of its line, as a line: nothing comes any more."""
        return self.take(b"\n", now) if self._rest else b""

    def note(self, text: str, now: float) -> bytes:
        """Give a line of the logger's own, in brackets."""
        return self._head(now) + f"[{text}]\n".encode()

    def _head(self, now: float) -> bytes:
        seconds = int(now)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return f"{stamp}.{int((now - seconds) * 1000):03d}Z ".encode() + self._tag + b" "
