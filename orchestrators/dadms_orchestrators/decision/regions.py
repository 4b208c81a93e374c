"""The geometry of a decision table: which combinations of inputs its rules cover.

Rule 1: a column's values fall into regions between the constants of its cells; all values of a region pass the same cells,
so one representative of each stands for it, and is simply tried.
Rule 2: a rule is a box, a set of regions a column. Overlaps are boxes that meet, gaps what no box covers.
Rule 3: a cell that is more than comparisons with constants (a formula, another input) cannot be drawn; its rule counts as
possibly matching anywhere, so it is in no overlap and fills every gap it might.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from dadms_orchestrators.decision.feel import syntax as s
from dadms_orchestrators.decision.feel.compiler import MISSING, constant_of
from dadms_orchestrators.decision.feel.temporal import Date, DateTime, DayTimeDuration, Time, YearMonthDuration
from dadms_orchestrators.decision.feel.unary import Test
from dadms_orchestrators.decision.feel.values import show

MAX_STEPS = 20_000  # of the search for gaps; a table needs about rules x regions of its first columns
MAX_DRAWING = 3_000_000  # rules times regions of all columns; about a second's work
MAX_GAPS = 10  # that are reported of one table
_OTHER = "\x00other"  # a string that no model writes


class Region(msgspec.Struct, frozen=True):
    """Some values of a column that no cell tells apart."""

    label: str
    sample: Any


Box = tuple[frozenset[int] | None, ...]  # regions a column; None cannot be drawn


def constants(tests: s.UnaryTests) -> list[Any] | None:
    """Return the constants that a cell compares with, None if it does anything else."""
    found: list[Any] = []
    for node in tests.tests or []:
        ends = [node.low, node.high] if isinstance(node, s.RangeNode) else [node]
        if isinstance(node, s.UnaryComparison):
            ends = [node.operand]
        for end in ends:
            value = constant_of(end)
            is_bare = end is node
            if value is MISSING or (isinstance(value, str) and not is_bare and not isinstance(node, s.UnaryComparison)):
                return None
            if isinstance(value, str) and isinstance(node, s.UnaryComparison) and node.op not in ("=", "!="):
                return None
            found.append(value)
    return found


def regions(values: Sequence[Any]) -> list[Region] | None:
    """Return the regions between some constants, None where they are of several types or have no regions."""
    kinds = {value.__class__ for value in values if value is not None}
    if len(kinds) != 1:
        return None
    found = kinds.pop()
    if found is bool:
        return [Region("true", True), Region("false", False)]
    if found is str:
        distinct = list(dict.fromkeys(value for value in values if value is not None))
        return [*(Region(show(value), value) for value in distinct), Region("any other string", _OTHER)]
    keys = sorted({_key(value) for value in values if value is not None})
    samples = {_key(value): value for value in values if value is not None}
    if found is Time or found is DateTime:
        return None if len({value.offset() is None for value in samples.values()}) > 1 else _between(keys, samples, found)
    return _between(keys, samples, found)


def _key(value: Any) -> Any:
    match value:
        case Decimal():
            return value
        case Date():
            return value.days()
        case DayTimeDuration():
            return value.nanos
        case YearMonthDuration():
            return value.months
    return value.local_nanos() if isinstance(value, DateTime) else value.nanos()


def _between(keys: list[Any], samples: dict[Any, Any], found: type) -> list[Region]:
    made: list[Region] = []
    first, last = samples[keys[0]], samples[keys[-1]]
    below, above = _made(found, keys[0] - 1, first), _made(found, keys[-1] + 1, last)
    if below is not None:
        made.append(Region(f"< {show(first)}", below))
    for at, key in enumerate(keys):
        made.append(Region(show(samples[key]), samples[key]))
        if at + 1 < len(keys):
            middle = (key + keys[at + 1]) / 2 if found is Decimal else (key + keys[at + 1]) // 2
            if middle not in (key, keys[at + 1]):
                label = f"({show(samples[key])}..{show(samples[keys[at + 1]])})"
                made.append(Region(label, _made(found, middle, first)))
    if above is not None:
        made.append(Region(f"> {show(last)}", above))
    return made


def _made(found: type, key: Any, like: Any) -> Any:
    if found is Decimal:
        return key
    if found is Date:
        return Date.from_days(key)
    if found is DateTime:
        return DateTime.from_local_nanos(key, like.time.zone)
    if found is Time:
        return Time.from_nanos(key, like.zone) if 0 <= key < 86_400 * 10**9 else None
    return found(key)


def passed(test: Test | None, column: list[Region]) -> frozenset[int]:
    """Return the regions whose values pass a cell."""
    if test is None:
        return frozenset(range(len(column)))
    return frozenset(at for at, region in enumerate(column) if test(region.sample, {}) is True)


def overlap(left: Box, right: Box) -> bool:
    """Say whether two boxes certainly meet."""
    return all(a is not None and b is not None and bool(a & b) for a, b in zip(left, right, strict=True))


def covers(boxes: Sequence[Box], target: Box, sizes: Sequence[frozenset[int]]) -> bool:
    """Say whether some boxes together certainly cover another one."""
    if any(side is None for side in target):
        return False
    drawn = [box for box in boxes if overlap(box, target)]
    within = [side & size for side, size in zip(target, sizes, strict=True) if side is not None]
    return next(uncovered(drawn, within), None) is None


def uncovered(boxes: Sequence[Box], space: Sequence[frozenset[int]]) -> Iterator[tuple[frozenset[int], ...]]:
    """Iterate over boxes of ``space`` that no box covers; what cannot be drawn counts as covering. Bounded by MAX_STEPS."""
    steps = 0

    def search(column: int, alive: list[Box], outer: tuple[frozenset[int], ...]) -> Iterator[tuple[frozenset[int], ...]]:
        nonlocal steps
        if not alive:
            yield (*outer, *space[column:])
            return
        if column == len(space):
            return
        groups: dict[tuple[int, ...], set[int]] = {}
        for region in sorted(space[column]):
            steps += 1
            if steps > MAX_STEPS:
                return
            sides = [box[column] for box in alive]
            key = tuple(at for at, side in enumerate(sides) if side is None or region in side)
            groups.setdefault(key, set()).add(region)
        for key, members in groups.items():
            yield from search(column + 1, [alive[at] for at in key], (*outer, frozenset(members)))

    return search(0, list(boxes), ())


def describe(column: list[Region], chosen: frozenset[int], everything: frozenset[int]) -> str:
    """Return some regions of a column in words, neighbours joined."""
    if chosen == everything:
        return "-"
    return ", ".join(column[at].label for at in sorted(chosen))
