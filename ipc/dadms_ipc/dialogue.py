"""What both clients do alike: which door a request goes to, with which deadline, what its answer means, and what a received message may be answered with.

The clients differ in who moves the frames and who waits: the caller's own thread (client.py), or the event loop (aio.py). A client belongs to the process in
which it was opened: ZeroMQ contexts do not survive a fork.
"""

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dadms_ipc import targets
from dadms_ipc.codec import BATCH_BYTES, BATCHED_BODY, encode_request, trouble, trouble_of
from dadms_ipc.envelope import BODY_LIMIT, CONTROL_BODY_LIMIT, EXPIRED, OK, PRIORITIES, REFUSED, RUN_LIMIT, STORED, Door, Identity, Kind
from dadms_ipc.errors import DeadlinePassed, PartlyRefused, RequestRefused
from dadms_ipc.inbox import Message
from dadms_ipc.keys import Key
from dadms_ipc.session import LATE, Answer, Session
from dadms_ipc.statuses import raise_for
from dadms_ipc.targets import KERNEL_PORT, Remote
from dadms_ipc.unix_wire import UnixWire
from dadms_ipc.wires import PATIENCE, Watcher, Wire

if TYPE_CHECKING:
    from dadms_ipc.answers import Request
    from dadms_ipc.sockets import Network

START_TIMEOUT = 0.1  # seconds that a missing socket may take to appear: a restarted bus binds it anew
CLOSE_TIMEOUT = 0.2  # seconds that close may take to hand over what waits
OPEN_BYTES = 4 * 1024 * 1024  # of bodies of `send_many` that wait for their answers: what keeps sender, bus and receiver busy at once
OPEN_MESSAGES = 4 * RUN_LIMIT  # of the same
HANDLED = "handled"  # what `send` gives when its receiver has said so
NO_TOPIC = "dadms/none"  # that nobody subscribes to
SLICE = PATIENCE  # seconds of one wait, after which it is looked whether anybody keeps the daemon. Signal handlers of Python run between waits only, and another
# thread may take the signal: SIGINT or SIGCHLD would wait for the request's own deadline
GONE_SECONDS = (
    2.0  # without anybody who keeps the daemon, after which nobody is believed to come: a service manager takes less to start it again
)
TAKEN = 256  # messages that `receive_many` gives at once, at most

# Names of this module's own: a member of an enumeration is looked up in its class at each use.
_CALL, _PUBLISH, _CONTROL, _DATA = Kind.CALL, Kind.PUBLISH, Door.CONTROL, Door.DATA


class Dialogue:
    """A session with the daemon, its sockets, and what is the same whoever waits."""

    def __init__(
        self,
        place: str | Path | None,
        key: str | Path | Key | None,
        *,
        timeout: float,
        identity: Identity | None,
        software: str,
        coalesce: bool,
        service: str,
        receives: bool,
    ) -> None:
        self.target = targets.find(place, key)
        self.timeout = timeout
        self._pid = os.getpid()
        self._session = Session(os.urandom(16), identity=identity, software=software, coalesce=coalesce, service=service, receives=receives)
        self._wires: dict[Door, Wire] = {}
        self._is_open = False
        self._network: Network | None = None  # of a daemon behind one
        self._gone_since: float | None = None  # that nobody keeps the daemon
        self._gone_seen = (0.0, 0)  # when that was last looked at, and how often a bus had welcomed us by then

    @property
    def address(self) -> str:
        """Under which others reach this client."""
        return self._session.address

    @property
    def role(self) -> str:
        """What the bus lets this client do: "observe", "operate" or "admin"."""
        return self._session.role

    @property
    def lost(self) -> int:
        """Publications that the bus dropped as this client did not keep up."""
        return self._session.lost

    def acknowledge(self, message: Message) -> None:
        """Tell the sender that its message was handled."""
        self._respond(message, Kind.SEND, OK, b"")

    def reply(self, message: Message, body: bytes = b"") -> None:
        """Answer a request."""
        self._respond(message, Kind.REQUEST, OK, body)

    def refuse(self, message: Message, reason: str) -> None:
        """Tell the sender that its message or request was not handled, and why."""
        self._respond(message, message.kind, REFUSED, trouble(reason))

    # what the two fill in

    def _clock(self) -> float:
        """Give the time in seconds, of the clock that deadlines are on."""
        raise NotImplementedError

    def _hand_over(self) -> None:
        """Give the sockets what waits for them, now or soon."""
        raise NotImplementedError

    def _joined(self, fd: int) -> None:
        """Watch a new socket's descriptor."""
        raise NotImplementedError

    def _left(self, fd: int) -> None:
        """Watch a descriptor no more."""
        raise NotImplementedError

    def _wants_room(self, fd: int, wants: bool) -> None:
        """Watch a descriptor for writing, too, or no more."""
        raise NotImplementedError

    # within

    def _respond(self, message: Message, expected: Kind, status: str, body: bytes) -> None:
        if message.kind != expected or expected == _PUBLISH:
            raise RequestRefused(f'cannot answer message {message.number} of "{message.sender}" so: it is a {message.kind.name}')
        check_body(body, BODY_LIMIT)
        self._open(Door.DATA)
        self._session.respond(message, status, body)
        self._hand_over()

    def _take(self, limit: int, *, acknowledge: bool) -> list[Message]:
        """Give messages that were delivered, acknowledged if that is wanted."""
        session = self._session
        messages = session.receive_many(limit, self._clock())
        if acknowledge:
            session.acknowledge(messages)
        return messages

    def _seconds(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else timeout

    def _ask(
        self, kind: Kind, body: bytes, to: str, topic: str, seconds: float, priority: str = "normal", expiry: float | None = None
    ) -> int:
        door, limit = (_CONTROL, CONTROL_BODY_LIMIT) if kind == _CALL else (_DATA, BODY_LIMIT)
        if len(body) > limit or body.__class__ is not bytes or topic.__class__ is not str or to.__class__ is not str:
            check_texts(to, topic)
            check_body(body, limit)
        if door not in self._wires or self._pid != os.getpid():
            self._open(door)
        now = self._clock()
        flags, expires = PRIORITIES.get(priority), 0.0 if expiry is None else now + expiry
        if flags is None:
            flags = priority_flags(priority)
        return self._session.ask(kind, body, to=to, topic=topic, deadline=now + seconds, flags=flags, expires=expires)

    def _ask_service(self, request: "Request", timeout: float | None) -> tuple[int, float]:
        return self._ask_encoded(request, encode_request(request), timeout)

    def _ask_encoded(self, request: "Request", body: bytes, timeout: float | None) -> tuple[int, float]:
        from dadms_ipc.answers import patience, service_of  # here: who only sends and receives does without the requests' hundred types

        seconds = self._seconds(timeout) + patience(request)
        return self._ask(Kind.CALL, body, service_of(request), "", seconds), seconds

    def _ask_chunk(self, bodies: list[bytes], to: str, topic: str, seconds: float, priority: str, expiry: float | None) -> int:
        if len(bodies) == 1:
            return self._ask(Kind.SEND, bodies[0], to, topic, seconds, priority, expiry)
        self._open(Door.DATA)
        now = self._clock()
        flags, expires = priority_flags(priority), 0.0 if expiry is None else now + expiry
        return self._session.ask_many(bodies, to=to, topic=topic, deadline=now + seconds, flags=flags, expires=expires)

    def _sending(
        self, to: str, topic: str, bodies: Sequence[bytes], timeout: float | None, priority: str, expiry: float | None
    ) -> Generator[int, Answer | None, None]:
        """Send messages to one receiver, in their order, as many at a time as there is room for: gives what is to be waited for next, and takes its answer.

        Raises PartlyRefused at its end. Closed before that, it waits for nothing any more.
        """
        seconds, refused = self._seconds(timeout), dict[int, str]()
        under_way, pieces = UnderWay(), chunks(bodies)
        try:
            while True:
                while not under_way.is_enough() and (piece := next(pieces, None)) is not None:
                    under_way.add(self._ask_chunk(piece[1], to, topic, seconds, priority, expiry), *piece)
                if not under_way:
                    break
                answer = yield under_way.first()[0]  # what was asked leaves together
                while answer is not None:  # so do those whose room is taken next
                    first, start, size = under_way.pop()
                    bad = self._conclude_chunk(answer, seconds, first, size)
                    refused.update((start + place, reason) for place, reason in bad.items())
                    answer = self._session.take(under_way.first()[0]) if under_way else None
        finally:
            for first in under_way:
                self._session.forget(first)
        raise_refused(refused, len(bodies))

    def _demand_a_keeper(self, now: float) -> None:
        """Raise Unreachable when nobody has kept the daemon for a while: what was asked will not be answered."""
        seen, self._gone_seen = self._gone_seen, (now, self._session.welcomes)
        is_news = (
            now - seen[0] > GONE_SECONDS or seen[1] != self._session.welcomes
        )  # it was looked at for another call, or was there meanwhile
        if not self.target.is_gone():
            self._gone_since = None
        elif self._gone_since is None or is_news:
            self._gone_since = now
        elif now - self._gone_since >= GONE_SECONDS:
            raise self.target.gone()

    def _conclude(self, answer: Answer, seconds: float) -> Answer:
        """Give an answer that came; one that did not is an error."""
        if answer.status != EXPIRED:
            return answer
        if not all(self.target.is_bound(door) for door in self._wires):
            raise self.target.unreachable(seconds)
        why = trouble_of(answer.body)
        raise DeadlinePassed(f"no answer in {seconds:g} s" + (f": {why}" if why != LATE else ""))

    def _conclude_chunk(self, answer: Answer, seconds: float, first: int, size: int) -> dict[int, str]:
        """Give what was refused of a chunk: place -> reason."""
        if self._conclude(answer, seconds).status in (OK, STORED):
            if size > 1:
                self._session.refused(first)
            return {}
        refused = self._session.refused(first) if size > 1 else {}
        if not refused:  # the session ended, or a chunk of one
            return dict.fromkeys(range(size), trouble_of(answer.body))
        return refused

    def _complain(self) -> None:
        """Raise why a publication was refused, if one was."""
        complaint, self._session.complaint = self._session.complaint, None
        if complaint is not None:
            raise_for(complaint.status, complaint.body)

    def _is_published(self) -> bool:
        session = self._session
        return self._is_over or (session.is_welcomed(_DATA) and not self._has_unsent(_DATA))

    def _is_said(self) -> bool:
        return not any(self._has_unsent(door) for door, wire in self._wires.items() if wire.due is None)

    def _open(self, door: Door) -> None:
        if self._pid != os.getpid():
            raise RequestRefused(
                f"cannot use this client in process {os.getpid()}: it belongs to process {self._pid}; open another after the fork"
            )
        if door not in self._wires:
            if not self._is_open:
                raise RequestRefused("cannot use this client: it is not open; it was closed, or never opened")
            self._connect(door)
            self._session.open(door)
            self._hand_over()

    def _connect(self, door: Door) -> None:
        watcher = Watcher(self._joined, self._left, self._wants_room)
        if isinstance(self.target, Remote):
            from dadms_ipc.sockets import Network  # here: it brings pyzmq, which a daemon of this machine is reached without

            self._network = self._network or Network(self.target)
            self._wires[door] = self._network.open(door, self._session.doors, watcher)
        else:
            self._wires[door] = UnixWire(self.target.path(door), door, watcher)

    def _disconnect_all(self) -> None:
        for wire in self._wires.values():
            wire.close()
        self._wires.clear()
        self._is_open = False
        network, self._network = self._network, None
        if network is not None:
            network.close()

    def _hear_denials(self) -> list[int]:
        """Take the daemon's word that it does not let this key in; gives the sequences that have an answer now."""
        if self._network is not None and self._network.is_denied():
            return self._session.deny(str(self.target.denied()))
        return []

    def _flush(self) -> bool:
        """Send all that the sockets take; tell whether that was anything."""
        session, has_sent = self._session, False
        for door in session.doors_with_outgoing():
            wire, now = self._wires.get(door), self._clock()
            while wire is not None and (frames := session.frames_to_send(door, now)) is not None and wire.send(frames):
                session.sent(door)
                has_sent = True
            if wire is not None:
                wire.push()
        return has_sent

    def _has_unsent(self, door: Door) -> bool:
        """Tell whether anything waits for room in the socket of a door where messages flow."""
        wire = self._wires.get(door)
        if wire is None or not self._session.is_welcomed(door):
            return False
        return self._session.waiting(door) > 0 or (wire.due is None and not wire.is_settled)

    @property
    def _is_over(self) -> bool:
        return self._session.refusal is not None or self._session.ended is not None

    def _raise_if_misled(self) -> None:
        """Say which port is which to who came over a network to the one for messages, and expects the daemon's services there."""
        target = self.target
        if isinstance(target, Remote) and target.port == self._session.doors.get("data"):
            raise RequestRefused(
                f"cannot ask the daemon at {target}: {target.port} is its data port, for messages; requests go to a control port, such as the kernel's, {KERNEL_PORT} unless its configuration says otherwise"
            )

    def _raise_if_over(self) -> None:
        if self._session.refusal is not None:
            raise_for(self._session.refusal.status, self._session.refusal.body)
        if self._session.ended is not None:
            raise RequestRefused(f"the bus ended this session: {self._session.ended}")


def decoded(request: "Request", answer: Answer) -> Any:
    """Give the answer of a service as its type, or raise what its status stands for."""
    from dadms_ipc.answers import decode_answer

    return decode_answer(request, answer.status, answer.body)


def chunks(bodies: Sequence[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Cut messages into what may travel in one run, with the place of each first one."""
    start = 0
    while start < len(bodies):
        chunk: list[bytes] = []
        size = 0
        for body in bodies[start : start + RUN_LIMIT]:
            if body.__class__ is not bytes or len(body) > BODY_LIMIT:
                check_body(body, BODY_LIMIT)
            size += len(body)
            if chunk and (len(body) > BATCHED_BODY or size > BATCH_BYTES):
                break
            chunk.append(body)
            if len(body) > BATCHED_BODY:
                break
        yield start, chunk
        start += len(chunk)


class UnderWay:
    """What was asked of `send_many` or `call_many` and has no answer: sequence, first place and count of each piece, in their order."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, int, int, int]] = deque()
        self._messages = 0
        self._size = 0  # bytes of bodies

    def add(self, sequence: int, place: int, bodies: Sequence[bytes]) -> None:
        """Note that a piece was asked."""
        count, size = len(bodies), sum(map(len, bodies))
        self._pieces.append((sequence, place, count, size))
        self._messages += count
        self._size += size

    def first(self) -> tuple[int, int, int]:
        """Give the oldest piece."""
        return self._pieces[0][:3]

    def pop(self) -> tuple[int, int, int]:
        """Give the oldest piece, which is answered, and forget it."""
        sequence, place, count, size = self._pieces.popleft()
        self._messages -= count
        self._size -= size
        return sequence, place, count

    def is_enough(self) -> bool:
        """Tell whether one should be answered before the next is asked."""
        return self._messages >= OPEN_MESSAGES or self._size >= OPEN_BYTES

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def __iter__(self) -> Iterator[int]:
        return (piece[0] for piece in self._pieces)


def raise_refused(refused: dict[int, str], total: int) -> None:
    """Raise what tells which of many messages were refused, if any were."""
    if refused:
        first = min(refused)
        raise PartlyRefused(f"{len(refused)} of {total} messages were not handled; the first, number {first}: {refused[first]}", refused)


def priority_flags(priority: str) -> int:
    """Give the flags of a priority; raises RequestRefused for a word that is none."""
    flags = PRIORITIES.get(priority)
    if flags is None:
        raise RequestRefused(f'cannot send with priority "{priority}": there are {", ".join(PRIORITIES)}')
    return flags


def outcome(answer: Answer) -> str:
    """Give what a SEND came to, or raise what its status stands for."""
    raise_for(answer.status, answer.body)
    return STORED if answer.status == STORED else HANDLED


def check_texts(to: object, topic: object) -> None:
    """Raise TypeError for a receiver or a topic that is no text, before anything of it leaves: a body in the place of a topic is soon written."""
    for name, value in (("to", to), ("topic", topic)):
        if not isinstance(value, str):
            raise TypeError(f"{name} is {type(value).__name__}, and is to be str")


def check_body(body: object, limit: int) -> None:
    """Raise TypeError for what is no bytes, RequestRefused for a body that no door takes."""
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(f"body is {type(body).__name__}, and is to be bytes: encode it first, with msgspec.msgpack.encode or str.encode")
    if len(body) > limit:
        raise RequestRefused(f"cannot send {len(body)} bytes: a body has at most {limit}")


def decode_map(answer: Answer) -> dict[str, object]:
    """Give the map that an answer holds, or raise what its status stands for."""
    raise_for(answer.status, answer.body)
    return msgspec.msgpack.decode(answer.body, type=dict[str, object])
