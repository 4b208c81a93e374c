"""One door: a ROUTER socket on a unix path, what it receives and from whom, and how it is kept from running out of descriptors.

1. Who is at the other end is asked once a connection (credentials.py).
2. libzmq aborts its process when it cannot accept for want of descriptors, so connections are counted (by the socket's monitor) and the door is shut before
   that. Shut by a rename of its path: unbinding would end every connection that it ever accepted.
3. A connection is cut by shutting down its descriptor, once its last answer has had time to go out; what it says meanwhile is dropped, and so is what libzmq had
   read from it before. libzmq notices, and its peer connects again, if it cares.
4. That a connection is gone is told by the monitor, and believed once everything that it had said was taken.
5. What finds a connection's pipe full waits for it (backlog.py).
"""

import heapq
import os
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import cast

import zmq
from zmq.backend import Socket as Basic

from dadms_ipc.envelope import Door
from dadmsd.bus.backlog import Backlog
from dadmsd.bus.core.admission import GENERATED
from dadmsd.bus.core.events import Audit, Body, Forget, Peer, Received, Vanished, Who
from dadmsd.bus.credentials import UNKNOWN, Origin, inode_of, is_dead, origin_of, shut_down
from dadmsd.bus.guests import SILENCE, UNCLEAR, USER_SHARE, WATCHED, Guests
from dadmsd.bus.listeners import Listener

SNDHWM = 1280  # messages: above the window of our clients (1024), so that who reads seldom finds it full; what does waits (backlog.py)
HWM = 256  # messages that wait in libzmq for one connection, each way: more waits in the core's queues, where it is counted
COPIED = 32 * 1024  # bytes: a smaller body is copied, a larger one passes as the frame that libzmq made
BACKLOG = 128  # connections that wait to be accepted
REOPEN_SHARE = 0.9  # of the ceiling: below it a door that was shut opens again
# pyzmq's Python layer looks at the types of each call, and turns enumerations into numbers at each: these are called a million times with the same.
_NOW = int(zmq.NOBLOCK)
_MORE_NOW = int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS = int(zmq.EVENTS)
_READABLE = int(zmq.POLLIN)
_recv, _send, _get = Basic.recv, Basic.send, Basic.get
LOOK = 0.005  # seconds between looks whether a connection is gone that was told to be
LAST_WORD = 0.05  # seconds for the last answer to a connection that is cut
ECHO = 1.0  # seconds after which nothing comes any more that libzmq had read from a connection before that
DROPPED = 100  # frames of those who are not heard that are dropped before somebody else has a turn: a tenth of a millisecond


class Router:
    """The socket of one door."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", door: Door, path: Path, *, body_limit: int, ceiling: int, mode: int
    ) -> None:
        self.door = door
        self.path = path
        self.ceiling = ceiling  # connections
        self.guests = Guests(ceiling, (0, os.geteuid()))
        self.guests.shut = self._shut
        self._shut_at = 0  # so many connections, and nobody was told yet
        self.guests.has_spoken = lambda fd, inode: inode in self._routes.get(fd, {})
        self.is_open = False
        self.is_quiet = True  # nothing waits to be received, and nothing was sent since that was seen
        self.backlog = Backlog(self._send)
        self._listeners: list[Listener] = []
        self.heard: set[bytes] | None = None  # routes of whole messages that have come since it was made; None: nobody asks
        self.is_stirred = (
            False  # somebody came, went, or is to be cut, or could not be written to: what is to do and when must be looked at anew
        )
        self._hidden = path.with_name(f".{path.name}.shut")
        self._condemned: list[
            tuple[float, bytes, Origin | None]
        ] = []  # a heap: when, which route, and what to shut down (None: that was done)
        self._unheard: set[bytes] = set()  # routes of the condemned
        self._unreachable: dict[bytes, float] = {}  # routes that nothing can be sent to -> until when what they said last may take to come
        self._origins: dict[bytes, Origin] = {}
        self._known: dict[bytes, tuple[Peer, int, int, Who]] = {}  # route -> what every message from it is said to come from
        self._routes: dict[
            int, dict[int, bytes]
        ] = {}  # descriptor -> inode -> route: one has it, others had it whose ends were not told yet
        self.socket = context.socket(zmq.ROUTER)
        for option, value in (
            (zmq.ROUTER_MANDATORY, 1),  # what cannot be delivered is known
            (zmq.SNDHWM, SNDHWM),
            (zmq.RCVHWM, HWM),
            (zmq.MAXMSGSIZE, body_limit),
            (zmq.LINGER, 200),  # ms for last answers
            (
                zmq.HANDSHAKE_IVL,
                int(2000 * SILENCE),
            ),  # ms: `guests` ends who takes its time before libzmq does, which says nothing about it
            (zmq.BACKLOG, min(BACKLOG, ceiling)),  # these are still accepted once the door is shut
            (zmq.AFFINITY, 1 << door),  # an I/O thread of its own: large bodies at one door do not delay the other
        ):
            self.socket.setsockopt(option, value)
        endpoint = f"inproc://monitor-{door.name.lower()}"
        self.socket.monitor(endpoint, WATCHED)
        self.monitor = context.socket(zmq.PAIR)
        self.monitor.setsockopt(zmq.RCVHWM, 0)  # libzmq drops events for which there is no room, and the count would drift
        self.monitor.connect(endpoint)
        for stale in (path, self._hidden):  # of a bus that was killed
            stale.unlink(missing_ok=True)
        before = os.umask(0o777 & ~mode)
        try:
            self.socket.bind(f"ipc://{path}")
        finally:
            os.umask(before)
        self.is_open = True
        self.fd: int = self.socket.fileno()

    def add_listener(self, listener: Listener) -> None:
        """Look after a port that leads to this door."""
        self._listeners.append(listener)

    def count(self) -> Iterator[Audit]:
        """Take the monitor's events; gives lines about whom that cut, and about a door that was shut or opened by it."""
        self.is_stirred = True
        yield from self.guests.take(self.monitor)
        count, remote, name = len(self.guests), self.guests.remote, self.door.name.lower()
        if self._shut_at:
            yield Audit(f"shut the {name} door: {self._shut_at} connections, at most {self.ceiling}")
            self._shut_at = 0
        if not self.is_open and count < self.ceiling * REOPEN_SHARE:
            self._hidden.rename(self.path)
            self.is_open = True
            yield Audit(f"opened the {name} door again: {count} connections")
        most = int(self.ceiling * USER_SHARE)
        is_full, has_room = remote >= most or not self.is_open, remote < most * REOPEN_SHARE and self.is_open
        for listener in self._listeners:
            if is_full and not listener.is_shut:
                if listener.shut():
                    yield Audit(f"shut port {listener.place} ({listener.name}): {remote} connections over the network, at most {most}")
                else:
                    self.guests.remote_most = most
            elif has_room and listener.is_shut:
                listener.open()
                yield Audit(f"opened port {listener.place} ({listener.name}) again: {remote} connections over the network")

    def is_there(self) -> bool:
        """Tell whether the path of the door is where it was made, open or shut."""
        return (self.path if self.is_open else self._hidden).exists()

    def _shut(self, count: int) -> None:
        """Let nobody in any more."""
        if self.is_open:
            self.path.rename(self._hidden)
            self.is_open = False
            self._shut_at = count

    def has_more(self) -> bool:
        """Tell whether a message waits. The socket's descriptor tells of changes only, and sending may have taken the news: ask before waiting for it."""
        self.is_quiet = not cast("int", _get(self.socket, _EVENTS)) & _READABLE
        return not self.is_quiet

    def heard_of(self) -> set[int]:
        """Give the descriptors from which whole messages have come since `heard` was made."""
        return {self._origins[route].fd for route in self.heard or () if route in self._origins}

    def receive(self) -> Received | None:
        """Give the next message, if there is one; None as well when much was dropped, so that others have their turn."""
        sock = self.socket
        dropped = 0
        while True:
            try:
                route = _recv(sock, _NOW)
            except zmq.Again:
                self.is_quiet = True
                return None
            self.is_quiet = False
            if self.heard is not None:
                self.heard.add(route)
            first = _recv(sock, _NOW, copy=False)  # a frame knows whether there is more, which is dear to ask the socket
            known = self._known.get(route)
            if known is not None:
                break
            if route not in self._unheard:
                known = self._meet(route, origin_of(first))
                break
            while first.more:
                first = _recv(sock, _NOW, copy=False)
                dropped += 1
            if dropped > DROPPED:
                return None
        frames: list[Body] = [first.bytes]
        is_cut_short = False
        if first.more:
            body = _recv(sock, _NOW, copy=False)
            frames.append(body.bytes if len(body) <= COPIED else body)
            while body.more:  # libzmq has them all already: it hands out whole messages only
                body = _recv(sock, _NOW, copy=False)
                is_cut_short = True
        peer, uid, pid, who = known
        return Received(peer, uid, pid, frames, is_cut_short, who)

    def _meet(self, route: bytes, origin: Origin) -> tuple[Peer, int, int, Who]:
        """Note who is at the other end of a connection that has said its first word."""
        self._origins[route] = origin
        if origin.fd >= 0:
            self._routes.setdefault(origin.fd, {})[origin.inode] = route
            self.guests.spoke(origin)
        who = origin.who
        self._known[route] = known = (Peer(self.door, route), who.uid, who.pid, who)
        return known

    def send(self, route: bytes, header: bytes, body: Body) -> bool:
        """Send; False when too much waits for the connection. That it is gone is told by `departures`."""
        if route not in self.backlog.lines and (taken := self._send(route, header, body)) is not None:
            if not taken:
                self._miss(route)
            return True
        self.is_stirred = True
        return self.backlog.add(route, header, body, monotonic())

    def _miss(self, route: bytes) -> None:
        """Note that nothing can be sent to a connection any more; what it said last may still wait to be received."""
        self.is_stirred = True
        self._unreachable.setdefault(route, monotonic() + UNCLEAR)

    def _send(self, route: bytes, header: bytes, body: Body) -> bool | None:
        sock = self.socket
        self.is_quiet = False
        try:
            _send(sock, route, _MORE_NOW)
            _send(sock, header, _MORE_NOW)
            _send(sock, cast("bytes", body), _NOW)  # bytes, or a zmq.Frame, which goes on uncopied
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise
        return True

    def catch_up(self, now: float) -> list[Vanished]:
        """Send what waits and has room, when that is due; gives the connections that take nothing."""
        due = self.backlog.next_look
        if due is None or due > now:
            return []
        slow = []
        for route, is_gone in self.backlog.send(now):
            if is_gone:
                self._miss(route)
            else:
                slow.append(Vanished(Peer(self.door, route), False, is_slow=True))
        return slow

    def cut(self, route: bytes, now: float, rest: float = 0.0) -> None:
        """End a connection, after its last answer and ``rest`` seconds more; it is not heard from now on, also where it has ended itself: its words may still come."""
        self.is_stirred = True
        if route in self._unheard:
            return
        self._unheard.add(route)
        origin = self._origins.get(route)
        is_gone = origin is None or origin.fd < 0
        heapq.heappush(self._condemned, (now + (_echo(route) if is_gone else LAST_WORD + rest), route, None if is_gone else origin))

    def is_due(self, now: float) -> bool:
        """Tell whether `execute` has something to do."""
        due = self.next_cut()
        return due is not None and due <= now

    def next_cut(self) -> float | None:
        """Give when `execute` has something to do."""
        silent = self.guests.next_deadline()
        if not self._condemned:
            return silent
        due = self._condemned[0][0]
        return due if silent is None else min(due, silent)

    def next_moments(self) -> tuple[float | None, float | None, float | None]:
        """Give when `execute`, `catch_up` and `departures` have something to do."""
        return self.next_cut(), self.backlog.next_look, monotonic() + LOOK if self.guests.departed else None

    def execute(self, now: float) -> Iterator[Audit]:
        """Cut what is due; gives lines about who said nothing."""
        yield from self.guests.execute(now)
        while self._condemned and self._condemned[0][0] <= now:
            _, route, origin = heapq.heappop(self._condemned)
            if origin is None:
                self._unheard.discard(route)
            else:
                shut_down(origin)
                heapq.heappush(self._condemned, (now + _echo(route), route, None))

    def forget(self, effect: Forget) -> None:
        """Forget who a connection came from."""
        self.backlog.forget(effect.peer.route)
        self._known.pop(effect.peer.route, None)
        origin = self._origins.pop(effect.peer.route, None)
        if origin is not None and (had := self._routes.get(origin.fd)) is not None:
            if had.get(origin.inode) == effect.peer.route:
                del had[origin.inode]
            if not had:
                del self._routes[origin.fd]

    def departures(self) -> list[Vanished]:
        """Give the connections that are gone: each once nothing waits to be received, which could be its last words, or when these had time to come."""
        if not self.guests.departed and not self._unreachable:
            return []
        now = monotonic()
        left: list[bytes] = []
        unclear: dict[int, float] = {}
        for fd, until in self.guests.departed.items():
            held, had = inode_of(fd), self._routes.get(fd, {})
            left += [route for inode, route in had.items() if inode != held]
            if held in had and now < until:
                unclear[fd] = until
        is_busy = self.has_more()  # asked after it is known who is gone: what they said last has come by then
        gone = dict.fromkeys(route for route, until in self._unreachable.items() if not is_busy or until <= now)
        self._unreachable = {route: until for route, until in self._unreachable.items() if route not in gone}
        if is_busy:
            self.is_stirred = True  # the others later
        else:
            gone |= dict.fromkeys(left)
            self.guests.departed = unclear
        return [Vanished(Peer(self.door, route), True, is_dead(self._origins.get(route, UNKNOWN).who)) for route in gone]

    def close(self) -> None:
        """Close the door; what was sent has the linger's time to go out."""
        self.socket.disable_monitor()
        self.monitor.close(0)
        for listener in self._listeners:
            listener.close()
        (self.path if self.is_open else self._hidden).unlink(missing_ok=True)
        self.socket.close()


def _echo(route: bytes) -> float:
    """Give the seconds in which what a connection had said may still come; a route that a client chose may have the next connection at once."""
    return ECHO if route[:1] == GENERATED else 0.0
