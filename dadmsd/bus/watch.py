"""Watches a directory for changes (inotify(7)): nothing looks at it in between."""

import ctypes
import os
from pathlib import Path

from dadms_ipc.errors import HostFailure

IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_ATTRIB = 0x8, 0x40, 0x80, 0x100, 0x200, 0x4
IN_DELETE_SELF, IN_MOVE_SELF = 0x400, 0x800
REMOVALS = IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF
CHANGES = IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF
READ = 64 * 1024  # bytes of events at once

_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """A descriptor that is readable when something in a directory has changed."""

    def __init__(self, directory: Path, events: int = CHANGES) -> None:
        self._directory, self._events = directory, events
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), directory)
        try:
            self.renew()
        except HostFailure:
            self.close()
            raise

    def renew(self) -> None:
        """Watch what is there of this name by now: a watch is one of a directory, and not of its name. Raises HostFailure."""
        _checked(_libc.inotify_add_watch(self._fd, os.fsencode(self._directory), self._events), self._directory)

    def fileno(self) -> int:
        """Give the descriptor."""
        return self._fd

    def drain(self) -> None:
        """Forget the changes that were told: whoever looks now sees them all."""
        try:
            while len(os.read(self._fd, READ)) == READ:
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Watch no more."""
        os.close(self._fd)


def _checked(result: int, directory: Path) -> int:
    if result < 0:
        raise HostFailure(f'cannot watch "{directory}": {os.strerror(ctypes.get_errno())}')
    return result
