"""What a client may ask of the kernel, and what it answers: the bodies of control requests, as msgpack maps.

Maps, not arrays: these are the shapes that people read (``--json`` prints them) and that clients in other languages write by hand. Unknown fields are ignored
by answers' readers and refused by the kernel (a misspelt limit must not be silently dropped).

What a process is to be is in specs.py, what is answered in infos.py; both are meant to be used from here.
"""

from typing import Any

import msgspec

from dadms_ipc import context
from dadms_ipc.infos import (
    AttemptInfo,
    ChangeInfo,
    ConfigurationInfo,
    DaemonInfo,
    EventInfo,
    EventPage,
    Explanation,
    FlightEntry,
    GroupInfo,
    LifeInfo,
    LogPiece,
    ProcessInfo,
    ReloadReport,
    ThreadInfo,
    WaitedInfo,
)
from dadms_ipc.specs import IoLimit, Limits, Spec

__all__ = [
    "MUTATING",
    "ROLE_NEEDED",
    "AttemptInfo",
    "ChangeContext",
    "ChangeInfo",
    "ChangeLimits",
    "Compare",
    "Configuration",
    "ConfigurationInfo",
    "DaemonInfo",
    "EventInfo",
    "EventPage",
    "Events",
    "Explain",
    "Explanation",
    "FlightEntry",
    "GroupInfo",
    "Groups",
    "History",
    "IoLimit",
    "Kill",
    "KillThread",
    "LifeInfo",
    "Limits",
    "List",
    "LogPiece",
    "ProcessInfo",
    "ReadContext",
    "ReadLog",
    "Reload",
    "ReloadReport",
    "Request",
    "Restart",
    "Resume",
    "ResumeThread",
    "SetThreadPriority",
    "ShowThread",
    "Shutdown",
    "Spawn",
    "Spec",
    "Start",
    "Status",
    "SteerGroup",
    "Stop",
    "Suspend",
    "SuspendThread",
    "ThreadInfo",
    "Threads",
    "Wait",
    "WaitThreads",
    "WaitedInfo",
]


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
    started again: whoever starts something learns of its first failure at once. With ``is_patient`` one that waits to be started again, or for another, is waited for on. What a living process uses now is not in it: ``Status`` reads it.
    """

    pid: int
    until: str = "ended"  # "started", "ready", "suspended" or "ended"
    timeout: float = 10.0  # seconds, at most 60: ask again; a parked request survives the kernel by being repeated
    is_patient: bool = False  # "ready" and "started" have not come where it waits to be started (again)


class List(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="list", tag_field="verb"):
    """All processes that the table holds, as a list of ProcessInfo without their outcomes, which may be large, and without what they wait for: Status gives one's."""

    include_ended: bool = True


class Status(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="status", tag_field="verb"):
    """One ProcessInfo, also of a process that has left the table, or the DaemonInfo without a pid."""

    pid: int | None = None


THREAD_STATES = ("running", "ready", "suspended", "waiting", "sent", "completed", "error", "terminated", "timed_out")


class Threads(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="threads", tag_field="verb"):
    """The newest threads, as a list of ThreadInfo in the order of their numbers."""

    pid: int | None = None
    limit: int = 200  # at most 1000
    group: str = ""  # only those of this group of the process
    state: str = ""  # only those in this state, one of THREAD_STATES: running, ready, suspended, waiting, sent, completed, error, terminated, timed_out


class Events(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="events", tag_field="verb"):
    """Events with numbers above ``after``, oldest first, as an EventPage; waits up to ``wait`` seconds for the first."""

    after: int = 0
    pid: int | None = None  # only those of one process
    limit: int = 500  # at most 1000
    wait: float = 0.0  # seconds, at most 60
    began: float = 0.0  # that of the page before: where the numbering is another one by now, it is read from its beginning on


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
