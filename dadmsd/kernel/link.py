"""What kernel and bus say to each other; docs/reference/kernel-bus.md has it literally.

The link is a fresh channel for each pair of kernel and bus (the keeper makes it when either starts). The first message of both sides is a ``Hello``; then the
kernel sends the whole roster, and the bus sends every request again that has no answer. Requests are known by ``(client, sequence)``: the kernel answers a
mutating one that it has answered before from its journal.
"""

import msgspec


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of the messages: tagged arrays whose new fields go last, with defaults."""


# kernel to bus


class KernelHello(Message, tag="kernel-hello", frozen=True):
    """Who the kernel is; the roster follows."""

    boot_id: str
    version: str


class Enrolled(Message, tag="enrolled", frozen=True):
    """A process that may speak as itself: whoever proves to know the secret is this incarnation."""

    pid: int
    incarnation: int
    name: str
    uid: int
    secret_digest: bytes  # SHA-256 of the secret
    group: str = ""
    parent: int = 0  # pid of the process that started it; 0: none did
    kind: str = "orchestrator"  # "orchestrator", "service", "tool"


class Expected(Message, tag="expected", frozen=True):
    """A process that has no incarnation just now and will have one: messages to it wait. Part of the roster."""

    pid: int
    name: str
    group: str = ""
    parent: int = 0
    kind: str = "orchestrator"  # "orchestrator", "service", "tool"


class Discharged(Message, tag="discharged", frozen=True):
    """An incarnation ended: its session is cut, its requests are dropped."""

    pid: int
    incarnation: int
    returns: bool = False  # another incarnation follows: messages to the process wait for it


class Paused(Message, tag="paused", frozen=True):
    """A process was suspended, or goes on: its time-outs stand still meanwhile. Said again after its ``Enrolled`` on each new link."""

    pid: int
    is_paused: bool


class RosterSent(Message, tag="roster-sent", frozen=True):
    """Every living incarnation has been enrolled; sessions of any other process are cut."""

    count: int


class Reply(Message, tag="reply", frozen=True):
    """The answer to a request."""

    client: bytes
    sequence: int
    status: str  # "ok", "refused", "violation", "host", "internal"
    body: msgspec.Raw  # msgpack; for anything but "ok" a map with "message"


class Event(Message, tag="event", frozen=True):
    """A fact for subscribers of ``events/…``; its number is the journal's, without gaps."""

    number: int
    topic: str
    body: msgspec.Raw


# bus to kernel


class BusHello(Message, tag="bus-hello", frozen=True):
    """Who the bus is."""

    incarnation: int
    os_pid: int


class Request(Message, tag="request", frozen=True):
    """A client asks the kernel; repeated on each new link until it is answered."""

    client: bytes  # 16 random bytes, the client's for all its life
    sequence: int  # the client's, from 1; a retry has the same one
    uid: int  # of the client: peer credentials of the ipc socket, or that of the process that proved its secret
    role: str  # "observe", "operate", "admin"
    origin: str  # for the audit: "uid 1000 pid 4242", "process 1001.1"
    body: msgspec.Raw  # a Request of dadms_ipc.requests
    deadline: float = 0.0  # seconds of CLOCK_MONOTONIC, which the two share: nobody waits for the answer any more; 0: not named


class ClientGone(Message, tag="client-gone", frozen=True):
    """A client's session ended for good: whatever waits for its sake may be dropped."""

    client: bytes


class Wanted(Message, tag="wanted", frozen=True):
    """Messages wait for a process that lives and has no connection: have it open one. Said again on each new link while they wait."""

    pid: int


class EventsWanted(Message, tag="events-wanted", frozen=True):
    """Whether anybody subscribes to ``events/…``: while nobody does, the kernel says none. Until the first of these on a link, nobody does."""

    is_wanted: bool


FromKernel = KernelHello | Enrolled | Expected | Discharged | Paused | RosterSent | Reply | Event
FromBus = BusHello | Request | ClientGone | Wanted | EventsWanted
