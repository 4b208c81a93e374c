"""The audit file: one line for each refusal and each administrative request, with who, what and why.

1. A line is appended by one write, and is in the file before the answer is on its way. It is ``TIME VERDICT name=value …``; what a peer chose is quoted.
2. The file is set aside as ``audit.log.1`` (which becomes ``.2``, and so on) when it is full, so that nobody fills a disk by being refused.
3. A disk that takes nothing stops no request: what cannot be written is counted, and the count is the first line when it can be again.
"""

import os
import time
from pathlib import Path

import msgspec

from dadmsd.bus.core.events import Audit

FILE_LIMIT = 8 * 1024 * 1024  # bytes
KEPT = 4  # files that were set aside


class AuditFile:
    """Appends lines to one file."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "audit.log"
        self._fd = -1
        self._size = 0
        self._lost = 0

    def write(self, line: Audit) -> None:
        """Append a line."""
        text = _format(line, time.time())
        try:
            if self._fd < 0:
                self._open()
            elif self._size + len(text) > FILE_LIMIT:
                self._set_aside()
            if self._lost:
                self._append(b"%s lost lines=%d\n" % (_stamp(time.time()).encode(), self._lost))
                self._lost = 0
            self._append(text)
        except OSError:
            self._lost += 1
            self.close()

    def _append(self, text: bytes) -> None:
        self._size += os.write(self._fd, text)

    def _open(self) -> None:
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _set_aside(self) -> None:
        self.close()
        for number in range(KEPT, 0, -1):
            old = self.path if number == 1 else self.path.with_name(f"audit.log.{number - 1}")
            if old.exists():
                old.replace(self.path.with_name(f"audit.log.{number}"))
        self._open()

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _format(line: Audit, now: float) -> bytes:
    """Give a line of the file."""
    fields: list[tuple[str, str]] = []
    who = line.who
    if who is not None and who.is_remote:
        fields += [("key", _quoted(who.key))] * bool(who.key) + [("address", who.address)]
    elif who is not None and who.uid >= 0:
        fields += [("uid", str(who.uid)), ("pid", str(who.pid))]
    if line.subject and (who is None or line.subject != str(who)):
        fields.append(("as", _quoted(line.subject)))
    if line.what:
        fields.append(("what", _quoted(line.what)))
    if line.why:
        fields.append(("why", _quoted(line.why)))
    elif line.verdict == "note":
        fields.append(("why", _quoted(line.text)))
    return f"{_stamp(now)} {line.verdict} {' '.join(f'{name}={value}' for name, value in fields)}\n".encode()


def _quoted(text: str) -> str:
    """Quote a text; names of files may hold bytes that are not UTF-8 (PEP 383), which are escapes then."""
    return msgspec.json.encode(text.encode(errors="backslashreplace").decode()).decode()


def _stamp(now: float) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"
