"""Deliveries that were not answered: how long one may take, how often it is repeated, and what ends it.

1. A receiver has ``attempt_timeout`` seconds to answer a SEND. Then the message goes to disk, if it is not there, and after a pause it is handed out again, to
   the same incarnation with RETRY: it drops what it has seen, and repeats its answer. A REQUEST is not repeated: its answer may take as long as its deadline.
2. The pauses double, each made up to a quarter longer by the message's own number: what failed together is not repeated together, and the same events give the
   same pauses.
3. After ``retries`` repeats it is a dead letter. While its process is suspended or has lost its connection no attempt fails.
4. What is over its deadline and was not handed out is dropped; the sender knows the time.
"""

from dadms_ipc.envelope import Door, Kind
from dadmsd.bus.core.deliveries import Deliveries
from dadmsd.bus.core.exchanges import Exchanges
from dadmsd.bus.core.keeping import Keeping
from dadmsd.bus.core.outbox import Outbox
from dadmsd.bus.core.state import Bounds, Exchange, Place, Session

JITTER_STEPS = 64
_STRIDE = 37  # neighbours differ by more than half of the steps


def backoff(bounds: Bounds, number: int, attempts: int) -> float:
    """Give the seconds before the next delivery of a message."""
    pause = min(bounds.backoff_last, bounds.backoff_first * 2.0 ** min(attempts - 1, 30))
    return pause * (1.0 + 0.25 * (number * _STRIDE % JITTER_STEPS) / JITTER_STEPS)


class Attempts:
    """The clock of all deliveries."""

    def __init__(self, outbox: Outbox, bounds: Bounds, deliveries: Deliveries, exchanges: Exchanges, kept: Keeping) -> None:
        self._outbox = outbox
        self._bounds = bounds
        self._deliveries = deliveries
        self._exchanges = exchanges
        self._keeping = kept

    def sweep(self, now: float) -> None:
        """Drop what has expired, repeat what was not answered, and say when to look again."""
        exchanges, counters = self._exchanges, self._outbox.counters
        soonest = float("inf")
        for exchange in list(exchanges.open.values()):
            if exchange.is_over:
                continue
            if exchange.is_delivered and exchange.header.kind == Kind.SEND:
                self._look(exchange, now)
                if exchange.is_over:
                    continue
                soonest = min(soonest, exchange.until)
            if exchange.place is Place.DISK:
                continue
            if exchange.deadline > now:
                soonest = min(soonest, exchange.deadline)
            elif exchange.place is Place.STORING:  # in a moment it is on disk, or refused
                soonest = min(soonest, now + self._bounds.patience)
            elif exchange.is_delivered:
                exchanges.drop(exchange, now)
                counters.unanswered += 1
            else:
                exchanges.expire(exchange, now)
        for exchange in self._keeping.expired(now):
            exchanges.expire(exchange, now)
        exchanges.lose_patience(now)
        exchanges.prune()
        if soonest < float("inf"):
            self._outbox.note(soonest)

    def _look(self, exchange: Exchange, now: float) -> None:
        if exchange.until > now:
            return
        holder = exchange.holder
        if holder is None or holder.is_paused or Door.DATA not in holder.routes:
            exchange.until = now + self._bounds.attempt_timeout
        elif exchange.is_resting:
            if not self._deliveries.repeat(holder, exchange, now):
                exchange.until = now + self._bounds.attempt_timeout
        else:
            self._fail(holder, exchange, now)

    def _fail(self, holder: Session, exchange: Exchange, now: float) -> None:
        self._outbox.counters.attempts_failed += 1
        exchange.attempts += 1
        if exchange.attempts > self._bounds.retries or (exchange.place is Place.DISK and exchange.expiry <= now):
            reason = f'"{holder.address}" did not answer {exchange.attempts} deliveries, {self._bounds.attempt_timeout:g} s each'
            self._exchanges.give_up(exchange, reason, now)
        else:
            self._keeping.tried(exchange)
            if exchange.place is Place.MEMORY:
                self._exchanges.spill(holder.address, now)
            exchange.is_resting = True
            exchange.until = now + backoff(self._bounds, exchange.number, exchange.attempts)
        if holder.suspect is exchange:
            holder.suspect = None
            self._deliveries.pump(holder, now)

    def resume(self, holder: Session, now: float) -> None:
        """Start the clocks of a receiver that goes on."""
        for exchange in holder.holds.values():
            exchange.until = now + self._bounds.attempt_timeout
            self._outbox.note(exchange.until)
