"""What a test may not leave behind: processes, cgroups, shared memory, temporary files. Compared before and after, never by name of process.

The process that runs the tests is a subreaper, so whatever a test started is its descendant until it ends, however it was detached. Temporary files are ours when they
are in the directory that this session's TMPDIR names. Groups and shared memory of other sessions on the machine are told apart by the processes in them.
"""

import contextlib
import hashlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dadmsd.keeper.descent import descendants
from dadmsd.kernel.host.mounts import hierarchies

GRACE = 3.0  # seconds for what was told to end: paid only when something is left


class Found(NamedTuple):
    """What there is at one moment."""

    processes: frozenset[int]
    groups: frozenset[str]
    shared: frozenset[str]
    files: frozenset[str]

    def beyond(self, before: "Found") -> "Found":
        """Give what was not there before."""
        return Found(self.processes - before.processes, self.groups - before.groups, self.shared - before.shared, self.files - before.files)

    def __bool__(self) -> bool:
        return any(tuple(self))


def look() -> Found:
    """Look around; a few milliseconds."""
    processes = frozenset(pid for pid in descendants(os.getpid()) if not _is_our_zombie(pid))
    shared, files = os.listdir("/dev/shm"), os.listdir(tempfile.gettempdir())  # noqa: PTH208 - names
    return Found(processes, frozenset(_groups()), frozenset(shared), frozenset(files))


def _is_our_zombie(pid: int) -> bool:
    """Tell whether a process has ended and waits for us: the test's Popen, which may still ask for its exit code, or an orphan that fell to us."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return True  # ended meanwhile
    return state == "Z" and int(parent) == os.getpid()


def places() -> set[str]:
    """Give the directory of our own group in each hierarchy."""
    found = hierarchies(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text(), "none")
    return {place.directory for place in (*found.v1.values(), *([found.v2] if found.v2 else []))}


def _groups() -> Iterator[str]:
    """Give the groups that a daemon of ours would have made: beside our own in each hierarchy."""
    for place in places():
        with contextlib.suppress(OSError):
            yield from (f"{place}/{name}" for name in os.listdir(place) if name.startswith("dadms-"))  # noqa: PTH208 - names


def _is_anothers(group: str, ours: frozenset[int]) -> bool:
    """Tell whether processes live in a group, none of them ours, or its daemon does, which has no process yet."""
    if Path(group).name in set(_instances(besides=ours | descendants(os.getpid()))):
        return True
    members: set[int] = set()
    for directory, _, _ in os.walk(group):
        with contextlib.suppress(OSError):
            members |= {int(pid) for pid in Path(directory, "cgroup.procs").read_text().split()}
    return bool(members) and not members & ours


def _instances(besides: frozenset[int]) -> Iterator[str]:
    """Name the groups of daemons that run on this machine, but for those of some keepers: a kernel names its group after the runtime directory."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it ended meanwhile, or is no keeper
            words = path.read_bytes().split(b"\0")
            directory = words[words.index(b"--runtime-dir") + 1]
            if int(path.parent.name) not in besides:
                yield f"dadms-{hashlib.sha256(directory).hexdigest()[:8]}"


def _is_used_elsewhere(name: str, ours: frozenset[int]) -> bool:
    """Tell whether processes have shared memory mapped, none of them ours."""
    users: set[int] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            if f"/dev/shm/{name}\n" in maps.read_text():
                users.add(int(maps.parent.name))
    return bool(users) and not users & {os.getpid(), *ours}


def check(before: Found) -> None:
    """Assert that nothing is left; what is, is killed, so that the next test is judged for itself."""
    deadline = time.monotonic() + GRACE
    left = _left(before)
    while left and time.monotonic() < deadline:
        time.sleep(0.01)  # an end leaves no event for who is not its parent
        left = _left(before)
    if not left:
        return
    described = [f"process {pid}: {_command(pid)}" for pid in sorted(left.processes)]
    described += [f"group {group}" for group in sorted(left.groups)]
    described += [f"/dev/shm/{name}" for name in sorted(left.shared)]
    described += [f"{tempfile.gettempdir()}/{name}" for name in sorted(left.files)]
    for pid in left.processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    raise AssertionError("left behind:\n  " + "\n  ".join(described))


def _left(before: Found) -> Found:
    left = look().beyond(before)
    groups = frozenset(group for group in left.groups if not _is_anothers(group, left.processes))
    return left._replace(groups=groups, shared=frozenset(name for name in left.shared if not _is_used_elsewhere(name, left.processes)))


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip() or "(ended)"
    except OSError:
        return "(ended meanwhile)"
