"""The first lines of ``dadmsd``: Ctrl-C is answered from here on, while everything else is still being imported.

1. Until the program itself takes over nothing has been started: it ends at once and without a word, and in order, which is exit code 0.
2. A SIGINT that is ignored (``nohup``, a script's ``&``) stays ignored until the keeper's loop takes signals its own way.
"""

import _signal as signal  # type: ignore[import-not-found]  # CPython's own half: the other one takes ten times as long to import as all that stands here, and adds names
import os

IN_ORDER = 0


def main() -> None:
    """Be the program; never returns."""
    is_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heard:
        signal.signal(signal.SIGINT, lambda *_: os._exit(IN_ORDER))
    from dadms_ipc import interrupts
    from dadmsd import __main__ as program

    code = IN_ORDER
    try:
        if is_heard:
            interrupts.hear()
        code = program.main()
    except KeyboardInterrupt:  # between two lines of ours
        pass
    interrupts.end()
    raise SystemExit(code)
