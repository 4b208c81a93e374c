"""Puts a child under the limits of its process before its gate opens, and takes the groups away when nothing is left in them.

1. A process's group carries its caps; main, workers and a zygote of its own live in leaves of it. Shared zygotes have groups of their own.
2. Where a spec sets no memory limit, the process is still held to what all processes together may use, if the host can hold it.
3. Everything here may be repeated: a kernel may have died after any step.
"""

import contextlib
import signal
from typing import Any

import msgspec

from dadms_ipc.errors import DadmsError, HostFailure
from dadms_ipc.requests import Limits, Spec
from dadmsd.kernel.core.records import Child, Process
from dadmsd.kernel.host import Backend, Caps, Usage, limits, oom
from dadmsd.kernel.host.caps import size_text
from dadmsd.kernel.host.niceness import nice_text, set_niceness
from dadmsd.kernel.host.steering import swap_total
from dadmsd.zygote.messages import Rlimit

BUS = "bus"  # the group that holds it to a memory cap
BUS_MEMORY = 512 * 1024 * 1024  # bytes: the cap of the bus, which hostile clients may fill
_SHARED_ZYGOTE = Limits(memory=1 << 30, files=None)  # an orchestrator's own code; a gigabyte is room enough to import it
_CHILD_SHARE = (
    4 << 20
)  # bytes that a child copies of its zygote's before it has a group: moving it moves no charge (cgroup-v2, "Memory Ownership"). Two were seen


_BEYOND = {
    "leaf": "beyond its memory limit",
    "group": "beyond its memory limit",
    "instance": "as all processes together were beyond the daemon's memory limit",
    "host": "as the host ran out of memory",
}  # whose limit was hit (oom.Verdict.where) -> why somebody was taken


class Confined(msgspec.Struct):
    """What is in force, and what the child must still set on itself."""

    limits: dict[str, str]
    warnings: list[str]
    left: list[Rlimit]
    values: dict[str, Any] = {}  # the limits as numbers


class Changed(msgspec.Struct):
    """What holds of a process after a change."""

    limits: dict[str, str]
    warnings: list[str]
    values: dict[str, Any]


def group_of(child: Child) -> str:
    """Name the group that a child lives in."""
    if not child.pid:
        return child.name.replace("/", "-")
    leaf = f"w{child.number}" if child.role == "worker" else child.role
    return f"{child.pid}/{leaf}"


def _of_kind(asked: Limits, child: Child) -> Limits:
    """Give the limits of a child, a worker of a kind with a memory limit among them: the lower one holds."""
    if child.kind.memory is None:
        return asked
    return msgspec.structs.replace(asked, worker_memory=min(child.kind.memory, asked.worker_memory or child.kind.memory))


def _whose(child: Child, process: Process | None) -> str:
    """Say for which entries a worker is that has a limit of its own: " of ask, score"; "" for the others."""
    if process is None or child.kind.memory is None:
        return ""
    return " of " + ", ".join(sorted(entry for entry, kind in process.kinds.items() if kind == child.kind))


class Confinement:
    """The groups of this daemon on this host."""

    def __init__(self, backend: Backend, *, memory_limit: int, children: int = 0) -> None:
        self.backend = backend
        self._memory_limit = memory_limit  # bytes, all processes together
        self._children = children  # that a shared zygote may have at most
        self._held: dict[int, Caps] = {}  # of each process's group, as read back
        self._warned: dict[int, list[str]] = {}

    def limit_all(self, *, cpu: float) -> None:
        """Hold all processes together to the daemon's budget, as far as the host can; the bus has its own on top. Raises HostFailure."""
        holds = self.backend.holds
        memory = self._memory_limit + BUS_MEMORY if "memory" in holds else None
        swap = swap_total() if "swap" in self.backend.steers and memory is not None else 0  # each process has none unless it asks
        self.backend.change("", Caps(memory=memory, cpu=cpu if "cpu" in holds else None, swap=swap or None))

    def confine(self, child: Child, process: Process | None) -> Confined:
        """Move a child to its leaf, set what is set on it, and read all of it back. Raises HostFailure or RequestRefused where a limit does not hold."""
        asked, enforcement = (
            (process.spec.limits, process.spec.enforcement) if process is not None else (self._shared(child), "best-effort")
        )
        held: dict[str, str] = {}
        values: dict[str, Any] = {}
        warnings: list[str] = []
        group = group_of(child)
        if process is not None:
            whole, warnings = self._hold_process(process, asked, enforcement)
            held, values = limits.held_caps(whole, self.backend), limits.held_values(whole)
        asked = _of_kind(asked, child)
        role = "main" if child.role == "zygote" and process is not None else "command" if child.role == "probe" else child.role
        plan = limits.plan(asked, self.backend, role, enforcement=enforcement)
        caps = self.backend.create(group, plan.caps)
        self.backend.attach(group, child.os_pid)
        applied = limits.apply(plan, child.os_pid)
        if process is not None and process.spec.nice:
            if child.is_command:  # sets it on itself, as the one who may, and does not run where that fails
                niceness = f"{process.spec.nice}, by its main for itself"
            else:
                niceness = nice_text(process.spec.nice, set_niceness(lambda: [child.os_pid], process.spec.nice))
            if child.role == "main":
                held["nice"], values["nice"] = niceness, process.spec.nice
        name_of = f"worker_{{}}{_whose(child, process)}" if role == "worker" else "{}"
        own = {name_of.format(name): text for name, text in limits.held_caps(caps, self.backend).items()}
        values |= {name_of.format(name): value for name, value in limits.held_values(caps).items()} | applied.enforced.values
        return Confined({**held, **own, **applied.enforced.limits}, [*warnings, *applied.enforced.warnings], applied.left, values)

    def _shared(self, child: Child) -> Limits:
        """Give what holds a shared zygote: while it imports, and with room for its children once it forks."""
        memory = _SHARED_ZYGOTE.memory or 0
        return msgspec.structs.replace(_SHARED_ZYGOTE, memory=memory + self._children * _CHILD_SHARE) if child.ready_at else _SHARED_ZYGOTE

    def _hold_process(self, process: Process, asked: Limits, enforcement: str) -> tuple[Caps, list[str]]:
        if process.pid not in self._held:
            plan = self._plan(asked, enforcement)
            self._held[process.pid] = self.backend.create(str(process.pid), plan.caps)
            self._warned[process.pid] = list(plan.warnings)
        return self._held[process.pid], self._warned[process.pid]

    def _plan(self, asked: Limits, enforcement: str) -> limits.Plan:
        """Plan what holds a process as a whole (rule 2)."""
        if asked.memory is None and "memory" in self.backend.holds:
            asked = msgspec.structs.replace(asked, memory=self._memory_limit)
        return limits.plan(asked, self.backend, "process", enforcement=enforcement)

    def change(self, process: Process, before: Spec, children: list[Child]) -> Changed:
        """Put other limits in force on what lives, and read them back; raises HostFailure or RequestRefused, and everything is what it was then."""
        asked, enforcement = process.spec.limits, process.spec.enforcement
        group = str(process.pid)
        _check_use(self.backend, group, asked.memory)
        workers = [child for child in children if child.role == "worker"]
        for child in workers:
            _check_use(self.backend, group_of(child), _of_kind(asked, child).worker_memory)
        held = self._held.pop(process.pid, Caps())
        try:
            fresh = self._put(process, asked, enforcement, children)
            if process.spec.nice != before.nice:
                tasks = set_niceness(lambda: self.backend.members(group), process.spec.nice)
                fresh.limits["nice"], fresh.values["nice"] = nice_text(process.spec.nice, tasks), process.spec.nice
        except DadmsError:
            with contextlib.suppress(DadmsError):
                self._put(process, before.limits, "best-effort", children)
            self._held[process.pid] = held
            raise
        return fresh

    def _put(self, process: Process, asked: Limits, enforcement: str, children: list[Child]) -> Changed:
        plan = self._plan(asked, enforcement)
        held = self.backend.change(str(process.pid), plan.caps)
        self._held[process.pid], self._warned[process.pid] = held, list(plan.warnings)
        texts, values, warnings = limits.held_caps(held, self.backend), limits.held_values(held), list(plan.warnings)
        for child in children:
            role = {"zygote": "main", "probe": "command", "main": "command" if child.is_command else "main"}.get(child.role, child.role)
            own = limits.plan(_of_kind(asked, child), self.backend, role, enforcement=enforcement)
            if child.role == "worker":
                caps = self.backend.change(group_of(child), own.caps)
                whose = f"worker_{{}}{_whose(child, process)}"
                texts |= {whose.format(name): text for name, text in limits.held_caps(caps, self.backend).items()}
                values |= {whose.format(name): value for name, value in limits.held_values(caps).items()}
            applied = limits.apply(own, child.os_pid)
            texts |= applied.enforced.limits
            values |= applied.enforced.values
            warnings += applied.enforced.warnings
            warnings += [
                f"{limit.resource} stays what it is: it is another user's process, and the daemon may not set it" for limit in applied.left
            ]
        return Changed(texts, list(dict.fromkeys(warnings)), values)

    def enclose_bus(self, os_pid: int) -> None:
        """Hold the bus to a memory cap of its own where the host can: hostile clients cost a restart of the bus at most."""
        if "memory" in self.backend.holds:
            plan = limits.plan(Limits(memory=BUS_MEMORY, files=None, core=None), self.backend, "server", enforcement="best-effort")
            self.backend.create(BUS, plan.caps)
            self.backend.attach(BUS, os_pid)

    def usage(self, pid: int, *, is_brief: bool = False) -> Usage | None:
        """Read what a process uses now, its workers included; briefly, without what it waits for."""
        try:
            return self.backend.usage(str(pid), is_brief=is_brief)
        except HostFailure:
            return None  # its group went away meanwhile

    def victim(self, child: Child, signal_number: int) -> str:
        """Say what the OOM killer had to do with an end; "" when nothing."""
        verdict = oom.attribute(None, oom.read(self.backend, group_of(child)), signal_number)
        return verdict.text if verdict is not None else ""

    def others_killed(self, child: Child, *, is_victim: bool) -> tuple[int, str]:
        """Count whom the OOM killer took of what a child started, itself not counted, and say why it did."""
        reading = oom.read(self.backend, group_of(child))
        verdict = oom.attribute(None, reading, signal.SIGKILL)
        count = reading.levels[0][1] - is_victim
        return (count, _BEYOND[verdict.where]) if verdict is not None and count > 0 else (0, "")

    def kill(self, pid: int) -> None:
        """Begin to end everything in the group of a process."""
        self.backend.kill(str(pid))

    def signal(self, pid: int, number: int, besides: int) -> None:
        """Send a signal to everything in the group of a process but one."""
        self.backend.signal(str(pid), number, besides)

    def freeze(self, pid: int) -> None:
        """Begin to stop everything in the group of a process where it stands."""
        self.backend.freeze(str(pid))

    def thaw(self, pid: int) -> None:
        """Let the group of a process go on."""
        self.backend.thaw(str(pid))

    def is_frozen(self, pid: int) -> bool:
        """Tell whether everything in the group of a process stands still."""
        try:
            return self.backend.is_frozen(str(pid))
        except HostFailure:
            return False

    def leave(self, child: Child) -> bool:
        """Remove the leaf of a child that ended; False while something that it left behind lives there."""
        return self.backend.remove(group_of(child))

    def clear(self, pid: int, *, may_kill: bool = True) -> bool:
        """End what is left of a process and remove its group; False while it is not gone: ask again."""
        group = str(pid)
        if not self.backend.is_empty(group):
            if not may_kill:
                return False
            self.backend.kill(group)
        self.backend.remove(f"{group}/main")  # first, so that nobody has to look what is below the group
        if not self.backend.remove(group):
            return False
        self._held.pop(pid, None)
        self._warned.pop(pid, None)
        return True

    def clear_strangers(self, known: set[str]) -> list[str]:
        """End and remove groups that nobody knows: an earlier daemon's. Give those that are not gone yet."""
        left = []
        for group in self.backend.groups():
            top = group.partition("/")[0]
            if top in known or top == BUS:
                continue
            if not self.backend.is_empty(group):
                self.backend.kill(group)
            if not self.backend.remove(group):
                left.append(group)
        return left

    def end_all(self) -> bool:
        """End everything in every group, the bus too, and undo the groups; False while something is left: ask again."""
        try:
            if self.clear_strangers(set()):
                return False
            if not self.backend.is_empty(BUS):
                self.backend.kill(BUS)
            return self.backend.remove(BUS) and self.backend.dismantle()
        except HostFailure:
            return False


def _check_use(backend: Backend, group: str, memory: int | None) -> None:
    """Refuse a memory limit below what is in use: cgroup v2 would take it, and kill somebody."""
    usage = backend.usage(group) if memory is not None and "memory" in backend.holds else None
    if usage is not None and memory is not None and usage.memory > memory:
        raise HostFailure(f'a memory limit of {size_text(memory)} asked, "{group}" uses {size_text(usage.memory)} now')
