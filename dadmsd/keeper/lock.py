"""The lock of a runtime directory: one daemon each; and the epoch, which counts its kernels.

1. The lock is flock(2) on the file ``lock``, which holds the keeper's pid for people. It is close-on-exec: no server holds it, so it ends with the keeper.
2. The file is removed while the lock is held. Who locked a file that is no longer the one in the directory tries again.
3. The epoch grows by one with each kernel and is on disk before that kernel is started. A file that cannot be read is replaced by the seconds of the clock:
   above anything that was ever counted.
"""

import contextlib
import fcntl
import os
import stat
import time
from pathlib import Path

from dadms_ipc.errors import HostFailure, RequestRefused


class Lock:
    """The lock, held from construction to ``release``; raises RequestRefused when another daemon holds it."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._fd = self._taken()

    def _taken(self) -> int:
        while True:
            try:
                fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            except OSError as error:
                raise HostFailure(f'cannot start dadmsd: "{self._path}": {error.strerror}') from error
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                os.close(fd)
                raise HostFailure(f'cannot start dadmsd: "{self._path}": it is no regular file')
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
                os.close(fd)
                raise RequestRefused(f"cannot start dadmsd: another one (pid {holder}) runs on {self._path.parent}") from None
            if _is_same(fd, self._path):
                break
            os.close(fd)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return fd

    def is_there(self) -> bool:
        """Tell whether the file that is held is still the one that others find."""
        return _is_same(self._fd, self._path)

    def renew(self) -> None:
        """Take the lock again, whose file somebody removed; raises RequestRefused when another daemon holds it by now."""
        fd = self._taken()
        os.close(self._fd)
        self._fd = fd

    def release(self) -> None:
        """Remove the file and let go."""
        with contextlib.suppress(OSError):  # it stays, and nobody holds it
            self._path.unlink(missing_ok=True)
        os.close(self._fd)


def _is_same(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def next_epoch(directory: Path, *, above: int = 0) -> int:
    """Count one kernel more: gives its epoch, which is then on disk. Raises OSError when it is not.

    ``above`` is the epoch of the last one, which a full disk may have kept off the disk.
    """
    path = directory / "epoch"
    try:
        last = int(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        last = 0
    except (OSError, ValueError):
        last = int(time.time())
    last = max(last, above)
    fresh = directory / "epoch.new"
    fresh.write_text(f"{last + 1}\n", encoding="ascii")
    fresh.replace(path)
    return last + 1
