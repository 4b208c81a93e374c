"""What the engine refuses, and where it stood when it did.

Rule 1: a model that cannot be read or compiled raises ``DecisionError``, once, with the place.
Rule 2: an expression that fails while it runs is not an exception: it is null, and a ``Finding`` or a trace note says why.
Rule 3: a limit of the engine that is reached while it runs is no null: it ends the evaluation with ``LimitExceeded``.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Place(msgspec.Struct, frozen=True):
    """Where in a model something stands; empty strings and zeros are what is not known."""

    model: str = ""
    node: str = ""  # name of the decision, knowledge model, service or item definition
    expression: str = ""  # the FEEL text, as written
    line: int = 0  # of the expression, from 1
    column: int = 0  # in that line, from 1, in code points

    def __str__(self) -> str:
        """Return the place as people read it: node, line and column, expression."""
        parts = []
        if self.node:
            parts.append(f'in "{self.node}"')
        if self.model:
            parts.append(f'of model "{self.model}"')
        if self.line:
            parts.append(f"at line {self.line}, column {self.column}")
        if self.expression:
            whole = " ".join(self.expression.split())  # a message is one line
            shown = whole if len(whole) <= SHOWN else whole[: SHOWN - 1] + "…"
            parts.append(f"of `{shown}`")
        return " ".join(parts)


SHOWN = 120  # characters of an expression in a message; the whole of it is in the place


class DecisionError(Exception):
    """The model, or the request to evaluate it, is refused: ``reason`` says why and ``place`` says where."""

    def __init__(self, what: str, reason: str, place: Place | None = None) -> None:
        """Refuse ``what`` ("cannot read …") for ``reason``."""
        self.what = what
        self.reason = reason
        self.place = place or Place()
        where = str(self.place)
        super().__init__(f"{what}: {reason}" + (f" ({where})" if where else ""))


class SyntaxRefused(DecisionError):
    """A FEEL text is not FEEL; ``offset`` is where, in code points from 0."""

    def __init__(self, reason: str, text: str, offset: int) -> None:
        """Refuse ``text`` at ``offset``."""
        self.text = text
        self.offset = offset
        line, column = position(text, offset)
        super().__init__("cannot read expression", reason, Place(expression=text.strip(), line=line, column=column))


class LimitExceeded(DecisionError):
    """A model, an input or an evaluation is larger or deeper than the engine goes; the reason has the number."""


def position(text: str, offset: int) -> tuple[int, int]:
    """Return line and column, from 1, of an offset in a text."""
    before = text[:offset]
    line = before.count("\n") + 1
    return line, offset - (before.rfind("\n") + 1) + 1


def failure(decision: str, value: object, errors: Sequence[str]) -> str:
    """Say why a decision failed: an error on the way makes its value none, also where one came out in the end."""
    what = "came to nothing" if value is None else "went wrong on its way to a value"
    return f'the decision "{decision}" {what}: {"; ".join(errors)}'
