"""What the kernel and its zygotes, and the kernel and a child at its gate, say to each other; docs/reference/zygote.md has it literally.

Every child is named, and a name is used once: ``zygote/…`` a version zygote, ``1001.1`` the main of incarnation 1 of process 1001, ``1001.1/w3`` its third
worker. A fork request that names a living or unreaped child forks nothing and reports that child again, so the kernel may repeat itself.
"""

import msgspec


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of the messages: tagged arrays whose new fields go last, with defaults."""


# kernel to zygote


class Hello(Message, tag="hello", frozen=True):
    """A new kernel obeys its own epoch: answer ``Greeting``, then report every child again."""


class Fork(Message, tag="fork", frozen=True):
    """Fork a child that waits at its gate.

    Descriptors with it, in order: the child's end of its port, stdout, stderr, and, for a worker, its page.
    """

    name: str
    role: str  # "zygote", "main", "worker", "command"
    gate_timeout: float  # seconds until a child whose gate stays shut exits


class Reap(Message, tag="reap", frozen=True):
    """The exit of this child is in the journal: reap it and forget its name."""

    name: str


# zygote to kernel


class Greeting(Message, tag="greeting", frozen=True):
    """Answer to ``Hello``: who this zygote is and how many reports follow."""

    name: str  # "base", or the name it was forked under
    os_pid: int
    children: int


class Forked(Message, tag="forked", frozen=True):
    """A child exists; its pidfd comes with this message (a pid can be reused, a pidfd cannot)."""

    name: str
    os_pid: int
    start_ticks: int  # field 22 of /proc/PID/stat: with the boot id, it names the process for good


class ForkFailed(Message, tag="fork-failed", frozen=True):
    """No child was made."""

    name: str
    reason: str


class Exited(Message, tag="exited", frozen=True):
    """A child ended and waits to be reaped (waitid(2) with WNOWAIT)."""

    name: str
    os_pid: int
    how: int  # si_code of waitid(2): CLD_EXITED, CLD_KILLED, CLD_DUMPED
    status: int  # exit code or signal number
    cpu_seconds: float = 0.0  # user and system time, with its reaped children
    peak_kb: int = 0  # largest resident set, KiB
    at: float = 0.0  # wall clock, seconds: when the zygote saw it; 0.0: an older one, which does not say


# kernel to a child at its gate, over the child's port


class Rlimit(Message, frozen=True):
    """A limit that a child sets on itself, soft and hard alike, where the kernel may not."""

    resource: str  # "RLIMIT_NOFILE" …
    value: int


class ZygoteGate(Message, tag="gate-zygote", frozen=True):
    """Become this user, import this code, then serve forks on the port that the gate stood on."""

    name: str
    uid: int
    gid: int
    groups: list[int]
    orchestrator: str  # "module:attribute" of an Orchestrator
    handlers: str | None  # absolute path of a handlers module, None without one
    environment: dict[str, str] = {}  # replaces the environment
    directory: str = "/"


class WorkerGate(Message, tag="gate-worker", frozen=True):
    """Run threads: batches come over the port, results go into the page."""

    pid: int
    incarnation: int
    worker: int  # number within the incarnation, from 1
    first_sequence: int  # of the first thread that this worker will be given
    config: msgspec.Raw  # the process's, a msgpack map, for the orchestrator's entries
    directory: str
    rlimits: list[Rlimit] = []
    niceness: int = 0
    workplace: str = ""  # directory that its user named, to work in instead; artifacts stay in the other
    is_async: bool = False  # it runs many threads at a time


class CommandGate(Message, tag="gate-command", frozen=True):
    """Become this user and this program (execve); the port closes by itself when it succeeds."""

    argv: list[str]
    environment: dict[str, str]
    directory: str
    umask: int
    uid: int
    gid: int
    groups: list[int]
    rlimits: list[Rlimit] = []
    niceness: int = 0
    no_new_privileges: bool = False


# a child to the kernel, over its port, before anything else


class Imported(Message, tag="imported", frozen=True):
    """A version zygote has its code: it serves forks from now on."""

    seconds: float
    threads: int  # of the zygote: more than one means that an import started them
    version: str  # of the orchestrator
    topics: list[str]  # that the handlers module serves
    warnings: list[str] = []


class ImportFailed(Message, tag="import-failed", frozen=True):
    """The code does not import; the zygote exits after this."""

    reason: str  # fit for a person: file, line, error
    output: str = ""  # the traceback, shortened to the user's own frames


class GateFailed(Message, tag="gate-failed", frozen=True):
    """A child could not become what its gate told it to (no such user, no such program); it exits after this."""

    reason: str


ToZygote = Hello | Fork | Reap
FromZygote = Greeting | Forked | ForkFailed | Exited | Imported | ImportFailed | GateFailed
