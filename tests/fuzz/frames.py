"""Messages that are wrong in every way that we know, from one seeded source of chance.

Each way is a function from chance to the frames of one message. They are made fast rather than clever: a million of them are sent.
"""

import random
from collections.abc import Callable, Sequence

from dadms_ipc.codec import encode_batch, encode_body, encode_header
from dadms_ipc.envelope import BATCH_LIMIT, HEADER_LIMIT, VERSION, Header, Hello, Kind, message_id

Frames = list[bytes]
Way = Callable[[random.Random], Frames]

ADDRESSES = (
    "",
    "kernel",
    "bus",
    "1001",
    "1001/17",
    "1002",
    "client/abc",
    "client/" + "f" * 32,
    "group:x",
    "process-manager",
    "\0",
    "x" * 128,
    "x" * 200,
)
TOPICS = (
    "",
    "a",
    "a/b",
    "a//b",
    "#",
    "*/#",
    "events/x",
    "kernel/x",
    "/".join("x" * 40),
    "TASK_REQUEST",
    "ok",
    "hello",
    "\ud7ff",
    "t" * 300,
)
KINDS = tuple(int(kind) for kind in Kind)
BODIES = (
    b"",
    b"\x80",
    b"\xc0",
    b"\xc1",
    b"\x93\x01\x02\x03",
    b"\xdd\xff\xff\xff\xff",
    b"\xcf" + b"\xff" * 8,
    b"\x81\xa4verb\xa6status",
    b"\x81\xa4verb\xa4kill",
    b"x" * 900,
    b"\x93\xc4\x01a\xc4\x00\xc4\x01b",  # of a RUN
    b"\x92\x05\x64",  # of an ACKS
    b"\x93\x00\x02\xa2no",
)
BATCH = encode_header(Header(VERSION, Kind.BATCH))


def _header(chance: random.Random, *, version: int = VERSION, kind: int | None = None) -> Header:
    client = bytes([chance.randrange(4)]) * 16
    number = chance.choice((0, 1, chance.randrange(1 << 20), 2**64 - 1))
    identifier = chance.choice((b"", message_id(client, number), chance.randbytes(chance.randrange(25))))
    return Header(
        version,
        chance.choice(KINDS) if kind is None else kind,
        identifier,
        chance.choice(ADDRESSES),
        chance.choice(ADDRESSES),
        chance.choice(TOPICS),
        chance.choice((b"", message_id(client, number), b"short", client + b"\xff" * chance.choice((8, 100)))),
        chance.choice((0, 1, 5000, 2**53, -1, 2**63)),
        chance.choice((0, 1, 2, 255, 2**32)),
    )


def wrongly_ordered(chance: random.Random) -> Frames:
    """Whole messages that nobody asked for at this moment, or that no client sends."""
    return [encode_header(_header(chance)), chance.choice(BODIES)]


def wrong_version(chance: random.Random) -> Frames:
    """Of a version that the bus does not speak, in its form or in another."""
    version = chance.choice((0, 2, 99, 2**53, 2**64 - 1))
    if chance.random() < 0.5:
        return [encode_header(_header(chance, version=version)), chance.choice(BODIES)]
    return [encode_body([version, {"form": "new"}]), b""]


def malformed(chance: random.Random) -> Frames:
    """Not even a header, or one with elements of the wrong type."""
    return [
        chance.choice(
            (
                chance.randbytes(chance.randrange(1, 80)),
                b"\x91" * chance.randrange(1, 3000),
                b"\xdd\xff\xff\xff\xff",
                encode_body([1, chance.choice(("x", None, -1, 2**63, [])), 3]),
                encode_body([1, 10, chance.choice((7, "text", bytes(25)))]),
                encode_body([1, 10, b"", "\ud7ff" * 200]),
                encode_body({"version": 1}),
                b"",
            )
        ),
        chance.choice(BODIES),
    ]


def changed(chance: random.Random) -> Frames:
    """A good header with a byte changed."""
    frame = bytearray(encode_header(_header(chance)))
    frame[chance.randrange(len(frame))] = chance.randrange(256)
    return [bytes(frame), chance.choice(BODIES)]


def truncated(chance: random.Random) -> Frames:
    """A good header that ends too early, or a message without a body."""
    frame = encode_header(_header(chance))
    return [frame[: chance.randrange(len(frame))]] + [b""] * chance.randrange(2)


def oversized(chance: random.Random) -> Frames:
    """A header, a batch or a field beyond its limit."""
    way = chance.randrange(3)
    if way == 0:
        return [bytes(HEADER_LIMIT + 1 + chance.randrange(4000)), b""]
    if way == 1:
        return [BATCH, b"\xdc\xff\xff" + bytes(chance.randrange(5000))]
    return [encode_header(Header(VERSION, chance.choice(KINDS), bytes(200), "x" * 1000, "y" * 1000)), b""]


def endless(chance: random.Random) -> Frames:
    """More frames than a message has."""
    return [encode_header(_header(chance)), *[b"more"] * chance.choice((2, 3, 10, 200))]


def batched(chance: random.Random) -> Frames:
    """A batch with something wrong in it, or in another batch."""
    inner = [(_header(chance), chance.choice(BODIES)) for _ in range(chance.choice((0, 1, 3, 20)))]
    if chance.random() < 0.02:
        inner = [(Header(VERSION, Kind.PING), b"")] * (BATCH_LIMIT + chance.randrange(2))
    try:
        body = bytearray(encode_batch(inner))
    except OverflowError:  # msgpack's integers end at 64 bits
        body = bytearray(b"\x91\x92\xc1")
    if chance.random() < 0.3 and body:
        body[chance.randrange(len(body))] = chance.randrange(256)
    return [BATCH, bytes(body)]


def greeting(chance: random.Random) -> Frames:
    """HELLO, over and over: as oneself, as others, as processes that live or do not, with secrets that are wrong."""
    hello = Hello(
        bytes([chance.randrange(4)]) * 16,
        chance.choice(([VERSION], [2], [], [VERSION] * 50)),
        "fuzz",
        chance.choice((0, 1, 100_000)),
        chance.choice((0, 0, 0, 1001, 1002, 2**53)),
        chance.choice((0, 0, 0, 1, 2)),
        chance.choice((b"", b"", bytes(32), chance.randbytes(32))),
        runs=chance.choice((False, True)),
        spans=chance.choice((False, True)),
        receives=chance.choice((True, True, False)),
        service=chance.choice(("", "", "", "a", "prices", "all", "1001", "x" * 65, "a b", "\0")),
    )
    body = encode_body(hello)
    if chance.random() < 0.3:
        body = body[: chance.randrange(len(body))]
    return [encode_header(Header(VERSION, Kind.HELLO, message_id(hello.client, 1))), body]


def empty(chance: random.Random) -> Frames:
    """Nothing at all, once or thrice."""
    return [b""] * chance.choice((1, 1, 3))


WAYS: tuple[Way, ...] = (wrongly_ordered, wrong_version, malformed, changed, truncated, oversized, endless, batched, greeting, empty)


def message(chance: random.Random) -> Frames:
    """Give the frames of one message that is wrong in one of these ways."""
    try:
        return WAYS[int(chance.random() * len(WAYS))](chance)
    except OverflowError:  # a number that msgpack has no form for
        return [b"\xc1", b""]


RUNS = (encode_body([b"one", b"two", b"three"]), encode_body([b""] * 128), encode_body([]), encode_body([b"x"] * 129), encode_body([1]))
SPANS = (encode_body([0, 1]), encode_body([0, 3]), encode_body([1, 2, "not today"]), encode_body([2, 2**40]), encode_body([127, 1]))
INQUIRIES = tuple(
    encode_body({"verb": verb, **more})
    for verb, more in (
        ("status", {}),
        ("dead-letters", {}),
        ("dead-letters", {"after": -1, "limit": 2**60}),
        ("show-dead-letter", {"number": 1}),
        ("replay-dead-letter", {"number": 1, "to": "1001", "expiry": 1e308}),
        ("drop-dead-letters", {"numbers": [1, 1, 2]}),
        ("nonsense", {}),
    )
)
CREDITS = (encode_body(1), encode_body(0), encode_body(100_000), encode_body(-1), encode_body(2**63))


def within(chance: random.Random, client: bytes, sequence: int, addresses: Sequence[str], given: Sequence[bytes]) -> Frames:
    """What a session says in the right form and at a wrong moment, about the wrong thing, or twice: it gets further than what is broken.

    ``addresses`` are those that somebody has, ``given`` the ids of what was delivered lately.
    """
    kind = chance.choice((*SPOKEN, *SPOKEN, Kind.CALL, Kind.BYE))
    identifier = message_id(client, chance.choice((sequence, sequence, sequence, max(1, sequence - 1), 2**64 - 1)))
    body = chance.choice(OF_KIND.get(kind, BODIES))
    header = Header(
        VERSION,
        kind,
        b"" if kind in (Kind.ACK, Kind.RESPONSE, Kind.ACKS, Kind.CREDIT, Kind.BYE) else identifier,
        "",
        chance.choice(("bus", "kernel", chance.choice(SCOPES), chance.choice(addresses), chance.choice(addresses))),
        chance.choice(TOPICS[1:-1])
        if kind in (Kind.SUBSCRIBE, Kind.UNSUBSCRIBE, Kind.PUBLISH)
        else chance.choice(("ok", "ok", "refused", "T", "")),
        chance.choice(given) if given and chance.random() < 0.9 else identifier,
        chance.choice((0, 1, 5000, 2**53)),
        chance.choice((0, 0, 1, 2, 4, 7)),
        chance.choice((0, 1, 60_000, 2**53)),
    )
    return [encode_header(header), body]


SPOKEN = (
    Kind.SEND,
    Kind.REQUEST,
    Kind.RUN,
    Kind.ACK,
    Kind.RESPONSE,
    Kind.ACKS,
    Kind.PUBLISH,
    Kind.SUBSCRIBE,
    Kind.UNSUBSCRIBE,
    Kind.BROADCAST,
    Kind.CREDIT,
)
SCOPES = ("all", "children/1001", "type/service", "group/g", "children", "type/x")
OF_KIND = {Kind.RUN: RUNS, Kind.ACKS: SPANS, Kind.CALL: INQUIRIES, Kind.CREDIT: CREDITS}


def bytes_below(chance: random.Random) -> bytes:
    """Give what is no ZMTP, or begins as if it were and does not go on so (ZeroMQ RFC 23)."""
    greeting = b"\xff" + bytes(7) + b"\x01\x7f" + b"\x03" + chance.choice((b"\x00", b"\x01", b"\xff"))
    mechanism = chance.choice((b"NULL", b"CURVE", b"PLAIN", b"GSSAPI", chance.randbytes(20))).ljust(20, b"\0")
    whole = greeting + mechanism + chance.choice((b"\0", b"\1", b"\7")) + bytes(31)
    return chance.choice(
        (
            lambda: chance.randbytes(chance.randrange(1, 400)),
            lambda: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            lambda: b"\x16\x03\x01\x02\x00\x01" + chance.randbytes(100),
            lambda: whole[: chance.randrange(1, len(whole))],
            lambda: whole + b"\x04" + bytes([chance.randrange(256)]) + b"\x05READY" + chance.randbytes(chance.randrange(60)),
            lambda: whole + b"\x06" + b"\x7f" + b"\xff" * 7 + chance.randbytes(50),
            lambda: whole + b"\x04\xc8\x05HELLO" + chance.randbytes(194),
            lambda: whole + bytes(chance.randrange(1, 2000)),
            lambda: b"\x01\x00" + chance.randbytes(30),
            lambda: b"",
        )
    )()
