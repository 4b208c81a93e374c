"""Becoming somebody else, with limits: what a child does to itself after its gate, in the order in which each step still may.

Limits and niceness first (raising them takes rights that go with the user), then groups, group, user. A step that is already so is left out: an ordinary
user's daemon may keep what it has, and nothing else.
"""

import ctypes
import os
import resource
from collections.abc import Iterable

from dadms_ipc.errors import HostFailure

PR_SET_DUMPABLE = 4  # linux/prctl.h
PR_SET_NO_NEW_PRIVS = 38


def limit(rlimits: Iterable[tuple[str, int]], niceness: int) -> None:
    """Set limits on this process, soft and hard alike, and its niceness.

    Raises HostFailure.
    """
    for name, value in rlimits:
        number = getattr(resource, name, None) if name.startswith("RLIMIT_") else None
        if number is None:
            raise HostFailure(f'cannot limit "{name}": this system has no such limit')
        try:
            resource.setrlimit(number, (value, value))
        except (OSError, ValueError) as error:
            raise HostFailure(f"cannot set {name} to {value}: {error}") from error
    if niceness:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, niceness)
        except OSError as error:
            raise HostFailure(f"cannot set niceness to {niceness}: {error.strerror}") from error


def become(uid: int, gid: int, groups: list[int]) -> None:
    """Take a user's identity, for good.

    Raises HostFailure.
    """
    is_root = os.geteuid() == 0
    try:
        if is_root and set(os.getgroups()) != set(groups):
            os.setgroups(groups)
        if os.getresgid() != (gid, gid, gid):
            os.setresgid(gid, gid, gid)
        if os.getresuid() != (uid, uid, uid):
            os.setresuid(uid, uid, uid)
            # What changed its user may not open its own files in /proc, until it says that it may be looked at (prctl(2)); an execve would say so too.
            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    except OSError as error:
        raise HostFailure(f"cannot become user {uid} with group {gid}: {error.strerror}") from error


def give_up_new_privileges() -> None:
    """Have no program that this process becomes give it more rights than it has, set-user-ID ones included (prctl(2)).

    Raises HostFailure.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise HostFailure("cannot set no_new_privileges: this system does not know it")


def enter(directory: str) -> None:
    """Make a directory the working directory.

    Raises HostFailure.
    """
    try:
        os.chdir(directory)
    except (OSError, ValueError) as error:
        raise HostFailure(f'cannot work in "{directory}": {getattr(error, "strerror", None) or error}') from error


def work_in(directory: str, workplace: str) -> None:
    """Make the directory that its user named, or else the process's own one, the current one; raises HostFailure for one that it may not write to."""
    enter(workplace or directory)
    if workplace and not os.access(".", os.W_OK | os.X_OK):
        raise HostFailure(f'cannot work in "{workplace}": user {os.getuid()} may not write there')
