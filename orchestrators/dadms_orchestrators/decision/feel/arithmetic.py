"""What ``+ - * / **`` mean for each pair of types: DMN 1.5, 10.3.2.13, tables 55 to 57, as one table.

Rule 1: a pair that is not in the table has no meaning.
Rule 2: a date plus a duration of days and time is the day in which the sum falls.
Rule 3: a duration times a number is cut to whole nanoseconds, or whole months, towards zero.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from dadms_orchestrators.decision.feel.calendar import DAY, MAX_YEAR, NANO, add_months
from dadms_orchestrators.decision.feel.runtime import Null
from dadms_orchestrators.decision.feel.temporal import Date, DateTime, DayTimeDuration, Time, YearMonthDuration
from dadms_orchestrators.decision.feel.values import NUMBERS, kind, midnight

MAX_AMOUNT = 10**29  # nanoseconds or months; ten times the years that dates have


def negate(value: Any) -> Any:
    """Return ``-value``."""
    if isinstance(value, Decimal):
        return NUMBERS.minus(value)
    if isinstance(value, DayTimeDuration):
        return DayTimeDuration(-value.nanos)
    if isinstance(value, YearMonthDuration):
        return YearMonthDuration(-value.months)
    raise Null(f"a {kind(value)} has no negative")


def _checked(date: Date) -> Date:
    if not -MAX_YEAR <= date.year <= MAX_YEAR:
        raise Null(f"the year {date.year} is out of range")
    return date


def _date_plus(date: Date, duration: DayTimeDuration) -> Date:
    return _checked(Date.from_days(date.days() + duration.nanos // (DAY * NANO)))


def _date_plus_months(date: Date, duration: YearMonthDuration) -> Date:
    return _checked(Date(*add_months(date.year, date.month, date.day, duration.months)))


def _moment_plus(moment: DateTime, duration: DayTimeDuration) -> DateTime:
    zone = moment.time.zone
    if isinstance(zone, str):  # the clocks of a zone may be changed in between
        found = DateTime.from_instant(moment.key()[1] + duration.nanos, zone)
    else:
        found = DateTime.from_local_nanos(moment.local_nanos() + duration.nanos, zone)
    _checked(found.date)
    return found


def _moment_plus_months(moment: DateTime, duration: YearMonthDuration) -> DateTime:
    return DateTime(_date_plus_months(moment.date, duration), moment.time)


def _time_plus(time: Time, duration: DayTimeDuration) -> Time:
    return Time.from_nanos(time.nanos() + duration.nanos, time.zone)


def _moment_minus(left: DateTime, right: DateTime) -> DayTimeDuration:
    (zoned, a), (other_zoned, b) = left.key(), right.key()
    if zoned != other_zoned:
        raise Null("one has a zone and the other has none")
    return DayTimeDuration(a - b)


def _time_minus(left: Time, right: Time) -> DayTimeDuration:
    (zoned, a), (other_zoned, b) = left.key(), right.key()
    if zoned != other_zoned:
        raise Null("one has a zone and the other has none")
    return DayTimeDuration(a - b)


def _date_minus(left: Date, right: Date) -> DayTimeDuration:
    return DayTimeDuration((left.days() - right.days()) * DAY * NANO)


def _scaled(amount: int, factor: Decimal) -> int:
    return _bounded(NUMBERS.multiply(Decimal(amount), factor))


def _bounded(amount: Decimal) -> int:
    if abs(amount) > MAX_AMOUNT:
        raise Null("the duration is out of range")
    return int(amount)


def _divided(amount: int, divisor: Decimal) -> int:
    if not divisor:
        raise Null("division by zero")
    return _bounded(NUMBERS.divide(Decimal(amount), divisor))


def _ratio(left: int, right: int) -> Decimal:
    if not right:
        raise Null("division by a duration of zero")
    return NUMBERS.divide(Decimal(left), Decimal(right))


_D, _YM, _DT = Decimal, YearMonthDuration, DayTimeDuration

ARITHMETIC: dict[tuple[str, type, type], Callable[[Any, Any], Any]] = {
    ("+", str, str): lambda a, b: a + b,
    ("+", _DT, _DT): lambda a, b: _DT(a.nanos + b.nanos),
    ("+", _YM, _YM): lambda a, b: _YM(a.months + b.months),
    ("+", Date, _DT): _date_plus,
    ("+", _DT, Date): lambda a, b: _date_plus(b, a),
    ("+", Date, _YM): _date_plus_months,
    ("+", _YM, Date): lambda a, b: _date_plus_months(b, a),
    ("+", DateTime, _DT): _moment_plus,
    ("+", _DT, DateTime): lambda a, b: _moment_plus(b, a),
    ("+", DateTime, _YM): _moment_plus_months,
    ("+", _YM, DateTime): lambda a, b: _moment_plus_months(b, a),
    ("+", Time, _DT): _time_plus,
    ("+", _DT, Time): lambda a, b: _time_plus(b, a),
    ("-", _DT, _DT): lambda a, b: _DT(a.nanos - b.nanos),
    ("-", _YM, _YM): lambda a, b: _YM(a.months - b.months),
    ("-", Date, Date): _date_minus,
    ("-", DateTime, DateTime): _moment_minus,
    ("-", Date, DateTime): lambda a, b: _moment_minus(midnight(a), b),
    ("-", DateTime, Date): lambda a, b: _moment_minus(a, midnight(b)),
    ("-", Time, Time): _time_minus,
    ("-", Date, _DT): lambda a, b: _date_plus(a, negate(b)),
    ("-", Date, _YM): lambda a, b: _date_plus_months(a, negate(b)),
    ("-", DateTime, _DT): lambda a, b: _moment_plus(a, negate(b)),
    ("-", DateTime, _YM): lambda a, b: _moment_plus_months(a, negate(b)),
    ("-", Time, _DT): lambda a, b: _time_plus(a, negate(b)),
    ("*", _DT, _D): lambda a, b: _DT(_scaled(a.nanos, b)),
    ("*", _D, _DT): lambda a, b: _DT(_scaled(b.nanos, a)),
    ("*", _YM, _D): lambda a, b: _YM(_scaled(a.months, b)),
    ("*", _D, _YM): lambda a, b: _YM(_scaled(b.months, a)),
    ("/", _DT, _D): lambda a, b: _DT(_divided(a.nanos, b)),
    ("/", _YM, _D): lambda a, b: _YM(_divided(a.months, b)),
    ("/", _DT, _DT): lambda a, b: _ratio(a.nanos, b.nanos),
    ("/", _YM, _YM): lambda a, b: _ratio(a.months, b.months),
}
