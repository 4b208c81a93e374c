"""A receiver's queue: what is handed to its connection, and when.

1. Nothing is handed out beyond the receiver's credit, in messages (its own grant) and in bytes: what it does not take waits here, where it is bounded.
2. What is over or has expired is dropped before it is handed out, never after.
3. What an earlier incarnation or session went without answering is handed out alone, one after the other, each when the one before it is answered or dead: so the one message that kills its receiver is told from
   those that were only in its hands at the time.
4. A publication that finds no room is dropped and counted, and the subscriber is told with the next one that it gets. A client that goes on losing them and takes
   none is told, and cut: it comes back when it can.
"""

from dadms_ipc.codec import encode_body
from dadms_ipc.envelope import VERSION, Door, Flag, Header, Kind
from dadmsd.bus.core.events import Body, Peer
from dadmsd.bus.core.outbox import Outbox
from dadmsd.bus.core.state import Bounds, Delivery, Exchange, Session

PURGE_INTERVAL = (
    0.1  # seconds between two searches of a full queue: it has thousands of entries, and each message that finds it full would search it
)
CREDIT_PART = 4  # of the bytes in flight: a receiver that has taken a fourth of them gives credit back
# Names of this module's own: a member of an enumeration is looked up in its class at each use.
_SEND = int(Kind.SEND)
_DATA = Door.DATA
CREDIT_LIMIT = 100_000  # deliveries: a receiver that grants more gains nothing


def remaining(deadline: float | None, now: float) -> int:
    """Give a header's deadline: the milliseconds that are left, at least one; 0 when there is none."""
    return 0 if deadline is None else max(1, int((deadline - now) * 1000.0))


class Deliveries:
    """The queues of all sessions."""

    def __init__(self, outbox: Outbox, bounds: Bounds) -> None:
        self._outbox = outbox
        self._bounds = bounds
        self.stalled: list[Session] = []  # clients that are to be cut: they take nothing. A process may be suspended, and is not

    def has_room(self, session: Session, size: int, now: float) -> bool:
        """Tell whether a message of this size may wait for a receiver; what is over makes room first."""
        if self._fits(session, size):
            return True
        if now - session.purged < PURGE_INTERVAL:
            return False
        session.purged = now
        kept = []
        for one in session.queue:
            if not _is_stale(one, now):
                kept.append(one)
            elif one.is_charged:
                _give_back(session, one)
        if len(kept) == len(session.queue):
            return False
        self._outbox.counters.expired += sum(1 for one in session.queue if one.exchange is None and _is_stale(one, now))
        session.queue.refill(kept)
        session.queue_bytes = sum(one.size for one in kept)
        return self._fits(session, size)

    def _fits(self, session: Session, size: int) -> bool:
        if not session.queue:
            return self._bounds.queue > 0
        return len(session.queue) < self._bounds.queue and session.queue_bytes + size <= self._bounds.queue_bytes

    def enqueue(self, session: Session, delivery: Delivery, now: float) -> None:
        """Queue a message and hand out what may go."""
        if delivery.exchange is not None:
            delivery.exchange.holder = session
        session.queue.append(delivery)
        session.queue_bytes += delivery.size
        self.pump(session, now)

    def publish(self, session: Session, delivery: Delivery, now: float) -> None:
        """Queue a publication, or count it as lost."""
        must_wait = bool(session.queue) or session.credit <= 0 or _DATA not in session.routes
        if not self.has_room(session, delivery.size, now) or (must_wait and session.tab.refusal_of_bytes(delivery.size) is not None):
            session.lost += 1
            self._outbox.counters.dropped += 1
            if session.stalled_since is None:
                session.stalled_since = now
            elif now - session.stalled_since >= self._bounds.stall_patience and not session.pid and _DATA in session.routes:
                self.stalled.append(session)
            return
        self._outbox.counters.fanned_out += 1
        if must_wait:  # one that goes out at once costs nobody anything
            delivery.is_charged = True
            session.tab.take(delivery.size)
        self.enqueue(session, delivery, now)

    def empty(self, session: Session) -> None:
        """Drop what waits for a session that ended; its messages have found another home."""
        for delivery in session.queue:
            if delivery.is_charged:
                _give_back(session, delivery)
        session.queue.clear()
        session.queue_bytes = 0

    def grant(self, session: Session, count: int, now: float) -> None:
        """Take a receiver's credit: so many of what it was handed are off its hands."""
        session.credit = min(CREDIT_LIMIT, session.credit + count)
        session.stalled_since = None
        for _ in range(min(count, len(session.flight))):
            session.flight_bytes -= session.flight.popleft()
        self.pump(session, now)

    def takes_at_once(self, session: Session, count: int, size: int) -> bool:
        """Tell whether so many messages can be handed to a receiver now, all of them, before anything else."""
        return (
            _DATA in session.routes
            and not session.queue
            and session.credit >= count
            and session.suspect is None
            and not session.is_spilling
            and not session.is_paused
            and (not session.flight or session.flight_bytes + size <= self._bounds.flight_bytes)
        )

    def hand_over_at_once(self, session: Session, exchange: Exchange, now: float) -> bool:
        """Hand out a message for the first time without queueing it, which comes to the same and costs less; False when that is not possible."""
        if not self.takes_at_once(session, 1, exchange.size) or exchange.is_suspect or exchange.was_delivered or exchange.deadline <= now:
            return False
        header, size = exchange.header, exchange.size
        exchange.holder = session
        exchange.is_delivered = exchange.was_delivered = True
        exchange.is_resting = False
        session.holds[header.id] = exchange
        if header.kind == _SEND:
            exchange.until = now + self._bounds.attempt_timeout
            self._outbox.note(exchange.until)
        session.credit -= 1
        session.flight.append(size)
        session.flight_bytes += size
        self._say(session, header, exchange.body, exchange.deadline, now)
        return True

    def _say(self, session: Session, header: Header, body: Body, deadline: float, now: float) -> None:
        left = remaining(deadline, now)
        ahead = Header(VERSION, header.kind, header.id, header.sender, header.to, header.topic, b"", left, header.flags)
        peer = session.routes[_DATA]
        self._outbox.transmit(peer, ahead, body)
        if session.lost:
            self._outbox.transmit(peer, Header(VERSION, Kind.LOST, b"", "bus"), encode_body(session.lost))
            session.lost = 0

    def hand_over_run(self, session: Session, header: Header, body: Body, sizes: list[int], deadline: float, now: float) -> None:
        """Hand out a run that ``takes_at_once`` let through."""
        session.credit -= len(sizes)
        session.flight.extend(sizes)
        session.flight_bytes += sum(sizes)
        self._say(session, header, body, deadline, now)

    def restart(self, session: Session, credit: int) -> None:
        """Note that the receiver's connection is new: nothing is in flight to it."""
        session.credit = min(CREDIT_LIMIT, credit)
        session.suspect = None
        session.stalled_since = None
        session.flight.clear()
        session.flight_bytes = 0

    def pump(self, session: Session, now: float) -> None:
        """Hand out what credit and bytes allow."""
        peer = session.routes.get(_DATA)
        if peer is None:
            return
        queue, limit, counters = session.queue, self._bounds.flight_bytes, self._outbox.counters
        while session.credit > 0 and session.suspect is None and (delivery := queue.head()) is not None:
            if _is_stale(delivery, now):
                queue.popleft()
                session.queue_bytes -= delivery.size
                if delivery.is_charged:
                    _give_back(session, delivery)
                counters.expired += delivery.exchange is None  # an exchange is counted when it is swept
                continue
            if session.flight_bytes + delivery.size > limit and session.flight_bytes >= limit // CREDIT_PART:
                break  # else the receiver has taken too little to give credit back, and would wait for this one for ever
            head, flags, exchange = delivery.header, delivery.header.flags, delivery.exchange
            if exchange is not None:
                if exchange.is_suspect:
                    if session.holds:
                        break
                    session.suspect = exchange
                session.holds[head.id] = exchange
                exchange.is_delivered = True
                exchange.is_resting = False
                if head.kind == _SEND:
                    exchange.until = now + self._bounds.attempt_timeout
                    self._outbox.note(exchange.until)
                if exchange.was_delivered:
                    flags |= Flag.RETRY
                    counters.redelivered += 1
                exchange.was_delivered = True
            queue.popleft()
            session.queue_bytes -= delivery.size
            if delivery.is_charged:
                _give_back(session, delivery)
            self._hand_over(session, peer, delivery, flags, now)

    def repeat(self, session: Session, exchange: Exchange, now: float) -> bool:
        """Hand out once more what its receiver holds and has not answered; False while there is no credit or no connection."""
        peer = session.routes.get(_DATA)
        if peer is None or session.credit <= 0:
            return False
        exchange.is_resting = False
        exchange.until = now + self._bounds.attempt_timeout
        self._outbox.counters.retried += 1
        delivery = Delivery(exchange.header, exchange.body, exchange.size, exchange.deadline, exchange)
        self._hand_over(session, peer, delivery, exchange.header.flags | Flag.RETRY, now)
        return True

    def _hand_over(self, session: Session, peer: Peer, delivery: Delivery, flags: int, now: float) -> None:
        session.credit -= 1
        session.flight.append(delivery.size)
        session.flight_bytes += delivery.size
        head, body, deadline = delivery.header, delivery.body, delivery.deadline
        if delivery.exchange is not None:  # it may have gone to disk meanwhile
            body, deadline = delivery.exchange.body, delivery.exchange.deadline
        ahead = Header(VERSION, head.kind, head.id, head.sender, head.to, head.topic, b"", remaining(deadline, now), flags)
        self._outbox.transmit(peer, ahead, body)
        if session.lost:
            self._outbox.transmit(peer, Header(VERSION, Kind.LOST, b"", "bus"), encode_body(session.lost))
            session.lost = 0


def _give_back(session: Session, delivery: Delivery) -> None:
    delivery.is_charged = False
    session.tab.take(-delivery.size)


def _is_stale(delivery: Delivery, now: float) -> bool:
    if delivery.exchange is not None:  # its deadline is another one when it is on disk
        return delivery.exchange.is_over or delivery.exchange.deadline <= now
    return delivery.deadline is not None and delivery.deadline <= now
