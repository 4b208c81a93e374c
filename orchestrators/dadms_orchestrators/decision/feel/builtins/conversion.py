"""Functions that make one type from another."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from dadms_orchestrators.decision.feel.builtins.registry import builtin
from dadms_orchestrators.decision.feel.calendar import NANO, is_date
from dadms_orchestrators.decision.feel.runtime import Null
from dadms_orchestrators.decision.feel.temporal import Date, DateTime, DayTimeDuration, Time, YearMonthDuration, Zone
from dadms_orchestrators.decision.feel.temporaltext import (
    MAX_OFFSET,
    parse_date,
    parse_date_time,
    parse_duration,
    parse_time,
    parse_zone,
)
from dadms_orchestrators.decision.feel.values import NUMBERS

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_GROUPS, _POINTS = frozenset((" ", ",", ".")), frozenset((",", "."))


@builtin("number", "from: string, grouping separator?: string?, decimal separator?: string?")
def number(text: str, grouping: str | None = None, point: str | None = None) -> Decimal:
    """Return the number that a text writes with the given separators."""
    if grouping is not None and grouping not in _GROUPS:
        raise Null(f"{grouping!r} groups no digits")
    if point is not None and (point not in _POINTS or point == grouping):
        raise Null(f"{point!r} is no decimal separator here")
    if grouping is not None:
        text = text.replace(grouping, "")
    if point is not None and point != ".":
        text = text.replace(".", "\0").replace(point, ".")
    if not _NUMBER.fullmatch(text):
        raise Null("the text is no number")
    return NUMBERS.create_decimal(text)


def _found(value: Any, what: str, text: str) -> Any:
    if value is None:
        raise Null(f'"{text}" is no {what}')
    return value


@builtin("date", "from: string|date|date and time")
def date(value: Any) -> Date:
    """Return a text, or the day of a date and time, as a date."""
    if isinstance(value, DateTime):
        return value.date
    return value if isinstance(value, Date) else _found(parse_date(value), "date", value)


@builtin("date", "year: number, month: number, day: number")
def date_of_parts(year: Decimal, month: Decimal, day: Decimal) -> Date:
    """Return a date from its parts."""
    parts = int(year), int(month), int(day)
    if any(part != part.to_integral_value() for part in (year, month, day)) or not is_date(*parts):
        raise Null(f"{year}-{month}-{day} is no day of the calendar")
    return Date(*parts)


@builtin("time", "from: string|time|date and time")
def time(value: Any) -> Time:
    """Return a text, or the clock of a date and time, as a time."""
    if isinstance(value, DateTime):
        return value.time
    return value if isinstance(value, Time) else _found(parse_time(value), "time", value)


@builtin("time", "hour: number, minute: number, second: number, offset?: days and time duration?")
def time_of_parts(hour: Decimal, minute: Decimal, second: Decimal, offset: DayTimeDuration | None = None) -> Time:
    """Return a time from its parts."""
    return _clock(hour, minute, second, _offset(offset))


def _offset(offset: DayTimeDuration | None) -> Zone:
    if offset is None:
        return None
    seconds = offset.nanos // NANO
    if abs(seconds) > MAX_OFFSET:
        raise Null(f"no zone is {offset} from UTC")
    return seconds


def _clock(hour: Decimal, minute: Decimal, second: Decimal, zone: Zone) -> Time:
    whole = int(second)
    if int(hour) != hour or int(minute) != minute or not (0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second < 60):
        raise Null(f"{hour}:{minute}:{second} is no time of day")
    return Time(int(hour), int(minute), whole, int((second - whole) * NANO), zone)


@builtin("date and time", "from: string|date and time")
def date_and_time(value: Any) -> DateTime:
    """Return a text as a date and time; a date alone means its midnight."""
    if isinstance(value, DateTime):
        return value
    found = parse_date_time(value)
    if found is None and (day := parse_date(value)) is not None:
        found = DateTime(day, Time(0, 0, 0))
    return _found(found, "date and time", value)  # type: ignore[no-any-return] # a DateTime by the parser


@builtin("date and time", "date: date|date and time, time: time")
def date_and_time_joined(day: Any, clock: Time) -> DateTime:
    """Return a date and a time as one value."""
    return DateTime(day.date if isinstance(day, DateTime) else day, clock)


@builtin("date and time", "date: date and time, timezone: string")
def date_and_time_in_zone(moment: DateTime, timezone: str) -> DateTime:
    """Return the same instant as the clocks of a zone show it."""
    zone, valid = parse_zone(timezone if timezone[:1] in ("Z", "+", "-", "") else "@" + timezone)
    if not valid or zone is None:
        raise Null(f'"{timezone}" is no zone')
    has_zone, instant = moment.key()
    if not has_zone:
        return DateTime(moment.date, Time.from_nanos(moment.time.nanos(), zone))
    if isinstance(zone, str):
        return DateTime.from_instant(instant, zone)
    return DateTime.from_local_nanos(instant + zone * NANO, zone)


_PARTS = "year: number, month: number, day: number, hour: number, minute: number, second: number"


@builtin("date and time", f"{_PARTS}, offset?: days and time duration?")
def date_and_time_of_parts(
    year: Decimal, month: Decimal, day: Decimal, hour: Decimal, minute: Decimal, second: Decimal, offset: DayTimeDuration | None = None
) -> DateTime:  # fmt: skip
    """Return a date and time from its parts."""
    return DateTime(date_of_parts(year, month, day), _clock(hour, minute, second, _offset(offset)))


@builtin("date and time", f"{_PARTS}, timezone: string")
def date_and_time_of_zone(
    year: Decimal, month: Decimal, day: Decimal, hour: Decimal, minute: Decimal, second: Decimal, timezone: str
) -> DateTime:  # fmt: skip
    """Return a date and time from its parts, the last one a zone's name."""
    zone, valid = parse_zone(timezone if timezone[:1] in ("Z", "+", "-", "") else "@" + timezone)
    if not valid:
        raise Null(f'"{timezone}" is no zone')
    return DateTime(date_of_parts(year, month, day), _clock(hour, minute, second, zone))


@builtin("duration", "from: string|duration")
def duration(value: Any) -> DayTimeDuration | YearMonthDuration:
    """Return a text as a duration."""
    if not isinstance(value, str):
        return value  # type: ignore[no-any-return] # a duration by the form
    return _found(parse_duration(value), "duration", value)  # type: ignore[no-any-return] # a duration by the parser


@builtin("years and months duration", "from: date|date and time, to: date|date and time")
def years_and_months(first: Any, last: Any) -> YearMonthDuration:
    """Return the whole months between two days."""
    a = first.date if isinstance(first, DateTime) else first
    b = last.date if isinstance(last, DateTime) else last
    months = (b.year - a.year) * 12 + b.month - a.month
    if months > 0 and b.day < a.day:
        months -= 1
    elif months < 0 and b.day > a.day:
        months += 1
    return YearMonthDuration(months)
