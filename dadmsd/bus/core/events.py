"""What happens to the bus (past tense) and what it wants done (imperative): the whole surface between core and shell."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

from dadms_ipc.envelope import Door, Header
from dadmsd.kernel import link


class Body(Protocol):
    """A body: bytes, or a frame that the shell has not copied; the core reads only those that are meant for the bus."""

    def __len__(self) -> int: ...


def content(body: Body) -> bytes:
    """Read a body; an uncopied frame is copied by this."""
    return body if type(body) is bytes else bytes(cast("bytes", body))  # both have the buffer protocol, which Python 3.11 cannot name


class Peer(NamedTuple):
    """One connection, as its door names it."""

    door: Door
    route: bytes


# events


class Received(NamedTuple):
    """A multipart message came."""

    peer: Peer
    uid: int  # of the process at the other end, as the operating system told (-1: it did not)
    pid: int
    frames: Sequence[Body]
    is_cut_short: bool = False  # it had more frames than any message has; the shell dropped the rest


class Vanished(NamedTuple):
    """A connection took no message: it is gone, or it does not read."""

    peer: Peer
    is_gone: bool


class LinkOpened(NamedTuple):
    """There is a fresh channel to a kernel; every earlier one is dead."""


class LinkRecovered(NamedTuple):
    """The kernel did not read for so long that messages to it were dropped; now it has read the rest."""


class LinkReceived(NamedTuple):
    """The kernel said something on the newest channel."""

    epoch: int  # of the kernel that said it
    message: link.FromKernel


class LinkLost(NamedTuple):
    """The channel to the kernel ended."""


class Ticked(NamedTuple):
    """``next_deadline()`` has passed."""


Event = Received | Vanished | LinkOpened | LinkRecovered | LinkReceived | LinkLost | Ticked

# effects


class Transmit(NamedTuple):
    """Send this envelope."""

    peer: Peer
    header: Header
    body: Body


class ToKernel(NamedTuple):
    """Say this on the channel to the kernel; without one it is dropped, and the core says it again on the next."""

    message: link.FromBus


class Cut(NamedTuple):
    """End a connection; a client that is none the worse connects again."""

    peer: Peer
    reason: str


class Forget(NamedTuple):
    """Drop what is remembered of a connection: it is gone."""

    peer: Peer


class Audit(NamedTuple):
    """Write a line for whoever looks after the daemon."""

    text: str


Effect = Transmit | ToKernel | Cut | Forget | Audit
