"""Who has which role: users and groups of this machine by the configuration, keys by the allow-list.

1. The strongest role that a user has by its uid or by one of its groups counts. Whoever has none is refused.
2. A key has the role of its entry in the allow-list as it is now: an entry that is gone, or says something else, ends what it had let in.
3. Without a configuration only root and the daemon's own user have a role, and that is ``admin``.
"""

from collections.abc import Mapping
from typing import NamedTuple

from dadmsd.bus.core.events import Grant, Who

LEVELS = {"observe": 0, "operate": 1, "admin": 2}


class Standing(NamedTuple):
    """What somebody may do, and as which user."""

    role: str
    uid: int


class Access:
    """The tables of roles."""

    def __init__(self, users: Mapping[int, str], groups: Mapping[int, str], keys: Mapping[str, Grant]) -> None:
        self._users = users
        self._groups = groups
        self.keys = keys  # by name

    def standing(self, who: Who) -> Standing | None:
        """Give the role of a connection's owner; None when it has none."""
        if who.is_remote:
            grant = self.keys.get(who.key)
            return None if grant is None or grant.public != who.public else Standing(grant.role, grant.uid)
        roles = [self._users.get(who.uid), *(self._groups.get(gid) for gid in who.gids)]
        strongest = max((role for role in roles if role is not None), key=LEVELS.__getitem__, default=None)
        return None if strongest is None else Standing(strongest, who.uid)
