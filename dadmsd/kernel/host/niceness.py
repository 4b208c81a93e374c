"""Niceness of a whole group: of every task in it, since Linux keeps one a thread (sched(7), "The nice value").

1. What is forked meanwhile has the niceness of its parent, so the members are looked at until nobody new is found.
2. To be less nice takes a right (CAP_SYS_NICE, or RLIMIT_NICE): who lacks it changes nothing, and says from which number to which.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from dadms_ipc.errors import HostFailure

ROUNDS = 8  # looks at a group that forks faster than it is read


def nice_text(niceness: int, tasks: int) -> str:
    """Say what holds for how many."""
    whose = "" if tasks == 1 else f" of {tasks} tasks"
    return f"{niceness}{whose}, read back"


def set_niceness(members: Callable[[], Iterable[int]], wanted: int) -> int:
    """Give every task of a group this niceness, and say how many there are; raises HostFailure, and those that were changed are what they were."""
    before: dict[int, int] = {}
    for _ in range(ROUNDS):
        fresh = [task for pid in members() for task in _tasks(pid) if task not in before]
        if not fresh:
            break
        for task in fresh:
            try:
                before[task] = os.getpriority(os.PRIO_PROCESS, task)
                os.setpriority(os.PRIO_PROCESS, task, wanted)
                found = os.getpriority(os.PRIO_PROCESS, task)
            except ProcessLookupError:  # it has ended
                continue
            except PermissionError as error:
                _undo(before)
                raise HostFailure(f"nice = {wanted} asked, it is {before[task]}: to lower it takes CAP_SYS_NICE") from error
            if found != wanted:
                _undo(before)
                raise HostFailure(f"nice = {wanted} asked, task {task} reads {found}")
    return len(before)


def _undo(before: dict[int, int]) -> None:
    for task, niceness in before.items():
        try:
            os.setpriority(os.PRIO_PROCESS, task, niceness)
        except OSError:  # it has ended, or may not be put back, and the refusal says what was there
            continue


def _tasks(pid: int) -> list[int]:
    try:
        return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:  # it has ended
        return []
