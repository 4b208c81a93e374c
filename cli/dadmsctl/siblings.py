"""Programs of the same installation that answer a question and end: the check of a model, the check of a configuration.

They are asked as programs, not imported: the command line stays small, and an engine that breaks on a strange file breaks alone.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from dadms_ipc.errors import DeadlinePassed, InternalError

PATIENCE = 120.0  # seconds; the largest model that is read takes a few


@dataclass(frozen=True)
class Answer:
    """What a program said; ``is_yes`` when it ended with 0."""

    is_yes: bool
    output: bytes
    complaints: list[str]  # lines of its stderr


def python(*arguments: str) -> list[str]:
    """Give the command for this installation's Python; ``-P``, since a file of the current directory must not stand in for a module."""
    return [sys.executable, "-P", *arguments]


def ask(what: str, arguments: Sequence[str]) -> Answer:
    """Run a program to its end; ``what`` names the work in errors, as in ``check "a.bpmn"``. Whatever the locale, it writes UTF-8 and so is read."""
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            python("-X", "utf8", *arguments), stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DeadlinePassed(f"cannot {what}: no answer after {PATIENCE:.0f} s") from error
    complaints = done.stderr.decode("utf-8", errors="replace").splitlines()
    if done.returncode < 0 or any(line.startswith("Traceback ") for line in complaints):
        raise InternalError(f"cannot {what}: the check itself broke ({complaints[-1] if complaints else f'signal {-done.returncode}'})")
    return Answer(done.returncode == 0, done.stdout, complaints)
