"""Large batches: taken in slices, between which others are served, and in the order in which things were said."""

from dadms_ipc.codec import encode_batch, encode_body, encode_header
from dadms_ipc.envelope import VERSION, Door, Flag, Header, Kind, message_id
from dadmsd.bus.core.events import Resumed, Vanished
from dadmsd.bus.core.intake import BATCH_SLICE
from tests.unit.bus.room import Guest, Room

COUNT = 3 * BATCH_SLICE + 5


def _room() -> tuple[Room, Guest, Guest]:
    """Give a room in which batches wait, a subscriber, and who publishes."""
    room = Room()
    room.resumes = False
    listener, speaker = room.member(credit=10_000), room.member()
    listener.say(Kind.SUBSCRIBE, topic="#")
    listener.take()
    return room, listener, speaker


def _publish(speaker: Guest, count: int = COUNT) -> None:
    """Publish so many in one batch; each body is its number."""
    header = [Header(VERSION, Kind.PUBLISH, message_id(speaker.client, 10_000 + number), topic="a") for number in range(count)]
    speaker.frames(
        encode_header(Header(VERSION, Kind.BATCH)), encode_batch([(one, str(place).encode()) for place, one in enumerate(header)])
    )


def _heard(listener: Guest) -> list[int]:
    return [int(body) for _, body in listener.take()]


def test_a_large_batch_is_taken_in_slices() -> None:
    """Each on its turn, none twice, in order."""
    room, listener, speaker = _room()
    _publish(speaker)
    heard = _heard(listener)
    assert heard == list(range(BATCH_SLICE))
    while room.bus.rests:
        room.do(Resumed(Door.DATA))
        slice_ = _heard(listener)
        assert len(slice_) <= BATCH_SLICE
        heard += slice_
    assert heard == list(range(COUNT))
    room.do(Resumed(Door.DATA))
    assert listener.heard == []


def test_others_are_served_between_two_slices() -> None:
    """At the other door; and at this one, where a message would have to wait, what was said before it comes first."""
    room, listener, speaker = _room()
    _publish(speaker)
    listener.take()
    other = room.guest(Door.CONTROL)
    assert other.hello().kinds() == [Kind.WELCOME]
    assert list(room.bus.rests) == [Door.DATA]
    speaker.say(Kind.PUBLISH, b"-1", topic="a")
    assert _heard(listener) == [*range(BATCH_SLICE, COUNT), -1]


def test_who_is_gone_had_said_it_all() -> None:
    """Whoever publishes and leaves has published."""
    room, listener, speaker = _room()
    _publish(speaker)
    room.do(Vanished(speaker.peer, True, True))
    assert _heard(listener) == list(range(COUNT))
    assert room.bus.rests == {}


def test_nothing_more_is_taken_of_who_was_cut() -> None:
    room, listener, speaker = _room()
    bad = Header(VERSION, Kind.PUBLISH, b"x", topic="a")
    good = Header(VERSION, Kind.PUBLISH, message_id(speaker.client, 1), topic="a", flags=int(Flag.RETRY))
    bound = room.bus.bounds.violations
    speaker.frames(
        encode_header(Header(VERSION, Kind.BATCH)),
        encode_batch([(good, b"0")] * (BATCH_SLICE - 10) + [(bad, b"")] * bound + [(good, b"1")] * 200),
    )
    room.do(Resumed(Door.DATA))
    assert speaker.is_cut
    assert room.bus.rests == {}
    assert set(_heard(listener)) == {0}


def test_who_does_not_read_is_not_heard_to_the_end() -> None:
    room, listener, speaker = _room()
    _publish(speaker)
    listener.take()
    room.do(Vanished(speaker.peer, False))
    room.do(Resumed(Door.DATA))
    assert (listener.heard, room.bus.rests) == ([], {})


def test_a_run_that_is_taken_apart_counts_as_many() -> None:
    """A batch may hold runs, and each of those a hundred messages."""
    room, _listener, speaker = _room()
    bodies = encode_body([b"x"] * (BATCH_SLICE // 2))
    ids = [message_id(speaker.client, 10_000 + 1000 * place) for place in range(5)]
    runs = [Header(VERSION, Kind.RUN, one, to="client/none", topic="t", flags=Flag.RETRY) for one in ids]
    speaker.frames(encode_header(Header(VERSION, Kind.BATCH)), encode_batch([(one, bodies) for one in runs]))
    counts = [len(speaker.take())]
    while room.bus.rests:
        room.do(Resumed(Door.DATA))
        counts.append(len(speaker.take()))
    assert counts == [BATCH_SLICE, BATCH_SLICE, BATCH_SLICE // 2]
