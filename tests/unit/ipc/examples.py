"""The messages that docs/reference/protocol.md shows, as the encoder makes them."""

from dadms_ipc import requests
from dadms_ipc.codec import BATCH_HEADER, encode_batch, encode_body, encode_header, trouble
from dadms_ipc.envelope import OK, REFUSED, STORED, VERSION, Header, Hello, Invite, Kind, Reached, Welcome, message_id

BUS = bytes.fromhex("b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0")
CLIENT = bytes.fromhex("c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1")
ADDRESS = "client/c1c1c1c1c1c1"


def _message(kind: Kind, sequence: int = 0, body: bytes = b"", **fields: object) -> list[bytes]:
    identifier = message_id(CLIENT, sequence) if sequence else b""
    return [encode_header(Header(VERSION, kind, identifier, **fields)), body]  # type: ignore[arg-type]  # the fields of a header


EXAMPLES: dict[str, list[bytes]] = {
    "probe": [b""],
    "invite": _message(Kind.INVITE, body=encode_body(Invite(BUS, [1])), sender="bus"),
    "hello": _message(Kind.HELLO, 1, encode_body(Hello(CLIENT, [1], "example", 256))),
    "hello-of-a-process": _message(Kind.HELLO, 1, encode_body(Hello(CLIENT, [1], "example", 256, 1001, 1, bytes(range(32))))),
    "welcome": _message(
        Kind.WELCOME, body=encode_body(Welcome(BUS, 1, ADDRESS, "admin")), sender="bus", to=ADDRESS, correlation=message_id(CLIENT, 1)
    ),
    "call": _message(Kind.CALL, 2, encode_body(requests.Status(1001)), to="kernel", deadline=5000),
    "reply-refused": _message(
        Kind.REPLY,
        body=trouble("cannot show process 1001: there is none"),
        sender="kernel",
        to=ADDRESS,
        topic=REFUSED,
        correlation=message_id(CLIENT, 2),
    ),
    "send": _message(Kind.SEND, 3, b"body", to="1001", topic="TASK_REQUEST", deadline=5000),
    "send-delivered": _message(Kind.SEND, 3, b"body", sender=ADDRESS, to="1001", topic="TASK_REQUEST", deadline=4999),
    "ack": _message(Kind.ACK, topic=OK, correlation=message_id(CLIENT, 3), to=ADDRESS),
    "ack-stored": _message(Kind.ACK, topic=STORED, correlation=message_id(CLIENT, 3), sender="bus", to=ADDRESS),
    "request": _message(Kind.REQUEST, 4, b"body", to="1001/17", topic="TASK_REQUEST", deadline=5000, flags=1),
    "response": _message(Kind.RESPONSE, body=b"answer", topic=OK, correlation=message_id(CLIENT, 4), to=ADDRESS),
    "broadcast": _message(Kind.BROADCAST, 10, b"body", to="group/etl", topic="COORDINATION_SIGNAL", deadline=5000, flags=2),
    "broadcast-ack": _message(
        Kind.ACK, body=encode_body(Reached(2, 1, 0)), topic=OK, correlation=message_id(CLIENT, 10), sender="bus", to=ADDRESS
    ),
    "subscribe": _message(Kind.SUBSCRIBE, 5, topic="process/1001/#", deadline=5000),
    "publish": _message(Kind.PUBLISH, 6, b"body", topic="process/1001/task"),
    "event": [
        encode_header(Header(VERSION, Kind.PUBLISH, message_id(bytes(16), 42), "kernel", "", "events/1001/process.running")),
        encode_body(requests.EventInfo(42, 1_795_437_716.5, 1001, "process.running", "etl is ready")),
    ],
    "credit": _message(Kind.CREDIT, body=encode_body(128)),
    "lost": _message(Kind.LOST, body=encode_body(17), sender="bus"),
    "refuse": _message(
        Kind.REFUSE,
        body=trouble('cannot reach "1002": nobody of that address is connected'),
        sender="bus",
        topic=REFUSED,
        correlation=message_id(CLIENT, 7),
    ),
    "batch": [
        BATCH_HEADER,
        encode_batch(
            [
                (Header(VERSION, Kind.PUBLISH, message_id(CLIENT, 8), topic="a"), b"one"),
                (Header(VERSION, Kind.PUBLISH, message_id(CLIENT, 9), topic="a"), b"two"),
            ]
        ),
    ],
    "hello-with-runs": _message(Kind.HELLO, 1, encode_body(Hello(CLIENT, [1], "example", 256, runs=True))),
    "hello-of-a-service": _message(Kind.HELLO, 1, encode_body(Hello(CLIENT, [1], "example", 256, service="prices"))),
    "run": _message(Kind.RUN, 11, encode_body([b"one", b"two", b"three"]), to="1001", topic="TASK_REQUEST", deadline=5000),
    "run-delivered": _message(
        Kind.RUN, 11, encode_body([b"one", b"two", b"three"]), sender=ADDRESS, to="1001", topic="TASK_REQUEST", deadline=4999
    ),
    "acks": _message(Kind.ACKS, body=encode_body([0, 2]), topic=OK, correlation=message_id(CLIENT, 11), to=ADDRESS),
    "acks-refused": _message(
        Kind.ACKS, body=encode_body([2, 1, "not today"]), topic=REFUSED, correlation=message_id(CLIENT, 11), to=ADDRESS
    ),
    "run-refused": _message(
        Kind.ACKS,
        body=encode_body([1, 2, 'cannot send to "1001": 10000 messages wait for it, at most 10000 may']),
        sender="bus",
        to=ADDRESS,
        topic=REFUSED,
        correlation=message_id(CLIENT, 11),
    ),
    "bye": _message(Kind.BYE),
}
