"""What libzmq holds out of the core's sight, and whose fault it is when that is too much.

libzmq keeps a message of many frames until its last one comes, and answers until they are written: neither has a bound in bytes. Nothing tells a process that it
grows, but it does so only by what comes and goes: shortly after something did it is looked at, and not again before something does.

1. A turn of the loop in which anything happened has a look follow it, LOOK later, and so have bytes that are no whole message yet (traffic.py).
2. When the bus has grown by more than EXCESS beyond what the core accounts for, the connections are looked at several times, shortly after each other.
3. Whoever has bytes on the way to us at several looks and completed no message in between is sending something endless; whoever has much on the way from us at all
   of them is not reading. They are cut. A client that is none the worse for it comes back and repeats: that costs less than the bus.
4. What was freed is given back to the system, and what still is not becomes the measure for the next time.
"""

import ctypes
import fcntl
import os
import struct
import termios
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from dadmsd.bus.core.events import Audit
from dadmsd.bus.doors import Router
from dadmsd.bus.traffic import Traffic

LOOK = 0.1  # seconds from what happens to the look, and between two looks while more does: a client of this machine sends some hundred megabytes in it
NEAR_LOOK = 0.002  # seconds between two looks at connections
LOOKS = 10  # at connections, before somebody is cut
SEEN = 2  # looks at which bytes were on the way: libzmq may be quicker than the sender at any one of them
STUCK = 32 * 1024  # bytes on the way from us: the last answer to somebody who stopped reading is less
EXCESS = 96 * 1024 * 1024  # bytes beyond what is accounted for: buffers of a busy bus stay far below, and the cap of its group is 512 MiB
PAGE = os.sysconf("SC_PAGESIZE")
COUNT = struct.Struct("i")

_libc = ctypes.CDLL(None)
_statm = Path("/proc/self/statm")


class Weight:
    """Looks at the memory, and at connections when there is too much of it."""

    def __init__(self, routers: Iterable[Router], traffic: Traffic) -> None:
        self._routers = tuple(routers)
        self._traffic = traffic
        self._least = _resident()
        self.at: float | None = None  # when to look; None: nothing has happened since the last look
        self._looks = 0  # at connections, since there was too much
        self._incoming: Counter[int] = Counter()  # descriptor -> looks at which bytes were on the way to us
        self._outgoing: Counter[int] = Counter()  # the same, from us

    def stir(self, now: float) -> None:
        """Note that something happened."""
        if self.at is None:
            self.at = now + LOOK

    def look(self, now: float, accounted: int) -> Iterator[Audit]:
        """Look; gives a line for each connection that was cut. ``accounted``: bytes that the core knows of."""
        resident = _resident()
        self._least = min(self._least, resident)
        excess = resident - self._least - accounted
        if excess < EXCESS:
            self.at = now + LOOK if self._traffic.has_passed() else None
            if self.at is None:
                self._traffic.rearm()
            self._forget()
            return
        self.at = now + NEAR_LOOK
        if not self._looks:
            for router in self._routers:
                router.heard = set()
        self._looks += 1
        self._count()
        if self._looks < LOOKS:
            return
        lines = list(self._cut(excess))
        yield from lines
        self._forget()
        _libc.malloc_trim(0)  # what is free by now; a connection's messages are freed a little later, and trimmed with the next
        if not lines:
            self._least = max(self._least, _resident() - accounted - EXCESS // 2)  # nobody's fault: it is the allocator's

    def _forget(self) -> None:
        self._looks = 0
        self._incoming.clear()
        self._outgoing.clear()
        for router in self._routers:
            router.heard = None

    def _count(self) -> None:
        """Note which connections have bytes on the way to us, and much from us."""
        for router in self._routers:
            for fd, _ in router.guests.all():
                if _waiting(fd, termios.FIONREAD):
                    self._incoming[fd] += 1
                if _waiting(fd, termios.TIOCOUTQ) > STUCK:
                    self._outgoing[fd] += 1

    def _cut(self, excess: int) -> Iterator[Audit]:
        size = f"the bus holds {excess // 1024**2} MiB that it cannot account for"
        for router in self._routers:
            heard = router.heard_of()
            for fd, guest in router.guests.all():
                if self._incoming[fd] >= SEEN and fd not in heard:
                    yield router.guests.cut(guest, f"{size}, and this connection sends a message without end")
                elif self._outgoing[fd] == LOOKS:
                    yield router.guests.cut(guest, f"{size}, and this connection does not read")


def _resident() -> int:
    """Give the bytes of this process in memory that are no file's."""
    fields = _statm.read_text().split()
    return (int(fields[1]) - int(fields[2])) * PAGE


def _waiting(fd: int, question: int) -> int:
    try:
        return int(COUNT.unpack(fcntl.ioctl(fd, question, bytes(COUNT.size)))[0])
    except OSError:
        return 0  # closed meanwhile
