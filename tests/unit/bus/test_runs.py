"""Runs in the bus: whole while everything goes well, single messages as soon as it does not."""

import pytest

from dadms_ipc.codec import decode_body, encode_body, encode_header, trouble
from dadms_ipc.envelope import (
    NO_SESSION,
    OK,
    REFUSED,
    RUN_LIMIT,
    STORED,
    VERSION,
    VIOLATION,
    Flag,
    Header,
    Hello,
    Kind,
    Span,
    message_id,
    split_id,
)
from dadmsd.bus.core.intake import BATCH_BODY_LIMIT
from dadmsd.kernel import link
from tests.unit.bus.room import Guest, Room

BODIES = [b"a", b"b", b"c"]


def member(room: Room, pid: int = 0, *, credit: int = 100, runs: bool = True) -> Guest:
    """Let somebody in who understands runs, as a process if that is wanted."""
    guest = room.guest()
    proof = room.enroll(pid) if pid else None
    claims = (proof.pid, proof.incarnation, proof.secret) if proof is not None else (0, 0, b"")
    guest.say(Kind.HELLO, encode_body(Hello(guest.client, [VERSION], "", credit, *claims, runs=runs)))
    assert guest.kinds() == [Kind.WELCOME]
    return guest


def again(guest: Guest, *, credit: int = 100) -> Guest:
    """Let somebody come back over a new connection."""
    other = guest.room.guest(client=guest.client)
    other.say(Kind.HELLO, encode_body(Hello(guest.client, [VERSION], "", credit, runs=True)))
    return other


def address(guest: Guest) -> str:
    """Give the address of a client."""
    return f"client/{guest.client.hex()[:12]}"


def run(sender: Guest, to: Guest | str, bodies: list[bytes] = BODIES, **fields: object) -> bytes:
    """Send a run; gives its id."""
    where = to if isinstance(to, str) else address(to)
    identifier = sender.say(Kind.RUN, encode_body(bodies), to=where, topic="T", **fields)
    sender.sequence += len(bodies) - 1
    return identifier


def nth(identifier: bytes, place: int) -> bytes:
    """Give the id of a message of a run."""
    client, first = split_id(identifier)
    return message_id(client, first + place)


def refusals(sender: Guest) -> list[tuple[bytes, int, int, str]]:
    """Give what was refused together: run, first place, count and reason."""
    heard = sender.take()
    assert {(header.kind, header.topic, header.sender) for header, _ in heard} <= {(Kind.ACKS, REFUSED, "bus")}
    spans = [(header.correlation, decode_body(body, Span)) for header, body in heard]
    return [(identifier, span.place, span.count, span.reason) for identifier, span in spans]


def acks(receiver: Guest, identifier: bytes, place: int, count: int, status: str = OK, reason: str = "") -> None:
    """Answer some of a run."""
    receiver.say(Kind.ACKS, encode_body(Span(place, count, reason)), id=b"", topic=status, correlation=identifier)


def test_a_run_passes_whole_and_so_does_its_answer() -> None:
    """One message each way, and each message of it is counted."""
    room = Room()
    sender, receiver = member(room), member(room)
    identifier = run(sender, receiver, deadline=5000)
    header, body = receiver.only()
    assert (header.kind, header.id, header.sender, header.deadline, body) == (
        Kind.RUN, identifier, address(sender), 5000, encode_body(BODIES))  # fmt: skip
    acks(receiver, identifier, 0, 2)
    header, body = sender.only()
    assert (header.kind, header.topic, header.correlation, header.sender, body) == (
        Kind.ACKS, OK, identifier, address(receiver), encode_body([0, 2, ""]))  # fmt: skip
    acks(receiver, identifier, 2, 1, REFUSED, "no")
    assert sender.kinds() == [Kind.ACKS]
    assert (room.counter("sends"), room.counter("handled"), room.counter("declined")) == (3, 2, 1)
    assert not room.bus.runs.open


@pytest.mark.parametrize("why", ["old", "credit", "queue", "retry", "absent"])
def test_a_run_is_taken_apart_when_it_cannot_pass_whole(why: str) -> None:
    """The receiver does not know runs, has no credit for all of it, has messages waiting, may have seen it, or is not there."""
    room = Room()
    sender = member(room)
    receiver = member(room, credit={"credit": 2, "queue": 1}.get(why, 100), runs=why != "old")
    before = []
    if why == "queue":
        before = [sender.say(Kind.SEND, to=address(receiver)) for _ in range(2)]
    identifier = run(sender, "client/nobody" if why == "absent" else receiver, flags=Flag.RETRY if why == "retry" else 0)
    if why == "absent":
        assert refusals(sender) == [(identifier, 0, 3, 'cannot reach "client/nobody": nobody of that address is connected')]
        return
    receiver.say(Kind.CREDIT, encode_body(10), id=b"")
    assert [(header.kind, header.id) for header, _ in receiver.take()] == [
        (Kind.SEND, one) for one in (*before, *(nth(identifier, place) for place in range(3)))
    ]
    acks(receiver, identifier, 0, 3)
    assert [(header.kind, header.correlation) for header, _ in sender.take()] == [(Kind.ACK, nth(identifier, place)) for place in range(3)]


def test_what_finds_no_room_behind_the_first_of_a_run_is_refused_together() -> None:
    """A run costs the bus as little when it is refused: one answer, from the first place on behind which there is room for none."""
    room = Room(queue=3)
    sender, receiver = member(room), member(room, credit=0)
    identifier = run(sender, receiver, [b"a", b"b", b"c", b"d", b"e"])
    assert refusals(sender) == [(identifier, 3, 2, f'cannot send to "{address(receiver)}": 3 messages wait for it, at most 3 may')]
    assert room.counter("refused") == 2
    again = run(sender, receiver, [b"f", b"g"])
    assert [each[:3] for each in refusals(sender)] == [(again, 0, 2)]
    receiver.say(Kind.CREDIT, encode_body(10), id=b"")
    assert [(header.kind, body) for header, body in receiver.take()] == [(Kind.SEND, b"a"), (Kind.SEND, b"b"), (Kind.SEND, b"c")]


def test_what_is_too_large_of_a_run_is_refused_and_the_smaller_is_taken() -> None:
    """None is refused for the size of another; the last of them is alone, and is told so."""
    room = Room(queue_bytes=1000)
    sender, receiver = member(room), member(room, credit=0)
    sender.say(Kind.SEND, b"1" * 500, to=address(receiver))
    identifier = run(sender, receiver, [b"2" * 600, b"3" * 100, b"4" * 600])
    assert [(header.kind, header.correlation) for header, _ in sender.take()] == [
        (Kind.REFUSE, nth(identifier, 0)),
        (Kind.REFUSE, nth(identifier, 2)),
    ]
    assert room.bus.exchanges.open.keys() >= {nth(identifier, 1)}


def test_a_receiver_that_comes_back_gets_what_it_has_not_answered_in_the_old_order() -> None:
    """With RETRY; its answers to the run count as well as those to the messages."""
    room = Room()
    sender, receiver = member(room), member(room)
    first = run(sender, receiver)
    single = sender.say(Kind.SEND, to=address(receiver))
    second = run(sender, receiver)
    acks(receiver, first, 1, 1)
    receiver.take()
    sender.take()
    back = again(receiver)
    heard = back.take()[1:]
    ids = [nth(first, 0), nth(first, 2), single, nth(second, 0), nth(second, 1), nth(second, 2)]
    assert [(header.kind, header.id, header.flags) for header, _ in heard] == [(Kind.SEND, one, Flag.RETRY) for one in ids]
    acks(back, second, 0, 3)
    for one in ids[:3]:
        back.say(Kind.ACK, id=b"", topic=OK, correlation=one)
    assert sorted(header.correlation for header, _ in sender.take()) == sorted(ids)
    assert room.counter("handled") == 7


def test_a_sender_that_repeats_is_answered_once_for_each_message() -> None:
    """What was handled is answered from memory, what is open is not delivered again."""
    room = Room()
    sender, receiver = member(room), member(room)
    done = run(sender, receiver)
    acks(receiver, done, 0, 3)
    under_way = run(sender, receiver)
    run(sender, receiver, id=under_way)  # without saying that it is a repetition
    acks(receiver, under_way, 0, 1)
    receiver.take()
    back = again(sender)
    back.take()
    back.say(Kind.SEND, b"b", id=nth(done, 1), to=address(receiver), flags=Flag.RETRY)
    assert [(header.kind, header.topic, header.correlation) for header, _ in back.take()] == [(Kind.ACK, OK, nth(done, 1))]
    back.say(Kind.SEND, b"b", id=nth(under_way, 1), to=address(receiver), flags=Flag.RETRY)
    assert (back.take(), receiver.take()) == ([], [])
    acks(receiver, under_way, 1, 2)
    assert [header.correlation for header, _ in back.take()] == [nth(under_way, 1), nth(under_way, 2)]
    assert (room.counter("handled"), room.counter("repeated")) == (6, 5)


def test_a_run_that_is_not_answered_in_time_is_retried_message_by_message() -> None:
    """The clock of single messages goes on from there."""
    room = Room()
    sender, receiver = member(room), member(room)
    identifier = run(sender, receiver, deadline=60_000)
    acks(receiver, identifier, 0, 1)
    receiver.take()
    room.pass_time(room.bus.bounds.attempt_timeout + 1.0)
    assert not room.bus.runs.open
    assert [(header.id, header.flags) for header, _ in receiver.take()] == [(nth(identifier, place), Flag.RETRY) for place in (1, 2)]
    acks(receiver, identifier, 1, 2)
    assert room.counter("handled") == 3


def test_the_deadline_ends_a_run() -> None:
    """An answer after it is late."""
    room = Room()
    sender, receiver = member(room), member(room)
    identifier = run(sender, receiver, deadline=1000)
    room.pass_time(1.2)
    acks(receiver, identifier, 0, 3)
    assert sender.take() == []
    assert (room.counter("unanswered"), room.counter("answers_late")) == (3, 3)


def test_a_sender_that_leaves_takes_its_runs_along() -> None:
    """What it sent may still be handled; nobody waits for the answer."""
    room = Room()
    sender, receiver = member(room), member(room)
    identifier = run(sender, receiver)
    sender.say(Kind.BYE, id=b"")
    acks(receiver, identifier, 0, 3)
    assert (room.counter("abandoned"), room.counter("answers_late")) == (3, 3)


def test_a_receiver_that_leaves_has_its_runs_refused() -> None:
    """Each message with the reason."""
    room = Room()
    sender, receiver = member(room), member(room)
    identifier = run(sender, receiver)
    receiver.say(Kind.BYE, id=b"")
    assert [(header.kind, header.correlation) for header, _ in sender.take()] == [
        (Kind.REFUSE, nth(identifier, place)) for place in range(3)
    ]


def test_only_the_receiver_answers_a_run_and_only_what_is_in_it() -> None:
    """A second answer to the same place is late."""
    room = Room()
    sender, receiver, other = member(room), member(room), member(room)
    identifier = run(sender, receiver)
    for guest, place, count, status in ((other, 0, 3, OK), (receiver, 1, 3, OK), (receiver, 0, 1, "")):
        receiver.take()
        acks(guest, identifier, place, count, status)
        assert guest.only()[0].topic == VIOLATION
    acks(receiver, identifier, 0, 2)
    acks(receiver, identifier, 1, 1)
    assert sender.kinds() == [Kind.ACKS]
    assert room.counter("answers_late") == 1


def test_a_broken_run_is_a_violation() -> None:
    """Empty, too long, too large, or under a name that is not the sender's; and nobody without a session sends one."""
    room = Room()
    sender, receiver = member(room), member(room)
    for body in (b"\x90", b"x", encode_body([b""] * (RUN_LIMIT + 1)), encode_body([bytes(BATCH_BODY_LIMIT)])):
        sender.say(Kind.RUN, body, to=address(receiver))
        assert sender.only()[0].topic == VIOLATION
    sender.frames(encode_header(Header(VERSION, Kind.RUN, message_id(b"x" * 16, 1), "", address(receiver))), encode_body(BODIES))
    assert sender.only()[0].topic == VIOLATION
    stranger = room.guest()
    run(stranger, receiver)
    assert stranger.only()[0].topic == NO_SESSION
    assert receiver.take() == []


@pytest.mark.parametrize("is_alone", [True, False])
def test_a_run_beyond_the_last_sequence_is_a_violation(is_alone: bool) -> None:
    """Its messages would have no ids; the last one that has is as good as any."""
    room = Room()
    sender, receiver = member(room), member(room)
    if not is_alone:
        sender.say(Kind.SEND, to=address(receiver))
    receiver.take()
    header = Header(
        VERSION, Kind.RUN, message_id(sender.client, 2**64 - 2), "", address(receiver), "T", flags=0 if is_alone else Flag.RETRY
    )
    sender.frames(encode_header(header), encode_body(BODIES))
    assert sender.only()[0].topic == VIOLATION
    assert receiver.take() == []
    sender.frames(encode_header(header), encode_body(BODIES[:2]))
    assert sum(2 if one.kind == Kind.RUN else 1 for one, _ in receiver.take()) == 2
    receiver.say(Kind.BYE, id=b"")


@pytest.mark.parametrize("correlation", [b"c" * 16 + b"\xff" * 8, b"\xff" * 100], ids=["the last", "too long"])
def test_an_answer_beyond_the_last_sequence_is_a_violation(correlation: bytes) -> None:
    """Nobody can have asked for it, whatever its sender's role is."""
    room = Room()
    receiver = member(room)
    acks(receiver, correlation, 5, 100)
    assert receiver.only()[0].topic == VIOLATION


def test_one_client_cannot_have_more_under_way_in_runs_than_one_by_one() -> None:
    """The bound of open messages, and that of their bytes."""
    room = Room(open=4)
    sender, receiver = member(room), member(room)
    run(sender, receiver)
    run(sender, receiver)
    assert [header.kind for header, _ in receiver.take()] == [Kind.RUN, *[Kind.SEND] * 3]
    room = Room(open_bytes=10)
    sender, receiver = member(room), member(room)
    run(sender, receiver, [b"x" * 20, b"y"])
    assert [header.kind for header, _ in receiver.take()] == [Kind.SEND]
    assert trouble("") != sender.only()[1]


def test_a_run_with_an_id_that_is_on_disk_takes_nothing_from_there() -> None:
    """Its sender said the id twice: the message that it was told is safe stays, also when the run is taken apart."""
    room = Room()
    sender, receiver = member(room), member(room, 1001)
    room.hear(link.Expected(1002, "comes"))
    first = sender.sequence + 1
    kept = sender.say(Kind.SEND, b"safe", id=message_id(sender.client, first + 1), to="1002", topic="T", expiry=60_000)
    room.pass_time(0.1)
    assert sender.only()[0].topic == STORED
    identifier = sender.say(Kind.RUN, encode_body(BODIES), id=message_id(sender.client, first), to="1001", topic="T")
    assert nth(identifier, 1) == kept
    assert receiver.only()[0].kind == Kind.RUN
    room.pass_time(6)  # no answer: it is taken apart, and goes to disk
    assert room.bus.keeping.rows[kept].address == "1002"
    other = room.guest().hello(room.enroll(1002))
    assert [body for header, body in other.take() if header.id == kept] == [b"safe"]
