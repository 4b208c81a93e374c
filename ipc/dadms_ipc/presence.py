"""Whether anybody keeps a daemon in a runtime directory: its control socket takes a connection, or its lock is held.

While a bus is restarted nobody listens, but the keeper holds the lock, which ``/proc/locks`` tells without touching it (to try the lock would make a daemon that starts at
that moment believe that another one runs). Of several pid namespaces the holder may have no number here: whoever holds it counts.
"""

import os
import socket
from pathlib import Path

PID_MOST = 20  # bytes, of the one word that a lock has


def is_listening(path: Path) -> bool:
    """Tell whether a socket takes a connection."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.setblocking(False)
    try:
        probe.connect(str(path))
    except BlockingIOError:  # its queue is full: somebody listens, if slowly
        return True
    except OSError:
        return False
    finally:
        probe.close()
    return True


def lock_holders(directory: Path) -> list[str]:
    """Give the pids, as text, that may hold the lock of a runtime directory (flock(2); a line of ``/proc/locks`` is described in proc_locks(5)).

    Where that table is closed to us, whom the file itself names is believed: to call a daemon gone that is there would be worse than to wait for one that is not.
    """
    lock = directory / "lock"
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # whatever is there of that name: nobody waits for it
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            inode = str(os.fstat(descriptor).st_ino)
            named = [word for word in (file.read(PID_MOST) or b"").decode("ascii", "replace").split() if word.isdecimal()]
    except OSError:
        return []
    try:
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return named
    # "1: FLOCK ADVISORY WRITE 708 00:13:16890 0 EOF"; the device is not that of stat(2) on overlayfs
    return [fields[4] for fields in locks if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}")]
