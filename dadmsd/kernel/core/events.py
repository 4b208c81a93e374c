"""What has happened, as the shell tells the core. Past tense; frozen; nothing in them is decided.

Reports about children carry the child's name, which is used once, so a report about an older incarnation cannot be taken for one about a newer one.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from dadms_ipc import port
from dadms_ipc.requests import Request
from dadmsd.worker.messages import Outcome, Stretch


class Event(msgspec.Struct, frozen=True):
    """Base of the events."""


class Forked(Event, frozen=True):
    """A zygote made the child."""

    name: str
    os_pid: int
    start_ticks: int


class ForkFailed(Event, frozen=True):
    """No child was made, or its zygote is gone."""

    name: str
    reason: str


class ParentReported(Event, frozen=True):
    """A zygote has reported every child it had when it was greeted: what an earlier kernel asked it for and is not among them, it never heard of."""

    name: str
    children: frozenset[str]
    is_new: bool = False  # it has just been started: whatever its predecessor was asked for must be asked for again


class GateOpened(Event, frozen=True):
    """Limits are in force and read back, and the gate message was sent."""

    name: str
    limits: dict[str, str] = {}
    warnings: list[str] = []
    values: dict[str, Any] = {}  # the limits as numbers


class GateShut(Event, frozen=True):
    """A limit could not be enforced: the gate stays shut."""

    name: str
    reason: str


class ZygoteReady(Event, frozen=True):
    """A version zygote has imported its code."""

    name: str
    version: str
    topics: list[str]
    warnings: list[str]
    seconds: float


class MainReady(Event, frozen=True):
    """The main of a process shook hands."""

    name: str
    entries: list[str]
    warnings: list[str]
    limits: dict[str, str] = {}  # that it had to set on itself, as read back
    declarations: Sequence[port.Declaration] = ()  # what its entries ask of their workers
    values: dict[str, Any] = {}  # the limits as numbers


class Executed(Event, frozen=True):
    """The main of a service or tool has become its program."""

    name: str


class Notified(Event, frozen=True):
    """A process said something about itself (sd_notify(3)); whoever said it belongs to it."""

    name: str
    is_ready: bool = False
    is_alive: bool = False
    is_stopping: bool = False
    status: str | None = None
    extension: float = 0.0  # seconds that it asks for, to become ready


class NotifyRefused(Event, frozen=True):
    """Somebody else spoke in a process's name."""

    name: str
    os_pid: int


class Beaten(Event, frozen=True):
    """An orchestrator says that it lives."""

    name: str


class Frozen(Event, frozen=True):
    """Every task of a process stands still, or, with a reason, cannot be made to."""

    pid: int
    incarnation: int
    reason: str = ""


class WorkerReady(Event, frozen=True):
    """A worker waits for threads."""

    name: str


class ChildFailed(Event, frozen=True):
    """A child said why it is about to exit."""

    name: str
    reason: str


class PortEnded(Event, frozen=True):
    """A main or a worker has closed its end of its port, as all do that end: its zygote is about to report its exit."""

    name: str


class Exited(Event, frozen=True):
    """A child ended; everything that it had sent was handled before."""

    name: str
    how: int  # si_code of waitid(2); 0: nobody knows (its parent and the keeper's record are gone)
    status: int
    oom: str = ""  # "": no; else whose limit: "worker limit of 64 MiB", "process limit of 1 GiB", "the host's memory"
    begun: int = 0  # of a worker: sequence of the last thread that it began
    cpu_seconds: float = 0.0
    memory_peak: int = 0  # bytes: its largest resident set
    oom_kills: int = 0  # of a main or worker: processes that it had started and that the OOM killer ended
    oom_words: str = ""  # why it did: "beyond its memory limit" …
    at: float = 0.0  # wall clock: when it ended, as whoever waits for it saw; 0.0: nobody says


class Submitted(Event, frozen=True):
    """A process asks for threads."""

    name: str
    request: port.Submit


class CancelAsked(Event, frozen=True):
    """A process gives threads up."""

    name: str
    sequence: int
    tids: list[int]


class SteerAsked(Event, frozen=True):
    """A process wants something done with threads of its own."""

    name: str
    sequence: int
    verb: str
    tids: list[int]
    value: int
    group: str = ""  # instead of the tids


class ResultsSeen(Event, frozen=True):
    """A process has handled results."""

    name: str
    sequence: int


class OutcomeGiven(Event, frozen=True):
    """A process says what it came to."""

    name: str
    outcome: port.Outcome


class CheckpointGiven(Event, frozen=True):
    """A process says from where its next incarnation is to go on."""

    name: str
    number: int
    value: bytes


class NoteGiven(Event, frozen=True):
    """A process states a fact for the event stream."""

    name: str
    note: port.Note


class LineWanted(Event, frozen=True):
    """Somebody on the bus waits for a process that has no connection to it."""

    pid: int


class ContextCalled(Event, frozen=True):
    """A main, or a thread in a worker, asks something of shared context."""

    name: str
    call: port.ContextCall


class DiskFilled(Event, frozen=True):
    """The journal has no room for anything new."""

    reason: str
    is_strained: bool = False  # what is held in memory instead is near its bound


class DiskFreed(Event, frozen=True):
    """The journal has room again, and everything that was held in memory is in it."""


class JournalDamaged(Event, frozen=True):
    """A file of the journal was not what had been written."""

    text: str


class FilesGone(Event, frozen=True):
    """Which files of kernel and bus somebody removed under them, as sentences; nothing: all are there again."""

    texts: tuple[str, ...]


class DiskMeasured(Event, frozen=True):
    """The artifacts, logs and working directories of all processes were looked at."""

    size: int  # bytes


class DiskCleared(Event, frozen=True):
    """The artifacts of processes that have left the table are gone."""


class PortViolated(Event, frozen=True):
    """A child broke the protocol of its port."""

    name: str
    reason: str


class ResultsRead(Event, frozen=True):
    """The page of a worker holds these results."""

    name: str
    outcomes: Sequence[Outcome | Stretch]


class WorkerFrozen(Event, frozen=True):
    """A worker stands still, and the results in its page were read after it did."""

    name: str
    begun: int  # sequence of the last thread that it began


class FreezeFailed(Event, frozen=True):
    """The host cannot freeze a worker."""

    name: str
    reason: str


class Yielded(Event, frozen=True):
    """A thread gives way, and its worker waits to be told to go on."""

    name: str
    number: int  # of this worker's words about it
    sequence: int  # of the thread


class ProgressMade(Event, frozen=True):
    """A running thread says how far it is."""

    name: str
    tid: int
    text: str
    fraction: float | None


class GroupGone(Event, frozen=True):
    """Nothing of a process is left in its cgroup, and the cgroup is removed."""

    pid: int
    memory_peak: int = 0
    cpu_seconds: float = 0.0
    incarnation: int = 0  # that left; 0: whichever is ending
    is_counted: bool = False  # its memory is what the host charged the group with, and no sum of looks


class RequestArrived(Event, frozen=True):
    """A client asks something, perhaps again."""

    client: bytes
    sequence: int
    uid: int
    role: str
    origin: str
    request: Request
    deadline: float = 0.0  # when nobody waits for the answer any more; 0: not named


class LimitsSet(Event, frozen=True):
    """Changed limits of a process are in force and read back, or, with a reason, are what they were."""

    pid: int
    incarnation: int
    limits: dict[str, str] = {}
    warnings: list[str] = []
    reason: str = ""
    values: dict[str, Any] = {}  # the limits as numbers


class DefinitionsRead(Event, frozen=True):
    """The directory of definitions holds this; somebody who may will say what is to be done about it."""

    reading: Any  # defined.Reading
    is_applied: bool = False  # at the start of a kernel: at once


class ConfigurationRead(Event, frozen=True):
    """The configuration that holds for every server is this; somebody asks for it."""

    values: dict[str, Any]


class ClientLeft(Event, frozen=True):
    """Whatever waits for this client's sake may be dropped."""

    client: bytes


class BusLinked(Event, frozen=True):
    """A bus is there that knows nobody."""


class ServerChanged(Event, frozen=True):
    """The keeper started or lost a server."""

    server: str
    os_pid: int
    restarts: int
    is_running: bool
    reason: str  # of the last end
    last_pid: int = 0  # of the one that ended


class StopAsked(Event, frozen=True):
    """The keeper wants everything ended."""

    reason: str


class TimePassed(Event, frozen=True):
    """``next_deadline`` may have come."""


AnyEvent = (
    Forked
    | ForkFailed
    | ParentReported
    | GateOpened
    | GateShut
    | ZygoteReady
    | MainReady
    | Executed
    | Notified
    | NotifyRefused
    | Beaten
    | Frozen
    | WorkerReady
    | ChildFailed
    | Exited
    | PortEnded
    | Submitted
    | CancelAsked
    | SteerAsked
    | ResultsSeen
    | OutcomeGiven
    | NoteGiven
    | CheckpointGiven
    | LineWanted
    | ContextCalled
    | DiskMeasured
    | DiskCleared
    | DiskFilled
    | DiskFreed
    | JournalDamaged
    | FilesGone
    | PortViolated
    | ResultsRead
    | WorkerFrozen
    | FreezeFailed
    | ProgressMade
    | GroupGone
    | RequestArrived
    | DefinitionsRead
    | ConfigurationRead
    | LimitsSet
    | ClientLeft
    | BusLinked
    | ServerChanged
    | StopAsked
    | TimePassed
)
