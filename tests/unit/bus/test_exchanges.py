"""SEND and REQUEST, their receivers' words, credit and queues."""

import msgspec
import pytest

from dadms_ipc.codec import decode_body, encode_batch, encode_body, encode_header
from dadms_ipc.envelope import OK, REFUSED, VERSION, VIOLATION, Door, Flag, Header, Kind, message_id
from dadmsd.bus.core.events import Vanished
from dadmsd.kernel import link
from tests.unit.bus.room import Guest, Room


def _pair(room: Room, *, credit: int = 100) -> tuple[Guest, Guest]:
    """Give a sender and process 1001."""
    return room.member(), room.member(room.enroll(1001), credit=credit)


def test_a_send_is_delivered_and_its_ack_comes_back() -> None:
    """With the sender's address and the deadline that is left; the ack with the receiver's status and words."""
    room = Room()
    sender, receiver = _pair(room)
    sent = sender.say(Kind.SEND, b"body", to="1001/17", topic="TASK", deadline=5000)
    header, body = receiver.only()
    assert (header.kind, header.id, header.to, header.topic, header.deadline, header.flags, body) == (
        Kind.SEND,
        sent,
        "1001/17",
        "TASK",
        5000,
        0,
        b"body",
    )
    assert header.sender.startswith("client/")
    receiver.say(Kind.ACK, b"words", id=b"", topic=REFUSED, correlation=sent, sender="1001/17")
    header, body = sender.only()
    assert (header.kind, header.sender, header.topic, header.correlation, body) == (Kind.ACK, "1001/17", REFUSED, sent, b"words")
    assert room.bus.exchanges.open == {}
    assert (room.counter("declined"), room.counter("handled")) == (1, 0)


def test_a_request_is_answered_with_a_response() -> None:
    """From the receiver's own address when it names none."""
    room = Room()
    sender, receiver = _pair(room)
    asked = sender.say(Kind.REQUEST, b"?", to="1001", topic="t")
    assert receiver.only()[0].deadline == 3_600_000
    receiver.say(Kind.RESPONSE, b"!", id=b"", topic=OK, correlation=asked)
    header, body = sender.only()
    assert (header.kind, header.sender, body) == (Kind.RESPONSE, "1001", b"!")
    assert room.counter("handled") == 1


def test_clients_receive_too() -> None:
    """Under the address that their WELCOME said, while they are connected or soon will be."""
    room = Room()
    sender, receiver = room.member(), room.member()
    address = f"client/{receiver.client.hex()[:12]}"
    sender.say(Kind.SEND, to=address, topic="t")
    assert receiver.kinds() == [Kind.SEND]
    room.do(Vanished(receiver.peer, is_gone=True))
    sender.say(Kind.SEND, to=address, topic="t")
    back = room.guest(client=receiver.client).hello()
    assert back.kinds() == [Kind.WELCOME, Kind.SEND, Kind.SEND]


def test_only_the_receiver_answers_and_only_rightly() -> None:
    """Anything else is a violation, and the exchange stays open."""
    room = Room()
    sender, receiver = _pair(room)
    other = room.member()
    asked = sender.say(Kind.REQUEST, to="1001", topic="t")
    receiver.take()
    for guest, kind, status in (
        (other, Kind.RESPONSE, OK),
        (sender, Kind.RESPONSE, OK),
        (receiver, Kind.ACK, OK),
        (receiver, Kind.RESPONSE, ""),
    ):
        guest.say(kind, id=b"", topic=status, correlation=asked)
        assert guest.only()[0].topic == VIOLATION
    assert list(room.bus.exchanges.open) == [asked]


def test_an_answer_before_its_delivery_is_a_violation() -> None:
    """The receiver cannot know what it was not given."""
    room = Room()
    sender, receiver = _pair(room, credit=0)
    asked = sender.say(Kind.REQUEST, to="1001", topic="t")
    receiver.say(Kind.RESPONSE, id=b"", topic=OK, correlation=asked)
    assert receiver.only()[0].topic == VIOLATION


def test_an_answer_to_what_is_over_is_counted() -> None:
    """It came too late; nobody is told."""
    room = Room()
    sender, receiver = _pair(room)
    asked = sender.say(Kind.REQUEST, to="1001", topic="t", deadline=100)
    room.pass_time(1)
    receiver.take()
    receiver.say(Kind.RESPONSE, id=b"", topic=OK, correlation=asked)
    assert (receiver.heard, sender.heard) == ([], [])
    assert (room.counter("unanswered"), room.counter("answers_late")) == (1, 1)


def test_a_repeat_of_what_is_open_changes_nothing() -> None:
    """The receiver sees it once."""
    room = Room()
    sender, receiver = _pair(room)
    sent = sender.say(Kind.SEND, to="1001", topic="t")
    sender.say(Kind.SEND, id=sent, to="1001", topic="t", flags=Flag.RETRY)
    assert receiver.kinds() == [Kind.SEND]
    assert room.counter("repeated") == 1


def test_a_repeat_of_what_was_acknowledged_is_answered_from_memory() -> None:
    """The receiver is not bothered; a large answer is its own to repeat."""
    room = Room(remembered=2)
    sender, receiver = _pair(room)
    sent = [sender.say(Kind.SEND, to="1001", topic="t") for _ in range(4)]
    receiver.take()
    for identifier, body in zip(sent, (b"0", b"1", b"2", b"x" * 2000), strict=True):
        receiver.say(Kind.ACK, body, id=b"", topic=OK, correlation=identifier)
    sender.take()
    for identifier in sent:
        sender.say(Kind.SEND, id=identifier, to="1001", topic="t", flags=Flag.RETRY)
    assert [body for _, body in sender.take()] == [b"1", b"2"]
    again = receiver.take()
    assert [(header.id, header.flags) for header, _ in again] == [(sent[0], Flag.RETRY), (sent[3], Flag.RETRY)]


def test_a_receiver_that_comes_back_gets_again_what_it_has_not_answered() -> None:
    """In the old order, marked, and before what is new."""
    room = Room(patience=60.0)
    sender, receiver = _pair(room, credit=2)
    sent = [sender.say(Kind.SEND, str(number).encode(), to="1001", topic="t", deadline=9000) for number in range(4)]
    assert len(receiver.take()) == 2
    receiver.say(Kind.ACK, id=b"", topic=OK, correlation=sent[0])
    room.do(Vanished(receiver.peer, is_gone=True))
    sender.say(Kind.SEND, b"new", to="1001", topic="t")
    room.pass_time(1)
    back = room.guest(client=receiver.client).hello(room.identity(1001))
    heard = back.take()
    assert [body for _, body in heard[1:]] == [b"1", b"2", b"3", b"new"]
    assert [header.flags for header, _ in heard[1:]] == [Flag.RETRY, 0, 0, 0]
    assert heard[1][0].deadline == 8000
    assert room.counter("redelivered") == 1


def test_another_session_of_a_process_takes_over() -> None:
    """One that ended hands on what it had, alone, as it may be why it ended; the newest receives."""
    room = Room()
    sender = room.member()
    identity = room.enroll(1001)
    old, new = room.member(identity), room.member(identity, credit=1)
    sent = [sender.say(Kind.SEND, to="1001", topic="t") for _ in range(2)]
    assert [header.id for header, _ in new.take()] == [sent[0]]
    assert old.heard == []
    new.say(Kind.BYE)
    assert [(header.id, header.flags) for header, _ in old.take()] == [(sent[0], Flag.RETRY)]
    old.say(Kind.ACK, id=b"", topic=OK, correlation=sent[0])
    assert [(header.id, header.flags) for header, _ in old.take()] == [(sent[1], 0)]


def test_messages_wait_for_a_process_that_lives() -> None:
    """Until its own deadline, and not when the process ends."""
    room = Room(patience=60.0)
    sender = room.member()
    identity = room.enroll(1001)
    sender.say(Kind.SEND, b"short", to="1001", topic="t", deadline=500)
    sent = sender.say(Kind.SEND, b"long", to="1001/3", topic="t", deadline=9000)
    room.pass_time(1)
    receiver = room.guest().hello(identity)
    assert [body for _, body in receiver.take()[1:]] == [b"long"]
    assert room.counter("expired") == 1
    receiver.say(Kind.BYE)
    late = sender.say(Kind.SEND, to="1001", topic="t")
    room.hear(link.Discharged(1001, 1))
    assert [header.correlation for header, _ in sender.take()] == [sent, late]
    assert room.bus.exchanges.open == {}


def test_the_kernel_is_told_of_a_process_that_somebody_waits_for() -> None:
    """Once, and again on each new link while messages wait; a client is nobody whom the kernel could tell."""
    room = Room()
    sender, client = room.member(), room.member()
    identity = room.enroll(1001)
    for _ in range(2):
        sender.say(Kind.SEND, to="1001", topic="t")
    room.do(Vanished(client.peer, is_gone=True))
    sender.say(Kind.SEND, to=f"client/{client.client.hex()[:12]}", topic="t")
    assert room.asked == [link.Wanted(1001)]
    room.attach_kernel(room.entry(identity), epoch=2)
    assert room.asked[-1] == link.Wanted(1001)
    receiver = room.guest().hello(identity)
    assert receiver.kinds() == [Kind.WELCOME, Kind.SEND, Kind.SEND]
    room.asked.clear()
    room.attach_kernel(room.entry(identity), epoch=3)
    assert room.asked == [link.BusHello(3, 77)]


def test_what_waits_for_whom_the_roster_does_not_name_is_refused() -> None:
    """While the roster is unknown, anybody may live."""
    room = Room(has_roster=False)
    sender = room.member()
    sender.say(Kind.SEND, to="1001", topic="t")
    waits = sender.say(Kind.SEND, to="1002", topic="t", deadline=100_000)
    assert sender.heard == []
    room.attach_kernel(room.entry(room.identity(1002)))
    assert sender.reason() == 'cannot send to "1001": process 1001 does not live'
    assert list(room.bus.exchanges.open) == [waits]


def test_expired_messages_that_waited_are_forgotten() -> None:
    """The list of a process that never connects does not grow."""
    room = Room(patience=60.0)
    sender = room.member()
    room.enroll(1001)
    sender.say(Kind.SEND, to="1001", topic="t", deadline=500)
    kept = sender.say(Kind.SEND, to="1001", topic="t", deadline=5000)
    room.pass_time(1)
    assert [one.header.id for one in room.bus.exchanges.waiting["1001"]] == [kept]
    room.pass_time(5)
    assert room.bus.exchanges.waiting == {}


@pytest.mark.parametrize("address", ["", "1001", "1001/1", "client/none", "somebody", "9" * 40, "²"])
def test_a_message_to_nobody_is_refused(address: str) -> None:
    """At once, with the address."""
    sender = Room().member()
    sender.say(Kind.SEND, to=address, topic="t")
    assert sender.reason() == f'cannot reach "{address}": nobody of that address is connected'


def test_expired_work_is_dropped_before_it_is_delivered() -> None:
    """However late its receiver takes it."""
    room = Room()
    sender, receiver = _pair(room, credit=0)
    sender.say(Kind.SEND, b"late", to="1001", topic="t", deadline=500)
    sender.say(Kind.SEND, b"in time", to="1001", topic="t", deadline=5000)
    room.now += 0.6  # before any sweep
    receiver.say(Kind.CREDIT, encode_body(5), id=b"")
    assert [body for _, body in receiver.take()] == [b"in time"]
    room.pass_time(0.2)
    assert room.counter("expired") == 1


def test_deliveries_keep_to_the_credit() -> None:
    """One for one; what is beyond waits, and a credit that is none is a violation."""
    room = Room()
    sender, receiver = _pair(room, credit=1)
    for number in range(4):
        sender.say(Kind.SEND, str(number).encode(), to="1001", topic="t")
    assert [body for _, body in receiver.take()] == [b"0"]
    receiver.say(Kind.CREDIT, encode_body(2), id=b"")
    assert [body for _, body in receiver.take()] == [b"1", b"2"]
    for credit in (-1, 10**6):
        receiver.say(Kind.CREDIT, encode_body(credit), id=b"")
        assert receiver.only()[0].topic == VIOLATION


def test_a_large_message_does_not_wait_for_credit_behind_a_small_one() -> None:
    """Its receiver gives credit back when it has taken a fourth of the bytes in flight, and the small one alone is less."""
    room = Room(flight_bytes=100)
    sender, receiver = _pair(room)
    for size in (1, 150, 1):
        sender.say(Kind.SEND, b"x" * size, to="1001", topic="t")
    assert [len(body) for _, body in receiver.take()] == [1, 150]


def test_bytes_in_flight_are_bounded_but_one_message_always_goes() -> None:
    """A body above the bound is not stuck for ever."""
    room = Room(flight_bytes=100)
    sender, receiver = _pair(room)
    for size in (150, 60, 60):
        sender.say(Kind.SEND, b"x" * size, to="1001", topic="t")
    assert [len(body) for _, body in receiver.take()] == [150]
    receiver.say(Kind.CREDIT, encode_body(1), id=b"")
    assert [len(body) for _, body in receiver.take()] == [60]
    receiver.say(Kind.CREDIT, encode_body(1), id=b"")
    assert [len(body) for _, body in receiver.take()] == [60]


def test_full_queues_are_refusals_with_numbers() -> None:
    """The receiver's, the one of who waits for a receiver, the sender's own, and its bytes."""
    room = Room(queue=2, open=5, open_bytes=100)
    sender, receiver = _pair(room, credit=0)
    other = room.member()
    room.enroll(1002)
    for _ in range(3):
        sender.say(Kind.SEND, to="1001", topic="t")
    assert sender.reason() == 'cannot send to "1001": 2 messages wait for it, at most 2 may'
    for _ in range(3):
        sender.say(Kind.SEND, to="1002", topic="t")
    assert sender.reason() == 'cannot send to "1002": 2 messages wait for it to come back'
    receiver.say(Kind.CREDIT, encode_body(2), id=b"")
    for _ in range(2):
        sender.say(Kind.SEND, to="1001", topic="t")
    assert sender.reason().startswith('cannot send to "1001": 5 messages of "client/')
    other.say(Kind.SEND, b"x" * 200, to="1001", topic="t")
    other.say(Kind.SEND, b"x", to="1001", topic="t")
    assert other.reason().startswith('cannot send to "1001": 1 bytes beside the 200 bytes of "client/')
    other.say(Kind.REQUEST, b"xy", to="1001", topic="t")
    assert other.reason().startswith('cannot ask "1001": 2 bytes beside the 200 bytes of "client/')


def test_a_full_queue_makes_room_of_what_expired() -> None:
    """But is not searched for every message that finds it full."""
    room = Room(queue=2)
    sender, receiver = _pair(room, credit=0)
    for deadline in (300, 5000):
        sender.say(Kind.SEND, to="1001", topic="t", deadline=deadline)
    sender.say(Kind.SEND, to="1001", topic="t", deadline=5000)
    assert "2 messages wait" in sender.reason()
    room.now += 0.05
    sender.say(Kind.SEND, to="1001", topic="t", deadline=5000)
    assert "2 messages wait" in sender.reason()
    room.now += 0.35
    sender.say(Kind.SEND, to="1001", topic="t", deadline=5000)
    assert sender.heard == []
    assert len(room.bus.admission.sessions[receiver.client].queue) == 2


def test_what_a_sender_asked_ends_with_it() -> None:
    """The receiver's late word is counted; what was queued is not delivered."""
    room = Room()
    sender, receiver = _pair(room, credit=1)
    delivered = sender.say(Kind.SEND, to="1001", topic="t")
    sender.say(Kind.SEND, to="1001", topic="t")
    sender.say(Kind.BYE)
    assert room.counter("abandoned") == 2
    receiver.take()
    receiver.say(Kind.ACK, id=b"", topic=OK, correlation=delivered)
    receiver.say(Kind.CREDIT, encode_body(5), id=b"")
    assert receiver.heard == []


def test_an_answer_without_a_way_back_is_given_when_asked_again() -> None:
    """The sender's connection was gone when it came."""
    room = Room()
    sender, receiver = _pair(room)
    sent = sender.say(Kind.SEND, to="1001", topic="t")
    room.do(Vanished(sender.peer, is_gone=True))
    receiver.say(Kind.ACK, id=b"", topic=OK, correlation=sent)
    back = room.guest(client=sender.client).hello()
    back.say(Kind.SEND, id=sent, to="1001", topic="t", flags=Flag.RETRY)
    assert back.kinds() == [Kind.WELCOME, Kind.ACK]


def test_a_refusal_without_a_way_back_is_dropped() -> None:
    """The sender asks again when it is back, and is told then."""
    room = Room()
    sender, _ = _pair(room)
    sender.say(Kind.SEND, to="1001", topic="t")
    room.do(Vanished(sender.peer, is_gone=True))
    room.hear(link.Discharged(1001, 1))
    assert sender.heard == []
    assert room.bus.exchanges.open == {}


def test_a_client_that_ends_fails_what_it_was_asked() -> None:
    """Nobody of that address will come back."""
    room = Room()
    sender, receiver = room.member(), room.member(credit=1)
    for _ in range(2):
        sender.say(Kind.SEND, to=f"client/{receiver.client.hex()[:12]}", topic="t")
    receiver.say(Kind.BYE)
    assert [header.kind for header, _ in sender.take()] == [Kind.REFUSE, Kind.REFUSE]


def test_what_waited_for_a_client_that_never_came_back_is_refused() -> None:
    """Its session was kept for a while, and then ended."""
    room = Room()
    sender, receiver = room.member(), room.member()
    room.do(Vanished(receiver.peer, is_gone=True))
    sender.say(Kind.SEND, to=f"client/{receiver.client.hex()[:12]}", topic="t")
    room.pass_time(10.2)
    assert "away for 10 s" in sender.reason()


def test_a_batch_is_its_messages() -> None:
    """In order; a broken one is refused alone; a connection that is cut by one ends the batch."""
    room = Room(violations=3)
    sender, receiver = _pair(room)
    batch = [
        (Header(VERSION, Kind.SEND, message_id(sender.client, number), "", "1001", "t"), str(number).encode()) for number in range(1, 4)
    ]
    batch.insert(1, (Header(VERSION, Kind.CALL, message_id(sender.client, 9)), b"\x80"))
    sender.frames(encode_header(Header(VERSION, Kind.BATCH)), encode_batch(batch))
    assert [body for _, body in receiver.take()] == [b"1", b"2", b"3"]
    assert sender.only()[0].topic == VIOLATION
    nested = (Header(VERSION, Kind.BATCH), encode_batch([]))
    sender.frames(encode_header(Header(VERSION, Kind.BATCH)), encode_batch([nested, nested, *batch]))
    assert sender.is_cut
    assert receiver.heard == []


def test_publications_reach_each_subscriber_once() -> None:
    """The publisher too, when it subscribes; until it does not any more, or its session ends."""
    room = Room()
    one, two = room.member(), room.member()
    for pattern in ("a/*", "a.b", "a/b"):
        one.say(Kind.SUBSCRIBE, topic=pattern)
    two.say(Kind.SUBSCRIBE, topic="#")
    assert (one.kinds(), two.kinds()) == ([Kind.ACK] * 3, [Kind.ACK])
    published = two.say(Kind.PUBLISH, b"news", topic="a.b", deadline=100)
    (header, body), (other, _) = one.only(), two.only()
    assert (header.id, header.topic, header.deadline, body, other.id) == (published, "a.b", 100, b"news", published)
    one.say(Kind.UNSUBSCRIBE, topic="a/b")
    one.say(Kind.UNSUBSCRIBE, topic="a.*")
    one.say(Kind.UNSUBSCRIBE, topic="never")
    assert one.kinds() == [Kind.ACK] * 3
    two.say(Kind.BYE)
    one.say(Kind.PUBLISH, topic="a/b")
    assert (one.heard, two.heard) == ([], [])


@pytest.mark.parametrize(
    ("kind", "topic", "reason"),
    [
        (Kind.SUBSCRIBE, "a//b", 'cannot subscribe: "a//b" has an empty segment'),
        (Kind.UNSUBSCRIBE, "#/a", 'cannot unsubscribe: "#/a" goes on after "#"'),
        (Kind.PUBLISH, "a/*", 'cannot publish: "a/*" is a pattern, not a topic'),
        (Kind.PUBLISH, "events/a", 'cannot publish to "events/a": "events" is the daemon\'s own'),
    ],
)
def test_topics_that_are_none_are_refused(kind: Kind, topic: str, reason: str) -> None:
    """With the reason."""
    guest = Room().member()
    guest.say(kind, topic=topic)
    assert guest.reason() == reason


def test_subscriptions_of_a_client_are_bounded() -> None:
    """The same one again is not another."""
    guest = Room(patterns=1).member()
    guest.say(Kind.SUBSCRIBE, topic="a.b")
    guest.say(Kind.SUBSCRIBE, topic="a/b")
    assert guest.kinds() == [Kind.ACK, Kind.ACK]
    guest.say(Kind.SUBSCRIBE, topic="a/c")
    assert guest.reason() == 'cannot subscribe to "a/c": 1 subscriptions already, at most 1'


def test_events_are_published_with_their_numbers() -> None:
    """Under "events", whatever the kernel put in front; what is no topic is dropped and written down."""
    room = Room()
    guest = room.member()
    guest.say(Kind.SUBSCRIBE, topic="events/#")
    guest.take()
    for number, topic in ((7, "events/process/running"), (8, "process/running"), (9, "bad//topic")):
        room.hear(link.Event(number, topic, msgspec.Raw(b"\x01")))
    heard = guest.take()
    assert [(header.id, header.sender, header.topic) for header, _ in heard] == [
        (message_id(bytes(16), 7), "kernel", "events/process/running"),
        (message_id(bytes(16), 8), "kernel", "events/process/running"),
    ]
    assert room.audits == ['the kernel\'s event 9 was dropped: "events/bad//topic" has an empty segment']


def test_losses_of_a_slow_subscriber_are_counted_and_told() -> None:
    """With the next that it gets; others lose nothing; expired publications make room and are counted as such."""
    room = Room(queue=2)
    slow, quick = room.member(credit=0), room.member()
    for guest in (slow, quick):
        guest.say(Kind.SUBSCRIBE, topic="a")
        guest.take()
    for number in range(5):
        quick.say(Kind.PUBLISH, str(number).encode(), topic="a", deadline=300)
    assert len(quick.take()) == 5
    assert room.counter("dropped") == 3
    slow.say(Kind.CREDIT, encode_body(1), id=b"")
    (_, first), (header, count) = slow.take()
    assert (first, header.kind, decode_body(count, int)) == (b"0", Kind.LOST, 3)
    quick.say(Kind.PUBLISH, b"5", topic="a", deadline=300)
    room.now += 0.4
    quick.say(Kind.PUBLISH, b"6", topic="a")
    slow.say(Kind.CREDIT, encode_body(5), id=b"")
    assert [body for _, body in slow.take()] == [b"6"]
    assert room.counter("expired") == 2
    quick.say(Kind.PUBLISH, b"7", topic="a", deadline=300)
    assert room.counter("dropped") == 3


def test_an_expired_publication_is_not_delivered() -> None:
    """It is counted when its turn comes."""
    room = Room()
    slow, speaker = room.member(credit=0), room.member()
    slow.say(Kind.SUBSCRIBE, topic="a")
    slow.take()
    speaker.say(Kind.PUBLISH, topic="a", deadline=10)
    room.now += 1
    slow.say(Kind.CREDIT, encode_body(1), id=b"")
    assert slow.heard == []
    assert room.counter("expired") == 1


def test_a_subscriber_that_is_away_has_its_queue_kept() -> None:
    """Up to the bound, for as long as its session is kept."""
    room = Room()
    guest, speaker = room.member(), room.member()
    guest.say(Kind.SUBSCRIBE, topic="a")
    room.do(Vanished(guest.peer, is_gone=True))
    speaker.say(Kind.PUBLISH, b"news", topic="a")
    back = room.guest(client=guest.client).hello()
    assert [body for _, body in back.take()][1:] == [b"news"]


def test_order_is_kept_when_a_session_ends_while_its_receiver_is_away() -> None:
    """What it had comes before what came later; what expired or was given up meanwhile comes not at all."""
    room = Room()
    sender, other = room.member(), room.member()
    identity = room.enroll(1001)
    receiver = room.member(identity, credit=1)
    for body in (b"held", b"queued"):
        sender.say(Kind.SEND, body, to="1001", topic="t", deadline=60_000)
    other.say(Kind.SEND, b"given up", to="1001", topic="t", deadline=60_000)
    room.do(Vanished(receiver.peer, is_gone=True))
    sender.say(Kind.SEND, b"waiting", to="1001", topic="t", deadline=60_000)
    other.say(Kind.SEND, b"given up too", to="1001", topic="t", deadline=60_000)
    other.say(Kind.BYE)
    room.pass_time(11)
    assert receiver.client not in room.bus.admission.sessions
    sender.say(Kind.SEND, b"last", to="1001", topic="t", deadline=60_000)
    again = room.guest().hello(identity)
    assert [body for _, body in again.take()[1:]] == [b"held", b"queued", b"waiting", b"last"]


def test_what_was_given_up_is_not_refused_when_its_receiver_ends() -> None:
    """Nobody waits for the word any more."""
    room = Room()
    other, sender = room.member(), room.member()
    room.enroll(1001)
    other.say(Kind.SEND, to="1001", topic="t")
    sender.say(Kind.SEND, to="1001", topic="t")
    other.say(Kind.BYE)
    room.hear(link.Discharged(1001, 1))
    assert (other.heard, sender.kinds()) == ([], [Kind.REFUSE])


def test_what_was_given_up_is_not_delivered_when_its_receiver_comes() -> None:
    """It waited, and its sender left."""
    room = Room()
    other = room.member()
    identity = room.enroll(1001)
    other.say(Kind.SEND, to="1001", topic="t")
    other.say(Kind.BYE)
    assert room.guest().hello(identity).kinds() == [Kind.WELCOME]


def test_the_rules_are_really_looked_at() -> None:
    """A broken one is named."""
    room = Room()
    guest = room.member(door=Door.CONTROL)
    room.bus.admission.sessions[guest.client].calls = 1
    with pytest.raises(Exception, match="the bus broke its own rule: calls are counted"):
        room.bus.check()


def test_a_program_that_ended_takes_its_session_along() -> None:
    """When its last connection is gone; a process's session waits for the kernel's word."""
    room = Room()
    guest, receiver = room.member(), room.member(room.enroll(1001))
    control = room.guest(Door.CONTROL, client=guest.client).hello()
    room.do(Vanished(guest.peer, is_gone=True, is_dead=True))
    assert guest.client in room.bus.admission.sessions
    room.do(Vanished(control.peer, is_gone=True, is_dead=True))
    assert guest.client not in room.bus.admission.sessions
    room.do(Vanished(receiver.peer, is_gone=True, is_dead=True))
    assert receiver.client in room.bus.admission.sessions
