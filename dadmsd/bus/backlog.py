"""What a door's socket had no room for: it waits here, in its order, until the connection that it is for takes it.

1. A full pipe says nothing about its reader: the bus is quicker than any client for a moment. To cut it would have everything handed out again, into the same
   full pipe. So only who takes nothing at all for PATIENCE is told of, or who has more than LATE_BYTES waiting.
2. While something waits for a connection, what comes later waits behind it.
3. libzmq does not tell which pipe has room again, so this is looked at from time to time: soon while somebody takes something, else at intervals that double.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from dadmsd.bus.core.events import Body

PATIENCE = 5.0  # seconds in which a connection that is read takes something
LATE_BYTES = 64 * 1024 * 1024  # of bodies, one message excepted: four times what may be in flight to a receiver without its credit
LATE = 100_000  # messages: as many as a receiver may give credit for; the answers to a sender are fewer
LOOK = 0.002  # seconds: the first interval. A pipe has room again when half of it was read, some hundred messages
LOOK_LAST = 0.1  # seconds: the longest, as for a process that is suspended

Send = Callable[[bytes, bytes, Body], bool | None]  # route, header, body: taken, gone (False), or no room (None)


@dataclass(slots=True)
class Line:
    """What waits for one connection."""

    since: float  # when it took something last, or began to wait
    waiting: deque[tuple[bytes, Body]] = field(default_factory=deque)
    size: int = 0  # bytes of bodies


class Backlog:
    """What waits for the connections of one door."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.lines: dict[bytes, Line] = {}  # by route; looked into before each message is sent
        self._interval = LOOK
        self._next = 0.0

    @property
    def next_look(self) -> float | None:
        """When ``send`` has something to do; None while nothing waits."""
        return self._next if self.lines else None

    def add(self, route: bytes, header: bytes, body: Body, now: float) -> bool:
        """Let a message wait; False when too much waits already."""
        line = self.lines.get(route)
        if line is None:
            line = self.lines[route] = Line(now)
            self._look_in(LOOK, now)
        if line.waiting and (len(line.waiting) >= LATE or line.size + len(body) > LATE_BYTES):
            return False
        line.waiting.append((header, body))
        line.size += len(body)
        return True

    def send(self, now: float) -> Iterator[tuple[bytes, bool]]:
        """Send what there is room for; gives the connections that are gone (True) and those that have taken nothing for too long (False)."""
        has_taken = False
        for route, line in list(self.lines.items()):
            taken: bool | None = True
            while line.waiting and (taken := self._send(route, *line.waiting[0])):
                line.size -= len(line.waiting.popleft()[1])
                line.since = now
                has_taken = True
            if not line.waiting or taken is False:
                del self.lines[route]
            if taken is False:
                yield route, True
            elif line.waiting and line.since + PATIENCE <= now:
                line.since = now  # asked about again, if it is let live
                yield route, False
        self._look_in(LOOK if has_taken else min(LOOK_LAST, 2 * self._interval), now)

    def _look_in(self, interval: float, now: float) -> None:
        self._interval = interval
        self._next = now + interval

    def forget(self, route: bytes) -> None:
        """Drop what waits for a connection that is over."""
        self.lines.pop(route, None)
