"""Names of services that programs offer which the daemon did not start: what may be one, and who may offer it."""

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dadmsd.bus.core.events import Who

NAME = re.compile(r"(?=.*[^0-9])[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)
RESERVED = frozenset(
    {"bus", "client", "daemon", "kernel", "process-manager", "thread-manager", "resource-manager", "orchestrator-registry"}
)
SCOPES = frozenset(
    {"all", "children", "type", "group"}
)  # first words of the scopes of broadcasts (broadcasts.py): a service of that name would be taken for them


def flaw_of(name: str) -> str:
    """Say why nobody may offer a service of this name; "" when somebody may."""
    if NAME.fullmatch(name) is None:
        return "a name is letters, digits, _, . and -, at most 64 of them, and not only digits"
    if name in RESERVED:
        return "it is the daemon's own"
    return "it is a scope of broadcasts" if name in SCOPES else ""


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
