"""SEND and REQUEST from the sender's first word to the receiver's last.

1. An exchange is open from the sender's frame until the receiver's answer has been handed to the sender, its deadline, or the end of one of the two. A SEND that
   is on disk (keeping.py) goes on without its sender, who was told, until the receiver's answer, its expiry, or its last attempt (attempts.py).
2. A repeated id that is open changes nothing; one that the receiver has acknowledged is answered from memory; any other is delivered again, with RETRY,
   and the receiver, who remembers, repeats its answer.
3. A process that lives but has no connection just now (the bus or the process reconnects), or that will have another incarnation, has messages waiting: SENDs on
   disk after a moment, REQUESTs in memory. Any other absent receiver is a refusal.
4. Only the receiver may answer, and only with the kind that was asked for.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from dadms_ipc.codec import encode_body, trouble_of
from dadms_ipc.envelope import HOST, OK, REFUSED, STORED, VERSION, Door, Header, Kind
from dadmsd.bus.core import keeping
from dadmsd.bus.core.addresses import Addresses, is_pid
from dadmsd.bus.core.deliveries import Deliveries
from dadmsd.bus.core.disk import Kept, NotKept
from dadmsd.bus.core.events import Body, ToKernel, content
from dadmsd.bus.core.keeping import Keeping
from dadmsd.bus.core.letters import Letters
from dadmsd.bus.core.outbox import Outbox
from dadmsd.bus.core.state import FAILURES_SHOWN, Bounds, Broadcast, Delivery, Exchange, Place, Run, Session
from dadmsd.kernel import link

REMEMBERED_BODY = 1024  # bytes of an acknowledgement that are worth remembering

# Plain numbers: a member of an enumeration is looked up in its class at each use.
_SEND, _ACK = int(Kind.SEND), int(Kind.ACK)
_VERB = {_SEND: "send to", int(Kind.REQUEST): "ask"}  # in a refusal
_ANSWER = {_SEND: _ACK, int(Kind.REQUEST): int(Kind.RESPONSE)}
_DATA = Door.DATA


class Exchanges:
    """All open exchanges, by the id of what was asked."""

    def __init__(
        self, outbox: Outbox, bounds: Bounds, deliveries: Deliveries, addresses: Addresses, kept: Keeping, letters: Letters
    ) -> None:
        self._outbox = outbox
        self._bounds = bounds
        self._deliveries = deliveries
        self._addresses = addresses
        self._keeping = kept
        self._letters = letters
        self.open: dict[bytes, Exchange] = {}
        self.waiting: dict[str, deque[Exchange]] = {}  # for receivers that have no session just now
        self.remembered: dict[str, OrderedDict[bytes, tuple[str, Body]]] = {}  # receiver -> acknowledged id -> how
        self.split_held: Callable[[Session], None] = lambda _session: None  # takes apart the runs in a receiver's hands
        self.patience: dict[str, float] = {}  # receiver -> when what waits for it goes to disk

    def begin(self, sender: Session, header: Header, body: Body, now: float) -> str | None:
        """Take a SEND or REQUEST; gives the reason when it is refused."""
        counters, size = self._outbox.counters, len(body)
        identifier, stored = header.id, self._keeping
        known = self.open.get(identifier)
        if known is not None or identifier in stored.rows or identifier in stored.settled:
            counters.repeated += 1
            if (known is None or known.place is Place.DISK) and (status := self._keeping.known(header.id)):
                self._reply(sender, _ACK, status, header.id, b"", "bus")
            return None
        address, reason = self._addresses.resolve(header.to)
        if reason:
            return f'cannot reach "{header.to}": {reason}'
        remembered = self.remembered.get(address)
        answer = remembered.get(header.id) if remembered is not None else None
        if answer is not None:
            counters.repeated += 1
            self._reply(sender, _ANSWER[header.kind], answer[0], header.id, answer[1], address)
            return None
        receiver = self._addresses.find(address)
        if (obstacle := self._obstacle(sender, header.to, size, address, receiver, now, header.kind)) is not None:
            return obstacle
        self.enter(sender, header, body, size, address, receiver, now)
        return None

    def _obstacle(
        self, sender: Session, to: str, size: int, address: str, receiver: Session | None, now: float, kind: int = _SEND
    ) -> str | None:
        """Give the reason against a new message of this size, or a larger one, if there is one."""
        bounds = self._bounds
        if receiver is None and not self._addresses.may_come(address):
            return f'cannot reach "{to}": nobody of that address is connected'
        if len(sender.asked) >= bounds.open:
            return f'cannot {_VERB[kind]} "{to}": {bounds.open} messages of "{sender.address}" wait for their answers'
        if sender.asked and sender.asked_bytes + size > bounds.open_bytes:
            return f'cannot {_VERB[kind]} "{to}": {size} bytes beside the {sender.asked_bytes} bytes of "{sender.address}" that wait for their answers, at most {bounds.open_bytes} may'
        if receiver is not None and not self._deliveries.has_room(receiver, size, now):
            return f'cannot {_VERB[kind]} "{to}": {len(receiver.queue)} messages wait for it, at most {bounds.queue} may'
        if receiver is None and len(self.waiting.get(address, ())) >= bounds.queue:
            return f'cannot {_VERB[kind]} "{to}": {bounds.queue} messages wait for it to come back'
        if (excess := sender.tab.refusal(size)) is not None:
            return f'cannot {_VERB[kind]} "{to}": {excess}'
        return None

    def refusal_of_all(self, sender: Session, to: str, smallest: int, now: float) -> str | None:
        """Give the reason against every one of some new messages, whose smallest has this size; None when one of them might be taken."""
        address, reason = self._addresses.resolve(to)
        if reason:
            return f'cannot reach "{to}": {reason}'
        return self._obstacle(sender, to, smallest, address, self._addresses.find(address), now)

    def enter(
        self,
        sender: Session,
        header: Header,
        body: Body,
        size: int,
        address: str,
        receiver: Session | None,
        now: float,
        group: Broadcast | None = None,
    ) -> None:
        """Open an exchange that was let in."""
        bounds, counters = self._bounds, self._outbox.counters
        longest = now + bounds.longest
        deadline = min(longest, now + header.deadline / 1000.0) if header.deadline else longest
        self._outbox.note(deadline)
        exchange = Exchange(header, body, size, sender, address, deadline, self._keeping.number(), group=group)
        self.open[header.id] = exchange
        sender.asked[header.id] = exchange
        sender.asked_bytes += size
        sender.tab.begin(size)
        if header.kind == _SEND:
            exchange.expiry = now + (min(bounds.expiry_most, header.expiry / 1000.0) if header.expiry else bounds.expiry)
            counters.sends += 1
        else:
            counters.requests += 1
        self._place(exchange, receiver, now)
        if receiver is not None and receiver.queue and header.kind == _SEND:
            self._consider_spilling(receiver, exchange, now)

    def adopt(self, run: Run, header: Header, body: bytes, number: int) -> None:
        """Open an exchange for one message of a run that is taken apart; it is in its receiver's hands."""
        if header.id in self.open or self._keeping.is_known(header.id):
            return  # its sender said it twice; one exchange is enough for both
        sender, holder, bounds = run.sender, run.holder, self._bounds
        exchange = Exchange(header, body, len(body), sender, holder.address, run.deadline, number, holder=holder, until=run.until)
        begun = run.until - bounds.attempt_timeout
        exchange.expiry = begun + (min(bounds.expiry_most, header.expiry / 1000.0) if header.expiry else bounds.expiry)
        exchange.is_delivered = exchange.was_delivered = True
        self.open[header.id] = sender.asked[header.id] = holder.holds[header.id] = exchange
        sender.asked_bytes += exchange.size
        sender.tab.begin(exchange.size)
        self._outbox.note(min(run.until, run.deadline))

    def _place(self, exchange: Exchange, receiver: Session | None, now: float) -> None:
        exchange.is_delivered = False
        if receiver is not None:
            if not self._deliveries.hand_over_at_once(receiver, exchange, now):
                self._deliveries.enqueue(receiver, Delivery(exchange.header, b"", exchange.size, None, exchange), now)
            return
        exchange.holder = None
        address = exchange.address
        if address not in self.waiting:
            self.waiting[address] = deque()
            self.want(address)
        self.waiting[address].append(exchange)
        if exchange.header.kind == _SEND and exchange.place is Place.MEMORY and address not in self.patience and is_pid(address):
            delay = self._bounds.patience if self._addresses.is_expected_at_once(address) else 0.0
            self.patience[address] = now + delay
            self._outbox.note(now + delay)

    # what goes to disk

    def _consider_spilling(self, receiver: Session, exchange: Exchange, now: float) -> None:
        """Put a queue on disk that outgrows the memory; while it is there, what comes goes there too."""
        bounds = self._bounds
        if receiver.is_spilling and len(receiver.queue) > 1:
            if exchange.holder is receiver and not exchange.is_delivered and exchange.place is Place.MEMORY:
                self._keeping.keep(exchange, now)  # or else it waits in memory
            return
        receiver.is_spilling = len(receiver.queue) > bounds.memory or (
            len(receiver.queue) > 1 and receiver.queue_bytes > bounds.memory_bytes
        )
        if receiver.is_spilling:
            self.spill(receiver.address, now)

    def spill(self, address: str, now: float) -> None:
        """Put everything on disk that one process has not answered, in its order. A client's are not: its address ends with its program."""
        if not is_pid(address):
            return
        everything: list[Exchange] = []
        for session in self._addresses.sessions(address):
            self.split_held(session)
            everything += session.holds.values()
            everything += [one.exchange for one in session.queue if one.exchange is not None]
        everything += self.waiting.get(address, ())
        for exchange in sorted(everything, key=lambda one: one.number):
            if (
                exchange.header.kind == _SEND
                and exchange.place is Place.MEMORY
                and not exchange.is_over
                and self._keeping.keep(exchange, now)
            ):
                break  # the rest stays in memory, so that nothing is there without what came before it

    def stop_waiting(self, address: str, now: float) -> None:
        """Have what waits for a receiver put on disk: the incarnation that was expected has ended."""
        if address in self.patience:
            self.patience[address] = now
            self._outbox.note(now)

    def lose_patience(self, now: float) -> None:
        """Put on disk what has waited long enough for a receiver that is not there."""
        for address, moment in list(self.patience.items()):
            if moment > now:
                self._outbox.note(moment)
                continue
            del self.patience[address]
            if self._keeping.is_mended(now):
                self.spill(address, now)
            if any(one.header.kind == _SEND and one.place is Place.MEMORY and not one.is_over for one in self.waiting.get(address, ())):
                self.patience[address] = now + keeping.BROKEN_PAUSE  # it stays with its sender, until its deadline
                self._outbox.note(self.patience[address])

    def kept(self, event: Kept, now: float) -> None:
        """Tell the senders of what is on disk now."""
        for exchange in self._keeping.kept(event):
            sender = exchange.sender
            if sender is None:  # a dead letter that is replayed
                self.place_stored((exchange,), now)
                continue
            self._detach(exchange)
            if exchange.holder is None:
                self.open.pop(exchange.header.id, None)
            if exchange.group is not None:
                self.tally(exchange.group, exchange.address, STORED)
            else:
                self._reply(sender, _ACK, STORED, exchange.header.id, b"", "bus")

    def not_kept(self, event: NotKept, now: float) -> None:
        """Refuse what cannot be put on disk and has no receiver; anything else goes on in memory."""
        for exchange in self._keeping.not_kept(event, now):
            if exchange.sender is None:  # a dead letter that was to be replayed
                exchange.is_over = True
            elif exchange.holder is None:
                self._refuse(exchange, event.reason, now, status=HOST)
            else:
                exchange.holder.is_spilling = False

    def place_stored(self, exchanges: Iterable[Exchange], now: float) -> None:
        """Hand over messages that are on disk and have no place."""
        for exchange in exchanges:
            receiver = self._addresses.find(exchange.address)
            if receiver is not None:
                self.open[exchange.header.id] = exchange
            self._place(exchange, receiver, now)

    # answers

    def want(self, address: str) -> None:
        """Have the kernel tell a process that somebody waits for it: it may have had no reason to connect yet."""
        if address.isdecimal():
            self._outbox.effects.append(ToKernel(link.Wanted(int(address))))

    def answer(self, receiver: Session, header: Header, body: Body, now: float) -> str | None:
        """Take an ACK or RESPONSE; gives the reason when it breaks the protocol."""
        counters = self._outbox.counters
        exchange = self.open.get(header.correlation)
        if exchange is None:
            self._answer_late(receiver, header)
            return None
        if exchange.address != receiver.address or not exchange.is_delivered:
            return f'"{receiver.address}" answers a message that was not given to it'
        kind = _ANSWER[exchange.header.kind]
        if header.kind != kind:
            return f"a {Kind(header.kind).name} for what wants {Kind(kind).name}"
        if not header.topic:
            return "an answer without a status"
        if header.topic == OK:
            counters.handled += 1
        else:
            counters.declined += 1
        if exchange.place is not Place.DISK and kind == _ACK and len(body) <= REMEMBERED_BODY:
            remembered = self.remembered.setdefault(receiver.address, OrderedDict())
            remembered[header.correlation] = (header.topic, body)
            if len(remembered) > self._bounds.remembered:
                remembered.popitem(last=False)
        sender = exchange.sender
        if exchange.place is not Place.MEMORY:
            self._conclude(exchange, header, body, now)
        self._close(exchange, now)
        if exchange.group is not None and sender is not None:
            self.tally(exchange.group, exchange.address, header.topic, "" if header.topic == OK else trouble_of(content(body)))
        elif sender is not None:
            self._reply(sender, kind, header.topic, header.correlation, body, header.sender or receiver.address)
        return None

    def _conclude(self, exchange: Exchange, header: Header, body: Body, now: float) -> None:
        """Take what was answered off the disk; what its receiver would not have is a dead letter once its sender was told that it is safe."""
        if header.topic == OK:
            self._keeping.settle(exchange, keeping.HANDLED)
        elif exchange.place is Place.STORING:
            self._keeping.settle(exchange, keeping.DECLINED)
        else:
            exchange.attempts += 1
            self._keeping.bury(exchange, f"its receiver said {header.topic}: {trouble_of(content(body))}", now)

    def _answer_late(self, receiver: Session, header: Header) -> None:
        """Take an answer to what is not open any more: a dead letter that was handled after all is none."""
        self._outbox.counters.answers_late += 1
        number = self._letters.by_id.get(header.correlation)
        if number is None or header.kind != _ACK or header.topic != OK or self._letters.letters[number].address != receiver.address:
            return
        self._letters.take(number)
        self._keeping.revive(number, header.correlation)

    def _reply(self, sender: Session, kind: int, status: str, correlation: bytes, body: Body, origin: str) -> None:
        peer = sender.routes.get(_DATA)
        if peer is not None:  # else: it asks again when it is back
            self._outbox.transmit(peer, Header(VERSION, kind, b"", origin, sender.address, status, correlation), body)

    def _refuse(self, exchange: Exchange, reason: str, now: float, *, status: str = REFUSED) -> None:
        """Tell a sender who still waits that its message will not be delivered."""
        sender = exchange.sender
        if exchange.place is Place.STORING:
            self._keeping.settle(exchange, keeping.DECLINED)
        self._close(exchange, now)
        self._outbox.counters.abandoned += 1
        if sender is None:
            return
        if exchange.group is not None:
            self.tally(exchange.group, exchange.address, status, reason)
            return
        peer = sender.routes.get(_DATA)
        if peer is not None:
            self._outbox.refuse(peer, exchange.header.id, status, f'cannot {_VERB[exchange.header.kind]} "{exchange.header.to}": {reason}')

    def tally(self, group: Broadcast, address: str, status: str, reason: str = "") -> None:
        """Count what became of a copy of a broadcast; after the last one its sender is answered."""
        group.pending -= 1
        if status == OK:
            group.handled += 1
        elif status == STORED:
            group.stored += 1
        else:
            group.failures += 1
            if len(group.failed) < FAILURES_SHOWN:
                group.failed[address] = reason
        if group.pending == 0:
            self.reply_all(group)

    def reply_all(self, group: Broadcast) -> None:
        """Answer a broadcast."""
        body = encode_body({"handled": group.handled, "stored": group.stored, "failures": group.failures, "failed": group.failed})
        self._reply(group.sender, _ACK, OK, group.identifier, body, "bus")

    def remembered_status(self, address: str, identifier: bytes) -> str:
        """Give how a receiver answered a message, "" when that is not remembered."""
        remembered = self.remembered.get(address)
        answer = remembered.get(identifier) if remembered is not None else None
        return answer[0] if answer is not None else ""

    def give_up(self, exchange: Exchange, reason: str, now: float) -> None:
        """End a message that cannot be delivered: a dead letter when its sender was told that it is safe, else a refusal."""
        if exchange.place is Place.DISK:
            self._keeping.bury(exchange, reason, now)
            self._close(exchange, now)
        else:
            self._refuse(exchange, reason, now)

    def expire(self, exchange: Exchange, now: float) -> None:
        """End a message whose time has passed before it was delivered."""
        if exchange.place is not Place.MEMORY:
            self._keeping.settle(exchange, keeping.EXPIRED)
        self._close(exchange, now)
        self._outbox.counters.expired += 1

    def _detach(self, exchange: Exchange) -> None:
        """Let a message go on without its sender."""
        sender, exchange.sender = exchange.sender, None
        if sender is not None:
            del sender.asked[exchange.header.id]
            sender.asked_bytes -= exchange.size
            sender.tab.end(exchange.size)

    def drop(self, exchange: Exchange, now: float) -> None:
        """End a message that is in its receiver's hands and whose sender does not wait any more."""
        self._close(exchange, now)

    def _close(self, exchange: Exchange, now: float) -> None:
        """End an exchange; a delivery of it that is still queued is skipped."""
        identifier = exchange.header.id
        exchange.is_over = True
        self.open.pop(identifier, None)
        self._detach(exchange)
        holder = exchange.holder
        if holder is not None:
            holder.holds.pop(identifier, None)
            if holder.suspect is exchange:
                holder.suspect = None
                self._deliveries.pump(holder, now)
            elif not holder.holds and holder.queue:  # another suspect may have waited for that
                self._deliveries.pump(holder, now)

    # how receivers come and go

    def attach(self, receiver: Session, credit: int, now: float) -> None:
        """Give a receiver with a new connection what it has not answered, in the old order, and what waited for it."""
        self._deliveries.restart(receiver, credit)
        again = list(receiver.holds.values())
        receiver.holds.clear()
        for exchange in reversed(again):
            exchange.is_delivered = False
            receiver.queue.appendleft(Delivery(exchange.header, b"", exchange.size, None, exchange))
            receiver.queue_bytes += exchange.size
        if receiver.receives:
            self._settle_in(receiver, now)
        self._deliveries.pump(receiver, now)

    def _settle_in(self, receiver: Session, now: float) -> None:
        self.patience.pop(receiver.address, None)
        for exchange in self.waiting.pop(receiver.address, ()):
            if not exchange.is_over:
                self.open[exchange.header.id] = exchange
                self._place(exchange, receiver, now)

    def release(self, receiver: Session, now: float, reason: str, *, is_failed: bool = False) -> None:
        """Find another home for what an ended session received: another session of its process, or the process when it comes back.

        ``is_failed``: its incarnation ended, or it said goodbye, and what was in its hands may be why.
        """
        held = list(receiver.holds.values())
        queued = [one.exchange for one in receiver.queue if one.exchange is not None and not one.exchange.is_over]
        receiver.holds.clear()
        self._deliveries.empty(receiver)
        for exchange in (*held, *queued):
            exchange.holder = None
        if is_failed:
            held = [exchange for exchange in held if self._survives(exchange, reason, now)]
        mine = [*held, *queued]
        other = self._addresses.find(receiver.address)
        if other is None and not self._addresses.may_come(receiver.address):
            for exchange in mine:
                self.give_up(exchange, reason, now)
            self.discharge(receiver.address, reason, now)
            return
        later = self.waiting.pop(receiver.address, ())  # came while the receiver was away: behind what it had before
        for exchange in (*mine, *later):
            if exchange.is_over:
                continue
            if other is None and exchange.place is Place.DISK:
                self.open.pop(exchange.header.id, None)  # nobody's: its expiry is watched by what is on disk
            self._place(exchange, other, now)

    def _survives(self, exchange: Exchange, reason: str, now: float) -> bool:
        """Count a failed delivery; the one too many ends the message."""
        if exchange.header.kind != _SEND:
            return True
        self._outbox.counters.attempts_failed += 1
        exchange.attempts += 1
        exchange.is_suspect = True
        if exchange.attempts > self._bounds.retries:
            self.give_up(exchange, f"its receiver went without an answer to it {exchange.attempts} times, the last time as {reason}", now)
            return False
        self._keeping.tried(exchange)
        return True

    def discharge(self, address: str, reason: str, now: float) -> None:
        """Give up what waits for a receiver that will not come back, and forget what it acknowledged."""
        self.remembered.pop(address, None)
        self.patience.pop(address, None)
        for exchange in self.waiting.pop(address, ()):
            if not exchange.is_over:
                self.give_up(exchange, reason, now)

    def rename(self, name: str, now: float) -> None:
        """Give what waits for a name its process, now that the roster is known."""
        for exchange in self.waiting.pop(name, ()):
            if exchange.is_over:
                continue
            exchange.address, reason = self._addresses.resolve(exchange.header.to)
            receiver = self._addresses.find(exchange.address)
            if reason or (receiver is None and not self._addresses.may_come(exchange.address)):
                self._refuse(exchange, reason or "nobody of that address is connected", now)
            else:
                self._place(exchange, receiver, now)

    def abandon(self, sender: Session, now: float) -> None:
        """Drop what an ended session asked for; what is on its way to disk is taken off again."""
        for exchange in list(sender.asked.values()):
            self._outbox.counters.abandoned += 1
            if exchange.place is Place.STORING:
                self._keeping.settle(exchange, keeping.DECLINED)
            self._close(exchange, now)

    def prune(self) -> None:
        """Forget what is over and waits for receivers that are not there."""
        for address, waiting in list(self.waiting.items()):
            kept = deque(one for one in waiting if not one.is_over)
            if kept:
                self.waiting[address] = kept
            else:
                del self.waiting[address]
                self.patience.pop(address, None)
