"""What the machines of the bus write their effects into, and count with."""

from dadms_ipc.codec import encode_body, trouble
from dadms_ipc.envelope import REFUSED, VERSION, Header, Kind, Span
from dadmsd.bus.core.auditing import Auditor
from dadmsd.bus.core.events import Audit, Body, Cut, Effect, Peer, Transmit, Who
from dadmsd.bus.core.state import Counters


class Outbox:
    """Effects in the order in which they must happen."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.counters = Counters()
        self.soonest: float | None = None  # at or before the first thing that expires
        self.auditor = Auditor(self._write)

    def _write(self, line: Audit) -> None:
        self.effects.append(line)

    def drain(self) -> list[Effect]:
        """Give what has gathered, and begin anew."""
        effects, self.effects = self.effects, []
        return effects

    def note(self, moment: float) -> None:
        """Have the bus look at what has expired by then."""
        if self.soonest is None or moment < self.soonest:
            self.soonest = moment

    def transmit(self, peer: Peer, header: Header, body: Body = b"") -> None:
        """Send an envelope."""
        self.counters.transmitted += 1
        self.effects.append(Transmit(peer, header, body))

    def answer(
        self, peer: Peer, kind: Kind, status: str, correlation: bytes, body: Body = b"", *, sender: str = "bus", to: str = ""
    ) -> None:
        """Send an answer to something with an id."""
        self.transmit(peer, Header(VERSION, kind, b"", sender, to, status, correlation), body)

    def refuse(self, peer: Peer, correlation: bytes, status: str, reason: str) -> None:
        """Say that a message was not done, and why."""
        self.counters.refused += 1
        self.answer(peer, Kind.REFUSE, status, correlation, trouble(reason))

    def refuse_span(self, peer: Peer, run: bytes, place: int, count: int, reason: str, *, to: str) -> None:
        """Say that so many messages of a run were not done, from one place on, and why."""
        self.counters.refused += count
        self.answer(peer, Kind.ACKS, REFUSED, run, encode_body(Span(place, count, reason)), to=to)

    def cut(self, peer: Peer, reason: str, now: float, who: Who | None = None, *, rest: float = 0.0) -> None:
        """End a connection, and write it down; ``rest``: seconds before that in which it is not heard."""
        self.counters.cut += 1
        self.effects.append(Cut(peer, reason, rest))
        subject = "" if who is None else str(who)
        self.record("cut", who, subject, "", reason, now, f"cut a connection: {reason}")

    def audit(self, text: str, now: float) -> None:
        """Write a line about nobody in particular, unless too many were written lately."""
        self.record("note", None, "", "", text, now, text)

    def record(self, verdict: str, who: Who | None, subject: str, what: str, why: str, now: float, text: str = "") -> None:
        """Write a line about somebody; see auditing.py."""
        self.auditor.record(verdict, who, subject, what, why, now, text)
        self.counters.audits_silenced = self.auditor.silenced
