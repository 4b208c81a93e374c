"""How sessions and connections end, and what becomes of what they had.

1. A session ends for good when its client says goodbye, its process ends, its key is revoked, its program is dead, or it was away for too long. What it asked is given up, and what was given to
   it finds another receiver or is refused.
2. A connection that is gone ends no session: its client comes back, or its time passes.
"""

from collections.abc import Iterable, Mapping

from dadms_ipc.codec import encode_body
from dadms_ipc.envelope import VERSION, Door, Header, Kind
from dadmsd.bus.core.events import Grant, Vanished
from dadmsd.bus.core.machines import Machines
from dadmsd.bus.core.state import Connection, Session


class Endings:
    """Ends what is over."""

    def __init__(self, machines: Machines) -> None:
        self._outbox, self._bounds, self._roster, self._access = machines.outbox, machines.bounds, machines.roster, machines.access
        self._admission, self._deliveries, self._exchanges = machines.admission, machines.deliveries, machines.exchanges
        self._publications, self._calls, self._runs = machines.publications, machines.calls, machines.runs

    def end(self, session: Session, now: float, reason: str, *, has_left: bool = False) -> None:
        """End a session for good; ``has_left``: at its own wish."""
        self._admission.remove(session, now)
        self._outbox.note(now + self._bounds.hello_timeout)
        self._publications.remove(session)
        self._calls.abandon(session)
        self._runs.abandon(session)
        self._exchanges.abandon(session, now)
        self._runs.split_held(session)
        is_death = self._roster.is_known and not self._roster.lives(session.pid, session.incarnation)
        is_failed = session.pid > 0 and (has_left or is_death)  # it was there, had them in its hands, and went
        self._exchanges.release(session, now, f"the receiver's session ended: {reason}", is_failed=is_failed)

    def cut_stalled(self, now: float) -> None:
        """Tell subscribers that take nothing what they have lost, and cut them."""
        stalled, self._deliveries.stalled = self._deliveries.stalled, []
        for session in stalled:
            peer = session.routes[Door.DATA]
            self._outbox.transmit(peer, Header(VERSION, Kind.LOST, b"", "bus"), encode_body(session.lost))
            why = f"{session.origin} lost {session.lost} publications and took none for {self._bounds.stall_patience:g} s"
            session.lost, session.stalled_since = 0, None
            self._outbox.cut(peer, why, now, session.who)
            self._admission.drop(peer, now)
            self._outbox.note(now + self._bounds.linger)

    def _expel(self, session: Session, now: float, reason: str) -> None:
        """End a session whose process ended, and say so."""
        for peer in session.routes.values():
            self._outbox.transmit(peer, Header(VERSION, Kind.BYE, b"", "bus", session.address), encode_body({"message": reason}))
        self.end(session, now, reason)

    def expel_absent(self, sessions: Iterable[Session], now: float) -> None:
        """End those of these sessions whose processes do not live."""
        for session in list(sessions):
            if session.pid and not self._roster.lives(session.pid, session.incarnation):
                self._expel(session, now, f"process {session.pid}.{session.incarnation} ended")

    def vanished(self, event: Vanished, now: float) -> None:
        """Take it that a connection is gone, or takes nothing; what it had said was taken before."""
        self._outbox.counters.vanished += 1
        if event.peer not in self._admission.connections:
            return
        session = self._admission.connections[event.peer].session
        if event.is_slow and session is not None and session.is_paused:
            return  # a suspended process reads nothing, and nobody is cut for that
        if not event.is_gone:
            self._outbox.cut(event.peer, "it does not read what it asked for", now, self._admission.connections[event.peer].who)
        self._admission.drop(event.peer, now)
        self._outbox.note(now + self._bounds.linger)
        if event.is_dead and session is not None and not session.routes and not session.pid:  # of a process the kernel knows more
            self.end(session, now, "its program ended")

    def keys_changed(self, keys: Mapping[str, Grant], now: float) -> None:
        """Cut whoever a key let in that is revoked, or that may do something else now."""
        self._access.keys = keys
        for connection in [one for one in self._admission.connections.values() if one.who.is_remote]:
            standing, session = self._access.standing(connection.who), connection.session
            if standing is None or (session is not None and not self._admission.is_owner(session, connection.who, standing)):
                self._revoke(connection, standing is None, now)
        for session in [one for one in self._admission.sessions.values() if one.who.is_remote and not one.routes]:
            standing = self._access.standing(session.who)
            if standing is None or not self._admission.is_owner(session, session.who, standing):
                self.end(session, now, "its key was revoked")

    def _revoke(self, connection: Connection, is_gone: bool, now: float) -> None:
        if connection.is_over:
            return  # with its session's other connection
        reason = f'key "{connection.who.key}" ' + ("was revoked" if is_gone else "may do something else now")
        session = connection.session
        for peer in [connection.peer] if session is None else list(session.routes.values()):
            if is_gone:
                address = "" if session is None else session.address
                self._outbox.transmit(peer, Header(VERSION, Kind.BYE, b"", "bus", address), encode_body({"message": reason}))
            self._outbox.cut(peer, reason, now, connection.who)
            self._admission.drop(peer, now)
        if session is not None:
            self.end(session, now, reason)
