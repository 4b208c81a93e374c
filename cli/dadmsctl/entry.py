"""The first lines of ``dadmsctl``: Ctrl-C is answered from here on, while everything else is still being imported.

1. Until the program itself takes over nothing has been done, so it ends at once, with the code that shells have for it, and without a word.
2. A SIGINT that is ignored (``nohup``, a script's ``&``) stays ignored.
3. Before the first of these lines is Python's own start, and the import of `re` in a script that an older pip made: tens of milliseconds, more on a busy machine, in which Ctrl-C ends the program with a traceback of Python's,
   which nothing in here can prevent.
"""

import _signal as signal  # type: ignore[import-not-found]  # CPython's own half: the other one takes ten times as long to import as all that stands here, and adds names
import os

INTERRUPTED = 130  # exits.Exit.INTERRUPTED, which is not imported yet


def main() -> None:
    """Be the program; never returns."""
    is_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heard:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from dadms_ipc import interrupts
    from dadmsctl import __main__ as program  # the quarter of a second that this module is for

    try:
        if is_heard:
            interrupts.hear()
        code = program.main()
    except KeyboardInterrupt:
        code = INTERRUPTED
    if is_heard:
        interrupts.end()
    raise SystemExit(code)
