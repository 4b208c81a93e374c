"""Services and tools as a person and a script use them, against a real daemon with real programs."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl


@pytest.fixture
def at(keeper_daemon: Daemon, wait_for: Callable[[Daemon], None]) -> tuple[str, str]:
    """Give the options that lead to a real daemon, which answers."""
    wait_for(keeper_daemon)
    return "--runtime-dir", str(keeper_daemon.runtime_dir)


def status(ctl: Ctl, at: tuple[str, str], pid: str | int) -> dict[str, object]:
    found: dict[str, object] = json.loads(ctl(*at, "status", str(pid), "--json").stdout)
    return found


def await_file(path: Path) -> str:
    """Wait for a program to write a line; the test's own time-out ends a wait in vain."""
    while not path.exists() or not path.read_text().endswith("\n"):
        time.sleep(0.005)
    return path.read_text().strip()


def test_a_tool_ends_with_its_exit_code_and_its_output_is_in_its_log(ctl: Ctl, at: tuple[str, str]) -> None:
    done = ctl(*at, "spawn", "greet", "--env", "WHO=you", "--", "sh", "-c", 'echo "hello $WHO from $DADMS_PID"; exit 3')
    assert (done.returncode, done.stderr) == (0, "")
    pid = done.stdout.strip()
    assert ctl(*at, "wait", "greet").stdout == f'"greet" ({pid}) failed: exited 3\n'
    assert ctl(*at, "wait", pid, "--exit-code").returncode == 3
    assert f"hello you from {pid}" in ctl(*at, "logs", pid).stdout
    found = status(ctl, at, pid)
    assert (found["exit_code"], found["exit_signal"], found["status"], found["kind"]) == (3, None, "failed", "tool")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--", "/no/such/program"], 'cannot run "/no/such/program": No such file or directory'),
        (["--", "no-such-program"], 'cannot run "no-such-program": No such file or directory'),
        (["--directory", "/no/such", "--", "true"], 'cannot work in "/no/such": No such file or directory'),
        (["--", "/etc/passwd"], 'cannot run "/etc/passwd": Permission denied'),
    ],
)
def test_a_command_that_cannot_run_is_refused_with_the_reason_and_leaves_nothing(
    ctl: Ctl, at: tuple[str, str], options: list[str], reason: str
) -> None:
    done = ctl(*at, "spawn", "broken", "--service", *options)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == f'dadmsctl: cannot start "broken" (1001): {reason}\n'
    assert ctl(*at, "wait", "broken").returncode == 1
    assert json.loads(ctl(*at, "ps", "--json").stdout) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone may name another user")
def test_a_user_that_does_not_exist_is_refused_and_one_that_does_is_taken(ctl: Ctl, at: tuple[str, str], short_path: Path) -> None:
    done = ctl(*at, "spawn", "stranger", "--user", "987654", "--", "true")
    assert (done.returncode, done.stderr) == (
        4,
        'dadmsctl: cannot start "stranger" (1001): cannot run as user 987654: there is no such user\n',
    )
    show = 'echo $(id -u):$(id -g):$(umask):$(nice):$(pwd):$(grep -i nonewprivs /proc/self/status | cut -f2)'  # fmt: skip
    options = ["--user", "65534", "--gid", "65534", "--umask", "027", "--nice", "5", "--directory", "/usr", "--no-new-privileges"]
    pid = ctl(*at, "spawn", "nobody", *options, "--", "sh", "-c", show).stdout.strip()
    ctl(*at, "wait", pid)
    assert "65534:65534:0027:5:/usr:1" in ctl(*at, "logs", pid).stdout


def test_who_requires_what_has_failed_is_told_at_once_and_shown_with_the_remedy(ctl: Ctl, at: tuple[str, str], short_path: Path) -> None:
    flag = short_path / "repaired"
    db = ctl(*at, "spawn", "db", "--", "sh", "-c", f"test -e {flag}").stdout.strip()
    assert ctl(*at, "wait", "db").returncode == 1
    done = ctl(*at, "spawn", "web", "--requires", "db", "--", "true")
    web = done.stdout.strip()
    why = f'requires "db" ({db}), which failed (exited 1), and comes back when somebody starts it: dadmsctl start {db}'
    assert (done.returncode, done.stderr) == (0, f'dadmsctl: warning: "web" ({web}) waits: it {why}\n')
    assert why in ctl(*at, "ps").stdout
    assert why in ctl(*at, "status", "web").stdout
    explained = ctl(*at, "explain", "db", "web").stdout
    assert f'"db" ({db}) has ended\n' in explained
    assert f'"web" ({web}) is waiting, and is to run to its end\n' in explained
    started = ctl(*at, "start", "web", "--timeout", "0.2")
    assert (started.returncode, started.stderr) == (
        5,
        f'{done.stderr}dadmsctl: cannot wait longer for "web" ({web}): it is still waiting: it {why}\n',
    )
    flag.touch()
    ctl(*at, "start", "db")
    assert ctl(*at, "wait", "web").stdout == f'"web" ({web}) completed\n'


def test_a_service_comes_back_and_a_stopped_one_does_not(ctl: Ctl, at: tuple[str, str]) -> None:
    pid = ctl(*at, "spawn", "web", "--service", "--", "sleep", "1000").stdout.strip()
    os.kill(int(str(status(ctl, at, pid)["os_pid"])), signal.SIGKILL)
    while status(ctl, at, pid)["incarnation"] != 2 or status(ctl, at, pid)["status"] != "running":
        time.sleep(0.01)
    assert ctl(*at, "restart", "web").returncode == 0
    assert (status(ctl, at, pid)["incarnation"], status(ctl, at, pid)["status"]) == (3, "running")
    assert ctl(*at, "stop", "w?b", "--reason", "the night shift").returncode == 0
    found = status(ctl, at, pid)
    assert (found["status"], found["desired"]) == ("stopped", "down")
    assert re.fullmatch(r"signal 15 \(SIGTERM\), by stop from uid \d+ pid \d+: the night shift", str(found["cause"]))
    assert ctl(*at, "start", "web").returncode == 0
    assert (status(ctl, at, pid)["incarnation"], status(ctl, at, pid)["status"]) == (4, "running")


def test_groups_are_stopped_together_and_unknown_names_are_refused(ctl: Ctl, at: tuple[str, str]) -> None:
    for name in ("a", "b"):
        ctl(*at, "spawn", name, "--service", "--group", "night", "--", "sleep", "1000")
    done = ctl(*at, "stop", "group:night", "nobody")
    assert (done.returncode, done.stderr) == (4, 'dadmsctl: cannot stop "nobody": no process is called "nobody"; there are a, b\n')
    assert json.loads(ctl(*at, "ps", "--json").stdout) == []


def test_a_stop_takes_the_whole_tree_and_gives_each_of_it_the_grace(ctl: Ctl, at: tuple[str, str], short_path: Path) -> None:
    """A grandchild in a session of its own puts its things in order after the main has gone; one that ignores the signal ends at the deadline."""
    gentle, told = short_path / "gentle", short_path / "told"
    grandchild = f'trap "sleep 0.3; echo in order > {told}; exit" TERM; echo $$ > {gentle}; while :; do sleep 0.01; done'
    ctl(*at, "spawn", "tree", "--service", "--", "sh", "-c", f"setsid sh -c '{grandchild}' & sleep 1000")
    os_pid = await_file(gentle)
    assert ctl(*at, "stop", "tree").returncode == 0
    assert told.read_text() == "in order\n"
    assert not Path("/proc", os_pid).exists()

    stubborn = short_path / "stubborn"
    script = f"trap '' TERM; echo $$ > {stubborn}; while :; do sleep 0.01; done"
    ctl(*at, "spawn", "stubborn", "--service", "--stop-timeout", "0.3", "--", "sh", "-c", script)
    os_pid = await_file(stubborn)
    assert ctl(*at, "stop", "stubborn").returncode == 0
    assert not Path("/proc", os_pid).exists()
    assert json.loads(ctl(*at, "ps", "-a", "--json").stdout)[-1]["cause"].startswith("signal 9 (SIGKILL), by stop from uid ")


def test_a_command_that_spawns_is_the_parent_of_what_it_spawns(ctl: Ctl, at: tuple[str, str]) -> None:
    ctl(*at, "spawn", "parent", "--", sys.executable, "-m", "dadmsctl", *at, "spawn", "child", "--", "true")
    ctl(*at, "wait", "parent")
    by_name = {each["name"]: each for each in json.loads(ctl(*at, "ps", "-a", "--json").stdout)}
    assert by_name["child"]["parent"] == by_name["parent"]["pid"]
    ctl(*at, "spawn", "other", "--", "true")
    lines = ctl(*at, "ps", "-a", "--tree").stdout.splitlines()[1:]
    assert [line.split()[1] for line in lines] == ["parent", "child", "other"]
    assert "    child" in lines[1]


def family(ctl: Ctl, at: tuple[str, str]) -> list[str]:
    """Spawn one, two that belong to it, and one that belongs to the second; gives their pids."""
    pids: list[str] = []
    for name, parent in (("top", ()), ("left", (0,)), ("right", (0,)), ("deep", (2,))):
        options = ["--parent", pids[parent[0]]] if parent else []
        pids.append(ctl(*at, "spawn", name, "--service", *options, "--", "sleep", "1000").stdout.strip())
    return pids


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_who_ends_a_process_is_told_what_it_leaves_and_a_tree_is_ended_whole(ctl: Ctl, at: tuple[str, str], verb: str) -> None:
    top, left, right, deep = family(ctl, at)
    done = ctl(*at, verb, "top")
    words = f'"left" ({left}), "right" ({right}), "deep" ({deep})'
    assert (done.returncode, done.stderr) == (0, f"dadmsctl: warning: what belongs to it runs on: {words}; --tree ends that as well\n")
    assert [each["name"] for each in json.loads(ctl(*at, "ps", "--json").stdout)] == ["left", "right", "deep"]
    done = ctl(*at, verb, "right", "left", "--tree")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(ctl(*at, "ps", "--json").stdout) == []
    ctl(*at, "start", "top")
    ctl(*at, "spawn", "bound", "--service", "--parent", top, "--requires", "top", "--", "sleep", "1000")
    done = ctl(*at, verb, "top")
    assert (done.returncode, done.stderr) == (0, ""), "what requires it has ended before it, and waits"
    assert [each["name"] for each in json.loads(ctl(*at, "ps", "--json").stdout) if each["status"] == "waiting"] == ["bound"]
    ctl(*at, "start", "top")
    assert ctl(*at, verb, "top", "--tree").returncode == 0
    assert json.loads(ctl(*at, "ps", "--json").stdout) == [], "with the tree, for good"


def test_a_terminal_is_told_what_a_wait_waits_for(ctl: Ctl, at: tuple[str, str], environment: dict[str, str]) -> None:
    ctl(*at, "spawn", "db", "--", "false")
    ctl(*at, "wait", "db")
    web = ctl(*at, "spawn", "web", "--requires", "db", "--", "true").stdout.strip()
    ours, theirs = pty.openpty()
    waiting = subprocess.Popen(
        [sys.executable, "-m", "dadmsctl", *at, "wait", "web"], env=environment, stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    said = b""
    while b"\n" not in said:
        said += os.read(ours, 4096)
    assert said.decode().startswith(f'dadmsctl: waiting until "web" ({web}) has ended: it is waiting: requires "db"')
    assert b"dadmsctl start" in said
    ctl(*at, "kill", "web")
    assert waiting.wait(30) == 1
    os.close(ours)
