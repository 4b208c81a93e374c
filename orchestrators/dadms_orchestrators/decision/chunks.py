"""Many rows in one thread: what a batch sends a worker, and what comes back.

Rule 1: a thread takes as many of its rows as fit its answer and its time, says how many, and whoever asked sends the rest again.
Rule 2: every row that was taken has a result; one that cannot be read, or whose own result is too large, has an error.
Rule 3: rows arrive as they stood in their file, and are read here, where the model says what a cell means.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from dadms_orchestrators.decision.batch import Outcome, Row, inputs_of_cells, inputs_of_line
from dadms_orchestrators.decision.errors import DecisionError, LimitExceeded
from dadms_orchestrators.decision.jsonvalues import to_json_value
from dadms_orchestrators.decision.runnable import Runnable

ROOM = 240 * 1024  # bytes of results; a thread's result is at most 256 KiB (docs/reference/page.md), and the rest is the array's own
SLICE = 1.0  # seconds after which a thread begins no further row: well under any time-out, so that only a row that is slow itself meets it
ERRORS_KEPT = 10  # of one row
ERROR_LENGTH = 1_000  # characters
RULES_KEPT = 100  # tables of one row; a table in a loop runs more often than anybody reads


class Rows(msgspec.Struct, frozen=True):
    """What a thread is given; ``names`` are the columns where rows are lists of cells, and none where they are lines of JSON."""

    rows: list[list[str] | str]
    names: list[str] = []
    echoes: bool = False  # give the inputs back as they were read


class Result(msgspec.Struct, frozen=True, array_like=True):
    """What came of one row; ``value`` and ``inputs`` are JSON texts, so that numbers keep their digits."""

    value: bytes
    errors: list[str] = []
    rules: list[str] = []
    inputs: bytes = b""
    is_read: bool = True  # False: there are no inputs, and the error says why

    @property
    def size(self) -> int:
        """Return about how many bytes it takes in a message."""
        return len(self.value) + len(self.inputs) + sum(4 * len(text) + 5 for text in (*self.errors, *self.rules)) + 16


def evaluate_chunk(model: Runnable, decision: str, given: Mapping[str, Any]) -> list[Result]:
    """Evaluate rows until they are done, the answer is full or the time is up; at least one row is done."""
    chunk = msgspec.convert(given, Rows)
    end = time.monotonic() + SLICE
    results: list[Result] = []
    room = ROOM
    for outcome, is_read in _outcomes(model, decision, chunk):
        try:
            result = _result(outcome, is_read=is_read, echoes=chunk.echoes)
        except LimitExceeded as limit:
            result = Result(b"null", [str(limit)], is_read=is_read)
        if result.size > ROOM:
            reason = f"its result takes {result.size} bytes, and at most {ROOM} travel; a decision with a smaller result is needed"
            result = Result(b"null", [reason])
        room -= result.size
        if room < 0:
            break
        results.append(result)
        if time.monotonic() > end:
            break
    return results


def _outcomes(model: Runnable, decision: str, chunk: Rows) -> Iterator[tuple[Outcome, bool]]:
    types = model.types()
    last: list[Row] = []

    def rows() -> Iterator[Row]:
        for row in chunk.rows:
            found: Row
            try:
                found = inputs_of_line(row) if isinstance(row, str) else inputs_of_cells(chunk.names, row, types)
            except ValueError as error:
                found = DecisionError("", str(error))
            last[:] = [found]
            yield found

    for outcome in model.outcomes(decision, rows()):
        yield outcome, not isinstance(last[0], DecisionError)


def _result(outcome: Outcome, *, is_read: bool, echoes: bool) -> Result:
    errors = [error.removeprefix(": ")[:ERROR_LENGTH] for error in outcome.errors[:ERRORS_KEPT]]
    if len(outcome.errors) > ERRORS_KEPT:
        errors.append(f"and {len(outcome.errors) - ERRORS_KEPT} more")
    inputs = msgspec.json.encode(to_json_value(outcome.inputs)) if echoes and is_read else b""
    return Result(msgspec.json.encode(to_json_value(outcome.value)), errors, list(outcome.rules[:RULES_KEPT]), inputs, is_read)
