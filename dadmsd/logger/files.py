"""The log files: one a process, appended to in single writes, so that each line is there for a reader at once.

A disk that takes nothing (full, gone) stops no process: what cannot be written is counted, and the count is the first thing written when it can be again.
"""

import os
from pathlib import Path


class LogFile:
    """One file and the bytes that it lost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.users = 0  # pipes that end here
        self._fd = -1
        self._lost = 0
        self._reason = ""

    def write(self, lines: bytes) -> None:
        """Append whole lines."""
        try:
            if self._fd < 0:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            if self._lost:
                self._write(f"[logger: {self._lost} bytes were lost here: {self._reason}]\n".encode())
                self._lost = 0
        except OSError as error:
            self._lose(len(lines), error)
            return
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._fd, lines[written:])
        except OSError as error:
            self._lose(len(lines) - written, error)

    def _write(self, line: bytes) -> None:
        if os.write(self._fd, line) < len(line):
            raise OSError(None, "the disk is full")

    def _lose(self, count: int, error: OSError) -> None:
        self._lost += count
        self._reason = error.strerror or str(error)

    def close(self) -> None:
        """Close it; it is opened again when something is written."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class LogFiles:
    """The directory of logs: files by their stem, open while a pipe ends in them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, LogFile] = {}

    def take(self, stem: str) -> LogFile:
        """Give a file to one pipe more."""
        file = self._files.setdefault(stem, LogFile(self._directory / f"{stem}.log"))
        file.users += 1
        return file

    def leave(self, stem: str) -> None:
        """Count one pipe less; the last one closes the file."""
        file = self._files[stem]
        file.users -= 1
        if not file.users:
            file.close()
            del self._files[stem]
