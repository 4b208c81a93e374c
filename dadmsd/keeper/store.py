"""The store of descriptors: what outlives a kernel, by name, and bounded.

1. An entry is replaced by a newer one of its name, and dropped by name; the store owns its descriptors and closes them.
2. Names begin with the version of their layout. ``v1/zygote/base`` is the keeper's own.
3. A dropped log entry *leaves*: its write end is closed at once, its read end when the logger has drained it. It counts until then.
4. What would exceed a limit is refused and closed; nothing is evicted for it. The keeper's own entry always fits: the limit leaves room for it.
"""

import os
import re
from collections.abc import Sequence

from dadms_ipc.errors import PeerViolation, RequestRefused

BASE_ZYGOTE = "v1/zygote/base"
LOG = "v1/log/"
ENTRIES_LIMIT = 32_768  # a thousand processes with eight workers each have 18 000
NAME_LIMIT = 200  # characters
FDS_RESERVED = 256  # descriptors that the keeper keeps for itself below RLIMIT_NOFILE: channels, pairs, pidfds, frames
_LOG_NAME = re.compile(r"v1/log/(([A-Za-z0-9_@+-]{1,100})(\.[A-Za-z0-9_.@+-]{1,90})?)")


def log_name(name: str) -> tuple[str, str]:
    """Give the tag of a log entry's lines, and the stem of its file: ``1001.1`` and ``1001``; raises PeerViolation."""
    found = _LOG_NAME.fullmatch(name)
    if found is None:
        raise PeerViolation(f'"{name}" names no log')
    return found.group(1), found.group(2)


class Store:
    """Descriptors by name."""

    def __init__(self, fds_limit: int) -> None:
        self._fds_limit = fds_limit
        self._entries: dict[str, list[int]] = {}
        self._leaving: dict[str, int] = {}  # read ends
        self._held = 0  # descriptors

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def held(self) -> int:
        """Count the descriptors."""
        return self._held

    def names(self) -> list[str]:
        """Give the names of all entries, oldest first."""
        return list(self._entries)

    def leaving(self) -> list[str]:
        """Give the names of the log entries that were dropped and are not drained."""
        return list(self._leaving)

    def get(self, name: str) -> Sequence[int]:
        """Give the descriptors of an entry, of a leaving log entry its read end alone, and none when there is neither."""
        if name in self._entries:
            return self._entries[name]
        return [self._leaving[name]] if name in self._leaving else []

    def put(self, name: str, fds: list[int]) -> None:
        """Keep descriptors, which are the store's from now on; raises RequestRefused after closing them."""
        reason = "" if name == BASE_ZYGOTE else self._refusal(name, fds)
        if reason:
            _close(fds)
            raise RequestRefused(f'cannot store "{name[:NAME_LIMIT]}": {reason}')
        self._remove(name)
        self._entries[name] = fds
        self._held += len(fds)

    def _refusal(self, name: str, fds: list[int]) -> str:
        if not name.startswith("v1/") or len(name) > NAME_LIMIT or not name.isprintable():
            return f"its name does not begin with v1/ or is longer than {NAME_LIMIT} characters"
        if not fds:
            return "no descriptor came with it"
        if name.startswith(LOG) and not _LOG_NAME.fullmatch(name):
            return "what follows v1/log/ names a file"
        if name.startswith(LOG) and len(fds) != 2:
            return f"a log has a read end and a write end, {len(fds)} came"
        held = self._held - len(self.get(name))
        if held + len(fds) > self._fds_limit:
            return f"{held} descriptors are held, at most {self._fds_limit} fit"
        if name not in self._entries and len(self._entries) + len(self._leaving) >= ENTRIES_LIMIT:
            return f"{ENTRIES_LIMIT} entries are held, which is the limit"
        return ""

    def drop(self, name: str) -> bool:
        """Close and forget an entry; True when it is a log that leaves now: the logger must be told."""
        if name.startswith(LOG) and name in self._entries:
            read_end, write_end = self._entries.pop(name)
            os.close(write_end)
            self._held -= 1
            self._leaving[name] = read_end
            return True
        self._remove(name)
        return False

    def drained(self, name: str) -> None:
        """Close the read end of a leaving log."""
        if name in self._leaving:
            os.close(self._leaving.pop(name))
            self._held -= 1

    def _remove(self, name: str) -> None:
        self.drained(name)
        fds = self._entries.pop(name, [])
        _close(fds)
        self._held -= len(fds)

    def close(self) -> None:
        """Close everything."""
        for name in [*self._entries, *self._leaving]:
            self._remove(name)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
