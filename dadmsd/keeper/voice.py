"""What the keeper says: to people on its stderr, and with the time to ``servers.log`` in the state directory, where the servers' own output goes.

It never blocks for a reader: a line for a terminal or pipe that is not writable is dropped there. People are told what happens to servers, which is rare by their
backoff; what a peer can cause as often as it likes is a note in the file, at most LINES_A_SECOND.
The file is set aside as ``servers.log.1`` when it is larger than FILE_LIMIT and a server starts, so that one that crashes for ever fills no disk.
"""

import os
import sys
import time
from pathlib import Path

from dadmsd.stderr import say

LINES_A_SECOND = 20
FILE_LIMIT = 8 * 1024 * 1024  # bytes
LINE_LIMIT = 2000  # bytes: below PIPE_BUF, so that a writable pipe takes the line whole


class Voice:
    """Speaks for the daemon."""

    def __init__(self, logs: Path) -> None:
        self.path = logs / "servers.log"
        self._file = self._open()
        self._second = 0
        self._lines = 0

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def output(self) -> int:
        """Give the descriptor that a starting server writes to."""
        try:
            if os.fstat(self._file).st_size > FILE_LIMIT:
                self.path.replace(self.path.with_suffix(".log.1"))
                fresh = self._open()
                os.close(self._file)
                self._file = fresh
        except OSError as error:
            self.note(f"cannot set {self.path} aside: {error.strerror}")
        return self._file

    def say(self, text: str) -> None:
        """Tell people."""
        line = f"dadmsd: {text}"
        if sys.stderr is not None:
            _write(sys.stderr.fileno(), line)
        self._record(line)

    def note(self, text: str) -> None:
        """Write to the file alone."""
        if self._allows():
            self._record(f"dadmsd: {text}")

    def _record(self, line: str) -> None:
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        _write(self._file, f"{stamp}.{int(now % 1 * 1000):03d}Z {line}")

    def _allows(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            if self._lines > LINES_A_SECOND:
                self._record(f"dadmsd: {self._lines - LINES_A_SECOND} lines were left out")
            self._second, self._lines = second, 0
        self._lines += 1
        return self._lines <= LINES_A_SECOND

    def last_words(self) -> str:
        """Give the last line in the file that a server wrote: usually the reason of its end."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        spoken = [line.strip() for line in lines if line.strip() and "Z dadmsd: " not in line]
        return spoken[-1][:500] if spoken else ""


def _write(fd: int, line: str) -> None:
    """Write a line whole or not at all, now or never."""
    say(line.replace("\n", "\n  ").encode("utf-8", "backslashreplace")[:LINE_LIMIT].decode("utf-8", "ignore"), to=fd)
