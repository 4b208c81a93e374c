"""Names of services that programs offer which the daemon did not start: what may be one, and who may offer it."""

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dadmsd.bus.core.events import Who

NAME = re.compile(r"(?=.*[^0-9])[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)
RESERVED = frozenset(
    {"bus", "client", "daemon", "kernel", "process-manager", "thread-manager", "resource-manager", "orchestrator-registry"}
)


class Offerers(NamedTuple):
    """Who may offer a name."""

    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()
    keys: frozenset[str] = frozenset()

    def include(self, who: "Who") -> bool:
        """Tell whether somebody is one of them."""
        if who.is_remote:
            return who.key in self.keys
        return who.uid in self.uids or not self.gids.isdisjoint(who.gids)
