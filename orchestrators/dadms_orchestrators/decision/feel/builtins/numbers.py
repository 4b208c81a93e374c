"""Functions of numbers."""

from __future__ import annotations

from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    ROUND_HALF_DOWN,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    ROUND_UP,
    Context,
    Decimal,
)
from typing import Any

from dadms_orchestrators.decision.feel.builtins.registry import builtin
from dadms_orchestrators.decision.feel.runtime import Null
from dadms_orchestrators.decision.feel.temporal import DayTimeDuration, YearMonthDuration
from dadms_orchestrators.decision.feel.values import NUMBERS

SCALE_MIN, SCALE_MAX = -6111, 6176  # DMN 1.5, table 74: the scales that a decimal128 can have
_WIDE = Context(prec=13_000, Emin=-20_000, Emax=20_000, traps=[])  # room for any scale


def rounded(number: Decimal, scale: Decimal | None, rounding: str) -> Decimal:
    """Return a number with ``scale`` digits after the point; a fraction of the scale is dropped."""
    digits = int(scale) if scale is not None else 0
    if not SCALE_MIN <= digits <= SCALE_MAX:
        raise Null(f"the scale {digits} is outside {SCALE_MIN} to {SCALE_MAX}")
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= -digits:
        return number
    return NUMBERS.plus(number.quantize(Decimal(1).scaleb(-digits), rounding=rounding, context=_WIDE))


@builtin("decimal", "n: number, scale: number")
def decimal(n: Decimal, scale: Decimal) -> Decimal:
    """Round half even."""
    return rounded(n, scale, ROUND_HALF_EVEN)


@builtin("floor", "n: number, scale?: number")
def floor(n: Decimal, scale: Decimal | None = None) -> Decimal:
    """Round down."""
    return rounded(n, scale, ROUND_FLOOR)


@builtin("ceiling", "n: number, scale?: number")
def ceiling(n: Decimal, scale: Decimal | None = None) -> Decimal:
    """Round up."""
    return rounded(n, scale, ROUND_CEILING)


@builtin("round up", "n: number, scale?: number")
def round_up(n: Decimal, scale: Decimal | None = None) -> Decimal:
    """Round away from zero."""
    return rounded(n, scale, ROUND_UP)


@builtin("round down", "n: number, scale?: number")
def round_down(n: Decimal, scale: Decimal | None = None) -> Decimal:
    """Round towards zero."""
    return rounded(n, scale, ROUND_DOWN)


@builtin("round half up", "n: number, scale?: number")
def round_half_up(n: Decimal, scale: Decimal | None = None) -> Decimal:
    """Round to the nearest, halves away from zero."""
    return rounded(n, scale, ROUND_HALF_UP)


@builtin("round half down", "n: number, scale?: number")
def round_half_down(n: Decimal, scale: Decimal | None = None) -> Decimal:
    """Round to the nearest, halves towards zero."""
    return rounded(n, scale, ROUND_HALF_DOWN)


@builtin("abs", "n: number|duration")
def absolute(n: Any) -> Any:
    """Return the value without its sign."""
    if isinstance(n, DayTimeDuration):
        return DayTimeDuration(abs(n.nanos))
    if isinstance(n, YearMonthDuration):
        return YearMonthDuration(abs(n.months))
    return n.copy_abs()


@builtin("modulo", "dividend: number, divisor: number")
def modulo(dividend: Decimal, divisor: Decimal) -> Decimal:
    """Return the remainder with the sign of the divisor."""
    if not divisor:
        raise Null("the divisor is zero")
    rest = _WIDE.remainder(dividend, divisor)
    if rest and (rest < 0) != (divisor < 0):
        rest = _WIDE.add(rest, divisor)
    return NUMBERS.plus(rest)


@builtin("sqrt", "number: number")
def square_root(number: Decimal) -> Decimal:
    """Return the square root."""
    if number < 0:
        raise Null(f"{number} is negative")
    return NUMBERS.sqrt(number)


@builtin("log", "number: number")
def logarithm(number: Decimal) -> Decimal:
    """Return the natural logarithm."""
    if number <= 0:
        raise Null(f"{number} is not above zero")
    return NUMBERS.ln(number)


@builtin("exp", "number: number")
def exponential(number: Decimal) -> Decimal:
    """Return e to that power."""
    return NUMBERS.exp(number)


@builtin("odd", "number: number")
def odd(number: Decimal) -> bool:
    """Say whether an integer is odd."""
    return _WIDE.remainder(number, Decimal(2)).copy_abs() == 1


@builtin("even", "number: number")
def even(number: Decimal) -> bool:
    """Say whether an integer is even."""
    return _WIDE.remainder(number, Decimal(2)) == 0
