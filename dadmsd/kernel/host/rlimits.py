"""Groups where the host delegates no cgroup: a group is what can be found in /proc, and limits are those of each OS process.

1. A group's processes are those attached to it, their sessions, and whoever descends from them. A process that left both its session and its parent before it
   was ever seen has escaped: ``ends_trees`` is False, and whoever shows the backend says so.
2. Nothing here can hold a whole group to a cap, so ``holds`` is empty; what rlimits can do is decided in limits.py.
3. Freezing is SIGSTOP, and being frozen is state T of every process. Ending stops everybody first, so that nobody forks away while the list is worked off.
4. A new kernel knows no members: it attaches the living again.
"""

import signal
from collections.abc import Iterable

from dadms_ipc.errors import HostFailure
from dadmsd.kernel.host.caps import CONTROLLERS, Caps, Usage
from dadmsd.kernel.host.processes import Seen, all_processes, family, look, send

_ROUNDS = 32  # looks at /proc until nobody new is found; each finds only what was forked since the one before
_STOPPED = frozenset("Tt")


class Rlimits:
    """A backend without cgroups."""

    kind = "rlimits"
    name = "rlimits only (no delegated cgroup)"
    holds: frozenset[str] = frozenset()
    steers: frozenset[str] = frozenset()
    ends_trees = False
    outlives_kernels = False

    def __init__(self, *, reasons: tuple[str, ...] = ()) -> None:
        self.reasons = reasons
        self._groups: dict[str, dict[int, int]] = {}  # leaf -> leaders: pid to start time
        self._known: dict[str, dict[int, int]] = {}  # leaf -> members at the last look
        self._most: dict[str, tuple[int, float]] = {}  # group -> memory peak in bytes, CPU seconds: neither ever falls

    def create(self, group: str, caps: Caps) -> Caps:
        """Remember a group; it can have no caps."""
        refused = [name for name in CONTROLLERS if getattr(caps, name) is not None]
        if refused:
            raise HostFailure(f'cannot cap {", ".join(refused)} of "{group}": no cgroup is delegated to the daemon')
        self._groups.setdefault(group, {})
        self._known.setdefault(group, {})
        return Caps()

    def change(self, group: str, caps: Caps) -> Caps:
        """Remember a group; it can have no caps."""
        return self.create(group, caps)

    def attach(self, group: str, pid: int) -> None:
        """Count a process, its session if it leads one, and its descendants to a leaf."""
        seen = look(pid)
        if seen is None:
            raise HostFailure(f'cannot put process {pid} into "{group}": there is no such process')
        if group not in self._groups:
            raise HostFailure(f'cannot put process {pid} into "{group}": there is no such group')
        self._groups[group][pid] = seen.start  # a leader also before it called setsid(2): nobody else has its number as a session

    def _members(self, group: str, everyone: dict[int, Seen] | None = None) -> dict[int, Seen]:
        """Find the living members of a group and its leaves, and remember them."""
        everyone = all_processes() if everyone is None else everyone
        found: dict[int, Seen] = {}
        for name in self._within(group):
            members = family(everyone, self._known[name], self._groups[name])
            self._known[name] = {pid: seen.start for pid, seen in members.items()}
            found |= members
        return found

    def _seen_before(self, group: str) -> dict[int, Seen]:
        """Find those of the known members of a group that still live."""
        found: dict[int, Seen] = {}
        for name in self._within(group):
            for pid, start in (self._groups[name] | self._known[name]).items():
                seen = look(pid)
                if seen is not None and seen.start == start:
                    found[pid] = seen
        return found

    def _within(self, group: str) -> list[str]:
        return [name for name in self._groups if not group or name == group or name.startswith(f"{group}/")]

    def usage(self, group: str, *, is_brief: bool = False) -> Usage | None:
        """Add up what the living use; a page that several share is counted for each, and CPU time of the dead only if they were waited for.

        Briefly, of those that were seen before: nobody looks through all of /proc for each process of a list.
        """
        if group not in self._groups:
            return None
        members = (self._seen_before(group) if is_brief else self._members(group)).values()
        memory = sum(seen.resident for seen in members)
        peak, seconds = self._most.get(group, (0, 0.0))
        most = (max(peak, memory), max(seconds, sum(seen.cpu_seconds for seen in members)))
        self._most[group] = most
        return Usage(memory, most[0], most[1], sum(seen.threads for seen in members), 0)

    def refusals(self, group: str) -> tuple[int, int]:  # noqa: ARG002 -- the protocol of all backends
        """Count nothing: rlimits refuse inside the process, and nobody counts the host's victims by group."""
        return (0, 0)

    def kill(self, group: str) -> None:
        """Stop everybody that is found until nobody new is, then end them."""
        hit: dict[int, int] = {}
        members: dict[int, Seen] = {}
        for _ in range(_ROUNDS):
            members = self._members(group)
            fresh = [seen for pid, seen in members.items() if hit.get(pid) != seen.start]
            if not fresh:
                break
            self._signal(group, fresh, signal.SIGSTOP)
            hit |= {seen.pid: seen.start for seen in fresh}
        self._signal(group, members.values(), signal.SIGKILL)

    def _signal(self, group: str, targets: Iterable[Seen], number: signal.Signals) -> None:
        try:
            send(targets, number)
        except PermissionError as error:
            raise HostFailure(f'cannot send {number.name} to a process of "{group}": it runs as another user') from error

    def signal(self, group: str, number: int, besides: int) -> None:
        """Send a signal to everything in a group but one process."""
        self._signal(group, [seen for pid, seen in self._members(group).items() if pid != besides], signal.Signals(number))

    def members(self, group: str) -> list[int]:
        """List the processes of a group."""
        return list(self._members(group))

    def is_empty(self, group: str) -> bool:
        """Tell whether no member is found any more."""
        return not self._members(group)

    def remove(self, group: str) -> bool:
        """Forget a group and its leaves."""
        if self._members(group):
            return False
        for name in self._within(group):
            del self._groups[name], self._known[name]
            self._most.pop(name, None)
        return True

    def freeze(self, group: str) -> None:
        """Stop every member."""
        self._signal(group, self._members(group).values(), signal.SIGSTOP)

    def thaw(self, group: str) -> None:
        """Continue every member."""
        self._signal(group, self._members(group).values(), signal.SIGCONT)

    def is_frozen(self, group: str) -> bool:
        """Tell whether every member is in state T."""
        return all(seen.state in _STOPPED for seen in self._members(group).values())

    def groups(self) -> list[str]:
        """Name the groups that this kernel made: none outlives it."""
        return sorted(self._groups)

    def watch_path(self, group: str) -> str | None:  # noqa: ARG002 -- the protocol of all backends
        """Give nothing: the end is known by the pidfds of the processes, a freeze by asking."""
        return None

    def enclose_servers(self, pids: Iterable[int]) -> None:
        """Leave the servers where they are."""

    def dismantle(self) -> bool:
        """Leave nothing: nothing was made."""
        return not self._groups
