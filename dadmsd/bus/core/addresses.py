"""Addresses: whom "1001", "1001/17", "etl", "etl/17" and "client/…" reach.

1. Digits are a process, what follows a slash is a thread of it, and both reach the process: its orchestrator hands on what is for a thread.
2. Any other word is the name of a process that lives or is expected, or a service that a client offers. A name that several have is refused with their addresses, and never guessed.
3. While the clients of a bus that followed another are not back yet, whoever is not there may come.
4. Until the kernel has sent its roster nobody knows a name: a message to one waits for that.
"""

from collections.abc import Sequence

from dadmsd.bus.core.admission import Admission
from dadmsd.bus.core.roster import Roster
from dadmsd.bus.core.state import Session

CLIENT = "client/"  # what the address of everybody begins with who is no process
_DIGITS = 20  # a longer number is no pid


def is_pid(address: str) -> bool:
    """Tell whether an address is that of a process."""
    return address.isascii() and address.isdecimal() and len(address) < _DIGITS


class Addresses:
    """Who is where."""

    def __init__(self, roster: Roster, admission: Admission) -> None:
        self._roster = roster
        self._admission = admission
        self.is_reunion = False  # clients of the bus before are still coming back

    def resolve(self, to: str) -> tuple[str, str]:
        """Give the address whose sessions receive for an address, and the reason when that cannot be said."""
        if to in self._admission.by_address:
            return to, ""
        head = to.partition("/")[0]
        if is_pid(head) or to.startswith(CLIENT) or to in self._admission.by_address:
            return (head if is_pid(head) else to), ""
        if not self._roster.is_known and to:
            return to, ""
        pids = self._roster.named(to)
        holder = self._admission.services.holders.get(to)
        if holder is not None:
            return (to, f"{holder.address} and process {pids[0]} have that name") if pids else (holder.address, "")
        if not pids and (cut := to.rpartition("/"))[2].isdecimal():
            pids = self._roster.named(cut[0])
        if len(pids) > 1:
            return to, f"{len(pids)} processes have that name: {', '.join(map(str, pids[:8]))}"
        return (str(pids[0]) if pids else to), ""

    def find(self, address: str) -> Session | None:
        """Give the session that receives for an address."""
        return self._admission.find(address)

    def sessions(self, address: str) -> Sequence[Session]:
        """Give every session of an address, whether it receives or not."""
        return self._admission.by_address.get(address, ())

    def may_come(self, address: str) -> bool:
        """Tell whether an address without a connection may have one soon: a process on the roster, or anybody while that is unknown."""
        if address in self._admission.by_address:
            return True
        if not self._roster.is_known:
            return bool(address) and not address.startswith(CLIENT)
        if is_pid(address):
            return self._roster.get(int(address)) is not None
        return self.is_reunion

    def lives(self, address: str) -> bool:
        """Tell whether this is a process on the roster, or may be one while that is unknown."""
        return is_pid(address) and (not self._roster.is_known or self._roster.get(int(address)) is not None)

    def is_expected_at_once(self, address: str) -> bool:
        """Tell whether an absent receiver lives, and may connect within a moment."""
        if not self._roster.is_known or not is_pid(address):
            return True
        entry = self._roster.get(int(address))
        return entry is not None and entry.incarnation > 0
