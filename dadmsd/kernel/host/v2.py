"""Groups in the unified hierarchy (kernel documentation "cgroup-v2").

1. No internal processes: a group that hands controllers down (``cgroup.subtree_control``) holds no process itself. The daemon's own cgroup hands them to the
   instance, so its servers first move to the leaf ``servers``; if anybody else stays behind, the host answers EBUSY and the controllers stay out of reach.
2. Controllers are handed down step by step: own cgroup, instance, and ``memory`` from a process's group to its leaves when the first leaf is made.
3. Memory means memory without a way around it: ``memory.swap.max`` is 0 where a memory cap is set and swap is accounted, unless swap was asked for.
4. ``memory.events.local`` counts for one group alone: ``oom_kill`` in the victim's, ``oom`` in the one whose limit was hit.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterable

from dadms_ipc.errors import HostFailure
from dadmsd.kernel.host.caps import CONTROLLERS, CPU_PERIOD, STEERED, Caps, IoCap, Usage, page_rounded, quota, same, size_text
from dadmsd.kernel.host.mounts import memberships
from dadmsd.kernel.host.steering import WEIGHT, io_held, io_line
from dadmsd.kernel.host.tree import Tree
from dadmsd.kernel.host.unified import Unified

SERVERS = "servers"
NOTHING_STEERED = Caps()[3:]
_CAP_FILES = {"memory": "memory.max", "cpu": "cpu.max", "pids": "pids.max"}


def membership(pid: int) -> str:
    """Give the v2 path of a process, as /proc/PID/cgroup writes it."""
    fd = os.open(f"/proc/{pid}/cgroup", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return memberships(os.read(fd, 64 * 1024).decode()).get("", "")
    finally:
        os.close(fd)


class V2:
    """A backend over the unified hierarchy; ``own`` is the daemon's own cgroup and ``tree`` the instance's directory below it."""

    kind = "cgroup v2"
    ends_trees = True
    outlives_kernels = True

    def __init__(self, own: Tree, tree: Tree, path: str, *, membership: Callable[[int], str] = membership) -> None:
        self._own = own
        self._tree = tree
        self._path = path  # of the instance's directory, as /proc/PID/cgroup writes it
        self._membership = membership
        self._peaks: dict[str, int] = {}  # bytes, where the host keeps none (memory.peak is Linux 5.19)
        self.unified = Unified(tree)
        self.holds: frozenset[str] = frozenset()
        self.reasons: tuple[str, ...] = ()
        self.steers: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Say what people are shown."""
        missing = [name for name in CONTROLLERS if name not in self.holds]
        return f"{self.kind} (no {', no '.join(missing)})" if missing else self.kind

    def enclose_servers(self, pids: Iterable[int]) -> None:
        """Move the servers to their leaf and hand every controller that there is down to the instance."""
        offered = (self._own.read("", "cgroup.controllers") or "").split()
        wanted = [name for name in CONTROLLERS if name in offered]
        if not wanted:
            self.reasons = (f"the daemon's cgroup {self._own.directory} has none of the controllers {', '.join(CONTROLLERS)} in v2",)
            return
        self._tree.make(SERVERS)
        here = set(self._own.pids_here(""))
        for pid in pids:
            if pid in here:
                with contextlib.suppress(ProcessLookupError):
                    self._write(SERVERS, "cgroup.procs", str(pid))
        refused: list[str] = []
        held: list[str] = []
        for name in wanted:
            try:
                self._hand_down(self._own, name)
                self._hand_down(self._tree, name)
                held.append(name)
            except HostFailure as error:
                refused.append(str(error))
        self.holds = frozenset(held)
        self.reasons = tuple(refused)
        if "io" in offered:  # nothing of what every process has needs it: a host without it lacks a rate, and no cap
            with contextlib.suppress(HostFailure):
                self._hand_down(self._own, "io")
                self._hand_down(self._tree, "io")
                held.append("io")
        self.steers = frozenset(name for name, controller in STEERED.items() if controller in held)

    def _hand_down(self, tree: Tree, controller: str, group: str = "") -> None:
        """Enable a controller for the groups directly below ``group``, and see it enabled."""
        if controller in (tree.read(group, "cgroup.subtree_control") or "").split():
            return
        try:
            tree.write(group, "cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            reason = error.strerror
            if error.errno == errno.EBUSY:
                reason = f"processes {', '.join(map(str, tree.pids_here(group)))} live in it"
            raise HostFailure(f"cannot hand {controller} down from {tree.directory}/{group}: {reason}") from error
        if controller not in (tree.read(group, "cgroup.subtree_control") or "").split():
            raise HostFailure(f"cannot hand {controller} down from {tree.directory}/{group}: it was written and is not there")

    def _write(self, group: str, file: str, text: str) -> None:
        try:
            self._tree.write(group, file, text)
        except ProcessLookupError:
            raise
        except OSError as error:
            raise HostFailure(f'cannot write {text} to {file} of "{group}": {error.strerror}') from error

    def create(self, group: str, caps: Caps) -> Caps:
        """Make a group and set its caps."""
        is_new = self._tree.make(group)
        parent, _, _ = group.rpartition("/")
        try:
            if parent and "memory" in self.holds:
                self._hand_down(self._tree, "memory", parent)
            return self._set(group, caps, lift=False)
        except HostFailure:
            if is_new:
                with contextlib.suppress(HostFailure):
                    self._tree.remove(group)
            raise

    def change(self, group: str, caps: Caps) -> Caps:
        """Set every cap of a group anew; a memory cap under what is in use is refused."""
        return self._set(group, caps, lift=True)

    def _set(self, group: str, caps: Caps, *, lift: bool) -> Caps:
        for name in CONTROLLERS:
            if getattr(caps, name) is not None and name not in self.holds:
                raise HostFailure(f'cannot cap {name} of "{group}": the controller is not delegated to the daemon')
            if lift and getattr(caps, name) is None and self._tree.read(group, _CAP_FILES[name]) is not None:
                self._tree.set(group, _CAP_FILES[name], f"max {CPU_PERIOD}" if name == "cpu" else "max")
        memory, cpu, pids = caps.memory, caps.cpu, caps.pids
        if memory is not None:
            if lift:
                self._make_room(group, page_rounded(memory))
            memory = self._number(group, "memory.max", page_rounded(memory))
        self._set_swap(group, caps, lift=lift)
        if cpu is not None:
            time = quota(cpu)
            found = self._tree.set(group, "cpu.max", f"{time} {CPU_PERIOD}")
            cpu = same(group, "cpu.max", time, found.partition(" ")[0]) / CPU_PERIOD
            same(group, "cpu.max (period)", CPU_PERIOD, found.partition(" ")[2])
        if pids is not None:
            pids = self._number(group, "pids.max", pids)
        steered = self._steer(group, caps) if lift or caps[3:] != NOTHING_STEERED else NOTHING_STEERED
        return Caps(memory, cpu, pids, *steered)

    def _make_room(self, group: str, size: int) -> None:
        """See to it that a group holds no more than its new cap, under which the host would kill it at once; raises HostFailure with the numbers."""
        held = self._tree.number(group, "memory.current") or 0
        if held <= size:
            return
        cached = 0  # bytes that the host takes back by itself
        try:
            self._tree.write(group, "memory.reclaim", str(held - size))  # Linux 5.19
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINTR):  # there is no such file; else it took back what it could
                cached = sum(self._tree.field(group, "memory.stat", f"{age}_file") or 0 for age in ("active", "inactive"))
        held = (self._tree.number(group, "memory.current") or 0) - cached
        if held > size:
            raise HostFailure(f'cannot set memory.max of "{group}" to {size}: too little can be given back ({held} bytes are in use)')

    def _set_swap(self, group: str, caps: Caps, *, lift: bool) -> None:
        """Bound swap: to what was asked, and to none where memory is capped and nothing was."""
        if caps.memory is None and caps.swap is None and not lift:
            return
        if self._tree.read(group, "memory.swap.max") is None:
            if caps.swap:
                raise HostFailure(f'cannot give "{group}" {size_text(caps.swap)} of swap: the host does not account for it')
        elif caps.memory is None and caps.swap is None:
            self._tree.set(group, "memory.swap.max", "max")
        else:
            self._number(group, "memory.swap.max", page_rounded(caps.swap or 0))

    def _steer(self, group: str, caps: Caps) -> tuple[int | None, int | None, int | None, tuple[IoCap, ...]]:
        """Set what steers a group anew, swap excepted, and give all of it as read back."""
        for name, controller in STEERED.items():
            if getattr(caps, name) and name not in self.steers:
                raise HostFailure(f'cannot set {name} of "{group}": the controller {controller} is not delegated to the daemon')
        high, weight = caps.memory_high, caps.cpu_weight
        if high is not None:
            high = self._number(group, "memory.high", page_rounded(high))
        elif self._tree.read(group, "memory.high") is not None:
            self._tree.set(group, "memory.high", "max")
        if weight is not None:
            weight = self._number(group, "cpu.weight", weight)
        elif self._tree.read(group, "cpu.weight") is not None:
            self._tree.set(group, "cpu.weight", str(WEIGHT))
        self._set_io(group, caps.io)
        return high, caps.swap, weight, caps.io

    def _set_io(self, group: str, wanted: tuple[IoCap, ...]) -> None:
        if "io" not in self.steers:
            return
        devices = {cap.device for cap in wanted}
        for line in (self._tree.read(group, "io.max") or "").splitlines():
            if line.split()[0] not in devices:
                self._write(group, "io.max", f"{line.split()[0]} rbps=max wbps=max riops=max wiops=max")
        for cap in wanted:
            line = io_line(cap)
            self._write(group, "io.max", line)
            found = io_held(self._tree.read(group, "io.max") or "", cap.device)
            if found != line and any(rate is not None for rate in cap[1:]):  # a device without any limit has no line
                raise HostFailure(f'cannot hold "{group}" to its limit: io.max was set to {line} and reads {found or "nothing"}')

    def _number(self, group: str, file: str, value: int) -> int:
        return same(group, file, value, self._tree.set(group, file, str(value)))

    def attach(self, group: str, pid: int) -> None:
        """Move a process into a leaf, then compare /proc/PID/cgroup with it."""
        try:
            self._tree.write(group, "cgroup.procs", str(pid))
            found = self._membership(pid)
        except OSError as error:
            raise HostFailure(f'cannot move process {pid} into "{group}": {error.strerror}') from error
        if found != f"{self._path}/{group}":
            raise HostFailure(f'cannot move process {pid} into "{group}": it is in {found}, not in {self._path}/{group}')

    def usage(self, group: str, *, is_brief: bool = False) -> Usage | None:
        """Read the counters of a group."""
        if not self._tree.has(group):
            return None
        memory = self._tree.number(group, "memory.current") or 0
        peak = self._tree.number(group, "memory.peak")
        if peak is None:
            peak = self._peaks[group] = max(memory, self._peaks.get(group, 0))
        pids = self._tree.number(group, "pids.current")
        if pids is None:
            pids = len(self._tree.pids(group))
        if is_brief:
            return Usage(memory, peak, self.unified.cpu_seconds(group), pids, 0)
        throttled = (self._tree.field(group, "cpu.stat", "throttled_usec") or 0) / 1e6
        victims = self.refusals(group)[0]
        return Usage(memory, peak, self.unified.cpu_seconds(group), pids, victims, throttled, self.unified.pressure(group))

    def refusals(self, group: str) -> tuple[int, int]:
        """Read the victims of a group, and the allocations that its own limit stopped for good."""
        victims = self._tree.field(group, "memory.events.local", "oom_kill") or 0
        return (victims, self._tree.field(group, "memory.events.local", "oom") or 0)

    def kill(self, group: str) -> None:
        """End a group."""
        self.unified.kill(group)

    def signal(self, group: str, number: int, besides: int) -> None:
        """Send a signal to everything in a group but one process."""
        self._tree.signal_listed(group, number, besides)

    def members(self, group: str) -> list[int]:
        """List the processes of a group."""
        return self._tree.pids(group)

    def is_empty(self, group: str) -> bool:
        """Tell whether nothing lives in a group."""
        return self.unified.is_empty(group)

    def remove(self, group: str) -> bool:
        """Remove a group and its leaves."""
        for name in [name for name in self._peaks if name == group or name.startswith(f"{group}/")]:
            del self._peaks[name]
        return self._tree.remove(group)

    def freeze(self, group: str) -> None:
        """Begin to freeze a group."""
        self.unified.freeze(group, wanted=True)

    def thaw(self, group: str) -> None:
        """Thaw a group."""
        self.unified.freeze(group, wanted=False)

    def is_frozen(self, group: str) -> bool:
        """Tell whether every task of a group stands still."""
        return self.unified.is_frozen(group)

    def groups(self) -> list[str]:
        """Name every group but the servers'."""
        return [name for name in self._tree.below("") if name != SERVERS]

    def watch_path(self, group: str) -> str | None:
        """Give the events file of a group."""
        return self.unified.watch_path(group)

    def dismantle(self) -> bool:
        """Take the controllers back, let the servers return to the daemon's own cgroup, and remove the instance."""
        if self.groups():
            return False
        is_root = self._own.read("", "cgroup.type") is None  # the root needs no emptying, and what it hands down was not ours
        for tree in (self._tree,) if is_root else (self._tree, self._own):
            for name in (tree.read("", "cgroup.subtree_control") or "").split():
                if name in (*CONTROLLERS, "io"):
                    with contextlib.suppress(OSError):  # a neighbour of ours may use it still; then the move below is refused
                        tree.write("", "cgroup.subtree_control", f"-{name}")
        for pid in self._tree.pids(SERVERS) if self._tree.has(SERVERS) else []:
            try:
                self._own.write("", "cgroup.procs", str(pid))
            except ProcessLookupError:
                continue
            except OSError:
                return False
        if not self._tree.remove(""):
            return False
        self._tree.close()
        self._own.close()
        return True
