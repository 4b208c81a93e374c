"""What waits to be told to one server: bounded, because newer news about a subject replaces what was not sent yet.

A server that does not read (it starts, is stopped, or is stuck) costs one entry a subject and no copy of a stored descriptor: those are looked up in the store
when their turn comes. Links carry a descriptor of their own, which is closed when it was sent or replaced.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from dadms_ipc.channel import Channel
from dadmsd.keeper.messages import Stored, StoreSent

Subject = tuple[str, str]  # kind of message and what it is about


class _Waiting(NamedTuple):
    message: msgspec.Struct
    fd: int | None


class Outgoing:
    """The messages for one incarnation of a server, in the order in which their subjects first came up."""

    def __init__(self, lookup: Callable[[str], Sequence[int]]) -> None:
        self._waiting: dict[Subject, _Waiting] = {}
        self._lookup = lookup  # descriptors of a stored entry; none: the entry is gone, its message is skipped
        self._stored_sent = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, about: str, message: msgspec.Struct, fd: int | None = None) -> None:
        """Queue a message; ``fd`` goes with it and is owned from now on."""
        subject = (type(message).__name__, about)
        older = self._waiting.get(subject)
        if older is not None and older.fd is not None:
            os.close(older.fd)
        if isinstance(message, Stored):
            self._waiting.pop(("Drop", about), None)  # it was about an entry that this one replaces
        self._waiting[subject] = _Waiting(message, fd)

    def feed(self, channel: Channel[Any]) -> None:
        """Send until the socket is full; raises ChannelClosed."""
        while channel.flush() and self._waiting:
            subject, (message, fd) = next(iter(self._waiting.items()))
            fds: Sequence[int] = () if fd is None else (fd,)
            if isinstance(message, Stored):
                fds = self._lookup(message.name)
                self._stored_sent += bool(fds)
            elif isinstance(message, StoreSent):
                message = StoreSent(self._stored_sent)
            if fds or not isinstance(message, Stored):
                channel.send(message, fds)
            del self._waiting[subject]
            if fd is not None:
                os.close(fd)

    def close(self) -> None:
        """Forget everything, and close the descriptors of links."""
        for waiting in self._waiting.values():
            if waiting.fd is not None:
                os.close(waiting.fd)
        self._waiting.clear()
