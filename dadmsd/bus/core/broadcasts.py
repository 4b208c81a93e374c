"""BROADCAST: one message to every process of a scope, each copy kept like a SEND, and one answer for all of them.

1. A scope is "all", "children" (of the process that speaks) or "children/PID", "type/TYPE" or "group/NAME". It means the processes that live or are expected when
   the message comes, and never the one that speaks.
2. A copy has an id that follows from the broadcast's and its receiver. So a broadcast that is repeated after a lost answer reaches nobody twice.
3. The answer comes when every copy is handled, on disk or refused, and says how many were what.
"""

import hashlib

from dadms_ipc.envelope import ID_BYTES, VERSION, Header, Kind
from dadmsd.bus.core.addresses import Addresses, is_pid
from dadmsd.bus.core.deliveries import Deliveries
from dadmsd.bus.core.events import Body
from dadmsd.bus.core.exchanges import Exchanges
from dadmsd.bus.core.keeping import Keeping
from dadmsd.bus.core.outbox import Outbox
from dadmsd.bus.core.roster import Roster
from dadmsd.bus.core.state import Bounds, Broadcast, Entry, Session

SCOPES = ("all", "children", "children/PID", "type/TYPE", "group/NAME")


def copy_id(identifier: bytes, address: str) -> bytes:
    """Give the id of the copy for one receiver."""
    return hashlib.blake2b(identifier + address.encode(), digest_size=ID_BYTES).digest()


class Broadcasts:
    """Who a broadcast is for."""

    def __init__(
        self,
        outbox: Outbox,
        bounds: Bounds,
        roster: Roster,
        addresses: Addresses,
        deliveries: Deliveries,
        exchanges: Exchanges,
        kept: Keeping,
    ) -> None:
        self._outbox = outbox
        self._bounds = bounds
        self._roster = roster
        self._addresses = addresses
        self._deliveries = deliveries
        self._exchanges = exchanges
        self._keeping = kept

    def begin(self, sender: Session, header: Header, origin: str, body: Body, now: float) -> str | None:
        """Take a BROADCAST; gives the reason when it is refused as a whole."""
        if not self._roster.is_known:
            return f'cannot broadcast to "{header.to}": the kernel has not said yet who lives'
        members, reason = self._members(sender, header.to)
        if reason:
            return f'cannot broadcast to "{header.to}": {reason}'
        bounds, size = self._bounds, len(body)
        if len(sender.asked) + len(members) > bounds.open:
            return f'cannot broadcast to "{header.to}": {len(members)} copies beside {len(sender.asked)} messages that wait for their answers, at most {bounds.open}'
        if sender.asked and sender.asked_bytes + size * len(members) > bounds.open_bytes:
            return f'cannot broadcast {size} bytes to {len(members)} processes: {sender.asked_bytes} bytes of "{sender.address}" wait for their answers already'
        self._outbox.counters.broadcasts += 1
        group = Broadcast(sender, header.id, len(members))
        for entry in members:
            self._copy(group, sender, header, origin, str(entry.pid), body, now)
        if not members:
            self._exchanges.reply_all(group)
        return None

    def _copy(self, group: Broadcast, sender: Session, header: Header, origin: str, address: str, body: Body, now: float) -> None:
        identifier = copy_id(header.id, address)
        known = self._exchanges.open.get(identifier)
        if known is not None and known.sender is not None:
            known.group = group
            return
        status = (
            self._keeping.known(identifier)
            if self._keeping.is_known(identifier)
            else self._exchanges.remembered_status(address, identifier)
        )
        if status:
            self._exchanges.tally(group, address, status, "it had refused it before")
            return
        receiver = self._addresses.find(address)
        waiting = len(receiver.queue) if receiver is not None else len(self._exchanges.waiting.get(address, ()))
        if waiting >= self._bounds.queue or (receiver is not None and not self._deliveries.has_room(receiver, len(body), now)):
            self._exchanges.tally(group, address, "refused", f"{waiting} messages wait for it")
            return
        ahead = Header(VERSION, Kind.SEND, identifier, origin, address, header.topic, b"", header.deadline, header.flags, header.expiry)
        self._exchanges.enter(sender, ahead, body, len(body), address, receiver, now, group)

    def _members(self, sender: Session, scope: str) -> tuple[list[Entry], str]:
        """Give the processes of a scope, or the reason why it is none."""
        word, _, name = scope.partition("/")
        others = [entry for entry in self._roster.entries() if (entry.pid != sender.pid or not sender.pid) and self._roster.listens(entry)]
        if scope == "all":
            return others, ""
        if word == "children":
            if name and not is_pid(name):
                return [], f'"{name}" is no pid'
            parent = int(name) if name else sender.pid
            return (
                ([entry for entry in others if entry.parent == parent], "")
                if parent
                else ([], "who asks is no process, and has no children")
            )
        if word == "type" and name:
            return [entry for entry in others if entry.kind == name], ""
        if word == "group" and name:
            return [entry for entry in others if entry.group == name], ""
        return [], f"no such scope; there are {', '.join(SCOPES)}"
