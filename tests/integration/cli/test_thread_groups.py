"""Groups of threads and waiting for threads, from the command line against a real daemon."""

import json
from collections.abc import Callable

import pytest

from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl

AGAIN = "tests.fault.kernel.again_orchestrator:ORCHESTRATOR"


@pytest.fixture
def at(keeper_daemon: Daemon, wait_for: Callable[[Daemon], None]) -> tuple[str, str]:
    """Give the options that lead to a real daemon, which answers."""
    wait_for(keeper_daemon)
    return "--runtime-dir", str(keeper_daemon.runtime_dir)


def team(at: tuple[str, str], ctl: Ctl, *naps: float) -> str:
    """Start a process that runs naps as a group; gives its pid, once their threads are there."""
    config = json.dumps({"ledger": "", "team": [{"seconds": seconds} for seconds in naps]})
    pid = ctl(*at, "spawn", AGAIN, "--name", "team", "--config", config, "--workers", "2", "--wait").stdout.strip()
    while len(json.loads(ctl(*at, "thread", "ls", pid, "--json").stdout)) < len(naps):
        pass
    return pid


def test_a_group_is_shown_steered_and_waited_for(at: tuple[str, str], ctl: Ctl) -> None:
    pid = team(at, ctl, 0.0, 60.0, 60.0, 60.0, 60.0)
    assert ctl(*at, "thread", "wait", pid, "--group", "team", "--any", "--timeout", "20").returncode == 0
    empty = ctl(*at, "thread", "kill", pid, "--group", "")
    assert (empty.returncode, empty.stderr.count("a group has a name")) == (2, 1)
    assert ctl(*at, "thread", "suspend", pid, "--group", "team").returncode == 0
    (group,) = json.loads(ctl(*at, "thread", "groups", pid, "--json").stdout)
    assert (group["completed"], group["suspended"] + group["running"], group["is_suspended"]) == (1, 4, True)
    assert "suspended" in ctl(*at, "thread", "groups", pid).stdout
    assert ctl(*at, "thread", "priority", pid, "7", "--group", "team").returncode == 0
    assert ctl(*at, "thread", "resume", pid, "--group", "team").returncode == 0
    listed = json.loads(ctl(*at, "thread", "ls", pid, "--group", "team", "--json").stdout)
    assert {each["group"] for each in listed} == {"team"}
    late = ctl(*at, "thread", "wait", pid, "--group", "team", "--timeout", "0.2")
    assert (late.returncode, late.stdout) == (5, "")
    assert "cannot wait longer for threads of" in late.stderr
    assert ctl(*at, "thread", "kill", pid, "--group", "team").returncode == 0
    assert ctl(*at, "wait", pid, "--timeout", "30").returncode == 0


def test_threads_are_waited_for_by_number(at: tuple[str, str], ctl: Ctl) -> None:
    pid = team(at, ctl, 0.0, 60.0)
    done = ctl(*at, "thread", "wait", pid, "1", "--timeout", "20")
    assert (done.returncode, done.stdout) == (0, "1 completed\n")
    assert ctl(*at, "thread", "wait", pid, "1", "2", "--any").returncode == 0
    assert ctl(*at, "thread", "wait", pid, "2", "--timeout", "0.1").returncode == 5
    assert ctl(*at, "thread", "kill", "2").returncode == 0
    failed = ctl(*at, "thread", "wait", pid, "1", "2", "--timeout", "20", "--json")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["statuses"] == {"completed": 1, "terminated": 1}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("thread", "ls", "--group", "team"), 2, "--group is a group of one process"),
        (("thread", "kill", "1", "2", "--group", "team"), 2, "--group is a group of one process"),
        (("thread", "wait", "1001"), 2, "name threads, or a --group"),
        (("thread", "wait", "99", "1"), 4, "no process 99"),
        (("thread", "kill", "99", "--group", "team"), 4, 'cannot kill group "team" of 99: no process 99'),
    ],
)
def test_what_cannot_be_is_refused(at: tuple[str, str], ctl: Ctl, words: tuple[str, ...], code: int, said: str) -> None:
    refused = ctl(*at, *words)
    assert refused.returncode == code
    assert said in refused.stderr
