"""What arrived at a client and was not handled yet, and the memory that makes a repeated message harmless.

1. A SEND or REQUEST whose id was seen is not handed out again: its answer is repeated, or is still to come.
2. The bus delivers at most ``window`` messages ahead of the program: whatever the program takes gives credit back, half a window at a time, or 4 MiB of bodies.
3. What the memory forgets is bounded in entries and in bytes of kept answers; an answer too old to be kept is repeated as a refusal that says so.
"""

from collections import OrderedDict, deque

import msgspec

from dadms_ipc.codec import trouble
from dadms_ipc.envelope import OK, REFUSED, SEQUENCES, Flag, Header, Kind, split_id
from dadms_ipc.errors import PeerViolation

WINDOW = 1024  # deliveries ahead of the program: some runs, so that the round trip of CREDIT is hidden at full speed
SEEN_LIMIT = 10_000  # ids remembered: far more than the bus has in flight to one client
CREDIT_BYTES = 4 * 1024 * 1024  # of bodies taken: the bus counts them as well, and holds back a large body behind as many
KEPT_BYTES = 8 * 1024 * 1024  # of answers that may have to be repeated

_WELL = (OK, b"")
_FORGOTTEN = (REFUSED, trouble("this was answered before, and the answer is no longer kept"))


_KINDS = {int(kind): kind for kind in (Kind.SEND, Kind.REQUEST, Kind.PUBLISH)}
_RETRY = int(Flag.RETRY)
_PUBLISH = int(Kind.PUBLISH)


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message that was delivered."""

    kind: Kind  # SEND, REQUEST or PUBLISH
    id: bytes
    sender: str
    to: str
    topic: str
    body: bytes
    deadline: float | None  # on the session's clock, seconds
    is_retry: bool  # somebody may have seen it before
    run: bytes = b""  # id of the run that it came in
    place: int = 0  # in that run

    @property
    def thread(self) -> int:
        """Number of the thread that it is for; 0: for the process itself."""
        tail = self.to.rpartition("/")[2] if "/" in self.to else ""
        return int(tail) if tail.isascii() and tail.isdecimal() else 0

    @property
    def number(self) -> int:
        """Sequence of the message at its sender; of ``events/…``: the event's number."""
        return split_id(self.id)[1]


class Inbox:
    """Delivered messages in order, and the answers that were given."""

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window
        self.expired = 0  # messages that waited here past their deadline
        self.repeated = 0  # messages that had been seen
        self._ready: deque[Message] = deque()
        self._seen: OrderedDict[bytes, tuple[str, bytes] | None] = OrderedDict()
        self._kept = 0
        self._taken = 0  # since credit was last given back
        self._taken_bytes = 0  # of their bodies

    def __len__(self) -> int:
        return len(self._ready)

    def arrive(self, header: Header, body: bytes, now: float) -> tuple[str, bytes] | None:
        """Take a delivery; gives the answer to repeat when it had been answered before."""
        if header.kind != _PUBLISH:
            if header.id in self._seen:
                self.repeated += 1
                self._taken += 1  # it will never be taken by the program
                self._taken_bytes += len(body)
                return self._seen[header.id]
            self._seen[header.id] = None
            if len(self._seen) > SEEN_LIMIT:
                _, forgotten = self._seen.popitem(last=False)
                self._kept -= len(forgotten[1]) if forgotten else 0
        deadline = now + header.deadline / 1000.0 if header.deadline else None
        retry = bool(header.flags & _RETRY)
        self._ready.append(Message(_KINDS[header.kind], header.id, header.sender, header.to, header.topic, body, deadline, retry))
        return None

    def arrive_run(self, header: Header, bodies: list[bytes], now: float) -> list[tuple[int, tuple[str, bytes]]]:
        """Take a run; gives the places that had been answered before, and how."""
        client, first = split_id(header.id)
        if first + len(bodies) > SEQUENCES:
            raise PeerViolation(f"a run of {len(bodies)} messages whose last ones have no sequence")
        deadline = now + header.deadline / 1000.0 if header.deadline else None
        run, sender, to, topic, retry, send = header.id, header.sender, header.to, header.topic, bool(header.flags & _RETRY), Kind.SEND
        seen, ready = self._seen, self._ready
        again: list[tuple[int, tuple[str, bytes]]] = []
        numbers = range(first, first + len(bodies))
        identifiers = [client + number.to_bytes(8, "big") for number in numbers]
        if seen.keys().isdisjoint(identifiers):  # nearly always
            seen.update(dict.fromkeys(identifiers))
            ready.extend(
                [
                    Message(send, identifier, sender, to, topic, body, deadline, retry, run, place)
                    for place, (identifier, body) in enumerate(zip(identifiers, bodies, strict=True))
                ]
            )
            self._trim()
            return again
        for place, (identifier, body) in enumerate(zip(identifiers, bodies, strict=True)):
            if identifier in seen:
                self.repeated += 1
                self._taken += 1
                self._taken_bytes += len(body)
                answer = seen[identifier]
                if answer is not None:
                    again.append((place, answer))
                continue
            seen[identifier] = None
            ready.append(Message(send, identifier, sender, to, topic, body, deadline, retry, run, place))
        self._trim()
        return again

    def _trim(self) -> None:
        """Forget the oldest ids."""
        take_oldest = self._seen.popitem
        for _ in range(len(self._seen) - SEEN_LIMIT):
            forgotten = take_oldest(False)[1]
            if forgotten is not None and forgotten is not _WELL:
                self._kept -= len(forgotten[1])

    def take(self, now: float) -> Message | None:
        """Give the oldest message that is still wanted."""
        while self._ready:
            message = self._ready.popleft()
            self._taken += 1
            self._taken_bytes += len(message.body)
            if message.deadline is None or message.deadline > now:
                return message
            self.expired += 1
            self._seen.pop(message.id, None)
        return None

    def answer(self, identifier: bytes, status: str, body: bytes) -> None:
        """Remember how a message was answered."""
        if self._seen.get(identifier, _FORGOTTEN) is not None:
            return
        self._seen[identifier] = (status, body)
        self._kept += len(body)
        if self._kept > KEPT_BYTES:
            self._shed()

    def answer_well(self, identifiers: list[bytes]) -> None:
        """Remember that messages were acknowledged."""
        seen = self._seen
        for identifier in identifiers:
            if seen.get(identifier, _FORGOTTEN) is None:
                seen[identifier] = _WELL

    def _shed(self) -> None:
        """Forget the oldest kept answers, but not that they were given."""
        for identifier, answer in self._seen.items():
            if answer is not None and answer is not _FORGOTTEN and answer[1]:
                self._seen[identifier] = _FORGOTTEN  # an assignment to a present key does not disturb the iteration
                self._kept -= len(answer[1])
                if self._kept <= KEPT_BYTES // 2:
                    return

    def credit_at_hello(self) -> int:
        """Give how many deliveries may come on a fresh connection, what waits here taken off."""
        self._taken = self._taken_bytes = 0
        return max(0, self.window - len(self._ready))

    def credit_due(self) -> int:
        """Give the credit to return now, or 0 while it is less than half a window and the bodies were small."""
        if self._taken * 2 < self.window and self._taken_bytes < CREDIT_BYTES:
            return 0
        taken, self._taken, self._taken_bytes = self._taken, 0, 0
        return taken
