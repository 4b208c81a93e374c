"""A client's session with the bus, without any I/O: frames in, frames out, and what they mean.

1. Nothing is said at a door before the bus's INVITE, and nothing but HELLO before its WELCOME: so every connection begins the same way, the first as the
   one after a crash of the bus. (The shells' sockets send an empty message on each new connection, which is what the bus answers with INVITE.)
2. Whatever wants an answer has a sequence, is kept until the answer or its deadline comes, and is said again after each WELCOME, in the old order, with the
   same sequence and the flag RETRY. Subscriptions are said again too. Publications and answers are not: a lost answer is asked for again by who needs it.
3. What waits for the socket goes out together (outgoing.py).
4. Garbage from the bus is counted and ignored; a session never raises because of what it received.

The shell's duty: give every received multipart message to ``handle``; whenever the socket takes messages, send what ``frames_to_send`` gives and then
call ``sent``; call ``tick`` when ``next_deadline`` has passed. All times are seconds of one monotonic clock.
"""

import heapq
from collections.abc import Sequence
from typing import Final, NamedTuple

from dadms_ipc.codec import decode_batch, decode_body, decode_header, decode_run, encode_body, trouble, trouble_of
from dadms_ipc.envelope import (
    CLIENT_BYTES,
    DOORS,
    EXPIRED,
    NO_SESSION,
    OK,
    REFUSED,
    STORED,
    VERSION,
    Door,
    Header,
    Hello,
    Identity,
    Kind,
    Span,
    Welcome,
    message_id,
)
from dadms_ipc.errors import PeerViolation, RequestRefused
from dadms_ipc.inbox import WINDOW, Inbox, Message
from dadms_ipc.outgoing import Asked, Line, Outgoing

LATE = "no answer came before the deadline"  # what is said of a request whose answer never came
OPEN_LIMIT = 10_000  # requests and sends without an answer; the bus has the same bound

# Plain numbers: a member of an enumeration is looked up in its class at each use.
_SEND: Final = int(Kind.SEND)
_RUN: Final = int(Kind.RUN)
_ACKS: Final = int(Kind.ACKS)
_PUBLISH: Final = int(Kind.PUBLISH)
_BATCH: Final = int(Kind.BATCH)
_CREDIT: Final = int(Kind.CREDIT)
_ACK: Final = int(Kind.ACK)
_RESPONSE: Final = int(Kind.RESPONSE)
_SUBSCRIBE: Final = int(Kind.SUBSCRIBE)
_DATA: Final = Door.DATA
_ANSWERS = frozenset(map(int, (Kind.REPLY, Kind.ACK, Kind.RESPONSE, Kind.REFUSE)))
_DELIVERIES = frozenset(map(int, (Kind.SEND, Kind.REQUEST, Kind.PUBLISH)))
_DOOR_OF = {int(kind): doors[0] for kind, doors in DOORS.items()}


class Answer(NamedTuple):
    """How something that was asked came out."""

    status: str
    body: bytes
    sender: str = ""


class Session:
    """The protocol from a client's side; see the module for its rules."""

    def __init__(
        self,
        client: bytes,
        *,
        identity: Identity | None = None,
        software: str = "",
        window: int = WINDOW,
        coalesce: bool = True,  # False: each message leaves in a frame of its own, for those who measure
        service: str = "",  # name that this session offers
        receives: bool = True,  # False: it sends and asks, and what is for its process goes to another session
    ) -> None:
        self.client = client
        self.identity = identity
        self.software = software
        self.coalesce = coalesce
        self.service = service
        self.receives = receives
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
        self._lines: dict[Door, Line] = {}
        self._sequence = 0
        self._asked: dict[int, Asked] = {}
        self._many: dict[int, Asked] = {}  # those that are consecutive SENDs
        self._answers: dict[int, Answer] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._subscriptions: dict[str, None] = {}
        self._is_closed = False

    # what a program does

    def open(self, door: Door) -> None:
        """Begin to use a door, for which the shell has connected a socket."""
        self._lines.setdefault(door, Line(coalesce=self.coalesce))

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
        self._begin(self._sequence, Asked(_DOOR_OF[kind], int(kind), to, topic, body, deadline, flags, expires))
        return self._sequence

    def ask_many(self, bodies: list[bytes], *, to: str, topic: str, deadline: float, flags: int = 0, expires: float = 0.0) -> int:
        """Say at most RUN_LIMIT small SENDs to one receiver, which have one answer; gives the sequence to ``take`` it and what was ``refused`` with."""
        if len(self._asked) >= OPEN_LIMIT:
            raise RequestRefused(f'cannot ask "{to or topic}": {OPEN_LIMIT} requests wait for their answers')
        first = self._sequence + 1
        self._sequence += len(bodies)
        self._many[first] = Asked(Door.DATA, _SEND, to, topic, b"", deadline, flags, expires, False, bodies, set(range(len(bodies))), {})
        self._begin(first, self._many[first])
        return first

    def _begin(self, sequence: int, asked: Asked) -> None:
        self._asked[sequence] = asked
        heapq.heappush(self._deadlines, (asked.deadline, sequence))
        if len(self._deadlines) > 2 * len(self._asked) + 64:  # answered ones wait in the heap for their deadlines
            self._deadlines = [(one.deadline, number) for number, one in self._asked.items()]
            heapq.heapify(self._deadlines)
        if (self.ended is not None or self.refusal is not None) and (failed := self._end()) is not None:
            self._finish(sequence, failed)
        elif self._lines[asked.door].is_welcomed:
            self._say(sequence, asked)

    def publish(self, topic: str, body: bytes = b"", *, deadline: float | None = None, flags: int = 0) -> None:
        """Say something to whoever subscribes."""
        self._sequence += 1
        identifier = message_id(self.client, self._sequence)
        self._lines[_DATA].outbox.append(Outgoing(_PUBLISH, identifier, "", topic, b"", deadline, body, flags))

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

    def refused(self, first: int) -> dict[int, str]:
        """Give which of the SENDs of ``ask_many`` were refused, and why: place -> reason. Asked once, when the answer is there."""
        return self._many.pop(first).refused

    def forget(self, sequence: int) -> None:
        """Give up waiting for an answer; one that comes is dropped."""
        self._asked.pop(sequence, None)
        self._many.pop(sequence, None)
        self._answers.pop(sequence, None)

    def receive(self, now: float) -> Message | None:
        """Give the next message that was delivered, and the bus its credit back."""
        message = self.inbox.take(now)
        self._return_credit()
        return message

    def receive_many(self, limit: int, now: float) -> list[Message]:
        """Give the messages that were delivered, and the bus its credit back."""
        messages: list[Message] = []
        while len(messages) < limit and (message := self.inbox.take(now)) is not None:
            messages.append(message)
        self._return_credit()
        return messages

    def respond(self, message: Message, status: str, body: bytes = b"") -> None:
        """Give the receiver's word on a SEND or REQUEST."""
        self.inbox.answer(message.id, status, body)
        self._answer(message.kind == _SEND, message.id, message.sender, status, body, message.run, message.place)

    def acknowledge(self, messages: list[Message]) -> None:
        """Acknowledge the SENDs among messages; neighbours in a run together."""
        start = 0
        while start < len(messages):
            first = messages[start]
            end = start + 1
            if not first.run:
                if first.kind == _SEND:
                    self.respond(first, OK)
            else:
                run, place = first.run, first.place
                while end < len(messages) and messages[end].run == run and messages[end].place == place + end - start:
                    end += 1
                self.inbox.answer_well([message.id for message in messages[start:end]])
                self._lines[_DATA].acknowledge(run, place, to=first.sender, status=OK, body=b"", count=end - start)
            start = end

    def close(self) -> None:
        """Say that the session ends for good; who invites it after that gets no answer."""
        self._is_closed = True
        for line in self._lines.values():
            if line.is_welcomed or line.take_back():
                line.say(int(Kind.BYE))

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

    @property
    def has_outgoing(self) -> bool:
        """Tell whether any message waits for a socket."""
        for line in self._lines.values():  # noqa: SIM110 - asked for each message, and a generator costs more than the answer
            if line.outbox or line.staged is not None:
                return True
        return False

    def doors_with_outgoing(self) -> list[Door]:
        """Give the doors at which messages wait for the socket."""
        return [door for door, line in self._lines.items() if line.outbox or line.staged is not None]

    def frames_to_send(self, door: Door, now: float) -> list[bytes] | None:
        """Give the next multipart message for a door's socket: the same one until ``sent`` is called; None when nothing waits."""
        line = self._lines[door]
        if line.staged is None and line.outbox:
            line.staged = line.stage(now)
        return line.staged

    def sent(self, door: Door) -> None:
        """Note that the socket took what ``frames_to_send`` gave."""
        self._lines[door].staged = None

    def next_deadline(self) -> float | None:
        """Give when ``tick`` has something to do."""
        deadlines, asked = self._deadlines, self._asked
        while deadlines and deadlines[0][1] not in asked:
            heapq.heappop(deadlines)
        return deadlines[0][0] if deadlines else None

    def tick(self, now: float) -> None:
        """Answer what was not answered by its deadline with EXPIRED."""
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            _, sequence = heapq.heappop(self._deadlines)
            self._finish(sequence, Answer(EXPIRED, trouble(LATE)))

    def handle(self, door: Door, frames: Sequence[bytes], now: float) -> list[int]:
        """Take a received multipart message; gives the sequences that have an answer now."""
        answered: list[int] = []
        try:
            if not 1 <= len(frames) <= 2:
                raise PeerViolation(f"a message of {len(frames)} frames")
            header = decode_header(frames[0])
            body = frames[1] if len(frames) == 2 else b""
            if header.kind != _BATCH:
                self._receive(door, header, body, now, answered)
                return answered
            for one, content in decode_batch(body):
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
                self._answer(kind == _SEND, header.id, header.sender, again[0], again[1], b"", 0)
                self._return_credit()
        elif kind in _ANSWERS and header.correlation[:CLIENT_BYTES] == self.client and header.correlation != line.hello:
            if header.topic != NO_SESSION:
                self._settle(int.from_bytes(header.correlation[CLIENT_BYTES:], "big"), header, body, answered)
            elif line.is_welcomed:
                self._greet(door, line)
        elif kind == _RUN:
            for place, again in self.inbox.arrive_run(header, decode_run(body), now):
                self._answer(True, header.id, header.sender, again[0], again[1], header.id, place)
            self._return_credit()
        elif kind == _ACKS and header.correlation[:CLIENT_BYTES] == self.client:
            self._settle_run(header, body, answered)
        elif kind == Kind.INVITE or (kind == Kind.REFUSE and header.topic == NO_SESSION and line.is_welcomed):
            self._greet(door, line)
        elif kind == Kind.WELCOME:
            if header.correlation == line.hello:
                self._enter(door, line, decode_body(body, Welcome))
        elif kind == Kind.REFUSE and header.correlation == line.hello and line.hello:
            self.refusal = Answer(header.topic, body, header.sender)
            self._fail(self.refusal, answered)
        elif kind == Kind.LOST:
            self.lost += decode_body(body, int)
        elif kind == Kind.BYE:
            self.ended = trouble_of(body)
            self._fail(Answer(REFUSED, trouble(self.ended)), answered)

    def _settle(self, sequence: int, header: Header, body: bytes, answered: list[int]) -> None:
        """Take the answer to one message."""
        if sequence in self._asked and sequence not in self._many:
            self._finish(sequence, Answer(header.topic, body, header.sender))
            answered.append(sequence)
            return
        together = self._together(sequence)
        if together is not None:
            first, many, _ = together
            self._settle_places(first, many, range(sequence - first, sequence - first + 1), header.topic, body, answered)
            return
        if header.kind == Kind.REFUSE:  # a publication, which is not waited for
            self.complaint = Answer(header.topic, body, header.sender)

    def _settle_run(self, header: Header, body: bytes, answered: list[int]) -> None:
        """Take the answers to neighbours in a run, whether they were asked together or one by one."""
        span = decode_body(body, Span)
        place, count = span.place, span.count
        first = int.from_bytes(header.correlation[CLIENT_BYTES:], "big")
        word = trouble(span.reason) if header.topic != OK else b""
        many = self._many.get(first)
        if many is not None and many.bodies is not None and self.coalesce:  # said as a run
            if place + count > len(many.bodies):
                raise PeerViolation(f"an answer to places {place} to {place + count - 1} of a run of {len(many.bodies)}")
            self._settle_places(first, many, range(place, place + count), header.topic, word, answered)
            return
        sequence, end = first + place, first + place + count
        while sequence < end:  # the bus may have made a run of what was said one by one
            together = self._together(sequence)
            if together is None:
                self._settle(sequence, header, word, answered)
                sequence += 1
                continue
            start, some, size = together
            behind = min(end, start + size)
            self._settle_places(start, some, range(sequence - start, behind - start), header.topic, word, answered)
            sequence = behind

    def _together(self, sequence: int) -> tuple[int, Asked, int] | None:
        """Give the SENDs that were asked together with one: the first's sequence, what was asked, and how many they are."""
        for first, many in self._many.items():
            if many.bodies is not None and first <= sequence < first + len(many.bodies):
                return first, many, len(many.bodies)
        return None

    def _settle_places(self, first: int, many: Asked, places: range, status: str, body: bytes, answered: list[int]) -> None:
        if status not in (OK, STORED):
            many.refused.update((place, trouble_of(body)) for place in places if place in many.waiting)
        many.waiting.difference_update(places)
        if not many.waiting and first in self._asked:
            self._finish(first, Answer(REFUSED if many.refused else OK, b""))
            answered.append(first)

    def _answer(self, is_send: bool, identifier: bytes, to: str, status: str, body: bytes, run: bytes, place: int) -> None:
        line = self._lines[_DATA]
        if run:
            line.acknowledge(run, place, to=to, status=status, body=body)
        else:
            line.outbox.append(Outgoing(_ACK if is_send else _RESPONSE, b"", to, status, identifier, None, body))

    def _greet(self, door: Door, line: Line) -> None:
        """Say hello; of what waited for the socket, publications wait on, and everything else is kept elsewhere or asked for again."""
        kept = [one for one in line.outbox if one.kind == _PUBLISH]
        line.outbox.clear()
        line.staged = None
        line.is_welcomed = False
        if self._is_closed:
            return
        self._sequence += 1
        line.hello = message_id(self.client, self._sequence)
        credit = self.inbox.credit_at_hello() if door == Door.DATA else 0
        proof = self.identity or Identity(0, 0, b"")
        proven = (proof.pid, proof.incarnation, proof.secret)
        hello = Hello(
            self.client, [VERSION], self.software, credit, *proven, runs=True, service=self.service, spans=True, receives=self.receives
        )
        line.say(int(Kind.HELLO), encode_body(hello), identifier=line.hello)
        line.outbox.extend(kept)

    def _enter(self, door: Door, line: Line, welcome: Welcome) -> None:
        line.is_welcomed = True
        self.bus, self.address, self.role, self.doors = welcome.bus, welcome.address, welcome.role, welcome.doors
        self.welcomes += 1
        kept = list(line.outbox)
        line.outbox.clear()
        if door == Door.DATA:
            for pattern in self._subscriptions:
                self._sequence += 1
                line.say(int(Kind.SUBSCRIBE), identifier=message_id(self.client, self._sequence), topic=pattern)
        for sequence, asked in self._asked.items():
            if asked.door == door:
                self._say(sequence, asked)
        line.outbox.extend(kept)

    def _say(self, sequence: int, asked: Asked) -> None:
        outbox, bodies, identifier = self._lines[asked.door].outbox, asked.bodies, message_id(self.client, sequence)
        if bodies is None:
            outbox.append(Outgoing(asked.kind, identifier, asked.to, asked.topic, b"", asked.deadline, asked.body, 0, sequence, asked))
        elif not asked.is_said and self.coalesce and len(bodies) > 1:
            outbox.append(Outgoing(_RUN, identifier, asked.to, asked.topic, b"", asked.deadline, b"", 0, sequence, asked))
        else:  # each on its own: some have their answers, or that is wanted
            client, to, topic, deadline, is_fresh = self.client, asked.to, asked.topic, asked.deadline, not asked.is_said
            for place in sorted(asked.waiting):
                identifier, number = message_id(client, sequence + place), sequence + place
                outbox.append(Outgoing(_SEND, identifier, to, topic, b"", deadline, bodies[place], 0, number, asked, None, is_fresh))

    def _finish(self, sequence: int, answer: Answer) -> None:
        asked = self._asked.pop(sequence)
        if asked.kind == _SUBSCRIBE and answer.status == OK:
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
        line = self._lines.get(_DATA)
        if line is not None and line.is_welcomed and (credit := self.inbox.credit_due()):
            line.say(_CREDIT, encode_body(credit))
