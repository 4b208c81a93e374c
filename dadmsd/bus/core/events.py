"""What happens to the bus (past tense) and what it wants done (imperative): the whole surface between core and shell."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, cast

import msgspec

from dadms_ipc.envelope import Door, Header
from dadmsd.bus.core.disk import Durable, Kept, NotKept, Restored
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


class Who(NamedTuple):
    """Who is at the other end of a connection: a process of this machine, or a key somewhere else."""

    uid: int  # as the operating system told (-1: it did not, or a key)
    pid: int
    gids: tuple[int, ...] = ()
    key: str = ""  # name of the key that the connection proved to have
    public: str = ""  # its public half: a name may be given to another key later
    address: str = ""  # where the connection comes from, over a network

    @property
    def is_remote(self) -> bool:
        """Tell whether it came over a network, where uids mean nothing."""
        return bool(self.address or self.key)

    def __str__(self) -> str:
        if self.key:
            return f'key "{self.key}" at {self.address}'
        return f"somebody at {self.address}" if self.address else f"uid {self.uid} pid {self.pid}"


NOBODY = Who(-1, -1)


class Grant(NamedTuple):
    """An entry of the allow-list."""

    public: str
    role: str
    uid: int  # the user whose processes it starts and owns


# events


class Received(msgspec.Struct, frozen=True):  # made for each message, as Transmit is: a third of a named tuple's cost
    """A multipart message came."""

    peer: Peer
    uid: int  # of the process at the other end, as the operating system told (-1: it did not)
    pid: int
    frames: Sequence[Body]
    is_cut_short: bool = False  # it had more frames than any message has; the shell dropped the rest
    who: Who | None = None  # None: uid and pid are all that there is to know


class Vanished(NamedTuple):
    """A connection is gone, or has taken nothing for a while."""

    peer: Peer
    is_gone: bool
    is_dead: bool = False  # so is the program that had it: it will not come back for what its session holds
    is_slow: bool = False  # what it did not take waits for it, as long as it may stay


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


class KeysChanged(NamedTuple):
    """The allow-list was read again."""

    keys: Mapping[str, Grant]


class Noted(NamedTuple):
    """The shell has something to be written down; a door cannot be made to write more than the audit's bound."""

    line: "Audit"


class Ticked(NamedTuple):
    """``next_deadline()`` has passed."""


class Resumed(NamedTuple):
    """Others have been served: a batch of which something is left (``Bus.rests``) goes on."""

    door: Door


Event = (
    Received
    | Resumed
    | Vanished
    | LinkOpened
    | LinkRecovered
    | LinkReceived
    | LinkLost
    | KeysChanged
    | Noted
    | Restored
    | Kept
    | NotKept
    | Ticked
)

# effects


class Transmit(msgspec.Struct, frozen=True):
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
    rest: float = 0.0  # seconds before that in which it is not heard any more


class Forget(NamedTuple):
    """Drop what is remembered of a connection: it is gone."""

    peer: Peer


class Audit(NamedTuple):
    """Write a line for whoever looks after the daemon, and one for the audit."""

    text: str
    verdict: str = "note"  # "refused", "did", "cut", "repeated"
    who: Who | None = None
    subject: str = ""  # whom it speaks for: "process 1001.1", or as `who` says
    what: str = ""  # the request, by its name in the protocol
    why: str = ""


Effect = Transmit | ToKernel | Cut | Forget | Audit | Durable
