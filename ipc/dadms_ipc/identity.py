"""Who a service or tool is: how a command, or any program that it runs, finds out as which process it may speak.

1. The environment says which process and which daemon (``DADMS_PID``, ``DADMS_INCARNATION``, ``DADMS_RUNTIME_DIR``); the secret lies in a file of the incarnation, which its user
   alone may read and which is gone when the incarnation has ended.
2. The daemon is the one that started the process, whatever other daemon the environment names besides: the secret means nothing to any other.
"""

import os
from pathlib import Path

from dadms_ipc.envelope import Identity
from dadms_ipc.errors import RequestRefused
from dadms_ipc.paths import secret_path

SECRET_MOST = 64  # bytes: what HELLO takes


def own_identity() -> tuple[Path, Identity]:
    """Give the daemon's runtime directory and what this program proves itself with; raises RequestRefused where it is no part of a service or tool."""
    named = {name: os.environ.get(name, "") for name in ("DADMS_PID", "DADMS_INCARNATION", "DADMS_RUNTIME_DIR")}
    missing = [name for name, value in named.items() if not value]
    if missing:
        raise RequestRefused(
            f"cannot speak as a process: {', '.join(missing)} is not in the environment, so this program is not run by a service or tool of a daemon"
        )
    pid, incarnation = named["DADMS_PID"], named["DADMS_INCARNATION"]
    if not (pid.isascii() and pid.isdecimal() and incarnation.isascii() and incarnation.isdecimal()):
        raise RequestRefused(f'cannot speak as process "{pid}.{incarnation}": DADMS_PID and DADMS_INCARNATION are numbers')
    directory = Path(named["DADMS_RUNTIME_DIR"])
    path = secret_path(directory, int(pid), int(incarnation))
    try:
        with path.open("rb") as file:
            secret = file.read(SECRET_MOST)
    except FileNotFoundError:
        raise RequestRefused(f'cannot speak as process {pid}.{incarnation}: it has ended, as "{path}" is gone') from None
    except OSError as error:
        raise RequestRefused(
            f'cannot speak as process {pid}.{incarnation}: uid {os.geteuid()} cannot read "{path}": {error.strerror}'
        ) from error
    return directory, Identity(int(pid), int(incarnation), secret)
