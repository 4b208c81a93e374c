"""``dadmsd &`` and at once a command: the command waits for a daemon that is about to run there, and for no other."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dadms_ipc import requests
from dadmsctl.door import Door
from dadmsctl.starting import YOUNG, _starting, await_start
from tests.conftest import Daemon

ANSWER = 20.0  # seconds


def await_exec(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process shows its arguments: the parent goes on in the middle of execve(2), and no user is that fast."""
    place = Path("/proc", str(process.pid), "cmdline")
    while not place.read_bytes() and process.poll() is None:
        os.sched_yield()


def test_a_command_waits_for_a_daemon_that_was_just_started(keeper_daemon: Daemon) -> None:
    await_exec(keeper_daemon.process)
    with Door(keeper_daemon.runtime_dir, ANSWER).connect() as client:  # no waiting before: its lock is not taken yet
        status = client.call(requests.Status())
    assert status.runtime_dir == str(keeper_daemon.runtime_dir)


def test_a_daemon_that_ends_at_its_start_is_not_waited_for(short_path: Path) -> None:
    (short_path / "s").write_text("no directory")
    daemon = Daemon(short_path)
    began = time.monotonic()
    assert not Door(daemon.runtime_dir, ANSWER).is_running()
    assert time.monotonic() - began < YOUNG
    assert daemon.process.wait(10) == 4


@pytest.mark.parametrize("how", ["option", "option with =", "environment", "relative"])
def test_a_starting_daemon_is_known_by_the_directory_that_it_means(how: str, short_path: Path) -> None:
    """Nobody answers there: the process only looks like a dadmsd."""
    wanted = short_path / "r"
    program = short_path / "dadmsd"
    program.write_text("import sys; sys.stdin.read()")
    arguments = {
        "option": ["--runtime-dir", str(wanted)],
        "option with =": [f"--runtime-dir={wanted}"],
        "environment": [],
        "relative": ["--runtime-dir", "r"],
    }[how]
    environment = os.environ | ({"DADMS_RUNTIME_DIR": str(wanted)} if how == "environment" else {})
    command = [sys.executable, str(program), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=short_path, env=environment) as process:
        await_exec(process)
        assert list(_starting(wanted)) == [process.pid]
        assert list(_starting(short_path / "other")) == []
        assert not await_start(short_path / "other", lambda: False, ANSWER)
        process.communicate()


def test_what_only_works_on_a_dadmsd_is_none(short_path: Path) -> None:
    command = ["sh", "-c", "read line", "vi", "dadmsd"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ | {"DADMS_RUNTIME_DIR": str(short_path)}) as process:
        await_exec(process)
        assert list(_starting(short_path)) == []
        process.communicate()
