"""Tells that bytes come over some connection, also while they are no whole message and libzmq says nothing.

An epoll of its own over the descriptors that libzmq has accepted, watched for changes only (epoll(7), EPOLLET), which is itself watched until it has told once (EPOLLONESHOT). So a busy bus is told once
between two looks, an idle one never, and how many are connected costs nothing. libzmq may have read before anybody looks, and then nothing is told: what comes without end is noticed at one of
its next pieces.
"""

import contextlib
import select

FOUND = 256  # connections that are forgotten at once


class Traffic:
    """Watches connections, from their acceptance to their end."""

    def __init__(self, loop: select.epoll) -> None:
        self._loop = loop
        self._connections = select.epoll()
        loop.register(self._connections.fileno(), select.EPOLLIN | select.EPOLLONESHOT)

    def fileno(self) -> int:
        """Give the descriptor that the loop watches."""
        return self._connections.fileno()

    def watch(self, fd: int) -> None:
        """Watch a connection; closing it ends that."""
        with contextlib.suppress(OSError):  # closed already
            self._connections.register(fd, select.EPOLLIN | select.EPOLLET)

    def has_passed(self) -> bool:
        """Tell whether bytes wait that nobody was told of; they are told of now."""
        found = self._connections.poll(0, FOUND)
        has_passed = bool(found)
        while len(found) == FOUND:
            found = self._connections.poll(0, FOUND)
        return has_passed

    def rearm(self) -> None:
        """Have the loop told of the next bytes."""
        self._loop.modify(self._connections.fileno(), select.EPOLLIN | select.EPOLLONESHOT)

    def close(self) -> None:
        """Watch no more."""
        self._connections.close()
