"""What a storm does to a worker at an instant that nobody chose: kill it, have it stand still for a while, or take its memory away.

Memory is taken by a neighbour in its own group, while the OOM killer is pointed at the worker: so that one dies of it wherever it is, in an entry, between two threads, or while it reads a batch or writes a result.
"""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

STANDS = 0.15  # seconds that a stopped worker stands still: longer than the kernel waits before it looks at a page
PATIENCE = 10.0  # seconds that the neighbour may take; the OOM killer needs milliseconds

NEIGHBOUR = """
import mmap, os, pathlib, select, sys
leaf, worker = sys.argv[1], os.pidfd_open(int(sys.argv[2]))
pathlib.Path("/proc", sys.argv[2], "oom_score_adj").write_text("1000")
pathlib.Path(leaf, "cgroup.procs").write_text(str(os.getpid()))
kept = []
while not select.select([worker], [], [], 0.0)[0]:
    kept.append(mmap.mmap(-1, 1 << 20))
    kept[-1].write(bytes(1 << 20))
"""


class Blows:
    """The workers that were hurt."""

    def __init__(self) -> None:
        self.deadly = 0  # workers that were killed, or whose memory was taken
        self.counts = {"killed": 0, "stopped": 0, "starved": 0}
        self._standing: list[tuple[float, int]] = []  # until when, pidfd

    def strike(self, how: str, worker: int) -> None:
        """Hurt a worker; one that has ended meanwhile is let alone."""
        try:
            pidfd = os.pidfd_open(worker)
        except ProcessLookupError:
            return
        try:
            if how == "killed":
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            elif how == "starved":
                if not starve(worker, pidfd):
                    return
            else:
                signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
                self._standing.append((time.monotonic() + STANDS, os.dup(pidfd)))
        except ProcessLookupError:
            return
        finally:
            os.close(pidfd)
        self.counts[how] += 1
        self.deadly += how != "stopped"

    def let_go_on(self, *, now: bool = False) -> None:
        """Have those go on that stood still for long enough, or all."""
        for until, pidfd in list(self._standing):
            if now or until <= time.monotonic():
                self._standing.remove((until, pidfd))
                try:
                    signal.pidfd_send_signal(pidfd, signal.SIGCONT)
                except ProcessLookupError:
                    pass  # killed meanwhile
                finally:
                    os.close(pidfd)


def starve(worker: int, pidfd: int) -> bool:
    """Have a neighbour eat what a worker's group may have; True when the worker died of it."""
    neighbour = subprocess.Popen([sys.executable, "-S", "-c", NEIGHBOUR, str(memory_group(worker)), str(worker)], stderr=subprocess.DEVNULL)
    try:
        neighbour.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        neighbour.kill()
        neighbour.wait()
    return bool(select.select([pidfd], [], [], 0.0)[0])


def memory_group(pid: int) -> Path:
    """Give the directory of the group that a process's memory is charged to (cgroups(7), proc(5)); raises ProcessLookupError when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        raise ProcessLookupError(pid) from None
    paths = {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines)}
    is_v1 = next((controllers for controllers in paths if "memory" in controllers.split(",")), "")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, source = line.partition(" - ")
        root, point = fields.split(" ")[3:5]
        kind, _, options = source.split(" ", 2)
        if (kind == "cgroup" and "memory" in options.split(",")) if is_v1 else kind == "cgroup2":
            return Path(point, paths[is_v1].removeprefix(root.rstrip("/")).lstrip("/"))
    raise ProcessLookupError(pid)
