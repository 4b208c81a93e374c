"""The first lines of ``dadmsctl``: Ctrl-C is answered from here on, while everything else is still being imported.

1. Until the program itself takes over nothing has been done, so it ends at once, with the code that shells have for it, and without a word.
2. A SIGINT that is ignored (``nohup``, a script's ``&``) stays ignored.
3. Before the first of these lines is Python's own start, and the import of `re` in a script that an older pip made: tens of milliseconds, more on a busy machine, in which Ctrl-C ends the program with a traceback of Python's,
   which nothing in here can prevent.
4. One that comes where nothing can be raised, such as in a callback of the import system, would be told as "Exception ignored" and lost: it comes once more.
"""

import _signal as signal  # type: ignore[import-not-found]  # CPython's own half: the other one takes ten times as long to import as all that stands here, and adds names
import os
import sys

INTERRUPTED = 130  # exits.Exit.INTERRUPTED, which is not imported yet


AGAIN = 0.02  # seconds until an interrupt that was lost comes once more: long enough to be out of that place


def _raise_again(lost: "sys.UnraisableHookArgs") -> None:
    if lost.exc_type is KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
    else:
        sys.__unraisablehook__(lost)


def main() -> None:
    """Be the program; never returns."""
    is_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heard:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from dadmsctl import __main__ as program  # the quarter of a second that this module is for

    try:
        if is_heard:
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            sys.unraisablehook = _raise_again
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = program.main()
    except KeyboardInterrupt:
        code = INTERRUPTED
    if is_heard:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said: the interpreter's own end is not to be told as a traceback
    raise SystemExit(code)
