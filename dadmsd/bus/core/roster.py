"""The roster: which incarnations live, as the kernel of the newest link says, and who proved to be one of them.

1. A kernel sends its whole roster on each link. Until ``RosterSent`` the old one holds as well, so that nobody is cut while it arrives.
2. Before the first ``RosterSent`` of this bus nothing is known, and nobody is refused for not being on it: hellos and messages wait.
3. A process between two incarnations, or before its first, is on it as one that is expected (incarnation 0): messages to it wait.
4. Names are for people and need not be unique: one finds a process only while no other on the roster has it.
5. An orchestrator listens to the bus by its contract. A service or tool is any command: whether it listens is known when it has said hello, and until then no broadcast is for it.
"""

import hashlib
import hmac
from collections.abc import Iterable

import msgspec

from dadmsd.bus.core.state import Entry

COMMANDS = frozenset({"service", "tool"})


class Roster:
    """Living incarnations by pid."""

    def __init__(self) -> None:
        self.is_known = False
        self._entries: dict[int, Entry] = {}
        self._names: dict[str, dict[int, None]] = {}  # name -> pids
        self._fresh: dict[int, Entry] | None = None  # being sent
        self._heard: set[int] = set()  # processes that have said hello, in any incarnation, since this bus started

    def begin(self) -> None:
        """Note that a kernel begins to send its roster."""
        self._fresh = {}

    def enroll(self, entry: Entry) -> None:
        """Add an incarnation, or an expectation of one; an older one of its process is gone."""
        self._forget(entry.pid)
        self._entries[entry.pid] = entry
        self._names.setdefault(entry.name, {})[entry.pid] = None
        if self._fresh is not None:
            self._fresh[entry.pid] = entry

    def discharge(self, pid: int, incarnation: int, *, returns: bool = False) -> bool:
        """Remove an incarnation, or the expectation of any; False when it was not the one enrolled. ``returns``: expect another."""
        fresh = self._fresh.get(pid) if self._fresh is not None else None
        if self._fresh is not None and fresh is not None and fresh.incarnation in (0, incarnation):
            del self._fresh[pid]
        entry = self._entries.get(pid)
        if entry is None or entry.incarnation not in (0, incarnation):
            return False
        self._forget(pid)
        if not returns:
            self._heard.discard(pid)
        else:
            self.enroll(msgspec.structs.replace(entry, incarnation=0, secret_digest=b""))
        return True

    def _forget(self, pid: int) -> None:
        entry = self._entries.pop(pid, None)
        if entry is not None:
            pids = self._names[entry.name]
            del pids[pid]
            if not pids:
                del self._names[entry.name]

    def finish(self) -> None:
        """Note that the roster is complete: whoever was not on it is gone."""
        if self._fresh is not None:
            for pid in self._entries.keys() - self._fresh.keys():
                self._forget(pid)
                self._heard.discard(pid)
            self._fresh = None
        self.is_known = True

    def heard(self, pid: int) -> None:
        """Note that a process has said hello."""
        self._heard.add(pid)

    def listens(self, entry: Entry) -> bool:
        """Tell whether a process takes what is said to many."""
        return entry.kind not in COMMANDS or entry.pid in self._heard

    def named(self, name: str) -> list[int]:
        """Give the processes of a name."""
        return list(self._names.get(name, ()))

    def entries(self) -> Iterable[Entry]:
        """Give everybody on the roster."""
        return self._entries.values()

    def get(self, pid: int) -> Entry | None:
        """Give a process that lives or is expected."""
        return self._entries.get(pid)

    def lives(self, pid: int, incarnation: int) -> bool:
        """Tell whether this very incarnation lives."""
        entry = self._entries.get(pid)
        return entry is not None and entry.incarnation == incarnation and incarnation > 0

    def is_proven(self, pid: int, incarnation: int, secret: bytes) -> bool:
        """Tell whether a secret is that of this living incarnation."""
        entry = self._entries.get(pid)
        digest = hashlib.sha256(secret).digest()
        expected = entry.secret_digest if entry is not None and entry.incarnation else bytes(32)
        # The digests are compared even when the entry is missing or another: the time taken tells nothing.
        is_equal = hmac.compare_digest(digest, expected)
        return is_equal and self.lives(pid, incarnation)

    def __len__(self) -> int:
        return len(self._entries)
