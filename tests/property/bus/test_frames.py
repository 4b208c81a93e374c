"""Whatever frames come: the bus and the session answer, count or ignore them, and their rules hold."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dadms_ipc.codec import decode_body, decode_header, encode_batch, encode_body, encode_header
from dadms_ipc.envelope import VERSION, Door, Header, Hello, Identity, Kind, message_id
from dadms_ipc.errors import PeerViolation
from dadms_ipc.session import Session
from tests.unit.bus.room import Room

CLIENT = b"c" * 16
EXAMPLES = 300  # a case takes about a millisecond

kinds = st.one_of(st.sampled_from([int(kind) for kind in Kind]), st.integers(0, 100), st.integers())
ids = st.one_of(st.just(b""), st.binary(max_size=30), st.integers(0, 2**64 - 1).map(lambda number: message_id(CLIENT, number)))
texts = st.one_of(
    st.sampled_from(["", "1001", "1001/1", "kernel", "bus", "a/b", "#", "events/a", "ok", "hello", "client/636363636363"]),
    st.text(max_size=140),
)
numbers = st.one_of(st.sampled_from([0, 1, 5000]), st.integers())
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=20), st.binary(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=10), st.dictionaries(st.text(max_size=10), inner, max_size=5)),
    max_leaves=15,
)
headers = st.one_of(
    st.tuples(st.just(VERSION), kinds, ids, texts, texts, texts, ids, numbers, numbers),
    st.lists(values, max_size=11),
    values,
)


@st.composite
def _encoded(draw: st.DrawFn, what: st.SearchStrategy[object]) -> bytes:
    """Something encoded, perhaps cut, perhaps with a byte changed."""
    try:
        data = encode_body(draw(what))
    except OverflowError:  # msgpack's integers end at 64 bits
        data = b""
    match draw(st.integers(0, 4)):
        case 0 if data:
            return data[: draw(st.integers(0, len(data) - 1))]
        case 1 if data:
            place = draw(st.integers(0, len(data) - 1))
            return data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :]
        case _:
            return data


bodies = st.one_of(
    st.binary(max_size=50),
    _encoded(values),
    _encoded(st.lists(st.tuples(headers, st.binary(max_size=10)), max_size=5)),
    st.builds(
        lambda client, credit, pid: encode_body(Hello(client, [1], "", credit, pid, 1, b"s")),
        st.binary(min_size=16, max_size=16),
        st.integers(0, 9),
        st.integers(0, 2),
    ),
)
messages = st.one_of(
    st.tuples(_encoded(headers), bodies).map(list),
    st.lists(st.binary(max_size=60), max_size=4),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(Door), st.booleans(), messages), max_size=12))
def test_the_bus_survives_any_frames(sent: list[tuple[Door, bool, list[bytes]]]) -> None:
    """With and without a session, at both doors; the room checks the rules after each."""
    room = Room(violations=5, queue=4, open=4)
    process = room.member(room.enroll(1001), credit=2)
    guests = {(door, welcomed): room.guest(door, client=CLIENT if welcomed else None) for door in Door for welcomed in (False, True)}
    for (_, welcomed), guest in guests.items():
        if welcomed:
            guest.hello()
    for door, welcomed, frames in sent:
        guests[door, welcomed].frames(*frames)
    room.pass_time(20)
    process.say(Kind.SUBSCRIBE, topic="still/here")
    assert Kind.ACK in process.kinds()


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(Door), messages), max_size=12))
def test_the_session_survives_any_frames(heard: list[tuple[Door, list[bytes]]]) -> None:
    """It never raises for what it received, and goes on afterwards."""
    session = Session(CLIENT, identity=Identity(1001, 1, b"s"))
    for door in Door:
        session.open(door)
        session.handle(door, [encode_header(Header(VERSION, Kind.INVITE)), b""], 1.0)
    sequence = session.ask(Kind.CALL, b"\x80", deadline=50.0)
    for number, (door, frames) in enumerate(heard):
        session.handle(door, frames, 1.0 + number)
        while (session.frames_to_send(door, 1.0 + number)) is not None:
            session.sent(door)
        message = session.receive(1.0 + number)
        if message is not None and message.kind != Kind.PUBLISH:
            session.respond(message, "ok")
    session.tick(60.0)
    assert session.take(sequence) is not None


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.one_of(st.binary(max_size=200), _encoded(headers), _encoded(values)))
def test_a_header_is_read_or_is_a_violation(frame: bytes) -> None:
    """What is read is encoded to what reads the same."""
    try:
        header = decode_header(frame)
    except PeerViolation:
        return
    assert header.version != VERSION or decode_header(encode_header(header)) == header


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.one_of(st.binary(max_size=200), _encoded(values)))
def test_a_body_is_read_or_is_a_violation(body: bytes) -> None:
    """Of any form."""
    for form in (Hello, int):
        try:
            decode_body(body, form)
        except PeerViolation:
            continue


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=30)), max_size=20))
def test_a_batch_is_as_good_as_its_messages(content: list[tuple[int, bytes]]) -> None:
    """The receiver hears the same, in the same order."""
    heard = []
    for is_batch in (True, False):
        room = Room()
        sender, receiver = room.member(), room.member()
        receiver.say(Kind.SUBSCRIBE, topic="#")
        receiver.take()
        batch = [
            (Header(VERSION, Kind.PUBLISH, message_id(sender.client, number), topic=f"t/{topic}"), body)
            for number, (topic, body) in enumerate(content)
        ]
        if is_batch:
            sender.frames(encode_header(Header(VERSION, Kind.BATCH)), encode_batch(batch))
        else:
            for header, body in batch:
                sender.frames(encode_header(header), body)
        heard.append(receiver.take())
    assert heard[0] == heard[1]
