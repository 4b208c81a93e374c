"""A run that is cut short: Ctrl-C, once and twice, kill -9 of the command line, and daemons that die under it. Nothing is left, whichever it is."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl, Start, await_line

Linear = Callable[..., Path]
Handlers = Callable[[str], Path]
Running = Callable[..., "subprocess.Popen[str]"]

SLEEPS = '@handler("sleep")\ndef sleep(task):\n    import time\n    time.sleep(1e6)\n'
STUBBORN = """
import signal
@handler("sleep")
def sleep(task):
    import time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    task.progress("deaf")
    time.sleep(1e6)
"""
AT_ONCE = 1.5  # seconds; the grace of a process that does not want to stop is 5


@pytest.fixture
def running(start: Start, linear: Linear, handlers: Handlers) -> Running:
    """Give a function that starts a run and returns when its task runs."""

    def run(source: str = SLEEPS, until: str = "▶ Do sleep", *options: str | Path) -> "subprocess.Popen[str]":
        process = start("run", linear("sleep"), "--handlers", handlers(source), "--thread-timeout", "100", *options)
        await_line(process, until)
        return process

    return run


def test_ctrl_c_stops_the_process_and_says_so(running: Running) -> None:
    process = running()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Ctrl-C: asking the process to stop" in output
    assert "Traceback" not in errors


def test_a_second_ctrl_c_does_not_wait_for_the_process(running: Running) -> None:
    process = running(STUBBORN, "deaf")
    process.send_signal(signal.SIGINT)
    await_line(process, "Ctrl-C")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(30)
    assert time.monotonic() - began < AT_ONCE
    assert process.returncode == 130


def test_kill_9_of_the_command_line_leaves_nothing(running: Running, environment: dict[str, str]) -> None:
    process = running()
    [directory] = Path(environment["TMPDIR"]).glob("dadms-run-*")
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while directory.exists() and time.monotonic() < deadline:
        time.sleep(0.02)  # the daemon is nobody's child now: nothing tells of its end
    assert not directory.exists()


def test_a_terminal_that_goes_away_ends_the_run_too(running: Running, environment: dict[str, str]) -> None:
    process = running()
    process.send_signal(signal.SIGHUP)
    process.wait(30)
    deadline = time.monotonic() + 10
    while list(Path(environment["TMPDIR"]).glob("dadms-run-*")) and time.monotonic() < deadline:
        time.sleep(0.02)  # as above
    assert not list(Path(environment["TMPDIR"]).glob("dadms-run-*"))


def test_kill_9_of_the_private_keeper_is_told_and_leaves_nothing(running: Running, environment: dict[str, str]) -> None:
    process = running()
    [keeper] = psutil.Process(process.pid).children()
    keeper.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1  # 4 would say that nothing was started
    assert errors == (
        "dadmsctl: cannot go on: the private daemon has ended (signal 9): it said nothing; the work is lost, 0 tasks had ended, 1 ran\n"
    )
    assert os.listdir(environment["TMPDIR"]) == []  # noqa: PTH208 - names


@pytest.mark.parametrize("server", ["kernel", "bus", "logger"])
def test_a_server_that_dies_in_the_middle_is_a_delay_and_no_task_runs_twice(
    server: str, start: Start, ctl: Ctl, linear: Linear, handlers: Handlers, keeper_daemon: Daemon, wait_for: Callable[[Daemon], None]
) -> None:
    wait_for(keeper_daemon)
    path = handlers(
        """
import pathlib, time
def work(task, name):
    here = pathlib.Path(task.variables["place"])
    with (here / f"{name}.ran").open("a") as ran:
        ran.write("x")
    while name == "first" and not (here / "go").exists():
        time.sleep(0.005)
    return {name: True}

@handler("first")
def first(task): return work(task, "first")

@handler("second")
def second(task): return work(task, "second")
"""
    )
    here = path.parent
    at = ("--runtime-dir", str(keeper_daemon.runtime_dir))
    process = start(*at, "run", linear("first", "second"), "--handlers", path, "--set", f"place={here}")
    await_line(process, "▶ Do first")
    status = json.loads(ctl(*at, "status", "--json").stdout)
    os.kill(status["os_pid"] if server == "kernel" else status["servers"][server]["os_pid"], signal.SIGKILL)
    (here / "go").touch()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "OUTCOME  end" in output
    assert [(here / f"{name}.ran").read_text() for name in ("first", "second")] == ["x", "x"]


@pytest.mark.parametrize("milliseconds", range(0, 400, 30))
def test_ctrl_c_while_it_starts_ends_it_without_a_traceback(
    milliseconds: int, environment: dict[str, str], linear: Linear, handlers: Handlers
) -> None:
    arguments: list[str | Path] = ["run", linear("sleep"), "--handlers", handlers(SLEEPS), "-q"]
    command: list[str | Path] = [sys.executable, "-X", "importtime", "-m", "dadmsctl", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stderr is not None
        while not process.stderr.readline().endswith(" signal\n"):
            assert process.poll() is None  # what the interpreter does before our first lines is not ours
        time.sleep(0.002 + milliseconds / 1000)  # any moment will do: the answer is the same
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT), (
        errors
    )  # a shell shows 130 for both: Python's own start and end may let it be ended by the signal
    assert "Traceback" not in errors


@pytest.mark.parametrize("arguments", [("wait", "1001"), ("events", "-f"), ("logs", "-f", "1001")])
def test_who_waits_learns_soon_that_the_daemon_was_killed(
    arguments: tuple[str, ...], start: Start, ctl: Ctl, keeper_daemon: Daemon, wait_for: Callable[[Daemon], None]
) -> None:
    wait_for(keeper_daemon)
    at = ("--runtime-dir", str(keeper_daemon.runtime_dir))
    assert ctl(*at, "spawn", "sleeper", "--service", "--", "sh", "-c", "echo here; exec sleep 1000").stdout == "1001\n"
    waiting = start(*at, *arguments)
    with contextlib.suppress(subprocess.TimeoutExpired):
        waiting.wait(1.0)  # it is in the middle of its waiting
    keeper_daemon.process.kill()
    began = time.monotonic()
    _, errors = waiting.communicate(timeout=30)
    assert time.monotonic() - began < 15  # a Wait is parked for thirty seconds
    assert waiting.returncode == 3
    assert errors.splitlines()[-1].startswith("dadmsctl: cannot ")
    assert len(errors.splitlines()) == 1
