"""All that the kernel knows, and the two things that its handlers leave behind: changed rows and effects.

Rule 1: handlers change records and call ``changed``; the shell commits the rows of a turn in one transaction and performs its effects after it.
Rule 2: what is not a record (queues, timers, who waits) is derived from records when a kernel adopts what another one left.
Rule 3: time comes in with ``begin``; nothing here reads a clock.
"""

import hashlib
import hmac
from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush
from typing import NamedTuple

import msgspec

from dadms_ipc.requests import EventInfo, FlightEntry, WaitedInfo
from dadmsd.kernel.core import effects
from dadmsd.kernel.core.contexts import Contexts
from dadmsd.kernel.core.events import Event
from dadmsd.kernel.core.history import History
from dadmsd.kernel.core.keyed import Keyed
from dadmsd.kernel.core.ledger import MEBIBYTE, Ledger
from dadmsd.kernel.core.lifecycle import ENDED
from dadmsd.kernel.core.lives import Lives
from dadmsd.kernel.core.policies import POLICIES
from dadmsd.kernel.core.records import Answered, Checkpoint, Child, Counters, EventRow, Process, Record, Results, Talk
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.tables import ADDRESSES

EVENTS_KEPT = 10_000  # a slow reader may be this many events behind
THREADS_KEPT = 5_000  # ended threads that `thread ls` can show
PROCESSES_KEPT = 500  # ended processes that stay in the table; older ones leave it first
ENDED_LEAST = (
    60.0  # seconds that one stays even so: whoever spawned it looks what it came to, and need not have waited while a thousand others ended
)
FLIGHT_KEPT = 4096  # events and effects that the flight recorder holds
PROBE = ".probe"  # behind the incarnation, in the name of the log of its ready and live commands
LIVES_KEPT = 10_000  # ended incarnations that `history` can show
WORD_LOOK = 0.5  # seconds until a zygote that is waited for is looked at
REPLY_RETENTION = 600.0  # seconds that a reply is kept for retries


class Root(NamedTuple):
    """What somebody who is stuck is stuck on."""

    name: str
    process: Process | None  # that has ended; None: nobody has the name


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration and the host say, once and for all of this kernel's life."""

    epoch: int
    boot_id: str
    version: str
    instance_key: bytes  # 32 random bytes of the journal: secrets are derived from it
    uid: int  # of the daemon
    runtime_dir: str
    state_dir: str
    is_private: bool
    limits_backend: str
    holds: frozenset[str] = frozenset({"memory", "cpu", "pids"})  # caps that the backend enforces for a whole process
    incarnation: int = 1  # of this kernel under its keeper
    max_processes: int
    slots: int  # max_concurrent_threads
    policy: str = "priority"  # of POLICIES
    look_interval: float = 0.1  # seconds: pages of busy workers are looked at at least that often
    ready_timeout: float  # seconds
    thread_timeout: float  # seconds
    memory_limit: int  # bytes, all processes together
    cpu_limit: float  # cores, all processes together
    disk_limit: int = 10_240 * MEBIBYTE  # bytes, all processes together
    import_timeout: float = 30.0  # seconds: reading code takes seconds, not minutes; `ready_timeout` of a spec lowers it
    gate_timeout: float = 60.0  # seconds a child waits at its gate: longer than a kernel needs to come back
    exit_timeout: float = 10.0  # seconds a main has to exit once its outcome is recorded: exit functions of the user's code run then
    idle_timeout: float = 30.0  # seconds after which an idle worker is retired
    ended_kept: int = PROCESSES_KEPT
    ended_least: float = ENDED_LEAST  # of those beyond ``ended_kept``; not of more than ``max_processes``, which all may end at once
    definitions: str = ""  # directory of definitions
    config_source: str = ""
    config: dict[str, dict[str, object]] = {}  # what held when this kernel was started, defaults included
    config_copy: str = ""  # path of the keeper's copy, which is what holds for every server; "" without a file
    retention: float = 3600.0  # seconds that a process stays in the table after its end
    cleanup_interval: float = 60.0  # seconds between looks for those
    logs_to: str = "files"  # or "journald": what processes print is then no file to read from

    @property
    def work_dir(self) -> str:
        """Give the directory that the working directories of all processes are in, each under its pid."""
        return f"{self.state_dir}/work"


Address = tuple[bytes, int]  # of a request: (client, sequence)
TimerKey = str | Address  # one of the two for all timers of a kind, so that a heap can compare them


class Waiter(msgspec.Struct):
    """A request that is answered later; it survives the kernel because the bus repeats it."""

    client: bytes = b""
    sequence: int = 0
    deadline: float = 0.0
    pid: int = 0  # Wait: the process; Events: only its events
    until: str = ""  # Wait: "ready" or "ended"; "threads"; "" for Events
    after: int = 0
    whole_after: int = 0  # Events: what it asks for and was told above this number has been seen, or is kept
    limit: int = 0
    tids: list[int] = []  # WaitThreads, or:
    group: str = ""
    count: int = 0  # of these that are to end; 0: all
    waited: WaitedInfo | None = None  # what it came to, of a process whose threads are gone
    is_patient: bool = False  # Wait: also over a backoff


class Disk:
    """What is known of the disk; ``core.disk`` decides by it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit  # bytes
        self.measured = 0  # bytes, when it was looked at last
        self.granted = 0  # bytes, since that look began
        self.granted_since = 0  # bytes, since the look that is under way began
        self.looked_at: float | None = None  # monotonic
        self.is_looking = False


class State:
    """The kernel's memory."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.now = 0.0  # monotonic
        self.wall = 0.0
        self.counters = Counters()
        self.processes: dict[int, Process] = {}
        self.children: dict[str, Child] = {}
        self.by_owner: dict[int, dict[str, Child]] = {}  # children of each process, its own zygote included
        self.zygotes: dict[str, str] = {}  # key -> name of the zygote that serves it
        self.pools: dict[int, Pool] = {}
        self.results: dict[int, list[Results]] = {}  # of each process, oldest first
        self.ended: dict[int, None] = {}  # processes that have ended, in the order in which they did
        self.forget_at = 0.0  # monotonic: nobody beyond those that are kept may leave the table earlier, while there is room
        self.answered: dict[Address, Answered] = {}
        self.waiters: dict[Address, Waiter] = {}
        self.watchers: dict[int, dict[Address, None]] = {}  # waiters by the process whose events they wait for; 0: any
        self.told: set[int] = set()  # processes that the events of this turn are about
        self.told_before = 0  # number of the newest event of the turns before
        self.events: deque[EventInfo] = deque(maxlen=EVENTS_KEPT)
        self.threads = History(THREADS_KEPT)
        self.lives = Lives(LIVES_KEPT)  # pruned with their rows
        self._flight: deque[tuple[float, type, str | int]] = deque(maxlen=FLIGHT_KEPT)  # what was taken in and done last, oldest first
        self.ledger = Ledger(memory=settings.memory_limit, cpu=settings.cpu_limit, processes=settings.max_processes)
        self.limiting: dict[int, list[Address]] = {}  # processes whose limits change -> who waits for it
        self.reading: object = None  # of the definitions, the newest
        self.config = settings.config  # that holds: of what others read, a reload changes it while this kernel lives
        self.roots: dict[int, Root | None] | None = (
            None  # what those that wait are stuck on, as far as it was asked since a process changed
        )
        self.servers: dict[str, dict[str, object]] = {}
        self.contexts = Contexts()
        self.failing: list[tuple[int, str]] = []  # groups of which a thread failed in this turn: the rest is to be cancelled
        self.keyed: dict[int, Keyed] = {}  # idempotency keys, of the processes that used any
        self.checkpoints: dict[int, Checkpoint] = {}
        self.disk = Disk(settings.disk_limit)
        self.gone: list[str] = []  # files of kernel and bus that somebody removed, as sentences
        self.unkept = ""  # why nothing new can be kept; "": it can
        self.is_strained = False  # so much is held in memory that no thread is begun
        self.parked: dict[str, Event] = {}  # child -> what it submitted and is answered when there is room
        self.is_stopping = False
        self.stop_said = False
        self.heard: dict[
            str, float
        ] = {}  # zygote -> monotonic: when it said something last; of the base one, until when it may be silent as it starts
        self.ending: set[str] = set()  # children whose ports have ended, and whose exits their zygotes are to report
        self.greeted: dict[str, float] = {}  # zygote that is to say something -> monotonic: since when
        self.imports_killed: dict[str, int] = {}  # key of a zygote -> imports in a row that somebody killed
        self.unconfirmed: set[str] = set()  # children that an earlier kernel may or may not have asked for
        self.just_ended: list[int] = []  # processes whose threads are to be ended as well
        self.ordered: dict[int, None] = {}  # processes of the table that depend on others
        self.blocked: dict[int, None] = {}  # processes that wait for what they depend on
        self.held: dict[int, None] = {}  # processes that are to end, after those that depend on them
        self.has_shifted = False  # the status of a process changed since somebody looked at those
        self.starting: dict[int, None] = {}  # processes whose next incarnation begins at the end of this turn
        self.orphaned: list[str] = []  # children that were to be forked by a zygote that is gone
        self.ready_pools: dict[int, None] = {}  # processes that may have something to dispatch, in the order of their turns
        self.looping: dict[int, None] = {}  # processes that have declared async entries
        self.is_stirred = False  # this turn may have changed who waits for a slot
        self.resuming: dict[str, None] = {}  # frozen workers whose thread is to go on when a slot is free
        self.policy = POLICIES[settings.policy]()
        self.served = 0.0  # what the process that was served last has used
        self.slots_held = 0  # workers that have threads
        self.workers_coming = 0  # workers that were asked for and are not ready
        self._secret_of = (0, 0)  # process and incarnation of the secret that was made last
        self._secret = b""
        self._timers: list[tuple[float, str, TimerKey]] = []
        self._armed: dict[tuple[str, TimerKey], float] = {}
        self._effects: list[effects.AnyEffect] = []
        self._first: list[effects.AnyEffect] = []  # those that are done before the others
        self._rows: dict[tuple[str, object], Record | None] = {}
        self._talking: dict[int, Process] = {}  # those of whom no more than that has changed in this turn
        self.talked: set[int] = set()  # those with a row of it

    # what handlers leave behind

    def begin(self, now: float, wall: float) -> None:
        """Start a turn."""
        self.now = now
        self.wall = wall
        self.roots = None
        self.told.clear()
        self.told_before = self.counters.next_event - 1

    def do(self, effect: effects.AnyEffect) -> None:
        """Have something done after the commit."""
        self._effects.append(effect)

    def do_first(self, effect: effects.AnyEffect) -> None:
        """Have something done before the rest of the turn: work that a worker waits for."""
        self._first.append(effect)

    def take_effects(self) -> list[effects.AnyEffect]:
        """Give the effects of the turn, in order."""
        taken = [*self._first, *self._effects]
        self._first, self._effects = [], []
        return taken

    def take_rows(self) -> dict[tuple[str, object], Record | None]:
        """Give the rows of the turn: (table, key) -> the record, or None where it is to be deleted."""
        taken, self._rows = self._rows, {}
        for pid, process in self._talking.items():
            if ("process", pid) not in taken:
                taken[("talk", pid)] = Talk.of(process)
                self.talked.add(pid)
        self._talking.clear()
        return taken

    def changed(self, record: Record) -> None:
        """Have a record written."""
        table, key_of = ADDRESSES[type(record)]
        self._rows[table, key_of(record)] = record
        if table == "process" and isinstance(record, Process):
            self.roots = None
            if record.pid in self.talked:
                self._drop_talk(record.pid)

    def changed_talk(self, process: Process) -> None:
        """Have what each thread changes of its process written, and no more of it."""
        self._talking[process.pid] = process

    def deleted(self, record: Record) -> None:
        """Have a record deleted."""
        table, key_of = ADDRESSES[type(record)]
        self._rows[table, key_of(record)] = None
        if table == "process" and isinstance(record, Process):
            self.roots = None
            if record.pid in self.talked:
                self._drop_talk(record.pid)

    def _drop_talk(self, pid: int) -> None:
        self.talked.discard(pid)
        self._rows[("talk", pid)] = None

    def tell_event(self, kind: str, text: str, *, pid: int = 0, data: object = None) -> None:
        """Put a fact into the event stream."""
        info = EventInfo(self.counters.next_event, self.wall, pid, kind, text, data)
        self.counters.next_event += 1
        self.changed(self.counters)
        self.events.append(info)
        self.told.add(pid)
        self._rows[("event", info.number)] = EventRow(number=info.number, info=info)
        self.do(effects.Publish(info.number, info.at, pid, kind, text, data))

    # time

    def arm(self, deadline: float, kind: str, key: TimerKey) -> None:
        """Have ``kind`` looked at when the deadline comes, or earlier; who handles it checks whether the deadline stands, and arms it again where it was moved.

        One timer a key, not one for each deadline: the head of a worker's queue changes a thousand times a second, and each might run for an hour.
        """
        armed = self._armed.get((kind, key))
        if armed is None or armed > deadline:
            self._armed[(kind, key)] = deadline
            heappush(self._timers, (deadline, kind, key))

    def next_deadline(self) -> float | None:
        """Give the earliest armed deadline."""
        return self._timers[0][0] if self._timers else None

    def take_due(self) -> list[tuple[str, TimerKey]]:
        """Give what was armed for now or earlier."""
        due = []
        while self._timers and self._timers[0][0] <= self.now:
            deadline, kind, key = heappop(self._timers)
            if self._armed.get((kind, key)) == deadline:  # otherwise an earlier one was armed after it
                del self._armed[(kind, key)]
                due.append((kind, key))
        return due

    def record_flight(self, happened: Iterable[object]) -> None:
        """Note events or effects in the flight recorder, those about somebody alone."""
        wall, append = self.wall, self._flight.append
        for each in happened:
            subject = getattr(each, "name", None) or getattr(each, "pid", None)
            if subject:
                append((wall, type(each), subject))

    @property
    def flight(self) -> list[FlightEntry]:
        """Give what the flight recorder holds, oldest first; it is put into words when somebody asks."""
        return [FlightEntry(at, kind.__name__, str(subject)) for at, kind, subject in self._flight]

    def expect_word(self, zygote: str) -> None:
        """Have a zygote looked at that somebody waits for; ``core.silence`` judges it."""
        self.arm(self.now + WORD_LOOK, "silence", zygote)

    # lookups

    def add_child(self, child: Child) -> None:
        """Take a child in."""
        self.children[child.name] = child
        if child.pid:
            self.by_owner.setdefault(child.pid, {})[child.name] = child
        self.changed(child)

    def drop_child(self, child: Child) -> None:
        """Forget a child whose exit is in the journal."""
        del self.children[child.name]
        self.ending.discard(child.name)
        if child.pid:
            self.by_owner[child.pid].pop(child.name, None)
            if not self.by_owner[child.pid]:
                del self.by_owner[child.pid]
        self.deleted(child)

    def main_of(self, process: Process) -> Child | None:
        """Give the main of the running incarnation, if it exists."""
        return self.children.get(f"{process.pid}.{process.incarnation}")

    def owned(self, pid: int) -> list[Child]:
        """Give the children of a process: main, workers, its own zygote."""
        return list(self.by_owner.get(pid, {}).values())

    def secret(self, pid: int, incarnation: int) -> bytes:
        """Derive the secret of an incarnation: 32 bytes that nobody without the instance key can make."""
        if self._secret_of != (
            pid,
            incarnation,
        ):  # both the bus and the process are told of it when it starts, and a digest costs as much as a message
            self._secret_of = (pid, incarnation)
            self._secret = hmac.digest(self.settings.instance_key, f"incarnation {pid}.{incarnation}".encode(), "sha256")
        return self._secret

    def secret_digest(self, pid: int, incarnation: int) -> bytes:
        """Give what the bus knows of a secret."""
        return hashlib.sha256(self.secret(pid, incarnation)).digest()

    def log_name(self, child: Child) -> str:
        """Name the pipe that a child's output goes into: one for each incarnation, its own zygote's included, one for its probes, one for each shared zygote."""
        if not child.pid:
            return child.name.replace("/", "-")
        return f"{child.pid}.{child.incarnation or 1}" + (PROBE if child.role == "probe" else "")

    def live_processes(self) -> list[Process]:
        """Give the processes that have not ended."""
        return [process for process in self.processes.values() if process.status not in ENDED]


__all__ = ["MEBIBYTE", "Settings", "State", "Waiter"]
