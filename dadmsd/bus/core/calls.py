"""Requests to the kernel: handed on at least once, answered to the client that lives at the time.

1. A call stays pending until its reply or its deadline. Each fresh link gets every pending call again, in the order in which they came.
2. The kernel knows a call by ``(client, sequence)``; a repeated one that is pending is not handed on twice over the same link.
3. What the kernel refused, and what only an admin may ask, is written down.
4. The kernel is told until when its answer is waited for: it does nothing that nobody waits for any more. Who repeats a call and will wait longer has it told again.
5. A body is embedded in a message to the kernel, so it must be exactly one msgpack value.
"""

from dataclasses import dataclass

import msgspec

from dadms_ipc import requests
from dadms_ipc.codec import is_one_value, trouble_of
from dadms_ipc.envelope import OK, REFUSED, Door, Header, Kind, split_id
from dadmsd.bus.core.events import ToKernel
from dadmsd.bus.core.outbox import Outbox
from dadmsd.bus.core.state import Bounds, Session
from dadmsd.kernel import link

VERB_SHOWN = 40  # characters: a client may call its request anything
ADMINISTRATIVE = frozenset(str(kind.__struct_config__.tag) for kind, role in requests.ROLE_NEEDED.items() if role == "admin")


class _Verb(msgspec.Struct, gc=False):
    verb: str = ""


_verb = msgspec.msgpack.Decoder(_Verb)


def verb_of(body: msgspec.Raw) -> str:
    """Give what a request asks for; what is no request has no verb, and the kernel says so."""
    try:
        return _verb.decode(body).verb[:VERB_SHOWN]
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""


@dataclass(slots=True, eq=False)
class Call:
    """A request that the kernel has not answered."""

    session: Session
    request: link.Request
    deadline: float
    size: int = 0  # bytes of its body


def _end(call: Call) -> None:
    call.session.calls -= 1
    call.session.tab.end(call.size)


class Calls:
    """All pending calls, by client and sequence."""

    def __init__(self, outbox: Outbox, bounds: Bounds) -> None:
        self._outbox = outbox
        self._bounds = bounds
        self.pending: dict[bytes, Call] = {}  # by message id, which is client and sequence
        self.is_linked = False

    def begin(self, session: Session, header: Header, body: bytes, now: float) -> str | None:
        """Take a CALL; gives the reason when it is refused."""
        longest = now + self._bounds.longest
        deadline = min(longest, now + header.deadline / 1000.0) if header.deadline else longest
        call = self.pending.get(header.id)
        if call is not None:
            self._outbox.counters.repeated += 1
            if deadline > call.deadline:
                call.deadline, call.request = deadline, msgspec.structs.replace(call.request, deadline=deadline)
                self._hand_on(call)
            return None
        if session.calls >= self._bounds.calls:
            return f"cannot ask the kernel: {session.calls} requests of this client wait for it already"
        if (reason := session.tab.refusal(len(body))) is not None:
            return f"cannot ask the kernel: {reason}"
        if not is_one_value(body):
            return "cannot ask the kernel: the body is not exactly one msgpack value"
        client, sequence = split_id(header.id)
        request = link.Request(client, sequence, session.uid, session.role, session.origin, msgspec.Raw(body), deadline)
        self.pending[header.id] = call = Call(session, request, deadline, len(body))
        session.calls += 1
        session.tab.begin(len(body))
        self._outbox.counters.calls += 1
        self._hand_on(call)
        return None

    def _hand_on(self, call: Call) -> None:
        if self.is_linked:
            self._outbox.effects.append(ToKernel(call.request))

    def relink(self) -> None:
        """Hand every pending call to a link that has none of them."""
        self.is_linked = True
        for call in self.pending.values():
            self._outbox.counters.calls_repeated += 1
            self._outbox.effects.append(ToKernel(call.request))

    def reply(self, message: link.Reply, now: float) -> None:
        """Hand a reply to its client; without a connection it asks again when it is back."""
        identifier = message.client + message.sequence.to_bytes(8, "big") if 0 <= message.sequence < 2**64 else b""
        call = self.pending.pop(identifier, None)
        if call is None:
            self._outbox.counters.replies_late += 1
            return
        _end(call)
        self._outbox.counters.replies += 1
        self._write_down(call, message, now)
        peer = call.session.routes.get(Door.CONTROL)
        if peer is not None:
            body = bytes(message.body)
            self._outbox.answer(peer, Kind.REPLY, message.status, identifier, body, sender="kernel", to=call.session.address)

    def _write_down(self, call: Call, message: link.Reply, now: float) -> None:
        session, verb = call.session, verb_of(call.request.body)
        if message.status == REFUSED:
            self._outbox.counters.requests_refused += 1
            self._outbox.record("refused", session.who, session.origin, verb, trouble_of(bytes(message.body)), now)
        elif verb in ADMINISTRATIVE:
            self._outbox.record("did", session.who, session.origin, verb, "" if message.status == OK else message.status, now)

    def abandon(self, session: Session) -> None:
        """Drop the calls of a session that ended for good, and let the kernel do the same."""
        for identifier in [one for one, call in self.pending.items() if call.session is session]:
            _end(self.pending.pop(identifier))
        if self.is_linked:
            self._outbox.effects.append(ToKernel(link.ClientGone(session.client)))

    def sweep(self, now: float) -> float | None:
        """Drop what has expired; gives the next deadline."""
        soonest: float | None = None
        for identifier, call in list(self.pending.items()):
            if call.deadline <= now:
                del self.pending[identifier]
                _end(call)
                self._outbox.counters.calls_expired += 1
            else:
                soonest = call.deadline if soonest is None else min(soonest, call.deadline)
        return soonest
