"""What the v2 hierarchy does without any controller: end, freeze, count and watch a whole group (cgroups(7), kernel documentation "cgroup-v2").

It is there on a pure v2 host and beside the v1 controllers of an older set-up, so both backends stand on it. ``cgroup.kill`` (Linux 5.14) reaches every
process below a group at once, frozen ones too, and no fork escapes it; on an older kernel the group is frozen first, so that nobody forks while the list is
worked off, and SIGKILL ends what is frozen in v2.
"""

import contextlib

from dadms_ipc.errors import HostFailure
from dadmsd.kernel.host.steering import pressure
from dadmsd.kernel.host.tree import Tree

PRESSURES = ("cpu", "memory", "io")


class Unified:
    """The v2 side of a backend; every method takes the name of a group below the instance."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.has_kill = tree.has("cgroup.kill")  # the tree's own directory is a group that we made, so it has one

    def make(self, group: str) -> bool:
        """Make a group; False when it was there already."""
        return self.tree.make(group)

    def kill(self, group: str) -> None:
        """Begin to end everything in a group; ``is_empty`` tells when it has ended."""
        try:
            if self.has_kill:
                self.tree.write(group, "cgroup.kill", "1")
                return
            self.tree.write(group, "cgroup.freeze", "1")
        except FileNotFoundError:  # the group is gone, and nobody with it
            return
        except OSError as error:
            raise HostFailure(f'cannot end what runs in "{group}": {error.strerror}') from error
        try:
            if not self.tree.kill_listed(group):
                raise HostFailure(f'cannot end what runs in "{group}": it forks faster than it is killed')
        finally:
            with contextlib.suppress(OSError):
                self.tree.write(group, "cgroup.freeze", "0")

    def is_empty(self, group: str) -> bool:
        """Tell whether nothing lives in a group or below it; zombies do not count."""
        return self.tree.field(group, "cgroup.events", "populated") in (0, None)

    def freeze(self, group: str, wanted: bool) -> None:
        """Begin to freeze a group, or to thaw it; ``is_frozen`` tells what it is now."""
        try:
            self.tree.write(group, "cgroup.freeze", "1" if wanted else "0")
        except OSError as error:
            raise HostFailure(f'cannot {"freeze" if wanted else "thaw"} "{group}": {error.strerror}') from error

    def is_frozen(self, group: str) -> bool:
        """Tell whether every task of a group stands still."""
        return self.tree.field(group, "cgroup.events", "frozen") == 1

    def cpu_seconds(self, group: str) -> float:
        """Give the CPU time of everything that ever ran in a group; v2 counts it without the cpu controller."""
        return (self.tree.field(group, "cpu.stat", "usage_usec") or 0) / 1e6

    def pressure(self, group: str) -> dict[str, float]:
        """Read what the tasks of a group wait for; v2 measures it without any controller."""
        found = {name: pressure(self.tree.read(group, f"{name}.pressure")) for name in PRESSURES}
        return {name: value for name, value in found.items() if value is not None}

    def watch_path(self, group: str) -> str:
        """Give the file whose inotify IN_MODIFY says that the group became empty or frozen."""
        return f"{self.tree.directory}/{group}/cgroup.events"
