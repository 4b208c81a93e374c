"""The roster: which incarnations live, as the kernel of the newest link says, and who proved to be one of them.

1. A kernel sends its whole roster on each link. Until ``RosterSent`` the old one holds as well, so that nobody is cut while it arrives.
2. Before the first ``RosterSent`` of this bus nothing is known, and nobody is refused for not being on it: hellos and messages wait.
"""

import hashlib
import hmac

from dadmsd.bus.core.state import Entry


class Roster:
    """Living incarnations by pid."""

    def __init__(self) -> None:
        self.is_known = False
        self._entries: dict[int, Entry] = {}
        self._fresh: dict[int, Entry] | None = None  # being sent

    def begin(self) -> None:
        """Note that a kernel begins to send its roster."""
        self._fresh = {}

    def enroll(self, entry: Entry) -> None:
        """Add an incarnation; an older one of its process is gone."""
        self._entries[entry.pid] = entry
        if self._fresh is not None:
            self._fresh[entry.pid] = entry

    def discharge(self, pid: int, incarnation: int) -> bool:
        """Remove an incarnation; False when it was not the one enrolled."""
        if self._fresh is not None and pid in self._fresh and self._fresh[pid].incarnation == incarnation:
            del self._fresh[pid]
        entry = self._entries.get(pid)
        if entry is None or entry.incarnation != incarnation:
            return False
        del self._entries[pid]
        return True

    def finish(self) -> None:
        """Note that the roster is complete: whoever was not on it is gone."""
        if self._fresh is not None:
            self._entries, self._fresh = self._fresh, None
        self.is_known = True

    def get(self, pid: int) -> Entry | None:
        """Give the living incarnation of a process."""
        return self._entries.get(pid)

    def lives(self, pid: int, incarnation: int) -> bool:
        """Tell whether this very incarnation lives."""
        entry = self._entries.get(pid)
        return entry is not None and entry.incarnation == incarnation

    def is_proven(self, pid: int, incarnation: int, secret: bytes) -> bool:
        """Tell whether a secret is that of this living incarnation."""
        entry = self._entries.get(pid)
        digest = hashlib.sha256(secret).digest()
        expected = entry.secret_digest if entry is not None else bytes(32)
        # The digests are compared even when the entry is missing or another: the time taken tells nothing.
        is_equal = hmac.compare_digest(digest, expected)
        return is_equal and entry is not None and entry.incarnation == incarnation

    def __len__(self) -> int:
        return len(self._entries)
