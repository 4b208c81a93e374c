"""One client exhausts only itself: what each has is counted, bounded, and given back."""

import pytest

from dadms_ipc.codec import decode_body, encode_body
from dadms_ipc.envelope import OK, Door, Kind
from dadmsd.bus.core.events import Vanished, Who
from dadmsd.kernel import link
from tests.unit.bus.room import Guest, Room


def of(room: Room, pid: int, *, uid: int = 1001, door: Door = Door.DATA, credit: int = 100) -> Guest:
    """Let an OS process say hello."""
    guest = room.guest(door, uid=uid)
    guest.who = Who(uid, pid)
    return guest.hello(credit=credit)


def test_a_process_has_so_many_sessions_and_another_is_not_the_worse() -> None:
    """Refused with the numbers, and written down; one that ends makes room."""
    room = Room(client_sessions=3, user_sessions=5)
    first = [of(room, 7) for _ in range(3)]
    assert of(room, 7).take()[-1][0].kind == Kind.REFUSE
    assert room.audits[-1].endswith("uid 1001 pid 7 has 3 sessions, at most 3")
    assert of(room, 8).kinds() == [Kind.WELCOME]
    first[0].say(Kind.BYE)
    assert of(room, 7).kinds() == [Kind.WELCOME]


def test_a_user_has_so_many_sessions_over_all_its_processes_unless_it_is_an_admin() -> None:
    """Forking buys nothing."""
    room = Room(client_sessions=2, user_sessions=3)
    assert [of(room, pid).kinds()[0] for pid in range(10, 14)] == [Kind.WELCOME] * 3 + [Kind.REFUSE]
    assert room.audits[-1].endswith("user 1001 has 3 sessions, at most 3")
    assert [of(room, pid, uid=1000).kinds()[0] for pid in range(10, 16)] == [Kind.WELCOME] * 6


def test_subscriptions_are_counted_over_all_sessions_of_a_client() -> None:
    """The same pattern twice is one; what is taken back makes room."""
    room = Room(client_patterns=3)
    one, two = of(room, 7), of(room, 7)
    one.take(), two.take()
    for guest, topic in ((one, "a"), (one, "a"), (one, "b"), (two, "a")):
        guest.say(Kind.SUBSCRIBE, topic=topic)
        assert guest.kinds() == [Kind.ACK]
    two.say(Kind.SUBSCRIBE, topic="c")
    assert two.reason() == 'cannot subscribe to "c": uid 1001 pid 7 has 3 subscriptions already, at most 3'
    one.say(Kind.UNSUBSCRIBE, topic="a")
    two.say(Kind.SUBSCRIBE, topic="c")
    assert [*one.kinds(), *two.kinds()] == [Kind.ACK, Kind.ACK]


def test_open_messages_and_requests_are_counted_together() -> None:
    """To the kernel and to others; an answer makes room."""
    room = Room(client_open=2)
    identity = room.enroll(1001)
    receiver = room.member(identity)
    control, data = of(room, 7, door=Door.CONTROL), of(room, 7)
    control.take(), data.take()
    control.say(Kind.CALL, b"\x80")
    first = data.say(Kind.SEND, to="1001", topic="t")
    data.say(Kind.SEND, to="1001", topic="t")
    assert data.reason() == 'cannot send to "1001": 2 messages and requests of uid 1001 pid 7 wait for their answers, at most 2 may'
    control.say(Kind.CALL, b"\x80")
    assert "2 messages and requests of uid 1001 pid 7 wait" in control.reason()
    receiver.say(Kind.ACK, id=b"", topic=OK, correlation=first)
    room.hear(link.Reply(control.client, control.sequence - 1, "ok", encode_body({})))  # type: ignore[arg-type]  # bytes serve as Raw
    data.say(Kind.SEND, to="1001", topic="t")
    data.say(Kind.SEND, to="1001", topic="t")
    assert data.kinds() == [Kind.ACK]


def test_nobody_holds_more_bytes_than_are_left_for_others() -> None:
    """The first may have half, the next half of the rest: a newcomer always finds room."""
    room = Room(pool_bytes=1000, flight_bytes=10_000)
    receiver = room.member(room.enroll(1001))
    greedy = [of(room, pid, uid=1000) for pid in range(7, 11)]
    taken = []
    for guest in greedy:
        guest.take()
        before = room.bus.accounts.pool.used
        while True:
            guest.say(Kind.SEND, bytes(10), to="1001", topic="t", deadline=10_000)
            if guest.take():
                break
        taken.append(room.bus.accounts.pool.used - before)
    assert taken == [500, 250, 120, 60]
    newcomer = of(room, 99, uid=1000)
    newcomer.take()
    newcomer.say(Kind.SEND, bytes(30), to="1001", topic="t")
    assert newcomer.heard == []
    assert receiver.kinds().count(Kind.SEND) == 94
    room.pass_time(11)
    newcomer.say(Kind.BYE)
    assert room.bus.accounts.pool.used == 0


def test_one_message_of_its_own_everybody_may_have() -> None:
    """However large, as long as the pool has room for it."""
    room = Room(pool_bytes=1000)
    room.member(room.enroll(1001), credit=0)
    guest, other = of(room, 7), of(room, 8)
    guest.take(), other.take()
    guest.say(Kind.SEND, bytes(900), to="1001", topic="t")
    assert guest.heard == []
    guest.say(Kind.SEND, bytes(1), to="1001", topic="t")
    assert (
        guest.reason() == 'cannot send to "1001": 1 bytes more of uid 1001 pid 7, which has 900, would leave 99 of 1000 for everybody else'
    )
    other.say(Kind.SEND, bytes(101), to="1001", topic="t")
    assert "would leave 0 of 1000" in other.reason()


def test_publications_that_wait_are_their_subscribers() -> None:
    """A subscriber that takes nothing loses them once its part is full, and is told; others get theirs."""
    room = Room(pool_bytes=1000)
    slow, quick, speaker = of(room, 7, credit=0), of(room, 8), room.member()
    for guest in (slow, quick):
        guest.take()
        guest.say(Kind.SUBSCRIBE, topic="#")
        guest.take()
    for _ in range(80):
        speaker.say(Kind.PUBLISH, bytes(10), topic="t")
    assert len(quick.take()) == 80
    assert room.counter("dropped") == 30
    assert room.bus.accounts.pool.used == 500
    slow.say(Kind.CREDIT, encode_body(100), id=b"")
    assert slow.kinds() == [Kind.PUBLISH, Kind.LOST, *[Kind.PUBLISH] * 49]
    assert room.bus.accounts.pool.used == 0


@pytest.mark.parametrize("how", ["bye", "away"])
def test_everything_is_given_back_when_a_session_ends(how: str) -> None:
    """By whatever way."""
    room = Room(linger=1.0)
    room.member(room.enroll(1001), credit=0)
    control, data = of(room, 7, door=Door.CONTROL), of(room, 7, credit=0)
    control.say(Kind.CALL, encode_body({"verb": "wait"}))
    data.say(Kind.SUBSCRIBE, topic="#")
    data.say(Kind.SEND, bytes(100), to="1001", topic="t")
    room.member().say(Kind.PUBLISH, bytes(50), topic="t")
    assert room.bus.accounts.pool.used > 150
    for guest in (control, data):
        if how == "bye":
            guest.say(Kind.BYE)
        else:
            room.do(Vanished(guest.peer, is_gone=True))
    room.pass_time(5)
    assert room.bus.accounts.pool.used == 0
    assert not any("pid 7" in account.name for account in room.bus.accounts)


def test_ten_times_too_much_is_refused_early_and_others_go_on() -> None:
    """What is refused costs the receiver nothing, and another sender's message is handed over in the same turn as before."""
    room = Room(client_open=100)
    receiver = room.member(room.enroll(1001), credit=1000)
    flood, calm = of(room, 7), of(room, 8)
    flood.take(), calm.take()
    for _ in range(1000):
        flood.say(Kind.SEND, bytes(10), to="1001", topic="t")
    assert flood.kinds() == [Kind.REFUSE] * 900
    assert len(receiver.take()) == 100
    sent = calm.say(Kind.SEND, b"calm", to="1001", topic="t")
    assert receiver.only()[0].id == sent


def test_a_subscriber_that_takes_nothing_is_told_and_cut() -> None:
    """After a while, and only while it goes on losing; a process may be suspended and is left alone."""
    room = Room(queue=5, ping_interval=1e6)
    speaker, deaf = room.member(), of(room, 7, credit=0)
    process = room.member(room.enroll(1001), credit=0)
    for guest in (deaf, process):
        guest.take()
        guest.say(Kind.SUBSCRIBE, topic="#")
        guest.take()
    for _ in range(8):
        speaker.say(Kind.PUBLISH, topic="t")
    room.pass_time(29)
    speaker.say(Kind.PUBLISH, topic="t")
    assert not deaf.is_cut
    deaf.say(Kind.CREDIT, encode_body(1), id=b"")
    assert deaf.kinds() == [Kind.PUBLISH, Kind.LOST]
    for _ in range(3):
        speaker.say(Kind.PUBLISH, topic="t")
    room.pass_time(31)
    assert not deaf.is_cut
    speaker.say(Kind.PUBLISH, topic="t")
    assert deaf.is_cut
    header, body = deaf.only()
    assert (header.kind, decode_body(body, int)) == (Kind.LOST, 3)
    assert room.audits[-1] == "cut a connection: uid 1001 pid 7 lost 3 publications and took none for 30 s"
    assert not process.is_cut
    again = room.guest(client=deaf.client, uid=1001)
    again.who = Who(1001, 7)
    assert again.hello(credit=100).kinds() == [Kind.WELCOME, *[Kind.PUBLISH] * 5]


def test_the_kernels_events_cut_who_takes_none_as_well() -> None:
    """And one who is away is not cut for what it cannot take."""
    room = Room(queue=1, stall_patience=1.0, ping_interval=1e6)
    deaf, away = of(room, 7, credit=0), of(room, 8, credit=0)
    for guest in (deaf, away):
        guest.take()
        guest.say(Kind.SUBSCRIBE, topic="events/#")
    room.do(Vanished(away.peer, is_gone=True))
    for number in range(3):
        room.hear(link.Event(number, "events/a", encode_body({})))  # type: ignore[arg-type]  # bytes serve as Raw
    room.pass_time(2)
    room.hear(link.Event(9, "events/a", encode_body({})))  # type: ignore[arg-type]  # as above
    assert deaf.is_cut
    assert room.counter("cut") == 1
