"""What the bus remembers: connections, sessions, what travels between them, bounds, counters. Data only; the machines beside it change it."""

from collections import deque
from dataclasses import dataclass, field

import msgspec

from dadms_ipc.envelope import Door, Header, Hello
from dadmsd.bus.core.events import NOBODY, Body, Peer, Who


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much one client, and all together, may occupy."""

    connections: int = 4096  # the shell lowers it to what its descriptors allow
    sessions: int = 4096
    queue: int = 10_000  # deliveries that wait for one receiver
    queue_bytes: int = 128 * 1024 * 1024  # of their bodies, one message excepted
    flight_bytes: int = 16 * 1024 * 1024  # of bodies that one receiver has not yet given credit for, one message excepted
    open: int = 10_000  # sends and requests of one sender without an answer
    open_bytes: int = 128 * 1024 * 1024  # of their bodies, one message excepted
    calls: int = 1024  # requests of one client that the kernel has not answered
    patterns: int = 1000  # subscriptions of one client
    violations: int = 100  # broken messages of one connection before it is cut
    enroll_patience: float = 0.5  # seconds that a hello may be ahead of the kernel's word that its process lives
    hello_timeout: float = 10.0  # seconds from the first frame of a connection to its hello
    linger: float = 10.0  # seconds that a session without a connection is kept
    longest: float = 3600.0  # seconds: a later deadline, or none, is cut to this
    ping_interval: float = 30.0  # seconds between two looks at a connection that may be gone
    sweep_interval: float = 0.1  # seconds: the least between two looks at what has expired
    remembered: int = 4096  # acknowledged ids that are remembered of one receiver


@dataclass(slots=True)
class Counters:
    """What the bus did since it started; shown by its status."""

    received: int = 0  # envelopes
    transmitted: int = 0
    violations: int = 0  # frames or envelopes that broke the protocol
    refused: int = 0  # envelopes that were refused for any reason
    identity_refused: int = 0  # hellos and senders that claimed to be somebody else
    hellos: int = 0
    calls: int = 0  # handed to the kernel
    calls_repeated: int = 0  # handed to a fresh link again
    replies: int = 0
    replies_late: int = 0  # for which nobody waited any more
    calls_expired: int = 0
    requests_refused: int = 0  # by the kernel
    sends: int = 0
    requests: int = 0
    handled: int = 0  # answered "ok" by their receivers
    declined: int = 0  # answered otherwise
    expired: int = 0  # dropped before delivery, as their deadline had passed
    unanswered: int = 0  # delivered, not answered in time
    abandoned: int = 0  # whose receiver or sender ended
    repeated: int = 0  # ids that had been seen
    redelivered: int = 0
    answers_late: int = 0  # to what was not open any more
    published: int = 0
    fanned_out: int = 0  # publications handed to subscribers
    dropped: int = 0  # publications that a subscriber had no room for
    events: int = 0  # of the kernel
    cut: int = 0
    vanished: int = 0
    audits_silenced: int = 0


@dataclass(slots=True, eq=False)
class Session:
    """A client that said hello, over one connection a door."""

    client: bytes
    address: str
    role: str
    uid: int
    origin: str  # for the audit
    pid: int = 0  # of the process that it proved to be; 0: a client
    incarnation: int = 0
    routes: dict[Door, Peer] = field(default_factory=dict)
    gone_since: float | None = None  # without any connection
    calls: int = 0  # that wait for the kernel
    patterns: set[str] = field(default_factory=set)
    # as a sender
    asked: "dict[bytes, Exchange]" = field(default_factory=dict)
    asked_bytes: int = 0
    # as a receiver
    queue: "deque[Delivery]" = field(default_factory=deque)
    queue_bytes: int = 0
    credit: int = 0
    flight: deque[int] = field(default_factory=deque)  # sizes of what was delivered and not yet credited
    flight_bytes: int = 0
    holds: "dict[bytes, Exchange]" = field(default_factory=dict)  # delivered, not answered
    lost: int = 0  # publications dropped since it was last told
    purged: float = float("-inf")  # when its queue was last searched for what had expired
    who: Who = NOBODY  # that opened it


@dataclass(slots=True, eq=False)
class Connection:
    """A connection that has sent something."""

    peer: Peer
    who: Who
    since: float
    session: Session | None = None
    violations: int = 0
    is_over: bool = False  # cut or gone
    parked: tuple[Header, Hello] | None = None  # a hello that waits for the kernel to enroll its process
    parked_since: float = 0.0


@dataclass(slots=True, eq=False)
class Exchange:
    """A SEND or REQUEST from its sender's first word to the receiver's last."""

    header: Header
    body: Body
    size: int
    sender: Session
    address: str  # of the receiver: threads belong to their process
    deadline: float
    holder: Session | None = None  # in whose queue or hands it is; None: waits for its receiver's session
    is_delivered: bool = False
    was_delivered: bool = False
    is_over: bool = False


@dataclass(slots=True, eq=False)
class Delivery:
    """One message in a receiver's queue."""

    header: Header
    body: Body
    size: int
    deadline: float | None
    exchange: Exchange | None  # None: a publication


class Entry(msgspec.Struct, frozen=True):
    """A living incarnation, as the kernel enrolled it."""

    pid: int
    incarnation: int
    name: str
    uid: int
    secret_digest: bytes
