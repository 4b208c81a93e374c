"""Processes as /proc shows them: who descends from whom, who is in which session, and what they use (proc(5)).

A number is not a process: it is reused. A process is its number with its start time, and a signal goes through a pidfd that was compared with both.
"""

import contextlib
import os
import signal
from collections.abc import Iterable
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")  # clock ticks a second in /proc/PID/stat
_PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes
_DEAD = frozenset("ZXx")  # states of a process that only waits to be reaped


class Seen(NamedTuple):
    """One living process."""

    pid: int
    parent: int
    session: int
    start: int  # clock ticks since boot: field 22
    state: str  # one letter: "R", "S", "T" …
    threads: int
    cpu_seconds: float  # with the children that it waited for
    resident: int  # bytes


def look(pid: int) -> Seen | None:
    """Read one process; None when it is gone or only waits to be reaped."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(fd, 4096).decode("utf-8", "replace")
    except OSError:  # ESRCH: it ended between the two calls
        return None
    finally:
        os.close(fd)
    fields = text[text.rindex(")") + 2 :].split()  # the name before may hold blanks and brackets; fields[0] is field 3
    if fields[0] in _DEAD:
        return None
    return Seen(
        pid=pid,
        parent=int(fields[1]),
        session=int(fields[3]),
        start=int(fields[19]),
        state=fields[0],
        threads=int(fields[17]),
        cpu_seconds=sum(map(int, fields[11:15])) / _TICKS,
        resident=int(fields[21]) * _PAGE,
    )


def exists(pid: int, start: int) -> bool:
    """Tell whether this very process exists, be it as a zombie that waits to be reaped."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        text = os.read(fd, 4096).decode("utf-8", "replace")
    except OSError:  # ESRCH: it was reaped between the two calls
        return False
    finally:
        os.close(fd)
    return int(text[text.rindex(")") + 2 :].split()[19]) == start


def all_processes() -> dict[int, Seen]:
    """Read every living process."""
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    return {pid: seen for pid in pids if (seen := look(pid))}


def family(everyone: dict[int, Seen], known: dict[int, int], leaders: dict[int, int]) -> dict[int, Seen]:
    """Give those of ``everyone`` who belong to a tree.

    ``known`` has members that were seen before and ``leaders`` the processes whose sessions belong to it, both as pid to start time. A member is one of them,
    a child of a member, or in the session of a leader, unless the leader's number was given to somebody else meanwhile.
    """
    sessions = {pid for pid, start in leaders.items() if (seen := everyone.get(pid)) is None or seen.start == start}
    members = {
        pid: seen
        for pid, seen in everyone.items()
        if known.get(pid) == seen.start or leaders.get(pid) == seen.start or seen.session in sessions
    }
    fresh = set(members)
    while fresh:
        fresh = {pid for pid, seen in everyone.items() if seen.parent in fresh and pid not in members}
        members.update({pid: everyone[pid] for pid in fresh})
    return members


def send(targets: Iterable[Seen], number: signal.Signals) -> None:
    """Signal these very processes; those that are gone are passed over, PermissionError is the caller's."""
    for target in targets:
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(target.pid)
            try:
                now = look(target.pid)
                if now and now.start == target.start:
                    signal.pidfd_send_signal(fd, number)
            finally:
                os.close(fd)
