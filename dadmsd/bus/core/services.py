"""Names that programs offer which the daemon did not start: whose a name may be, whose it is, and when it is free again.

1. A session offers one name, in each of its HELLOs. It has the name as long as it lives: a program that ends frees it, and one that reconnects still has it.
2. Whose a name may be, the configuration says ([access] services): users, groups and keys, which need the role ``operate`` besides. An ``admin`` may offer any.
3. There is one space of names: what a process on the roster is called nobody else may take, and where both have a name all the same, as the process came later, nobody is guessed.
4. Who comes second is refused, and told who has it. A holder that is not connected gives way to a newcomer of the same user or key: it is most likely the same program, started again.
"""

from collections.abc import Mapping

from dadmsd.bus.core.access import LEVELS, Standing
from dadmsd.bus.core.events import Who
from dadmsd.bus.core.offers import Offerers, flaw_of
from dadmsd.bus.core.roster import Roster
from dadmsd.bus.core.state import Session


class Services:
    """Offered names."""

    def __init__(self, roster: Roster, offerers: Mapping[str, Offerers]) -> None:
        self._roster = roster
        self._offerers = offerers
        self.holders: dict[str, Session] = {}

    def refusal(self, name: str, client: bytes, who: Who, standing: Standing) -> str | None:
        """Give the reason why somebody may not have a name; None when they may."""
        if flaw := flaw_of(name):
            return flaw
        if LEVELS[standing.role] < LEVELS["operate"]:
            return f"the role operate is needed, yours is {standing.role}"
        if standing.role != "admin" and not self._offerers.get(name, Offerers()).include(who):
            return f"[access] services does not give it to {who}"
        if pids := self._roster.named(name):
            return f"process {pids[0]} has that name"
        holder = self.holders.get(name)
        if holder is None or holder.client == client:
            return None
        is_same = (holder.uid, holder.who.key) == (standing.uid, who.key)
        if holder.routes or not is_same:
            return f"{holder.address} ({holder.origin}) has it"
        return None

    def claim(self, name: str, session: Session) -> None:
        """Give a name to a session that may have it."""
        holder = self.holders.get(name)
        if holder is not None and holder is not session:
            holder.service = ""
        session.service = name
        self.holders[name] = session

    def release(self, session: Session) -> None:
        """Free the name of a session that ended."""
        if session.service and self.holders.get(session.service) is session:
            del self.holders[session.service]
