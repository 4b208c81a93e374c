"""Python and JSON values to FEEL's and back.

Rule 1: int and float become decimals (a float by its shortest text, so 0.1 is 0.1); Python's dates become FEEL's.
Rule 2: JSON has no dates, so a string becomes the date, time or duration that a declared type asks for, if it is one.
Rule 3: to JSON, a whole number is an int; any other is a float where that shows the same digits, otherwise a string;
dates, times, durations and ranges are the strings that FEEL writes; a function is its head.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from dadms_orchestrators.decision.errors import DecisionError, LimitExceeded
from dadms_orchestrators.decision.feel.calendar import NANO
from dadms_orchestrators.decision.feel.temporal import TEMPORAL, Date, DateTime, DayTimeDuration, Time
from dadms_orchestrators.decision.feel.temporaltext import parse_date, parse_date_time, parse_duration, parse_time
from dadms_orchestrators.decision.feel.types import Type
from dadms_orchestrators.decision.feel.values import Function, Range, number_text, show

MAX_DEPTH = 64  # of lists and mappings inside each other, of one variable: what the kernel keeps of an outcome
_AS_IS = frozenset((str, bool, type(None), Decimal, Range, Function, *TEMPORAL))
_READERS = {
    "date": parse_date,
    "time": parse_time,
    "date and time": parse_date_time,
    "days and time duration": parse_duration,
    "years and months duration": parse_duration,
}


def from_python(value: Any, depth: int = 0) -> Any:
    """Return a FEEL value for a Python one; raise ``DecisionError`` for what is none."""
    found = value.__class__
    if found in _AS_IS:
        if found is Decimal and not value.is_finite():
            raise DecisionError("cannot take input", f"{value} is no number")
        return value
    if found is int:
        return Decimal(value)
    if found is float:
        return _from_float(value)
    if depth > MAX_DEPTH:
        raise DecisionError("cannot take input", f"lists and mappings are nested deeper than {MAX_DEPTH}")
    if isinstance(value, Mapping):
        return {str(key): from_python(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [from_python(item, depth + 1) for item in value]
    return _from_other(value)


def _from_float(value: float) -> Decimal:
    number = Decimal(repr(value))
    if not number.is_finite():
        raise DecisionError("cannot take input", f"{value} is no number")
    return number


def _from_other(value: Any) -> Any:
    match value:
        case bool() | str() | Decimal():
            return value
        case int():
            return Decimal(value)
        case float():
            return _from_float(value)
        case datetime.datetime():
            return DateTime(Date(value.year, value.month, value.day), _clock(value.timetz()))
        case datetime.date():
            return Date(value.year, value.month, value.day)
        case datetime.time():
            return _clock(value)
        case datetime.timedelta():
            return DayTimeDuration(((value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds) * 1000)
    raise DecisionError("cannot take input", f"a Python {type(value).__name__} has no counterpart in FEEL")


def _clock(value: datetime.time) -> Time:
    zone: int | str | None = None
    key = getattr(value.tzinfo, "key", None)
    if isinstance(key, str):
        zone = key
    elif (offset := value.utcoffset()) is not None:
        zone = int(offset.total_seconds())
    return Time(value.hour, value.minute, value.second, value.microsecond * (NANO // 1_000_000), zone)


def typed(value: Any, wanted: Type | None, depth: int = 0) -> Any:
    """Return a FEEL value with its strings read as the dates and durations that a type asks for."""
    if wanted is None or value is None or depth > MAX_DEPTH:
        return value
    if isinstance(value, list):
        return [typed(item, wanted.item if wanted.kind == "list" else wanted, depth + 1) for item in value]
    if wanted.kind == "list":
        return typed(value, wanted.item, depth + 1)
    if isinstance(value, str):
        reader = _READERS.get(wanted.kind)
        found = reader(value) if reader is not None else None
        return value if found is None else found
    if isinstance(value, dict) and wanted.fields:
        return {key: typed(item, wanted.fields.get(key), depth + 1) for key, item in value.items()}
    return value


def to_json_value(value: Any, depth: int = 0) -> Any:
    """Return what ``json.dumps`` takes for a FEEL value; raise ``LimitExceeded`` where it is nested deeper than an input may be."""
    match value:
        case None | bool() | str() | int() | float():
            return value
        case Decimal():
            return _number(value)
        case list() | tuple():
            if depth >= MAX_DEPTH:
                raise _too_deep()
            return [to_json_value(item, depth + 1) for item in value]
        case Mapping():
            if depth >= MAX_DEPTH:
                raise _too_deep()
            return {str(key): to_json_value(item, depth + 1) for key, item in value.items()}
    return show(value, quoted=False)


def _too_deep() -> LimitExceeded:
    return LimitExceeded("cannot give a value", f"its lists and contexts are nested deeper than {MAX_DEPTH}")


def _number(value: Decimal) -> int | float | str:
    if value == value.to_integral_value() and value.adjusted() < 100:
        return int(value)
    shown = float(value)
    return shown if Decimal(repr(shown)) == value else number_text(value)
