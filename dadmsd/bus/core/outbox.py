"""What the machines of the bus write their effects into, and count with."""

from dadms_ipc.codec import trouble
from dadms_ipc.envelope import VERSION, Header, Kind
from dadmsd.bus.core.events import Audit, Body, Cut, Effect, Peer, Transmit
from dadmsd.bus.core.state import Counters

AUDIT_BURST = 50  # lines a period: a flood of refusals must not become a flood of lines
AUDIT_PERIOD = 10.0  # seconds


class Outbox:
    """Effects in the order in which they must happen."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.counters = Counters()
        self._audit_since = float("-inf")
        self._audits = 0
        self._silenced = 0

    def drain(self) -> list[Effect]:
        """Give what has gathered, and begin anew."""
        effects, self.effects = self.effects, []
        return effects

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

    def cut(self, peer: Peer, reason: str, now: float) -> None:
        """End a connection, and write it down."""
        self.counters.cut += 1
        self.effects.append(Cut(peer, reason))
        self.audit(f"cut a connection: {reason}", now)

    def audit(self, text: str, now: float) -> None:
        """Write a line, unless too many were written lately."""
        if now - self._audit_since >= AUDIT_PERIOD:
            if self._silenced:
                self.effects.append(Audit(f"{self._silenced} lines like the last ones were left out"))
            self._audit_since, self._audits, self._silenced = now, 0, 0
        self._audits += 1
        if self._audits > AUDIT_BURST:
            self._silenced += 1
            self.counters.audits_silenced += 1
            return
        self.effects.append(Audit(text))
