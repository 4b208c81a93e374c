"""What the kernel knows, as records: one row of the journal each, written as msgpack maps.

A map, so that a newer kernel reads an older one's rows: new fields have defaults, unknown fields are ignored. Times that end in ``_at`` are wall clock
seconds, for people and for the disk; deadlines are monotonic seconds of the boot that the journal names.
"""

from typing import Any, Final

import msgspec

from dadms_ipc.port import Retry
from dadms_ipc.requests import AttemptInfo, EventInfo, Spec
from dadmsd.kernel.core.kinds import PLAIN, Kind

LABEL_MOST: Final = 200  # characters


class Record(msgspec.Struct, kw_only=True):
    """Base of the rows."""


class Process(Record):
    """A supervised process, from its admission until it leaves the table."""

    pid: int
    spec: Spec
    uid: int
    incarnation: int = 1
    status: str = "admitted"  # PROCESS_STATUSES of lifecycle.py
    desired: str = "up"  # "up", "down" or "restart": what was asked for, apart from what is
    key: str = ""  # of the zygote that forks it
    created_at: float = 0.0
    ready_at: float = 0.0
    ended_at: float = 0.0
    entries: list[str] = []
    cause: str = ""
    reason: str = ""
    ending_as: str = ""  # the status it will have once nothing of it is left
    stop_reason: str = ""  # who asked for the end, in words
    outcome_status: str = ""  # what the process itself said: "completed", "failed"
    outcome: bytes = b"\xc0"  # msgpack
    limits: dict[str, str] = {}
    warnings: list[str] = []
    asked: int = 0  # sequence of the last request over the port, submission or cancellation
    submitted: int = 0  # sequence of the last submission that was answered
    submitted_tid: int = 0  # its first thread, or 0 when it was refused
    refusal: str = ""
    results: int = 0  # sequence of the last result
    seen: int = 0  # sequence of the last result that the process has handled
    workers_made: int = 0
    workers_failed: int = 0  # in a row, before they were ready
    forks_lost: int = 0  # in a row: its zygote ended before it had forked what it was asked for
    threads_done: int = 0  # ended, in any way
    threads_failed: int = 0
    priorities: dict[int, int] = {}  # of threads that were given another one than their submission's
    suspended: list[int] = []  # threads that stand still, or are to
    memory_peak: int = 0  # bytes
    cpu_seconds: float = 0.0
    parent: int = 0  # the process that it belongs to
    stop_as: str = "killed"  # the status that an end which was asked for comes to: "killed" or "stopped"
    exit_how: int = 0  # si_code of waitid(2), of the last main that ended; 0: none has, or nobody knows
    exit_status: int = 0
    started_at: float = 0.0  # of this incarnation: its program runs
    begun_at: float = 0.0  # of this incarnation: it was admitted
    failures: int = 0  # restarts in a row; the backoff grows with them
    starts: list[float] = []  # monotonic seconds of the starts that the start limit counts
    ready_since: float = 0.0  # monotonic seconds; 0.0: this incarnation was never ready
    clocks: dict[str, float] = {}  # what is due when, monotonic seconds: "backoff", "grace" …
    suspension: str = ""  # "", "freezing" or "frozen"
    suspended_since: float = 0.0  # monotonic seconds
    paused: dict[str, float] = {}  # of a suspended process: the seconds that its clocks have left
    said: str = ""  # what it says about itself
    probes_made: int = 0
    probe_failures: int = 0  # of its live command, in a row
    before: Spec | None = None  # what holds until the host has put the limits of `spec` in force; None: they are
    definition: str = ""  # the file that defines it; "": none does
    is_recorded: bool = False  # this incarnation is in the history
    is_interrupted: bool = False  # a reboot or the end of the daemon ended this incarnation
    resume: bool = False  # it was up when the daemon was ended: the next daemon starts it again
    resumed: int = 0  # incarnations in a row that were lost and had gone on from the same checkpoint
    kinds: dict[str, Kind] = {}  # of the entries whose workers are not plain
    kinds_failed: dict[str, int] = {}  # as workers_failed, of the kinds that are not plain, by their words
    keys_dropped: int = 0  # results under idempotency keys that gave way to newer ones, over all incarnations
    oom_kills: int = 0  # processes that the main or a worker of this incarnation had started and that the OOM killer ended
    oom_note: str = ""  # the same as a sentence
    exited_at: float = 0.0  # of this incarnation: its main ended; what is left of it may live longer
    limit_values: dict[str, Any] = {}  # the limits as numbers: bytes, cores, or how many
    limit_warnings: list[str] = []  # what the last change of its limits was warned of
    unready: str = ""  # how the last run of its ready command ended that did not say that it is ready
    defined: Spec | None = None  # what its definition said when it was last obeyed; ``spec`` has what was changed on it since

    @property
    def is_kept(self) -> bool:
        """Tell whether it stays in the table however long ago it ended: it can be started again, and somebody means to."""
        return bool(self.definition) or self.status == "stopped" or self.resume


class Talk(Record):
    """What each thread changes of its process: a row of its own, for that of the process is long.

    The process's row has it as well. When that is written this one goes, so a row that is there is the newer one.
    """

    pid: int
    asked: int
    submitted: int
    submitted_tid: int
    refusal: str
    results: int
    seen: int
    threads_done: int
    threads_failed: int

    @classmethod
    def of(cls, process: Process) -> "Talk":
        """Take it out of a process."""
        return cls(
            pid=process.pid,
            asked=process.asked,
            submitted=process.submitted,
            submitted_tid=process.submitted_tid,
            refusal=process.refusal,
            results=process.results,
            seen=process.seen,
            threads_done=process.threads_done,
            threads_failed=process.threads_failed,
        )

    def put_into(self, process: Process) -> None:
        """Give it to the process that was read from an older row."""
        for name in self.__struct_fields__:
            setattr(process, name, getattr(self, name))


class Child(Record):
    """An OS process that a zygote forked or will fork: a version zygote, a main, a worker."""

    name: str  # "zygote/3", "1001.1", "1001.1/w3": used once
    role: str  # "zygote", "main", "worker"
    parent: str  # name of the zygote that forks it; "base" for the first
    pid: int = 0  # of the process it belongs to; 0 for a shared zygote
    incarnation: int = 0
    number: int = 0  # of a worker within the incarnation
    key: str = ""  # of a zygote
    uid: int = 0
    phase: str = "forking"  # PHASES of lifecycle.py
    os_pid: int = 0
    start_ticks: int = 0
    deadline: float | None = None  # of the phase it is in
    intent: str = ""  # why we end it; "" when it ends by itself
    intent_tid: int = 0  # the thread for whose sake a worker is ended
    failure: str = ""  # what the child said before it exited
    exit_how: int = 0  # si_code of waitid(2); 0: not known
    exit_status: int = 0
    topics: list[str] = []  # of a zygote with handlers
    warnings: list[str] = []
    seconds: float = 0.0  # that its import took
    # of a worker:
    next_sequence: int = 1  # of the next thread that is sent to it
    done_sequence: int = 0  # of the last result that is in the journal
    freeze: str = ""  # "": it runs; "asked": it is to stand still; "frozen": it does
    revoked_first: int = 0  # the last range of sequences that was taken back from it
    revoked_last: int = 0
    ready_at: float = 0.0
    is_command: bool = False  # the main of a service or tool
    stop_signal: int = 15  # what asks for its end
    left: float | None = None  # of a child of a suspended process: the seconds until its deadline
    has_stood: bool = False  # it was frozen once: a kernel that died may have had it thawed, or not
    kind: Kind = PLAIN  # of a worker
    yields: int = 0  # the newest word of a worker that its thread gives way
    is_yielded: bool = False  # it waits to be told to go on
    head_since: float | None = (
        None  # monotonic seconds: when the time of the thread that it runs began, less what it stood still; of a plain one
    )
    stands_since: float | None = None  # monotonic seconds, of one that is frozen or gave way
    stood: float = 0.0  # seconds that the thread it runs was frozen, which its worker counts as run time
    # of a main with a notify socket:
    is_leaving: bool = False  # it has said that it is ending
    stranger_told: float = 0.0  # wall clock: when people were last told of somebody who speaks in its name

    @property
    def wire_role(self) -> str:
        """Give the role that its zygote knows it by."""
        return "command" if self.is_command else self.role


class Life(Record):
    """How one incarnation of a process came and went; it outlives the process in the table."""

    pid: int
    incarnation: int
    name: str
    uid: int
    status: str  # "completed", "failed", "killed", "stopped"
    cause: str
    reason: str = ""
    begun_at: float = 0.0  # wall clock, as all that follow: it was admitted
    started_at: float = 0.0  # its program ran
    ready_at: float = 0.0
    ended_at: float = 0.0
    exit_how: int = 0  # si_code of waitid(2)
    exit_status: int = 0
    memory_peak: int = 0  # bytes
    cpu_seconds: float = 0.0
    number: int = 0  # in the order of the ends
    kind: str = "orchestrator"  # this and what follows is what the process was, for who asks after it when it has left the table
    orchestrator: str = ""
    group: str = ""
    parent: int = 0
    oom_kills: int = 0  # processes that its main or a worker had started and that the OOM killer ended
    exited_at: float = 0.0  # its main ended


class Chunk(Record):
    """The threads of one submission: they share an entry and have consecutive numbers."""

    first_tid: int
    pid: int
    incarnation: int
    entry: str
    arguments: list[msgspec.Raw]
    labels: list[str] = []
    timeout: float = 0.0  # seconds of running
    created_at: float = 0.0
    priority: int = 0  # higher is sooner
    deadline: float | None = None  # wall clock, seconds: when they should have begun
    retry: Retry | None = None
    keys: list[str] = []  # of each thread, or none at all
    group: str = ""

    def label_of(self, tid: int) -> str:
        """Name a thread for people."""
        return self.labels[tid - self.first_tid][:LABEL_MOST] if self.labels else f"{self.entry} {tid}"

    def key_of(self, tid: int) -> str:
        """Give the idempotency key of a thread; "" for none."""
        return self.keys[tid - self.first_tid] if self.keys else ""


class Kept(Record):
    """What a thread with an idempotency key came to, for whoever submits the key again."""

    pid: int
    key: str
    order: int  # in which they were kept; the oldest goes first
    result: bytes  # msgpack: a port.Result
    entry: str = ""  # that it ran
    digest: bytes = b""  # of entry and argument; b"" in rows of an older kernel: anything may be submitted with the key


class GroupRow(Record):
    """A named group of threads of a process."""

    pid: int
    name: str
    number: int  # in the order of their making
    ended: dict[int, int] = {}  # number of a state -> threads that ended in it
    cancels: bool = False  # a failure cancels the rest
    failed_by: int = 0  # the thread whose failure did
    is_suspended: bool = False
    priority: int | None = None  # None: that of each submission


class Tries(Record):
    """The attempts of an open thread that failed; it waits for the next one until it is due, or has it."""

    tid: int
    pid: int
    failed: list[AttemptInfo]
    due: float  # monotonic seconds
    due_at: float  # the same, wall clock


class Batch(Record):
    """Threads that were sent to a worker together, kept until their results are in the journal."""

    worker: str
    first_sequence: int
    tids: list[int]
    condemned: dict[int, tuple[str, str, str]] = {}  # those to be terminated once they are at the head: status, cause, message
    since: float | None = (
        None  # of an async worker, monotonic seconds: when the time of these threads began, less what the process stood still
    )
    held: dict[int, float] = {}  # of these, monotonic seconds: those that stand still, and since when
    stood: dict[int, float] = {}  # seconds that each has stood still


class Results(Record):
    """Threads that ended, as one delivery to their process; the payload goes once it is acknowledged."""

    pid: int
    incarnation: int
    first_sequence: int
    last_sequence: int
    facts: bytes  # msgpack: a list of ThreadInfo
    payload: bytes | None  # msgpack: a port.Delivery
    runs: bytes = b"\x90"  # msgpack: a list of Run, before the facts


class Run(msgspec.Struct, array_like=True):
    """Short threads of one chunk, with consecutive numbers, that one worker completed one after the other: what people may want to know of them."""

    first_tid: int
    pid: int
    entry: str
    worker: int
    os_pid: int
    created_at: float
    started_at: float  # the first one's
    seconds: bytes  # that each ran, a float of four bytes each
    labels: list[str] = []
    group: str = ""


class Answered(Record):
    """The reply to a mutating request, kept for REPLY_RETENTION so that a retry gets the same one."""

    client: bytes
    sequence: int
    at: float  # wall clock, seconds: for people
    status: str
    body: bytes  # msgpack
    until: float = 0.0  # steady clock: it is kept so long; 0.0: of a kernel that went by the date


class Counters(Record):
    """Numbers that only grow; one row."""

    next_pid: int = 1001
    next_tid: int = 1
    next_event: int = 1
    next_zygote: int = 1
    started_at: float = 0.0  # of the daemon, wall clock
    next_life: int = 1
    began_at: float = 0.0  # wall clock: when events were numbered from 1 on


class EventRow(Record):
    """One event of the stream."""

    number: int
    info: EventInfo


class Region(Record):
    """A region of shared context."""

    pid: int
    name: str
    owner: str  # "1001/17", "1001", "uid 1000"
    readers: list[str]
    writers: list[str]
    version: int = 0  # number of its last change
    token: int = 0  # that its locks gave last


class Cell(Record):
    """A value of shared context."""

    pid: int
    region: str
    key: str
    value: bytes  # msgpack
    version: int


class Lock(Record):
    """A lock that somebody has."""

    pid: int
    region: str
    name: str
    holder: str  # "1001/17", or "1001" for a main
    token: int
    child: str  # name of the worker or main whose end gives it back
    tid: int = 0  # the thread whose end does; 0: the main
    at: float = 0.0  # wall clock, seconds


class Checkpoint(Record):
    """From where the next incarnation of a process goes on."""

    pid: int
    incarnation: int  # that gave it
    at: float  # wall clock, seconds
    value: bytes  # the orchestrator's business


class Caller(Record):
    """A worker or main that changed shared context: its answers, until it says that it had them."""

    name: str  # of the child
    floor: int = 0  # calls up to this one were answered and had
    answered: dict[int, bytes] = {}  # sequence -> the answer, msgpack
