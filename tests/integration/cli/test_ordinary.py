"""A run by an ordinary user, to whom no cgroup is delegated: what was asked for is held or refused, and what nobody asked for stops nobody."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.cli.conftest import PATIENCE

Run = Callable[..., subprocess.CompletedProcess[str]]

NOBODY = 65534
# An ordinary user who may read what root may: the interpreter that runs the tests can stand in root's home.
ORDINARY = ("--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")  # fmt: skip
GREET = "@handler('greet')\ndef greet(task):\n    return {'greeting': 'hello'}\n"
DEFAULTS = "not enforced on a whole tree here, and nobody asked for it: memory = 2 GiB, pids = 256, worker_memory = 1 GiB; -v says why\n"
UNENFORCED = ("memory = 2 GiB for the whole tree", "pids = 256")


@pytest.fixture
def prefix(short_path: Path, environment: dict[str, str]) -> list[str | Path]:
    """Give the command before a command that runs it as an ordinary user, in a directory of their own."""
    if os.geteuid() != 0:
        return []
    program = shutil.which("setpriv")
    if program is None:
        pytest.skip("setpriv is not installed, and root is no ordinary user")
    short_path.parent.chmod(0o711)  # of the test session: access(2) does not know that this user may read everything
    for path in (short_path, environment["TMPDIR"]):
        os.chown(path, NOBODY, NOBODY)
    return [program, *ORDINARY]


@pytest.fixture
def run(prefix: list[str | Path], environment: dict[str, str]) -> Run:
    """Run a command of ours to its end as an ordinary user."""

    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        command = [*prefix, sys.executable, "-m", "dadmsctl", *arguments]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, env=environment, text=True, capture_output=True, timeout=PATIENCE, check=False
        )

    return run


@pytest.fixture
def model(linear: Callable[..., Path], handlers: Callable[[str], Path]) -> list[str | Path]:
    """Give a run's model and its handlers."""
    return [linear("greet"), "--handlers", handlers(GREET)]


@pytest.fixture
def stays(run: Run, prefix: list[str | Path], environment: dict[str, str]) -> Iterator[None]:
    """Keep a daemon of that user running, by rlimits alone."""
    command = [*prefix, sys.executable, "-m", "dadmsd", "--state-dir", f"{environment['TMPDIR']}/state"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        try:
            assert "ready" in daemon.stderr.readline()
            if "rlimits only" not in run("status").stdout:
                pytest.skip("a cgroup is delegated to this user")
            yield
        finally:
            daemon.terminate()
            daemon.communicate()


def test_a_first_run_succeeds_and_says_which_limits_are_not_enforced(run: Run, model: list[str | Path], stays: None) -> None:
    done = run("run", *model)
    assert (done.returncode, done.stderr) == (0, "")
    assert "hello" in done.stdout
    assert "⚠" not in done.stdout, "nothing is wrong"
    assert done.stdout.count("not enforced") == done.stdout.count(DEFAULTS) == 1
    told = run("run", *model, "-v").stdout
    for words in UNENFORCED:
        assert f"⚠ not enforced: {words}" in told


def test_a_limit_that_was_asked_for_is_refused_unless_it_is_a_wish(run: Run, model: list[str | Path], stays: None) -> None:
    done = run("run", *model, "--pids", "50")
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].startswith('dadmsctl: cannot start "order": pids = 50 ')
    assert "not enforced: memory = 2 GiB, worker_memory = 1 GiB, which a run has by default" in done.stdout
    assert "ready after" not in done.stdout
    done = run("run", *model, "--pids", "50", "--best-effort", "-q")
    assert done.returncode == 0, done.stderr
    [warning] = [line for line in done.stdout.splitlines() if "⚠" in line]
    assert warning.strip().startswith("⚠ not enforced: memory = 2 GiB for the whole tree, pids = 50, worker_memory = 1 GiB")


def test_on_a_daemon_of_ones_own_every_limit_is_a_wish(run: Run, model: list[str | Path]) -> None:
    done = run("run", *model, "--cpu", "1")
    assert done.returncode == 0, done.stderr
    if "limits by rlimits only" not in done.stdout:
        pytest.skip("a cgroup is delegated to this user")
    assert "⚠ not enforced: cpu = 1 core:" in done.stdout, "it was asked for"
    assert done.stdout.count("⚠") == done.stdout.count(DEFAULTS) == 1
    assert "hello" in done.stdout
