"""The servers of a keeper that was killed: waited for, before theirs are started anew.

1. Servers end by themselves when their keeper is gone, the kernel after it has ended every process; until then they hold journal, sockets and cgroups.
2. The keeper writes who its servers are into ``servers`` of the runtime directory: name, pid, and start time in ticks, without which a pid proves nothing.
3. The next keeper waits for those that still live, and kills them when they take too long. After an orderly end there is no such file.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path

PATIENCE = 7.0  # seconds: a kernel gives itself 5 s to end everything


def record(directory: Path, running: Iterable[tuple[str, int]]) -> None:
    """Write down the running servers, as names and pids; raises OSError."""
    lines = [f"{name} {pid} {ticks}\n" for name, pid in running if (ticks := start_ticks(pid))]
    fresh = directory / "servers.new"
    fresh.write_text("".join(lines), encoding="ascii")
    fresh.replace(directory / "servers")


def await_end(directory: Path, patience: float = PATIENCE) -> list[str]:
    """Wait until no server of an earlier keeper lives; gives the names of those that had to be killed."""
    fds = dict(_living(directory))
    deadline = time.monotonic() + patience
    _await(fds, deadline)
    killed = [name for _, name in fds.items()]
    for fd in fds:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
    _await(fds, time.monotonic() + 1.0)
    for fd in fds:
        os.close(fd)
    return killed


def _living(directory: Path) -> Iterable[tuple[int, str]]:
    """Give a pidfd and a name for each that lives."""
    try:
        lines = (directory / "servers").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        name, _, rest = line.partition(" ")
        pid, _, ticks = rest.partition(" ")
        if not pid.isdecimal() or not ticks.isdecimal() or int(pid) < 2:
            continue
        try:
            fd = os.pidfd_open(int(pid))
        except (OSError, OverflowError):
            continue
        if start_ticks(int(pid)) == int(ticks):  # looked at while the pidfd holds on to whoever has the pid now
            yield fd, name
        else:
            os.close(fd)


def _await(fds: dict[int, str], deadline: float) -> None:
    """Wait until all have ended or the deadline has passed; those that have are closed and taken out."""
    while fds and (left := deadline - time.monotonic()) > 0:
        poll = select.poll()
        for fd in fds:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(left * 1000):
            del fds[fd]
            os.close(fd)


def start_ticks(pid: int) -> int:
    """Give field 22 of /proc/PID/stat, 0 for a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0
