"""Functions of points and ranges, after Allen: each compares edges.

Rule 1: an edge is a value and a hair: a start that is open lies a hair after its value, an end that is open a hair before.
A point is a range whose edges are itself. With that, every function is one or two comparisons.
Rule 2: an end that is missing lies beyond every value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dadms_orchestrators.decision.errors import DecisionError, LimitExceeded
from dadms_orchestrators.decision.feel import syntax as s
from dadms_orchestrators.decision.feel.builtins.registry import TABLE, builtin
from dadms_orchestrators.decision.feel.parser import parse_expression
from dadms_orchestrators.decision.feel.runtime import Exceeded, Null
from dadms_orchestrators.decision.feel.temporaltext import parse_temporal
from dadms_orchestrators.decision.feel.values import Range, compare, kind

Edge = tuple[Any, int, int]  # value, hair, and where it lies if the value is missing
_SCALAR = "number|string|date|time|date and time|days and time duration|years and months duration"


def start(value: Any) -> Edge:
    """Return the edge where a value begins."""
    return (value.low, 0 if value.low_closed else 1, -1) if isinstance(value, Range) else (value, 0, -1)


def end(value: Any) -> Edge:
    """Return the edge where a value ends."""
    return (value.high, 0 if value.high_closed else -1, 1) if isinstance(value, Range) else (value, 0, 1)


def order(a: Edge, b: Edge) -> int:
    """Return -1, 0 or 1 for two edges."""
    if a[0] is None or b[0] is None:
        left, right = a[2] if a[0] is None else 0, b[2] if b[0] is None else 0
        return (left > right) - (left < right)
    found = compare(a[0], b[0])
    if found is None:
        raise Null(f"a {kind(a[0])} and a {kind(b[0])} cannot be ordered")
    return found or (a[1] > b[1]) - (a[1] < b[1])


Relation = Callable[[Any, Any], bool]


def before(a: Any, b: Any) -> bool:
    """Say whether a ends before b starts."""
    return order(end(a), start(b)) < 0


def meets(a: Any, b: Any) -> bool:
    """Say whether a ends where b starts."""
    return order(end(a), start(b)) == 0 and _closed(a.high_closed, b.low_closed)


def _closed(*flags: bool) -> bool:
    return all(flags)


def overlaps(a: Any, b: Any) -> bool:
    """Say whether a and b have something in common."""
    return order(end(a), start(b)) >= 0 and order(start(a), end(b)) <= 0


def overlaps_before(a: Any, b: Any) -> bool:
    """Say whether a starts before b and ends in it."""
    return order(start(a), start(b)) < 0 and order(end(a), start(b)) >= 0 and order(end(a), end(b)) <= 0


def finishes(a: Any, b: Any) -> bool:
    """Say whether a ends as b does, and starts no earlier."""
    return order(end(a), end(b)) == 0 and order(start(a), start(b)) >= 0


def includes(a: Any, b: Any) -> bool:
    """Say whether all of b lies in a."""
    return order(start(a), start(b)) <= 0 and order(end(a), end(b)) >= 0


def starts(a: Any, b: Any) -> bool:
    """Say whether a starts as b does, and ends no later."""
    return order(start(a), start(b)) == 0 and order(end(a), end(b)) <= 0


def coincides(a: Any, b: Any) -> bool:
    """Say whether a and b start and end alike."""
    return order(start(a), start(b)) == 0 and order(end(a), end(b)) == 0


def _swapped(relation: Relation) -> Relation:
    return lambda a, b: relation(b, a)


_POINT_POINT = f"point1: {_SCALAR}, point2: {_SCALAR}"
_POINT_RANGE = f"point: {_SCALAR}, range: range"
_RANGE_POINT = f"range: range, point: {_SCALAR}"
_RANGE_RANGE = "range1: range, range2: range"

for _name, _relation, _forms in (
    ("before", before, (_POINT_POINT, _POINT_RANGE, _RANGE_POINT, _RANGE_RANGE)),
    ("after", _swapped(before), (_POINT_POINT, _POINT_RANGE, _RANGE_POINT, _RANGE_RANGE)),
    ("meets", meets, (_RANGE_RANGE,)),
    ("met by", _swapped(meets), (_RANGE_RANGE,)),
    ("overlaps", overlaps, (_RANGE_RANGE,)),
    ("overlaps before", overlaps_before, (_RANGE_RANGE,)),
    ("overlaps after", _swapped(overlaps_before), (_RANGE_RANGE,)),
    ("finishes", finishes, (_POINT_RANGE, _RANGE_RANGE)),
    ("finished by", _swapped(finishes), (_RANGE_POINT, _RANGE_RANGE)),
    ("includes", includes, (_RANGE_POINT, _RANGE_RANGE)),
    ("during", _swapped(includes), (_POINT_RANGE, _RANGE_RANGE)),
    ("starts", starts, (_POINT_RANGE, _RANGE_RANGE)),
    ("started by", _swapped(starts), (_RANGE_POINT, _RANGE_RANGE)),
    ("coincides", coincides, (_POINT_POINT, _RANGE_RANGE)),
):
    builtin(_name, *_forms)(_relation)

_LITERAL_CALLS = frozenset(("date", "time", "date and time", "duration"))


@builtin("range", "from: string")
def range_of(text: str) -> Range:
    """Return the range that a text writes, both ends given as literals."""
    from dadms_orchestrators.decision.feel import BUILTIN_SCOPE

    try:
        node = parse_expression(text, BUILTIN_SCOPE, parse_temporal)
    except LimitExceeded as limit:
        raise Exceeded(limit.reason) from None
    except DecisionError as error:
        raise Null(error.reason) from None
    if not isinstance(node, s.RangeNode):
        raise Null("the text is no range")
    low, high = _end(node.low), _end(node.high)
    found = compare(low, high)
    if low.__class__ is not high.__class__ or found is None or found > 0:
        raise Null("the ends are not in order")
    return Range(low, high, node.low_closed, node.high_closed)


def _end(node: s.Node) -> Any:
    if isinstance(node, s.Literal):
        if node.value is None or isinstance(node.value, bool):
            raise Null("an end is no value that has an order")
        return node.value
    if isinstance(node, s.Call) and isinstance(node.function, s.Name) and node.function.name in _LITERAL_CALLS:
        values = [argument.value for argument in node.arguments if isinstance(argument, s.Literal)]
        if len(values) == len(node.arguments):
            return TABLE[node.function.name].call(values, node.names)
    raise Null("an end is no literal")
