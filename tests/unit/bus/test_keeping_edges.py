"""What rarely happens to messages on disk: while they are on their way there, when that fails, and when memories are full."""

from dadms_ipc import dead_letters
from dadms_ipc.codec import encode_body
from dadms_ipc.envelope import HOST, OK, STORED, Door, Flag, Kind
from dadmsd.bus.core.disk import OnDisk
from dadmsd.bus.core.events import Vanished
from dadmsd.kernel import link
from tests.unit.bus.disk import Disk
from tests.unit.bus.room import Guest, Room


def _ack(receiver: Guest, sent: bytes) -> None:
    receiver.say(Kind.ACK, id=b"", topic=OK, correlation=sent)


def test_what_is_on_its_way_to_disk_does_not_expire_for_its_sender() -> None:
    """In a moment it is there, or refused: the sender's own clock has run out, the message has not."""
    room = Room(is_slow=True)
    sender = room.member()
    room.hear(link.Expected(1001, "name"))
    sender.say(Kind.SEND, to="1001", topic="t", deadline=300, expiry=60_000)
    room.pass_time(3)
    assert room.counter("expired") == 0
    room.commit()
    assert len(room.disk.rows) == 1


def test_an_answer_before_a_full_disk_says_so_counts_nothing_twice() -> None:
    """The row never was; the receiver's word stands."""
    room = Room(is_slow=True, patience=0.25)
    sender = room.member()
    identity = room.enroll(1001)
    sent = sender.say(Kind.SEND, to="1001", topic="t")
    room.pass_time(1)
    receiver = room.guest().hello(identity)
    _ack(receiver, sent)
    room.refuse()
    assert sender.only()[0].topic == OK
    assert sum(room.bus.keeping.tallies.values()) == 0


def test_a_message_that_a_full_disk_refused_after_its_process_ended_is_refused_once() -> None:
    """By the end of the process, which came first."""
    room = Room(is_slow=True)
    sender = room.member()
    room.hear(link.Expected(1001, "name"))
    sender.say(Kind.SEND, to="1001", topic="t")
    room.pass_time(0.2)
    room.hear(link.Discharged(1001, 1))
    assert sender.kinds() == [Kind.REFUSE]
    room.refuse()
    assert sender.heard == []
    assert sum(room.bus.keeping.tallies.values()) == 0


def test_a_suspect_that_is_not_answered_lets_the_others_go() -> None:
    """After its time, not before."""
    room = Room(attempt_timeout=2.0, retries=5)
    sender = room.member()
    receiver = room.member(room.enroll(1001))
    sent = [sender.say(Kind.SEND, to="1001", topic="t") for _ in range(2)]
    receiver.take()
    room.hear(link.Discharged(1001, 1, returns=True))
    room.pass_time(0.3)
    again = room.guest().hello(room.enroll(1001, 2))
    assert [header.id for header, _ in again.take()[1:]] == [sent[0]]
    room.pass_time(1.5)
    assert again.heard == []
    room.pass_time(1.0)
    assert sent[0] in [header.id for header, _ in again.heard]
    _ack(again, sent[0])
    assert sent[1] in [header.id for header, _ in again.take()]


def test_a_suspect_waits_for_what_is_in_hands() -> None:
    """Whatever the incarnation is handling is done first."""
    room = Room()
    sender = room.member()
    receiver = room.member(room.enroll(1001), credit=1)
    asked = sender.say(Kind.REQUEST, to="1001", topic="t")
    sent = sender.say(Kind.SEND, to="1001", topic="t")
    receiver.take()
    receiver.say(Kind.CREDIT, encode_body(1), id=b"")
    room.hear(link.Discharged(1001, 1, returns=True))
    room.pass_time(0.3)
    again = room.guest().hello(room.enroll(1001, 2))
    assert [header.id for header, _ in again.take()[1:]] == [asked]
    again.say(Kind.RESPONSE, id=b"", topic=OK, correlation=asked)
    again.say(Kind.CREDIT, encode_body(1), id=b"")
    assert [(header.id, header.flags) for header, _ in again.take()] == [(sent, Flag.RETRY)]


def test_a_delivery_that_expired_in_its_receivers_hands_is_not_called_expired() -> None:
    """Its receiver may be handling it: the answer ends it."""
    room = Room(attempt_timeout=60.0)
    sender = room.member()
    room.hear(link.Expected(1001, "name"))
    sent = sender.say(Kind.SEND, to="1001", topic="t", expiry=1000)
    room.pass_time(0.3)
    receiver = room.guest().hello(room.enroll(1001))
    assert Kind.SEND in receiver.kinds()
    room.pass_time(5)
    _ack(receiver, sent)
    assert (room.disk.tallies["handled"], room.disk.tallies["expired"]) == (1, 0)


def test_a_full_disk_leaves_messages_with_their_senders() -> None:
    """They are tried again, and are refused when their receiver is not there."""
    room = Room(is_slow=True, patience=0.25)
    sender = room.member()
    room.hear(link.Expected(1001, "name"))
    sender.say(Kind.SEND, to="1001", topic="t", deadline=60_000)
    room.pass_time(0.2)
    room.refuse()
    assert sender.only()[0].topic == HOST
    sender.say(Kind.SEND, to="1001", topic="t", deadline=60_000)
    room.pass_time(0.5)
    assert room.disk.waiting == []
    room.is_slow = False
    room.pass_time(3)
    assert sender.only()[0].topic == STORED


def test_what_was_kept_and_ended_is_forgotten_in_bounds() -> None:
    """Outcomes, and the clock of expiries."""
    room = Room(settled=3)
    sender = room.member()
    room.hear(link.Expected(1001, "name"))
    for _ in range(3):
        sent = [sender.say(Kind.SEND, to="1001", topic="t") for _ in range(60)]
        room.pass_time(0.3)
        receiver = room.guest().hello(room.enroll(1001))
        for one in sent:
            _ack(receiver, one)
        room.hear(link.Discharged(1001, 1, returns=True))
    assert list(room.bus.keeping.settled) == sent[-3:]
    assert len(room.bus.keeping._expiries) <= 2 * 60 + 64


def test_an_answer_about_dead_letters_without_a_way_back_is_dropped() -> None:
    """The disk has done it all the same; a drop that the disk refused is said."""
    room = Room(is_slow=True)
    sender = room.member()
    room.hear(link.Expected(1001, "name"))
    for _ in range(2):
        sender.say(Kind.SEND, to="1001", topic="t")
    room.pass_time(0.3)
    room.commit()
    room.hear(link.Discharged(1001, 1))
    guest = room.member(door=Door.CONTROL)
    guest.say(Kind.CALL, encode_body(dead_letters.DropDeadLetters([1])), to="bus")
    room.refuse("full")
    assert guest.only()[0].topic == HOST
    guest.say(Kind.CALL, encode_body(dead_letters.DropDeadLetters([2])), to="bus")
    room.do(Vanished(guest.peer, is_gone=True))
    room.commit()
    assert guest.heard == []
    assert room.disk.letters == {}


def test_a_body_on_disk_has_its_size() -> None:
    """With what is put before it."""
    assert len(OnDisk(1, 10, b"head")) == 14
    assert Disk().restored().rows == []
