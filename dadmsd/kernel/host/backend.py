"""What the kernel's shell asks of the host, whichever kind of groups it has.

Rules for every backend:

1. Groups are named below the instance: ``1001`` holds the caps of a process, ``1001/main`` and ``1001/w3`` are its leaves, ``zygote-3`` and ``bus`` stand alone.
   Processes live in leaves only, also where an old hierarchy would allow more.
2. Nothing waits and nothing reads a clock: what takes time (an end, a freeze) is started, and asked about later; ``watch_path`` says what to watch meanwhile.
3. What is set is read back; a difference is a HostFailure with both numbers. So is everything else that the host refuses.
4. Each operation may be repeated: a new kernel does not know how far the last one came.
"""

from collections.abc import Iterable
from typing import Protocol

from dadmsd.kernel.host.caps import Caps, Usage


class Backend(Protocol):
    """Groups of processes on this host."""

    kind: str  # "cgroup v2", "cgroup v1", "rlimits"
    holds: frozenset[str]  # of CONTROLLERS: the caps that this backend enforces for a whole group
    steers: frozenset[str]  # of STEERED: what else it can set
    ends_trees: bool  # whether ``kill`` reaches a process that left its session and its parent
    outlives_kernels: bool  # whether groups, their members and caps are the host's, so that a new kernel finds them as they were
    reasons: tuple[str, ...]  # why nothing better is in use, one sentence each

    @property
    def name(self) -> str:
        """Say what people are shown: the kind, and what it lacks."""
        ...

    def create(self, group: str, caps: Caps) -> Caps:
        """Make a group with these caps and give them as read back; what was made is removed again when one does not hold."""
        ...

    def change(self, group: str, caps: Caps) -> Caps:
        """Set all caps of a group anew (None lifts one) and give them as read back."""
        ...

    def attach(self, group: str, pid: int) -> None:
        """Move a process into a leaf, and verify that it is there. Memory that it holds stays charged where it was."""
        ...

    def usage(self, group: str, *, is_brief: bool = False) -> Usage | None:
        """Read what a group uses, briefly without victims, throttling and pressure, which take as long again; None when there is no such group."""
        ...

    def refusals(self, group: str) -> tuple[int, int]:
        """Count the victims of the OOM killer in this very group, and how often its own memory cap stopped an allocation."""
        ...

    def kill(self, group: str) -> None:
        """Begin to end everything in a group, frozen or not."""
        ...

    def signal(self, group: str, number: int, besides: int) -> None:
        """Send a signal to everything that is in a group now, but for the process ``besides``."""
        ...

    def members(self, group: str) -> list[int]:
        """List the processes that are in a group now, as far as they can be seen."""
        ...

    def is_empty(self, group: str) -> bool:
        """Tell whether nothing lives in a group; a group that is not there is empty."""
        ...

    def remove(self, group: str) -> bool:
        """Remove a group and its leaves; False while something still lives there: ask again later."""
        ...

    def freeze(self, group: str) -> None:
        """Begin to stop every process of a group where it stands."""
        ...

    def thaw(self, group: str) -> None:
        """Let a frozen group go on."""
        ...

    def is_frozen(self, group: str) -> bool:
        """Tell whether every process of a group stands still."""
        ...

    def groups(self) -> list[str]:
        """Name every group of the instance that exists, parents first: after a crash, what was left over. The servers' own is not among them."""
        ...

    def watch_path(self, group: str) -> str | None:
        """Give a file to watch with inotify (IN_MODIFY) for the end or the freeze of a group; None where there is none."""
        ...

    def enclose_servers(self, pids: Iterable[int]) -> None:
        """Move the daemon's own servers out of the way of the groups, where the host demands it."""
        ...

    def dismantle(self) -> bool:
        """Undo everything that detection made, once all groups are removed; False when some group is still in use."""
        ...
