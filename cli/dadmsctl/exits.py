"""Exit codes that a script can use, and which error means which; every error leaves as one line on stderr.

A command raises; ``__main__`` alone turns errors into lines and codes. A traceback is never shown: what is not in the table is our bug, and says so.
"""

from enum import IntEnum

from dadms_ipc.errors import DadmsError, DeadlinePassed, HostFailure, RequestRefused, Unreachable


class Exit(IntEnum):
    """What a script learns."""

    DONE = 0
    FAILED = 1  # the work failed
    USAGE = 2
    NO_DAEMON = 3
    REFUSED = 4  # by the daemon, by the check of a model, or by the machine: nothing was changed
    TIMED_OUT = 5
    INTERRUPTED = 130  # 128 + SIGINT, as shells have it
    PIPE_CLOSED = 141  # 128 + SIGPIPE: whoever read our output has gone


CODE_OF: dict[type[DadmsError], Exit] = {
    RequestRefused: Exit.REFUSED,
    HostFailure: Exit.REFUSED,
    Unreachable: Exit.NO_DAEMON,
    DeadlinePassed: Exit.TIMED_OUT,
}


def code_of(error: DadmsError) -> Exit:
    """Give the exit code of an error; the nearest class of the table counts."""
    return next((CODE_OF[kind] for kind in type(error).__mro__ if kind in CODE_OF), Exit.FAILED)


class WorkLost(DadmsError):
    """What had been started ended with the machine below it, and is gone: the work failed, and that is no refusal."""

    def after(self, progress: str) -> "WorkLost":
        """Say also how far it had come: ``12 tasks had ended``."""
        return WorkLost(f"{self}; the work is lost, {progress}")


class Finished(Exception):
    """A command has said what there is to say, and ends with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
