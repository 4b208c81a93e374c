"""What is on disk: messages that wait for their receivers, as rows; and how each of them came out.

1. A message goes on disk when its receiver is not there, when the receiver's queue outgrows the memory, or when a delivery failed; with it goes everything
   that came before it for the same receiver and is not there yet. So what one sender said to one receiver is on disk in its order, without gaps.
2. Its sender is told when the shell says ``Kept``, and from then on knows no more about it. What could not be kept is refused, or stays in memory.
3. What was told ends in exactly one outcome, counted in the transaction that ends it. The outcome of an id is remembered, for a sender that lost the answer.
4. A row that was found at the start may have been delivered before: it is marked as a redelivery, whoever gets it.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable

from dadms_ipc.envelope import CLIENT_BYTES, OK, STORED, VERSION, Header, Kind
from dadmsd.bus.core.disk import Await, Bury, Keep, Kept, Letter, NotKept, OnDisk, Replay, Restored, Row, Settle, Tried
from dadmsd.bus.core.letters import Letters
from dadmsd.bus.core.outbox import Outbox
from dadmsd.bus.core.state import Bounds, Exchange, Place

HANDLED = "handled"
DECLINED = "declined"  # by its receiver, and its sender, who had not been told yet, heard that instead
EXPIRED = "expired"
DEAD = "dead"
OUTCOMES = (HANDLED, DECLINED, EXPIRED, DEAD)  # of a message; "kept" is their sum and what is still there
BROKEN_PAUSE = 1.0  # seconds that nothing is put on disk after that failed


class Keeping:
    """All messages on disk or on their way there."""

    def __init__(self, outbox: Outbox, bounds: Bounds, letters: Letters, wall: float) -> None:
        self._outbox = outbox
        self._bounds = bounds
        self._letters = letters
        self.wall = wall  # wall clock minus the clock of ``now``, seconds
        self.rows: dict[bytes, Exchange] = {}  # by id
        self.size = 0  # bytes of their bodies
        self.settled: OrderedDict[bytes, str] = OrderedDict()
        self.tallies = dict.fromkeys(("kept", *OUTCOMES), 0)
        self.last_number = 0
        self.trouble = "it has no store yet"  # why nothing can be put on disk; "": it can
        self._broken_until = float("-inf")
        self._storing: dict[int, Exchange] = {}
        self._of_sender: dict[bytes, int] = {}
        self._expiries: list[tuple[float, int, Exchange]] = []
        self._awaited: dict[int, Callable[[str], None]] = {}  # token -> what to do with "" or the reason why not
        self._last_token = 0

    def number(self, count: int = 1) -> int:
        """Give the next messages their numbers, which follow each other; gives the first."""
        self.last_number += count
        return self.last_number - count + 1

    # how messages get here

    def restore(self, event: Restored, now: float) -> list[Exchange]:
        """Take what an earlier bus left; gives the messages, in their order."""
        self.trouble = ""
        self.last_number = event.last_number
        for tallies in (self.tallies, self._letters.tallies):
            tallies.update({name: event.tallies.get(name, 0) for name in tallies})
        self.settled.update(event.settled)
        self._letters.restore(event.letters)
        found = []
        for row in event.rows:
            body = OnDisk(row.number, row.size)
            expiry = row.expires_at - self.wall
            exchange = Exchange(row.header, body, row.size, None, row.address, expiry, row.number, expiry, place=Place.DISK)
            exchange.was_delivered = True  # rule 4
            exchange.attempts, exchange.stored_at = row.attempts, row.stored_at
            exchange.is_suspect = row.attempts > 0  # why they failed is not on disk
            self._enter(exchange)
            found.append(exchange)
        self._outbox.note(now)
        return found

    def refusal(self, exchange: Exchange, now: float) -> str:
        """Say why a message cannot be put on disk; "" when it can."""
        bounds = self._bounds
        if now < self._broken_until or self.trouble:
            return self.trouble
        if len(self.rows) >= bounds.stored:
            return f"{len(self.rows)} messages are on disk already, at most {bounds.stored} may be"
        if self.rows and self.size + exchange.size > bounds.stored_bytes:
            return f"{self.size} bytes of messages are on disk already, at most {bounds.stored_bytes} may be"
        if self._of_sender.get(exchange.header.id[:CLIENT_BYTES], 0) >= bounds.stored_of_one:
            return f"{bounds.stored_of_one} messages of this sender are on disk already"
        return ""

    def keep(self, exchange: Exchange, now: float) -> str:
        """Put a message on disk; gives the reason when it is not even tried."""
        reason = self.refusal(exchange, now)
        if reason:
            return reason
        self._outbox.effects.append(Keep(self._store(exchange, now), exchange.body))
        return ""

    def replay(self, letter: Letter, exchange: Exchange, now: float) -> str:
        """Put a dead letter among the messages again, under a new id; gives the reason when it is not even tried."""
        reason = self.refusal(exchange, now)
        if reason:
            return reason
        self._outbox.effects.append(Replay(self._store(exchange, now), letter.number))
        return ""

    def _store(self, exchange: Exchange, now: float) -> Row:
        exchange.place = Place.STORING
        exchange.stored_at = now + self.wall
        self._storing[exchange.number] = exchange
        self._enter(exchange)
        self.tallies["kept"] += 1
        self._outbox.counters.stored += 1
        head = exchange.header
        ahead = Header(VERSION, Kind.SEND, head.id, head.sender, head.to, head.topic, b"", 0, head.flags)
        expires_at = exchange.expiry + self.wall
        return Row(exchange.number, ahead, exchange.address, exchange.size, expires_at, exchange.stored_at, exchange.attempts)

    def _enter(self, exchange: Exchange) -> None:
        identifier = exchange.header.id
        self.rows[identifier] = exchange
        self.size += exchange.size
        sender = identifier[:CLIENT_BYTES]
        self._of_sender[sender] = self._of_sender.get(sender, 0) + 1
        heapq.heappush(self._expiries, (exchange.expiry, exchange.number, exchange))
        if len(self._expiries) > 2 * len(self.rows) + 64:  # those that ended wait in it for their moment
            self._expiries = [one for one in self._expiries if not one[2].is_over]
            heapq.heapify(self._expiries)
        self._outbox.note(exchange.expiry)

    # what the store says

    def kept(self, event: Kept) -> list[Exchange]:
        """Take the store's word; gives the messages whose senders can be told."""
        safe = []
        for token in event.tokens:
            if token < 0:
                self._awaited.pop(token)("")
                continue
            exchange = self._storing.pop(token, None)
            if exchange is not None and not exchange.is_over:
                exchange.place = Place.DISK
                exchange.body = OnDisk(exchange.number, exchange.size)
                exchange.deadline = exchange.expiry
                safe.append(exchange)
        return safe

    def not_kept(self, event: NotKept, now: float) -> list[Exchange]:
        """Take the store's refusal; gives the messages that are in memory only."""
        self._broken_until = now + BROKEN_PAUSE
        self.trouble = event.reason
        lost = []
        for token in event.tokens:
            if token < 0:
                self._awaited.pop(token)(event.reason)
                continue
            exchange = self._storing.pop(token, None)
            if exchange is None:
                continue
            self.tallies["kept"] -= 1
            if exchange.is_over:  # answered meanwhile: that was counted against a row which is not there
                self.tallies[self.settled.pop(exchange.header.id, DECLINED)] -= 1
                continue
            self._leave(exchange)
            exchange.place = Place.MEMORY
            lost.append(exchange)
        return lost

    def is_mended(self, now: float) -> bool:
        """Tell whether putting something on disk may be tried again."""
        if self.trouble and now >= self._broken_until > float("-inf"):
            self.trouble = ""
        return not self.trouble

    def wait(self, done: Callable[[str], None]) -> None:
        """Have something done when everything that was said so far is on disk."""
        self._last_token -= 1
        self._awaited[self._last_token] = done
        self._outbox.effects.append(Await(self._last_token))

    # how messages leave

    def known(self, identifier: bytes) -> str:
        """Give the status for a sender that asks again, "" while there is none to give."""
        exchange = self.rows.get(identifier)
        if exchange is not None:
            return STORED if exchange.place is Place.DISK else ""
        return OK if self.settled.get(identifier) == HANDLED else STORED

    def is_known(self, identifier: bytes) -> bool:
        """Tell whether a message of this id is on disk, or was."""
        return identifier in self.rows or identifier in self.settled

    def tried(self, exchange: Exchange) -> None:
        """Note that a delivery failed."""
        if exchange.place is not Place.MEMORY:
            self._outbox.effects.append(Tried(exchange.number, exchange.attempts))

    def settle(self, exchange: Exchange, outcome: str) -> None:
        """Take a message off the disk."""
        self._leave(exchange)
        self._remember(exchange.header.id, outcome)
        self._outbox.effects.append(Settle(exchange.number, exchange.header.id, outcome))

    def bury(self, exchange: Exchange, reason: str, now: float) -> None:
        """Make a message a dead letter."""
        self._leave(exchange)
        self._remember(exchange.header.id, DEAD)
        died_at = now + self.wall
        self._outbox.effects.append(Bury(exchange.number, exchange.header.id, died_at, exchange.attempts, reason))
        self._letters.add(exchange, died_at, reason)

    def revive(self, number: int, identifier: bytes) -> None:
        """Count a dead letter as handled: its receiver's word came late."""
        self.tallies[DEAD] -= 1
        self._remember(identifier, HANDLED)
        self._outbox.effects.append(Settle(number, identifier, HANDLED, was_letter=True))

    def _remember(self, identifier: bytes, outcome: str) -> None:
        self.tallies[outcome] += 1
        if outcome == DECLINED:  # its sender was not told that it is safe; it may well try again
            return
        self.settled[identifier] = outcome
        if len(self.settled) > self._bounds.settled:
            self.settled.popitem(last=False)

    def _leave(self, exchange: Exchange) -> None:
        identifier = exchange.header.id
        del self.rows[identifier]
        self.size -= exchange.size
        sender = identifier[:CLIENT_BYTES]
        self._of_sender[sender] -= 1
        if not self._of_sender[sender]:
            del self._of_sender[sender]

    def expired(self, now: float) -> list[Exchange]:
        """Give what waited too long and is in nobody's hands."""
        heap, found = self._expiries, []
        while heap and (heap[0][0] <= now or heap[0][2].is_over):
            exchange = heapq.heappop(heap)[2]
            if exchange.is_over or exchange.place is Place.MEMORY:
                continue
            if exchange.is_delivered:  # its receiver may be handling it: the answer ends it, or the attempts do
                heapq.heappush(heap, (now + self._bounds.attempt_timeout, exchange.number, exchange))
                continue
            found.append(exchange)
        if heap:
            self._outbox.note(heap[0][0])
        return found
