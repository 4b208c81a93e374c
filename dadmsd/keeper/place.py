"""The runtime directory under a running daemon: what somebody removes of it is made anew, before a server is started that needs it.

Temporary files are swept by their age, and a session's by its end. Without this the next server would find no configuration, and nobody a socket.
1. Directory, lock and the configuration's copy are the keeper's; sockets are the bus's, which ends when they are gone, and is started again.
2. Where another daemon holds the lock by now, the directory is its: nothing in it is touched.
"""

from pathlib import Path

from dadms_ipc.errors import DadmsError
from dadmsd.keeper import directories
from dadmsd.keeper.lock import Lock


class Place:
    """A runtime directory and what the keeper has put there."""

    def __init__(self, directory: Path, lock: Lock, *, mode: int, copy: Path | None = None) -> None:
        self._directory, self._lock, self._mode, self._copy = directory, lock, mode, copy
        self.note()

    def note(self) -> None:
        """Take the configuration's copy as it is now for what belongs there."""
        self._content = None if self._copy is None else self._copy.read_bytes()

    def restore(self) -> str:
        """Make what is missing; gives a line for people when something was, or cannot be made."""
        missing: list[str] = []
        try:
            if not self._directory.is_dir():
                directories.prepare(self._directory, self._mode)
                missing.append("it")
            if not self._lock.is_there():
                self._lock.renew()
                missing.append("lock")
            if self._copy is not None and self._content is not None and not self._copy.exists():
                self._copy.write_bytes(self._content)
                missing.append(self._copy.name)
        except (DadmsError, OSError) as error:
            return f'"{self._directory}" was removed, or what is in it, and cannot be made anew: {error}'
        return f'"{self._directory}" was removed, or what is in it; made anew: {", ".join(missing)}' if missing else ""
