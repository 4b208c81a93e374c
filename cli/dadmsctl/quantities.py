"""Amounts as people write and read them: ``64M`` of memory, half a core, seconds, and how long ago something was."""

import difflib
import re
import time

import click

LARGEST = 2**63 - 1  # of a number in a message; the daemon counts processes, threads and events with as many bits
NUMBER = click.IntRange(0, LARGEST)  # of a process, a thread or an event
SIZE_LIMIT = 1024**5  # bytes: 1 PiB, as for the daemon's configuration
CORES_LIMIT = 1_000_000
SECONDS_LIMIT = 30 * 24 * 3600  # thirty days, as for the daemon's configuration: longer is a unit mistaken
RATES = ("read_bytes", "write_bytes", "read_ops", "write_ops")  # a second
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}  # seconds; units as of moments.py
_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>ms|[smhd])")
_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[kmgt]?)(i?b)?", re.IGNORECASE)


def size(text: str) -> int:
    """Read bytes: ``1048576``, ``64M``, ``1.5G``, ``512MiB``; a unit is a power of 1024."""
    found = _SIZE.fullmatch(text.strip())
    amount = float(found["number"]) * _UNITS[found["unit"].lower()] if found else 0.0
    if amount < 1.0:
        raise click.BadParameter(f"{text!r} is no size: write bytes, or a number and K, M, G or T, such as 64M")
    if amount > SIZE_LIMIT:
        raise click.BadParameter(f"{text!r} is too large a size: {bytes_text(SIZE_LIMIT)} at most")
    return int(amount)


def size_or_zero(text: str) -> int:
    """Read bytes, none included."""
    return 0 if text.strip() == "0" else size(text)


def cores(text: str) -> float:
    """Read a number of cores; 0.5 is half of one."""
    return _above_zero(text, "cores", CORES_LIMIT)


def seconds(given: str | float) -> float:
    """Read a duration: ``90`` and ``1.5`` are seconds; ``500ms``, ``90s``, ``10m``, ``1h`` and ``2d`` say their unit. A number is an option's default."""
    text = str(given)
    if found := _DURATION.fullmatch(text.strip()):
        return _above_zero(repr(float(found["number"]) * _DURATIONS[found["unit"]]), "seconds", SECONDS_LIMIT, written=text)
    return _above_zero(text, "seconds", SECONDS_LIMIT, hint=", or one with ms, s, m, h or d behind it, such as 10m")


def rates(text: str) -> tuple[str, dict[str, int]]:
    """Read the rates of a device: ``/dev/sda:read_bytes=10M,write_ops=100``; a path is everything before the last colon."""
    path, colon, rest = text.rpartition(":")
    found: dict[str, int] = {}
    for part in rest.split(",") if colon and path else ():
        name, _, amount = part.partition("=")
        if name not in RATES:
            near = difflib.get_close_matches(name, RATES, 1)
            raise click.BadParameter(f"{name!r} is no rate: " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(RATES)}"))
        found[name] = size(amount)
    if not found:
        raise click.BadParameter(f"{text!r} is no rate of a device: write one such as /dev/sda:read_bytes=10M,write_ops=100")
    return path, found


def _above_zero(text: str, unit: str, limit: int, *, written: str | None = None, hint: str = "") -> float:
    """Read a number above zero; ``written`` is what a person wrote for it, and ``hint`` what else may be written."""
    said = text if written is None else written
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < float("inf"):
        raise click.BadParameter(f"{said!r} is no number of {unit} above zero{hint}")
    if number > limit:
        raise click.BadParameter(f"{said!r} are too many {unit}: {limit} at most")
    return number


def bytes_text(count: int) -> str:
    """Show bytes with the unit that leaves at most four digits: ``64 MiB``, ``1.5 GiB``; nothing for none."""
    if not count:
        return "-"
    amount, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if amount >= 10 or amount == int(amount) else f"{amount:.1f} {unit}"


def cores_text(count: float) -> str:
    """Show a number of cores."""
    return f"{count:g} core{'' if count == 1 else 's'}"


def seconds_text(seconds: float) -> str:
    """Show a duration with as many digits as mean something: ``4 ms``, ``0.21 s``, ``1 min 12 s``, ``3 h 05 min``."""
    if seconds < 0.0995:
        return f"{max(seconds, 0.0) * 1000:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def ago_text(at: float, now: float | None = None) -> str:
    """Show how long ago a moment was; nothing for one that has not been."""
    return seconds_text((time.time() if now is None else now) - at) if at else "-"
