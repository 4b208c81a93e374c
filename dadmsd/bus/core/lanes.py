"""What waits for one receiver: a lane for each priority, the more urgent first, each in its order."""

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from dadms_ipc.envelope import Flag

if TYPE_CHECKING:
    from dadmsd.bus.core.state import Delivery

_LANES = 3
# Both bits together are no fourth priority: whoever says that it is urgent is taken at its word.
_LANE_OF = {0: 1, int(Flag.URGENT): 0, int(Flag.LATER): 2, int(Flag.URGENT | Flag.LATER): 0}
PRIORITY = int(Flag.URGENT | Flag.LATER)  # the bits that say it


class Lanes:
    """Deliveries in the order in which they go out."""

    __slots__ = ("_lanes",)

    def __init__(self) -> None:
        self._lanes: tuple[deque[Delivery], ...] = tuple(deque() for _ in range(_LANES))

    def append(self, delivery: "Delivery") -> None:
        """Queue behind everything of the same priority."""
        self._lanes[_LANE_OF[delivery.header.flags & PRIORITY]].append(delivery)

    def appendleft(self, delivery: "Delivery") -> None:
        """Queue before everything of the same priority."""
        self._lanes[_LANE_OF[delivery.header.flags & PRIORITY]].appendleft(delivery)

    def head(self) -> "Delivery | None":
        """Give what goes out next."""
        for lane in self._lanes:
            if lane:
                return lane[0]
        return None

    def popleft(self) -> "Delivery":
        """Take what goes out next; there must be something."""
        for lane in self._lanes:
            if lane:
                return lane.popleft()
        raise IndexError("nothing waits")

    def clear(self) -> None:
        """Drop everything."""
        for lane in self._lanes:
            lane.clear()

    def refill(self, deliveries: "list[Delivery]") -> None:
        """Hold these, in this order, and nothing else."""
        self.clear()
        for delivery in deliveries:
            self.append(delivery)

    def __len__(self) -> int:
        return sum(map(len, self._lanes))

    def __bool__(self) -> bool:
        urgent, usual, late = self._lanes
        return bool(usual or urgent or late)

    def __iter__(self) -> "Iterator[Delivery]":
        return chain.from_iterable(self._lanes)
