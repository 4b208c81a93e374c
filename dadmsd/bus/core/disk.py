"""What the bus says to its disk, and what the disk says to the bus."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dadms_ipc.envelope import Header

if TYPE_CHECKING:
    from dadmsd.bus.core.events import Body


class OnDisk:
    """A body that the shell reads from its store when it sends it: ``prefix`` and then what the row holds."""

    __slots__ = ("number", "prefix", "size")

    def __init__(self, number: int, size: int, prefix: bytes = b"") -> None:
        self.number, self.size, self.prefix = number, size, prefix

    def __len__(self) -> int:
        return len(self.prefix) + self.size


class Row(NamedTuple):
    """A message on disk that waits for its receiver."""

    number: int
    header: Header  # as it is handed out, the flags included
    address: str
    size: int
    expires_at: float  # wall clock, seconds
    stored_at: float  # wall clock, seconds
    attempts: int


class Letter(NamedTuple):
    """A dead letter: a message that was acknowledged and could not be delivered."""

    number: int
    header: Header
    address: str
    size: int
    stored_at: float  # wall clock, seconds
    died_at: float
    attempts: int
    reason: str


# events


class Restored(NamedTuple):
    """What an earlier bus left on disk; the first event of a bus that has a store."""

    rows: Sequence[Row]  # in the order of their numbers
    letters: Sequence[Letter]  # likewise
    settled: Sequence[tuple[bytes, str]]  # id and outcome, oldest first
    tallies: dict[str, int]
    last_number: int


class Kept(NamedTuple):
    """These are on disk, and everything that was said to the store before them."""

    tokens: Sequence[int]


class NotKept(NamedTuple):
    """These could not be put on disk."""

    tokens: Sequence[int]
    reason: str


# effects


class Keep(NamedTuple):
    """Put a message on disk, and say ``Kept`` or ``NotKept`` with its number."""

    row: Row
    body: "Body"


class Replay(NamedTuple):
    """Put a dead letter's body on disk as a new message, and take the letter away, both or neither; answered like ``Keep``."""

    row: Row
    letter: int


class Tried(NamedTuple):
    """Note on disk how often a message was tried."""

    number: int
    attempts: int


class Settle(NamedTuple):
    """Take a message off the disk, count how it came out, and remember that for its id."""

    number: int
    identifier: bytes
    outcome: str  # a word of OUTCOMES
    was_letter: bool = False


class Bury(NamedTuple):
    """Make a message on disk a dead letter."""

    number: int
    identifier: bytes
    died_at: float  # wall clock, seconds
    attempts: int
    reason: str


class Await(NamedTuple):
    """Say ``Kept`` with this token when everything before is on disk, or ``NotKept``."""

    token: int  # below zero: no message has such a number


Durable = Keep | Replay | Tried | Settle | Bury | Await
