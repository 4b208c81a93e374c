"""What an evaluation leaves behind besides its value: which rules matched on what, and why a value is null.

Rule 1: evaluating keeps references only; rows for people are made when somebody asks for them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dadms_orchestrators.decision.errors import Place
from dadms_orchestrators.decision.feel.runtime import Notes
from dadms_orchestrators.decision.feel.values import show


class RuleCells(msgspec.Struct, frozen=True):
    """One rule as written."""

    number: int  # from 1
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    annotation: str = ""
    id: str = ""


class TableHead(msgspec.Struct, frozen=True):
    """A decision table as written."""

    node: str
    label: str
    hit_policy: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rules: tuple[RuleCells, ...]


class TableTrace(msgspec.Struct, frozen=True):
    """One run through a decision table."""

    head: TableHead
    values: list[Any]  # of the inputs
    matched: list[int]  # indexes of rules, from 0

    def rows(self) -> list[dict[str, Any]]:
        """Return one row a rule that matched: its number and, for each input, the value beside the test."""
        shown = [show(value) for value in self.values]
        return [
            {
                "decision": self.head.node,
                "rule": rule.number,
                "because": {
                    name: f"{value} matches {test or '-'}" for name, value, test in zip(self.head.inputs, shown, rule.inputs, strict=False)
                },
                "outputs": dict(zip(self.head.outputs, rule.outputs, strict=True)),
                "annotation": rule.annotation,
            }
            for rule in (self.head.rules[index] for index in self.matched)
        ]


class NullNote(msgspec.Struct, frozen=True):
    """Why something was null, and where."""

    reason: str
    place: Place

    def __str__(self) -> str:
        """Return it as a sentence."""
        return f"{self.reason} ({self.place})"


class Trace(msgspec.Struct):
    """The story of one evaluation."""

    tables: list[TableTrace]
    notes: Notes

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for every rule of every table that matched, in order of evaluation."""
        return [row for table in self.tables for row in table.rows()]

    def nulls(self) -> list[NullNote]:
        """Return why values are null, in order of evaluation."""
        return [NullNote(reason, source.place(offset)) for source, offset, reason in self.notes.kept]
