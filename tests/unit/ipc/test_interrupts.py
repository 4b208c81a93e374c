"""A Ctrl-C that Python loses is heard all the same, by each of the two programs: in a finalizer no exception can be raised."""

import subprocess
import sys
from pathlib import Path

import pytest

LOSES = """
import signal, sys, time

class Loses:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        for _ in range(1000):  # the exception comes between two of these
            pass
        raise SystemError("it was not raised here")
"""
LIBRARY = """
from dadms_ipc import interrupts
interrupts.hear()
Loses()
try:
    time.sleep(60)
except KeyboardInterrupt:
    interrupts.end()
    signal.raise_signal(signal.SIGINT)
    print("heard")
"""
PROGRAM = """
from {package} import __main__ as program, entry
asked = program.main
def main():
    Loses()
    {then}
program.main = main
sys.argv = {arguments!r}
entry.main()
"""


def _run(script: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", LOSES + script], capture_output=True, text=True, timeout=50, check=False)


def test_an_interrupt_that_was_lost_comes_once_more_and_none_comes_at_the_end() -> None:
    """Nobody sees a word about an exception that was ignored."""
    done = _run(LIBRARY)
    assert (done.returncode, done.stdout, done.stderr) == (0, "heard\n", "")


@pytest.mark.usefixtures("no_leaks")
def test_the_daemon_ends_in_order_when_it_lost_one_at_its_start(short_path: Path) -> None:
    """It comes back in the middle of the start, or when the loop listens in its own way: both end it."""
    arguments = ["dadmsd", "--runtime-dir", str(short_path / "r"), "--state-dir", str(short_path / "s")]
    done = _run(PROGRAM.format(package="dadmsd", then="return asked()", arguments=arguments))
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_the_command_line_is_interrupted_when_it_lost_one() -> None:
    """With the code that shells have for it."""
    done = _run(PROGRAM.format(package="dadmsctl", then="time.sleep(60)", arguments=["dadmsctl"]))
    assert (done.returncode, done.stderr) == (130, "")
