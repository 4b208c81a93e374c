"""What the keeper and its servers say to each other; docs/reference/keeper.md has it literally.

The keeper obeys one kernel, the one that it started last. Names in its store of descriptors begin with the version of their layout (``v1/``), so that a
newer kernel can tell what an older one left there.
"""

import msgspec


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of the messages: tagged arrays whose new fields go last, with defaults."""


# keeper to kernel


class Welcome(Message, tag="welcome", frozen=True):
    """The first message to each kernel; ``Stored`` messages and one ``StoreSent`` follow it."""

    epoch: int  # this kernel's: one more than the last one's, kept in the runtime directory
    boot_id: str  # of the host (/proc/sys/kernel/random/boot_id)
    runtime_dir: str
    state_dir: str
    config: str | None  # path of the keeper's copy of the TOML file, None when there is none; it is valid
    is_private: bool  # a daemon of one `dadmsctl run`: it lives by a lease
    config_dir: str = ""  # of the original: what relative paths in it are relative to
    incarnation: int = 1  # of the server that is welcomed: how often it was started
    daemon: str = ""  # random, of this keeper's life: what another one's journal calls alive is not
    config_source: str = ""  # path of the original


class Stored(Message, tag="stored", frozen=True):
    """An entry of the store, with its descriptors, in the order in which they were given; to the logger, with the read end alone."""

    name: str


class StoreSent(Message, tag="store-sent", frozen=True):
    """Every entry has been sent; ``Linked`` and ``Stored`` may still come later, as servers come and go."""

    count: int


class Linked(Message, tag="linked", frozen=True):
    """A fresh channel to a server, the kernel's end with this message; the old one, if any, is dead."""

    server: str  # "bus"
    incarnation: int  # of that server, from 1


class ServerChanged(Message, tag="server-changed", frozen=True):
    """A server started or ended; for people to look at."""

    server: str  # "bus", "logger", "zygote"; "kernel" to a kernel that is not the first, of itself
    os_pid: int
    restarts: int
    is_running: bool
    reason: str = ""  # how it ended, in words; of one that runs, how the one before it did
    last_pid: int = 0  # of the one that ended


class OrphanExited(Message, tag="orphan-exited", frozen=True):
    """A process whose zygote is gone ended, and was reaped; repeated to each kernel until acknowledged."""

    os_pid: int
    how: int  # si_code of waitid(2): CLD_EXITED, CLD_KILLED, CLD_DUMPED
    status: int  # exit code or signal number
    at: float = 0.0  # wall clock, seconds: when it was reaped


class StopAsked(Message, tag="stop-asked", frozen=True):
    """End everything: processes first, then say ``Stopped``."""

    reason: str  # "SIGTERM", "lease", "shutdown"


class StoreRefused(Message, tag="store-refused", frozen=True):
    """An entry was not kept, and its descriptors were closed."""

    name: str
    reason: str


# kernel to keeper


class Store(Message, tag="store", frozen=True):
    """Keep these descriptors under this name until ``Drop``; a name that exists is replaced."""

    name: str


class Drop(Message, tag="drop", frozen=True):
    """Close and forget an entry; unknown names are ignored. From the keeper to the logger: drain the pipe, then close it and say ``Drained``."""

    name: str


class OrphanAcknowledged(Message, tag="orphan-acknowledged", frozen=True):
    """The exit is in the journal: forget it."""

    os_pid: int


class Ready(Message, tag="ready", frozen=True):
    """The kernel has adopted what lives, and answers requests. From another server: it serves; for people to look at."""

    note: str = ""  # what whoever starts the daemon is to be told beside that


class ShutdownAsked(Message, tag="shutdown-asked", frozen=True):
    """A client asked for the end of the daemon, or a process takes it with it; the keeper answers with ``StopAsked``."""

    reason: str = "shutdown"  # told to people and to whatever ends with the daemon


class Stopped(Message, tag="stopped", frozen=True):
    """Every process and cgroup is gone: the servers may be ended."""

    lost: str = ""  # what the kernel could not keep, in words


# logger to keeper


class Drained(Message, tag="drained", frozen=True):
    """What was left in the pipe of a dropped entry is in its file: the last read end may be closed."""

    name: str


FromKeeper = Welcome | Stored | StoreSent | Linked | ServerChanged | OrphanExited | StopAsked | StoreRefused | Drop
FromKernel = Store | Drop | OrphanAcknowledged | Ready | ShutdownAsked | Stopped
FromLogger = Drained | Ready
FromBus = Ready
