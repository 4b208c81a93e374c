"""Dead letters: messages that were acknowledged and could not be delivered, with why, when and how often they were tried.

1. There are so many at most, in number and in bytes; the oldest make room, and are counted.
2. Bodies stay on disk; here is what a list shows.
3. A letter that is replayed gets a new id: its receiver may have seen the old one, and would not look at it again.
"""

from collections import OrderedDict
from collections.abc import Iterable

from dadms_ipc.envelope import Header
from dadmsd.bus.core.disk import Letter, Settle
from dadmsd.bus.core.outbox import Outbox
from dadmsd.bus.core.state import Bounds, Exchange

REPLAYED = "replayed"
DROPPED = "dropped"
EVICTED = "evicted"
ENDS = (REPLAYED, DROPPED, EVICTED)  # of a letter


class Letters:
    """The dead-letter queue."""

    def __init__(self, outbox: Outbox, bounds: Bounds) -> None:
        self._outbox = outbox
        self._bounds = bounds
        self.letters: OrderedDict[int, Letter] = OrderedDict()  # by number, in the order in which they died
        self.by_id: dict[bytes, int] = {}
        self.size = 0  # bytes of their bodies
        self._replaying: set[int] = set()
        self.tallies = dict.fromkeys(ENDS, 0)

    def restore(self, letters: Iterable[Letter]) -> None:
        """Take what an earlier bus left."""
        for letter in letters:
            self._enter(letter)

    def add(self, exchange: Exchange, died_at: float, reason: str) -> None:
        """Add a letter; the oldest make room."""
        head = exchange.header
        ahead = Header(head.version, head.kind, head.id, head.sender, head.to, head.topic, b"", 0, head.flags)
        self._enter(Letter(exchange.number, ahead, exchange.address, exchange.size, exchange.stored_at, died_at, exchange.attempts, reason))
        for number in [one for one in self.letters if one not in self._replaying]:
            if len(self.letters) <= 1 or (len(self.letters) <= self._bounds.letters and self.size <= self._bounds.letters_bytes):
                break
            self.remove(number, EVICTED)

    def _enter(self, letter: Letter) -> None:
        self.letters[letter.number] = letter
        self.by_id[letter.header.id] = letter.number
        self.size += letter.size

    def refusal(self, number: int) -> str:
        """Say why nothing can be done with a letter; "" when it can."""
        if number not in self.letters:
            return "there is none"
        return "it is being replayed" if number in self._replaying else ""

    def begin_replay(self, number: int) -> None:
        """Keep others off a letter until its new message is on disk."""
        self._replaying.add(number)

    def end_replay(self, number: int, *, is_done: bool) -> None:
        """Take the store's word: the letter is a message again, or still dead."""
        self._replaying.discard(number)
        if is_done:
            self.take(number)
            self.tallies[REPLAYED] += 1

    def take(self, number: int) -> Letter:
        """Take a letter out; what becomes of its row is the caller's to say."""
        letter = self.letters.pop(number)
        del self.by_id[letter.header.id]
        self.size -= letter.size
        return letter

    def remove(self, number: int, end: str) -> None:
        """End a letter."""
        letter = self.take(number)
        self.tallies[end] += 1
        self._outbox.effects.append(Settle(number, letter.header.id, end, was_letter=True))
