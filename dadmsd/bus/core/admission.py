"""Who is connected, and who may speak as whom.

1. A connection says nothing but HELLO until it has a session. A client has one session over all its connections, known by its client id.
2. Without a proof the user or the key decides (access.py): who has no role is refused. A role that is taken back ends what it had let in.
3. A process proves its incarnation with its secret. Until the kernel has sent its roster such a hello waits, and afterwards a moment: the kernel's word that
   the process lives travels another way, and nobody is refused for the bus's ignorance.
4. A session belongs to whom it was opened by: a hello with its client id from another user or for another process is refused, and written down.
5. A process speaks through a unix socket, never over a network: there its secret would be all that is asked of it.
6. What a session offers a service under is decided with its HELLO (services.py): one that may not have the name is refused as a whole.
7. A session without connections is kept for a while, so that a client that was cut finds its subscriptions and answers.
"""

from dadms_ipc.codec import encode_body
from dadms_ipc.envelope import REFUSED, VERSION, VIOLATION, WRONG_VERSION, Door, Header, Hello, Kind, Welcome
from dadmsd.bus.core.access import Access, Standing
from dadmsd.bus.core.accounts import Accounts
from dadmsd.bus.core.events import Forget, Peer, Received, Who
from dadmsd.bus.core.outbox import Outbox
from dadmsd.bus.core.roster import Roster
from dadmsd.bus.core.services import Services
from dadmsd.bus.core.state import Bounds, Connection, Session

# First byte of the routing ids that a ROUTER makes itself, which are never used twice. One that a client chose could be chosen again by somebody else, who
# would then be taken for the first.
GENERATED = b"\0"
_DATA = Door.DATA  # a member of an enumeration is looked up in its class at each use


class Admission:
    """Connections and sessions."""

    def __init__(
        self,
        outbox: Outbox,
        bounds: Bounds,
        roster: Roster,
        access: Access,
        accounts: Accounts,
        bus: bytes,
        doors: dict[str, int],
        services: Services,
    ) -> None:
        self._outbox = outbox
        self._bounds = bounds
        self._roster = roster
        self.access = access
        self.services = services
        self.accounts = accounts
        self._bus = bus
        self._doors = doors  # for those who came over a network: door -> port
        self.connections: dict[Peer, Connection] = {}
        self.sessions: dict[bytes, Session] = {}
        self.parked: dict[Peer, Connection] = {}  # whose hello waits for its process to be enrolled
        self.by_address: dict[str, list[Session]] = {}

    def connection(self, event: Received, now: float) -> Connection | None:
        """Give the connection that something came over; None when there are too many already."""
        connection = self.connections.get(event.peer)
        if connection is None:
            if event.peer.route[:1] != GENERATED:
                self._turn_away(event, "a client does not choose its routing id: the bus must be able to tell connections apart", now)
                return None
            if len(self.connections) >= self._bounds.connections:
                self._turn_away(event, f"too many connections: {len(self.connections)}, at most {self._bounds.connections}", now)
                return None
            connection = self.connections[event.peer] = Connection(event.peer, event.who or Who(event.uid, event.pid), now)
        return connection

    def _turn_away(self, event: Received, reason: str, now: float) -> None:
        self._outbox.refuse(event.peer, b"", REFUSED, reason)
        who = event.who or Who(event.uid, event.pid)
        self._outbox.cut(event.peer, f"{who}: {reason}", now, who)
        self._outbox.effects.append(Forget(event.peer))

    def hello(self, connection: Connection, header: Header, hello: Hello, now: float, *, is_last: bool = False) -> Session | None:
        """Take a HELLO; gives the session when it was accepted. ``is_last``: it has waited long enough for its process to be enrolled."""
        self._outbox.counters.hellos += 1
        connection.parked = None
        self.parked.pop(connection.peer, None)
        if VERSION not in hello.versions:
            self._refuse(
                connection,
                header,
                WRONG_VERSION,
                f"cannot speak with you: you know versions {hello.versions[:8]} of the protocol, this bus {VERSION}",
                now,
            )
            return None
        claims = bool(hello.pid or hello.incarnation or hello.secret)
        if claims and connection.who.is_remote:
            self._suspect(
                connection, header, f"cannot speak as process {hello.pid}.{hello.incarnation}: a process does so on its own host", now
            )
            return None
        if claims and not self._roster.is_proven(hello.pid, hello.incarnation, hello.secret):
            if not is_last and not self._roster.lives(hello.pid, hello.incarnation):
                connection.parked, connection.parked_since = (header, hello), now
                self.parked[connection.peer] = connection
                return None
            self._suspect(
                connection,
                header,
                f"cannot speak as process {hello.pid}.{hello.incarnation}: it does not live, or the secret is not its own",
                now,
            )
            return None
        standing = self._standing(connection.who, hello) if claims else self.access.standing(connection.who)
        if standing is None:
            name = f'key "{connection.who.key}"' if connection.who.is_remote else f"uid {connection.who.uid}"
            self._suspect(connection, header, f"cannot speak with {name}: it has no role here", now)
            return None
        if hello.service and not self._may_offer(connection, header, hello, standing, now):
            return None
        session = self.sessions.get(hello.client)
        if connection.session is not None and connection.session is not session:
            self._refuse(connection, header, VIOLATION, "cannot change the client of a connection", now)
            return None
        if session is None:
            if len(self.sessions) >= self._bounds.sessions:
                why = f"too many sessions: {len(self.sessions)}, at most {self._bounds.sessions}"
                self._refuse(connection, header, REFUSED, why, now)
                return None
            tab = self.accounts.enter(connection.who, standing.uid, hello.pid)
            if isinstance(tab, str):
                self._refuse(connection, header, REFUSED, f"cannot open a session: {tab}", now)
                return None
            session = self._open(connection, hello, standing)
            session.tab = tab
        elif (session.pid, session.incarnation) != (hello.pid, hello.incarnation) or not self.is_owner(session, connection.who, standing):
            self._suspect(connection, header, "cannot speak in a session that somebody else opened", now)
            return None
        self._attach(session, connection)
        if hello.service != session.service:
            self.services.release(session)
            session.service = ""
            if hello.service:
                self.services.claim(hello.service, session)
        doors = self._doors if connection.who.is_remote else {}
        welcome = Welcome(self._bus, VERSION, session.address, session.role, doors)
        self._outbox.answer(connection.peer, Kind.WELCOME, "", header.id, encode_body(welcome), to=session.address)
        return session

    def _may_offer(self, connection: Connection, header: Header, hello: Hello, standing: Standing, now: float) -> bool:
        if hello.pid:
            why: str | None = "a process has the name that it was spawned with"
        else:
            why = self.services.refusal(hello.service, hello.client, connection.who, standing)
        if why is not None:
            self._refuse(connection, header, REFUSED, f'cannot offer the service "{hello.service}": {why}', now)
        return why is None

    def _standing(self, who: Who, hello: Hello) -> Standing:
        """Give what a process that proved itself may do, as its own user."""
        entry = self._roster.get(hello.pid)
        return Standing("operate", entry.uid if entry is not None else who.uid)

    def is_owner(self, session: Session, who: Who, standing: Standing) -> bool:
        """Tell whether a session is of the same user, or of the same key with what it may do now."""
        return (session.uid, session.role, session.who.key, session.who.public) == (standing.uid, standing.role, who.key, who.public)

    def _open(self, connection: Connection, hello: Hello, standing: Standing) -> Session:
        if hello.pid:
            address, origin = str(hello.pid), f"process {hello.pid}.{hello.incarnation}"
            self._roster.heard(hello.pid)
        else:
            origin = str(connection.who)
            address = f"client/{hello.client.hex()[:12]}"
            if address in self.by_address:
                address = f"client/{hello.client.hex()}"
        session = Session(hello.client, address, standing.role, standing.uid, origin, hello.pid, hello.incarnation, who=connection.who)
        self.sessions[hello.client] = session
        self.by_address.setdefault(address, []).append(session)
        return session

    def _attach(self, session: Session, connection: Connection) -> None:
        old = session.routes.get(connection.peer.door)
        if old is not None and old != connection.peer:
            self.connections.pop(old).is_over = True
            self.parked.pop(old, None)  # it had said hello as a process as well
            self._outbox.effects.append(Forget(old))
        session.routes[connection.peer.door] = connection.peer
        session.gone_since = None
        connection.session = session

    def _refuse(self, connection: Connection, header: Header, status: str, reason: str, now: float) -> None:
        self._outbox.record("refused", connection.who, str(connection.who), "HELLO", reason, now)
        self._outbox.refuse(connection.peer, header.id, status, reason)

    def _suspect(self, connection: Connection, header: Header, reason: str, now: float) -> None:
        self._outbox.counters.identity_refused += 1
        self._refuse(connection, header, REFUSED, reason, now)

    def find(self, address: str) -> Session | None:
        """Give the session that receives for an address: the newest that is connected for data, and does not only send."""
        sessions = self.by_address.get(address)
        if sessions is None:
            return None
        newest = sessions[-1]
        if _DATA in newest.routes and newest.receives:
            return newest
        return next((session for session in reversed(sessions) if Door.DATA in session.routes and session.receives), None)

    def drop(self, peer: Peer, now: float) -> None:
        """Forget a connection that is gone; its session waits for another."""
        connection = self.connections.pop(peer)
        connection.is_over = True
        self.parked.pop(peer, None)
        self._outbox.effects.append(Forget(peer))
        session = connection.session
        if session is None:
            return
        del session.routes[peer.door]
        if not session.routes:
            session.gone_since = now

    def leave(self, session: Session, connection: Connection, now: float) -> None:
        """Take a connection out of its session, at its own wish."""
        del session.routes[connection.peer.door]
        connection.session = None
        connection.since = now

    def remove(self, session: Session, now: float) -> None:
        """Forget a session that ended; its connections may say hello again."""
        del self.sessions[session.client]
        self.services.release(session)
        self.accounts.leave(session.tab)
        others = self.by_address[session.address]
        others.remove(session)
        if not others:
            del self.by_address[session.address]
        for peer in session.routes.values():
            self.connections[peer].session = None
            self.connections[peer].since = now
        session.routes.clear()
