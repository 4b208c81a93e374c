"""Runs: consecutive SENDs of one sender to one receiver in one message, and acknowledgements of neighbours among them.

1. A run stays whole only while everything goes well: its receiver is connected, understands runs, has nothing waiting and credit for all of it. Then it is one thing to
   queue nowhere, hand over, and answer, whatever number of messages it stands for; that is what makes it cheap.
2. In any other case it is the SENDs that it stands for, one by one (exchanges.py): at once, or later, when its receiver loses its connection, takes too long,
   or has the rest of its queue put on disk, or when its sender repeats something.
3. Each message keeps its own id, its own answer and its place in the order, whether its run is whole or not.
"""

from collections.abc import Iterator

import msgspec

from dadms_ipc.codec import trouble
from dadms_ipc.envelope import OK, SEQUENCES, VERSION, Door, Flag, Header, Kind, Span, message_id, split_id
from dadms_ipc.errors import PeerViolation
from dadmsd.bus.core.addresses import Addresses
from dadmsd.bus.core.deliveries import Deliveries
from dadmsd.bus.core.events import Body
from dadmsd.bus.core.exchanges import Exchanges
from dadmsd.bus.core.keeping import Keeping
from dadmsd.bus.core.outbox import Outbox
from dadmsd.bus.core.state import Bounds, Run, Session


class Runs:
    """All runs that are whole."""

    def __init__(
        self, outbox: Outbox, bounds: Bounds, addresses: Addresses, deliveries: Deliveries, exchanges: Exchanges, kept: Keeping
    ) -> None:
        self._outbox = outbox
        self._bounds = bounds
        self._addresses = addresses
        self._deliveries = deliveries
        self._exchanges = exchanges
        self._keeping = kept
        self.open: dict[bytes, Run] = {}  # by the id of the first message

    def begin(self, sender: Session, header: Header, bodies: list[bytes], body: Body, now: float) -> bool:
        """Take a run whole; False when it has to be taken apart."""
        count, size = len(bodies), len(body)
        if header.id in self.open:
            self._outbox.counters.repeated += count
            return True
        address, reason = self._addresses.resolve(header.to)
        receiver = None if reason else self._addresses.find(address)
        if receiver is None or not receiver.takes_runs or header.flags & Flag.RETRY:
            return False
        if not self._deliveries.takes_at_once(receiver, count, size):
            return False
        bounds = self._bounds
        if sum(run.open.bit_count() for run in sender.runs.values()) + len(sender.asked) + count > bounds.open:
            return False
        if sender.asked_bytes + size > bounds.open_bytes or sender.tab.refusal(size) is not None:
            return False
        deadline = now + min(bounds.longest, header.deadline / 1000.0 if header.deadline else bounds.longest)
        run = Run(header, bodies, size, sender, receiver, deadline, now + bounds.attempt_timeout, self._keeping.number(count))
        run.open = (1 << count) - 1
        self.open[header.id] = sender.runs[header.id] = receiver.held[header.id] = run
        sender.asked_bytes += size
        sender.tab.begin(size)
        self._outbox.counters.sends += count
        self._outbox.note(min(deadline, run.until))
        self._deliveries.hand_over_run(receiver, header, body, [len(one) for one in bodies], deadline, now)
        return True

    def answer(self, receiver: Session, header: Header, span: Span, body: Body) -> bool:
        """Take a receiver's word on some of a run; False when the run is not whole any more."""
        run = self.open.get(header.correlation)
        if run is None:
            return False
        if run.holder is not receiver or span.place + span.count > len(run.bodies) or not header.topic:
            raise PeerViolation(f'"{receiver.address}" answers places {span.place} to {span.place + span.count - 1} of a run, wrongly')
        asked = ((1 << span.count) - 1) << span.place & run.open
        counters, count = self._outbox.counters, asked.bit_count()
        counters.answers_late += span.count - count
        if not asked:
            return True
        if header.topic == OK:
            counters.handled += count
        else:
            counters.declined += count
            run.is_declined = True
        run.open &= ~asked
        sender = run.sender
        if not run.open:
            self._close(run)
            if not run.is_declined:
                sender.settled.append((split_id(run.header.id)[1], len(run.bodies)))
        peer = sender.routes.get(Door.DATA)
        if peer is not None:  # else: it asks again when it is back
            origin = header.sender or receiver.address
            ahead = Header(VERSION, int(Kind.ACKS), b"", origin, sender.address, header.topic, header.correlation)
            self._outbox.transmit(peer, ahead, body)
        return True

    def is_settled(self, sender: Session, identifier: bytes) -> bool:
        """Tell whether a repeated message was handled with its run: then its answer is the same."""
        sequence = split_id(identifier)[1]
        return any(first <= sequence < first + count for first, count in sender.settled)

    def split_asked(self, sender: Session) -> None:
        """Take apart what a sender has under way: it repeats messages one by one."""
        for run in list(sender.runs.values()):
            self._split(run)

    def split_held(self, receiver: Session) -> None:
        """Take apart what a receiver has in its hands."""
        for run in list(receiver.held.values()):
            self._split(run)

    def abandon(self, sender: Session) -> None:
        """Drop what an ended session asked for."""
        for run in list(sender.runs.values()):
            self._outbox.counters.abandoned += run.open.bit_count()
            self._close(run)

    def sweep(self, now: float) -> None:
        """Drop what has expired, and take apart what takes long."""
        for run in list(self.open.values()):
            if run.deadline <= now:
                self._outbox.counters.unanswered += run.open.bit_count()
                self._close(run)
            elif run.until <= now:
                self._split(run)
            else:
                self._outbox.note(min(run.deadline, run.until))

    def _split(self, run: Run) -> None:
        self._close(run)
        for place, (header, body) in enumerate(members(run.header, run.bodies)):
            if run.open >> place & 1:
                self._exchanges.adopt(run, header, body, run.number + place)
        holder = run.holder
        holder.holds = dict(sorted(holder.holds.items(), key=lambda one: one[1].number))

    def _close(self, run: Run) -> None:
        identifier, sender = run.header.id, run.sender
        del self.open[identifier]
        del sender.runs[identifier]
        del run.holder.held[identifier]
        sender.asked_bytes -= run.size
        sender.tab.end(run.size)


def check_end(identifier: bytes, count: int) -> None:
    """Raise PeerViolation when the last of so many messages that follow each other has no sequence."""
    if split_id(identifier)[1] + count > SEQUENCES:
        raise PeerViolation(f"a run of {count} messages whose last ones have no sequence: it has 8 bytes")


def members(header: Header, bodies: list[bytes]) -> Iterator[tuple[Header, bytes]]:
    """Give the SENDs that a run stands for."""
    client, first = split_id(header.id)
    for place, body in enumerate(bodies):
        yield msgspec.structs.replace(header, kind=int(Kind.SEND), id=message_id(client, first + place)), body


def answers(header: Header, span: Span) -> Iterator[tuple[Header, bytes]]:
    """Give the ACKs that an ACKS stands for."""
    check_end(header.correlation, span.place + span.count)
    client, first = split_id(header.correlation)
    body = b"" if header.topic == OK else trouble(span.reason)
    for place in range(span.place, span.place + span.count):
        yield msgspec.structs.replace(header, kind=int(Kind.ACK), correlation=message_id(client, first + place)), body
