"""SENDs that came one by one in one turn: a run where they could have been one, alone otherwise, and always in the order of their sender."""

import pytest

from dadms_ipc.codec import BATCHED_BODY, decode_body, decode_run, encode_body
from dadms_ipc.envelope import OK, REFUSED, RUN_LIMIT, VERSION, Flag, Hello, Kind, Span
from tests.unit.bus.room import Guest, Room
from tests.unit.bus.test_runs import address, member


def sender(room: Room, *, spans: bool = True) -> Guest:
    """Let somebody in who understands that answers come together, or not."""
    guest = room.guest()
    guest.say(Kind.HELLO, encode_body(Hello(guest.client, [VERSION], runs=True, spans=spans)))
    assert guest.kinds() == [Kind.WELCOME]
    return guest


def meeting(*, spans: bool = True, credit: int = 1000) -> tuple[Room, Guest, Guest]:
    """Give a sender and a receiver whose room has begun a turn."""
    room = Room()
    one, two = sender(room, spans=spans), member(room, credit=credit)
    room.gathers = True
    return room, one, two


def send(one: Guest, two: Guest, *bodies: bytes, **fields: object) -> list[bytes]:
    """Send each on its own; gives the ids."""
    return [one.say(Kind.SEND, body, **{"to": address(two), "topic": "T", **fields}) for body in bodies]


def test_neighbours_of_a_turn_are_handed_on_as_a_run_and_answered_so() -> None:
    """The earliest deadline counts for all."""
    room, one, two = meeting()
    first, *_ = send(one, two, b"a", b"b", deadline=5000) + send(one, two, b"c", deadline=4990)
    assert two.take() == []
    room.release()
    ((header, body),) = two.take()
    assert (header.kind, header.id, header.sender, header.topic, header.deadline) == (Kind.RUN, first, address(one), "T", 4990)
    assert decode_run(body) == [b"a", b"b", b"c"]
    two.say(Kind.ACKS, encode_body(Span(0, 2)), id=b"", topic=OK, correlation=first)
    two.say(Kind.ACKS, encode_body(Span(2, 1, "no")), id=b"", topic=REFUSED, correlation=first)
    answers = one.take()
    assert [(header.kind, header.topic, header.correlation) for header, _ in answers] == [
        (Kind.ACKS, OK, first),
        (Kind.ACKS, REFUSED, first),
    ]
    assert [decode_body(body, Span) for _, body in answers] == [Span(0, 2), Span(2, 1, "no")]
    assert room.counter("sends") == 3
    assert room.bus.runs.open == {}


def test_one_that_has_no_neighbour_goes_alone() -> None:
    """As it was sent."""
    room, one, two = meeting()
    send(one, two, b"a")
    room.release()
    assert [(header.kind, body) for header, body in two.take()] == [(Kind.SEND, b"a")]
    assert room.release() == []


@pytest.mark.parametrize(
    "other",
    [
        {"topic": "U"},
        {"flags": int(Flag.URGENT)},
        {"flags": int(Flag.RETRY)},
        {"expiry": 1000},
        {"deadline": 4000},
        {"deadline": 0},
        {"to": "client/nobody"},
    ],
)
def test_what_differs_is_no_neighbour(other: dict[str, object]) -> None:
    """And waits for nobody before it."""
    room, one, two = meeting()
    send(one, two, b"a", deadline=5000)
    send(one, two, b"b", **{"deadline": 5000, **other})
    room.release()
    assert [header.kind for header, _ in two.take()] == [Kind.SEND] * (1 if "to" in other else 2)


def test_ids_that_do_not_follow_each_other_are_no_run() -> None:
    """What lies between them may have come another way."""
    room, one, two = meeting()
    send(one, two, b"a")
    one.sequence += 1
    send(one, two, b"b")
    room.release()
    assert [header.kind for header, _ in two.take()] == [Kind.SEND, Kind.SEND]


def test_a_run_of_neighbours_is_bounded() -> None:
    """In number, and in bytes; what is large goes alone."""
    room, one, two = meeting()
    send(one, two, *[b"x"] * (RUN_LIMIT + 1))
    room.release()
    assert [header.kind for header, _ in two.take()] == [Kind.RUN, Kind.SEND]
    send(one, two, bytes(BATCHED_BODY), b"x", bytes(BATCHED_BODY + 1), b"y", b"z")
    room.release()
    assert [header.kind for header, _ in two.take()] == [Kind.SEND, Kind.SEND, Kind.SEND, Kind.RUN]


def test_who_does_not_say_that_answers_may_come_together_has_each_alone() -> None:
    """Clients of the first edition know ACK."""
    room, one, two = meeting(spans=False)
    send(one, two, b"a", b"b")
    assert [header.kind for header, _ in two.take()] == [Kind.SEND, Kind.SEND]
    assert room.release() == []


def test_whatever_else_a_sender_says_comes_after_what_waited() -> None:
    """Its own requests and garbage; another's words do not end its turn."""
    _, one, two = meeting()
    send(one, two, b"a", b"b")
    two.say(Kind.SUBSCRIBE, topic="x")
    assert two.kinds() == [Kind.ACK]
    one.say(Kind.REQUEST, b"c", to=address(two), topic="T", deadline=5000)
    assert two.kinds() == [Kind.RUN, Kind.REQUEST]
    send(one, two, b"d", b"e")
    one.frames(b"garbage", b"")
    assert two.kinds() == [Kind.RUN]
    assert one.kinds() == [Kind.REFUSE]


def test_any_other_event_ends_the_turn() -> None:
    """Nothing waits for a shell that forgot it."""
    room, one, two = meeting()
    send(one, two, b"a", b"b")
    room.gathers = False
    two.say(Kind.SUBSCRIBE, topic="x")
    assert two.kinds() == [Kind.ACK, Kind.RUN]


def test_neighbours_whose_receiver_takes_no_run_go_one_by_one() -> None:
    """Without credit for all of them; without a receiver they are refused together."""
    room, one, two = meeting(credit=1)
    send(one, two, b"a", b"b")
    room.release()
    assert [(header.kind, body) for header, body in two.take()] == [(Kind.SEND, b"a")]
    sent = send(one, two, b"c", b"d", to="client/nobody")
    room.release()
    assert [(header.kind, header.topic, header.correlation) for header, _ in one.take()] == [(Kind.ACKS, REFUSED, sent[0])]
