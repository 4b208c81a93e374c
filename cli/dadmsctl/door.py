"""Where the daemon is, and whether one runs there: what every command needs before its one request.

With ``--host`` it is behind a network, and only asking it tells whether it runs. Otherwise a daemon runs where its control socket takes a connection. While its bus is being restarted nobody listens, but the keeper still holds the lock of the runtime
directory, which ``/proc/locks`` tells without touching it (to try the lock would make a daemon that starts at that moment believe that another one runs).

``dadmsd &`` gives the prompt back before the lock is taken. So where nobody holds it, a dadmsd that was started a moment ago and means this directory is waited for
(starting.py).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dadms_ipc import paths
from dadms_ipc.errors import RequestRefused, Unreachable
from dadms_ipc.presence import is_listening, lock_holders
from dadmsctl.starting import await_start

if TYPE_CHECKING:
    from dadms_ipc.client import Client


@dataclass(frozen=True)
class Door:
    """A runtime directory, and the seconds that a daemon there has to answer."""

    runtime_dir: Path
    timeout: float
    host: str | None = None  # of a daemon behind a network, instead of the directory
    key: Path | None = None  # for it

    @property
    def place(self) -> str | Path:
        """What a client is given to find the daemon."""
        if self.host is None:
            return self.runtime_dir
        return self.host if self.host.startswith("tcp://") else f"tcp://{self.host}"

    def connect(self) -> "Client":
        """Give a client of the daemon that runs here; raises Unreachable at once where none does or is about to."""
        if self.host is not None:
            from dadms_ipc.client import Client  # as below

            return Client(self.place, timeout=self.timeout, key=self.key)
        if not self.is_running():
            raise Unreachable(f'cannot reach a daemon: none runs on "{self.runtime_dir}"; dadmsd starts one, dadmsctl run brings its own')
        from dadms_ipc.client import Client  # --help and mistakes need not wait for it

        return Client(self.runtime_dir, timeout=self.timeout, start_timeout=self.timeout)  # its bus may be being restarted

    def is_running(self) -> bool:
        """Tell whether a daemon runs here, without asking it anything; one behind a network is believed to."""
        return self.host is not None or self._runs_now() or await_start(self.runtime_dir, self._runs_now, self.timeout)

    def is_here(self, path: Path, what: str) -> bool:
        """Tell whether a file that is named to the daemon is one of this machine; raises RequestRefused for a relative name where it is not: whose directory would that be."""
        if self.host is not None and not path.is_absolute():
            raise RequestRefused(f'cannot use {what} "{path}": it is on the machine of the daemon, so give its absolute path there')
        return self.host is None

    def _runs_now(self) -> bool:
        return is_listening(self.runtime_dir / paths.CONTROL_SOCKET) or self.keeper_pid() is not None

    def keeper_pid(self) -> int | None:
        """Give the daemon that holds the lock of the runtime directory."""
        if self.host is not None:
            return None
        return next((int(pid) for pid in lock_holders(self.runtime_dir) if _is_dadmsd(pid)), None)


def _is_dadmsd(os_pid: str) -> bool:
    try:
        return b"dadmsd" in Path("/proc", os_pid, "cmdline").read_bytes()
    except OSError:
        return False
