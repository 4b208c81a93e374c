"""What the bus remembers: connections, sessions, what travels between them, bounds, counters. Data only; the machines beside it change it."""

import enum
from collections import deque
from dataclasses import dataclass, field

import msgspec

from dadms_ipc.envelope import Door, Header, Hello
from dadmsd.bus.core.accounts import Tab
from dadmsd.bus.core.events import NOBODY, Body, Peer, Who
from dadmsd.bus.core.lanes import Lanes

SETTLED = 64  # handled runs of a sender that are remembered: more than it has under way


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
    violations_again: int = 10  # of a connection of somebody who had one cut for that lately (offenders.py)
    rest: float = 1.0  # seconds that such a connection stays, and is not heard: who comes back at once costs more than who waits
    enroll_patience: float = 0.5  # seconds that a hello may be ahead of the kernel's word that its process lives
    hello_timeout: float = 10.0  # seconds from the first frame of a connection to its hello
    linger: float = 10.0  # seconds that a session without a connection is kept
    reunion: float = (
        0.0  # seconds after the start in which messages wait for clients and services that are not back yet; of a bus that followed another
    )
    longest: float = 3600.0  # seconds: a later deadline, or none, is cut to this
    ping_interval: float = 30.0  # seconds between two looks at a connection that may be gone
    sweep_interval: float = 0.1  # seconds: the least between two looks at what has expired
    remembered: int = 4096  # acknowledged ids that are remembered of one receiver
    memory: int = 1000  # of a receiver's queue: beyond it the queue's SENDs are put on disk
    memory_bytes: int = 16 * 1024 * 1024  # of the same
    patience: float = 1.0  # seconds that a SEND waits in memory for a process that lives and is not connected
    attempt_timeout: float = 5.0  # seconds that a receiver has to answer a SEND ([message_bus] message_timeout_ms)
    retries: int = 3  # deliveries after the first ([message_bus] retry_attempts)
    backoff_first: float = 0.1  # seconds before the second delivery, doubling
    backoff_last: float = 5.0  # seconds
    expiry: float = 3600.0  # seconds: of a message on disk that names none
    expiry_most: float = 7 * 24 * 3600.0  # seconds: a later one is cut to this
    stored: int = 100_000  # messages on disk
    stored_bytes: int = 1024 * 1024 * 1024  # of their bodies
    stored_of_one: int = 10_000  # messages on disk of one sender
    settled: int = 16_384  # ids of messages that were on disk, remembered for senders that ask again
    letters: int = 1000  # dead letters; the oldest make room
    letters_bytes: int = 64 * 1024 * 1024  # of their bodies
    # Of one client (a process, an OS process, a key), and of one user who is no admin, over all their sessions:
    client_sessions: int = 1024
    client_patterns: int = 10_000
    client_open: int = 20_000  # messages and requests without an answer
    user_sessions: int = 2048
    user_patterns: int = 50_000
    user_open: int = 50_000
    stall_patience: float = 30.0  # seconds that a client may lose publications and take none before it is cut
    pool_bytes: int = (
        384 * 1024 * 1024
    )  # of bodies that all clients have the bus keep in memory; nobody may hold more of it than is left free


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
    broadcasts: int = 0
    published: int = 0
    fanned_out: int = 0  # publications handed to subscribers
    dropped: int = 0  # publications that a subscriber had no room for
    stored: int = 0  # put on disk
    retried: int = 0  # delivered again, as no answer came in time
    attempts_failed: int = 0  # deliveries whose receiver did not answer in time, or went without an answer
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
    queue: Lanes = field(default_factory=Lanes)
    queue_bytes: int = 0
    credit: int = 0
    flight: deque[int] = field(default_factory=deque)  # sizes of what was delivered and not yet credited
    flight_bytes: int = 0
    holds: "dict[bytes, Exchange]" = field(default_factory=dict)  # delivered, not answered
    lost: int = 0  # publications dropped since it was last told
    stalled_since: float | None = None  # it has lost publications, and given no credit since
    is_spilling: bool = False  # its queue is on disk, and what comes goes there too until the queue is empty
    suspect: "Exchange | None" = (
        None  # what an earlier incarnation or session went without answering: nothing else is handed out before its answer
    )
    is_paused: bool = False  # the kernel says that its process is suspended: time-outs stand still
    purged: float = float("-inf")  # when its queue was last searched for what had expired
    who: Who = NOBODY  # that opened it
    # runs (runs.py)
    takes_runs: bool = False  # as a receiver
    takes_spans: bool = False  # as a sender, of what it did not say as a run
    held: "dict[bytes, Run]" = field(default_factory=dict)  # in its hands, some of it not answered
    runs: "dict[bytes, Run]" = field(default_factory=dict)  # that it sent
    settled: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=SETTLED))  # runs that it sent: first sequence and count
    tab: Tab = field(default_factory=Tab)  # what it has the bus keep
    service: str = ""  # name that it offers
    receives: bool = True  # SENDs and REQUESTs to its address are for it


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


class Place(enum.Enum):
    """Where a message is safe."""

    MEMORY = 0  # nowhere: its sender has it, and repeats it
    STORING = 1  # on its way to disk
    DISK = 2  # its sender has been told, and knows no more about it


@dataclass(slots=True, eq=False)
class Broadcast:
    """What became of the copies of a BROADCAST so far."""

    sender: Session
    identifier: bytes
    pending: int
    handled: int = 0
    stored: int = 0
    failures: int = 0
    failed: dict[str, str] = field(default_factory=dict)  # receiver -> why, of the first FAILURES_SHOWN


FAILURES_SHOWN = 100


class Exchange(msgspec.Struct, eq=False):
    """A SEND or REQUEST from its sender's first word to the receiver's last."""

    header: Header
    body: Body
    size: int
    sender: Session | None  # None: it is on disk, and nobody waits
    address: str  # of the receiver: threads belong to their process, names are looked up
    deadline: float
    number: int = 0  # in the order of arrival; on disk, its key
    expiry: float = 0.0  # its deadline once it is on disk
    holder: Session | None = None  # in whose queue or hands it is; None: waits for its receiver's session
    is_delivered: bool = False
    was_delivered: bool = False
    is_over: bool = False
    place: Place = Place.MEMORY
    attempts: int = 0  # deliveries that failed
    is_suspect: bool = False  # somebody went with it in his hands
    until: float = 0.0  # when the delivery fails, or when the next one begins
    is_resting: bool = False  # a delivery failed, and the next has not begun
    stored_at: float = 0.0  # when it was put on disk
    group: Broadcast | None = None  # of which it is a copy


class Run(msgspec.Struct, eq=False):
    """Consecutive SENDs that are in their receiver's hands, as one."""

    header: Header
    bodies: list[bytes]
    size: int
    sender: Session
    holder: Session
    deadline: float
    until: float  # when it is taken apart, because its receiver takes long
    number: int  # of the first message, in the order of arrival
    open: int = 0  # a bit for each message that has no answer
    is_declined: bool = False


class Delivery(msgspec.Struct, eq=False):
    """One message in a receiver's queue."""

    header: Header
    body: Body
    size: int
    deadline: float | None
    exchange: Exchange | None  # None: a publication
    is_charged: bool = False  # a publication that waits, to its subscriber's account


class Entry(msgspec.Struct, frozen=True):
    """A process as the kernel enrolled it: a living incarnation, or one that is expected."""

    pid: int
    incarnation: int  # 0: it has none just now
    name: str
    uid: int
    secret_digest: bytes
    group: str = ""
    parent: int = 0  # pid of the process that started it
    kind: str = ""
