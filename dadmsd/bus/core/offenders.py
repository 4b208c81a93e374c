"""Who had a connection cut for what it sent, and is trusted with less when it comes back.

1. An offender is an OS process of this machine, or over a network a key at an address, whatever connection it uses. One connection's violations are never counted for another: whoever
   behaves on the others loses nothing.
2. It is an offender for PROBATION after its last cut. Meanwhile a connection of it is cut after the few violations of ``Bounds.violations_again``: a message that is
   refused costs the bus as much as one that is handled, and somebody else waits meanwhile.
3. Who forks has another pid for each connection. So a user, or a key, of whom FORKED became offenders within PROBATION is one itself: all its processes, also those that were never cut, have the few.
   Fewer than these are programs that break, and take no trust from the others of their user.
4. Offenders are bounded: beyond MOST the oldest is forgotten, and trusted again.
"""

from collections import deque

from dadmsd.bus.core.events import Who
from dadmsd.bus.core.state import Bounds

PROBATION = 60.0  # seconds
MOST = 1024
FORKED = 8  # offenders of one user: as many are no accident, and have cost the bus some milliseconds altogether

Origin = tuple[int, int, str, str]
User = tuple[int, str]  # uid, and over a network the key


class Offenders:
    """Remembers them."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._until: dict[Origin, float] = {}  # in the order in which they end
        self._users: dict[User, deque[float]] = {}  # until when the last FORKED of each are offenders; in the order of the newest

    def note(self, who: Who, now: float) -> None:
        """Note that a connection of somebody was cut for its violations."""
        origin, until = _origin(who), now + PROBATION
        if self._until.pop(origin, 0.0) <= now:
            user = _user(who)
            ends = self._users.pop(user, None) or deque(maxlen=FORKED)
            ends.append(until)
            self._users[user] = ends
            if len(self._users) > MOST:
                del self._users[next(iter(self._users))]
        self._until[origin] = until
        if len(self._until) > MOST:
            del self._until[next(iter(self._until))]

    def most(self, who: Who, now: float) -> int:
        """Give how many violations a connection of somebody may have."""
        if not self._until:
            return self._bounds.violations
        ends = self._users.get(_user(who))
        is_offender = self._until.get(_origin(who), 0.0) > now or (ends is not None and len(ends) == FORKED and ends[0] > now)
        return self._bounds.violations_again if is_offender else self._bounds.violations


def _origin(who: Who) -> Origin:
    return who.uid, who.pid, who.key, who.address


def _user(who: Who) -> User:
    return who.uid, who.key
