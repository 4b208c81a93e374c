"""Limits of a running process that change, on this host and read back from it."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl
from tests.integration.cli.test_supervision import await_file, status


@pytest.fixture
def at(keeper_daemon: Daemon, wait_for: Callable[[Daemon], None]) -> tuple[str, str]:
    """Give the options that lead to a real daemon, which answers."""
    wait_for(keeper_daemon)
    return "--runtime-dir", str(keeper_daemon.runtime_dir)


@pytest.fixture
def backend(ctl: Ctl, at: tuple[str, str]) -> str:
    """Give what holds limits here; skips where nothing holds memory."""
    name = str(json.loads(ctl(*at, "status", "--json").stdout)["limits_backend"])
    if name.startswith("rlimits") or "no memory" in name:
        pytest.skip(f"limits backend here: {name}")
    return name


def test_memory_is_raised_and_lowered_under_a_running_process(ctl: Ctl, at: tuple[str, str], backend: str, short_path: Path) -> None:
    up = short_path / "up"
    script = f"x = bytearray(80 << 20); open({str(up)!r}, 'w').write('up\\n'); import time; time.sleep(1000)"
    pid = ctl(*at, "spawn", "eater", "--memory", "200M", "--", sys.executable, "-c", script).stdout.strip()
    await_file(up)
    done = ctl(*at, "limits", pid, "memory=300M", "files=512")
    assert (done.returncode, done.stderr) == (0, "")
    assert "memory          300 MiB by cgroup" in done.stdout
    assert "files           512 by RLIMIT_NOFILE, read back" in done.stdout
    os_pid = status(ctl, at, pid)["os_pid"]
    assert "512" in next(line for line in Path(f"/proc/{os_pid}/limits").read_text().splitlines() if line.startswith("Max open files"))
    done = ctl(*at, "limits", "eater", "memory=40M", "files=256")
    assert done.returncode == 4
    assert done.stderr.startswith(f'dadmsctl: cannot change the limits of {pid} ("eater"): a memory limit of 40 MiB asked, "{pid}" uses ')
    found = status(ctl, at, pid)
    assert (found["status"], found["incarnation"]) == ("running", 1)
    limits = found["limits"]
    assert isinstance(limits, dict)
    assert "300 MiB" in limits["memory"]
    assert "512" in limits["files"], "what was refused in one part changed nothing"


def test_changed_limits_hold_under_the_next_kernel_and_for_the_next_incarnation(ctl: Ctl, at: tuple[str, str], backend: str) -> None:
    import signal

    pid = ctl(*at, "spawn", "web", "--service", "--memory", "200M", "--", "sleep", "1000").stdout.strip()
    assert ctl(*at, "limits", "web", "memory=100M", "pids=50").returncode == 0
    os.kill(int(json.loads(ctl(*at, "status", "--json").stdout)["os_pid"]), signal.SIGKILL)
    assert ctl(*at, "restart", "web").returncode == 0
    limits = status(ctl, at, pid)["limits"]
    assert isinstance(limits, dict)
    assert "100 MiB" in limits["memory"]
    assert limits["pids"].startswith("50 ")


def test_what_is_reserved_is_admitted_or_refused_with_the_numbers(ctl: Ctl, at: tuple[str, str]) -> None:
    pid = ctl(*at, "spawn", "web", "--service", "--", "sleep", "1000").stdout.strip()
    done = ctl(*at, "limits", "web", "memory-request=100G")
    assert done.returncode == 4
    assert done.stderr == f'dadmsctl: cannot change the limits of {pid} ("web"): 100 GiB asked, 4 GiB free of 4 GiB\n'
    done = ctl(*at, "limits", "web", "memry=1")
    assert done.stderr == f'dadmsctl: cannot change the limits of {pid} ("web"): unknown limit "memry"; did you mean "memory"?\n'
