"""The proleptic Gregorian calendar over years -999 999 999 to 999 999 999, as plain integers.

Rule 1: a day is a number, counted from 1970-01-01; the arithmetic is exact and needs no table.
Rule 2: zones come from the system's database, which ends at year 9999; a year outside its range borrows the rules of one
inside, a whole number of 400-year cycles away, so that weekdays and rules agree.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta, tzinfo

MAX_YEAR = 999_999_999
DAY = 86_400  # seconds
NANO = 1_000_000_000  # nanoseconds in a second
_CYCLE = 400  # years after which the calendar repeats
_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def is_leap(year: int) -> bool:
    """Say whether a year has a 29 February."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def month_length(year: int, month: int) -> int:
    """Return the days of a month."""
    return 29 if month == 2 and is_leap(year) else _MONTH_DAYS[month - 1]


def is_date(year: int, month: int, day: int) -> bool:
    """Say whether a date exists."""
    return -MAX_YEAR <= year <= MAX_YEAR and 1 <= month <= 12 and 1 <= day <= month_length(year, month)


def days_from_date(year: int, month: int, day: int) -> int:
    """Return the number of a day. Years start in March here, so that the leap day is the last one."""
    if month <= 2:
        year -= 1
        month += 12
    era, of_era = divmod(year, _CYCLE)
    of_year = (153 * (month - 3) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def date_from_days(days: int) -> tuple[int, int, int]:
    """Return year, month and day of a day's number."""
    era, of_era = divmod(days + 719_468, 146_097)
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year + era * _CYCLE + (month <= 2), month, of_year - (153 * shifted + 2) // 5 + 1


def weekday(days: int) -> int:
    """Return 1 for Monday to 7 for Sunday."""
    return (days + 3) % 7 + 1


def add_months(year: int, month: int, day: int, months: int) -> tuple[int, int, int]:
    """Return a date some months away, its day pulled back to the end of a shorter month."""
    total = year * 12 + month - 1 + months
    year, month = total // 12, total % 12 + 1
    return year, month, min(day, month_length(year, month))


@functools.lru_cache(maxsize=256)
def zone(name: str) -> tzinfo | None:
    """Return the rules of a zone such as ``Europe/Paris``, or None where the database has none."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _in_database(year: int) -> int:
    """Return a year with the same calendar and the same rules that Python's dates can hold, with room for a day around it."""
    if year < 2:
        return 2 + (year - 2) % _CYCLE
    return 9200 + year % _CYCLE if year > 9998 else year


def offset_at(name: str, days: int, second: int) -> int:
    """Return the offset of a zone, in seconds, at a local day and second of the day."""
    rules = zone(name)
    if rules is None:
        return 0
    year, month, day = date_from_days(days)
    year = _in_database(year)
    local = datetime(year, month, day, tzinfo=rules) + timedelta(seconds=second)
    offset = local.utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def local_from_instant(name: str, days: int, second: int) -> tuple[int, int]:
    """Return the local day and second of the day in a zone, given those in UTC."""
    rules = zone(name)
    if rules is None:
        return days, second
    year, month, day = date_from_days(days)
    year = _in_database(year)
    instant = datetime(year, month, day, tzinfo=UTC) + timedelta(seconds=second)
    offset = instant.astimezone(rules).utcoffset()
    shifted = second + (0 if offset is None else int(offset.total_seconds()))
    return days + shifted // DAY, shifted % DAY
