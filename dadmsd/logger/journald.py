"""Lines to the journal of systemd, in its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram a line.

1. ``journalctl DADMS_PID=1001`` has what ``logs/1001.log`` would have; DADMS_PROCESS tells incarnations apart.
2. A journal that takes nothing just now (restarted, overrun) is waited for: the lines stay in their pipe. After PATIENCE they are lost, and counted.
"""

import os
import socket
import struct
import time

from dadmsd.logger.sink import Busy, Unwritten

SOCKET = "/run/systemd/journal/socket"
PATIENCE = 5.0  # seconds: a restart of the journal takes a tenth of it
_PRIORITY = 6  # syslog(3), LOG_INFO


class Journal:
    """The socket, and since when nobody listens."""

    def __init__(self, address: str = SOCKET) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._deaf_since: float | None = None  # monotonic seconds

    def send(self, datagram: bytes) -> None:
        """Send one line; raises Busy, and OSError after PATIENCE."""
        try:
            self._socket.sendto(datagram, self._address)
        except OSError as error:
            now = time.monotonic()
            if self._deaf_since is None:
                self._deaf_since = now
            if now - self._deaf_since < PATIENCE:
                raise Busy from error
            raise
        self._deaf_since = None

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


class JournalLog:
    """One process's lines in the journal."""

    def __init__(self, journal: Journal, stem: str) -> None:
        self._journal = journal
        self._stem = stem
        self._offered: list[bytes] = []  # the lines that it was Busy with
        self._sent = 0  # how many of them are in the journal

    def write(self, texts: list[bytes], tag: str, now: float) -> None:  # noqa: ARG002 - the journal has a clock of its own
        """Send lines. Who is told Busy offers the same list again."""
        start = self._sent if texts is self._offered else 0
        self._offered, self._sent = [], 0
        for number, text in enumerate(texts[start:], start):
            try:
                self._journal.send(datagram(self._stem, tag, text))
            except Busy:
                self._offered, self._sent = texts, number
                raise
            except OSError as error:
                raise Unwritten(texts[number:], f"the journal: {error.strerror}") from error

    def leave(self) -> None:
        """Nothing is held."""


def datagram(stem: str, tag: str, text: bytes) -> bytes:
    """Encode one line."""
    fields = {
        "PRIORITY": _PRIORITY,
        "SYSLOG_IDENTIFIER": f"dadms-{stem}",
        "DADMS_PID": stem,
        "DADMS_PROCESS": tag,
        "DADMS_UID": os.geteuid(),
    }
    plain = "".join(f"{name}={value}\n" for name, value in fields.items()).encode()
    return plain + b"MESSAGE\n" + struct.pack("<Q", len(text)) + text + b"\n"
