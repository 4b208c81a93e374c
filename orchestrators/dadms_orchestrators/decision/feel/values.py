"""What a FEEL value is in Python, and what two values have to do with each other.

======================  =========================================
FEEL                    Python
======================  =========================================
number                  ``decimal.Decimal``, 34 digits
string, boolean, null   ``str``, ``bool``, ``None``
list, context           ``list``, ``dict`` with ``str`` keys
temporal                the types of ``temporal.py``
range, function         ``Range``, ``Function``
======================  =========================================

Rule 1: comparisons have three outcomes; None means that FEEL does not know (other types, null, local against zoned).
Rule 2: nothing changes a value in place; lists and contexts are made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from typing import Any

import msgspec

from dadms_orchestrators.decision.feel.temporal import TEMPORAL, Date, DateTime, DayTimeDuration, Time, YearMonthDuration, order

# IEEE 754-2008 decimal128, as DMN 1.5, 10.3.2.3.1 demands. Its methods are called, never the thread's own context, so
# that no caller's settings leak in; it is shared by all threads, which is safe since only its flags ever change.
NUMBERS = Context(
    prec=34,
    rounding=ROUND_HALF_EVEN,
    Emin=-6143,
    Emax=6144,
    traps=[InvalidOperation, DivisionByZero, Overflow],
)
MAX_ITEMS = 1_000_000  # of one list that an expression makes; a model that wants more is a mistake or an attack

Env = dict[str, Any]
Evaluate = Callable[[Env], Any]


class Range(msgspec.Struct, frozen=True):
    """Values between two ends; an end that is None is unbounded if its side is open, and unknown if it is closed."""

    low: Any
    high: Any
    low_closed: bool
    high_closed: bool

    def contains(self, value: Any) -> bool | None:
        """Say whether a value lies inside, None where it cannot be compared with an end."""
        above: bool | None = True
        if self.low is not None:
            found = compare(value, self.low)
            if found is None:
                return None
            above = found > 0 or (found == 0 and self.low_closed)
        elif self.low_closed:
            return None
        if self.high is not None:
            found = compare(value, self.high)
            if found is None:
                return None
            return above and (found < 0 or (found == 0 and self.high_closed))
        return None if self.high_closed else above

    def __str__(self) -> str:
        """Return it as FEEL writes it."""
        opening = "[" if self.low_closed else "("
        return f"{opening}{show(self.low)}..{show(self.high)}{']' if self.high_closed else ')'}"


class Function(msgspec.Struct, eq=False):
    """Something that can be called: parameter names, their types, and what runs."""

    parameters: list[str]
    run: Callable[..., Any]  # positional values, already coerced
    name: str = "function"
    types: Any = None  # list of ``feel.types.Type``, or None where nothing is checked
    result: Any = None  # ``feel.types.Type`` of the result, or None

    def __str__(self) -> str:
        """Return its head."""
        return f"{self.name}({', '.join(self.parameters)})"


def kind(value: Any) -> str:
    """Return the name of a value's FEEL type."""
    return KINDS.get(value.__class__) or ("context" if isinstance(value, Mapping) else "unknown")


KINDS: dict[type, str] = {
    Decimal: "number",
    str: "string",
    bool: "boolean",
    type(None): "null",
    list: "list",
    dict: "context",
    Range: "range",
    Function: "function",
    Date: "date",
    Time: "time",
    DateTime: "date and time",
    DayTimeDuration: "days and time duration",
    YearMonthDuration: "years and months duration",
}


def compare(left: Any, right: Any) -> int | None:
    """Return -1, 0 or 1 for two values of one ordered type, otherwise None."""
    a = left.__class__
    if a is not right.__class__:
        return None
    if a is Decimal or a is str:
        return int(left > right) - int(left < right)
    if a in TEMPORAL:
        return order(left, right)
    return None


def midnight(date: Date) -> DateTime:
    """Return the date and time that a date becomes where one is wanted (DMN 1.5, 10.3.2.9.4): UTC midnight."""
    return DateTime(date, Time(0, 0, 0, 0, 0))


def equal(left: Any, right: Any) -> bool | None:
    """Say whether two values are the same; None for values of different types, except that null equals only null."""
    if left is None or right is None:
        return left is right
    a, b = left.__class__, right.__class__
    if a is not b:
        return None
    if a is list:
        if len(left) != len(right):
            return False
        return _all(equal(x, y) for x, y in zip(left, right, strict=True))
    if a is dict:
        if left.keys() != right.keys():
            return False
        return _all(equal(value, right[key]) for key, value in left.items())
    if a is Range:
        same: bool | None = left.low_closed == right.low_closed and left.high_closed == right.high_closed
        return same and equal(left.low, right.low) and equal(left.high, right.high)
    return bool(left == right)


def _all(answers: Any) -> bool | None:
    known: bool | None = True
    for answer in answers:
        if answer is False:
            return False
        if answer is None:
            known = None
    return known


def same(left: Any, right: Any) -> bool:
    """Say whether two values are equal for sure, as list functions need it."""
    return equal(left, right) is True


def show(value: Any, *, quoted: bool = True) -> str:
    """Return a value as FEEL's ``string()`` writes it; strings inside others are quoted."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Decimal():
            return number_text(value)
        case str():
            if not quoted:
                return value
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list():
            return "[" + ", ".join(show(item) for item in value) + "]"
        case dict():
            return "{" + ", ".join(f"{key_text(key)}: {show(item)}" for key, item in value.items()) + "}"
    return str(value)


def key_text(key: str) -> str:
    """Return a context's key as FEEL writes it: quoted where it is no name."""
    if key and all(char.isalnum() or char in "_ '" for char in key) and not key[0].isdigit():
        return key
    return show(key)


def number_text(value: Decimal) -> str:
    """Return a number without exponent where that is readable, and without zeros that carry nothing."""
    if not value.is_finite():
        return str(value)
    if value == 0:
        return "0"
    plain = value.normalize(NUMBERS)
    return format(plain, "f")
