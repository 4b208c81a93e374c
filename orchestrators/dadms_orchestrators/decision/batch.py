"""Many inputs through one decision: rows in, outcomes out, one at a time.

Rule 1: everything streams; a file of any length takes the memory of one row.
Rule 2: a row that cannot be read or evaluated is an outcome with errors, and the next one goes on.
Rule 3: a CSV cell becomes what the input of that name is declared to be; an empty one is null. Where nothing is declared,
a number or boolean is taken for what it looks like and anything else for a string.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from dadms_orchestrators.decision.errors import DecisionError
from dadms_orchestrators.decision.evaluation import evaluate
from dadms_orchestrators.decision.jsonvalues import to_json_value
from dadms_orchestrators.decision.model import Model

MAX_LINE = 1_000_000  # characters of one row
_BOOLEANS = {"true": True, "false": False, "TRUE": True, "FALSE": False, "True": True, "False": False}
_EXACT = msgspec.json.Decoder(float_hook=Decimal)  # JSON's numbers keep their digits

_COLON = re.compile(r'"\s*:')  # after a key, or inside a string
_NESTED = (dict, list)
TOO_DEEP = "it is nested too deep"

Row = Mapping[str, object] | DecisionError  # inputs, or why there are none


class Outcome(msgspec.Struct, frozen=True):
    """What came of one row."""

    number: int  # from 1
    inputs: Mapping[str, object]
    value: Any  # FEEL value, null where there are errors
    errors: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()  # "decision: 1, 4" for each table that ran

    def as_json(self) -> dict[str, Any]:
        """Return it as a line of JSON lines."""
        return {
            "row": self.number,
            "value": to_json_value(self.value),
            "errors": list(self.errors),
            "rules": list(self.rules),
        }


def evaluate_rows(model: Model, decision: str, rows: Iterable[Row], *, first: int = 1) -> Iterator[Outcome]:
    """Evaluate a decision for each row; ``first`` is the number of the first one."""
    for number, row in enumerate(rows, start=first):
        if isinstance(row, DecisionError):
            yield Outcome(number, {}, None, (str(row),))
            continue
        try:
            evaluation = evaluate(model, decision, row)
        except DecisionError as error:
            yield Outcome(number, row, None, (str(error),))
            continue
        rules = tuple(
            f"{table.head.node}: {', '.join(str(index + 1) for index in table.matched) or 'none'}" for table in evaluation.trace.tables
        )
        yield Outcome(number, row, evaluation.value, tuple(str(error) for error in evaluation.errors), rules)


def read_json_lines(lines: Iterable[str | bytes]) -> Iterator[Row]:
    """Iterate over objects, one a line; empty lines are skipped."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        what = f"cannot read line {number}"
        if len(line) > MAX_LINE:
            yield DecisionError(what, f"{len(line)} characters, at most {MAX_LINE} are read")
            continue
        try:
            yield inputs_of_line(line)
        except ValueError as error:
            yield DecisionError(what, str(error))


def inputs_of_line(line: str | bytes) -> dict[str, Any]:
    """Return the inputs that a line of JSON holds; raise ``ValueError`` where it holds none."""
    try:
        found = _EXACT.decode(line)
        twice = key_twice(line, found)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    if twice is not None:
        raise ValueError(f'the key "{twice}" stands twice in one object')
    return found


def key_twice(line: str | bytes, found: object) -> str | None:
    """Return a key that stands twice in one object of a JSON text, of which the decoder kept the last; ``found`` is what it made."""
    text = line.decode() if isinstance(line, bytes) else line
    keys = _keys(found)  # a colon follows each key; only where there are more of them is a closer look needed
    if text.count(":") == keys or len(_COLON.findall(text)) == keys:
        return None
    twice: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice.append(next(name for name in names if names.count(name) > 1))

    json.loads(text, object_pairs_hook=look, parse_int=str, parse_float=str)
    return twice[0] if twice else None


def _keys(found: object) -> int:
    """Return how many keys all objects of a JSON value have together."""
    if found.__class__ is dict:
        return len(found) + sum(_keys(item) for item in found.values() if item.__class__ in _NESTED)
    if found.__class__ is list:
        return sum(_keys(item) for item in found if item.__class__ in _NESTED)
    return 0


def read_csv(lines: Iterable[str], model: Model) -> Iterator[Row]:
    """Iterate over the rows of a CSV file whose first line names the inputs."""
    types = model.inputs()
    reader = csv.reader(lines, strict=True)
    names: list[str] | None = None
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # the next call begins at the next line
            yield DecisionError(f"cannot read line {reader.line_num}", f"it is no CSV: {error}")
            continue
        if names is None:
            names = cells
        elif cells:
            try:
                yield inputs_of_cells(names, cells, types)
            except ValueError as error:
                yield DecisionError(f"cannot read line {reader.line_num}", str(error))


def inputs_of_cells(names: Sequence[str], cells: Sequence[str], types: Mapping[str, str]) -> dict[str, object]:
    """Return the inputs of one row of a table of text; raise ``ValueError`` where a cell means nothing."""
    if len(cells) != len(names):
        raise ValueError(f"{len(cells)} cells, {len(names)} columns are named")
    return {name: cell(text, types.get(name, "Any")) for name, text in zip(names, cells, strict=True)}


def cell(text: str, declared: str) -> object:
    """Return what a cell means for an input of a declared type; raise ``ValueError`` where it means nothing."""
    text = text.strip()
    if not text:
        return None
    if declared == "boolean":
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        raise ValueError(f"{text!r} is no boolean")
    if declared == "number":
        return _number(text)
    if text[0] in "[{":
        try:
            found: object = _EXACT.decode(text)
            twice = key_twice(text, found)
        except msgspec.DecodeError:
            return text
        except RecursionError:
            raise ValueError(TOO_DEEP) from None
        if twice is not None:
            raise ValueError(f'the key "{twice}" stands twice in one object')
        return found
    if declared != "Any":
        return text  # a string, or a date that the input's type reads
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    try:
        return _number(text)
    except ValueError:
        return text


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is no number") from None
    if not number.is_finite():
        raise ValueError(f"{text!r} is no number")
    return number
