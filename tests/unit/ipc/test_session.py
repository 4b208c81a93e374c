"""The client's session: frames in, frames out, a clock that is a number."""

import pytest

from dadms_ipc import session as module
from dadms_ipc.codec import (
    BATCH_BYTES,
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
    EXPIRED,
    NO_SESSION,
    OK,
    REFUSED,
    VERSION,
    VIOLATION,
    Door,
    Flag,
    Header,
    Hello,
    Identity,
    Invite,
    Kind,
    Welcome,
    message_id,
)
from dadms_ipc.errors import RequestRefused
from dadms_ipc.session import Session

CLIENT = b"c" * 16
CONTROL, DATA = Door.CONTROL, Door.DATA


class Bench:
    """A session and the bus's part, spoken by the test."""

    def __init__(self, *doors: Door, identity: Identity | None = None, window: int = 256) -> None:
        self.session = Session(CLIENT, identity=identity, software="test", window=window)
        self.now = 100.0
        for door in doors:
            self.session.open(door)

    def tell(self, kind: Kind, body: bytes = b"", *, door: Door = DATA, **fields: object) -> list[int]:
        """Let the bus say something."""
        return self.session.handle(door, [encode_header(Header(VERSION, kind, **fields)), body], self.now)  # type: ignore[arg-type]  # a test's own fields

    def said(self, door: Door = DATA) -> list[tuple[Header, bytes]]:
        """Give all that the session wants to say at a door."""
        found: list[tuple[Header, bytes]] = []
        while (frames := self.session.frames_to_send(door, self.now)) is not None:
            self.session.sent(door)
            header = decode_header(frames[0])
            found.extend(decode_batch(frames[1]) if header.kind == Kind.BATCH else [(header, frames[1])])
        return found

    def kinds(self, door: Door = DATA) -> list[Kind]:
        """Give the kinds of all that the session wants to say."""
        return [Kind(header.kind) for header, _ in self.said(door)]

    def invite(self, door: Door = DATA, bus: bytes = b"B" * 16) -> Hello:
        """Be a new connection; gives the session's hello."""
        self.tell(Kind.INVITE, encode_body(Invite(bus, [1])), door=door)
        (said,) = self.said(door)
        self.hello_id = said[0].id
        return decode_body(said[1], Hello)

    def welcome(self, door: Door = DATA, bus: bytes = b"B" * 16) -> list[int]:
        """Accept the last hello."""
        return self.tell(Kind.WELCOME, encode_body(Welcome(bus, 1, "client/c", "admin")), door=door, correlation=self.hello_id)

    def enter(self, door: Door = DATA, bus: bytes = b"B" * 16) -> None:
        """Be a new connection that is welcomed."""
        self.invite(door, bus)
        self.welcome(door, bus)


def test_nothing_is_said_before_the_invitation_and_only_hello_before_the_welcome() -> None:
    """What is asked meanwhile follows then."""
    bench = Bench(CONTROL)
    bench.session.ask(Kind.CALL, b"\x80", to="kernel", deadline=105.0)
    assert bench.said(CONTROL) == []
    hello = bench.invite(CONTROL)
    assert (hello.client, hello.versions, hello.software, hello.pid, hello.secret) == (CLIENT, [VERSION], "test", 0, b"")
    assert not bench.session.is_welcomed(CONTROL)
    bench.welcome(CONTROL)
    assert bench.session.is_welcomed(CONTROL)
    assert (bench.session.address, bench.session.role, bench.session.bus) == ("client/c", "admin", b"B" * 16)
    ((header, body),) = bench.said(CONTROL)
    assert (header.kind, header.to, header.deadline, header.flags, body) == (Kind.CALL, "kernel", 5000, 0, b"\x80")


def test_a_process_proves_itself() -> None:
    """In each hello."""
    bench = Bench(DATA, identity=Identity(1001, 2, b"secret"))
    for _ in range(2):
        hello = bench.invite()
        assert (hello.pid, hello.incarnation, hello.secret, hello.credit) == (1001, 2, b"secret", 256)


def test_sequences_are_never_used_twice() -> None:
    """Over doors, kinds and hellos."""
    bench = Bench(CONTROL, DATA)
    bench.enter(CONTROL)
    bench.enter(DATA)
    for _ in range(3):
        bench.session.ask(Kind.CALL, deadline=105.0)
        bench.session.ask(Kind.SEND, deadline=105.0)
        bench.session.publish("a")
    ids = [header.id for door in (CONTROL, DATA) for header, _ in bench.said(door)]
    assert len(ids) == len(set(ids)) == 9
    assert all(identifier.startswith(CLIENT) for identifier in ids)


def test_an_answer_is_matched_by_its_correlation_and_given_once() -> None:
    """Answers to others, and to what nobody asked, are ignored."""
    bench = Bench(CONTROL)
    bench.enter(CONTROL)
    sequence = bench.session.ask(Kind.CALL, deadline=105.0)
    for correlation in (b"", message_id(b"x" * 16, sequence), message_id(CLIENT, 99)):
        assert bench.tell(Kind.REPLY, door=CONTROL, topic=OK, correlation=correlation) == []
    assert bench.session.take(sequence) is None
    assert bench.tell(Kind.REPLY, b"\x01", door=CONTROL, topic=OK, correlation=message_id(CLIENT, sequence), sender="kernel") == [sequence]
    assert bench.session.take(sequence) == (OK, b"\x01", "kernel")
    assert bench.session.take(sequence) is None
    assert bench.session.next_deadline() is None


def test_after_a_restart_of_the_bus_everything_unanswered_is_repeated_in_order() -> None:
    """With the same ids, marked; what was answered is not; what was never said is not marked."""
    bench = Bench(CONTROL, DATA)
    bench.enter(CONTROL)
    bench.enter(DATA)
    calls = [bench.session.ask(Kind.CALL, bytes([n]), deadline=110.0) for n in range(3)]
    first = bench.said(CONTROL)
    bench.tell(Kind.REPLY, door=CONTROL, topic=OK, correlation=message_id(CLIENT, calls[1]))
    late = bench.session.ask(Kind.CALL, b"late", deadline=110.0)
    bench.invite(CONTROL, b"N" * 16)
    later = bench.session.ask(Kind.CALL, b"later", deadline=110.0)
    bench.now = 104.0
    bench.welcome(CONTROL, b"N" * 16)
    again = bench.said(CONTROL)
    assert [header.id for header, _ in again] == [first[0][0].id, first[2][0].id, message_id(CLIENT, late), message_id(CLIENT, later)]
    assert [header.flags for header, _ in again] == [Flag.RETRY, Flag.RETRY, 0, 0]
    assert {header.deadline for header, _ in again} == {6000}
    assert bench.said(DATA) == []


def test_subscriptions_are_renewed() -> None:
    """Those that were granted, and not taken back; one without an answer is asked for again as itself."""
    bench = Bench(DATA)
    bench.enter()
    asked = {pattern: bench.session.subscribe(pattern, deadline=200.0) for pattern in ("kept/#", "taken/back", "refused", "open")}
    bench.said()
    for pattern in ("kept/#", "taken/back"):
        bench.tell(Kind.ACK, topic=OK, correlation=message_id(CLIENT, asked[pattern]))
    bench.tell(Kind.REFUSE, trouble("no"), topic=REFUSED, correlation=message_id(CLIENT, asked["refused"]))
    bench.session.unsubscribe("taken/back", deadline=100.5)
    bench.now = 101.0
    bench.session.tick(bench.now)
    bench.enter()
    said = bench.said()
    assert [(Kind(header.kind), header.topic) for header, _ in said] == [(Kind.SUBSCRIBE, "kept/#"), (Kind.SUBSCRIBE, "open")]
    assert said[1][0].id == message_id(CLIENT, asked["open"])


def test_publications_that_wait_go_to_the_next_bus() -> None:
    """They were never said; acknowledgements and credit that waited concern the old connection."""
    bench = Bench(DATA)
    bench.session.publish("early")
    bench.enter()
    assert bench.kinds() == [Kind.PUBLISH]
    bench.session.publish("waiting", deadline=200.0)
    bench.tell(Kind.SEND, id=message_id(b"s" * 16, 1), sender="client/s")
    message = bench.session.receive(bench.now)
    assert message is not None
    bench.session.respond(message, OK)
    bench.enter()
    said = bench.said()
    assert [(Kind(header.kind), header.topic, header.deadline) for header, _ in said] == [(Kind.PUBLISH, "waiting", 0)]


def test_what_waited_past_its_deadline_is_not_said() -> None:
    """Neither a publication nor a request, which is answered EXPIRED."""
    bench = Bench(DATA)
    bench.session.publish("late", deadline=101.0)
    sequence = bench.session.ask(Kind.SEND, to="1001", deadline=101.0)
    assert bench.session.next_deadline() == 101.0
    bench.now = 102.0
    bench.enter()
    assert bench.said() == []
    bench.session.tick(bench.now)
    answer = bench.session.take(sequence)
    assert answer is not None
    assert answer.status == EXPIRED


def test_a_late_answer_is_dropped() -> None:
    """It expired, or was given up."""
    bench = Bench(CONTROL)
    bench.enter(CONTROL)
    expired, given_up = bench.session.ask(Kind.CALL, deadline=101.0), bench.session.ask(Kind.CALL, deadline=105.0)
    bench.session.forget(given_up)
    bench.session.tick(101.0)
    for sequence in (expired, given_up):
        assert bench.tell(Kind.REPLY, door=CONTROL, topic=OK, correlation=message_id(CLIENT, sequence)) == []
    answer = bench.session.take(expired)
    assert answer is not None
    assert answer.status == EXPIRED
    assert bench.session.take(given_up) is None


def test_a_bus_that_forgot_the_session_is_told_hello_again() -> None:
    """Once: while the hello has no answer, more of the same are ignored."""
    bench = Bench(CONTROL)
    bench.enter(CONTROL)
    sequence = bench.session.ask(Kind.CALL, deadline=105.0)
    bench.said(CONTROL)
    for _ in range(3):
        assert (
            bench.tell(Kind.REFUSE, trouble("say hello first"), door=CONTROL, topic=NO_SESSION, correlation=message_id(CLIENT, sequence))
            == []
        )
    ((hello, _),) = bench.said(CONTROL)
    assert hello.kind == Kind.HELLO
    bench.hello_id = hello.id
    bench.welcome(CONTROL)
    ((header, _),) = bench.said(CONTROL)
    assert (header.id, header.flags) == (message_id(CLIENT, sequence), Flag.RETRY)


def test_a_welcome_to_an_older_hello_is_ignored() -> None:
    """It came from a bus that is gone."""
    bench = Bench(CONTROL)
    bench.invite(CONTROL)
    old = bench.hello_id
    bench.invite(CONTROL)
    new, bench.hello_id = bench.hello_id, old
    bench.welcome(CONTROL)
    assert not bench.session.is_welcomed(CONTROL)
    bench.hello_id = new
    bench.welcome(CONTROL)
    assert bench.session.is_welcomed(CONTROL)


def test_a_refused_hello_is_final() -> None:
    """Everything that waits has that answer, and so has everything later."""
    bench = Bench(CONTROL)
    waiting = bench.session.ask(Kind.CALL, deadline=105.0)
    bench.invite(CONTROL)
    assert bench.tell(Kind.REFUSE, trouble("no"), door=CONTROL, topic=REFUSED, correlation=bench.hello_id) == [waiting]
    later = bench.session.ask(Kind.CALL, deadline=105.0)
    for sequence in (waiting, later):
        answer = bench.session.take(sequence)
        assert answer is not None
        assert (answer.status, trouble_of(answer.body)) == (REFUSED, "no")
    assert bench.session.refusal is not None


def test_a_goodbye_of_the_bus_is_final() -> None:
    """The process that it spoke for has ended."""
    bench = Bench(CONTROL)
    bench.enter(CONTROL)
    waiting = bench.session.ask(Kind.CALL, deadline=105.0)
    assert bench.tell(Kind.BYE, trouble("process 1001.1 ended"), door=CONTROL) == [waiting]
    later = bench.session.ask(Kind.CALL, deadline=105.0)
    answers = [bench.session.take(sequence) for sequence in (waiting, later)]
    assert [answer and trouble_of(answer.body) for answer in answers] == ["process 1001.1 ended"] * 2


def test_deliveries_are_received_and_answered() -> None:
    """With the kind that they want, to whom they came from; a repeat is answered again by the session itself."""
    bench = Bench(DATA)
    bench.enter()
    for kind, answer in ((Kind.SEND, Kind.ACK), (Kind.REQUEST, Kind.RESPONSE)):
        identifier = message_id(b"s" * 16, int(kind))
        bench.tell(kind, b"body", id=identifier, sender="client/s", to="1001", topic="t")
        message = bench.session.receive(bench.now)
        assert message is not None
        assert (message.kind, message.body) == (kind, b"body")
        bench.session.respond(message, OK, b"answer")
        bench.tell(kind, b"body", id=identifier, sender="client/s", to="1001", topic="t", flags=Flag.RETRY)
        said = bench.said()
        assert [(header.kind, header.correlation, header.topic, header.to, body) for header, body in said] == [
            (answer, identifier, OK, "client/s", b"answer")
        ] * 2
        assert bench.session.receive(bench.now) is None


def test_credit_is_given_back_as_the_program_takes() -> None:
    """Half a window at a time; repeats count."""
    bench = Bench(DATA, window=4)
    bench.enter()
    for number in range(3):
        bench.tell(Kind.PUBLISH, id=message_id(b"s" * 16, number), topic="a")
    assert bench.said() == []
    bench.session.receive(bench.now)
    bench.session.receive(bench.now)
    ((header, body),) = bench.said()
    assert (header.kind, decode_body(body, int)) == (Kind.CREDIT, 2)


def test_losses_add_up() -> None:
    """As the bus tells them."""
    bench = Bench(DATA)
    bench.enter()
    bench.tell(Kind.LOST, encode_body(3))
    bench.tell(Kind.LOST, encode_body(4))
    assert bench.session.lost == 7


def test_garbage_is_counted_and_ignored() -> None:
    """Unknown kinds are not even garbage: they are of a later version."""
    bench = Bench(DATA)
    bench.enter()
    session = bench.session
    welcome = encode_header(Header(VERSION, Kind.LOST))
    for frames in (
        [],
        [b"\xc1"],
        [b"a", b"b", b"c"],
        [encode_header(Header(VERSION, Kind.BATCH)), b"\xc1"],
        [welcome, b"text"],
        [bytes(5000), b""],
    ):
        assert session.handle(DATA, frames, bench.now) == []
    assert session.violations == 6
    assert bench.tell(Kind.PING) == []
    assert session.handle(DATA, [encode_header(Header(VERSION, 999))], bench.now) == []
    assert session.violations == 6


def test_a_batch_of_the_bus_is_its_messages() -> None:
    """In order."""
    bench = Bench(DATA)
    bench.enter()
    batch = [(Header(VERSION, Kind.PUBLISH, message_id(b"s" * 16, n), topic="a"), bytes([n])) for n in range(3)]
    bench.session.handle(DATA, [encode_header(Header(VERSION, Kind.BATCH)), encode_batch(batch)], bench.now)
    assert [message.body for _ in range(3) if (message := bench.session.receive(bench.now))] == [b"\0", b"\1", b"\2"]


def test_what_waits_together_leaves_together() -> None:
    """Small ones in one batch, large ones alone, in their order; a batch is bounded in messages and bytes."""
    bench = Bench(DATA)
    bench.enter()
    sizes = [10, 20, 100_000, 30, 40]
    for size in sizes:
        bench.session.publish("a", b"x" * size)
    kinds = []
    while (frames := bench.session.frames_to_send(DATA, bench.now)) is not None:
        assert bench.session.frames_to_send(DATA, bench.now) is frames
        bench.session.sent(DATA)
        kinds.append(Kind(decode_header(frames[0]).kind))
    assert kinds == [Kind.BATCH, Kind.PUBLISH, Kind.BATCH]
    for _ in range(BATCH_LIMIT + 1):
        bench.session.publish("a")
    frames = bench.session.frames_to_send(DATA, bench.now)
    assert frames is not None
    assert len(decode_batch(frames[1])) == BATCH_LIMIT
    assert bench.session.waiting(DATA) == 2
    bench.said()
    for _ in range(20):
        bench.session.publish("a", b"x" * 16_000)
    frames = bench.session.frames_to_send(DATA, bench.now)
    assert frames is not None
    assert len(frames[1]) < BATCH_BYTES + 4096


def test_open_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is told at once."""
    monkeypatch.setattr(module, "OPEN_LIMIT", 2)
    bench = Bench(DATA)
    for _ in range(2):
        bench.session.ask(Kind.SEND, to="1001", deadline=105.0)
    with pytest.raises(RequestRefused, match="2 requests wait"):
        bench.session.ask(Kind.SEND, to="1001", deadline=105.0)


def test_deadlines_of_what_was_answered_do_not_pile_up() -> None:
    """A client that asks a million times holds no million deadlines."""
    bench = Bench(CONTROL)
    bench.enter(CONTROL)
    for _ in range(1000):
        sequence = bench.session.ask(Kind.CALL, deadline=1000.0)
        bench.tell(Kind.REPLY, door=CONTROL, topic=OK, correlation=message_id(CLIENT, sequence))
        assert bench.session.take(sequence) is not None
    assert len(bench.session._deadlines) < 200


def test_goodbyes_are_said_where_there_is_somebody() -> None:
    """Not at a door that never welcomed."""
    bench = Bench(CONTROL, DATA)
    bench.enter(CONTROL)
    bench.session.close()
    assert bench.kinds(CONTROL) == [Kind.BYE]
    assert bench.said(DATA) == []
    assert Session(CLIENT).waiting(CONTROL) == 0


def test_a_hello_that_has_no_answer_yet_is_followed_by_a_goodbye() -> None:
    """Else the bus would open the session again that the other door's goodbye has just ended, and wait for its client."""
    bench = Bench(CONTROL, DATA)
    bench.enter(DATA)
    bench.invite(CONTROL)
    bench.session.ask(Kind.CALL, b"\x80", to="kernel", deadline=105.0)
    bench.session.close()
    assert bench.kinds(DATA) == [Kind.BYE]
    assert bench.kinds(CONTROL) == [Kind.BYE]


def test_a_session_that_was_closed_says_hello_to_nobody() -> None:
    """The bus behind a new connection would open it again, after the other door's goodbye."""
    bench = Bench(CONTROL, DATA)
    bench.enter(CONTROL)
    bench.enter(DATA)
    bench.session.close()
    bench.tell(Kind.INVITE, encode_body(Invite(b"N" * 16, [1])), door=CONTROL)
    assert bench.said(CONTROL) == []
    assert bench.kinds(DATA) == [Kind.BYE]


def test_a_hello_that_was_not_said_is_taken_back() -> None:
    bench = Bench(CONTROL)
    bench.tell(Kind.INVITE, encode_body(Invite(b"B" * 16, [1])), door=CONTROL)
    bench.session.close()
    assert bench.said(CONTROL) == []


def test_a_violation_answers_what_it_is_about() -> None:
    """The bus could not read it: so it was not done."""
    bench = Bench(DATA)
    bench.enter()
    sequence = bench.session.ask(Kind.SEND, to="1001", deadline=105.0)
    assert bench.tell(Kind.REFUSE, trouble("broken"), topic=VIOLATION, correlation=message_id(CLIENT, sequence)) == [sequence]
