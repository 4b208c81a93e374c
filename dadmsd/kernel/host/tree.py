"""The files of one cgroup hierarchy below one directory, through one directory descriptor.

Groups are named relative to it (``1001/main``), and the empty name is the directory itself. A start of a process touches some twenty of these files and is
waited for, so there are no path objects here and one open does for a write and its reading back (seq_file restarts at offset 0).
"""

import contextlib
import errno
import os
import signal

from dadms_ipc.errors import HostFailure

_READ_SIZE = 64 * 1024  # bytes a read
KILL_ROUNDS = 64  # readings of a list of pids until it is empty; each finds only what was forked since the one before


class Tree:
    """A directory of groups in one hierarchy; ``OSError`` never leaves it, except from ``write``."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Forget the directory; groups stay as they are."""
        os.close(self._fd)

    def make(self, group: str) -> bool:
        """Make a group; False when it was there already."""
        try:
            os.mkdir(f"./{group}", 0o755, dir_fd=self._fd)
        except FileExistsError:
            return False
        except OSError as error:
            raise HostFailure(f'cannot create the cgroup "{group}" in {self.directory}: {error.strerror}') from error
        return True

    def has(self, group: str) -> bool:
        """Tell whether the group exists."""
        return os.access(f"./{group}", os.F_OK, dir_fd=self._fd)

    def remove(self, group: str) -> bool:
        """Remove a group and those below it, deepest first; False while something lives in one of them."""
        if self._remove_one(group):  # as a rule its leaves went before it: no need to look for them
            return True
        for name in reversed(self.below(group)):
            self._remove_one(name)
        return self._remove_one(group)

    def _remove_one(self, group: str) -> bool:
        try:
            if group:
                os.rmdir(f"./{group}", dir_fd=self._fd)
            else:
                os.rmdir(self.directory)  # noqa: PTH106 -- beside its twin with a descriptor
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
                return False
            raise HostFailure(f'cannot remove the cgroup "{group}" in {self.directory}: {error.strerror}') from error
        return True

    def below(self, group: str) -> list[str]:
        """Name every group below this one, parents first."""
        found: list[str] = []
        try:
            fd = os.open(f"./{group}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd)
        except FileNotFoundError:
            return found
        try:
            with os.scandir(fd) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        finally:
            os.close(fd)
        for name in names:
            child = f"{group}/{name}" if group else name
            found += [child, *self.below(child)]
        return found

    def write(self, group: str, file: str, text: str) -> None:
        """Write a file of a group; raises OSError, which means something else for each file."""
        fd = os.open(f"./{group}/{file}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._fd)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def set(self, group: str, file: str, text: str) -> str:
        """Write a file of a group and give what it reads afterwards."""
        try:
            fd = os.open(f"./{group}/{file}", os.O_RDWR | os.O_CLOEXEC, dir_fd=self._fd)
            try:
                os.write(fd, text.encode())
                return os.pread(fd, _READ_SIZE, 0).decode()
            finally:
                os.close(fd)
        except OSError as error:
            raise HostFailure(f'cannot set {file} of "{group}" to {text}: {error.strerror}') from error

    def read(self, group: str, file: str, *, is_short: bool = False) -> str | None:
        """Read a file of a group, one of a line at once; None when the group or the file does not exist."""
        try:
            fd = os.open(f"./{group}/{file}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise HostFailure(f'cannot read {file} of "{group}": {error.strerror}') from error
        try:
            text = os.read(fd, _READ_SIZE)
            while not is_short and (piece := os.read(fd, _READ_SIZE)):  # seq_file gives about a page at a time, whatever is asked
                text += piece
        except OSError as error:  # ENODEV: the group was removed since
            if error.errno == errno.ENODEV:
                return None
            raise HostFailure(f'cannot read {file} of "{group}": {error.strerror}') from error
        finally:
            os.close(fd)
        return text.decode()

    def number(self, group: str, file: str) -> int | None:
        """Read a file that holds one number."""
        text = self.read(group, file, is_short=True)
        return int(text) if text else None

    def field(self, group: str, file: str, name: str) -> int | None:
        """Read the number behind ``name`` in a file of ``name number`` lines."""
        for line in (self.read(group, file) or "").splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
        return None

    def pids_here(self, group: str) -> list[int]:
        """List the processes of a group itself, as far as they can be seen (0 is one of another namespace)."""
        return [int(line) for line in (self.read(group, "cgroup.procs") or "").split() if line != "0"]

    def pids(self, group: str) -> list[int]:
        """List the processes of a group and of those below it."""
        return [pid for name in [group, *self.below(group)] for pid in self.pids_here(name)]

    def signal_listed(self, group: str, number: int, besides: int) -> None:
        """Send a signal to what is listed but one; a number that was given to a stranger meanwhile is not in the second list."""
        held = [(pid, _pidfd(pid)) for pid in self.pids(group) if pid != besides]
        still = set(self.pids(group))
        for pid, fd in held:
            if fd < 0:
                continue
            if pid in still:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    signal.pidfd_send_signal(fd, number)
            os.close(fd)

    def kill_listed(self, group: str) -> bool:
        """Send SIGKILL to what is listed until a reading shows nobody new; False when new ones kept coming."""
        hit: set[int] = set()
        for _ in range(KILL_ROUNDS):
            fresh = set(self.pids(group)) - hit
            if not fresh:
                return True
            for pid in fresh:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            hit |= fresh
        return False


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1
