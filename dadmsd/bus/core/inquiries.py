"""What the bus answers itself: its status, and its dead letters.

Whatever changes the disk is answered when it is there. A letter that is being replayed is nobody else's to touch meanwhile.
"""

import hashlib
from collections.abc import Callable

import msgspec

from dadms_ipc import dead_letters
from dadms_ipc.codec import encode_body, trouble
from dadms_ipc.envelope import HOST, OK, VERSION, Door, Header, Kind
from dadmsd.bus.core.access import LEVELS
from dadmsd.bus.core.addresses import Addresses
from dadmsd.bus.core.disk import Letter, OnDisk
from dadmsd.bus.core.events import Body
from dadmsd.bus.core.keeping import Keeping
from dadmsd.bus.core.letters import DROPPED, Letters
from dadmsd.bus.core.outbox import Outbox
from dadmsd.bus.core.state import Bounds, Exchange, Session

PAGE = 1000  # letters of one answer
_BIN32 = b"\xc6"  # msgpack: binary of a length in four bytes

_requests = msgspec.msgpack.Decoder(dead_letters.Request)
_verb = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])


class Inquiries:
    """Requests to the bus itself."""

    def __init__(
        self, outbox: Outbox, bounds: Bounds, addresses: Addresses, letters: Letters, kept: Keeping, status: Callable[[], dict[str, object]]
    ) -> None:
        self._outbox = outbox
        self._bounds = bounds
        self._addresses = addresses
        self._letters = letters
        self._keeping = kept
        self._status = status

    def answer(self, session: Session, identifier: bytes, body: bytes, now: float) -> str | None:
        """Answer a CALL to the bus; gives the reason when it is refused."""
        if _is_status(body):
            self._reply(session, identifier, OK, encode_body(self._status()))
            return None
        try:
            request = _requests.decode(body)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return f"cannot ask the bus: {error}"
        needed = dead_letters.ROLE_NEEDED[type(request)]
        if LEVELS[session.role] < LEVELS[needed]:
            return f"cannot do this with dead letters: the role {needed} is needed, yours is {session.role}"
        if isinstance(request, dead_letters.DeadLetters):
            self._list(session, identifier, request)
            return None
        if isinstance(request, dead_letters.ShowDeadLetter):
            return self._show(session, identifier, request)
        if isinstance(request, dead_letters.DropDeadLetters):
            reason, what = self._drop(session, identifier, request), f"dropped dead letters {', '.join(map(str, request.numbers[:20]))}"
        else:
            reason, what = self._replay(session, identifier, request, now), f"replayed dead letter {request.number}"
        if reason is None:
            self._outbox.record("did", session.who, session.origin, "CALL", what, now)
        return reason

    def _reply(self, session: Session, identifier: bytes, status: str, body: Body) -> None:
        peer = session.routes.get(Door.CONTROL)
        if peer is not None:
            self._outbox.answer(peer, Kind.REPLY, status, identifier, body, to=session.address)

    def _when_safe(self, session: Session, identifier: bytes, answer: object) -> None:
        """Answer when everything that was said to the disk is there."""

        def done(reason: str) -> None:
            self._reply(session, identifier, HOST if reason else OK, trouble(reason) if reason else encode_body(answer))

        self._keeping.wait(done)

    def _list(self, session: Session, identifier: bytes, request: dead_letters.DeadLetters) -> None:
        letters = self._letters.letters.values()
        if request.after in self._letters.letters:
            numbers = list(self._letters.letters)
            letters_after = [self._letters.letters[number] for number in numbers[numbers.index(request.after) + 1 :]]
        else:
            letters_after = [letter for letter in letters if letter.number > request.after]
        page = letters_after[: max(0, min(PAGE, request.limit))]
        self._reply(session, identifier, OK, encode_body([_shown(letter) for letter in page]))

    def _show(self, session: Session, identifier: bytes, request: dead_letters.ShowDeadLetter) -> str | None:
        letter = self._letters.letters.get(request.number)
        if letter is None:
            return f"cannot show dead letter {request.number}: there is none"
        shown = {name: value for name, value in msgspec.to_builtins(_shown(letter)).items() if name != "body"}
        head = bytearray(encode_body(shown))
        head[0] += 1  # a map of one field more (msgpack's fixmap), which the body is
        self._reply(
            session,
            identifier,
            OK,
            OnDisk(letter.number, letter.size, bytes(head) + encode_body("body") + _BIN32 + letter.size.to_bytes(4, "big")),
        )
        return None

    def _drop(self, session: Session, identifier: bytes, request: dead_letters.DropDeadLetters) -> str | None:
        numbers = list(dict.fromkeys(request.numbers))
        for number in numbers:
            reason = self._letters.refusal(number)
            if reason:
                return f"cannot drop dead letter {number}: {reason}"
        for number in numbers:
            self._letters.remove(number, DROPPED)
        self._when_safe(session, identifier, {"dropped": len(numbers)})
        return None

    def _replay(self, session: Session, identifier: bytes, request: dead_letters.ReplayDeadLetter, now: float) -> str | None:
        what = f"cannot replay dead letter {request.number}"
        reason = self._letters.refusal(request.number)
        if reason:
            return f"{what}: {reason}"
        letter = self._letters.letters[request.number]
        to = request.to or letter.header.to
        address, reason = self._addresses.resolve(to)
        if not reason and not self._addresses.lives(address):
            reason = f'there is no process "{to}"'
        if reason:
            return f"{what}: {reason}"
        if request.expiry < 0 or request.expiry != request.expiry:
            return f"{what}: an expiry of {request.expiry} s"
        expiry = now + (min(self._bounds.expiry_most, request.expiry) if request.expiry else self._bounds.expiry)
        number = self._keeping.number()
        fresh = hashlib.blake2b(letter.header.id + number.to_bytes(8, "big"), digest_size=len(letter.header.id)).digest()
        header = Header(VERSION, Kind.SEND, fresh, letter.header.sender, to, letter.header.topic, b"", 0, letter.header.flags)
        exchange = Exchange(header, OnDisk(letter.number, letter.size), letter.size, None, address, expiry, number, expiry)
        reason = self._keeping.replay(letter, exchange, now)
        if reason:
            return f"{what}: {reason}"
        self._letters.begin_replay(letter.number)

        def done(reason: str) -> None:
            self._letters.end_replay(letter.number, is_done=not reason)
            if reason:
                self._reply(session, identifier, HOST, trouble(f"{what}: {reason}"))
            else:
                self._reply(session, identifier, OK, encode_body({"number": number}))

        self._keeping.wait(done)
        return None


def _is_status(body: bytes) -> bool:
    try:
        return bytes(_verb.decode(body).get("verb", b"")) == encode_body("status")
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False


def _shown(letter: Letter) -> dead_letters.DeadLetter:
    head = letter.header
    return dead_letters.DeadLetter(
        letter.number,
        head.id.hex(),
        head.sender,
        head.to,
        head.topic,
        letter.size,
        letter.stored_at,
        letter.died_at,
        letter.attempts,
        letter.reason,
    )
