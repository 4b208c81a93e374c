"""The five temporal values of FEEL: immutable, exact to a nanosecond, over years of nine digits.

Rule 1: a zone is None (local), an offset in seconds, or the name of a zone whose offset depends on the day.
Rule 2: two values are ordered when both have a zone or neither has; otherwise FEEL knows no order, and ``order`` is None.
Rule 3: equality compares what was meant (the instant), so 10:00Z equals 11:00+01:00.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dadms_orchestrators.decision.feel.calendar import DAY, NANO, date_from_days, days_from_date, local_from_instant, offset_at

Zone = int | str | None  # offset in seconds, name, or local


class Date(msgspec.Struct, frozen=True):
    """A day of the calendar."""

    year: int
    month: int
    day: int

    def days(self) -> int:
        """Return its number, from 1970-01-01."""
        return days_from_date(self.year, self.month, self.day)

    @classmethod
    def from_days(cls, days: int) -> Date:
        """Return the date of a day's number."""
        return cls(*date_from_days(days))

    def __str__(self) -> str:
        """Return it as FEEL's ``string()`` writes it."""
        sign = "-" if self.year < 0 else ""
        return f"{sign}{abs(self.year):04d}-{self.month:02d}-{self.day:02d}"


class Time(msgspec.Struct, frozen=True, eq=False):
    """A time of day."""

    hour: int
    minute: int
    second: int
    nano: int = 0
    zone: Zone = None

    def nanos(self) -> int:
        """Return the nanoseconds since local midnight."""
        return (self.hour * 3600 + self.minute * 60 + self.second) * NANO + self.nano

    def offset(self) -> int | None:
        """Return the offset in seconds; of a named zone the one of 1970-01-01."""
        if isinstance(self.zone, str):
            return offset_at(self.zone, 0, self.nanos() // NANO)
        return self.zone

    @classmethod
    def from_nanos(cls, nanos: int, zone: Zone) -> Time:
        """Return the time that is some nanoseconds after midnight, whole days dropped."""
        seconds, nano = divmod(nanos % (DAY * NANO), NANO)
        return cls(seconds // 3600, seconds // 60 % 60, seconds % 60, nano, zone)

    def key(self) -> tuple[bool, int]:
        """Return whether it has a zone, and what orders it among those that agree in that."""
        offset = self.offset()
        return offset is not None, self.nanos() - (offset or 0) * NANO

    def __eq__(self, other: object) -> bool:
        """Compare instants."""
        return isinstance(other, Time) and self.key() == other.key()

    def __hash__(self) -> int:
        """Hash the instant."""
        return hash(self.key())

    def __str__(self) -> str:
        """Return it as FEEL's ``string()`` writes it."""
        text = f"{self.hour:02d}:{self.minute:02d}:{self.second:02d}"
        if self.nano:
            text += f".{self.nano:09d}".rstrip("0")
        return text + zone_text(self.zone)


class DateTime(msgspec.Struct, frozen=True, eq=False):
    """A day and a time of day."""

    date: Date
    time: Time

    def offset(self) -> int | None:
        """Return the offset in seconds, of a named zone the one of that day."""
        zone = self.time.zone
        if isinstance(zone, str):
            return offset_at(zone, self.date.days(), self.time.nanos() // NANO)
        return zone

    def local_nanos(self) -> int:
        """Return the nanoseconds since 1970-01-01T00:00 on the local clock."""
        return self.date.days() * DAY * NANO + self.time.nanos()

    @classmethod
    def from_local_nanos(cls, nanos: int, zone: Zone) -> DateTime:
        """Return what a local clock shows some nanoseconds after 1970-01-01T00:00."""
        days, rest = divmod(nanos, DAY * NANO)
        return cls(Date.from_days(days), Time.from_nanos(rest, zone))

    @classmethod
    def from_instant(cls, nanos: int, zone: str) -> DateTime:
        """Return what the clocks of a zone show some nanoseconds after 1970-01-01T00:00Z."""
        seconds, nano = divmod(nanos, NANO)
        days, second = local_from_instant(zone, seconds // DAY, seconds % DAY)
        return cls.from_local_nanos((days * DAY + second) * NANO + nano, zone)

    def key(self) -> tuple[bool, int]:
        """Return whether it has a zone, and what orders it among those that agree in that."""
        offset = self.offset()
        return offset is not None, self.local_nanos() - (offset or 0) * NANO

    def __eq__(self, other: object) -> bool:
        """Compare instants."""
        return isinstance(other, DateTime) and self.key() == other.key()

    def __hash__(self) -> int:
        """Hash the instant."""
        return hash(self.key())

    def __str__(self) -> str:
        """Return it as FEEL's ``string()`` writes it."""
        return f"{self.date}T{self.time}"


class DayTimeDuration(msgspec.Struct, frozen=True):
    """A number of nanoseconds, with its sign."""

    nanos: int

    def parts(self) -> tuple[int, int, int, int, int]:
        """Return days, hours, minutes, seconds and nanoseconds, each with the sign of the whole."""
        sign = -1 if self.nanos < 0 else 1
        seconds, nano = divmod(abs(self.nanos), NANO)
        minutes, hours = seconds // 60, seconds // 3600
        return sign * (hours // 24), sign * (hours % 24), sign * (minutes % 60), sign * (seconds % 60), sign * nano

    def __str__(self) -> str:
        """Return it as FEEL's ``string()`` writes it: whole days, then hours, minutes, seconds."""
        days, hours, minutes, seconds, nano = (abs(part) for part in self.parts())
        text = "-P" if self.nanos < 0 else "P"
        if days:
            text += f"{days}D"
        clock = f"{hours}H" if hours else ""
        clock += f"{minutes}M" if minutes else ""
        if seconds or nano:
            clock += f"{seconds}" + (f".{nano:09d}".rstrip("0") if nano else "") + "S"
        if clock:
            return f"{text}T{clock}"
        return text if days else "PT0S"


class YearMonthDuration(msgspec.Struct, frozen=True):
    """A number of months, with its sign."""

    months: int

    def parts(self) -> tuple[int, int]:
        """Return years and months, each with the sign of the whole."""
        sign = -1 if self.months < 0 else 1
        return sign * (abs(self.months) // 12), sign * (abs(self.months) % 12)

    def __str__(self) -> str:
        """Return it as FEEL's ``string()`` writes it: years, then months."""
        years, months = (abs(part) for part in self.parts())
        text = (f"{years}Y" if years else "") + (f"{months}M" if months else "")
        return ("-P" if self.months < 0 else "P") + (text or "0M")


Temporal = Date | Time | DateTime | DayTimeDuration | YearMonthDuration
TEMPORAL = (Date, Time, DateTime, DayTimeDuration, YearMonthDuration)


def zone_text(zone: Zone) -> str:
    """Return a zone as it follows a time."""
    if zone is None:
        return ""
    if isinstance(zone, str):
        return "@" + zone
    if zone == 0:
        return "Z"
    size = abs(zone)
    text = f"{'-' if zone < 0 else '+'}{size // 3600:02d}:{size // 60 % 60:02d}"
    return text + (f":{size % 60:02d}" if size % 60 else "")


def order(left: Any, right: Any) -> int | None:
    """Return -1, 0 or 1 for two values of one temporal type, or None where FEEL orders them not."""
    a: Any
    b: Any
    if isinstance(left, Date):
        a, b = left.days(), right.days()
    elif isinstance(left, DayTimeDuration):
        a, b = left.nanos, right.nanos
    elif isinstance(left, YearMonthDuration):
        a, b = left.months, right.months
    else:
        (zoned, a), (other_zoned, b) = left.key(), right.key()
        if zoned != other_zoned:
            return None
    return int(a > b) - int(a < b)
