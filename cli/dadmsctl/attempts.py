"""What a command attempts, one thing or several: a refusal says what could not be done, and of several the others are done all the same.

The kernel says ``no process 99``; what it was to be done to is known here: ``cannot kill 99: no process 99``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from dadms_ipc.errors import DadmsError, RequestRefused, Unreachable
from dadmsctl.exits import Exit, Finished, code_of
from dadmsctl.terminal import printable


@contextmanager
def attempt(what: str) -> Iterator[None]:
    """Begin a refusal with what was attempted: ``kill 99``."""
    try:
        yield
    except RequestRefused as error:
        if str(error).startswith("cannot "):
            raise
        raise RequestRefused(f"cannot {what}: {error}") from error


def given(answer: Any) -> Any:
    """Give an answer of ``call_many``, or raise the error that stands in its place."""
    if isinstance(answer, DadmsError):
        raise answer
    return answer


class Several:
    """Attempts one thing after the other; each failure is a line at once, and the first one's code is that of the command."""

    def __init__(self) -> None:
        self._code: int = Exit.DONE

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Go on after a failure, unless nobody is there to ask."""
        try:
            with attempt(what):
                yield
        except Unreachable:
            raise
        except DadmsError as error:
            click.echo(printable(f"dadmsctl: {' '.join(str(error).split())}"), err=True)
            self._code = self._code or code_of(error)

    def fail(self, sentence: str, code: Exit) -> None:
        """Say what became of one of them, and go on."""
        click.echo(printable(f"dadmsctl: {sentence}"), err=True)
        self._code = self._code or code

    def finish(self, code: int = Exit.DONE) -> None:
        """End the command with the code of the first failure, else with ``code``."""
        raise Finished(self._code or code)
