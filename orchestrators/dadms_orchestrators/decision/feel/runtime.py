"""Why something was null: the notes of one evaluation, kept where every closure reaches them.

Rule 1: a function that cannot answer raises ``Null`` with the reason; the call that made it notes the place and is null.
Rule 2: a limit of the engine that is reached raises ``Exceeded``, which no construct takes for null: with null the evaluation would go
on, and come to a decision that nobody made. The innermost expression that it passes adds its place.
Rule 3: notes cost nothing while nothing fails; at most ``MAX_NOTES`` are kept of one evaluation.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Self

import msgspec

from dadms_orchestrators.decision.errors import LimitExceeded, Place, position

MAX_NOTES = 200  # the first ones tell the story; a loop over a million items must not

MAX_ROUNDS = 10_000_000  # of all loops of one evaluation: some ten seconds, after which nobody waits for a decision


class Null(Exception):
    """The value is null; the text says why."""


TOO_DEEP = "it is nested deeper than the interpreter's stack"  # Python's own limit, 1 000 frames


class Source(msgspec.Struct, frozen=True):
    """The FEEL text that a closure came from."""

    text: str
    model: str = ""
    node: str = ""
    line: int = 1  # of the model's file, where the text begins

    def place(self, offset: int) -> Place:
        """Return where an offset of this text stands."""
        line, column = position(self.text, offset)
        return Place(self.model, self.node, self.text.strip(), self.line + line - 1, column)


class Exceeded(Exception):
    """A limit of the engine was reached; the evaluation ends with it."""

    def __init__(self, reason: str) -> None:
        """Give the reason, with the number of the limit."""
        super().__init__(reason)
        self.source: Source | None = None
        self.offset = 0

    def at(self, source: Source, offset: int) -> Self:
        """Add the place, unless a closer one is known."""
        if self.source is None:
            self.source, self.offset = source, offset
        return self

    def refusal(self, what: str) -> LimitExceeded:
        """Return it as the error of whoever asked for ``what``."""
        return LimitExceeded(what, str(self), None if self.source is None else self.source.place(self.offset))


class Notes(msgspec.Struct):
    """What one evaluation has to say about its nulls."""

    kept: list[tuple[Source, int, str]] = []
    dropped: int = 0
    tables: list[Any] = []  # ``trace.TableTrace``, in order of evaluation
    failures: list[tuple[Source, int, str]] = []  # notes that are errors: a wrong type, an undefined result
    rounds: int = 0  # of loops
    calls: int = 0  # of user functions that are running inside each other


current: ContextVar[Notes | None] = ContextVar("current", default=None)


def note(source: Source, offset: int, reason: str) -> None:
    """Keep the reason of a null, if somebody listens."""
    notes = current.get()
    if notes is None:
        return
    if len(notes.kept) < MAX_NOTES:
        notes.kept.append((source, offset, reason))
    else:
        notes.dropped += 1


def fail(source: Source, offset: int, reason: str) -> None:
    """Keep the reason of a null that the model's author has to know of, if somebody listens."""
    note(source, offset, reason)
    notes = current.get()
    if notes is not None and len(notes.failures) < MAX_NOTES:
        notes.failures.append((source, offset, reason))
