"""Who is looked at for something to read, or for room to write: epoll, and what is to be done for each descriptor.

It is what ``selectors`` does, without its layers: they take as long as the system call, and the kernel goes through them twice for each thread.
A descriptor is let go of here before it is closed: the keeper has duplicates of most, so the system does not do it by itself.
"""

import contextlib
import select
from collections.abc import Callable
from typing import Any, Protocol

READ = select.EPOLLIN
WRITE = select.EPOLLOUT


class Described(Protocol):
    """What has a descriptor."""

    def fileno(self) -> int: ...


class Watch:
    """Descriptors, and who reads them."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[int], Any]] = {}  # by descriptor; it is given what epoll says

    def see(self, what: Described, read: Callable[[int], Any], *, is_written: bool = False) -> None:
        """Have ``read`` called when there is something to read, or room to write if that is waited for; what was known of the descriptor is replaced."""
        fd = what.fileno()
        mask = READ | WRITE if is_written else READ
        if fd in self._readers:
            self._epoll.modify(fd, mask)
        else:
            self._epoll.register(fd, mask)
        self._readers[fd] = read

    def forget(self, what: Described) -> None:
        """Look at it no longer; one that is not looked at is left alone."""
        fd = what.fileno()
        if self._readers.pop(fd, None) is not None:
            with contextlib.suppress(OSError):  # it was closed all the same
                self._epoll.unregister(fd)

    def wait(self, seconds: float | None) -> list[tuple[Callable[[int], Any], int]]:
        """Wait until there is something to do, for ever with None; gives who is to do it, and what epoll says to him."""
        readers = self._readers
        return [(readers[fd], mask) for fd, mask in self._epoll.poll(seconds, len(readers) or 1) if fd in readers]
