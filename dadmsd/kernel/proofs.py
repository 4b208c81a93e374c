"""Where a command finds the secret of its incarnation: a file of its own, which only its user may read.

1. An orchestrator's main gets its secret through its gate. A command becomes another program there, in any language, and often that program's child is who speaks:
   so the secret lies in a file (``dadms_ipc.identity`` reads it), and never in an environment, an argument list or a log.
2. The directory is the daemon's, and can be passed through but not listed. Nobody but the daemon makes or replaces anything in it.
3. A file appears whole, before the gate opens, and is gone when the incarnation has ended. What is in it follows from the incarnation: to write it again changes nothing.
"""

import contextlib
import os
from pathlib import Path

from dadms_ipc.errors import HostFailure
from dadms_ipc.paths import secret_path


def give(runtime_dir: str, name: str, secret: bytes, *, owner: tuple[int, int] | None) -> None:
    """Leave the secret of an incarnation ("1001.1") to its user; ``owner`` (uid, gid) where that is not the daemon's own. Raises HostFailure."""
    path = _path(runtime_dir, name)
    fresh = path.with_name(f".{name}")
    try:
        path.parent.mkdir(mode=0o711, exist_ok=True)
        if owner is not None:
            path.parent.chmod(0o711)  # whatever the daemon's umask
        fresh.unlink(missing_ok=True)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, secret)
            if owner is not None:
                os.fchown(fd, *owner)
        finally:
            os.close(fd)
        fresh.rename(path)
    except OSError as error:
        raise HostFailure(f'cannot write the secret of {name} to "{path}": {error.strerror or error}') from error


def take_back(runtime_dir: str, name: str) -> None:
    """Remove the secret of an incarnation that has ended."""
    with contextlib.suppress(OSError):
        _path(runtime_dir, name).unlink()


def remove_strays(runtime_dir: str, known: set[str]) -> None:
    """Remove what is of no living incarnation, which a daemon left that was killed; and the directory when nothing is in it."""
    directory = _path(runtime_dir, "0.0").parent
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            if path.name not in known:
                path.unlink()
        directory.rmdir()


def _path(runtime_dir: str, name: str) -> Path:
    pid, _, incarnation = name.partition(".")
    return secret_path(Path(runtime_dir), int(pid), int(incarnation))
