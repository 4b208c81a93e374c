"""What moves a client's frames to a door of a daemon and back: a unix socket (unix_wire.py), or libzmq over a network (sockets.py).

A wire connects by itself, and again when its connection is lost; it never waits unless it is told to. Whoever drives it watches its descriptor, and calls
``revive`` when ``due`` has passed.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from dadms_ipc.envelope import Door

PATIENCE = 1.0  # seconds that `Wire.receive` waits, if it is to
WAIT, NOW = 0, 1  # flags of `Wire.receive`


class Watcher(NamedTuple):
    """How a wire has its descriptor watched; it has another one after each connection."""

    joined: Callable[[int], None]
    left: Callable[[int], None]
    wants_room: Callable[[int, bool], None]  # whether it is to be watched for writing, too


class Wire(Protocol):
    """The way to one door."""

    door: Door
    is_quiet: bool  # nothing waits to be received, and nothing was sent since that was seen
    is_settled: bool  # it is connected, and everything that was sent has left
    due: float | None  # when ``revive`` has something to do

    @property
    def fd(self) -> int:
        """Descriptor; -1 while there is no connection."""

    def has_more(self) -> bool:
        """Tell whether a message waits; its descriptor need not tell."""

    def receive(self, flags: int = NOW) -> list[bytes] | None:
        """Give the frames of the next message, if there is one.

        With the flags ``WAIT`` once there is one, or None after PATIENCE, when only a part of it has come, or when the connection is lost.
        """

    def send(self, frames: list[bytes]) -> bool:
        """Take a message of two frames; False when there is no room. It may leave with ``push`` only."""

    def push(self) -> None:
        """Have what was sent leave, as far as there is room."""

    def revive(self, now: float) -> None:
        """Connect again, when that is due."""

    def close(self, linger: int | None = None) -> None:
        """Close; what has left may take the linger's milliseconds."""
