"""When a timer is due: ISO 8601 durations and dates, in unix seconds.

Rule: a month and a year are those of the calendar in UTC; a date without a zone is in UTC, since a run must not depend on where it happens to be computed.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta

_DURATION = re.compile(
    r"P(?=[\dT])(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:[.,]\d+)?)S)?)?",
    re.ASCII,
)
MAX_TEXT_CHARS = 64


class NotATime(ValueError):
    """A text that says no time."""


def due(kind: str, text: str, *, now: float) -> float:
    """The unix time at which a timer of this kind ("timeDuration" or "timeDate") fires; raises NotATime."""
    text = text.strip()
    if len(text) > MAX_TEXT_CHARS:
        raise NotATime(f"a time of {len(text)} characters is longer than {MAX_TEXT_CHARS}")
    try:
        return _after(text, now) if kind == "timeDuration" else _date(text)
    except OverflowError:
        raise NotATime(f'"{text}" is farther away than the calendar reaches') from None


def _after(text: str, now: float) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise NotATime(f'"{text}" is not an ISO 8601 duration such as PT30S or P1DT12H')
    years, months, weeks, days, hours, minutes = (int(part or 0) for part in match.groups()[:6])
    seconds = float((match[7] or "0").replace(",", "."))
    length = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
    if not years and not months:
        return now + length
    start = datetime.fromtimestamp(now, UTC)
    year, month = divmod(start.month - 1 + months + 12 * years, 12)
    if start.year + year > datetime.max.year:
        raise NotATime(f'"{text}" is farther away than the calendar reaches')
    last = calendar.monthrange(start.year + year, month + 1)[1]
    return start.replace(year=start.year + year, month=month + 1, day=min(start.day, last)).timestamp() + length


def _date(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise NotATime(f'"{text}" is not an ISO 8601 date such as 2030-01-31T12:00:00Z') from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
