"""history, explain, and whom a shutdown waits for: what a person sees of real processes."""

import json
import os
import re
import signal
import sys
import time
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


def test_every_way_to_die_has_its_honest_cause_in_the_history(ctl: Ctl, at: tuple[str, str], short_path: Path) -> None:
    ctl(*at, "spawn", "exits", "--", "sh", "-c", "exit 7")
    ctl(*at, "spawn", "burns", "--", "sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; kill -SEGV $$")
    ctl(*at, "spawn", "late", "--run-timeout", "0.1", "--", "sleep", "1000")
    ctl(*at, "spawn", "stopped", "--", "sleep", "1000")
    ctl(*at, "spawn", "shot", "--", "sleep", "1000")
    by_name = {each["name"]: each for each in json.loads(ctl(*at, "ps", "--json").stdout)}
    os.kill(by_name["shot"]["os_pid"], signal.SIGKILL)
    ctl(*at, "stop", "stopped", "--reason", "the operator")
    ctl(*at, "wait", "exits", "burns", "late", "shot")
    lives = {each["name"]: each for each in json.loads(ctl(*at, "history", "--json").stdout)}
    asked = re.compile(r"by stop from uid \d+ pid \d+: ")
    assert {name: (life["status"], asked.sub("by somebody: ", life["cause"])) for name, life in lives.items()} == {
        "exits": ("failed", "exited 7"),
        "burns": ("failed", "signal 11 (SIGSEGV)"),
        "late": ("failed", "timed out"),
        "stopped": ("stopped", "signal 15 (SIGTERM), by somebody: the operator"),
        "shot": ("failed", "signal 9 (SIGKILL)"),
    }
    assert lives["shot"]["reason"] == "signal 9 (SIGKILL), not by us"
    assert lives["burns"]["cpu_seconds"] > 0.02
    assert lives["exits"]["memory_peak"] > 0
    if "cgroup" in json.loads(ctl(*at, "status", "--json").stdout)["limits_backend"]:
        assert lives["exits"]["memory_peak"] < 8 << 20, "a shell, and not the zygote that forked it"
    table = ctl(*at, "history").stdout
    assert "SIGKILL), not by us" in table
    assert "signal 9 (SIGKILL): signal 9" not in table, "nothing is said twice"
    assert len(table.splitlines()) == 6


def test_one_that_grew_beyond_its_own_limit_is_told_from_one_that_was_shot(ctl: Ctl, at: tuple[str, str]) -> None:
    if (
        "memory" not in json.dumps(json.loads(ctl(*at, "status", "--json").stdout)["limits_backend"])
        and "rlimits" in ctl(*at, "status").stdout
    ):
        pytest.skip("no memory cgroup here: nobody counts victims")
    pid = ctl(*at, "spawn", "grows", "--memory", "64M", "--", sys.executable, "-c", "x = bytearray(1 << 30)").stdout.strip()
    ctl(*at, "wait", pid)
    found = status(ctl, at, pid)
    assert found["cause"] == "oom"
    assert "64" in str(found["limits"])
    assert "memory limit" in str(found["reason"])


def test_a_program_that_lost_one_of_its_own_to_the_oom_killer_ends_with_that_beside_its_exit(ctl: Ctl, at: tuple[str, str]) -> None:
    if "rlimits" in ctl(*at, "status").stdout:
        pytest.skip("no memory cgroup here: nobody counts victims")
    grows = f"{sys.executable} -c 'x = bytearray(1 << 30)'"
    for name, ending in (("fails", f"{grows}; exit 7"), ("shrugs", f"{grows}; exit 0"), ("sound", "exit 0")):
        assert ctl(*at, "spawn", name, "--memory", "64M", "--", "sh", "-c", ending).returncode == 0
    ctl(*at, "wait", "fails", "shrugs", "sound")
    lives = {each["name"]: each for each in json.loads(ctl(*at, "history", "--json").stdout)}
    words = "the OOM killer ended a process that it had started, beyond its memory limit"
    assert {name: (life["cause"], life["reason"], life["oom_kills"]) for name, life in lives.items()} == {
        "fails": ("exited 7", f"exited 7; {words}", 1),
        "shrugs": ("exited 0", f"exited 0; {words}", 1),
        "sound": ("exited 0", "", 0),
    }
    assert ctl(*at, "history").stdout.count(words) == 2
    assert words in ctl(*at, "explain", "shrugs").stdout


def test_one_of_a_worker_that_the_oom_killer_took_is_counted_in_the_history(
    ctl: Ctl, at: tuple[str, str], linear: Callable[..., Path], handlers: Callable[[str], Path]
) -> None:
    if "rlimits" in ctl(*at, "status").stdout:
        pytest.skip("no memory cgroup here: nobody counts victims")
    grows = """
import subprocess, sys

@handler("grows")
def grows(task: Task) -> dict:
    return {"code": subprocess.run([sys.executable, "-c", "x = bytearray(1 << 30)"]).returncode}
"""
    done = ctl(*at, "run", linear("grows"), "--handlers", handlers(grows), "--worker-memory", "96M", "--json")
    assert (done.returncode, json.loads(done.stdout)["outcome"]["variables"]["code"]) == (0, -9), done.stderr
    (life,) = json.loads(ctl(*at, "history", "--json").stdout)
    assert (life["status"], life["oom_kills"]) == ("completed", 1)


def test_how_long_one_ran_ends_with_its_exit_also_where_nobody_looked(ctl: Ctl, at: tuple[str, str], short_path: Path) -> None:
    os.mkfifo(word := short_path / "word")
    kernel = int(json.loads(ctl(*at, "status", "--json").stdout)["os_pid"])
    ctl(*at, "spawn", "brief", "--", "sh", "-c", f": < {word}")
    assert ctl(*at, "wait", "brief", "--until", "started").returncode == 0
    program = Path(f"/proc/{status(ctl, at, '1001')['os_pid']}/stat")
    os.kill(kernel, signal.SIGSTOP)
    try:
        word.open("w").close()  # nothing is written: it does not read, and may be gone by then
        while program.read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        time.sleep(1.0)  # that the kernel is late
        late = time.time()
    finally:
        os.kill(kernel, signal.SIGCONT)
    assert ctl(*at, "wait", "brief").returncode == 0
    (life,) = json.loads(ctl(*at, "history", "--json").stdout)
    assert life["started_at"] < life["exited_at"] < late < life["ended_at"]


def test_the_duration_of_one_that_was_suspended_is_that_of_the_clock(ctl: Ctl, at: tuple[str, str]) -> None:
    pid = ctl(*at, "spawn", "still", "--run-timeout", "0.8", "--", "sleep", "1000").stdout.strip()
    assert ctl(*at, "suspend", pid).returncode == 0
    time.sleep(1.0)  # longer than it may run
    assert "up for" in ctl(*at, "status", pid).stdout
    assert ctl(*at, "resume", pid).returncode == 0
    ctl(*at, "wait", pid)
    (life,) = json.loads(ctl(*at, "history", "--json").stdout)
    assert life["cause"] == "timed out"
    assert life["exited_at"] - life["started_at"] > 1.6, "what it ran, and what it stood still"
    head, row = ctl(*at, "history").stdout.splitlines()
    assert float(dict(zip(head.split(), row.split(), strict=False))["DURATION"]) > 1.6
    assert "lasted" in ctl(*at, "status", pid).stdout


def test_explain_says_what_is_waited_for(ctl: Ctl, at: tuple[str, str]) -> None:
    ctl(*at, "spawn", "flap", "--service", "--backoff", "20", "--", "sh", "-c", "exit 1")
    while status(ctl, at, "1001")["status"] != "backoff":
        time.sleep(0.01)
    shown = ctl(*at, "explain", "flap", "-v").stdout
    assert shown.startswith(
        '"flap" (1001) is in backoff, and is to stay up\n  its incarnation 1 ended: exited 1\n  the next one is started in '
    )
    assert "1 of 10 starts within 300 s are used up" in shown
    assert "process.backoff" in shown
    (taken,) = (line for line in shown.splitlines() if "GroupGone" in line)
    assert re.match(r" +20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d  GroupGone ", taken), "a moment as of the events"
    done = ctl(*at, "explain", "4711")
    assert (done.returncode, done.stderr) == (4, "dadmsctl: cannot explain 4711: no process 4711\n")


def test_a_shutdown_says_whom_it_waits_for(ctl: Ctl, at: tuple[str, str], short_path: Path) -> None:
    up = short_path / "up"
    ctl(*at, "spawn", "quick", "--service", "--", "sleep", "1000")
    ctl(*at, "spawn", "deaf", "--stop-timeout", "3", "--", "sh", "-c", f"trap '' TERM; echo up > {up}; while :; do sleep 0.1; done")
    await_file(up)
    done = ctl(*at, "shutdown")
    assert done.returncode == 0
    assert done.stderr.startswith('waiting for "deaf" (1002): OS process ')
    assert "was sent SIGTERM, and has " in done.stderr
    assert "quick" not in done.stderr


@pytest.mark.parametrize("server", ["kernel", "bus", "logger", "zygote"])
def test_a_server_that_was_killed_is_an_event_with_its_pid_and_signal_and_counted(ctl: Ctl, at: tuple[str, str], server: str) -> None:
    killed = json.loads(ctl(*at, "status", "--json").stdout)["servers"][server]["os_pid"]
    os.kill(killed, signal.SIGKILL)
    found: dict[str, object] = {"restarts": 0, "running": False}
    while not (found["restarts"] and found["running"]):  # the test's own time-out ends a wait in vain
        found = json.loads(ctl(*at, "status", "--json").stdout)["servers"][server]
    assert (found["restarts"], found["last_end"]) == (1, "signal 9 (SIGKILL)")
    told = [line.split("server.restarted")[1].strip() for line in ctl(*at, "events").stdout.splitlines() if "server.restarted" in line]
    assert told == [f"{server} was restarted as pid {found['os_pid']}: pid {killed} ended: signal 9 (SIGKILL)"]
    rows = [line.split(maxsplit=3) for line in ctl(*at, "status").stdout.splitlines() if line.startswith(server)]
    assert [server, str(found["os_pid"]), "1", "signal 9 (SIGKILL)"] in rows
