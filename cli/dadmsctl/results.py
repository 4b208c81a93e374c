"""Results of a batch, written row by row as CSV or JSON lines.

1. Numbers are written as the engine gave them, digit for digit: they are never read in between.
2. CSV has the columns of the inputs, then ``value`` (or ``value.x`` for each component that the model's table names), ``errors`` and ``rules``;
   what is a list or a context stands in its cell as JSON.
3. JSON lines have ``row``, ``inputs``, ``value``, ``errors`` and ``rules``.
"""

import csv
from collections.abc import Sequence
from typing import Protocol, TextIO

import msgspec

from dadmsctl.rows import Row

SEPARATOR = "; "  # between errors, and between rules, in one cell


class Result(msgspec.Struct, frozen=True, array_like=True):
    """What came of one row; ``value`` and ``inputs`` are JSON texts."""

    value: bytes
    errors: list[str] = []
    rules: list[str] = []
    inputs: bytes = b""
    is_read: bool = True


class Writer(Protocol):
    """Writes one row after the other."""

    def write(self, row: Row, result: Result) -> None: ...


class Line(msgspec.Struct):
    """One line of JSON lines."""

    row: int
    inputs: msgspec.Raw
    value: msgspec.Raw
    errors: list[str]
    rules: list[str]


class JsonLines:
    """Writes JSON lines."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._encode = msgspec.json.Encoder().encode

    def write(self, row: Row, result: Result) -> None:
        """Write a row."""
        own = row.body.encode() if isinstance(row.body, str) else result.inputs
        inputs = own if result.is_read and own else b"null"
        line = Line(row.number, msgspec.Raw(inputs), msgspec.Raw(result.value), result.errors, result.rules)
        self._file.write(self._encode(line).decode() + "\n")


class Csv:
    """Writes CSV; the head is written at once."""

    def __init__(self, file: TextIO, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._inputs, self._outputs = list(inputs), list(outputs)
        self.dropped: dict[str, None] = {}  # names in JSON lines that have no column
        self._writer = csv.writer(file, lineterminator="\n")
        self._components = msgspec.json.Decoder(dict[str, msgspec.Raw])
        self._scalar = msgspec.json.Decoder(str)
        values = [f"value.{name}" for name in self._outputs] or ["value"]
        own: list[str] = []
        for name in (*values, "errors", "rules"):
            clashes = sum(column.rstrip("_") == name for column in self._inputs)  # columns of that name that are there already
            own.append(name + "_" * clashes)
        self._writer.writerow([*self._inputs, *own])

    def write(self, row: Row, result: Result) -> None:
        """Write a row."""
        errors, rules = (SEPARATOR.join(texts) for texts in (result.errors, result.rules))
        self._writer.writerow([*self._given(row, result), *self._values(result.value), errors, rules])

    def _given(self, row: Row, result: Result) -> list[str]:
        if not isinstance(row.body, str):
            return (row.body + [""] * len(self._inputs))[: len(self._inputs)]
        if not result.is_read:
            return [""] * len(self._inputs)
        given = self._components.decode(row.body)
        self.dropped.update(dict.fromkeys(name for name in given if name not in self._inputs))
        return [self._cell(bytes(given[name])) if name in given else "" for name in self._inputs]

    def _values(self, value: bytes) -> list[str]:
        if not self._outputs:
            return [self._cell(value)]
        found = self._components.decode(value) if value.startswith(b"{") else {}
        return [self._cell(bytes(found[name])) if name in found else "" for name in self._outputs]

    def _cell(self, value: bytes) -> str:
        value = value.strip()
        if value == b"null":
            return ""
        return self._scalar.decode(value) if value.startswith(b'"') else value.decode()
