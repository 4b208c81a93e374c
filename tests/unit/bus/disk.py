"""A store without a file: it does with the bus's effects what the real one does, and survives the bus."""

from collections import Counter

from dadmsd.bus.core.disk import Await, Bury, Durable, Keep, Letter, Replay, Restored, Row, Settle, Tried
from dadmsd.bus.core.events import content
from dadmsd.bus.core.letters import ENDS


class Disk:
    """Rows, letters, outcomes and tallies."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.letters: dict[int, Letter] = {}
        self.bodies: dict[int, bytes] = {}
        self.settled: dict[bytes, str] = {}
        self.tallies: Counter[str] = Counter()
        self.waiting: list[Durable] = []
        self.last = 0

    def restored(self) -> Restored:
        """Give what a fresh bus finds; what was not written is lost."""
        self.waiting = []
        rows = [self.rows[number] for number in sorted(self.rows)]
        letters = sorted(self.letters.values(), key=lambda letter: letter.died_at)
        return Restored(rows, letters, list(self.settled.items()), dict(self.tallies), self.last)

    def commit(self) -> list[int]:
        """Write what waits; gives what is answered."""
        tokens = []
        for effect in self.waiting:
            match effect:
                case Keep(row, body):
                    self._add(row, content(body))
                    tokens.append(row.number)
                case Replay(row, letter):
                    self._add(row, self.bodies.pop(letter))
                    del self.letters[letter]
                    self.tallies["replayed"] += 1
                    tokens.append(row.number)
                case Tried(number, attempts) if number in self.rows:
                    self.rows[number] = self.rows[number]._replace(attempts=attempts)
                case Settle():
                    self._settle(effect)
                case Bury(number, identifier, died_at, attempts, reason) if number in self.rows:
                    row = self.rows.pop(number)
                    self.letters[number] = Letter(number, row.header, row.address, row.size, row.stored_at, died_at, attempts, reason)
                    self.settled[identifier] = "dead"
                    self.tallies["dead"] += 1
                case Await(token):
                    tokens.append(token)
                case Tried() | Bury():
                    pass
        self.waiting = []
        return tokens

    def refuse(self) -> list[int]:
        """Write what takes away and nothing that adds, as a full disk does; gives what is refused."""
        refused = [
            one.token if isinstance(one, Await) else one.row.number for one in self.waiting if isinstance(one, Keep | Replay | Await)
        ]
        self.waiting = [one for one in self.waiting if not isinstance(one, Keep | Replay | Await)]
        self.commit()
        return refused

    def _add(self, row: Row, body: bytes) -> None:
        self.rows[row.number], self.bodies[row.number] = row, body
        self.last = max(self.last, row.number)
        self.tallies["kept"] += 1

    def _settle(self, effect: Settle) -> None:
        place: dict[int, Row] | dict[int, Letter] = self.letters if effect.was_letter else self.rows
        if place.pop(effect.number, None) is None:
            return
        del self.bodies[effect.number]
        self.tallies[effect.outcome] += 1
        if effect.outcome in ENDS:
            return
        if effect.was_letter:
            self.tallies["dead"] -= 1
        if effect.outcome != "declined":
            self.settled[effect.identifier] = effect.outcome
