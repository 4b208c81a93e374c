"""Runs at a client: what travels together, and what each message of it comes to."""

import pytest

from dadms_ipc.codec import BATCHED_BODY, encode_body, trouble
from dadms_ipc.dialogue import chunks, raise_refused
from dadms_ipc.envelope import EXPIRED, OK, REFUSED, RUN_LIMIT, Flag, Kind, Span, message_id
from dadms_ipc.errors import PartlyRefused
from dadms_ipc.session import Session
from tests.unit.ipc.test_session import CLIENT, DATA, Bench

OTHER = b"o" * 16


def entered() -> Bench:
    """Give a session that is welcomed at the data door."""
    bench = Bench(DATA)
    bench.enter()
    return bench


def send(bench: Bench, *bodies: bytes, to: str = "1001", deadline: float = 105.0) -> list[int]:
    """Send each on its own; gives the sequences."""
    return [bench.session.ask(Kind.SEND, body, to=to, topic="T", deadline=deadline) for body in bodies]


def acks(bench: Bench, first: int, place: int, count: int, reason: str = "") -> list[int]:
    """Let the receiver answer some of a run."""
    status = REFUSED if reason else OK
    return bench.tell(Kind.ACKS, encode_body(Span(place, count, reason)), topic=status, correlation=message_id(CLIENT, first))


def test_sends_that_wait_together_leave_as_a_run() -> None:
    """One header, and each has an answer of its own."""
    bench = entered()
    sequences = send(bench, b"a", b"b", b"c")
    ((header, body),) = bench.said()
    assert (header.kind, header.id, header.to, header.topic, header.deadline) == (
        Kind.RUN, message_id(CLIENT, sequences[0]), "1001", "T", 5000)  # fmt: skip
    assert body == encode_body([b"a", b"b", b"c"])
    assert acks(bench, sequences[0], 0, 2) == sequences[:2]
    assert bench.session.take(sequences[0]) == (OK, b"", "")
    assert acks(bench, sequences[0], 2, 1, "no") == sequences[2:]
    assert bench.session.take(sequences[2]) == (REFUSED, trouble("no"), "")


@pytest.mark.parametrize("other", [{"to": "1002"}, {"deadline": 104.0}, {"deadline": 106.0}])
def test_a_run_has_one_receiver_and_one_deadline(other: dict[str, object]) -> None:
    """Others go beside it, in one batch."""
    bench = entered()
    send(bench, b"a", b"b")
    send(bench, b"c", **other)  # type: ignore[arg-type]  # a test's own fields
    assert bench.kinds() == ([Kind.RUN, Kind.SEND])


def test_a_run_is_consecutive_and_bounded() -> None:
    """In number and in size; what comes between breaks it."""
    bench = entered()
    send(bench, b"a", b"b")
    bench.session.ask(Kind.SUBSCRIBE, topic="t", deadline=105.0)
    send(bench, b"c", b"x" * BATCHED_BODY, b"d")
    assert bench.kinds() == [Kind.RUN, Kind.SUBSCRIBE, Kind.SEND, Kind.SEND, Kind.SEND]
    send(bench, *[b"y"] * (RUN_LIMIT + 1))
    assert bench.kinds() == [Kind.RUN, Kind.SEND]


def test_what_was_said_once_is_said_again_one_by_one() -> None:
    """With RETRY, and without what has its answer."""
    bench = entered()
    single = send(bench, b"a", b"b")
    many = bench.session.ask_many([b"c", b"d", b"e"], to="1001", topic="T", deadline=105.0)
    assert bench.kinds() == [Kind.RUN, Kind.RUN]
    acks(bench, single[0], 0, 1)
    acks(bench, many, 1, 1)
    bench.enter()
    said = bench.said()
    assert [(header.kind, header.flags, body) for header, body in said] == [(Kind.SEND, Flag.RETRY, body) for body in (b"b", b"c", b"e")]
    for header, _ in said[1:]:
        bench.tell(Kind.ACK, topic=OK, correlation=header.id)
    assert bench.session.take(many) == (OK, b"", "")


def test_many_have_one_answer_and_tell_what_was_refused() -> None:
    """Refusals of some places, answers that come twice or lie outside, and a deadline."""
    bench = entered()
    many = bench.session.ask_many([b"a", b"b", b"c"], to="1001", topic="T", deadline=105.0)
    bench.said()
    assert acks(bench, many, 0, 1) == acks(bench, many, 0, 1) == acks(bench, many, 2, 5) == []
    bench.tell(Kind.REFUSE, trouble("full"), topic=REFUSED, correlation=message_id(CLIENT, many + 1))
    assert acks(bench, many, 2, 1) == [many]
    answer = bench.session.take(many)
    assert answer is not None
    assert answer.status == REFUSED
    assert bench.session.refused(many) == {1: "full"}
    late = bench.session.ask_many([b"a", b"b"], to="1001", topic="T", deadline=105.0)
    bench.session.tick(105.0)
    answer = bench.session.take(late)
    assert answer is not None
    assert answer.status == EXPIRED
    bench.session.forget(late)
    assert acks(bench, late, 0, 2) == []


def test_a_run_is_handed_out_message_by_message_and_answered_together() -> None:
    """Neighbours that came out well share an answer."""
    bench = entered()
    run = message_id(OTHER, 7)
    bench.tell(Kind.RUN, encode_body([b"a", b"b", b"c", b"d"]), id=run, sender="1001", topic="T", deadline=1000)
    messages = bench.session.receive_many(10, bench.now)
    assert [(one.id, one.body, one.sender, one.kind, one.deadline) for one in messages] == [
        (message_id(OTHER, 7 + place), body, "1001", Kind.SEND, 101.0) for place, body in enumerate((b"a", b"b", b"c", b"d"))
    ]
    for message, status in zip(messages, (OK, OK, REFUSED, OK), strict=True):
        bench.session.respond(message, status, b"" if status == OK else trouble("no"))
    assert [(header.kind, header.to, header.topic, header.correlation, body) for header, body in bench.said()] == [
        (Kind.ACKS, "1001", OK, run, encode_body([0, 2])),
        (Kind.ACKS, "1001", REFUSED, run, encode_body([2, 1, "no"])),
        (Kind.ACKS, "1001", OK, run, encode_body([3, 1])),
    ]


def test_a_repeated_message_of_a_run_is_not_handed_out_again() -> None:
    """As a run or alone: its answer is repeated."""
    bench = entered()
    run = message_id(OTHER, 7)
    bench.tell(Kind.RUN, encode_body([b"a", b"b"]), id=run, sender="1001")
    first, second = bench.session.receive_many(10, bench.now)
    bench.session.respond(first, OK)
    bench.said()
    bench.tell(Kind.RUN, encode_body([b"a", b"b", b"c"]), id=run, sender="1001", flags=Flag.RETRY)
    bench.tell(Kind.SEND, b"a", id=first.id, sender="1001", flags=Flag.RETRY)
    assert [(header.kind, header.correlation) for header, _ in bench.said()] == [(Kind.ACKS, run), (Kind.ACK, first.id)]
    assert [one.body for one in bench.session.receive_many(10, bench.now)] == [b"c"]
    assert bench.session.inbox.repeated == 3
    assert second.body == b"b"


def test_garbage_in_runs_is_counted() -> None:
    """Empty runs, long ones, and spans of nothing."""
    bench = entered()
    for kind, body in ((Kind.RUN, b"\x90"), (Kind.RUN, encode_body([b""] * (RUN_LIMIT + 1))), (Kind.RUN, b"x"), (Kind.ACKS, b"\x90")):
        bench.tell(kind, body, id=message_id(OTHER, 1), correlation=message_id(CLIENT, 1))
    assert bench.session.violations == 4
    assert bench.session.receive_many(10, bench.now) == []


def test_without_coalescing_each_message_leaves_alone() -> None:
    """For those who measure."""
    bench = Bench(DATA)
    bench.session = Session(CLIENT, coalesce=False)
    bench.session.open(DATA)
    bench.enter()
    send(bench, b"a", b"b")
    frames = bench.session.frames_to_send(DATA, bench.now)
    assert frames is not None
    assert frames[1] == b"a"
    assert bench.kinds() == [Kind.SEND, Kind.SEND]


def test_messages_are_cut_into_runs_that_fit() -> None:
    """Small ones together, large ones alone, in their order."""
    bodies = [b"a"] * (RUN_LIMIT + 1) + [b"L" * (BATCHED_BODY + 1)] + [b"b"] * 2 + [b"m" * BATCHED_BODY] * 17
    pieces = list(chunks(bodies))
    assert [body for _, piece in pieces for body in piece] == bodies
    assert [start for start, _ in pieces] == [0, RUN_LIMIT, RUN_LIMIT + 1, RUN_LIMIT + 2, RUN_LIMIT + 19]
    assert all(sum(map(len, piece)) <= 256 * 1024 for _, piece in pieces)


def test_refusals_of_many_are_told_by_number() -> None:
    """The first with its reason."""
    raise_refused({}, 3)
    with pytest.raises(PartlyRefused, match="2 of 3 messages were not handled; the first, number 1: full") as raised:
        raise_refused({2: "gone", 1: "full"}, 3)
    assert raised.value.refused == {2: "gone", 1: "full"}


def test_who_does_not_coalesce_says_each_alone_and_hears_them_answered_together() -> None:
    """The bus makes its own runs of them, which begin and end where it likes."""
    bench = Bench(DATA)
    bench.session = Session(CLIENT, coalesce=False)
    bench.session.open(DATA)
    bench.enter()
    session = bench.session
    one = session.ask_many([b"a", b"b", b"c"], to="1001", topic="T", deadline=105.0)
    two = session.ask_many([b"d", b"e"], to="1001", topic="T", deadline=105.0)
    alone = session.ask(Kind.SEND, b"f", to="1001", topic="T", deadline=105.0)
    said = bench.said()
    assert [(header.kind, header.id, header.flags, body) for header, body in said] == [
        (Kind.SEND, message_id(CLIENT, one + place), 0, body) for place, body in enumerate((b"a", b"b", b"c", b"d", b"e", b"f"))
    ]
    assert acks(bench, one + 1, 0, 3) == []
    assert acks(bench, one, 0, 1) == [one]
    assert acks(bench, two + 1, 0, 2, "no") == [two, alone]
    assert session.take(one) == (OK, b"", "")
    assert session.refused(two) == {1: "no"}
    assert session.take(alone) == (REFUSED, trouble("no"), "")
    assert session.violations == 0
