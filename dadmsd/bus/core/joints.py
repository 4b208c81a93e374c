"""SENDs that came one by one, and are handed on as the run that they could have been.

1. While a turn's messages are taken (``Bus.handle(…, gathers=True)``), consecutive SENDs of one sender to one receiver wait here for each other; at the turn's end at the latest
   they go on: as a run (runs.py) where they are several, else alone. So what a burst costs after it was read does not grow with its messages.
2. Only what a sender could have put into a run itself: ids that follow each other, the same type, flags and expiry, deadlines close together, of which the earliest
   counts; small, and said for the first time. And only of senders who said that they understand answers which come together.
3. Whatever else its sender says lets go first what waits of it: the order of a sender stays. Between senders there is none.
"""

from collections.abc import Callable

import msgspec

from dadms_ipc.codec import BATCHED_BODY, encode_body
from dadms_ipc.envelope import CLIENT_BYTES, RUN_LIMIT, VERSION, Flag, Header, Kind
from dadmsd.bus.core.events import Body, Peer
from dadmsd.bus.core.runs import Runs
from dadmsd.bus.core.state import Session

ALIKE = 50  # milliseconds between the deadlines of messages that may share a run, as for the clients' own
_RETRY = int(Flag.RETRY)
_SEND, _RUN = int(Kind.SEND), int(Kind.RUN)

Alone = Callable[[Session, Peer, Header, Body, float], None]
Apart = Callable[[Session, Peer, Header, list[bytes], float], None]  # the messages of a run that cannot pass whole


class Joint(msgspec.Struct, eq=False):
    """What waits of one sender."""

    peer: Peer
    header: Header
    bodies: list[bytes]
    following: int  # the sequence that continues it
    size: int
    deadline: int  # the earliest, milliseconds


class Joints:
    """What waits for the end of the turn."""

    def __init__(self, runs: Runs, alone: Alone, apart: Apart) -> None:
        self._runs = runs
        self._alone = alone
        self._apart = apart
        self.pending: dict[Session, Joint] = {}

    def take(self, sender: Session, peer: Peer, header: Header, body: Body, now: float) -> bool:
        """Let a SEND wait for its neighbours; False when it has to go alone, after what waited."""
        joint = self.pending.get(sender)
        if not sender.takes_spans or header.flags & _RETRY or type(body) is not bytes or (size := len(body)) > BATCHED_BODY:
            if joint is not None:
                self.release(sender, now)
            return False
        sequence = int.from_bytes(header.id[CLIENT_BYTES:], "big")
        if joint is not None:
            head, deadline = joint.header, header.deadline
            if (
                sequence == joint.following
                and (header.to, header.topic, header.flags, header.expiry, header.sender)
                == (head.to, head.topic, head.flags, head.expiry, head.sender)
                and (deadline == head.deadline or (deadline and head.deadline and abs(deadline - head.deadline) <= ALIKE))
                and joint.size + size <= BATCHED_BODY
                and len(joint.bodies) < RUN_LIMIT
            ):
                joint.bodies.append(body)
                joint.following += 1
                joint.size += size
                joint.deadline = min(joint.deadline, deadline)
                return True
            self.release(sender, now)
        self.pending[sender] = Joint(peer, header, [body], sequence + 1, size, header.deadline)
        return True

    def release(self, sender: Session, now: float) -> None:
        """Let go what waits of a sender, if anything does."""
        joint = self.pending.pop(sender, None)
        if joint is None:
            return
        head, bodies = joint.header, joint.bodies
        kind, origin = _RUN if len(bodies) > 1 else _SEND, head.sender or sender.address
        run = Header(VERSION, kind, head.id, origin, head.to, head.topic, b"", joint.deadline, head.flags, head.expiry)
        if kind == _RUN:
            if self._runs.begin(sender, run, bodies, encode_body(bodies), now):
                return
            self._apart(sender, joint.peer, run, bodies, now)
            return
        self._alone(sender, joint.peer, run, bodies[0], now)

    def release_all(self, now: float) -> None:
        """End the turn."""
        for sender in list(self.pending):
            self.release(sender, now)
