"""Who belongs to a process: what it spawned, and what was spawned below it.

A process that ends leaves them running: each has an end of its own, and may serve others. Who ends one is told which are left, and ``--tree`` ends them as well: parents
before children, since who has ended starts nothing more.
"""

from collections.abc import Collection, Sequence

from dadms_ipc.requests import ProcessInfo
from dadmsctl.waiting import ENDED

SHOWN = 8  # in a warning
RUNS_ON = ("admitted", "starting", "running", "backoff")


def children(table: Sequence[ProcessInfo], parents: Collection[int]) -> list[ProcessInfo]:
    """Give those that live and belong to one of some processes."""
    return [each for each in table if each.parent in parents and each.pid not in parents and each.status not in ENDED]


def left(table: Sequence[ProcessInfo], pids: Collection[int]) -> list[ProcessInfo]:
    """Give those that run on and belong to one of some processes, itself or through others, in the order of the table; what requires one of them waits for it, and does not."""
    found = set(pids)
    while more := {each.pid for each in table if each.parent in found} - found:
        found |= more
    return [each for each in table if each.pid in found and each.pid not in pids and each.status in RUNS_ON and each.desired == "up"]


def left_warning(found: Sequence[ProcessInfo]) -> str:
    """Say who is left."""
    shown = ", ".join(f'"{each.name}" ({each.pid})' for each in found[:SHOWN])
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"warning: what belongs to it runs on: {shown}{more}; --tree ends that as well"
