"""SEND and REQUEST from the sender's first word to the receiver's last.

1. An exchange is open from the sender's frame until the receiver's answer has been handed to the sender, its deadline, or the end of one of the two.
2. A repeated id that is open changes nothing; one that the receiver has acknowledged is answered from memory; any other is delivered again, with RETRY,
   and the receiver, who remembers, repeats its answer.
3. A process that lives but has no connection just now (the bus or the process reconnects) has messages waiting; any other absent receiver is a refusal.
4. Only the receiver may answer, and only with the kind that was asked for.
"""

from collections import OrderedDict, deque
from collections.abc import Callable

from dadms_ipc.envelope import OK, REFUSED, VERSION, Door, Header, Kind
from dadmsd.bus.core.deliveries import Deliveries
from dadmsd.bus.core.events import Body, ToKernel
from dadmsd.bus.core.outbox import Outbox
from dadmsd.bus.core.state import Bounds, Delivery, Exchange, Session
from dadmsd.kernel import link

REMEMBERED_BODY = 1024  # bytes of an acknowledgement that are worth remembering

_ANSWER = {Kind.SEND: Kind.ACK, Kind.REQUEST: Kind.RESPONSE}


def receiver_of(address: str) -> str:
    """Give the address whose session receives for an address: "1001/17" is a thread of process 1001."""
    head = address.partition("/")[0]
    return head if head.isdigit() else address


class Exchanges:
    """All open exchanges, by the id of what was asked."""

    def __init__(
        self,
        outbox: Outbox,
        bounds: Bounds,
        deliveries: Deliveries,
        *,
        find: Callable[[str], Session | None],  # the session that receives for an address
        may_come: Callable[[str], bool],  # whether an address without a session may have one soon
    ) -> None:
        self._outbox = outbox
        self._bounds = bounds
        self._deliveries = deliveries
        self._find = find
        self._may_come = may_come
        self.open: dict[bytes, Exchange] = {}
        self.waiting: dict[str, deque[Exchange]] = {}  # for receivers that have no session just now
        self.remembered: dict[str, OrderedDict[bytes, tuple[str, Body]]] = {}  # receiver -> acknowledged id -> how

    def begin(self, sender: Session, header: Header, body: Body, now: float) -> str | None:
        """Take a SEND or REQUEST; gives the reason when it is refused."""
        counters, bounds, size = self._outbox.counters, self._bounds, len(body)
        if header.id in self.open:
            counters.repeated += 1
            return None
        address = receiver_of(header.to)
        remembered = self.remembered.get(address)
        known = remembered.get(header.id) if remembered is not None else None
        if known is not None:
            counters.repeated += 1
            self._reply(sender, _ANSWER[Kind(header.kind)], known[0], header.id, known[1], address)
            return None
        receiver = self._find(address)
        if receiver is None and not self._may_come(address):
            return f'cannot reach "{header.to}": nobody of that address is connected'
        if len(sender.asked) >= bounds.open:
            return f'cannot send to "{header.to}": {bounds.open} messages of "{sender.address}" wait for their answers'
        if sender.asked and sender.asked_bytes + size > bounds.open_bytes:
            return f'cannot send {size} bytes to "{header.to}": {sender.asked_bytes} bytes of "{sender.address}" wait for their answers, at most {bounds.open_bytes} may'
        if receiver is not None and not self._deliveries.has_room(receiver, size, now):
            return f'cannot send to "{header.to}": {len(receiver.queue)} messages wait for it, at most {bounds.queue} may'
        if receiver is None and len(self.waiting.get(address, ())) >= bounds.queue:
            return f'cannot send to "{header.to}": {bounds.queue} messages wait for it to come back'
        longest = now + bounds.longest
        deadline = min(longest, now + header.deadline / 1000.0) if header.deadline else longest
        exchange = Exchange(header, body, size, sender, address, deadline)
        self.open[header.id] = exchange
        sender.asked[header.id] = exchange
        sender.asked_bytes += size
        if header.kind == Kind.SEND:
            counters.sends += 1
        else:
            counters.requests += 1
        self._place(exchange, receiver, now)
        return None

    def _place(self, exchange: Exchange, receiver: Session | None, now: float) -> None:
        exchange.is_delivered = False
        if receiver is None:
            exchange.holder = None
            if exchange.address not in self.waiting:
                self.want(exchange.address)
            self.waiting.setdefault(exchange.address, deque()).append(exchange)
        else:
            self._deliveries.enqueue(receiver, Delivery(exchange.header, exchange.body, exchange.size, exchange.deadline, exchange), now)

    def want(self, address: str) -> None:
        """Have the kernel tell a process that somebody waits for it: it may have had no reason to connect yet."""
        if address.isdecimal():
            self._outbox.effects.append(ToKernel(link.Wanted(int(address))))

    def answer(self, receiver: Session, header: Header, body: Body) -> str | None:
        """Take an ACK or RESPONSE; gives the reason when it breaks the protocol."""
        counters = self._outbox.counters
        exchange = self.open.get(header.correlation)
        if exchange is None:
            counters.answers_late += 1
            return None
        if exchange.address != receiver.address or not exchange.is_delivered:
            return f'"{receiver.address}" answers a message that was not given to it'
        kind = _ANSWER[Kind(exchange.header.kind)]
        if header.kind != kind:
            return f"a {Kind(header.kind).name} for what wants {kind.name}"
        if not header.topic:
            return "an answer without a status"
        if header.topic == OK:
            counters.handled += 1
        else:
            counters.declined += 1
        if kind == Kind.ACK and len(body) <= REMEMBERED_BODY:
            remembered = self.remembered.setdefault(receiver.address, OrderedDict())
            remembered[header.correlation] = (header.topic, body)
            if len(remembered) > self._bounds.remembered:
                remembered.popitem(last=False)
        self._close(exchange)
        self._reply(exchange.sender, kind, header.topic, header.correlation, body, header.sender or receiver.address)
        return None

    def _reply(self, sender: Session, kind: Kind, status: str, correlation: bytes, body: Body, origin: str) -> None:
        peer = sender.routes.get(Door.DATA)
        if peer is not None:  # else: it asks again when it is back
            self._outbox.transmit(peer, Header(VERSION, kind, b"", origin, sender.address, status, correlation), body)

    def _refuse(self, exchange: Exchange, reason: str) -> None:
        self._close(exchange)
        self._outbox.counters.abandoned += 1
        peer = exchange.sender.routes.get(Door.DATA)
        if peer is not None:
            self._outbox.refuse(peer, exchange.header.id, REFUSED, f'cannot send to "{exchange.header.to}": {reason}')

    def _close(self, exchange: Exchange) -> None:
        """End an exchange; a delivery of it that is still queued is skipped."""
        identifier = exchange.header.id
        exchange.is_over = True
        del self.open[identifier]
        del exchange.sender.asked[identifier]
        exchange.sender.asked_bytes -= exchange.size
        if exchange.holder is not None:
            exchange.holder.holds.pop(identifier, None)

    def attach(self, receiver: Session, credit: int, now: float) -> None:
        """Give a receiver with a new connection what it has not answered, in the old order, and what waited for it."""
        self._deliveries.restart(receiver, credit)
        again = list(receiver.holds.values())
        receiver.holds.clear()
        for exchange in reversed(again):
            exchange.is_delivered = False
            receiver.queue.appendleft(Delivery(exchange.header, exchange.body, exchange.size, exchange.deadline, exchange))
            receiver.queue_bytes += exchange.size
        for exchange in self.waiting.pop(receiver.address, ()):
            if not exchange.is_over:
                self._place(exchange, receiver, now)
        self._deliveries.pump(receiver, now)

    def release(self, receiver: Session, now: float, reason: str) -> None:
        """Find another home for what an ended session received: another session of its process, or the process when it comes back."""
        queued = [one.exchange for one in receiver.queue if one.exchange is not None and not one.exchange.is_over]
        mine = [*receiver.holds.values(), *queued]
        receiver.holds.clear()
        receiver.queue.clear()
        receiver.queue_bytes = 0
        other = self._find(receiver.address)
        if other is None and not self._may_come(receiver.address):
            for exchange in mine:
                self._refuse(exchange, reason)
            self.discharge(receiver.address, reason)
            return
        later = self.waiting.pop(receiver.address, ())  # came while the receiver was away: behind what it had before
        for exchange in mine:
            self._place(exchange, other, now)
        for exchange in later:
            if not exchange.is_over:
                self._place(exchange, other, now)

    def discharge(self, address: str, reason: str) -> None:
        """Refuse what waits for a receiver that will not come back, and forget what it acknowledged."""
        self.remembered.pop(address, None)
        for exchange in self.waiting.pop(address, ()):
            if not exchange.is_over:
                self._refuse(exchange, reason)

    def abandon(self, sender: Session) -> None:
        """Drop what an ended session asked for."""
        for exchange in list(sender.asked.values()):
            self._outbox.counters.abandoned += 1
            self._close(exchange)

    def sweep(self, now: float) -> float | None:
        """Drop what has expired; gives the next deadline."""
        soonest: float | None = None
        for exchange in list(self.open.values()):
            if exchange.deadline > now:
                soonest = exchange.deadline if soonest is None else min(soonest, exchange.deadline)
                continue
            self._close(exchange)
            if exchange.is_delivered:
                self._outbox.counters.unanswered += 1
            else:
                self._outbox.counters.expired += 1
        for address, waiting in list(self.waiting.items()):
            kept = deque(one for one in waiting if not one.is_over)
            if kept:
                self.waiting[address] = kept
            else:
                del self.waiting[address]
        return soonest
