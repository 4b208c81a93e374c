"""A client's session with the bus, without any I/O: frames in, frames out, and what they mean.

1. Nothing is said at a door before the bus's INVITE, and nothing but HELLO before its WELCOME: so every connection begins the same way, the first as the
   one after a crash of the bus. (The shells' sockets send an empty message on each new connection, which is what the bus answers with INVITE.)
2. Whatever wants an answer has a sequence, is kept until the answer or its deadline comes, and is said again after each WELCOME, in the old order, with the
   same sequence and the flag RETRY. Subscriptions are said again too. Publications and answers are not: a lost answer is asked for again by who needs it.
3. What waits for the socket goes out in one batch when it is small.
4. Garbage from the bus is counted and ignored; a session never raises because of what it received.

The shell's duty: give every received multipart message to ``handle``; whenever the socket takes messages, send what ``frames_to_send`` gives and then
call ``sent``; call ``tick`` when ``next_deadline`` has passed. All times are seconds of one monotonic clock.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from dadms_ipc.codec import (
    BATCH_BYTES,
    BATCH_HEADER,
    BATCHED_BODY,
    decode_batch,
    decode_body,
    decode_header,
    encode_batch,
    encode_body,
    encode_header,
    trouble,
    trouble_of,
)
from dadms_ipc.envelope import (
    BATCH_LIMIT,
    DOORS,
    EXPIRED,
    NO_SESSION,
    REFUSED,
    VERSION,
    Door,
    Flag,
    Header,
    Hello,
    Identity,
    Kind,
    Welcome,
    message_id,
    split_id,
)
from dadms_ipc.errors import PeerViolation, RequestRefused
from dadms_ipc.inbox import WINDOW, Inbox, Message

OPEN_LIMIT = 10_000  # requests and sends without an answer; the bus has the same bound

_ANSWERS = frozenset({Kind.REPLY, Kind.ACK, Kind.RESPONSE, Kind.REFUSE})
_DELIVERIES = frozenset({Kind.SEND, Kind.REQUEST, Kind.PUBLISH})


class Answer(NamedTuple):
    """How something that was asked came out."""

    status: str
    body: bytes
    sender: str = ""


class _Asked(msgspec.Struct, gc=False):
    """Something that waits for its answer."""

    door: Door
    kind: Kind
    to: str
    topic: str
    body: bytes
    deadline: float
    is_said: bool = False
    flags: int = 0
    expires: float = 0.0  # when the message does, once it is on disk; 0: not named


class _Outgoing(NamedTuple):
    kind: Kind
    id: bytes
    to: str
    topic: str
    correlation: bytes
    deadline: float | None
    body: bytes
    flags: int = 0


class _Line:
    """One door as the session sees it."""

    def __init__(self) -> None:
        self.is_greeted = False  # HELLO was said, WELCOME has not come
        self.is_welcomed = False
        self.hello = b""  # id of the last HELLO
        self.outbox: deque[_Outgoing] = deque()
        self.staged: list[bytes] | None = None


class Session:
    """The protocol from a client's side; see the module for its rules."""

    def __init__(self, client: bytes, *, identity: Identity | None = None, software: str = "", window: int = WINDOW) -> None:
        self.client = client
        self.identity = identity
        self.software = software
        self.inbox = Inbox(window)
        self.address = ""
        self.role = ""
        self.doors: dict[str, int] = {}  # of a daemon behind a network: door -> port
        self.bus = b""  # of the bus that welcomed last
        self.welcomes = 0
        self.violations = 0  # frames of the bus that could not be read
        self.lost = 0  # publications that the bus dropped as this client did not keep up
        self.complaint: Answer | None = None  # why the bus refused a publication, the last one that it did
        self.refusal: Answer | None = None  # of HELLO: this session will never be
        self.ended: str | None = None  # why the bus ended the session
        self._lines: dict[Door, _Line] = {}
        self._sequence = 0
        self._asked: dict[int, _Asked] = {}
        self._answers: dict[int, Answer] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._subscriptions: dict[str, None] = {}

    # what a program does

    def open(self, door: Door) -> None:
        """Begin to use a door, for which the shell has connected a socket."""
        self._lines.setdefault(door, _Line())

    def is_welcomed(self, door: Door) -> bool:
        """Tell whether messages flow at a door, as far as the session knows."""
        return door in self._lines and self._lines[door].is_welcomed

    def ask(
        self, kind: Kind, body: bytes = b"", *, to: str = "", topic: str = "", deadline: float, flags: int = 0, expires: float = 0.0
    ) -> int:
        """Say something that is answered; gives the sequence to ``take`` the answer with."""
        if len(self._asked) >= OPEN_LIMIT:
            raise RequestRefused(f'cannot ask "{to or topic}": {OPEN_LIMIT} requests wait for their answers')
        self._sequence += 1
        sequence = self._sequence
        door = DOORS[kind][0]
        asked = self._asked[sequence] = _Asked(door, kind, to, topic, body, deadline, False, flags, expires)
        heapq.heappush(self._deadlines, (deadline, sequence))
        if len(self._deadlines) > 2 * len(self._asked) + 64:  # answered ones wait in the heap for their deadlines
            self._deadlines = [(one.deadline, number) for number, one in self._asked.items()]
            heapq.heapify(self._deadlines)
        failed = self._end()
        if failed is not None:
            self._finish(sequence, failed)
        elif self._lines[door].is_welcomed:
            self._say(sequence, asked)
        return sequence

    def publish(self, topic: str, body: bytes = b"", *, deadline: float | None = None, flags: int = 0) -> None:
        """Say something to whoever subscribes."""
        self._sequence += 1
        self._lines[Door.DATA].outbox.append(
            _Outgoing(Kind.PUBLISH, message_id(self.client, self._sequence), "", topic, b"", deadline, body, flags)
        )

    def subscribe(self, pattern: str, *, deadline: float) -> int:
        """Ask for publications; the subscription is renewed by itself once it was granted."""
        return self.ask(Kind.SUBSCRIBE, topic=pattern, deadline=deadline)

    def unsubscribe(self, pattern: str, *, deadline: float) -> int:
        """Ask for no more publications of this pattern."""
        self._subscriptions.pop(pattern, None)
        return self.ask(Kind.UNSUBSCRIBE, topic=pattern, deadline=deadline)

    def take(self, sequence: int) -> Answer | None:
        """Give an answer once it is there; each is given once."""
        return self._answers.pop(sequence, None)

    def forget(self, sequence: int) -> None:
        """Give up waiting for an answer; one that comes is dropped."""
        self._asked.pop(sequence, None)
        self._answers.pop(sequence, None)

    def receive(self, now: float) -> Message | None:
        """Give the next message that was delivered, and the bus its credit back."""
        message = self.inbox.take(now)
        self._return_credit()
        return message

    def respond(self, message: Message, status: str, body: bytes = b"") -> None:
        """Give the receiver's word on a SEND or REQUEST."""
        kind = Kind.ACK if message.kind == Kind.SEND else Kind.RESPONSE
        self.inbox.answer(message.id, status, body)
        self._lines[Door.DATA].outbox.append(_Outgoing(kind, b"", message.sender, status, message.id, None, body))

    def close(self) -> None:
        """Say that the session ends for good."""
        for line in self._lines.values():
            if line.is_welcomed:
                line.outbox.append(_Outgoing(Kind.BYE, b"", "", "", b"", None, b""))

    def deny(self, reason: str) -> list[int]:
        """Note that the daemon turned this client away before any word was said; gives the sequences that have an answer now."""
        answered: list[int] = []
        self.refusal = Answer(REFUSED, trouble(reason))
        self._fail(self.refusal, answered)
        return answered

    # what a shell does

    def waiting(self, door: Door) -> int:
        """Give how many messages wait for the socket of a door."""
        line = self._lines.get(door)
        return 0 if line is None else len(line.outbox) + (line.staged is not None)

    def frames_to_send(self, door: Door, now: float) -> list[bytes] | None:
        """Give the next multipart message for a door's socket: the same one until ``sent`` is called; None when nothing waits."""
        line = self._lines[door]
        if line.staged is None:
            line.staged = self._stage(line, now)
        return line.staged

    def sent(self, door: Door) -> None:
        """Note that the socket took what ``frames_to_send`` gave."""
        self._lines[door].staged = None

    def next_deadline(self) -> float | None:
        """Give when ``tick`` has something to do."""
        while self._deadlines and self._deadlines[0][1] not in self._asked:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def tick(self, now: float) -> None:
        """Answer what was not answered by its deadline with EXPIRED."""
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            _, sequence = heapq.heappop(self._deadlines)
            self._finish(sequence, Answer(EXPIRED, trouble("no answer came before the deadline")))

    def handle(self, door: Door, frames: Sequence[bytes], now: float) -> list[int]:
        """Take a received multipart message; gives the sequences that have an answer now."""
        answered: list[int] = []
        try:
            if not 1 <= len(frames) <= 2:
                raise PeerViolation(f"a message of {len(frames)} frames")
            header = decode_header(frames[0])
            body = frames[1] if len(frames) == 2 else b""
            envelopes = decode_batch(body) if header.kind == Kind.BATCH else [(header, body)]
            for one, content in envelopes:
                self._receive(door, one, content, now, answered)
        except PeerViolation:
            self.violations += 1
        return answered

    # the protocol

    def _receive(self, door: Door, header: Header, body: bytes, now: float, answered: list[int]) -> None:
        kind, line = header.kind, self._lines[door]
        if kind in _DELIVERIES:
            again = self.inbox.arrive(header, body, now)
            if again is not None:
                answer = Kind.ACK if kind == Kind.SEND else Kind.RESPONSE
                line.outbox.append(_Outgoing(answer, b"", header.sender, again[0], header.id, None, again[1]))
                self._return_credit()
        elif kind == Kind.INVITE or (kind == Kind.REFUSE and header.topic == NO_SESSION and line.is_welcomed):
            self._greet(door, line)
        elif kind == Kind.WELCOME:
            if header.correlation == line.hello:
                self._enter(door, line, decode_body(body, Welcome))
        elif kind == Kind.REFUSE and header.correlation == line.hello and line.hello:
            self.refusal = Answer(header.topic, body, header.sender)
            self._fail(self.refusal, answered)
        elif kind in _ANSWERS:
            client, sequence = split_id(header.correlation)
            if client == self.client and sequence in self._asked and header.topic != NO_SESSION:
                self._finish(sequence, Answer(header.topic, body, header.sender))
                answered.append(sequence)
            elif client == self.client and kind == Kind.REFUSE and header.topic != NO_SESSION:  # a publication, which is not waited for
                self.complaint = Answer(header.topic, body, header.sender)
        elif kind == Kind.LOST:
            self.lost += decode_body(body, int)
        elif kind == Kind.BYE:
            self.ended = trouble_of(body)
            self._fail(Answer(REFUSED, trouble(self.ended)), answered)

    def _greet(self, door: Door, line: _Line) -> None:
        """Say hello; of what waited for the socket, publications wait on, and everything else is kept elsewhere or asked for again."""
        kept = [one for one in line.outbox if one.kind == Kind.PUBLISH]
        line.outbox.clear()
        line.staged = None
        line.is_welcomed, line.is_greeted = False, True
        self._sequence += 1
        line.hello = message_id(self.client, self._sequence)
        credit = self.inbox.credit_at_hello() if door == Door.DATA else 0
        proof = self.identity or Identity(0, 0, b"")
        hello = Hello(self.client, [VERSION], self.software, credit, proof.pid, proof.incarnation, proof.secret)
        line.outbox.append(_Outgoing(Kind.HELLO, line.hello, "", "", b"", None, encode_body(hello)))
        line.outbox.extend(kept)

    def _enter(self, door: Door, line: _Line, welcome: Welcome) -> None:
        line.is_welcomed, line.is_greeted = True, False
        self.bus, self.address, self.role, self.doors = welcome.bus, welcome.address, welcome.role, welcome.doors
        self.welcomes += 1
        kept = list(line.outbox)
        line.outbox.clear()
        if door == Door.DATA:
            for pattern in self._subscriptions:
                self._sequence += 1
                line.outbox.append(_Outgoing(Kind.SUBSCRIBE, message_id(self.client, self._sequence), "", pattern, b"", None, b""))
        for sequence, asked in self._asked.items():
            if asked.door == door:
                self._say(sequence, asked)
        line.outbox.extend(kept)

    def _say(self, sequence: int, asked: _Asked) -> None:
        outgoing = _Outgoing(asked.kind, message_id(self.client, sequence), asked.to, asked.topic, b"", asked.deadline, asked.body)
        self._lines[asked.door].outbox.append(outgoing)

    def _finish(self, sequence: int, answer: Answer) -> None:
        asked = self._asked.pop(sequence)
        if asked.kind == Kind.SUBSCRIBE and answer.status == "ok":
            self._subscriptions[asked.topic] = None
        self._answers[sequence] = answer

    def _fail(self, answer: Answer, answered: list[int]) -> None:
        for sequence in list(self._asked):
            self._finish(sequence, answer)
            answered.append(sequence)

    def _end(self) -> Answer | None:
        if self.ended is not None:
            return Answer(REFUSED, trouble(self.ended))
        return self.refusal

    def _return_credit(self) -> None:
        line = self._lines.get(Door.DATA)
        if line is not None and line.is_welcomed and (credit := self.inbox.credit_due()):
            line.outbox.append(_Outgoing(Kind.CREDIT, b"", "", "", b"", None, encode_body(credit)))

    def _stage(self, line: _Line, now: float) -> list[bytes] | None:
        """Take from the outbox what may go now: one message, or all that are small in one batch."""
        if not line.is_welcomed and not (line.outbox and line.outbox[0].kind == Kind.HELLO):
            return None
        batch: list[tuple[Header, bytes]] = []
        size = 0
        while line.outbox:
            one = line.outbox[0]
            is_small = len(one.body) <= BATCHED_BODY
            if batch and (not is_small or size + len(one.body) > BATCH_BYTES or len(batch) == BATCH_LIMIT):
                break
            line.outbox.popleft()
            header = self._header(one, now)
            if header is None:
                continue
            batch.append((header, one.body))
            size += len(one.body)
            if not is_small or not line.is_welcomed:  # HELLO goes alone
                break
        if not batch:
            return None
        if len(batch) == 1:
            return [encode_header(batch[0][0]), batch[0][1]]
        return [BATCH_HEADER, encode_batch(batch)]

    def _header(self, one: _Outgoing, now: float) -> Header | None:
        """Give the header of a message that goes out now; None when its deadline has passed."""
        remaining = 0
        if one.deadline is not None:
            remaining = int((one.deadline - now) * 1000.0)
            if remaining <= 0:
                return None
            if one.kind == Kind.PUBLISH:  # its deadline is for leaving; how late it may arrive is for its subscribers to judge
                remaining = 0
        flags, expiry = one.flags, 0
        if one.kind in DOORS and one.id and one.kind not in (Kind.PUBLISH, Kind.HELLO):
            asked = self._asked.get(split_id(one.id)[1])
            if asked is not None:
                flags = asked.flags | (Flag.RETRY if asked.is_said else 0)
                asked.is_said = True
                if asked.expires:
                    expiry = max(1, int((asked.expires - now) * 1000.0))
        return Header(VERSION, one.kind, one.id, "", one.to, one.topic, one.correlation, remaining, flags, expiry)
