"""Where a daemon of this user is found: the runtime directory (sockets, lock, epoch) and the state directory (journals, logs).

Daemon and clients ask here, so that they agree. An environment variable wins, then the system's place for root, then the user's own.
"""

import os
from pathlib import Path

CONTROL_SOCKET = "control.sock"  # in the runtime directory, bound by the bus
DATA_SOCKET = "data.sock"


def runtime_dir() -> Path:
    """Give ``$DADMS_RUNTIME_DIR``, else ``/run/dadms`` for root, else ``$XDG_RUNTIME_DIR/dadms``, else a directory by uid where temporary files live."""
    if named := os.environ.get("DADMS_RUNTIME_DIR"):
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/run/dadms")
    if xdg := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(xdg) / "dadms"
    # Predictable, as clients must find it: the keeper refuses a directory there that belongs to somebody else.
    return Path(os.environ.get("TMPDIR") or "/tmp") / f"dadms-{os.geteuid()}"  # noqa: S108 - see above


def secret_path(directory: Path, pid: int, incarnation: int) -> Path:
    """Give the file that holds the secret of an incarnation of a command, in the runtime directory of its daemon."""
    return directory / "secrets" / f"{pid}.{incarnation}"


def state_dir() -> Path:
    """Give ``$DADMS_STATE_DIR``, else ``/var/lib/dadms`` for root, else ``$XDG_STATE_HOME/dadms`` (``~/.local/state/dadms``)."""
    if named := os.environ.get("DADMS_STATE_DIR"):
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/dadms")
    if xdg := os.environ.get("XDG_STATE_HOME"):
        return Path(xdg) / "dadms"
    return Path.home() / ".local" / "state" / "dadms"
