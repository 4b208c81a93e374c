"""The bus, without any I/O: ``handle(event, now) -> effects``, ``next_deadline()``, ``check()``.

What a client may say, at which door and with which role, is a table (``DOORS`` of the protocol, ``ROLES`` here); whatever is not in it is refused with
the reason. Nothing that a client sends raises: garbage is counted, answered, and a connection that sends only garbage is cut.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import NamedTuple

import msgspec

from dadms_ipc.codec import decode_batch, decode_body, decode_header, decode_run, encode_body
from dadms_ipc.envelope import (
    CLIENT_BYTES,
    DOORS,
    ID_BYTES,
    NO_SESSION,
    OK,
    REFUSED,
    VERSION,
    VIOLATION,
    WRONG_VERSION,
    Door,
    Flag,
    Header,
    Hello,
    Invite,
    Kind,
    Span,
)
from dadms_ipc.errors import InternalError, PeerViolation
from dadmsd.bus.core import inspection
from dadmsd.bus.core.access import LEVELS, Access
from dadmsd.bus.core.accounts import Accounts, Share
from dadmsd.bus.core.addresses import Addresses, is_pid
from dadmsd.bus.core.admission import Admission
from dadmsd.bus.core.attempts import Attempts
from dadmsd.bus.core.broadcasts import Broadcasts
from dadmsd.bus.core.calls import Calls
from dadmsd.bus.core.deliveries import CREDIT_LIMIT, Deliveries
from dadmsd.bus.core.disk import Kept, NotKept, Restored
from dadmsd.bus.core.events import (
    Body,
    Effect,
    Event,
    Grant,
    KeysChanged,
    LinkLost,
    LinkOpened,
    LinkReceived,
    LinkRecovered,
    Noted,
    Peer,
    Received,
    Resumed,
    ToKernel,
    Vanished,
    content,
)
from dadmsd.bus.core.exchanges import Exchanges
from dadmsd.bus.core.inquiries import Inquiries
from dadmsd.bus.core.joints import Joints
from dadmsd.bus.core.keeping import Keeping
from dadmsd.bus.core.letters import Letters
from dadmsd.bus.core.offers import Offerers
from dadmsd.bus.core.outbox import Outbox
from dadmsd.bus.core.publications import Publications
from dadmsd.bus.core.roster import Roster
from dadmsd.bus.core.runs import Runs, answers, members
from dadmsd.bus.core.services import Services
from dadmsd.bus.core.state import Bounds, Connection, Entry, Session
from dadmsd.kernel import link

BATCH_BODY_LIMIT = 1024 * 1024  # bytes: four times what our own senders put into a batch
BATCH_SLICE = 128  # messages of a batch that are taken together: about a millisecond, in which nobody else is served
PING_SLICE = 256  # connections that are looked at together

ROLES = {
    Kind.CALL: "observe",  # the kernel decides about each request
    Kind.SUBSCRIBE: "observe",
    Kind.UNSUBSCRIBE: "observe",
    Kind.CREDIT: "observe",
    Kind.SEND: "operate",
    Kind.REQUEST: "operate",
    Kind.ACK: "observe",
    Kind.RESPONSE: "observe",
    Kind.BROADCAST: "operate",
    Kind.RUN: "operate",
    Kind.ACKS: "observe",
    Kind.PUBLISH: "operate",
}
NAMED = frozenset(
    {Kind.HELLO, Kind.CALL, Kind.SEND, Kind.REQUEST, Kind.BROADCAST, Kind.RUN, Kind.PUBLISH, Kind.SUBSCRIBE, Kind.UNSUBSCRIBE}
)  # whose id is the sender's own
KERNEL_SERVICES = frozenset({"", "kernel", "process-manager", "thread-manager", "resource-manager", "orchestrator-registry"})


# What a session of each role may say, and where: `DOORS` and `ROLES` at one look.
_USUAL = {
    role: frozenset((int(kind), door) for kind, needed in ROLES.items() if LEVELS[needed] <= level for door in DOORS[kind])
    for role, level in LEVELS.items()
}
# Plain numbers: a member of an enumeration is looked up in its class at each use.
_SEND, _REQUEST, _ACK, _RESPONSE, _RUN, _ACKS = (
    int(kind) for kind in (Kind.SEND, Kind.REQUEST, Kind.ACK, Kind.RESPONSE, Kind.RUN, Kind.ACKS)
)
_RETRY = int(Flag.RETRY)


class Rest(NamedTuple):
    """What is left of a batch."""

    connection: Connection
    envelopes: list[tuple[Header, bytes]]
    place: int  # of the first


class Bus:
    """The whole of the bus's decisions."""

    def __init__(
        self,
        bus: bytes,  # 16 random bytes of this start
        *,
        roles: Mapping[int, str],  # uid -> role
        groups: Mapping[int, str] | None = None,  # gid -> role
        keys: Mapping[str, Grant] | None = None,  # the allow-list
        doors: dict[str, int] | None = None,  # ports, for those who came over a network
        bounds: Bounds | None = None,
        incarnation: int = 0,
        os_pid: int = 0,
        wall: float = 0.0,  # wall clock minus the clock of ``now``, seconds
        services: Mapping[str, Offerers] | None = None,  # name -> who may offer it
    ) -> None:
        self.bounds = bounds or Bounds()
        self._invite = encode_body(Invite(bus, [VERSION]))
        self._hello = link.BusHello(incarnation, os_pid)
        self.outbox = Outbox()
        self.roster = Roster()
        self.access = Access(roles, groups or {}, keys or {})
        limits = self.bounds
        self.accounts = Accounts(
            limits.pool_bytes,
            Share(limits.client_sessions, limits.client_patterns, limits.client_open),
            Share(limits.user_sessions, limits.user_patterns, limits.user_open),
            frozenset(uid for uid, role in roles.items() if role == "admin"),
        )
        self.services = Services(self.roster, services or {})
        self.admission = Admission(self.outbox, self.bounds, self.roster, self.access, self.accounts, bus, doors or {}, self.services)
        self.deliveries = Deliveries(self.outbox, self.bounds)
        self.addresses = Addresses(self.roster, self.admission)
        self.letters = Letters(self.outbox, self.bounds)
        self.keeping = Keeping(self.outbox, self.bounds, self.letters, wall)
        self.exchanges = Exchanges(self.outbox, self.bounds, self.deliveries, self.addresses, self.keeping, self.letters)
        self.attempts = Attempts(self.outbox, self.bounds, self.deliveries, self.exchanges, self.keeping)
        self.broadcasts = Broadcasts(self.outbox, self.bounds, self.roster, self.addresses, self.deliveries, self.exchanges, self.keeping)
        self.inquiries = Inquiries(self.outbox, self.bounds, self.addresses, self.letters, self.keeping, self.status)
        self.runs = Runs(self.outbox, self.bounds, self.addresses, self.deliveries, self.exchanges, self.keeping)
        self.exchanges.split_held = self.runs.split_held
        self.joints = Joints(self.runs, self._send)
        self._gathers = False
        self.publications = Publications(self.outbox, self.bounds, self.deliveries)
        self.calls = Calls(self.outbox, self.bounds)
        self._swept = float("-inf")
        self._next_ping: float | None = None
        self._ring: list[Peer] = []
        self._epoch = 0
        self.rests: dict[
            Door, Rest
        ] = {}  # of batches; the shell serves others before it says ``Resumed``, and takes nothing else from that door meanwhile
        self._spent = 0  # messages of the slice that is being taken; a run that passes whole is one
        self._reunion_end: float | None = None

    def handle(self, event: Event, now: float, *, gathers: bool = False) -> list[Effect]:
        """Take what happened; give what must be done, in order. ``gathers``: more follows at once, up to ``release``."""
        self._gathers = gathers
        if type(event) is Received:
            while event.peer.door in self.rests:  # what came before comes first
                self._resume(event.peer.door, now)
            self._received(event, now)
        elif type(event) is Resumed:
            self._resume(event.door, now)
        elif type(event) is LinkReceived:
            self._linked(event, now)
        elif type(event) is LinkOpened:
            self.outbox.effects.append(ToKernel(self._hello))
            self.publications.relink()
            self.calls.relink()
        elif type(event) is LinkRecovered:
            self.publications.relink()
            self.calls.relink()
        elif type(event) is LinkLost:
            self.calls.is_linked = False
        elif type(event) is Vanished:
            self._vanished(event, now)
        elif type(event) is KeysChanged:
            self._keys_changed(event.keys, now)
        elif type(event) is Noted:
            line = event.line
            subject = "" if line.who is None else str(line.who)
            self.outbox.record(line.verdict, line.who, subject, line.what, line.why or line.text, now, line.text)
        elif type(event) is Kept:
            self.exchanges.kept(event, now)
        elif type(event) is NotKept:
            self.exchanges.not_kept(event, now)
        elif type(event) is Restored:
            self.exchanges.place_stored(self.keeping.restore(event, now), now)
            if self.bounds.reunion:
                self.addresses.is_reunion, self._reunion_end = True, now + self.bounds.reunion
                self._note(self._reunion_end)
        else:
            self._tick(now)
        if self.joints.pending and not gathers:
            self.joints.release_all(now)
        return self.outbox.drain()

    def release(self, now: float) -> list[Effect]:
        """End what ``gathers`` began: give what is left to be done."""
        self.joints.release_all(now)
        return self.outbox.drain()

    def next_deadline(self) -> float | None:
        """Give when ``Ticked`` has something to do."""
        soonest = None if self.outbox.soonest is None else max(self.outbox.soonest, self._swept + self.bounds.sweep_interval)
        if soonest is None or (self._next_ping is not None and self._next_ping < soonest):
            soonest = self._next_ping
        due = self.outbox.auditor.due
        return soonest if due is None or (soonest is not None and soonest < due) else due

    # what clients send

    def _received(self, event: Received, now: float) -> None:
        connection = self.admission.connection(event, now)
        if connection is None:
            return
        if self._next_ping is None:
            self._next_ping = now + self.bounds.ping_interval
        if connection.session is None:
            self._note(connection.since + self.bounds.hello_timeout)
        frames = event.frames
        if len(frames) == 1 and not len(frames[0]):  # PROBE_ROUTER's empty message
            self.outbox.transmit(connection.peer, Header(VERSION, Kind.INVITE, b"", "bus"), self._invite)
            return
        header: Header | None = None
        try:
            if not 1 <= len(frames) <= 2 or event.is_cut_short:
                raise PeerViolation("a message has two frames, a header and a body")
            header = decode_header(content(frames[0]))
            body: Body = frames[1] if len(frames) == 2 else b""
            if header.kind == Kind.BATCH and header.version == VERSION:
                self._batch(connection, body, now)
            else:
                self._envelope(connection, header, body, now)
        except PeerViolation as error:
            self._violated(connection, header, str(error), now)

    def _batch(self, connection: Connection, body: Body, now: float) -> None:
        """Take the envelopes of a batch, a slice at a time."""
        if len(body) > BATCH_BODY_LIMIT:
            raise PeerViolation(f"a batch of {len(body)} bytes, at most {BATCH_BODY_LIMIT}")
        self._take(Rest(connection, decode_batch(content(body)), 0), now)

    def _take(self, rest: Rest, now: float) -> None:
        """Take a slice of a batch; a broken envelope is refused, the others are not its fault."""
        connection, envelopes, place = rest
        self._spent = 0
        for header, inner in islice(envelopes, place, None):
            place += 1
            self._spent += 1
            try:
                self._envelope(connection, header, inner, now)
            except PeerViolation as error:
                self._violated(connection, header, str(error), now)
            if connection.is_over:
                return
            if self._spent >= BATCH_SLICE and place < len(envelopes):
                self.rests[connection.peer.door] = Rest(connection, envelopes, place)
                return

    def _resume(self, door: Door, now: float) -> None:
        rest = self.rests.pop(door, None)
        if rest is not None and not rest.connection.is_over:
            self._take(rest, now)

    def _violated(self, connection: Connection, header: Header | None, reason: str, now: float) -> None:
        if connection.session is not None:
            self.joints.release(connection.session, now)
        self.outbox.counters.violations += 1
        connection.violations += 1
        self.outbox.refuse(connection.peer, header.id if header is not None else b"", VIOLATION, reason)
        if connection.violations >= self.bounds.violations:
            origin = connection.session.origin if connection.session is not None else str(connection.who)
            why = f"{origin} sent {connection.violations} broken messages, the last one: {reason}"
            self.outbox.cut(connection.peer, why, now, connection.who)
            self.admission.drop(connection.peer, now)
            self._note(now + self.bounds.linger)

    def _envelope(self, connection: Connection, header: Header, body: Body, now: float) -> None:
        counters, peer, kind, session = self.outbox.counters, connection.peer, header.kind, connection.session
        counters.received += 1
        if kind != _SEND and session is not None and self.joints.pending:
            self.joints.release(session, now)
        if (
            session is not None
            and not header.sender
            and header.version == VERSION
            and (kind, peer.door) in _USUAL[session.role]
            and (not header.id or (len(header.id) == ID_BYTES and header.id[:CLIENT_BYTES] == session.client))
            and (header.id or kind not in NAMED)
        ):
            self._act(session, peer, header, body, now)  # nearly always; what follows says why not
            return
        if header.version != VERSION:
            self.outbox.refuse(
                peer, header.id, WRONG_VERSION, f"cannot read version {header.version} of the protocol: this bus speaks {VERSION}"
            )
            return
        doors = DOORS.get(kind)
        if doors is None:
            raise PeerViolation(f"a client does not send messages of kind {kind}")
        if peer.door not in doors:
            raise PeerViolation(f"a {Kind(kind).name} at the {peer.door.name.lower()} door")
        if kind == Kind.HELLO:
            self._hello_from(connection, header, decode_body(content(body), Hello), now)
            return
        if session is None:
            if kind not in (Kind.BYE, Kind.CREDIT):  # who says goodbye twice wants no answer
                self.outbox.refuse(peer, header.id or header.correlation, NO_SESSION, "say hello first")
            return
        if kind in NAMED and (len(header.id) != ID_BYTES or header.id[:CLIENT_BYTES] != session.client):
            raise PeerViolation("a message id is the client id of its session and a sequence of 8 bytes")
        if header.sender and header.sender != session.address and not header.sender.startswith(f"{session.address}/"):
            counters.identity_refused += 1
            self._refused(session, kind, f'it spoke as "{header.sender}"', now)
            self.outbox.refuse(peer, header.id, REFUSED, f'cannot speak as "{header.sender}": this session is "{session.address}"')
            return
        if kind == Kind.BYE:
            self.admission.leave(session, connection, now)
            if not session.routes:  # the other door may still have answers on their way
                self._end(session, now, "it said goodbye", has_left=True)
            return
        if LEVELS[session.role] < LEVELS[ROLES[Kind(kind)]]:
            self._refused(session, kind, f"{Kind(kind).name} needs the role {ROLES[Kind(kind)]}", now)
            self.outbox.refuse(
                peer,
                header.id,
                REFUSED,
                f"cannot {Kind(kind).name.lower()}: the role {ROLES[Kind(kind)]} is needed, yours is {session.role}",
            )
            return
        self._act(session, peer, header, body, now)

    def _act(self, session: Session, peer: Peer, header: Header, body: Body, now: float) -> None:
        """Do what an accepted session says."""
        kind = header.kind
        if kind == _RUN:
            self._run(session, peer, header, body, now)
            return
        if kind == _ACKS:
            span = decode_body(content(body), Span)
            if not self.runs.answer(session, header, span, body):
                for one, inner in answers(header, span):
                    self._act(session, peer, one, inner, now)
            return
        if kind in (_SEND, _REQUEST):
            if header.flags & _RETRY and self._is_settled(session, header):
                return
            sender = header.sender or session.address
            if self._gathers and kind == _SEND and self.joints.take(session, peer, header, body, now):
                return
            ahead = Header(VERSION, kind, header.id, sender, header.to, header.topic, b"", header.deadline, header.flags, header.expiry)
            reason = self.exchanges.begin(session, ahead, body, now)
        elif kind in (_ACK, _RESPONSE):
            reason = self.exchanges.answer(session, header, body, now)
            if reason is not None:
                raise PeerViolation(reason)
        elif kind == Kind.CREDIT:
            count = decode_body(content(body), int)
            if not 0 <= count <= CREDIT_LIMIT:
                raise PeerViolation(f"a credit of {count}, at most {CREDIT_LIMIT}")
            self.deliveries.grant(session, count, now)
            reason = None
        elif kind == Kind.PUBLISH:
            reason = self.publications.publish(header, header.sender or session.address, body, now)
            if self.deliveries.stalled:
                self._cut_stalled(now)
        elif kind == Kind.BROADCAST:
            reason = self.broadcasts.begin(session, header, header.sender or session.address, body, now)
        elif kind == Kind.CALL:
            reason = self._call(session, header, content(body), now)
        else:
            action = self.publications.subscribe if kind == Kind.SUBSCRIBE else self.publications.unsubscribe
            reason = action(session, header.topic)
            if reason is None:
                self.outbox.answer(peer, Kind.ACK, OK, header.id, to=session.address)
        if reason is not None:
            self._refused(session, kind, reason, now)
            self.outbox.refuse(peer, header.id, REFUSED, reason)

    def _send(self, session: Session, peer: Peer, header: Header, body: Body, now: float) -> None:
        """Do what a SEND says that has waited for its neighbours."""
        reason = self.exchanges.begin(session, header, body, now)
        if reason is not None:
            self._refused(session, header.kind, reason, now)
            self.outbox.refuse(peer, header.id, REFUSED, reason)

    def _run(self, session: Session, peer: Peer, header: Header, body: Body, now: float) -> None:
        """Take a run whole, or else the messages that it stands for."""
        if len(body) > BATCH_BODY_LIMIT:
            raise PeerViolation(f"a run of {len(body)} bytes, at most {BATCH_BODY_LIMIT}")
        bodies = decode_run(content(body))
        ahead = msgspec.structs.replace(header, sender=header.sender or session.address)
        if not self.runs.begin(session, ahead, bodies, body, now):
            self._spent += len(bodies)
            for one, inner in members(header, bodies):
                self._act(session, peer, one, inner, now)

    def _is_settled(self, session: Session, header: Header) -> bool:
        """Answer what is repeated and was handled with its run; runs that may hold what is repeated are taken apart."""
        if header.kind == _SEND and self.runs.is_settled(session, header.id):
            self.outbox.counters.repeated += 1
            self.outbox.answer(session.routes[Door.DATA], Kind.ACK, OK, header.id, to=session.address)
            return True
        if session.runs:
            self.runs.split_asked(session)
        return False

    def _refused(self, session: Session, kind: int, reason: str, now: float) -> None:
        self.outbox.record("refused", session.who, session.origin, Kind(kind).name, reason, now)

    def _call(self, session: Session, header: Header, body: bytes, now: float) -> str | None:
        if header.to in KERNEL_SERVICES:
            self._note(now + (header.deadline / 1000.0 if header.deadline else self.bounds.longest))
            return self.calls.begin(session, header, body, now)
        if header.to != "bus":
            return f'cannot call "{header.to}": there is no such service'
        return self.inquiries.answer(session, header.id, body, now)

    def _hello_from(self, connection: Connection, header: Header, hello: Hello, now: float, *, is_last: bool = False) -> None:
        session = self.admission.hello(connection, header, hello, now, is_last=is_last)
        if connection.parked is not None:
            self._note(now + self.bounds.enroll_patience)
        if session is not None and connection.peer.door == Door.DATA:
            self.runs.split_held(session)
            session.takes_runs, session.takes_spans = hello.runs, hello.spans
            session.receives = hello.receives
            self.exchanges.attach(session, hello.credit, now)
            if session.service and session.service in self.exchanges.waiting:
                self.exchanges.rename(session.service, now)

    # how sessions end

    def _end(self, session: Session, now: float, reason: str, *, has_left: bool = False) -> None:
        """End a session for good; ``has_left``: at its own wish."""
        self.admission.remove(session, now)
        self._note(now + self.bounds.hello_timeout)
        self.publications.remove(session)
        self.calls.abandon(session)
        self.runs.abandon(session)
        self.exchanges.abandon(session, now)
        self.runs.split_held(session)
        is_death = self.roster.is_known and not self.roster.lives(session.pid, session.incarnation)
        is_failed = session.pid > 0 and (has_left or is_death)  # it was there, had them in its hands, and went
        self.exchanges.release(session, now, f"the receiver's session ended: {reason}", is_failed=is_failed)

    def _cut_stalled(self, now: float) -> None:
        """Tell subscribers that take nothing what they have lost, and cut them."""
        stalled, self.deliveries.stalled = self.deliveries.stalled, []
        for session in stalled:
            peer = session.routes[Door.DATA]
            self.outbox.transmit(peer, Header(VERSION, Kind.LOST, b"", "bus"), encode_body(session.lost))
            why = f"{session.origin} lost {session.lost} publications and took none for {self.bounds.stall_patience:g} s"
            session.lost, session.stalled_since = 0, None
            self.outbox.cut(peer, why, now, session.who)
            self.admission.drop(peer, now)
            self._note(now + self.bounds.linger)

    def _expel(self, session: Session, now: float, reason: str) -> None:
        """End a session whose process ended, and say so."""
        for peer in session.routes.values():
            self.outbox.transmit(peer, Header(VERSION, Kind.BYE, b"", "bus", session.address), encode_body({"message": reason}))
        self._end(session, now, reason)

    def _vanished(self, event: Vanished, now: float) -> None:
        self.outbox.counters.vanished += 1
        door = event.peer.door
        while event.is_gone and (rest := self.rests.get(door)) is not None and rest.connection.peer == event.peer:
            self._resume(door, now)  # it said this before it went
        if event.peer not in self.admission.connections:
            return
        session = self.admission.connections[event.peer].session
        if event.is_slow and session is not None and session.is_paused:
            return  # a suspended process reads nothing, and nobody is cut for that
        if not event.is_gone:
            self.outbox.cut(event.peer, "it does not read what it asked for", now, self.admission.connections[event.peer].who)
        self.admission.drop(event.peer, now)
        self._note(now + self.bounds.linger)
        if event.is_dead and session is not None and not session.routes and not session.pid:  # of a process the kernel knows more
            self._end(session, now, "its program ended")

    def _keys_changed(self, keys: Mapping[str, Grant], now: float) -> None:
        """Cut whoever a key let in that is revoked, or that may do something else now."""
        self.access.keys = keys
        for connection in [one for one in self.admission.connections.values() if one.who.is_remote]:
            standing, session = self.access.standing(connection.who), connection.session
            if standing is None or (session is not None and not self.admission.is_owner(session, connection.who, standing)):
                self._revoke(connection, standing is None, now)
        for session in [one for one in self.admission.sessions.values() if one.who.is_remote and not one.routes]:
            standing = self.access.standing(session.who)
            if standing is None or not self.admission.is_owner(session, session.who, standing):
                self._end(session, now, "its key was revoked")

    def _revoke(self, connection: Connection, is_gone: bool, now: float) -> None:
        if connection.is_over:
            return  # with its session's other connection
        reason = f'key "{connection.who.key}" ' + ("was revoked" if is_gone else "may do something else now")
        session = connection.session
        for peer in [connection.peer] if session is None else list(session.routes.values()):
            if is_gone:
                address = "" if session is None else session.address
                self.outbox.transmit(peer, Header(VERSION, Kind.BYE, b"", "bus", address), encode_body({"message": reason}))
            self.outbox.cut(peer, reason, now, connection.who)
            self.admission.drop(peer, now)
        if session is not None:
            self._end(session, now, reason)

    # what the kernel says

    def _linked(self, event: LinkReceived, now: float) -> None:
        message = event.message
        if event.epoch < self._epoch:
            self.outbox.audit(f"dropped a {type(message).__name__} of the kernel's epoch {event.epoch}: the newest is {self._epoch}", now)
            return
        self._epoch = event.epoch
        if isinstance(message, link.Reply):
            self.calls.reply(message, now)
        elif isinstance(message, link.Event):
            self.publications.tell(message, now)
            if self.deliveries.stalled:
                self._cut_stalled(now)
        elif isinstance(message, link.Enrolled):
            old = self.roster.get(message.pid)
            self.roster.enroll(
                Entry(
                    message.pid,
                    message.incarnation,
                    message.name,
                    message.uid,
                    message.secret_digest,
                    message.group,
                    message.parent,
                    message.kind,
                )
            )
            if old is not None and old.incarnation != message.incarnation:
                self._expel_absent(self.admission.by_address.get(str(message.pid), ()), now)
                if str(message.pid) in self.exchanges.waiting:
                    self.exchanges.want(str(message.pid))
            self._unpark(now)
        elif isinstance(message, link.Expected):
            self.roster.enroll(Entry(message.pid, 0, message.name, -1, b"", message.group, message.parent, message.kind))
            self._expel_absent(self.admission.by_address.get(str(message.pid), ()), now)
        elif isinstance(message, link.Discharged):
            if self.roster.discharge(message.pid, message.incarnation, returns=message.returns):
                self._expel_absent(self.admission.by_address.get(str(message.pid), ()), now)
                if not message.returns:
                    self.exchanges.discharge(str(message.pid), f"process {message.pid} ended", now)
        elif isinstance(message, link.Paused):
            self._pause(message, now)
        elif isinstance(message, link.KernelHello):
            self.roster.begin()
        else:
            self._roster_sent(now)

    def _pause(self, message: link.Paused, now: float) -> None:
        for session in self.admission.by_address.get(str(message.pid), ()):
            session.is_paused = message.is_paused
            if not message.is_paused:
                self.attempts.resume(session, now)

    def _roster_sent(self, now: float) -> None:
        self.roster.finish()
        self._expel_absent(self.admission.sessions.values(), now)
        self._unpark(now)
        for address in list(self.exchanges.waiting):
            if not is_pid(address) and address not in self.admission.by_address:
                self.exchanges.rename(address, now)
            elif not self.addresses.may_come(address):
                self.exchanges.discharge(address, f"process {address} does not live", now)
            else:
                self.exchanges.want(address)

    def _unpark(self, now: float) -> None:
        """Look again at hellos that wait: for a process that lives now, or for longer than they may once the roster is known."""
        for connection, parked in [(one, one.parked) for one in self.admission.parked.values() if one.parked is not None]:
            header, hello = parked
            is_last = self.roster.is_known and connection.parked_since + self.bounds.enroll_patience <= now
            if is_last or self.roster.lives(hello.pid, hello.incarnation):
                self._hello_from(connection, header, hello, now, is_last=is_last)
            elif self.roster.is_known:
                self._note(connection.parked_since + self.bounds.enroll_patience)

    def _expel_absent(self, sessions: Iterable[Session], now: float) -> None:
        for session in list(sessions):
            if session.pid and not self.roster.lives(session.pid, session.incarnation):
                self._expel(session, now, f"process {session.pid}.{session.incarnation} ended")

    # what time brings

    def _note(self, moment: float) -> None:
        self.outbox.note(moment)

    def _tick(self, now: float) -> None:
        if self.outbox.soonest is not None and now >= max(self.outbox.soonest, self._swept + self.bounds.sweep_interval):
            self._sweep(now)
        if self._next_ping is not None and now >= self._next_ping:
            self._ping(now)
        self.outbox.auditor.flush(now)

    def _sweep(self, now: float) -> None:
        self._swept, self.outbox.soonest = now, None
        self._unpark(now)
        self._reunite(now)
        bounds = self.bounds
        for session in list(self.admission.sessions.values()):
            if session.gone_since is None:
                continue
            if session.gone_since + bounds.linger <= now:
                self._end(session, now, f"it was away for {bounds.linger:g} s")
            else:
                self._note(session.gone_since + bounds.linger)
        for connection in list(self.admission.connections.values()):
            if connection.session is not None or connection.parked is not None:
                continue
            if connection.since + bounds.hello_timeout <= now:
                self.outbox.cut(connection.peer, f"{connection.who} had no session after {bounds.hello_timeout:g} s", now, connection.who)
                self.admission.drop(connection.peer, now)
            else:
                self._note(connection.since + bounds.hello_timeout)
        deadline = self.calls.sweep(now)
        if deadline is not None:
            self._note(deadline)
        self.runs.sweep(now)
        self.attempts.sweep(now)

    def _reunite(self, now: float) -> None:
        """Refuse what waits for clients and services that have not come back in time."""
        if self._reunion_end is None:
            return
        if now < self._reunion_end or not self.roster.is_known:
            self._note(max(self._reunion_end, now + self.bounds.sweep_interval))
            return
        self.addresses.is_reunion, self._reunion_end = False, None
        for address in list(self.exchanges.waiting):
            if not is_pid(address) and address not in self.admission.by_address:
                self.exchanges.rename(address, now)

    def _ping(self, now: float) -> None:
        """Send a PING to some connections: ROUTER tells of a gone one only when it is written to."""
        if not self._ring:
            self._ring = list(self.admission.connections)
        for peer in self._ring[-PING_SLICE:]:
            if peer in self.admission.connections:
                self.outbox.transmit(peer, Header(VERSION, Kind.PING, b"", "bus"))
        del self._ring[-PING_SLICE:]
        slices = 1 + len(self.admission.connections) // PING_SLICE
        self._next_ping = now + self.bounds.ping_interval / slices if self.admission.connections else None

    # what people and tests look at

    def status(self) -> dict[str, object]:
        """Give the counters, and how much there is of everything."""
        return inspection.status(self)

    def check(self) -> None:
        """Raise InternalError when what must always hold does not."""
        for rule, holds in inspection.rules(self):
            if not holds:
                raise InternalError(f"the bus broke its own rule: {rule}")
