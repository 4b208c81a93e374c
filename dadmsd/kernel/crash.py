"""Crash points: where a test can have the kernel killed, at an exact place between commit and effects.

``DADMS_CRASH_AT=PLACE[:N]`` in the environment sends SIGKILL to this process when it comes to PLACE for the N-th time (the first by default). Places are
``before-commit``, ``after-commit``, ``effect:NAME`` (after an effect of that class) and ``adopted``. The epoch that crashes can be chosen with ``@EPOCH``
(``after-commit:3@2``), so that the next kernel gets past the place.
"""

import os
import signal


class CrashPoint:
    """The one place at which this kernel is to die, if any."""

    def __init__(self, text: str, *, epoch: int) -> None:
        text, _, wanted = text.partition("@")
        place, _, count = text.rpartition(":") if text.rpartition(":")[2].isdigit() else (text, "", "")
        self._place = place if not wanted or int(wanted) == epoch else ""
        self._left = int(count) if count else 1
        self.is_set = bool(self._place)

    @classmethod
    def from_environment(cls, *, epoch: int) -> "CrashPoint":
        """Read DADMS_CRASH_AT; without it, no place is deadly."""
        return cls(os.environ.get("DADMS_CRASH_AT", ""), epoch=epoch)

    def reach(self, place: str) -> None:
        """Die if this is the place and its time has come."""
        if place == self._place:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
