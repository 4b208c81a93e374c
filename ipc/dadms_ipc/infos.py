"""What the kernel tells of processes, threads, events and itself: the bodies of its answers. Use it from ``dadms_ipc.requests``.

Unknown fields are ignored by their readers; new fields go last, with defaults.
"""

import msgspec


class ProcessInfo(msgspec.Struct, frozen=True):
    """A process, as it is shown."""

    pid: int
    incarnation: int
    name: str
    orchestrator: str
    status: str  # "waiting", "admitted", "starting", "running", "stopping", "backoff", "completed", "failed", "killed", "stopped"
    uid: int
    group: str = ""
    os_pid: int = 0
    created_at: float = 0.0  # wall clock, seconds
    ready_at: float = 0.0
    ended_at: float = 0.0
    cause: str = ""  # of the end: "exited 1", "signal 9 (SIGKILL) by kill", "oom", "import failed", "not ready in 300 s" …
    reason: str = ""  # one sentence for a person
    outcome: object = None  # the orchestrator's own, once it ended
    workers: int = 0  # alive
    threads_waiting: int = 0
    threads_running: int = 0
    threads_done: int = 0  # ended, in any way
    threads_failed: int = 0
    memory: int = 0  # bytes in use now
    memory_peak: int = 0  # bytes
    cpu_seconds: float = 0.0
    limits: dict[str, str] = {}  # name -> value and who enforces it, as read back; of one that does not run, what it will be held to
    warnings: list[str] = []
    log: str = ""  # path of its log file
    kind: str = "orchestrator"
    command: list[str] = []
    desired: str = "up"  # what was asked for: "up", "down" or "restart"
    exit_code: int | None = None  # of the last incarnation that ended; None: it lives, or ended by a signal
    exit_signal: int | None = None
    parent: int = 0  # the process that it belongs to; 0: none
    failures: int = 0  # restarts in a row that its backoff counts
    starts_at: float = 0.0  # wall clock: when its backoff is over; 0.0: it waits for nothing
    begun_at: float = 0.0  # of this incarnation: when it was admitted
    started_at: float = 0.0  # of this incarnation: when its program began to run
    pids: int = 0  # tasks now: OS processes and their threads, as far as they are counted
    throttled_seconds: float = 0.0  # that its limit on CPU made it wait
    pressure: dict[str, float] = {}  # "cpu", "memory", "io": percent of the last ten seconds in which some task waited for it
    suspension: str = ""  # "freezing" or "frozen"; "": it is not suspended
    said: str = ""  # what it says about itself (STATUS= of sd_notify)
    waits_for: list[str] = []  # a sentence for each process that it cannot start or end without
    is_past: bool = False  # it has left the table: this is its last incarnation as the history has it, without outcome, limits and warnings
    checkpoint_at: float = 0.0  # wall clock: of the checkpoint that its next incarnation would go on from; 0.0: there is none
    is_stuck: bool = False  # it waits for what does not come by itself: ``waits_for`` says what somebody has to do
    keys_dropped: int = 0  # results under idempotency keys that gave way to newer ones: what is submitted again with such a key runs again
    limit_values: dict[str, object] = {}  # the limits as numbers: bytes, cores, or how many; "io": device -> rate -> a second


class AttemptInfo(msgspec.Struct, frozen=True):
    """An attempt of a thread that failed and was followed by another, or will be."""

    cause: str  # "exception", "timed_out", "oom", "worker_lost", "result"
    message: str = ""
    worker: int = 0
    os_pid: int = 0
    started_at: float = 0.0  # wall clock, seconds; 0.0: it was not begun
    run_seconds: float = 0.0


class ThreadInfo(msgspec.Struct, frozen=True):
    """A thread, as it is shown."""

    tid: int
    pid: int
    entry: str
    label: str
    state: str  # "ready", "sent", "running", "waiting", "suspended", "completed", "error", "terminated", "timed_out"
    worker: int = 0
    os_pid: int = 0
    created_at: float = 0.0
    started_at: float = 0.0
    run_seconds: float = 0.0
    cause: str = ""
    message: str = ""
    attempts: int = 1  # that were made, the one that runs included; 0: none was begun
    tried: list[AttemptInfo] = []  # those that failed before
    due_at: float = 0.0  # wall clock, seconds: when one that waits is tried again
    key: str = ""  # idempotency key
    repeats: int = 0  # the thread with the same key that it ends with, or whose result it was given; 0: none
    group: str = ""


class GroupInfo(msgspec.Struct, frozen=True):
    """A group of threads, as it is shown: how many are in which state."""

    pid: int
    name: str
    ready: int = 0
    running: int = 0  # in a worker
    waiting: int = 0
    suspended: int = 0
    completed: int = 0
    error: int = 0
    terminated: int = 0
    timed_out: int = 0
    is_suspended: bool = False  # what is submitted to it stands still as well
    priority: int | None = None  # that was set for all of it
    cancels: bool = False  # a failure cancels the rest
    failed_by: int = 0  # the thread whose failure did; 0: none


class WaitedInfo(msgspec.Struct, frozen=True):
    """What came of waiting for threads."""

    pid: int
    is_over: bool  # enough have ended
    open: int
    statuses: dict[str, int]  # how the others ended -> how many


class EventInfo(msgspec.Struct, frozen=True):
    """A fact, numbered without gaps for the life of the journal."""

    number: int
    at: float  # wall clock, seconds
    pid: int  # 0: the daemon itself
    kind: str  # "process.running", "thread.completed", "worker.lost", "note" …
    text: str
    data: object = None


class LifeInfo(msgspec.Struct, frozen=True):
    """An incarnation that ended, as it is shown. Times are wall clock, seconds; 0.0: it did not come so far."""

    pid: int
    incarnation: int
    name: str
    uid: int
    status: str  # "completed", "failed", "killed", "stopped"
    cause: str
    reason: str = ""
    begun_at: float = 0.0
    started_at: float = 0.0
    ready_at: float = 0.0
    ended_at: float = 0.0
    exit_code: int | None = None
    exit_signal: int | None = None
    memory_peak: int = 0  # bytes
    cpu_seconds: float = 0.0
    oom_kills: int = 0  # processes that its main or a worker had started and that the OOM killer ended
    exited_at: float = 0.0  # its main ended; the incarnation did when nothing of it was left


class FlightEntry(msgspec.Struct, frozen=True):
    """What the kernel took in or had done, as its flight recorder has it."""

    at: float  # wall clock, seconds
    kind: str  # class of an event (past) or an effect (imperative)
    subject: str  # "1001", "1001.1/w3", "zygote/1" …


class ChangeInfo(msgspec.Struct, frozen=True):
    """What a definition does to its process."""

    name: str
    pid: int  # 0: there is none yet
    action: str  # "start", "change" (while it runs), "restart", "end"
    fields: list[str]  # that differ


class ReloadReport(msgspec.Struct, frozen=True):
    """What the definitions came to."""

    directory: str  # "": none is configured
    changes: list[ChangeInfo]
    mistakes: list[str]  # a sentence each, with file and line; the other files count all the same
    absent: dict[str, str] = {}  # names that files define and that no process of a definition has -> why, with file and line
    warnings: list[str] = []  # a sentence each, with file and line: what is done, and probably not meant


class ConfigurationInfo(msgspec.Struct, frozen=True):
    """The configuration that holds."""

    source: str  # path of the file that the daemon was started with; "": none
    definitions: str  # directory; "": none
    values: dict[str, dict[str, object]]  # table -> key -> value, defaults included


class EventPage(msgspec.Struct, frozen=True):
    """Events and where to go on; ``after`` tells a slow reader whether some are gone."""

    events: list[EventInfo]
    last: int  # up to which it has looked: ask for what is after it next
    oldest: int  # number of the oldest event that is kept
    after: int = 0  # nothing that was asked for is missing from here on; where it is above what was asked, what lies between is gone
    began: float = 0.0  # wall clock, seconds: when the numbering began, for the next request; another one than before means that the journal was lost, and this page is from the new beginning on


class Explanation(msgspec.Struct, frozen=True):
    """Why a process is as it is."""

    pid: int
    name: str
    status: str
    desired: str
    sentences: list[str]
    lives: list[LifeInfo]  # the newest that ended
    events: list[EventInfo]  # the newest
    flight: list[FlightEntry]  # of the recorder, oldest first
    kind: str = "orchestrator"


class LogPiece(msgspec.Struct, frozen=True):
    """A piece of a log; empty at its end alone, and otherwise as much of what was asked for as is at hand."""

    data: bytes
    offset: int  # of its first byte: higher than asked where that is removed
    size: int  # of the log: the offset of its end, now
    path: str  # of the file that is written to
    first: int = 0  # offset of the oldest byte that is kept


class DaemonInfo(msgspec.Struct, frozen=True):
    """The daemon, as it is shown."""

    version: str
    epoch: int
    boot_id: str
    os_pid: int  # of the kernel
    started_at: float
    runtime_dir: str
    state_dir: str
    is_private: bool
    limits_backend: str  # "cgroup v2", "cgroup v1", "rlimits only (no delegated cgroup)"
    servers: dict[str, dict[str, object]]
    processes: int
    threads_ready: int
    threads_running: int
    slots: int
    memory_reserved: int
    memory_limit: int  # bytes
    machine: dict[str, float] = {}  # cores, memory and memory_available in bytes, load over one minute
    disk_used: int = 0  # bytes of artifacts, logs and working directories when they were looked at last, and what was granted since
    disk_limit: int = 0  # bytes
    unkept: str = ""  # why nothing new can be kept at the moment: a full disk; "": it can
    disk_looked_at: float = 0.0  # wall clock, seconds: when ``disk_used`` was counted; nobody counts before somebody wants room
    gone: list[str] = []  # files of the journals that somebody removed under the daemon, each with what that costs
