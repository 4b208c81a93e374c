"""Which names a place in a text can see, so that "monthly salary - tax" reads as two names or as one.

Rule 1: names are matched by their tokens, the longest first, inner scopes before outer ones.
Rule 2: after a dot and inside a filter the members of every type and context known to the model are candidates too.
Rule 3: a run of words that nobody knows is one name; it is unknown when it runs, not when it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dadms_orchestrators.decision.feel.tokens import Token, words


class Names:
    """A set of names, keyed by their tokens."""

    __slots__ = ("by_words", "longest")

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Know ``names``."""
        self.by_words: dict[tuple[str, ...], str] = {}
        self.longest = 0
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        """Know one name more."""
        key = words(name)
        if key:
            self.by_words[key] = name
            self.longest = max(self.longest, len(key))

    def match(self, tokens: Sequence[Token], at: int) -> tuple[int, str] | None:
        """Return how many tokens the longest known name at a place takes, and the name."""
        for size in range(min(self.longest, len(tokens) - 1 - at), 0, -1):
            name = self.by_words.get(tuple(token.text for token in tokens[at : at + size]))
            if name is not None and tokens[at].kind != "string":
                return size, name
        return None


class Scope:
    """The names of one place and of those around it; ``members`` is shared by all of a model."""

    __slots__ = ("in_filter", "is_filter", "members", "names", "outer", "types")

    def __init__(
        self,
        names: Iterable[str] = (),
        *,
        outer: Scope | None = None,
        members: Names | None = None,
        is_filter: bool = False,
        types: Mapping[str, Any] | None = None,
    ) -> None:
        """Open a scope inside ``outer``; ``types`` are those of its names that are known."""
        self.names = Names(names)
        self.types = types or {}
        self.outer = outer
        self.members: Names = members if members is not None else (outer.members if outer else Names())
        self.is_filter = is_filter
        self.in_filter: bool = is_filter or (outer is not None and outer.in_filter)

    def match(self, tokens: Sequence[Token], at: int) -> tuple[int, str] | None:
        """Return the longest name that is visible at a place."""
        best: tuple[int, str] | None = None
        scope: Scope | None = self
        while scope is not None:
            found = scope.names.match(tokens, at)
            if found is not None and (best is None or found[0] > best[0]):
                best = found
            if scope.is_filter:
                found = scope.members.match(tokens, at)
                if found is not None and (best is None or found[0] > best[0]):
                    best = found
            scope = scope.outer
        return best

    def type_of(self, name: str) -> Any:
        """Return the declared type of a name, None where it has none or may be the member of a filtered item."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names.by_words.values():
                return scope.types.get(name)
            if scope.is_filter:
                return None
            scope = scope.outer
        return None

    def knows(self, name: str) -> bool:
        """Say whether a name is visible here, or may be."""
        scope: Scope | None = self
        while scope is not None:
            if scope.is_filter or name in scope.names.by_words.values():
                return True
            scope = scope.outer
        return False
