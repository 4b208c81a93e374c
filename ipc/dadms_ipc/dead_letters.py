"""What a client may ask the bus about its dead letters, and what it answers: messages that were acknowledged and could not be delivered."""

import msgspec


class DeadLetters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="dead-letters", tag_field="verb"):
    """The dead letters in the order in which they died, as a list of DeadLetter without their bodies."""

    after: int = 0  # number of the last one that is known: the next page
    limit: int = 1000  # at most 1000


class ShowDeadLetter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="show-dead-letter", tag_field="verb"):
    """One DeadLetter with its body."""

    number: int


class ReplayDeadLetter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="replay-dead-letter", tag_field="verb"):
    """Send a dead letter again, as a new message; answered with ``{"number": …}`` when it is on disk under its new number."""

    number: int
    to: str = ""  # another receiver
    expiry: float = 0.0  # seconds; 0: an hour


class DropDeadLetters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="drop-dead-letters", tag_field="verb"):
    """Remove dead letters for good, all of them or none; answered with ``{"dropped": …}`` when they are gone from the disk."""

    numbers: list[int]


Request = DeadLetters | ShowDeadLetter | ReplayDeadLetter | DropDeadLetters

ROLE_NEEDED: dict[type, str] = {DeadLetters: "observe", ShowDeadLetter: "operate", ReplayDeadLetter: "operate", DropDeadLetters: "operate"}


class DeadLetter(msgspec.Struct, frozen=True):
    """A dead letter, as it is shown."""

    number: int
    id: str  # of the message, hexadecimal
    sender: str
    to: str
    type: str
    size: int  # bytes of the body
    stored_at: float  # wall clock, seconds
    died_at: float
    attempts: int  # deliveries that failed
    reason: str
    body: bytes = b""  # of one that is shown alone
