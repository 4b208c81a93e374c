"""What a session has to say at a door, and how it is put into frames.

1. What waits together leaves together when it is small: consecutive SENDs to one receiver as one RUN, acknowledgements of neighbours in a run as one ACKS, and
   everything in one BATCH, in the old order.
2. A deadline is written as what is left of it when the frame is made; what has expired by then is dropped.
3. What was said once is said again with the flag RETRY, one by one: a run is for the first time only.
"""

from collections import deque
from typing import Final

import msgspec

from dadms_ipc.codec import BATCH_BYTES, BATCH_HEADER, BATCHED_BODY, encode_batch, encode_body, encode_header, trouble_of
from dadms_ipc.envelope import BATCH_LIMIT, OK, RUN_LIMIT, VERSION, Door, Flag, Header, Kind

ALIKE = 0.05  # seconds between the deadlines of messages that may share a run: they get the earliest

# Plain numbers: a member of an enumeration is looked up in its class at each use.
_SEND: Final = int(Kind.SEND)
_RUN: Final = int(Kind.RUN)
_ACKS: Final = int(Kind.ACKS)
_HELLO: Final = int(Kind.HELLO)
_PUBLISH: Final = int(Kind.PUBLISH)
_RETRY: Final = int(Flag.RETRY)


class Asked(msgspec.Struct, gc=False):
    """Something that waits for its answer: one message, or consecutive SENDs."""

    door: Door
    kind: int
    to: str
    topic: str
    body: bytes
    deadline: float
    flags: int = 0
    expires: float = 0.0  # when the message does, once it is on disk; 0: not named
    is_said: bool = False
    bodies: list[bytes] | None = None  # of consecutive SENDs
    waiting: set[int] = set()  # places in them that have no answer
    refused: dict[int, str] = {}  # place -> reason


class Outgoing(msgspec.Struct, gc=False):
    """One message, or one run, on its way to the socket."""

    kind: int
    id: bytes
    to: str
    topic: str
    correlation: bytes
    deadline: float | None
    body: bytes
    flags: int = 0
    sequence: int = 0  # of what is asked
    asked: Asked | None = None
    span: list[int] | None = None  # of ACKS: first place and count
    is_fresh: bool = False  # said for the first time, though others of what was asked together have been said


class Line:
    """A door's state: where its connection is in the handshake, and what waits for its socket."""

    __slots__ = ("coalesce", "hello", "is_parting", "is_welcomed", "outbox", "staged")

    def __init__(self, *, coalesce: bool = True) -> None:
        self.coalesce = coalesce
        self.is_welcomed = False
        self.is_parting = False  # a goodbye follows a HELLO that has no answer
        self.hello = b""  # id of the last HELLO
        self.outbox: deque[Outgoing] = deque()
        self.staged: list[bytes] | None = None

    def say(self, kind: int, body: bytes = b"", *, identifier: bytes = b"", topic: str = "") -> None:
        """Say something that is nobody's request or answer."""
        self.outbox.append(Outgoing(kind, identifier, "", topic, b"", None, body))

    def take_back(self) -> bool:
        """Say nothing more of what waits; tell whether HELLO had been said: the session that it opens must be ended as well."""
        is_waiting = self.staged is not None or any(one.kind == _HELLO for one in self.outbox)
        self.is_parting = bool(self.hello) and not is_waiting
        self.outbox.clear()
        self.staged = None
        return self.is_parting

    def acknowledge(self, run: bytes, place: int, *, to: str, status: str, body: bytes, count: int = 1) -> None:
        """Answer a message that came in a run; neighbours that came out well are answered together."""
        last = self.outbox[-1] if self.outbox and status == OK else None
        if last is not None and last.span is not None and last.correlation == run and last.topic == OK and sum(last.span) == place:
            last.span[1] += count
        else:
            self.outbox.append(Outgoing(_ACKS, b"", to, status, run, None, body, 0, 0, None, [place, count]))

    def stage(self, now: float) -> list[bytes] | None:
        """Take from the outbox what may go now: one message, or all that are small together."""
        outbox = self.outbox
        if not outbox or not (self.is_welcomed or self.is_parting or outbox[0].kind == _HELLO):
            return None
        if len(outbox) == 1:  # most often
            alone = self._envelope(outbox.popleft(), now)
            return None if alone is None else [encode_header(alone[0]), alone[1]]
        batch: list[tuple[Header, bytes]] = []
        size = 0
        while outbox:
            one = outbox[0]
            is_small = len(one.body) <= BATCHED_BODY
            if batch and (not is_small or size + len(one.body) > BATCH_BYTES or len(batch) == BATCH_LIMIT):
                break
            outbox.popleft()
            envelope = self._envelope(one, now)
            if envelope is None:
                continue
            batch.append(envelope)
            size += len(envelope[1])
            if not is_small or not self.is_welcomed or not self.coalesce:  # HELLO goes alone
                break
        if not batch:
            return None
        if len(batch) == 1:
            return [encode_header(batch[0][0]), batch[0][1]]
        return [BATCH_HEADER, encode_batch(batch)]

    def _envelope(self, one: Outgoing, now: float) -> tuple[Header, bytes] | None:
        """Give what goes out now; None when its deadline has passed."""
        remaining = expiry = 0
        flags, kind, body, asked = one.flags, one.kind, one.body, one.asked
        if one.deadline is not None:
            remaining = int((one.deadline - now) * 1000.0)
            if remaining <= 0:
                return None
            if kind == _PUBLISH:  # its deadline is for leaving; how late it may arrive is for its subscribers to judge
                remaining = 0
        if asked is not None:
            flags = asked.flags
            if asked.is_said and not one.is_fresh:
                flags |= _RETRY
            if asked.expires:
                expiry = max(1, int((asked.expires - now) * 1000.0))
            if kind == _RUN:
                body = encode_body(asked.bodies)
            elif kind == _SEND and not asked.is_said and self.coalesce and self.outbox:
                followers = self._followers(one)
                if followers:
                    kind, body = _RUN, encode_body([body, *followers])
            asked.is_said = True
        elif one.span is not None:
            body = encode_body(one.span if one.topic == OK else [*one.span, trouble_of(body)])
        return Header(VERSION, kind, one.id, "", one.to, one.topic, one.correlation, remaining, flags, expiry), body

    def _followers(self, one: Outgoing) -> list[bytes]:
        """Take from the outbox the SENDs that share a run with one; gives their bodies."""
        outbox = self.outbox
        flags, expires = (one.asked.flags, one.asked.expires) if one.asked is not None else (0, 0.0)
        bodies: list[bytes] = []
        size, sequence, earliest = len(one.body), one.sequence, one.deadline or 0.0
        while outbox and len(bodies) < RUN_LIMIT - 1:
            following = outbox[0]
            asked = following.asked
            if following.kind != _SEND or asked is None or asked.is_said or following.sequence != sequence + 1:
                break
            size += len(following.body)
            is_alike = (following.to, following.topic, asked.flags, asked.expires) == (one.to, one.topic, flags, expires)
            if not is_alike or not earliest <= (following.deadline or 0.0) <= earliest + ALIKE or size > BATCHED_BODY:
                break
            outbox.popleft()
            asked.is_said = True
            sequence += 1
            bodies.append(following.body)
        return bodies
