"""The keeper's descendants: found in /proc and killed at the end, when the kernel did not.

As the keeper is their subreaper, a descendant stays one whoever dies between them: when the keeper has no child any more, nobody is left. One pass can miss
what is forked meanwhile, so a pass follows each death, until there is none.
"""

import ctypes
import os
import signal

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def become_subreaper() -> None:
    """Become the parent of every orphan below (prctl(2)); raises OSError."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl PR_SET_CHILD_SUBREAPER")


def descendants(root: int) -> set[int]:
    """Give the pids of all descendants of a process, zombies too."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - thousands of names, no need of a Path each
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - as above
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue  # gone meanwhile
        children.setdefault(parent, []).append(int(name))
    found: set[int] = set()
    todo = [root]
    while todo:
        for pid in children.get(todo.pop(), ()):
            if pid not in found:
                found.add(pid)
                todo.append(pid)
    return found


def kill(pids: set[int], number: signal.Signals = signal.SIGKILL) -> int:
    """Send a signal to each; gives how many took it. None of them is reaped meanwhile by anybody but us or a parent that we kill too."""
    taken = 0
    for pid in pids:
        try:
            os.kill(pid, number)
            taken += 1
        except (ProcessLookupError, PermissionError):
            continue
    return taken
