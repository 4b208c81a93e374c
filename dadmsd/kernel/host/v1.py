"""Groups on a host whose controllers are still bound to v1 hierarchies (kernel documentation "cgroup-v1").

1. A group is several directories. A process's group has one in every hierarchy that caps something; a leaf has one in the memory hierarchy (its own limit and
   its own count of OOM victims) and one where groups are ended and frozen. For CPU and tasks a leaf's process lives in the nearest group above.
2. Ending, freezing and CPU time come from the v2 hierarchy that such hosts mount beside (``cgroup.kill``). Where there is none, the freezer and cpuacct
   controllers do it: v1 lets no frozen process die, so a group is frozen, killed one by one, and thawed to die.
3. Memory means memory and swap: where swap is accounted (``memory.memsw``), its limit is a hair above the one on memory, or above both where swap was asked for.
   Equal limits would refuse a charge in the counter that Linux 6.18 no longer counts refusals of, and nobody could tell whose limit it was.
4. Refused charges (``failcnt``) stand in for the OOM events that only v2 counts per group: they say whose limit was hit.
"""

import contextlib
import os
from collections.abc import Iterable

from dadms_ipc.errors import HostFailure
from dadmsd.kernel.host.caps import CPU_PERIOD, PAGE, STEERED, Caps, Usage, page_rounded, quota, same, size_text
from dadmsd.kernel.host.mounts import memberships
from dadmsd.kernel.host.steering import SHARES, shares
from dadmsd.kernel.host.tree import Tree
from dadmsd.kernel.host.unified import Unified

_UNLIMITED = {"memory": "-1", "cpu": "-1", "pids": "max"}
_MEMORY, _SWAP = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
_SWAP_GAP = (
    64 * PAGE
)  # bytes of swap beyond the memory: one batch of charges (MEMCG_CHARGE_BATCH), so that the memory counter always refuses first
_MEMBERSHIP_SIZE = 64 * 1024  # bytes: a line a hierarchy, each at most a path long
_FREEZING_LOOKS = 1000  # readings of freezer.state, microseconds apart, before a kill goes on without a full freeze


class V1:
    """A backend over v1 hierarchies; ``trees`` has those of "memory", "cpu", "pids", "freezer" and "cpuacct" that work here."""

    kind = "cgroup v1"
    outlives_kernels = True

    def __init__(self, trees: dict[str, Tree], paths: dict[str, str], unified: Unified | None, *, reasons: tuple[str, ...] = ()) -> None:
        self._trees = trees
        self._unified = unified
        self.holds = frozenset(trees) & frozenset(_UNLIMITED)
        missing = [name for name in _UNLIMITED if name not in trees]
        self.name = f"{self.kind} (no {', no '.join(missing)})" if missing else self.kind
        self.ends_trees = unified is not None or "freezer" in trees
        self.reasons = reasons
        self._ending = "" if unified else "freezer" if "freezer" in trees else next(iter(trees))
        self._by_leaf = {
            name: tree for name, tree in trees.items() if name == "memory" or (unified is None and name in ("freezer", "cpuacct"))
        }
        self._by_group = {name: tree for name, tree in trees.items() if name in ("cpu", "pids")}
        self._paths = paths  # of the instance's directory, by controller, as /proc/PID/cgroup writes them; "" is v2's
        self._has_swap = "memory" in trees and trees["memory"].has(_SWAP)
        self.steers = frozenset(name for name, is_there in (("swap", self._has_swap), ("cpu_weight", "cpu" in trees)) if is_there)

    def create(self, group: str, caps: Caps) -> Caps:
        """Make the directories of a group and set its caps."""
        wanted = {"cpu": caps.cpu, "pids": caps.pids}
        is_leaf = "/" in group
        made: list[Tree] = []
        try:
            if self._unified and self._unified.make(group):
                made.append(self._unified.tree)
            for tree in self._by_leaf.values():
                if tree.make(group):
                    made.append(tree)
            for name, tree in self._by_group.items():
                if (not is_leaf or wanted[name] is not None) and tree.make(group):
                    made.append(tree)
            return self._set(group, caps, is_fresh=bool(made))
        except HostFailure:
            for tree in reversed(made):
                with contextlib.suppress(HostFailure):
                    tree.remove(group)
            raise

    def change(self, group: str, caps: Caps) -> Caps:
        """Set every cap of a group anew; v1 refuses a memory limit under what cannot be reclaimed."""
        for name in _UNLIMITED:
            if getattr(caps, name) is None and name in self._trees and self._trees[name].has(group):
                self._lift(group, name)
        if caps.cpu_weight is None and "cpu" in self._trees and self._trees["cpu"].has(group):
            self._trees["cpu"].set(group, "cpu.shares", str(SHARES))
        return self._set(group, caps, is_fresh=False)

    def _set(self, group: str, caps: Caps, *, is_fresh: bool) -> Caps:
        for name in _UNLIMITED:
            if getattr(caps, name) is not None and name not in self._trees:
                raise HostFailure(f'cannot cap {name} of "{group}": no v1 hierarchy of that controller can be used')
        for name in STEERED:
            if getattr(caps, name) and name not in self.steers:
                raise HostFailure(f'cannot set {name} of "{group}": cgroup v1 has no such thing here')
        memory, cpu, pids = caps.memory, caps.cpu, caps.pids
        if caps.swap and memory is None:
            raise HostFailure(
                f'cannot give "{group}" {size_text(caps.swap)} of swap: cgroup v1 bounds memory and swap together, so memory needs a limit too'
            )
        if memory is not None:
            memory = self._set_memory(group, page_rounded(memory), page_rounded(caps.swap or 0) + _SWAP_GAP, is_fresh=is_fresh)
        if cpu is not None:
            tree = self._trees["cpu"]
            period = tree.number(group, "cpu.cfs_period_us")
            if period != CPU_PERIOD:
                same(group, "cpu.cfs_period_us", CPU_PERIOD, tree.set(group, "cpu.cfs_period_us", str(CPU_PERIOD)))
            time = quota(cpu)
            cpu = same(group, "cpu.cfs_quota_us", time, tree.set(group, "cpu.cfs_quota_us", str(time))) / CPU_PERIOD
        if pids is not None:
            pids = same(group, "pids.max", pids, self._trees["pids"].set(group, "pids.max", str(pids)))
        if caps.cpu_weight is not None:
            wanted = shares(caps.cpu_weight)
            same(group, "cpu.shares", wanted, self._trees["cpu"].set(group, "cpu.shares", str(wanted)))
        return Caps(memory, cpu, pids, swap=caps.swap, cpu_weight=caps.cpu_weight)

    def _set_memory(self, group: str, size: int, beside: int, *, is_fresh: bool) -> int:
        """Set the limits on memory and on memory with swap; the second is never under the first, so the order is that of the direction."""
        tree = self._trees["memory"]
        steps = [(_MEMORY, size), (_SWAP, size + beside)] if self._has_swap else [(_MEMORY, size)]
        if self._has_swap and not is_fresh and size > (tree.number(group, _SWAP) or 0):
            steps.reverse()
        for file, value in steps:
            try:
                same(group, file, value, tree.set(group, file, str(value)))
            except HostFailure as error:
                in_use = tree.number(group, "memory.usage_in_bytes") or 0
                if in_use <= size:
                    raise
                raise HostFailure(f"{error} ({in_use} bytes are in use)") from error
        return size

    def _lift(self, group: str, name: str) -> None:
        tree = self._trees[name]
        if name == "memory":
            for file in (_SWAP, _MEMORY) if self._has_swap else (_MEMORY,):
                tree.set(group, file, _UNLIMITED[name])
        else:
            tree.set(group, "cpu.cfs_quota_us" if name == "cpu" else "pids.max", _UNLIMITED[name])

    def attach(self, group: str, pid: int) -> None:
        """Move a process into its place in each hierarchy, then compare /proc/PID/cgroup with it."""
        text = str(pid)
        expected: list[str] = []
        try:
            for name, tree in self._by_group.items():
                place = group
                try:
                    tree.write(place, "cgroup.procs", text)
                except FileNotFoundError:  # a leaf without a cap of its own
                    place = group.partition("/")[0]
                    tree.write(place, "cgroup.procs", text)
                expected.append(f"{name}:{self._paths[name]}/{place}")
            for name, tree in self._by_leaf.items():
                tree.write(group, "cgroup.procs", text)
                expected.append(f"{name}:{self._paths[name]}/{group}")
            if self._unified:
                self._unified.tree.write(group, "cgroup.procs", text)
                expected.append(f":{self._paths['']}/{group}")
            found = _membership(pid)
        except OSError as error:
            raise HostFailure(f'cannot move process {pid} into "{group}": {error.strerror}') from error
        for line in expected:
            name, _, path = line.partition(":")
            if found.get(name) != path:
                raise HostFailure(f'cannot move process {pid} into "{group}": it is in {found.get(name)} of {name or "v2"}, not in {path}')

    def usage(self, group: str, *, is_brief: bool = False) -> Usage | None:
        """Read the counters of a group."""
        memory, peak = 0, 0
        if tree := self._trees.get("memory"):
            now = tree.number(group, "memory.usage_in_bytes")
            if now is None:
                return None
            memory, peak = now, tree.number(group, "memory.max_usage_in_bytes") or now
        elif not self._ender().has(group):
            return None
        pids = self._trees["pids"].number(group, "pids.current") if "pids" in self._trees else None
        if pids is None:
            pids = len(self._ender().pids(group))
        if is_brief:
            return Usage(memory, peak, self._cpu_seconds(group), pids, 0)
        throttled = (self._trees["cpu"].field(group, "cpu.stat", "throttled_time") or 0) / 1e9 if "cpu" in self._trees else 0.0
        waits = self._unified.pressure(group) if self._unified else {}
        return Usage(memory, peak, self._cpu_seconds(group), pids, self.refusals(group)[0], throttled, waits)

    def _cpu_seconds(self, group: str) -> float:
        if self._unified:
            return self._unified.cpu_seconds(group)
        tree = self._trees.get("cpuacct")
        return (tree.number(group, "cpuacct.usage") or 0) / 1e9 if tree else 0.0

    def refusals(self, group: str) -> tuple[int, int]:
        """Read the victims of a group, and the charges that its limits refused."""
        tree = self._trees.get("memory")
        if tree is None:
            return (0, 0)
        victims = tree.field(group, "memory.oom_control", "oom_kill") or 0
        return (victims, tree.number(group, "memory.failcnt") or 0)

    def _ender(self) -> Tree:
        return self._unified.tree if self._unified else self._trees[self._ending]

    def kill(self, group: str) -> None:
        """End a group at once in v2, or frozen, killed and thawed in the freezer."""
        if self._unified:
            self._unified.kill(group)
            return
        tree = self._ender()
        if not tree.has(group):
            return
        if self._ending == "freezer":
            self.freeze(group)
            for _ in range(_FREEZING_LOOKS):  # a task in the middle of a system call freezes when it returns to user mode
                if self.is_frozen(group):
                    break
        try:
            if not tree.kill_listed(group):
                raise HostFailure(f'cannot end what runs in "{group}": it forks faster than it is killed')
        finally:
            if self._ending == "freezer":
                for name in [group, *tree.below(group)]:
                    self.thaw(name)

    def signal(self, group: str, number: int, besides: int) -> None:
        """Send a signal to everything in a group but one process."""
        self._ender().signal_listed(group, number, besides)

    def members(self, group: str) -> list[int]:
        """List the processes of a group."""
        return self._ender().pids(group)

    def is_empty(self, group: str) -> bool:
        """Tell whether nothing lives in a group."""
        return self._unified.is_empty(group) if self._unified else not self._ender().pids(group)

    def remove(self, group: str) -> bool:
        """Remove the directories of a group from every hierarchy."""
        results = [tree.remove(group) for tree in self._all()]
        return all(results)

    def _all(self) -> list[Tree]:
        return [*self._trees.values(), *([self._unified.tree] if self._unified else [])]

    def freeze(self, group: str) -> None:
        """Begin to freeze a group."""
        if self._unified:
            self._unified.freeze(group, wanted=True)
        else:
            self._freezer(group, "FROZEN")

    def thaw(self, group: str) -> None:
        """Thaw a group."""
        if self._unified:
            self._unified.freeze(group, wanted=False)
        else:
            self._freezer(group, "THAWED")

    def _freezer(self, group: str, state: str) -> None:
        if "freezer" not in self._trees:
            raise HostFailure(f'cannot freeze or thaw "{group}": neither a v2 hierarchy nor the v1 freezer can be used')
        try:
            self._trees["freezer"].write(group, "freezer.state", state)
        except OSError as error:
            raise HostFailure(f'cannot set "{group}" to {state}: {error.strerror}') from error

    def is_frozen(self, group: str) -> bool:
        """Tell whether every task of a group stands still."""
        if self._unified:
            return self._unified.is_frozen(group)
        tree = self._trees.get("freezer")
        return tree is not None and (tree.read(group, "freezer.state") or "").strip() == "FROZEN"

    def groups(self) -> list[str]:
        """Name every group that exists in any hierarchy, parents first."""
        found: dict[str, None] = {}
        for tree in self._all():
            found.update(dict.fromkeys(tree.below("")))
        return sorted(found)

    def watch_path(self, group: str) -> str | None:
        """Give the v2 events file of a group."""
        return self._unified.watch_path(group) if self._unified else None

    def enclose_servers(self, pids: Iterable[int]) -> None:
        """Leave the servers where they are: v1 lets processes and groups live side by side."""

    def dismantle(self) -> bool:
        """Remove the instance's directories."""
        if self.groups():
            return False
        results = [_dismantled(tree) for tree in self._all()]
        return all(results)


def _dismantled(tree: Tree) -> bool:
    if not tree.remove(""):
        return False
    tree.close()
    return True


def _membership(pid: int) -> dict[str, str]:
    fd = os.open(f"/proc/{pid}/cgroup", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return memberships(os.read(fd, _MEMBERSHIP_SIZE).decode())
    finally:
        os.close(fd)
