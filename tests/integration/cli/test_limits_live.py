"""Limits of a running process that change, on this host and read back from it."""

import json
import os
import signal
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
    assert isinstance(found["limit_values"], dict)
    assert (found["limit_values"]["memory"], found["limit_values"]["files"]) == (300 << 20, 512)
    (told,) = json.loads(ctl(*at, "limits", pid, "--json").stdout)
    assert (told["limits"], told["limit_values"]) == (limits, found["limit_values"])
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


def test_what_a_definition_says_of_files_cores_and_reservations_spawn_and_run_can_say(
    ctl: Ctl, at: tuple[str, str], linear: Callable[..., Path], handlers: Callable[[str], Path]
) -> None:
    options = ("--files", "200", "--core", "0", "--memory-request", "1G", "--cpu-request", "0.25")
    pid = ctl(*at, "spawn", "web", *options, "--service", "--wait", "--", "sleep", "1000").stdout.strip()
    lines = Path(f"/proc/{status(ctl, at, pid)['os_pid']}/limits").read_text().splitlines()
    assert next(line for line in lines if line.startswith("Max open files")).split()[3:5] == ["200", "200"]
    done = ctl(*at, "spawn", "db", "--memory-request", "4G", "--", "sleep", "1000")
    assert (done.returncode, done.stderr) == (4, 'dadmsctl: cannot start "db": 4 GiB asked, 3 GiB free of 4 GiB\n')
    done = ctl(*at, "run", linear("greet"), "--handlers", handlers("x = 1\n"), "--cpu-request", "1000")
    assert done.returncode == 4
    assert "1000 cores asked, " in done.stderr
    assert (
        ctl(*at, "spawn", "none", "--files", "15", "--", "true").stderr
        == 'dadmsctl: cannot start "none": files is 15, at least 16 is needed\n'
    )


def nices(os_pid: int) -> set[int]:
    """Give the niceness of every task of an OS process and of its children."""
    found: set[int] = set()
    waiting = [os_pid]
    while waiting:
        pid = waiting.pop()
        for task in Path(f"/proc/{pid}/task").iterdir():
            found.add(os.getpriority(os.PRIO_PROCESS, int(task.name)))
            waiting += map(int, (task / "children").read_text().split())
    return found


def test_niceness_changes_live_for_all_processes_and_threads_and_for_those_to_come(ctl: Ctl, at: tuple[str, str], short_path: Path) -> None:
    up = short_path / "up"
    script = (
        "import subprocess, threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
        f"child = subprocess.Popen(['sleep', '1000']); open({str(up)!r}, 'w').write('up\\n'); time.sleep(1000)"
    )
    pid = ctl(*at, "spawn", "busy", "--service", "--", sys.executable, "-c", script).stdout.strip()
    await_file(up)
    os_pid = int(str(status(ctl, at, pid)["os_pid"]))
    assert nices(os_pid) == {0}
    done = ctl(*at, "limits", "busy", "nice=5")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nice            5 of 3 tasks, read back" in done.stdout
    assert nices(os_pid) == {5}
    done = ctl(*at, "priority", "bus*", "7")
    assert (done.returncode, done.stdout) == (0, f"{pid}  nice            7 of 3 tasks, read back\n")
    assert nices(os_pid) == {7}
    done = ctl(*at, "limits", "busy", "nice=20")
    assert (done.returncode, done.stderr) == (
        4,
        f'dadmsctl: cannot change the limits of {pid} ("busy"): nice is 20, it can be from -20 to 19\n',
    )
    assert ctl(*at, "restart", "busy").returncode == 0
    assert nices(int(str(status(ctl, at, pid)["os_pid"]))) == {7}, "the next incarnation has it as well"
    assert ctl(*at, "priority", "busy").stdout == f"{pid}  nice            7, by its main for itself\n"
    os.kill(int(json.loads(ctl(*at, "status", "--json").stdout)["os_pid"]), signal.SIGKILL)
    assert "nice            7, by" in ctl(*at, "limits", "busy").stdout, "the next kernel knows it"


def test_names_and_patterns_mean_processes_where_pids_do(ctl: Ctl, at: tuple[str, str]) -> None:
    for name in ("web-1", "web-2", "etl"):
        assert ctl(*at, "spawn", name, "--wait", "--service", "--", "sh", "-c", f"echo I am {name}; exec sleep 1000").returncode == 0
    assert json.loads(ctl(*at, "status", "etl", "--json").stdout)["pid"] == 1003
    assert [each["name"] for each in json.loads(ctl(*at, "status", "web-*", "--json").stdout)] == ["web-1", "web-2"]
    assert "I am etl" in ctl(*at, "logs", "etl").stdout
    assert "I am web-2" in ctl(*at, "logs", "*-2").stdout
    done = ctl(*at, "logs", "web-*")
    assert (done.returncode, done.stderr) == (
        4,
        'dadmsctl: cannot read the log of "web-*": it means 2 processes, 1001 (web-1), 1002 (web-2); say which\n',
    )
    for command, what in ((("logs",), "read the log of"), (("status",), "show"), (("context", "ls"), "find the context of")):
        done = ctl(*at, *command, "elt")
        assert (done.returncode, done.stderr) == (4, f'dadmsctl: cannot {what} "elt": no process is called "elt"; did you mean "etl"?\n')
    assert {each["pid"] for each in json.loads(f"[{','.join(ctl(*at, 'events', '--pid', 'etl', '--json').stdout.splitlines())}]")} == {1003}
    assert ctl(*at, "kill", "etl", "--force").returncode == 0
    assert [each["pid"] for each in json.loads(ctl(*at, "history", "etl", "--json").stdout)] == [1003]


def test_a_limit_that_is_lifted_is_shown_nowhere_also_by_the_next_kernel(ctl: Ctl, at: tuple[str, str], backend: str) -> None:
    if "no cpu" in backend:
        pytest.skip(f"limits backend here: {backend}")
    pid = ctl(*at, "spawn", "web", "--service", "--", "sleep", "1000").stdout.strip()
    assert "cpu             0.5 cores" in ctl(*at, "limits", "web", "cpu=0.5").stdout
    done = ctl(*at, "limits", "web", "cpu=none")
    assert (done.returncode, done.stderr) == (0, "")
    assert "cpu" not in done.stdout
    os.kill(int(json.loads(ctl(*at, "status", "--json").stdout)["os_pid"]), signal.SIGKILL)
    limits = status(ctl, at, pid)["limits"]
    assert isinstance(limits, dict)
    assert "cpu" not in limits
    done = ctl(*at, "limits", "web", "mem=1G")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        'dadmsctl: unknown limit "mem"; did you mean "memory"? (dadmsctl limits --help)',
    )


def test_waiting_for_readiness_goes_on_over_a_backoff(ctl: Ctl, at: tuple[str, str]) -> None:
    pid = ctl(*at, "spawn", "nr", "--service", "--ready", "notify", "--backoff", "30", "--", "sh", "-c", "exit 1").stdout.strip()
    done = ctl(*at, "wait", "nr", "--until", "ready", "--timeout", "0.3")
    assert (done.returncode, done.stdout) == (5, "")
    assert f'cannot wait longer for "nr" ({pid}): it is still ' in done.stderr
    assert ctl(*at, "start", "nr").returncode == 1
