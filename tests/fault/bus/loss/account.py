"""What was acknowledged against what became of it."""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

Key = tuple[str, int]  # sender, number


@dataclass
class Account:
    """Both sides of every message."""

    acknowledged: dict[Key, str] = field(default_factory=dict)  # -> "handled" or "stored"
    refused: dict[Key, str] = field(default_factory=dict)  # -> why; nobody promised anything
    handled: dict[Key, list[tuple[str, int, bool]]] = field(
        default_factory=lambda: defaultdict(list)
    )  # -> receiver, incarnation, is a retry
    order: dict[tuple[str, str], list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )  # sender, receiver -> numbers as first handled
    dead: set[Key] = field(default_factory=set)
    outcomes: dict[str, int] = field(default_factory=dict)

    def read_sender(self, path: Path, name: str) -> None:
        """Read what a sender was told."""
        for line in _lines(path):
            number, _, outcome = line.split(" ", 2)
            if outcome in ("handled", "stored"):
                self.acknowledged[name, int(number)] = outcome
            else:
                self.refused[name, int(number)] = outcome

    def read_receiver(self, path: Path, pid: str) -> None:
        """Read what a receiver did, in its order."""
        for line in _lines(path):
            incarnation, name, number, retry = line.split()
            key = (name, int(number))
            if key not in self.handled:
                self.order[name, pid].append(int(number))
            self.handled[key].append((pid, int(incarnation), retry == "1"))

    def read_letters(self, letters: list[Any]) -> None:
        """Read the dead letters, bodies included."""
        for letter in letters:
            name, number = letter.body.decode().split()
            self.dead.add((name, int(number)))

    def mistakes(self) -> list[str]:
        """Say what is not as it must be."""
        found = []
        expired = self.outcomes.get("expired", 0)
        lost = [key for key in self.acknowledged if key not in self.handled and key not in self.dead]
        if len(lost) > expired:
            found.append(f"{len(lost)} acknowledged messages are lost, {expired} expired; the first: {sorted(lost)[:5]}")
        untold = [key for key, outcome in self.acknowledged.items() if outcome == "handled" and key not in self.handled]
        if untold:
            found.append(f"{len(untold)} messages were called handled and are not: {sorted(untold)[:5]}")
        for key, times in self.handled.items():
            if len({one[:2] for one in times}) < len(times):
                found.append(f"{key} was handled twice in an incarnation: {times}")
            if not all(is_retry for _, _, is_retry in times[1:]):
                found.append(f"{key} came again without a mark: {times}")
        for (name, pid), numbers in self.order.items():
            wrong = [later for earlier, later in pairwise(numbers) if later < earlier]
            if wrong:
                found.append(f"{name} to {pid}: {len(wrong)} messages out of their order, the first: {wrong[:5]}")
        kept = self.outcomes.get("kept", 0)
        ended = sum(self.outcomes.get(name, 0) for name in ("handled", "declined", "expired", "dead"))
        if kept != ended:
            found.append(f"{kept} messages were on disk, {ended} have an outcome")
        return found[:20]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
