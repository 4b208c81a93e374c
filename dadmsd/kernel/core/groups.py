"""Groups: threads of a process that were submitted under one name, counted as they move and steered together.

1. A group comes to be with the first submission that names it. It is a row of its own: how its threads ended, and what holds for all of them (suspended, a
   priority, whether a failure cancels the rest). Its open threads are counted from their chunks; no question about it looks at each of them.
2. A group that was asked to do so gives up its other threads in the turn in which one of them has failed for good, by error or time-out. Until these have ended it takes no
   more; then the next submission begins it anew.
3. Of a process the newest GROUPS_KEPT groups without open threads are remembered, until its incarnation ends.
"""

from collections.abc import Iterable

from dadms_ipc import port
from dadms_ipc.requests import ThreadInfo
from dadmsd.kernel.core.grouped import Group
from dadmsd.kernel.core.records import GroupRow
from dadmsd.kernel.core.scheduler import Pool
from dadmsd.kernel.core.stages import COMPLETED, TIMED_OUT
from dadmsd.kernel.core.state import State

OPEN_MOST = 10_000  # groups of one process with open threads
GROUPS_KEPT = 1_000  # of one process, without any
NAME_MOST = 200  # characters
FAILURES = ("error", "timed_out")


def flaw_of(pool: Pool, request: port.Submit) -> str:
    """Say why a submission to a group is refused; "" when it is not."""
    name = request.group
    if len(name) > NAME_MOST:
        return f"cannot submit to a group with a name of {len(name)} characters: at most {NAME_MOST}"
    known = pool.groups.get(name)
    if known is not None and known.row.failed_by and known.open:
        return (
            f'cannot submit to group "{name}": thread {known.row.failed_by} of it failed, and the {known.open} others are being cancelled'
        )
    if known is None and len(pool.groups) >= OPEN_MOST and sum(1 for group in pool.groups.values() if group.open) >= OPEN_MOST:
        return f'cannot submit to group "{name}": {OPEN_MOST} groups have open threads, at most so many may'
    return ""


def enter(state: State, pool: Pool, request: port.Submit) -> None:
    """Have the group that a submission names; called before its threads are queued."""
    group = begin(state, pool, request.group, request.sequence)
    if group.row.failed_by:
        group = pool.groups[request.group] = Group(GroupRow(pid=pool.pid, name=request.group, number=request.sequence))
    group.row.cancels = group.row.cancels or request.cancels
    state.changed(group.row)


def begin(state: State, pool: Pool, name: str, number: int) -> Group:
    """Give a group; one that is not there begins with the request of this number."""
    group = pool.groups.get(name)
    if group is None:
        _make_room(state, pool)
        group = pool.groups[name] = Group(GroupRow(pid=pool.pid, name=name, number=number))
        state.changed(group.row)
    return group


def _make_room(state: State, pool: Pool) -> None:
    """Forget the oldest of the groups that nothing is open of, when there are many."""
    if len(pool.groups) < GROUPS_KEPT:
        return
    over = [name for name, group in pool.groups.items() if not group.open]
    for name in over[: max(0, len(over) - GROUPS_KEPT)]:
        state.deleted(pool.groups.pop(name).row)


def note_ends(state: State, pool: Pool, ended: Iterable[ThreadInfo]) -> None:
    """Write down how threads of groups ended; a group that a failure cancels is given up at the end of the turn."""
    touched, pool.touched = pool.touched, {}
    for name in touched:
        group = pool.groups[name]
        row = group.row
        row.ended = {number: group.counts[number] for number in range(COMPLETED, TIMED_OUT + 1) if group.counts[number]}
        state.changed(row)
        if row.cancels and not row.failed_by and group.failed:
            row.failed_by = next((info.tid for info in ended if info.group == name and info.state in FAILURES), 0)
            if row.failed_by and group.open:
                state.failing.append((pool.pid, name))


def close(state: State, pool: Pool) -> None:
    """An incarnation has ended, and its groups with it."""
    for group in pool.groups.values():
        state.deleted(group.row)


def adopt(state: State, rows: Iterable[GroupRow]) -> None:
    """Take up the groups of an earlier kernel, before their threads are."""
    for row in sorted(rows, key=lambda each: each.number):
        pool = state.pools.get(row.pid)
        if pool is None:
            state.deleted(row)
        else:
            pool.groups[row.name] = Group(row)
