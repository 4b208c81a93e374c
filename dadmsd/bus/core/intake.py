"""What clients send: every frame is read here, and what it says goes to the machine that does it.

1. What a client may say, at which door and with which role, is a table (``DOORS`` of the protocol, ``ROLES`` here); whatever is not in it is refused with the reason.
2. Nothing that a client sends raises: garbage is counted, answered, and a connection that sends only garbage is cut.
3. A large batch is taken in slices. What is left of it rests; the shell serves others before it says ``Resumed``, and takes nothing else from that door meanwhile.
"""

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
from dadms_ipc.errors import PeerViolation
from dadmsd.bus.core.access import LEVELS
from dadmsd.bus.core.clockwork import Clockwork
from dadmsd.bus.core.deliveries import CREDIT_LIMIT
from dadmsd.bus.core.endings import Endings
from dadmsd.bus.core.events import Body, Peer, Received, content
from dadmsd.bus.core.hellos import Hellos
from dadmsd.bus.core.joints import Joints
from dadmsd.bus.core.machines import Machines
from dadmsd.bus.core.offenders import Offenders
from dadmsd.bus.core.runs import answers, check_end, members
from dadmsd.bus.core.state import Connection, Session

BATCH_BODY_LIMIT = 1024 * 1024  # bytes: four times what our own senders put into a batch
BATCH_SLICE = 128  # messages of a batch that are taken together: about a millisecond, in which nobody else is served

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


class Intake:
    """Reads what clients say, and has it done."""

    def __init__(self, machines: Machines, endings: Endings, hellos: Hellos, clockwork: Clockwork, bus: bytes) -> None:
        self._outbox, self._bounds, self._admission, self._deliveries = (
            machines.outbox,
            machines.bounds,
            machines.admission,
            machines.deliveries,
        )
        self._exchanges, self._runs, self._publications = machines.exchanges, machines.runs, machines.publications
        self._broadcasts, self._calls, self._inquiries = machines.broadcasts, machines.calls, machines.inquiries
        self._endings, self._hellos, self._clockwork = endings, hellos, clockwork
        self._invite = encode_body(Invite(bus, [VERSION]))
        self.joints = Joints(machines.runs, self._send, self._take_apart)
        self._offenders = Offenders(machines.bounds)
        self.gathers = False  # more follows at once: SENDs wait for their neighbours
        self.rests: dict[Door, Rest] = {}  # of batches
        self._spent = 0  # messages of the slice that is being taken; a run that passes whole is one

    def take(self, event: Received, now: float) -> None:
        """Take a multipart message."""
        while event.peer.door in self.rests:  # what came before comes first
            self.resume(event.peer.door, now)
        connection = self._admission.connection(event, now)
        if connection is None:
            return
        if connection.session is None:
            self._clockwork.connected(now)
            self._outbox.note(connection.since + self._bounds.hello_timeout)
        frames = event.frames
        if len(frames) == 1 and not len(frames[0]):  # PROBE_ROUTER's empty message
            self._outbox.transmit(connection.peer, Header(VERSION, Kind.INVITE, b"", "bus"), self._invite)
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

    def resume(self, door: Door, now: float) -> None:
        """Go on with what is left of a batch."""
        rest = self.rests.pop(door, None)
        if rest is not None and not rest.connection.is_over:
            self._take(rest, now)

    def finish(self, peer: Peer, now: float) -> None:
        """Take all that is left of what a connection has said before it went."""
        while (rest := self.rests.get(peer.door)) is not None and rest.connection.peer == peer:
            self.resume(peer.door, now)

    def _violated(self, connection: Connection, header: Header | None, reason: str, now: float) -> None:
        if connection.session is not None:
            self.joints.release(connection.session, now)
        self._outbox.counters.violations += 1
        connection.violations += 1
        self._outbox.refuse(connection.peer, header.id if header is not None else b"", VIOLATION, reason)
        if connection.violations >= self._offenders.most(connection.who, now):
            self._offenders.note(connection.who, now)
            origin = connection.session.origin if connection.session is not None else str(connection.who)
            why = f"{origin} sent {connection.violations} broken messages, the last one: {reason}"
            self._outbox.cut(connection.peer, why, now, connection.who, rest=self._bounds.rest)
            self._admission.drop(connection.peer, now)
            self._outbox.note(now + self._bounds.linger)
        else:
            self._broken(connection, header, reason, now)

    def _broken(self, connection: Connection, header: Header | None, reason: str, now: float) -> None:
        """Write down what was no message, whoever said it."""
        origin = connection.session.origin if connection.session is not None else str(connection.who)
        what = Kind(header.kind).name if header is not None and header.kind in DOORS else "message"
        self._outbox.record("refused", connection.who, origin, what, reason, now)

    def _envelope(self, connection: Connection, header: Header, body: Body, now: float) -> None:
        counters, peer, kind, session = self._outbox.counters, connection.peer, header.kind, connection.session
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
            why = f"cannot read version {header.version} of the protocol: this bus speaks {VERSION}"
            self._broken(connection, header, why, now)
            self._outbox.refuse(peer, header.id, WRONG_VERSION, why)
            return
        doors = DOORS.get(kind)
        if doors is None:
            raise PeerViolation(f"a client does not send messages of kind {kind}")
        if peer.door not in doors:
            raise PeerViolation(f"a {Kind(kind).name} at the {peer.door.name.lower()} door")
        if kind == Kind.HELLO:
            self._hellos.hello(connection, header, decode_body(content(body), Hello), now)
            return
        if session is None:
            if kind not in (Kind.BYE, Kind.CREDIT):  # who says goodbye twice wants no answer
                self._outbox.refuse(peer, header.id or header.correlation, NO_SESSION, "say hello first")
            return
        if kind in NAMED and (len(header.id) != ID_BYTES or header.id[:CLIENT_BYTES] != session.client):
            raise PeerViolation("a message id is the client id of its session and a sequence of 8 bytes")
        if header.sender and header.sender != session.address and not header.sender.startswith(f"{session.address}/"):
            counters.identity_refused += 1
            self._refused(session, kind, f'it spoke as "{header.sender}"', now)
            self._outbox.refuse(peer, header.id, REFUSED, f'cannot speak as "{header.sender}": this session is "{session.address}"')
            return
        if kind == Kind.BYE:
            self._admission.leave(session, connection, now)
            if not session.routes:  # the other door may still have answers on their way
                self._endings.end(session, now, "it said goodbye", has_left=True)
            return
        if LEVELS[session.role] < LEVELS[ROLES[Kind(kind)]]:
            self._refused(session, kind, f"{Kind(kind).name} needs the role {ROLES[Kind(kind)]}", now)
            self._outbox.refuse(
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
            if not self._runs.answer(session, header, span, body):
                for one, inner in answers(header, span):
                    self._act(session, peer, one, inner, now)
            return
        if kind in (_SEND, _REQUEST):
            if header.flags & _RETRY and self._is_settled(session, header):
                return
            sender = header.sender or session.address
            if self.gathers and kind == _SEND and self.joints.take(session, peer, header, body, now):
                return
            ahead = Header(VERSION, kind, header.id, sender, header.to, header.topic, b"", header.deadline, header.flags, header.expiry)
            reason = self._exchanges.begin(session, ahead, body, now)
        elif kind in (_ACK, _RESPONSE):
            reason = self._exchanges.answer(session, header, body, now)
            if reason is not None:
                raise PeerViolation(reason)
        elif kind == Kind.CREDIT:
            count = decode_body(content(body), int)
            if not 0 <= count <= CREDIT_LIMIT:
                raise PeerViolation(f"a credit of {count}, at most {CREDIT_LIMIT}")
            self._deliveries.grant(session, count, now)
            reason = None
        elif kind == Kind.PUBLISH:
            reason = self._publications.publish(header, header.sender or session.address, body, now)
            if self._deliveries.stalled:
                self._endings.cut_stalled(now)
        elif kind == Kind.BROADCAST:
            reason = self._broadcasts.begin(session, header, header.sender or session.address, body, now)
        elif kind == Kind.CALL:
            reason = self._call(session, header, content(body), now)
        else:
            action = self._publications.subscribe if kind == Kind.SUBSCRIBE else self._publications.unsubscribe
            reason = action(session, header.topic)
            if reason is None:
                self._outbox.answer(peer, Kind.ACK, OK, header.id, to=session.address)
        if reason is not None:
            self._refused(session, kind, reason, now)
            self._outbox.refuse(peer, header.id, REFUSED, reason)

    def _send(self, session: Session, peer: Peer, header: Header, body: Body, now: float) -> None:
        """Do what a SEND says that has waited for its neighbours."""
        reason = self._exchanges.begin(session, header, body, now)
        if reason is not None:
            self._refused(session, header.kind, reason, now)
            self._outbox.refuse(peer, header.id, REFUSED, reason)

    def _run(self, session: Session, peer: Peer, header: Header, body: Body, now: float) -> None:
        """Take a run whole, or else the messages that it stands for."""
        if len(body) > BATCH_BODY_LIMIT:
            raise PeerViolation(f"a run of {len(body)} bytes, at most {BATCH_BODY_LIMIT}")
        bodies = decode_run(content(body))
        check_end(header.id, len(bodies))
        ahead = msgspec.structs.replace(header, sender=header.sender or session.address)
        if self._runs.begin(session, ahead, bodies, body, now):
            return
        if header.flags & _RETRY:
            self._spent += len(bodies)
            for one, inner in members(header, bodies):
                self._act(session, peer, one, inner, now)
        else:
            self._take_apart(session, peer, ahead, bodies, now)

    def _take_apart(self, session: Session, peer: Peer, run: Header, bodies: list[bytes], now: float) -> None:
        """Take the messages of a run that cannot pass whole one by one. From the first on that finds no room, as none behind it would, the rest is refused together."""
        for place, (one, inner) in enumerate(members(run, bodies)):
            self._spent += 1
            reason = self._exchanges.begin(session, one, inner, now)
            if reason is None:
                continue
            rest = bodies[place:]
            if len(rest) > 1 and (why := self._exchanges.refusal_of_all(session, run.to, min(map(len, rest)), now)) is not None:
                self._refused(session, one.kind, why, now)
                self._outbox.refuse_span(peer, run.id, place, len(rest), why, to=session.address)
                return
            self._refused(session, one.kind, reason, now)
            self._outbox.refuse(peer, one.id, REFUSED, reason)

    def _is_settled(self, session: Session, header: Header) -> bool:
        """Answer what is repeated and was handled with its run; runs that may hold what is repeated are taken apart."""
        if header.kind == _SEND and self._runs.is_settled(session, header.id):
            self._outbox.counters.repeated += 1
            self._outbox.answer(session.routes[Door.DATA], Kind.ACK, OK, header.id, to=session.address)
            return True
        if session.runs:
            self._runs.split_asked(session)
        return False

    def _refused(self, session: Session, kind: int, reason: str, now: float) -> None:
        self._outbox.record("refused", session.who, session.origin, Kind(kind).name, reason, now)

    def _call(self, session: Session, header: Header, body: bytes, now: float) -> str | None:
        if header.to in KERNEL_SERVICES:
            self._outbox.note(now + (header.deadline / 1000.0 if header.deadline else self._bounds.longest))
            return self._calls.begin(session, header, body, now)
        if header.to != "bus":
            return f'cannot call "{header.to}": there is no such service'
        return self._inquiries.answer(session, header.id, body, now)
