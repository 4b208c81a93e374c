"""Ctrl-C for programs of ours, from their first lines to their last: it is raised as Python does, and none is lost.

1. One that comes where nothing can be raised, such as in a finalizer or a callback of the import system, would be told as "Exception ignored" and forgotten: the
   signal comes once more, a moment later, and again if need be. Whoever listens to it by then, hears it.
2. At its very end a program hears none: all is said, and the interpreter's own end is not to be told as a traceback.
"""

import _signal as signal  # type: ignore[import-not-found]  # CPython's own half: the other one takes ten times as long to import as all that stands here, and adds names
import sys

AGAIN = 0.02  # seconds until an interrupt that was lost comes once more: long enough to be out of that place


def _raise_again(lost: "sys.UnraisableHookArgs") -> None:
    if lost.exc_type is KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
    else:
        sys.__unraisablehook__(lost)


def hear() -> None:
    """Raise KeyboardInterrupt from here on, at the latest a moment after it was lost."""
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    sys.unraisablehook = _raise_again
    signal.signal(signal.SIGINT, signal.default_int_handler)


def end() -> None:
    """Hear none any more."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
