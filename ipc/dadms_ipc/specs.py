"""What a process is asked to be, and what it may use: the part of a request to start one that is kept with it. Use it from ``dadms_ipc.requests``."""

import msgspec

# What all processes of a daemon may use together unless its configuration says otherwise. A private daemon has none, so who would start one knows what it refuses.
MEMORY_TOGETHER_MB = 4096
CPU_TOGETHER_PERCENT = 80  # of the cores that the daemon may run on


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
