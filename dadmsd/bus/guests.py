"""Who is connected to a door, from the moment libzmq accepts them: how many connections each may have, and how long one may say nothing.

1. Connections are counted by their OS process, their user, and over a network by their address. Each has a share of the door, so that one can exhaust only
   itself: a connection beyond it is cut at once. Root's and the daemon's own share as a user is the whole door.
2. A connection that has said nothing, whether it never finished the handshake or idles behind it, is cut after SILENCE.
3. A crowd is counted before anybody in it is looked at: libzmq accepts it faster than that, and ends its program when it has no descriptor left.
4. libzmq tells of a connection by the number of its descriptor, and of a failed handshake just before it tells that the connection is gone.
"""

import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic

import zmq

from dadmsd.bus.core.events import NOBODY, Audit, Who
from dadmsd.bus.credentials import Origin, shut_down

UNCLEAR = 0.05  # seconds that an end is in doubt: libzmq tells of it just before it closes the descriptor, whose number may be another's by then, and last words may be on their way
SILENCE = 10.0  # seconds from being accepted to the first word: a handshake takes milliseconds
PROCESS_SHARE = 0.25  # of the door, for one OS process, and for one address
USER_SHARE = 0.5  # of the door, for one user, and for the network as a whole
UCRED = struct.Struct("iII")
FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
WATCHED = int(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | FAILED)
EVENT = struct.Struct("=HI")  # of the monitor (zmq_socket_monitor(3)): which it is, and its value, as the machine has them
# Plain numbers: a member of an enumeration is looked up in its class at each use.
_ACCEPTED, _DISCONNECTED, _NOW = int(zmq.EVENT_ACCEPTED), int(zmq.EVENT_DISCONNECTED), int(zmq.NOBLOCK)
MISMATCH = 0x11000002  # ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
CRYPTOGRAPHIC = 0x11000001  # ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC
GONE = Origin(Who(-1, -1, (), "", "", "?"), -1, -1)  # over a network, and gone before anybody could look where it came from
TOLD = {
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): 0,  # whoever answered ZAP has written it down
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): -1,
}
REASONS = {
    -1: "it broke off the handshake",
    MISMATCH: "it does not speak CURVE",
    CRYPTOGRAPHIC: "it does not know this daemon's key",
}

# On a unix socket nobody who breaks off is written down: programs connect to see whether anybody listens.
LOCAL_REASONS = {MISMATCH: "it asks for another mechanism than NULL"}


@dataclass(slots=True)
class Guest:
    """A connection that libzmq has accepted."""

    origin: Origin
    since: float
    is_remote: bool
    is_over: bool = False  # it was cut, and libzmq has not told yet


class Guests:
    """All connections of one door, by libzmq's descriptor."""

    def __init__(self, ceiling: int, own_uids: tuple[int, ...]) -> None:
        self.ceiling = ceiling
        self.shut: Callable[[int], None] = lambda _count: None  # the door, at this many connections
        self.remote = 0  # of the connections, those over a network
        self.remote_most: int | None = None  # how many of them there may be, where the ports cannot be shut
        self._own = own_uids
        self._guests: dict[int, Guest] = {}
        self._silent: dict[int, Guest] = {}  # in the order in which they came
        self._counts: dict[object, int] = {}  # by whatever has a share
        self.watch: Callable[[int], None] = lambda _fd: None  # whoever wants to see each connection's bytes
        self.departed: dict[
            int, float
        ] = {}  # descriptors of connections that had spoken -> until when it is unclear whether it was the one that has it now
        self.has_spoken: Callable[[int, int], bool] = lambda _fd, _inode: False  # a word may come before the news of its connection
        self._failure: int | None = None  # why a handshake failed, until its connection is named

    def __len__(self) -> int:
        return len(self._guests)

    def take(self, monitor: "zmq.Socket[bytes]") -> Iterator[Audit]:
        """Take the monitor's events; gives lines about whom that cut."""
        for kind, value, is_remote in self._hear(monitor):
            if kind == _ACCEPTED:
                yield from self._accepted(value, monotonic(), is_remote=is_remote)
            elif kind == _DISCONNECTED:
                yield from self._gone(value)
            else:
                self._failure = TOLD.get(kind, value)

    def _hear(self, monitor: "zmq.Socket[bytes]") -> list[tuple[int, int, bool]]:
        """Give what the monitor tells: kind, value, and whether it is of a port. It only counts on the way, and has the door shut before anybody is looked at."""
        receive: Callable[[int], list[bytes]] = monitor.recv_multipart
        heard: list[tuple[int, int, bool]] = []
        count = len(self._guests)
        while True:
            try:
                news, endpoint = receive(_NOW)
            except zmq.Again:
                return heard
            kind, value = EVENT.unpack(news)
            count += (kind == _ACCEPTED) - (kind == _DISCONNECTED)
            if count >= self.ceiling:
                self.shut(count)
            heard.append((kind, value, endpoint.startswith(b"tcp:")))

    def _accepted(self, fd: int, now: float, *, is_remote: bool) -> Iterator[Audit]:
        self._forget(fd)  # its end was not told: the number is another connection's by now
        origin = _origin(fd)
        if origin.inode < 0 and is_remote:
            origin = GONE
        guest = self._guests[fd] = Guest(origin, now, is_remote)
        if not self.has_spoken(fd, origin.inode):
            self._silent[fd] = guest
        self.remote += guest.is_remote
        excess = ""
        for holder, share, what in self._shares(origin.who):
            count = self._counts[holder] = self._counts.get(holder, 0) + 1
            if count > share:
                excess = f"{count} connections of {what}, at most {share} may be"
        if guest.is_remote and self.remote_most is not None and self.remote > self.remote_most:
            excess = f"{self.remote} connections over the network, at most {self.remote_most} may be"
        if excess:
            yield self.cut(guest, excess)
        else:
            self.watch(fd)

    def _shares(self, who: Who) -> list[tuple[object, int, str]]:
        """Give what a connection counts against."""
        part, half = max(2, int(self.ceiling * PROCESS_SHARE)), max(2, int(self.ceiling * USER_SHARE))
        if who.is_remote:
            return [(who.address, part, f"address {who.address}")]
        user = self.ceiling if who.uid in self._own else half
        return [((who.uid, who.pid), part, f"process {who.pid}"), (who.uid, user, f"uid {who.uid}")]

    def _gone(self, fd: int) -> Iterator[Audit]:
        failure, self._failure = self._failure, None
        has_spoken = fd not in self._silent
        guest = self._forget(fd)
        if guest is not None and has_spoken:
            self.departed[fd] = monotonic() + UNCLEAR
        if guest is not None and failure and not guest.is_over and (guest.is_remote or failure > 0):
            who, why = guest.origin.who, (REASONS if guest.is_remote else LOCAL_REASONS).get(failure, "its handshake broke the protocol")
            name = who if who != NOBODY else "somebody on this machine"  # who was gone before anybody looked
            yield Audit(f"refused {name}: {why}", "refused", who, "", "handshake", why)

    def _forget(self, fd: int) -> Guest | None:
        guest = self._guests.pop(fd, None)
        self._silent.pop(fd, None)
        if guest is None:
            return None
        self.remote -= guest.is_remote
        for holder, _, _ in self._shares(guest.origin.who):
            self._counts[holder] -= 1
            if not self._counts[holder]:
                del self._counts[holder]
        return guest

    def spoke(self, origin: Origin) -> None:
        """Note that a connection said something: from now on the core looks after it."""
        guest = self._guests.get(origin.fd)
        if guest is not None and guest.origin.inode == origin.inode:  # else it is one before it, whose end was not told yet
            self._silent.pop(origin.fd, None)

    def all(self) -> list[tuple[int, Guest]]:
        """Give every connection that was not cut, with libzmq's descriptor."""
        return [(fd, guest) for fd, guest in self._guests.items() if not guest.is_over]

    def next_deadline(self) -> float | None:
        """Give when the oldest of the silent ones is cut."""
        return next(iter(self._silent.values())).since + SILENCE if self._silent else None

    def execute(self, now: float) -> Iterator[Audit]:
        """Cut who has been silent for too long."""
        while self._silent:
            fd, guest = next(iter(self._silent.items()))
            if guest.since + SILENCE > now:
                return
            del self._silent[fd]
            if not guest.is_over:
                yield self.cut(guest, f"it said nothing for {SILENCE:g} s")

    def cut(self, guest: Guest, why: str) -> Audit:
        """End a connection at once; gives the line about it."""
        guest.is_over = True
        shut_down(guest.origin)
        who = guest.origin.who
        return Audit(f"cut a connection: {who}: {why}", "cut", who, "", "", why)


def _origin(fd: int) -> Origin:
    """Read who is at the other end of a descriptor that libzmq has just accepted."""
    try:
        with socket.socket(fileno=os.dup(fd)) as duplicate:
            inode = os.fstat(duplicate.fileno()).st_ino
            if duplicate.family != socket.AF_UNIX:
                return Origin(Who(-1, -1, (), "", "", str(duplicate.getpeername()[0])), fd, inode)
            pid, uid, _ = UCRED.unpack(duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
            return Origin(Who(uid, pid), fd, inode)
    except OSError:  # closed already: it is told gone next
        return Origin(NOBODY, -1, -1)
