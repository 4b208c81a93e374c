"""What stands after a dot of a value that is no context (DMN 1.5, table 65).

Rule 1: a value has the properties of its type and no others.
Rule 2: a part that a value may lack, such as the offset of a local time, is null.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from dadms_orchestrators.decision.feel.calendar import NANO, weekday
from dadms_orchestrators.decision.feel.temporal import Date, DateTime, DayTimeDuration, Time, YearMonthDuration, zone_text
from dadms_orchestrators.decision.feel.values import Range

NO_PROPERTY: Any = object()


def property_of(base: Any, name: str) -> Any:
    """Return the value after a dot, or NO_PROPERTY."""
    if base.__class__ is dict:
        return base.get(name, NO_PROPERTY)
    getter = PROPERTIES.get((base.__class__, name))
    return NO_PROPERTY if getter is None else getter(base)


def _offset(value: Time | DateTime) -> DayTimeDuration | None:
    offset = value.offset()
    return None if offset is None else DayTimeDuration(offset * NANO)


def _zone(value: Time) -> str | None:
    return value.zone if isinstance(value.zone, str) else (zone_text(value.zone) or None)


def _part(index: int) -> Callable[[Any], Decimal]:
    return lambda value: Decimal(value.parts()[index])


def _seconds(value: DayTimeDuration) -> Decimal:
    _, _, _, seconds, nano = value.parts()
    return Decimal(seconds) + Decimal(nano).scaleb(-9) if nano else Decimal(seconds)


def _clock_seconds(value: Time) -> Decimal:
    return Decimal(value.second) + Decimal(value.nano).scaleb(-9) if value.nano else Decimal(value.second)


PROPERTIES: dict[tuple[type, str], Callable[[Any], Any]] = {
    (Date, "year"): lambda v: Decimal(v.year),
    (Date, "month"): lambda v: Decimal(v.month),
    (Date, "day"): lambda v: Decimal(v.day),
    (Date, "weekday"): lambda v: Decimal(weekday(v.days())),
    (Time, "hour"): lambda v: Decimal(v.hour),
    (Time, "minute"): lambda v: Decimal(v.minute),
    (Time, "second"): _clock_seconds,
    (Time, "time offset"): _offset,
    (Time, "timezone"): _zone,
    (DateTime, "year"): lambda v: Decimal(v.date.year),
    (DateTime, "month"): lambda v: Decimal(v.date.month),
    (DateTime, "day"): lambda v: Decimal(v.date.day),
    (DateTime, "weekday"): lambda v: Decimal(weekday(v.date.days())),
    (DateTime, "hour"): lambda v: Decimal(v.time.hour),
    (DateTime, "minute"): lambda v: Decimal(v.time.minute),
    (DateTime, "second"): lambda v: _clock_seconds(v.time),
    (DateTime, "time offset"): _offset,
    (DateTime, "timezone"): lambda v: _zone(v.time),
    (DayTimeDuration, "days"): _part(0),
    (DayTimeDuration, "hours"): _part(1),
    (DayTimeDuration, "minutes"): _part(2),
    (DayTimeDuration, "seconds"): _seconds,
    (YearMonthDuration, "years"): _part(0),
    (YearMonthDuration, "months"): _part(1),
    (Range, "start"): lambda v: v.low,
    (Range, "end"): lambda v: v.high,
    (Range, "start included"): lambda v: v.low_closed,
    (Range, "end included"): lambda v: v.high_closed,
}
