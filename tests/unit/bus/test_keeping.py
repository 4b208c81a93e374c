"""What goes to disk, what its sender hears, and how it comes out."""

import pytest

from dadms_ipc.codec import encode_body
from dadms_ipc.envelope import HOST, OK, REFUSED, STORED, Flag, Header, Kind
from dadmsd.bus.core.attempts import backoff
from dadmsd.bus.core.events import Vanished
from dadmsd.bus.core.state import Bounds
from dadmsd.kernel import link
from tests.unit.bus.disk import Disk
from tests.unit.bus.room import Guest, Room


def _ack(receiver: Guest, sent: bytes, status: str = OK, body: bytes = b"") -> None:
    receiver.say(Kind.ACK, body, id=b"", topic=status, correlation=sent)


def _outcomes(room: Room) -> dict[str, int]:
    found = room.bus.status()["outcomes"]
    assert isinstance(found, dict)
    return {name: count for name, count in found.items() if count}


def _expect(room: Room, pid: int) -> None:
    """Let a process be admitted, with no incarnation yet."""
    room.hear(link.Expected(pid, "name"))


def test_a_message_to_a_process_that_will_come_is_stored_and_handed_to_it() -> None:
    """The sender is told at once, and hears no more; the receiver gets it with its own expiry."""
    room = Room()
    sender = room.member()
    _expect(room, 1001)
    sent = sender.say(Kind.SEND, b"body", to="1001", topic="t", deadline=5000, expiry=60_000)
    room.pass_time(0.2)
    header, _ = sender.only()
    assert (header.kind, header.sender, header.topic, header.correlation) == (Kind.ACK, "bus", STORED, sent)
    receiver = room.guest().hello(room.enroll(1001))
    header, body = receiver.take()[1]
    assert (header.id, header.flags, body) == (sent, 0, b"body")
    assert 59_700 < header.deadline <= 59_800
    _ack(receiver, sent)
    assert sender.heard == []
    assert _outcomes(room) == {"kept": 1, "handled": 1}
    assert (room.disk.rows, room.disk.bodies) == ({}, {})


def test_nothing_touches_the_disk_while_receivers_are_there() -> None:
    """The path of every day."""
    room = Room(is_slow=True)
    sender = room.member()
    receiver = room.member(room.enroll(1001))
    for _ in range(50):
        _ack(receiver, sender.say(Kind.SEND, to="1001", topic="t"))
    assert room.disk.waiting == []


def test_a_process_that_lives_has_a_moment_to_connect() -> None:
    """Then what waits for it goes to disk, in its order."""
    room = Room(patience=0.25)
    sender = room.member()
    room.enroll(1001)
    sent = [sender.say(Kind.SEND, to="1001", topic="t") for _ in range(2)]
    room.pass_time(0.2)
    assert sender.heard == []
    room.pass_time(0.2)
    assert [(header.topic, header.correlation) for header, _ in sender.take()] == [(STORED, one) for one in sent]


def test_the_moment_is_over_when_its_incarnation_ends() -> None:
    """The next one comes in its own time, and the sender need not wait for that."""
    room = Room(patience=0.25)
    sender = room.member()
    room.enroll(1001)
    sent = sender.say(Kind.SEND, to="1001", topic="t")
    room.hear(link.Discharged(1001, 1, returns=True))
    room.pass_time(0.0)
    assert [(header.topic, header.correlation) for header, _ in sender.take()] == [(STORED, sent)]


def test_the_sender_is_told_only_when_it_is_on_disk() -> None:
    """And a repeat of what is on its way there changes nothing."""
    room = Room(is_slow=True)
    sender = room.member()
    _expect(room, 1001)
    sent = sender.say(Kind.SEND, to="1001", topic="t")
    room.pass_time(1)
    sender.say(Kind.SEND, id=sent, to="1001", topic="t", flags=Flag.RETRY)
    assert sender.heard == []
    room.commit()
    assert sender.only()[0].topic == STORED
    sender.say(Kind.SEND, id=sent, to="1001", topic="t", flags=Flag.RETRY)
    assert sender.only()[0].topic == STORED
    assert len(room.disk.rows) == 1


def test_what_is_answered_before_it_is_on_disk_is_answered_to_its_sender() -> None:
    """Nobody said "stored", so nobody hears it; the row is taken away."""
    room = Room(is_slow=True, patience=0.25)
    sender = room.member()
    identity = room.enroll(1001)
    sent = [sender.say(Kind.SEND, to="1001", topic="t") for _ in range(2)]
    room.pass_time(1)
    receiver = room.guest().hello(identity)
    _ack(receiver, sent[0])
    _ack(receiver, sent[1], REFUSED)
    room.commit()
    assert [header.topic for header, _ in sender.take()] == [OK, REFUSED]
    assert _outcomes(room) == {"kept": 2, "handled": 1, "declined": 1}
    assert room.disk.rows == {}


def test_a_refused_message_that_was_stored_is_a_dead_letter() -> None:
    """With the receiver's word; its sender was told that it is safe, and so it is."""
    room = Room()
    sender = room.member()
    _expect(room, 1001)
    sent = sender.say(Kind.SEND, b"body", to="1001", topic="t")
    room.pass_time(0.2)
    receiver = room.guest().hello(room.enroll(1001))
    _ack(receiver, sent, REFUSED, encode_body({"message": "not today"}))
    [letter] = room.disk.letters.values()
    assert (letter.header.id, letter.reason, letter.attempts) == (sent, "its receiver said refused: not today", 1)
    assert _outcomes(room) == {"kept": 1, "dead": 1}


def test_a_message_that_waits_too_long_expires() -> None:
    """Counted, and dropped before it is delivered."""
    room = Room()
    sender = room.member()
    _expect(room, 1001)
    sender.say(Kind.SEND, to="1001", topic="t", expiry=2000)
    kept = sender.say(Kind.SEND, to="1001", topic="t", expiry=20_000)
    room.pass_time(3)
    receiver = room.guest().hello(room.enroll(1001))
    assert [header.id for header, _ in receiver.take()[1:]] == [kept]
    assert _outcomes(room) == {"kept": 2, "expired": 1}


def test_an_expiry_has_a_bound() -> None:
    """A week, whatever is asked; an hour when nothing is."""
    room = Room()
    sender = room.member()
    _expect(room, 1001)
    for expiry in (0, 10**12):
        sender.say(Kind.SEND, to="1001", topic="t", expiry=expiry)
    room.pass_time(1)
    found = [exchange.expiry - 1000.0 for exchange in room.bus.keeping.rows.values()]
    assert found == [3600.0, 7 * 24 * 3600.0]


def test_a_fresh_bus_finds_what_the_last_one_was_told() -> None:
    """Rows, letters, outcomes: it delivers with RETRY, and answers a sender that asks again."""
    disk = Disk()
    room = Room(disk=disk)
    sender = room.member()
    _expect(room, 1001)
    sent = [sender.say(Kind.SEND, str(number).encode(), to="1001", topic="t") for number in range(3)]
    room.pass_time(0.2)
    later = Room(disk=disk, has_roster=False)
    later.attach_kernel(later.entry(later.identity(1001)), epoch=2)
    assert link.Wanted(1001) in later.asked
    back = later.guest(client=sender.client).hello()
    receiver = later.guest().hello(later.identity(1001))
    heard = receiver.take()[1:]
    assert [(header.id, header.flags, body) for header, body in heard] == [
        (one, Flag.RETRY, str(number).encode()) for number, one in enumerate(sent)
    ]
    _ack(receiver, sent[0])
    back.take()
    for one in sent[:2]:
        back.say(Kind.SEND, id=one, to="1001", topic="t", flags=Flag.RETRY)
    assert [header.topic for header, _ in back.take()] == [OK, STORED]
    third = Room(disk=disk, has_roster=False)
    again = third.guest(client=sender.client).hello()
    again.take()
    again.say(Kind.SEND, id=sent[0], to="1001", topic="t", flags=Flag.RETRY)
    assert again.only()[0].topic == OK, "the outcome is remembered on disk"
    assert _outcomes(third) == {"kept": 3, "handled": 1}
    assert third.bus.keeping.last_number == 3


def test_messages_wait_for_the_next_incarnation_and_are_marked() -> None:
    """What was in the hands of the last one comes first, alone, and with RETRY."""
    room = Room()
    sender = room.member()
    receiver = room.member(room.enroll(1001), credit=2)
    sent = [sender.say(Kind.SEND, to="1001", topic="t") for _ in range(4)]
    assert len(receiver.take()) == 2
    room.hear(link.Discharged(1001, 1, returns=True))
    assert receiver.kinds() == [Kind.BYE]
    room.pass_time(0.2)
    assert [header.topic for header, _ in sender.take()] == [STORED] * 4
    sent.append(sender.say(Kind.SEND, to="1001", topic="t"))
    again = room.guest().hello(room.enroll(1001, 2))
    order = []
    while heard := [header for header, _ in again.take() if header.kind == Kind.SEND]:
        order.append([(header.id, header.flags) for header in heard])
        for header in heard:
            _ack(again, header.id)
    assert order == [[(sent[0], Flag.RETRY)], [(sent[1], Flag.RETRY)], [(sent[2], 0), (sent[3], 0), (sent[4], 0)]]
    assert _outcomes(room) == {"kept": 4, "handled": 4}  # the fifth found its receiver there


def test_what_kills_its_receiver_again_and_again_is_a_dead_letter() -> None:
    """After 1 + retries deliveries; what was behind it is handled."""
    room = Room(retries=2)
    sender = room.member()
    receiver = room.member(room.enroll(1001))
    poison, harmless = (sender.say(Kind.SEND, to="1001", topic="t") for _ in range(2))
    receiver.take()
    for incarnation in (2, 3, 4):
        room.hear(link.Discharged(1001, incarnation - 1, returns=True))
        room.pass_time(0.2)
        receiver = room.guest().hello(room.enroll(1001, incarnation))
        heard = [header.id for header, _ in receiver.take()[1:]]
        assert heard == ([poison] if incarnation < 4 else [harmless])
    _ack(receiver, harmless)
    [letter] = room.disk.letters.values()
    assert (letter.header.id, letter.attempts) == (poison, 3)
    assert (
        letter.reason
        == "its receiver went without an answer to it 3 times, the last time as the receiver's session ended: process 1001.3 ended"
    )
    assert _outcomes(room) == {"kept": 2, "handled": 1, "dead": 1}


def test_what_its_receiver_says_goodbye_with_again_and_again_is_a_dead_letter() -> None:
    """Its own client ends in order, as an exception leaves it, before the process ends and is started again."""
    room = Room(retries=2)
    sender = room.member()
    _expect(room, 1001)
    poison, harmless = (sender.say(Kind.SEND, to="1001", topic="t") for _ in range(2))
    room.pass_time(0.2)
    assert [header.topic for header, _ in sender.take()] == [STORED] * 2
    for incarnation in (1, 2, 3):
        receiver = room.guest().hello(room.enroll(1001, incarnation))
        assert [header.id for header, _ in receiver.take()[1:]] == ([poison, harmless] if incarnation == 1 else [poison])
        receiver.say(Kind.BYE)
        room.hear(link.Discharged(1001, incarnation, returns=True))
        room.pass_time(0.2)
    receiver = room.guest().hello(room.enroll(1001, 4))
    assert [header.id for header, _ in receiver.take()[1:]] == [harmless]
    _ack(receiver, harmless)
    [letter] = room.disk.letters.values()
    assert (letter.header.id, letter.attempts) == (poison, 3)
    assert (
        letter.reason == "its receiver went without an answer to it 3 times, the last time as the receiver's session ended: it said goodbye"
    )
    assert _outcomes(room) == {"kept": 2, "handled": 1, "dead": 1}


def test_a_message_that_breaks_every_client_of_a_process_that_lives_on_is_refused() -> None:
    """Its sender still waits, and was told nothing else."""
    room = Room(retries=2)
    sender = room.member()
    secret = room.enroll(1001)
    poison = sender.say(Kind.SEND, to="1001", topic="t")
    for _ in range(3):
        receiver = room.guest().hello(secret)
        assert poison in [header.id for header, _ in receiver.take()]
        receiver.say(Kind.BYE)
    header, _ = sender.only()
    assert (header.kind, header.correlation) == (Kind.REFUSE, poison)
    assert Kind.SEND not in room.guest().hello(secret).kinds()


def test_a_goodbye_costs_what_was_handled_nothing() -> None:
    """Somebody who takes one message and goes, again and again, does not wear out the others: each is in his hands alone."""
    room = Room(retries=2)
    sender = room.member()
    secret = room.enroll(1001)
    sent = [sender.say(Kind.SEND, to="1001", topic="t") for _ in range(8)]
    handled = []
    for _ in sent:
        receiver = room.guest().hello(secret)
        first = next(header.id for header, _ in receiver.take() if header.kind == Kind.SEND)
        handled.append(first)
        _ack(receiver, first)
        receiver.say(Kind.BYE)
        room.pass_time(0.2)
    assert handled == sent
    assert not room.disk.letters


def test_a_process_that_ends_for_good_leaves_dead_letters_and_refusals() -> None:
    """Whoever was told that it is safe is told no more; whoever was not is refused."""
    room = Room(is_slow=True)
    sender = room.member()
    _expect(room, 1001)
    stored = sender.say(Kind.SEND, to="1001", topic="t")
    room.pass_time(0.2)
    room.commit()
    sender.take()
    late = sender.say(Kind.SEND, to="1001", topic="t")
    room.hear(link.Discharged(1001, 1))
    room.commit()
    header, _ = sender.only()
    assert (header.kind, header.correlation) == (Kind.REFUSE, late)
    [letter] = room.disk.letters.values()
    assert (letter.header.id, letter.reason) == (stored, "process 1001 ended")


def test_a_delivery_without_an_answer_is_repeated_with_growing_pauses_and_then_buried() -> None:
    """The first failure puts it on disk; the receiver sees the same id with RETRY."""
    room = Room(attempt_timeout=5.0, retries=2, backoff_first=1.0, sweep_interval=0.01)
    sender = room.member()
    receiver = room.member(room.enroll(1001))
    sent = sender.say(Kind.SEND, to="1001", topic="t", deadline=60_000)
    begun, moments = room.now, []
    while room.bus.keeping.rows or not room.disk.letters:
        room.pass_time(0.05)
        moments += [round(room.now - begun, 1) for header, _ in receiver.take() if header.kind == Kind.SEND]
    assert moments[0] == pytest.approx(0.0, abs=0.1)
    first, second = (backoff(room.bus.bounds, 1, attempts) for attempts in (1, 2))
    assert moments[1:] == pytest.approx([5.0 + first, 10.0 + first + second], abs=0.2)
    assert [header.topic for header, _ in sender.take()] == [STORED]
    [letter] = room.disk.letters.values()
    assert (letter.header.id, letter.reason) == (sent, '"1001" did not answer 3 deliveries, 5 s each')
    assert room.counter("retried") == 2


def test_a_late_word_takes_a_message_back_from_the_dead() -> None:
    """It was handled after all: that is its one outcome."""
    room = Room(attempt_timeout=1.0, retries=0)
    sender = room.member()
    receiver = room.member(room.enroll(1001))
    sent = sender.say(Kind.SEND, to="1001", topic="t", deadline=60_000)
    room.pass_time(0.5)
    room.bus.exchanges.spill("1001", room.now)
    sender.say(Kind.PUBLISH, topic="x")  # any event takes the effects along
    room.pass_time(2)
    assert len(room.disk.letters) == 1
    _ack(receiver, sent, REFUSED)
    assert len(room.disk.letters) == 1
    _ack(receiver, sent)
    assert room.disk.letters == {}
    assert _outcomes(room) == {"kept": 1, "handled": 1}


def test_a_message_in_memory_whose_attempts_fail_is_refused() -> None:
    """A client's messages are never on disk: its sender is told."""
    room = Room(attempt_timeout=1.0, retries=1, backoff_first=0.1)
    sender, receiver = room.member(), room.member()
    address = f"client/{receiver.client.hex()[:12]}"
    sender.say(Kind.SEND, to=address, topic="t", deadline=60_000)
    room.pass_time(4)
    assert receiver.kinds() == [Kind.SEND, Kind.SEND]
    assert sender.reason() == f'cannot send to "{address}": "{address}" did not answer 2 deliveries, 1 s each'


def test_no_attempt_fails_while_its_receiver_is_suspended_or_away() -> None:
    """The clocks stand still, and start anew when it goes on."""
    room = Room(attempt_timeout=1.0, retries=0, linger=1000.0)
    sender = room.member()
    receiver = room.member(room.enroll(1001))
    room.hear(link.Paused(1001, is_paused=True))
    sent = sender.say(Kind.SEND, to="1001", topic="t", deadline=600_000)
    room.pass_time(10)
    room.hear(link.Paused(1001, is_paused=False))
    room.pass_time(0.5)
    room.do(Vanished(receiver.peer, is_gone=True))
    room.pass_time(10)
    assert room.counter("attempts_failed") == 0
    back = room.guest(client=receiver.client).hello(room.identity(1001))
    assert [(header.id, header.flags) for header, _ in back.take()[1:]] == [(sent, Flag.RETRY)]
    _ack(back, sent)
    assert sender.only()[0].topic == OK


def test_pauses_grow_to_a_ceiling_and_differ() -> None:
    """By the message's number, and by nothing else."""
    bounds = Bounds(backoff_first=0.1, backoff_last=5.0)
    assert [round(backoff(bounds, 0, attempts), 2) for attempts in (1, 2, 3, 7, 1000)] == [0.1, 0.2, 0.4, 5.0, 5.0]
    spread = {backoff(bounds, number, 1) for number in range(64)}
    assert len(spread) == 64
    assert all(0.1 <= pause < 0.125 for pause in spread)


def test_a_queue_that_outgrows_the_memory_goes_to_disk() -> None:
    """All of it, in its order, and what comes after it, until it is empty; requests stay."""
    room = Room(memory=2)
    sender = room.member()
    receiver = room.member(room.enroll(1001), credit=1)
    sent = [sender.say(Kind.SEND, str(number).encode(), to="1001", topic="t") for number in range(3)]
    assert sender.heard == []
    sent += [sender.say(Kind.SEND, str(number).encode(), to="1001", topic="t") for number in range(3, 6)]
    sender.say(Kind.REQUEST, b"6", to="1001", topic="t")
    assert [header.correlation for header, _ in sender.take()] == sent
    assert [row.header.id for _, row in sorted(room.disk.rows.items())] == sent
    receiver.say(Kind.CREDIT, encode_body(10), id=b"")
    assert [body for _, body in receiver.take()] == [b"0", b"1", b"2", b"3", b"4", b"5", b"6"]
    for one in sent:
        _ack(receiver, one)
    assert _outcomes(room) == {"kept": 6, "handled": 6}
    sender.say(Kind.SEND, to="1001", topic="t")
    assert room.disk.rows == {}


def test_a_queue_of_large_bodies_goes_to_disk_before_it_is_long() -> None:
    """Bytes count as well."""
    room = Room(memory_bytes=100)
    sender = room.member()
    room.member(room.enroll(1001), credit=0)
    for _ in range(3):
        sender.say(Kind.SEND, b"x" * 60, to="1001", topic="t")
    assert len(room.disk.rows) == 3
    assert room.bus.keeping.size == 180


def test_a_full_disk_refuses_what_has_no_receiver_and_keeps_the_rest_in_memory() -> None:
    """And is tried again after a while."""
    room = Room(is_slow=True, memory=1)
    sender = room.member()
    _expect(room, 1001)
    receiver = room.member(room.enroll(1002), credit=0)
    sender.say(Kind.SEND, to="1001", topic="t")
    room.pass_time(0.2)
    for _ in range(3):
        sender.say(Kind.SEND, to="1002", topic="t")
    room.refuse("it cannot be put on disk: full")
    header, _ = sender.only()
    assert (header.kind, header.topic) == (Kind.REFUSE, HOST)
    receiver.say(Kind.CREDIT, encode_body(5), id=b"")
    assert len(receiver.take()) == 3
    assert _outcomes(room) == {}
    room.is_slow = False
    room.pass_time(2)
    sender.say(Kind.SEND, to="1001", topic="t")
    room.pass_time(0.2)
    assert sender.only()[0].topic == STORED


def test_what_is_on_disk_is_bounded() -> None:
    """In messages, in bytes, and for one sender; beyond it messages wait with their senders."""
    for room in (Room(stored=2), Room(stored_bytes=25), Room(stored_of_one=2)):
        sender = room.member()
        _expect(room, 1001)
        for _ in range(3):
            sender.say(Kind.SEND, b"x" * 10, to="1001", topic="t", deadline=3000)
        room.pass_time(1)
        assert [header.topic for header, _ in sender.take()] == [STORED, STORED]
        room.pass_time(3)
        assert (room.counter("expired"), len(room.disk.rows)) == (1, 2)


def test_priorities_have_lanes_of_their_own() -> None:
    """Order holds within each."""
    room = Room()
    sender = room.member()
    receiver = room.member(room.enroll(1001), credit=0)
    for number, flags in enumerate((Flag.LATER, 0, Flag.URGENT, 0, Flag.URGENT | Flag.LATER, Flag.LATER)):
        sender.say(Kind.SEND, str(number).encode(), to="1001", topic="t", flags=int(flags))
    receiver.say(Kind.CREDIT, encode_body(10), id=b"")
    assert b"".join(body for _, body in receiver.take()) == b"241305"


def test_a_name_reaches_the_one_process_that_has_it() -> None:
    """And its threads; what several have reaches nobody."""
    room = Room()
    sender = room.member()
    identity = room.identity(1001)
    room.hear(link.Enrolled(1001, 1, "etl", 1000, room.entry(identity).secret_digest))
    receiver = room.member(identity)
    for to in ("etl", "etl/17"):
        sender.say(Kind.SEND, to=to, topic="t")
    assert [header.to for header, _ in receiver.take()] == ["etl", "etl/17"]
    room.hear(link.Expected(1002, "etl"))
    sender.say(Kind.SEND, to="etl", topic="t")
    assert sender.reason() == 'cannot reach "etl": 2 processes have that name: 1001, 1002'
    room.hear(link.Discharged(1002, 1))
    sender.say(Kind.SEND, to="etl", topic="t")
    assert receiver.kinds() == [Kind.SEND]


def test_a_name_waits_for_the_roster() -> None:
    """Nobody is refused for the bus's ignorance."""
    room = Room(has_roster=False)
    sender = room.member()
    for to in ("etl", "nobody"):
        sender.say(Kind.SEND, to=to, topic="t", deadline=60_000)
    room.pass_time(1)
    assert sender.heard == []
    identity = room.identity(1001)
    room.attach_kernel(link.Enrolled(1001, 1, "etl", 1000, room.entry(identity).secret_digest))
    assert sender.reason() == 'cannot send to "nobody": nobody of that address is connected'
    assert room.guest().hello(identity).kinds() == [Kind.WELCOME, Kind.SEND]


def test_a_sender_that_ends_before_it_was_told_takes_its_message_along() -> None:
    """It may say it again with the same id."""
    room = Room(is_slow=True)
    sender = room.member()
    _expect(room, 1001)
    sent = sender.say(Kind.SEND, to="1001", topic="t")
    room.pass_time(0.2)
    sender.say(Kind.BYE)
    room.commit()
    assert (room.disk.rows, room.bus.keeping.rows) == ({}, {})
    back = room.guest(client=sender.client).hello()
    back.take()
    back.say(Kind.SEND, id=sent, to="1001", topic="t", flags=Flag.RETRY)
    room.pass_time(0.2)
    room.commit()
    assert back.only()[0].topic == STORED


def test_headers_on_disk_are_those_of_the_delivery() -> None:
    """With the sender filled in, and nothing that was the sender's wait."""
    room = Room()
    sender = room.member()
    _expect(room, 1001)
    sent = sender.say(Kind.SEND, to="1001/3", topic="t", deadline=700, flags=int(Flag.URGENT))
    room.pass_time(0.2)
    [row] = room.disk.rows.values()
    assert row.header == Header(1, Kind.SEND, sent, f"client/{sender.client.hex()[:12]}", "1001/3", "t", b"", 0, Flag.URGENT)
    assert row.address == "1001"
    assert row.stored_at == pytest.approx(1_700_000_000 + 1000, abs=1)


def test_a_process_that_died_while_no_kernel_was_there_is_expected_by_the_next() -> None:
    """It was on the old roster as living: messages to it wait, and its session is ended."""
    room = Room()
    sender = room.member()
    receiver = room.member(room.enroll(1001))
    room.detach_kernel()
    sent = sender.say(Kind.SEND, to="1001", topic="t")
    receiver.take()
    room.attach_kernel(link.Expected(1001, "name"), epoch=2)
    assert receiver.kinds() == [Kind.BYE]
    room.pass_time(0.2)
    assert sender.only()[0].topic == STORED
    again = room.guest()
    room.hear(room.entry(room.identity(1001, 2)), epoch=2)
    assert [(header.id, header.flags) for header, _ in again.hello(room.identity(1001, 2)).take()[1:]] == [(sent, Flag.RETRY)]
