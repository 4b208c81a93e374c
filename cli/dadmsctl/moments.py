"""Moments as people write them: how long ago, or a date and time."""

import re
import time
from datetime import datetime

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}  # seconds
_AGO = re.compile(r"(?P<number>\d{1,9})\s*(?P<unit>[smhdw])(\s+ago)?")


def moment(text: str, now: float | None = None) -> float:
    """Read ``10m`` as that long ago, and ISO 8601 as local time where it names no zone."""
    if found := _AGO.fullmatch(text.strip()):
        return (time.time() if now is None else now) - int(found["number"]) * _UNITS[found["unit"]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(f"{text!r} is no moment: write how long ago, such as 10m, 2h or 1d, or 2026-11-22T10:00") from None
