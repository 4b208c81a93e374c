"""The envelope: what the bus reads of a message, and the words of the protocol; docs/reference/protocol.md has it literally.

1. A message is two ZeroMQ frames: a header (a msgpack array, this module's ``Header``) and a body, which passes the bus untouched.
2. A message is known for all time by its id: the sender's client id (16 random bytes) and its sequence (8 bytes, big-endian, from 1).
3. What a peer wants done again after a lost connection has the same id, and the flag ``RETRY``: somebody may have seen it.
4. Control and data are two doors, so that a large body never stands before a request to the kernel. ``DOORS`` says what goes where.
5. ``VERSION`` is the protocol's own, not the package's. New header fields go last, with defaults; a reader ignores fields that it does not know.
"""

import enum
from typing import Annotated

import msgspec

VERSION = 1
HEADER_LIMIT = 4096  # bytes of a header frame
BODY_LIMIT = 64 * 1024 * 1024  # bytes of a body at the data door
CONTROL_BODY_LIMIT = 16 * 1024 * 1024  # bytes of a body at the control door: requests are small, a configuration may carry a model
BATCH_LIMIT = 1024  # envelopes of a batch
RUN_LIMIT = 128  # messages of a run
ADDRESS_LIMIT = 128  # characters of an address
TOPIC_LIMIT = 256  # characters of a topic or a pattern
SEGMENTS_LIMIT = 32  # segments of a topic or a pattern
CLIENT_BYTES = 16  # of a client id
ID_BYTES = CLIENT_BYTES + 8  # of a message id
SEQUENCES = 2**64  # of a client: 8 bytes of an id


class Kind(enum.IntEnum):
    """What a message is; gaps are for later versions."""

    __hash__ = int.__hash__  # that of Enum is a Python function

    INVITE = 1  # bus: this is a new connection, say hello
    HELLO = 2  # client: who I am
    WELCOME = 3  # bus: who you are here
    BYE = 4  # either: the session ends for good
    CALL = 10  # client: a request to the kernel
    REPLY = 11  # bus: the kernel's answer
    SEND = 20  # a message that is acknowledged when its receiver has handled it
    ACK = 21  # the receiver's word on a SEND; the bus's on SUBSCRIBE and UNSUBSCRIBE
    REQUEST = 22  # a message that is answered
    RESPONSE = 23  # the answer
    BROADCAST = 24  # a SEND to each process of a scope, answered once
    RUN = 25  # consecutive SENDs to one receiver in one message
    ACKS = 26  # the receiver's word on some of a RUN
    PUBLISH = 30  # to whoever subscribes, at most once
    SUBSCRIBE = 31
    UNSUBSCRIBE = 32
    CREDIT = 40  # client: so many more deliveries may come
    LOST = 41  # bus: so many publications were dropped, as you did not keep up
    REFUSE = 50  # bus: this message was not done, and why
    PING = 51  # bus: is the connection still there; nothing is answered
    BATCH = 60  # many envelopes that waited together


class Flag(enum.IntFlag):
    """Bits of ``Header.flags``; unknown ones are ignored and passed on."""

    RETRY = 1  # this id may have been seen before
    URGENT = 2  # goes before what is not
    LATER = 4  # goes behind what is not; with URGENT it means nothing


PRIORITIES = {"urgent": int(Flag.URGENT), "normal": 0, "later": int(Flag.LATER)}  # as people say it


class Door(enum.IntEnum):
    """The two endpoints of the bus."""

    __hash__ = int.__hash__  # that of Enum is a Python function, called for each look at who is connected

    CONTROL = 0
    DATA = 1


DOORS: dict[int, tuple[Door, ...]] = {
    Kind.HELLO: (Door.CONTROL, Door.DATA),
    Kind.BYE: (Door.CONTROL, Door.DATA),
    Kind.CALL: (Door.CONTROL,),
    Kind.SEND: (Door.DATA,),
    Kind.ACK: (Door.DATA,),
    Kind.REQUEST: (Door.DATA,),
    Kind.RESPONSE: (Door.DATA,),
    Kind.BROADCAST: (Door.DATA,),
    Kind.RUN: (Door.DATA,),
    Kind.ACKS: (Door.DATA,),
    Kind.PUBLISH: (Door.DATA,),
    Kind.SUBSCRIBE: (Door.DATA,),
    Kind.UNSUBSCRIBE: (Door.DATA,),
    Kind.CREDIT: (Door.DATA,),
}  # what a client may say, and where

# How a REPLY, ACK, RESPONSE or REFUSE came out; it stands in the topic field. For anything but OK the body is a msgpack map with "message".
OK = "ok"
STORED = "stored"  # of a SEND: it is on disk, and will be handed to its receiver when that comes. Only in ACK
REFUSED = "refused"  # illegal or impossible; nothing was changed
VIOLATION = "violation"  # the message broke the protocol
HOST = "host"  # the machine said no
INTERNAL = "internal"  # a bug on the other side
EXPIRED = "expired"  # its deadline passed first
NO_SESSION = "hello"  # the bus does not know this connection: say hello, then repeat
WRONG_VERSION = "version"  # another version of the protocol

# What a SEND or REQUEST is about: the topic field's usual words. Any other word is a type of the user's own.
TASK_REQUEST = "TASK_REQUEST"
TASK_RESPONSE = "TASK_RESPONSE"
CONTEXT_UPDATE = "CONTEXT_UPDATE"
COORDINATION_SIGNAL = "COORDINATION_SIGNAL"
ERROR_NOTIFICATION = "ERROR_NOTIFICATION"
STATUS_UPDATE = "STATUS_UPDATE"
MESSAGE_TYPES = (TASK_REQUEST, TASK_RESPONSE, CONTEXT_UPDATE, COORDINATION_SIGNAL, ERROR_NOTIFICATION, STATUS_UPDATE)

Address = Annotated[str, msgspec.Meta(max_length=ADDRESS_LIMIT)]
Topic = Annotated[str, msgspec.Meta(max_length=TOPIC_LIMIT)]
Id = Annotated[bytes, msgspec.Meta(max_length=ID_BYTES)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Header(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The first frame of every message."""

    version: Count
    kind: Count  # a Kind; one that a reader does not know is answered with REFUSE by the bus and ignored by a client
    id: Id = b""
    sender: Address = ""  # "from" on paper; empty from a client: itself. The bus fills it in
    to: Address = ""
    topic: Topic = ""  # of a publication; the type of a SEND or REQUEST; the status of an answer
    correlation: Id = b""  # id of the message that this one answers
    deadline: Count = 0  # milliseconds that remain, counted from this frame's sending; 0: none
    flags: Count = 0
    expiry: Count = 0  # of a SEND: milliseconds that it may wait for its receiver once it is on disk; 0: an hour


class Invite(msgspec.Struct, frozen=True, omit_defaults=True):
    """Body of INVITE."""

    bus: bytes  # 16 random bytes of this start of the bus
    versions: list[int]  # of the protocol that the bus speaks


class Hello(msgspec.Struct, frozen=True, omit_defaults=True):
    """Body of HELLO: a process that speaks as itself gives the last three."""

    client: Annotated[bytes, msgspec.Meta(min_length=CLIENT_BYTES, max_length=CLIENT_BYTES)]
    versions: list[int]
    software: Annotated[str, msgspec.Meta(max_length=128)] = ""
    credit: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0  # deliveries that may come before CREDIT
    pid: Count = 0
    incarnation: Count = 0
    secret: Annotated[bytes, msgspec.Meta(max_length=64)] = b""
    runs: bool = False  # RUN may come, and is answered with ACKS
    service: Annotated[str, msgspec.Meta(max_length=64)] = ""  # name under which others reach this session as well
    spans: bool = False  # ACKS may come for SENDs that were said one by one
    receives: bool = True  # False: SENDs and REQUESTs to its address are for another session of the process


class Welcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """Body of WELCOME."""

    bus: bytes
    version: int
    address: str  # under which others reach this session
    role: str
    doors: dict[str, int] = {}  # to who came over a network: door -> its port on the same host


class Reached(msgspec.Struct, frozen=True):
    """Body of the ACK of a BROADCAST: what became of its copies."""

    handled: int  # processes that handled it
    stored: int  # that it waits for on disk
    failures: int  # that it could not be given to
    failed: dict[str, str] = {}  # some of those: address and reason


class Span(msgspec.Struct, frozen=True, array_like=True):
    """Body of ACKS: which messages of the run, and unless they came out well the reason."""

    place: Annotated[int, msgspec.Meta(ge=0, lt=RUN_LIMIT)]  # of the first one, from 0
    count: Annotated[int, msgspec.Meta(ge=1, le=RUN_LIMIT)]
    reason: str = ""


class Trouble(msgspec.Struct, frozen=True):
    """Body of every answer that is not OK."""

    message: str


class Identity(msgspec.Struct, frozen=True):
    """What a process proves itself with; it got this through its gate."""

    pid: int
    incarnation: int
    secret: bytes


def message_id(client: bytes, sequence: int) -> bytes:
    """Give the id of a client's n-th message."""
    return client + sequence.to_bytes(8, "big")


def split_id(identifier: bytes) -> tuple[bytes, int]:
    """Give the client id and the sequence of a message id."""
    return identifier[:CLIENT_BYTES], int.from_bytes(identifier[CLIENT_BYTES:], "big")
