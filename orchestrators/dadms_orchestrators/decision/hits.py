"""Hit policies: what a decision table makes of the rules that match (DMN 1.5, 8.2.8), as a table.

Rule 1: a policy gets the outputs of the matching rules, in rule order, each a list with one value an output column.
Rule 2: it returns the rows that count; an aggregation turns their single columns into one value.
Rule 3: what the policy forbids (two hits of UNIQUE, two outcomes of ANY) raises ``Null`` with the rules' numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from dadms_orchestrators.decision.feel.runtime import Null
from dadms_orchestrators.decision.feel.values import NUMBERS, compare, equal, same

Rows = list[list[Any]]
Ranks = Sequence[Sequence[Any] | None]  # for each output column the values in order of priority
POLICIES = {
    "U": "UNIQUE", "A": "ANY", "P": "PRIORITY", "F": "FIRST", "C": "COLLECT", "R": "RULE ORDER", "O": "OUTPUT ORDER",
}  # fmt: skip
MANY = frozenset(("COLLECT", "RULE ORDER", "OUTPUT ORDER"))  # those whose result is a list


def unique(rows: Rows, numbers: list[int], _: Ranks) -> Rows:
    """Return the only row."""
    if len(rows) > 1:
        raise Null(f"rules {_listed(numbers)} match at once, and the hit policy is UNIQUE")
    return rows


def any_of(rows: Rows, numbers: list[int], _: Ranks) -> Rows:
    """Return the first of rows that are all the same."""
    for row in rows[1:]:
        if equal(row, rows[0]) is not True:
            raise Null(f"rules {_listed(numbers)} match with different outcomes, and the hit policy is ANY")
    return rows[:1]


def priority(rows: Rows, _: list[int], ranks: Ranks) -> Rows:
    """Return the row whose outputs come first in the lists of output values."""
    return _ranked(rows, ranks)[:1]


def output_order(rows: Rows, _: list[int], ranks: Ranks) -> Rows:
    """Return the rows in order of priority."""
    return _ranked(rows, ranks)


def first(rows: Rows, _: list[int], __: Ranks) -> Rows:
    """Return the first row."""
    return rows[:1]


def every(rows: Rows, _: list[int], __: Ranks) -> Rows:
    """Return the rows in rule order."""
    return rows


POLICY: dict[str, Callable[[Rows, list[int], Ranks], Rows]] = {
    "UNIQUE": unique,
    "ANY": any_of,
    "PRIORITY": priority,
    "FIRST": first,
    "RULE ORDER": every,
    "COLLECT": every,
    "OUTPUT ORDER": output_order,
}


def _ranked(rows: Rows, ranks: Ranks) -> Rows:
    def rank(row: list[Any]) -> tuple[int, ...]:
        places = []
        for value, order in zip(row, ranks, strict=True):
            if order is not None:
                places.append(next((at for at, known in enumerate(order) if same(value, known)), len(order)))
        return tuple(places)

    return sorted(rows, key=rank)


def _listed(numbers: list[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def total(values: list[Any]) -> Any:
    """Return the sum."""
    result = Decimal(0)
    for value in values:
        if not isinstance(value, Decimal):
            raise Null("SUM takes numbers only")
        result = NUMBERS.add(result, value)
    return result


def count(values: list[Any]) -> Any:
    """Return how many hits there are."""
    return Decimal(len(values))


def least(values: list[Any]) -> Any:
    """Return the smallest."""
    return _extreme(values, -1)


def greatest(values: list[Any]) -> Any:
    """Return the largest."""
    return _extreme(values, 1)


def _extreme(values: list[Any], sign: int) -> Any:
    best = values[0]
    for value in values[1:]:
        found = compare(value, best)
        if found is None:
            raise Null("MIN and MAX take values of one ordered type only")
        best = value if found == sign else best
    return best


AGGREGATION: dict[str, Callable[[list[Any]], Any]] = {"SUM": total, "COUNT": count, "MIN": least, "MAX": greatest}
