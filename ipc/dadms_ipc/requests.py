"""What a client may ask of the kernel, and what it answers: the bodies of control requests, as msgpack maps.

Maps, not arrays: these are the shapes that people read (``--json`` prints them) and that clients in other languages write by hand. Unknown fields are ignored
by answers' readers and refused by the kernel (a misspelt limit must not be silently dropped).
"""

from typing import Any

import msgspec

from dadms_ipc import context


class IoLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rates of one device, a second; None: not limited."""

    read_bytes: int | None = None
    write_bytes: int | None = None
    read_ops: int | None = None
    write_ops: int | None = None


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a process may use, its workers included; None: not limited beyond what the daemon as a whole may use."""

    memory: int | None = None  # bytes, a hard cap; whoever grows beyond it is killed (cause "oom")
    cpu: float | None = None  # cores: 0.5 is half of one
    pids: int | None = None  # processes and their threads
    files: int | None = 1024  # open descriptors of each OS process (RLIMIT_NOFILE)
    core: int | None = 0  # bytes of a core dump (RLIMIT_CORE)
    worker_memory: int | None = None  # bytes a worker, on a leaf of its own
    workers: int = 4  # OS processes that run this process's threads, at most
    memory_high: int | None = None  # bytes above which it is slowed down before anybody is killed (cgroup v2)
    swap: int | None = None  # bytes of swap beside the memory; None: none where memory is limited
    cpu_weight: int | None = None  # 1 to 10000, against its neighbours when the CPU is short; None: 100
    io: dict[str, IoLimit] = {}  # block device, or a path on one -> its rates (cgroup v2)


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A process to start."""

    name: str  # for people; need not be unique
    orchestrator: str = ""  # a built-in name ("bpmn", "decision"), or "module:attribute"; "" for a command
    config: msgspec.Raw = msgspec.Raw(b"\x80")  # a msgpack map, the orchestrator's business alone
    handlers: str | None = None  # absolute path of a handlers module
    limits: Limits = Limits()
    memory_request: int = 0  # bytes that the ledger reserves
    cpu_request: float = 0.0  # cores that the ledger reserves
    enforcement: str = "strict"  # "strict": a limit that cannot be enforced is an error; "best-effort": it is a warning
    thread_timeout: float | None = None  # seconds a thread may run; None: the configuration's
    ready_timeout: float | None = None  # seconds to become ready; None: the configuration's
    stop_timeout: float = 5.0  # seconds between SIGTERM and SIGKILL
    group: str = ""
    uid: int | None = None  # the user to run as; None: the client's. Only root may name another
    environment: dict[str, str] = {}  # added to a minimal one
    kind: str = "orchestrator"  # or "service" (a command that should run), or "tool" (a command that ends)
    command: list[str] = []  # of a service or tool: the program and its arguments; no shell reads them
    directory: str | None = None  # to work in, absolute; None: a directory of its own
    umask: int = 0o022
    nice: int = 0  # -20 to 19
    no_new_privileges: bool = False  # PR_SET_NO_NEW_PRIVS: set-user-ID programs give nothing
    gid: int | None = None  # the group to run as; None: the user's own
    stop_signal: int = 15  # what asks for the end
    parent: int | None = None  # pid of the process that it belongs to; None: the one that asks, if a process does
    restart: str = ""  # "never", "on-failure" or "always"; "": "always" for a service, else "never"
    success_codes: tuple[int, ...] = (0,)  # exit codes that are no failure
    restart_codes: list[int] = []  # exit codes after which it is started again, whatever ``restart`` says
    final_codes: list[int] = []  # exit codes after which it is not, whatever ``restart`` says
    backoff: float = 0.2  # seconds before the first restart; doubles with each further one
    backoff_most: float = 30.0  # seconds: its ceiling
    backoff_jitter: float = 0.1  # part of the pause that is added by chance, at most
    backoff_reset: float = 10.0  # seconds of being ready after which the pause is the first one again
    start_limit: int = 10  # starts within ``start_limit_seconds``, after which it has failed; 0: no limit
    start_limit_seconds: float = 300.0
    ready: str = ""  # of a command, what says that it is ready: "none" (that it runs), "notify" (READY=1, sd_notify(3)) or "exec" (``ready_command``); "": "none"
    ready_command: list[str] = []  # asked every ``ready_interval`` seconds until it exits with 0
    ready_interval: float = 0.5
    live_command: list[
        str
    ] = []  # asked every ``live_interval`` seconds while it is ready; it is ended when this failed ``live_threshold`` times in a row
    live_interval: float = 10.0
    live_threshold: int = 3
    probe_timeout: float = 5.0  # seconds that either command may take
    watchdog: float | None = None  # seconds within which it must say that it lives (WATCHDOG=1); None: it need not
    run_timeout: float | None = (
        None  # seconds an incarnation may run; 0: for ever; None: the configuration's process_timeout_ms for a tool, else for ever
    )
    max_age: float | None = None  # seconds of being ready after which it is replaced by its next incarnation
    max_age_jitter: float = 0.1  # part of that which is added by chance, at most
    after: list[str] = []  # names of processes that are waited for if they are about to be ready
    requires: list[str] = []  # names of processes that must be ready, or tools that must have completed
    escalate: str = ""  # what fails with it at the start limit: "group", "parent" or "daemon"; "": nothing
    weight: float = 1.0  # of this process among others, where the policy is "fair"
    recycle_threads: int | None = None  # a worker that has run so many threads is replaced
    recycle_seconds: float | None = None  # and one that is so old, between two threads


class Spawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="spawn", tag_field="verb"):
    """Admit and start a process; answered with ``{"pid": …}`` once it is in the journal, before it is ready."""

    spec: Spec


class Kill(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="kill", tag_field="verb"):
    """End a process and its whole tree; answered when the demand is in the journal. Wait for the end with ``Wait``."""

    pid: int
    force: bool = False  # SIGKILL at once
    reason: str = ""


class Start(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="start", tag_field="verb"):
    """Start a process again that has ended, under its pid, as its next incarnation."""

    pid: int


class Stop(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="stop", tag_field="verb"):
    """End a process and its whole tree, to be started again some day; answered when the demand is in the journal."""

    pid: int
    reason: str = ""


class Restart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="restart", tag_field="verb"):
    """End the incarnation of a process, if it lives, and start the next one."""

    pid: int
    reason: str = ""


class Suspend(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="suspend", tag_field="verb"):
    """Have everything of a process stand still, and its time with it; wait for it with ``Wait``."""

    pid: int


class Resume(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="resume", tag_field="verb"):
    """Have a suspended process go on."""

    pid: int


class ChangeLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="limits", tag_field="verb"):
    """Change limits and reservations of a process while it lives; answered with ``{"pid", "limits", "warnings"}`` once they are in force and read back.

    ``changes`` has names of ``Limits``, ``memory_request`` and ``cpu_request``; null lifts a limit. All are put in force, or none.
    """

    pid: int
    changes: dict[str, Any]


class KillThread(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="kill-thread", tag_field="verb"):
    """Terminate a thread, whatever it is doing."""

    tid: int


class SuspendThread(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="suspend-thread", tag_field="verb"):
    """Have a thread stand still where it is; answered when that is in the journal, the event ``thread.suspended`` tells when it does."""

    tid: int


class ResumeThread(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="resume-thread", tag_field="verb"):
    """Let a suspended thread go on, as soon as a slot is free for it."""

    tid: int


class SetThreadPriority(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="set-thread-priority", tag_field="verb"):
    """Give a thread that waits another priority, -100 to 100; higher is sooner."""

    tid: int
    priority: int


class ShowThread(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="show-thread", tag_field="verb"):
    """The ThreadInfo of one thread."""

    tid: int


class SteerGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="steer-group", tag_field="verb"):
    """Do something with all open threads of a group of a process; answered with its GroupInfo."""

    pid: int
    group: str
    action: str  # "kill", "suspend", "resume", "priority"
    priority: int = 0


class Groups(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="groups", tag_field="verb"):
    """The groups of a process, as a list of GroupInfo, oldest first."""

    pid: int


class WaitThreads(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="wait-threads", tag_field="verb"):
    """Answer with the WaitedInfo when so many of these threads have ended or ``timeout`` seconds have passed."""

    pid: int
    tids: list[int] = []
    group: str = ""  # instead of the tids
    count: int | None = None  # None: all of them
    timeout: float = 10.0  # seconds, at most 60: ask again


class Wait(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="wait", tag_field="verb"):
    """Answer with the ProcessInfo when the process is in this state or ``timeout`` seconds have passed; of one that has left the table, at once.

    "ended" is for good: a process that is to be started again has not ended. "ready" and "started" (its program runs) have come as well when it has ended, or waits to be
    started again. What a living process uses now is not in it: ``Status`` reads it.
    """

    pid: int
    until: str = "ended"  # "started", "ready", "suspended" or "ended"
    timeout: float = 10.0  # seconds, at most 60: ask again; a parked request survives the kernel by being repeated


class List(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="list", tag_field="verb"):
    """All processes that the table holds, as a list of ProcessInfo without their outcomes, which may be large, and without what they wait for: Status gives one's."""

    include_ended: bool = True


class Status(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="status", tag_field="verb"):
    """One ProcessInfo, also of a process that has left the table, or the DaemonInfo without a pid."""

    pid: int | None = None


class Threads(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="threads", tag_field="verb"):
    """The newest threads, as a list of ThreadInfo in the order of their numbers."""

    pid: int | None = None
    limit: int = 200  # at most 1000
    group: str = ""  # only those of this group of the process


class Events(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="events", tag_field="verb"):
    """Events with numbers above ``after``, oldest first, as an EventPage; waits up to ``wait`` seconds for the first."""

    after: int = 0
    pid: int | None = None  # only those of one process
    limit: int = 500  # at most 1000
    wait: float = 0.0  # seconds, at most 60


class History(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="history", tag_field="verb"):
    """The newest incarnations that ended, as a list of LifeInfo in the order of their ends; also of processes that have left the table."""

    pid: int | None = None
    limit: int = 100  # at most 1000


class Explain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="explain", tag_field="verb"):
    """Why a process is as it is and what it waits for, as an Explanation."""

    pid: int


class ReadLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="read-log", tag_field="verb"):
    """A piece of a process's log from a byte offset, as a LogPiece; a negative offset counts from the end.

    Offsets count from the first byte that the process ever wrote, whatever files hold it now and whatever has been removed since.
    """

    pid: int
    offset: int = 0
    limit: int = 60_000  # bytes, at most 60 000


class ReadContext(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="read-context", tag_field="verb"):
    """Look at the shared context of a process; answered as dadms_ipc.context says for the operation."""

    pid: int
    operation: context.Read


class ChangeContext(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="change-context", tag_field="verb"):
    """Change the shared context of a process; answered with a Changed once it is in the journal."""

    pid: int
    operation: context.Change


class Reload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="reload", tag_field="verb"):
    """Read the definitions and the configuration again, and do what they ask for; answered with a ReloadReport of the definitions."""


class Compare(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="compare", tag_field="verb"):
    """Read the definitions again, and say in a ReloadReport what ``Reload`` would do."""


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="configuration", tag_field="verb"):
    """The configuration that holds, as a ConfigurationInfo."""


class Shutdown(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="shutdown", tag_field="verb"):
    """End every process, then the daemon; answered when the end has begun."""


Request = (
    Spawn
    | Start
    | Stop
    | Restart
    | ChangeLimits
    | Suspend
    | Resume
    | Kill
    | KillThread
    | SuspendThread
    | ResumeThread
    | SetThreadPriority
    | SteerGroup
    | Groups
    | WaitThreads
    | ShowThread
    | Wait
    | List
    | Status
    | Threads
    | Events
    | History
    | Explain
    | ReadLog
    | ReadContext
    | ChangeContext
    | Reload
    | Compare
    | Configuration
    | Shutdown
)

MUTATING = (
    Spawn,
    Start,
    Stop,
    Restart,
    ChangeLimits,
    Suspend,
    Resume,
    Kill,
    KillThread,
    SuspendThread,
    ResumeThread,
    SetThreadPriority,
    SteerGroup,
    ChangeContext,
    Reload,
    Shutdown,
)
ROLE_NEEDED = {
    Spawn: "operate",
    Start: "operate",
    Stop: "operate",
    Restart: "operate",
    ChangeLimits: "operate",
    Suspend: "operate",
    Resume: "operate",
    Kill: "operate",
    KillThread: "operate",
    SuspendThread: "operate",
    ResumeThread: "operate",
    SetThreadPriority: "operate",
    SteerGroup: "operate",
    Groups: "observe",
    WaitThreads: "observe",
    ShowThread: "observe",
    Wait: "observe",
    List: "observe",
    Status: "observe",
    Threads: "observe",
    Events: "observe",
    History: "observe",
    Explain: "observe",
    ReadLog: "operate",  # a log may hold business data
    ReadContext: "operate",  # values may be business data
    ChangeContext: "operate",
    Reload: "admin",
    Compare: "operate",
    Configuration: "observe",
    Shutdown: "admin",
}


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
    threads_done: int = 0
    threads_failed: int = 0
    memory: int = 0  # bytes in use now
    memory_peak: int = 0  # bytes
    cpu_seconds: float = 0.0
    limits: dict[str, str] = {}  # name -> value and who enforces it, as read back
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


class ConfigurationInfo(msgspec.Struct, frozen=True):
    """The configuration that holds."""

    source: str  # path of the file that the daemon was started with; "": none
    definitions: str  # directory; "": none
    values: dict[str, dict[str, object]]  # table -> key -> value, defaults included


class EventPage(msgspec.Struct, frozen=True):
    """Events and where to go on; ``oldest`` tells a slow reader whether some are gone."""

    events: list[EventInfo]
    last: int  # number of the newest event there is
    oldest: int  # number of the oldest event that is kept


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
