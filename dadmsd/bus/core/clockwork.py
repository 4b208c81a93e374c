"""What time brings: deadlines that have passed, clients that stay away, and a word now and then to each connection.

1. One moment is kept, at or before the first thing that expires (``Outbox.soonest``); when it has come, everything that expires is looked at, and the next moment is found. Two looks
   are at least a sweep interval apart.
2. ROUTER tells of a connection that is gone only when it is written to: so each is, once in a ping interval.
"""

from dadms_ipc.envelope import VERSION, Header, Kind
from dadmsd.bus.core.addresses import is_pid
from dadmsd.bus.core.endings import Endings
from dadmsd.bus.core.events import Peer
from dadmsd.bus.core.hellos import Hellos
from dadmsd.bus.core.machines import Machines

PING_SLICE = 256  # connections that are looked at together


class Clockwork:
    """Looks at what is due."""

    def __init__(self, machines: Machines, endings: Endings, hellos: Hellos) -> None:
        self._outbox, self._bounds, self._roster, self._admission = machines.outbox, machines.bounds, machines.roster, machines.admission
        self._addresses, self._exchanges, self._attempts = machines.addresses, machines.exchanges, machines.attempts
        self._calls, self._runs = machines.calls, machines.runs
        self._endings, self._hellos = endings, hellos
        self._swept = float("-inf")
        self._next_ping: float | None = None
        self._ring: list[Peer] = []  # connections whose turn it is not yet
        self._reunion_end: float | None = None

    def connected(self, now: float) -> None:
        """Note that there is a connection."""
        if self._next_ping is None:
            self._next_ping = now + self._bounds.ping_interval

    def restarted(self, now: float) -> None:
        """Wait for whoever was there before this bus."""
        if self._bounds.reunion:
            self._addresses.is_reunion, self._reunion_end = True, now + self._bounds.reunion
            self._outbox.note(self._reunion_end)

    def next_deadline(self) -> float | None:
        """Give when ``Ticked`` has something to do."""
        soonest = None if self._outbox.soonest is None else max(self._outbox.soonest, self._swept + self._bounds.sweep_interval)
        if soonest is None or (self._next_ping is not None and self._next_ping < soonest):
            soonest = self._next_ping
        due = self._outbox.auditor.due
        return soonest if due is None or (soonest is not None and soonest < due) else due

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._outbox.soonest is not None and now >= max(self._outbox.soonest, self._swept + self._bounds.sweep_interval):
            self._sweep(now)
        if self._next_ping is not None and now >= self._next_ping:
            self._ping(now)
        self._outbox.auditor.flush(now)

    def _sweep(self, now: float) -> None:
        self._swept, self._outbox.soonest = now, None
        self._hellos.look_again(now)
        self._reunite(now)
        bounds = self._bounds
        for session in list(self._admission.sessions.values()):
            if session.gone_since is None:
                continue
            if session.gone_since + bounds.linger <= now:
                self._endings.end(session, now, f"it was away for {bounds.linger:g} s")
            else:
                self._outbox.note(session.gone_since + bounds.linger)
        for connection in list(self._admission.connections.values()):
            if connection.session is not None or connection.parked is not None:
                continue
            if connection.since + bounds.hello_timeout <= now:
                self._outbox.cut(connection.peer, f"{connection.who} had no session after {bounds.hello_timeout:g} s", now, connection.who)
                self._admission.drop(connection.peer, now)
            else:
                self._outbox.note(connection.since + bounds.hello_timeout)
        deadline = self._calls.sweep(now)
        if deadline is not None:
            self._outbox.note(deadline)
        self._runs.sweep(now)
        self._attempts.sweep(now)

    def _reunite(self, now: float) -> None:
        """Refuse what waits for clients and services that have not come back in time."""
        if self._reunion_end is None:
            return
        if now < self._reunion_end or not self._roster.is_known:
            self._outbox.note(max(self._reunion_end, now + self._bounds.sweep_interval))
            return
        self._addresses.is_reunion, self._reunion_end = False, None
        for address in list(self._exchanges.waiting):
            if not is_pid(address) and address not in self._admission.by_address:
                self._exchanges.rename(address, now)

    def _ping(self, now: float) -> None:
        """Send a PING to some connections: ROUTER tells of a gone one only when it is written to."""
        if not self._ring:
            self._ring = list(self._admission.connections)
        for peer in self._ring[-PING_SLICE:]:
            if peer in self._admission.connections:
                self._outbox.transmit(peer, Header(VERSION, Kind.PING, b"", "bus"))
        del self._ring[-PING_SLICE:]
        slices = 1 + len(self._admission.connections) // PING_SLICE
        self._next_ping = now + self._bounds.ping_interval / slices if self._admission.connections else None
