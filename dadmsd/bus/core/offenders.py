"""Who had a connection cut for what it sent, and is trusted with less when it comes back.

1. An offender is an OS process of this machine, or over a network a key at an address, whatever connection it uses. One connection's violations are never counted for another: whoever
   behaves on the others loses nothing.
2. It is an offender for PROBATION after its last cut. Meanwhile a connection of it is cut after the few violations of ``Bounds.violations_again``: a message that is
   refused costs the bus as much as one that is handled, and somebody else waits meanwhile.
3. Offenders are bounded: beyond MOST the oldest is forgotten, and trusted again.
"""

from dadmsd.bus.core.events import Who
from dadmsd.bus.core.state import Bounds

PROBATION = 60.0  # seconds
MOST = 1024

Origin = tuple[int, int, str, str]


class Offenders:
    """Remembers them."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._until: dict[Origin, float] = {}  # in the order in which they end

    def note(self, who: Who, now: float) -> None:
        """Note that a connection of somebody was cut for its violations."""
        origin = _origin(who)
        self._until.pop(origin, None)
        self._until[origin] = now + PROBATION
        if len(self._until) > MOST:
            del self._until[next(iter(self._until))]

    def most(self, who: Who, now: float) -> int:
        """Give how many violations a connection of somebody may have."""
        until = self._until.get(_origin(who)) if self._until else None
        return self._bounds.violations if until is None or until <= now else self._bounds.violations_again


def _origin(who: Who) -> Origin:
    return who.uid, who.pid, who.key, who.address
