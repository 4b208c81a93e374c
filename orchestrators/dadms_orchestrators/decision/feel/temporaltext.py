"""Texts to temporal values: the lexical forms of XML Schema with FEEL's zones, and nothing looser.

Rule 1: a text that is not exactly one value is None, never an exception.
Rule 2: years have four digits, or more without a leading zero; fractions keep nine digits.
"""

from __future__ import annotations

import re

from dadms_orchestrators.decision.feel.calendar import NANO, is_date, zone
from dadms_orchestrators.decision.feel.temporal import (
    Date,
    DateTime,
    DayTimeDuration,
    Temporal,
    Time,
    YearMonthDuration,
    Zone,
)

MAX_OFFSET = 18 * 3600  # seconds; wider zones do not exist in java.time, which the conformance kit assumes
MAX_DIGITS = 20  # of a number inside a duration

_DATE = r"(-?(?:[1-9]\d{4,8}|\d{4}))-(\d\d)-(\d\d)"
_TIME = r"(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d(?::\d\d)?|@[A-Za-z0-9_+\-/]+)?"
_DATE_ONLY = re.compile(_DATE, re.ASCII)
_TIME_ONLY = re.compile("T?" + _TIME, re.ASCII)
_DATE_TIME = re.compile(f"{_DATE}T{_TIME}", re.ASCII)
_DAYS = re.compile(r"(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d*))?S)?)?", re.ASCII)
_MONTHS = re.compile(r"(-?)P(?:(\d+)Y)?(?:(\d+)M)?", re.ASCII)


def parse_date(text: str) -> Date | None:
    """Return the date that a text writes."""
    found = _DATE_ONLY.fullmatch(text)
    return _date(found.group(1, 2, 3)) if found else None


def parse_time(text: str) -> Time | None:
    """Return the time that a text writes."""
    found = _TIME_ONLY.fullmatch(text)
    return _time(found.group(1, 2, 3, 4, 5)) if found else None


def parse_date_time(text: str) -> DateTime | None:
    """Return the date and time that a text writes."""
    found = _DATE_TIME.fullmatch(text)
    if found is None:
        return None
    date = _date(found.group(1, 2, 3))
    if date is None:
        return None
    if found.group(4, 5, 6) == ("24", "00", "00") and not int(found.group(7) or 0):
        midnight = _time(("00", "00", "00", None, found.group(8)))
        return DateTime(Date.from_days(date.days() + 1), midnight) if midnight else None
    time = _time(found.group(4, 5, 6, 7, 8))
    return DateTime(date, time) if time else None


def parse_duration(text: str) -> DayTimeDuration | YearMonthDuration | None:
    """Return the duration that a text writes, of whichever kind."""
    if len(text) < 3 or text[-1] in "PT":
        return None
    found = _MONTHS.fullmatch(text)
    if found:
        sign, years, months = found.groups()
        if max(len(years or ""), len(months or "")) > MAX_DIGITS:
            return None
        total = int(years or 0) * 12 + int(months or 0)
        return YearMonthDuration(-total if sign else total)
    found = _DAYS.fullmatch(text)
    if found is None or max(len(part or "") for part in found.groups()[1:5]) > MAX_DIGITS:
        return None
    sign, days, hours, minutes, seconds, fraction = found.groups()
    whole = ((int(days or 0) * 24 + int(hours or 0)) * 60 + int(minutes or 0)) * 60 + int(seconds or 0)
    nanos = whole * NANO + _fraction(fraction)
    return DayTimeDuration(-nanos if sign else nanos)


def parse_temporal(text: str) -> Temporal | None:
    """Return what ``@"text"`` means."""
    return parse_date(text) or parse_date_time(text) or parse_time(text) or parse_duration(text)


def _date(parts: tuple[str | None, ...]) -> Date | None:
    year, month, day = (int(part or 0) for part in parts)
    if parts[0] == "-0000" or not is_date(year, month, day):
        return None
    return Date(year, month, day)


def _time(parts: tuple[str | None, ...]) -> Time | None:
    hour, minute, second = (int(part or 0) for part in parts[:3])
    found, valid = parse_zone(parts[4] or "")
    if hour > 23 or minute > 59 or second > 59 or not valid:
        return None
    return Time(hour, minute, second, _fraction(parts[3]), found)


def _fraction(digits: str | None) -> int:
    return int((digits or "0")[:9].ljust(9, "0"))


def parse_zone(text: str) -> tuple[Zone, bool]:
    """Return the zone that follows a time, and whether it is one."""
    if not text:
        return None, True
    if text == "Z":
        return 0, True
    if text[0] == "@":
        return text[1:], zone(text[1:]) is not None
    hours, minutes, *seconds = (int(part) for part in text[1:].split(":"))
    size = hours * 3600 + minutes * 60 + (seconds[0] if seconds else 0)
    return (-size if text[0] == "-" else size), size <= MAX_OFFSET and minutes < 60 and (not seconds or seconds[0] < 60)
