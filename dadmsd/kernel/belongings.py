"""Whether the files that kernel and bus have open for good are still there: whoever removes one under them is told what that costs, since writing to it goes on as if nothing had happened.

Looked at with what is done anyway: a look at the disk, a fold of the journal, a status. A file counts as there once it was seen; the bus's own may be made anew by the next bus.
"""

from pathlib import Path

from dadmsd.kernel.core import events
from dadmsd.stderr import say

KERNEL, BUS = "kernel.db", "bus.db"
LOSSES = {
    KERNEL: "all that is known of processes and threads is lost with the daemon; end what must end in order, and start the daemon again",
    BUS: "messages on disk and dead letters are lost with the bus",
}


class Belongings:
    """The files, by what they were when they were seen first."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._seen: dict[str, tuple[int, int]] = {}  # name -> device and inode
        self._told: tuple[str, ...] = ()

    def news(self) -> list[events.Event]:
        """Look; gives an event where it is not as it was at the last look."""
        gone = tuple(f'"{self._directory / name}" was removed or replaced: {loss}' for name, loss in LOSSES.items() if self._is_gone(name))
        if gone == self._told:
            return []
        for text in gone:
            if text not in self._told:
                say(f"kernel: {text}")
        self._told = gone
        return [events.FilesGone(gone)]

    def renew(self, name: str) -> list[events.Event]:
        """Look once more at the file of a server that was started again, which may have made another; gives what is new."""
        found = self.news()
        self._seen.pop(name, None)
        return found

    def _is_gone(self, name: str) -> bool:
        try:
            status = (self._directory / name).stat()
        except FileNotFoundError:
            return name in self._seen
        except OSError:  # nothing can be said of it
            return False
        return self._seen.setdefault(name, (status.st_dev, status.st_ino)) != (status.st_dev, status.st_ino)
