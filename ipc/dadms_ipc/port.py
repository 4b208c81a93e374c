"""A process's kernel port: how the main of an orchestrator talks to the kernel; docs/reference/port.md has it literally.

The port is a channel that outlives kernels: the kernel's end is kept by the keeper. Requests carry a sequence of the incarnation and are repeated after each
``Hello`` until they are answered; results carry a sequence too, and are repeated until they are acknowledged. Both sides drop what they have seen.
"""

from collections.abc import Iterable, Iterator

import msgspec

from dadms_ipc.context import AnyOperation, Operation

CHECKPOINT_BYTES = 256 * 1024  # of a checkpoint as it travels; a larger one is an artifact, and its reference travels


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of the messages: tagged arrays whose new fields go last, with defaults."""


# kernel to process


class Gate(Message, tag="gate-main", frozen=True):
    """The gate opens: limits are in force, and this is who you are."""

    pid: int
    incarnation: int
    secret: bytes  # 32 bytes of this incarnation: proves to the bus who speaks
    name: str
    config: msgspec.Raw  # a msgpack map: what the orchestrator was started with
    control: str  # ZeroMQ endpoints of the bus
    data: str
    directory: str  # working directory, the process's own
    ready_timeout: float  # seconds until Ready must have been sent
    rlimits: list[tuple[str, int]] = []  # to set on oneself where the kernel may not
    topics: list[str] = []  # that the handlers module serves
    workplace: str = ""  # directory that its user named, to work in instead; artifacts stay in the other
    restored: bytes | None = None  # msgpack: the last checkpoint of an earlier incarnation; None: there is none
    watchdog: float = 0.0  # seconds within which it must say that it lives; 0: it need not


class Hello(Message, tag="hello", frozen=True):
    """A new kernel: repeat Ready or Outcome, and the submissions that were not answered."""


class Accepted(Message, tag="accepted", frozen=True):
    """A submission is in the journal; its threads have consecutive numbers."""

    sequence: int
    first_tid: int


class Refused(Message, tag="refused", frozen=True):
    """A submission was refused as a whole."""

    sequence: int
    reason: str


class Result(Message, frozen=True):
    """How one thread ended."""

    tid: int
    status: str  # "completed", "error", "terminated", "timed_out"
    value: msgspec.Raw  # msgpack; nil unless completed
    cause: str = ""  # why not completed: "exception", "worker_lost", "oom", "timed_out", "terminated", "result"
    kind: str = ""  # the exception's class
    message: str = ""
    traceback: str = ""
    code: str = ""  # of a BPMN error that the entry raised on purpose
    worker: int = 0  # number of the worker within the incarnation
    os_pid: int = 0
    started_at: float = 0.0  # wall clock, seconds
    run_seconds: float = 0.0
    cpu_seconds: float = 0.0
    attempts: int = 1  # that were made; 0: it was never begun
    repeats: int = 0  # the thread with the same key whose result this is; 0: its own


def floats(column: bytes) -> Iterable[float]:
    """Read a column of floats of four bytes each."""
    return memoryview(column).cast("f")


class Run(Message, frozen=True):
    """Short threads of one submission, with consecutive numbers, that one worker completed one after the other: columns instead of a Result each."""

    first_tid: int
    values: list[msgspec.Raw]
    seconds: bytes  # that each ran, a float of four bytes each, as this machine orders them
    worker: int = 0
    os_pid: int = 0
    started_at: float = 0.0  # wall clock, seconds: the first one's

    def results(self) -> Iterator[Result]:
        """Give each thread's result as it would be alone; the CPU time of short threads is not measured, and their run time stands for it."""
        at = self.started_at
        for tid, (value, seconds) in enumerate(zip(self.values, floats(self.seconds), strict=True), self.first_tid):
            yield Result(
                tid,
                "completed",
                value,
                worker=self.worker,
                os_pid=self.os_pid,
                started_at=at,
                run_seconds=seconds,
                cpu_seconds=seconds,
            )
            at += seconds


class Delivery(Message, frozen=True):
    """What a delivery holds, as the kernel keeps it until it was seen."""

    results: list[Result]
    runs: list[Run]


class Finished(Message, tag="finished", frozen=True):
    """Threads that ended; ``sequence`` is that of the last one, and they are consecutive: those of the runs, then the results. It is repeated whole.

    The first time, it may be the answer to a submission as well, and be taken as its ``Accepted`` followed by the results: a process is woken once, and not twice.
    """

    sequence: int
    results: list[Result]
    runs: list[Run] = []
    submission: int = 0  # that it accepts; 0: none
    first_tid: int = 0


class Stop(Message, tag="stop", frozen=True):
    """End within ``grace`` seconds; SIGTERM was sent as well, SIGKILL follows."""

    reason: str
    grace: float


class Recorded(Message, tag="recorded", frozen=True):
    """The outcome is in the journal: exit. Without this answer a kernel that dies between reading and writing it would lose it."""


class Listen(Message, tag="listen", frozen=True):
    """Somebody on the bus waits for this process: open the line to it. A process that needs no line until then saves its cost."""


class Kept(Message, tag="kept", frozen=True):
    """A checkpoint is in the journal, or will not be, for this reason; then the one before it stands."""

    number: int
    reason: str = ""


class ContextAnswer(Message, tag="context-answer", frozen=True):
    """What a call about shared context came to, after the commit."""

    sequence: int
    status: str  # "ok", "refused", "expired"
    body: msgspec.Raw  # msgpack: an answer of dadms_ipc.context; for anything but "ok" a map with "message"


# process to kernel


class Declaration(Message, frozen=True):
    """What an entry asks of the workers that run it."""

    entry: str
    is_async: bool = False  # many at a time, in one worker
    at_once: int = 0  # of an async entry: threads that one worker has at a time; 0: the kernel's default
    memory_limit: int | None = None  # bytes, of the worker that it runs in


class Ready(Message, tag="ready", frozen=True):
    """The contract handshake: what this process can run."""

    entries: list[str]
    warnings: list[str] = []
    declarations: list[Declaration] = []  # of entries that ask for more than a plain worker


class Retry(Message, frozen=True):
    """When a thread that failed is tried again, and after which pause. One without such a policy is begun at most once.

    The pause before the n-th retry is ``delay`` ("fixed"), ``n * delay`` ("linear") or ``2 ** (n - 1) * delay`` ("exponential"), at most ``ceiling``; then
    a part of up to ``jitter`` is taken off it, so that those that failed together do not come back together.
    """

    attempts: int = 3  # at most, the first one included
    backoff: str = "exponential"  # or "fixed", "linear"
    delay: float = 1.0  # seconds
    ceiling: float = 60.0  # seconds
    jitter: float = 0.1  # 0 to 1
    on: tuple[str, ...] = (
        "exception",
        "timed_out",
        "oom",
        "worker_lost",
    )  # causes, or classes of exceptions by name; what was terminated is never tried again


class Submit(Message, tag="submit", frozen=True):
    """Run an entry once for each element of ``arguments``, in the workers of this process."""

    sequence: int
    entry: str
    arguments: list[msgspec.Raw]
    labels: list[str] = []  # for people: one a thread, or none at all
    timeout: float | None = None  # seconds of running; None: the configuration's
    priority: int = 0  # -100 to 100, higher is sooner
    deadline: float | None = None  # seconds from now until they should have begun
    retry: Retry | None = None  # None: each is begun at most once
    keys: list[str] = []  # idempotency keys: one a thread, "" for none, or none at all
    group: str = ""  # that they belong to; "": none
    cancels: bool = False  # a failure of one of the group cancels the others


class PackedSubmit(Message, tag="submit", frozen=True):
    """A ``Submit`` whose arguments are encoded already, as one msgpack array: the same on the wire, for who sends many."""

    sequence: int
    entry: str
    arguments: msgspec.Raw
    labels: list[str] = []
    timeout: float | None = None
    priority: int = 0
    deadline: float | None = None
    retry: Retry | None = None
    keys: list[str] = []
    group: str = ""
    cancels: bool = False


class Cancel(Message, tag="cancel", frozen=True):
    """Terminate threads; those that ended already stay as they are. Answered by their results."""

    sequence: int
    tids: list[int]


class Steer(Message, tag="steer", frozen=True):
    """Do something with threads that have not ended; one that has is left alone."""

    sequence: int
    verb: str  # "suspend", "resume", "priority"; of a group also "kill"
    tids: list[int]
    value: int = 0
    group: str = ""  # instead of the tids: all open threads of this group


class Seen(Message, tag="seen", frozen=True):
    """Every result up to this sequence has been handled."""

    sequence: int


class Note(Message, tag="note", frozen=True):
    """A fact for the event stream, lost without harm: a branch taken, a task answered."""

    kind: str
    text: str
    data: msgspec.Raw = msgspec.Raw(b"\xc0")


class Outcome(Message, tag="outcome", frozen=True):
    """What the process came to. Answered with ``Recorded``, after which it exits; given again after each ``Hello`` until then."""

    status: str  # "completed" or "failed"
    value: msgspec.Raw  # msgpack map
    reason: str = ""  # one sentence, when failed


class Checkpoint(Message, tag="checkpoint", frozen=True):
    """From where the next incarnation is to go on, should this one be lost. Answered with ``Kept``; the newest is repeated after each ``Hello`` until then."""

    number: int  # of the incarnation, from 1
    value: msgspec.Raw  # msgpack, CHECKPOINT_BYTES at most


class Watchdog(Message, tag="watchdog", frozen=True):
    """The process lives."""


class GateFailed(Message, tag="gate-failed", frozen=True):
    """The process could not become what its gate told it to; it exits after this."""

    reason: str


class Reserve(Operation, tag="reserve", frozen=True):
    """Room on the disk for an artifact; answered with Room, or refused with the numbers."""

    size: int  # bytes


class Room(msgspec.Struct, frozen=True):
    """Room was granted; what was granted and not used is found out when the disk is measured next."""

    used: int  # bytes, of all processes together, with what was granted
    limit: int  # bytes


Asked = AnyOperation | Reserve


class ContextCall(Message, tag="context", frozen=True):
    """Something is asked about shared context, or for room for an artifact, by a main or a thread in a worker. Answered with ``ContextAnswer``; repeated after each ``Hello`` until then."""

    sequence: int  # of the port's calls, from 1
    seen: int  # answers to all calls up to this one were had
    operation: Asked
    tid: int = 0  # of the thread that asks; 0: the main
    pid: int = 0  # whose context; 0: that of the own process


ToProcess = Gate | Hello | Accepted | Refused | Finished | Stop | Recorded | Listen | ContextAnswer | Kept
FromProcess = Ready | Submit | Cancel | Steer | Seen | Note | Outcome | Watchdog | GateFailed | ContextCall | Checkpoint
Said = FromProcess | PackedSubmit  # what a process sends; on the wire it is a FromProcess
