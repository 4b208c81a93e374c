"""Functions of dates and times."""

from __future__ import annotations

from decimal import Decimal

from dadms_orchestrators.decision.feel.builtins.registry import builtin
from dadms_orchestrators.decision.feel.calendar import days_from_date, weekday
from dadms_orchestrators.decision.feel.temporal import Date, DateTime, Time

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def _day(value: Date | DateTime) -> Date:
    return value.date if isinstance(value, DateTime) else value


@builtin("day of year", "date: date|date and time")
def day_of_year(value: Date | DateTime) -> Decimal:
    """Return 1 for 1 January."""
    day = _day(value)
    return Decimal(day.days() - days_from_date(day.year, 1, 1) + 1)


@builtin("day of week", "date: date|date and time")
def day_of_week(value: Date | DateTime) -> str:
    """Return the English name of the day."""
    return WEEKDAYS[weekday(_day(value).days()) - 1]


@builtin("month of year", "date: date|date and time")
def month_of_year(value: Date | DateTime) -> str:
    """Return the English name of the month."""
    return MONTHS[_day(value).month - 1]


@builtin("week of year", "date: date|date and time")
def week_of_year(value: Date | DateTime) -> Decimal:
    """Return the week of ISO 8601: the one with a Thursday in the year."""
    days = _day(value).days()
    thursday = days + 4 - weekday(days)
    return Decimal((thursday - days_from_date(Date.from_days(thursday).year, 1, 1)) // 7 + 1)


@builtin("now", "")
def now() -> DateTime:
    """Return the present moment, in UTC."""
    from datetime import UTC, datetime

    moment = datetime.now(UTC)
    clock = Time(moment.hour, moment.minute, moment.second, moment.microsecond * 1000, 0)
    return DateTime(Date(moment.year, moment.month, moment.day), clock)


@builtin("today", "")
def today() -> Date:
    """Return the present day, in UTC."""
    day: Date = now().date
    return day
