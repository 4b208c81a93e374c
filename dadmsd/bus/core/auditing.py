"""The audit: which lines are written about who asked for what, and how a flood of refusals stays a few lines.

1. Every refusal and every administrative request is a line, with who, what and why. A secret is in none: a line is made of names, numbers and sentences of ours.
2. Each origin (an OS process, a key) has a burst of lines a period of its own, so that one that asks for what it may not have hides nobody else's line; and one for each verdict,
   so that it does not hide that it was cut, or what it did. What is beyond it is counted, and the count is a line at the period's end, with the last reason.
3. Origins are bounded: those beyond ORIGINS share one burst.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dadmsd.bus.core.events import NOBODY, Audit, Who

BURST = 20  # lines a period and origin
PERIOD = 10.0  # seconds
ORIGINS = 256  # that have a burst of their own in one period
NOTES = 50  # lines a period about nobody in particular
REASON = 400  # characters of a reason: peers choose parts of it

Origin = tuple[str, int, int, str, str]  # verdict, and who


@dataclass(slots=True)
class _Window:
    """What one origin was granted since its period began."""

    who: Who | None
    subject: str
    lines: int = 0
    silenced: int = 0
    last: str = ""


class Auditor:
    """Decides which lines are written."""

    def __init__(self, write: Callable[[Audit], None]) -> None:
        self._write = write
        self._windows: dict[Origin | None, _Window] = {}
        self._since = float("-inf")
        self.silenced = 0  # lines, since the bus started
        self.due: float | None = None  # when what was left out is summed up

    def record(self, verdict: str, who: Who | None, subject: str, what: str, why: str, now: float, text: str = "") -> None:
        """Write a line; ``text`` is what is said of it in the daemon's own log, when that is not ``verdict subject: why``."""
        self._turn(now)
        window = self._window(verdict, who, subject)
        window.lines += 1
        why = why if len(why) <= REASON else f"{why[:REASON]}…"
        if window.lines <= (NOTES if who is None else BURST):
            said = text or (f"{verdict} {subject}: {why}" if why else f"{verdict} {subject}: {what}")
            self._write(Audit(said, verdict, who, subject, what, why))
            return
        window.silenced += 1
        window.last = why
        self.silenced += 1
        self.due = self._since + PERIOD

    def _window(self, verdict: str, who: Who | None, subject: str) -> _Window:
        origin = None if who is None else (verdict, who.uid, who.pid, who.key, who.address)
        window = self._windows.get(origin)
        if window is None:
            if len(self._windows) >= ORIGINS:
                who, subject = NOBODY, "many others"
                origin = (verdict, NOBODY.uid, NOBODY.pid, "", "")
                window = self._windows.get(origin)
            if window is None:
                window = self._windows[origin] = _Window(who, subject)
        return window

    def flush(self, now: float) -> None:
        """Sum up what was left out, if its period is over."""
        self._turn(now)

    def _turn(self, now: float) -> None:
        if now - self._since < PERIOD:
            return
        self._since, self.due = now, None
        windows, self._windows = self._windows, {}
        for window in windows.values():
            if window.silenced:
                about = f" about {window.subject}" if window.subject else ""
                why = f"{window.silenced} more lines in {PERIOD:g} s were left out, the last: {window.last}"
                text = f"{window.silenced} lines{about} were left out, the last: {window.last}"
                self._write(Audit(text, "repeated", window.who, window.subject, "", why))
