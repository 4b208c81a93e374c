"""The directories of a daemon: made or checked before anything else, removed at its end.

1. They belong to the user of the daemon, and nobody else writes in them; what is made is 0700, but a system daemon's runtime directory, where clients of other
   users find the sockets, is 0755.
2. A private daemon removes its whole runtime directory at its end. So that a wrong path never costs somebody their files, it starts only in one that holds
   nothing but names beginning with ``dadms``.
3. Any other daemon removes what daemons of ours make in a runtime directory, and the directory when it made it and it is empty.
"""

import os
import stat
from pathlib import Path

from dadms_ipc.errors import HostFailure, RequestRefused
from dadms_ipc.paths import CONTROL_SOCKET, DATA_SOCKET

SOCKET_PATH_LIMIT = 107  # bytes (unix(7), sun_path, less its final zero)
CONFIG_COPY = "config.toml"
_SHUT = tuple(f".{name}.shut" for name in (CONTROL_SOCKET, DATA_SOCKET))  # a full door that a killed bus had set aside
_PASSING = (CONTROL_SOCKET, DATA_SOCKET, *_SHUT, CONFIG_COPY, f"{CONFIG_COPY}.new", "epoch.new", "servers.new")
_LASTING = ("epoch", "servers")  # what the next keeper has to know after a disorderly end


def prepare(directory: Path, mode: int) -> bool:
    """Make a directory, or check that an existing one is ours alone; True when it was made. Raises HostFailure, RequestRefused."""
    try:
        directory.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        is_made = not directory.exists()
        if is_made:
            directory.mkdir(mode=mode)
            directory.chmod(mode)  # whatever the umask says
        found = directory.stat()
    except (FileExistsError, NotADirectoryError) as error:
        raise HostFailure(f'cannot use "{directory}": "{error.filename}" is not a directory') from error
    except OSError as error:
        raise HostFailure(f'cannot use "{directory}": {error.strerror}') from error
    if not stat.S_ISDIR(found.st_mode):
        raise HostFailure(f'cannot use "{directory}": it is not a directory')
    if found.st_uid != os.geteuid():
        raise RequestRefused(f'cannot use "{directory}": it belongs to uid {found.st_uid}, not to {os.geteuid()}')
    if found.st_mode & 0o022:
        raise RequestRefused(f'cannot use "{directory}": others may write in it (mode {stat.S_IMODE(found.st_mode):04o})')
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise HostFailure(f'cannot use "{directory}": it is not writable for uid {os.geteuid()}')
    return is_made


def check_length(directory: Path) -> None:
    """Raise RequestRefused for a runtime directory whose sockets nobody could connect to."""
    longest = len(os.fsencode(directory / CONTROL_SOCKET))
    if longest > SOCKET_PATH_LIMIT:
        raise RequestRefused(
            f'cannot use "{directory}": the path of its socket has {longest} bytes, at most {SOCKET_PATH_LIMIT} are possible'
        )


def check_sayable(path: Path) -> None:
    """Raise RequestRefused for a path that the servers could not be told: all that is sent and stored is UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # other bytes are surrogates in it (PEP 383)
        raise RequestRefused(f'cannot use "{str(path).encode(errors="backslashreplace").decode()}": its path is not UTF-8') from error


def check_removable(directory: Path) -> None:
    """Raise RequestRefused for a directory that a private daemon must not remove at its end."""
    foreign = sorted(entry.name for entry in directory.iterdir() if not entry.name.startswith("dadms"))
    if foreign:
        raise RequestRefused(f'cannot run a private daemon in "{directory}", which it would remove: "{foreign[0]}" is in it')


def sweep(directory: Path, *, is_over: bool) -> None:
    """Remove what an earlier daemon left or this one made, while the lock is held; what the next keeper has to know stays until the end is orderly.

    At a start, what cannot be removed is a HostFailure: ours has to be in its place. At the end it stays.
    """
    for name in (*_PASSING, *(_LASTING if is_over else ())):
        try:
            (directory / name).unlink(missing_ok=True)
        except OSError as error:
            if not is_over:
                raise HostFailure(f'cannot use "{directory}": "{name}" is in it, and cannot be removed: {error.strerror}') from error


def remove(directory: Path, *, is_private: bool, is_made: bool) -> None:
    """Remove a runtime directory at the end."""
    if is_private:
        import shutil  # here: only the end needs it

        shutil.rmtree(directory, ignore_errors=True)
    elif is_made:
        try:
            directory.rmdir()
        except OSError:
            return  # somebody's files are in it, or the next daemon already
