"""``dadmsctl context`` on a real daemon, as a script uses it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl, Start, await_line

SLEEPS = """
import time
@handler("sleep")
def sleep(task):
    time.sleep(1e6)
"""


@pytest.fixture
def at(keeper_daemon: Daemon, wait_for: Callable[[Daemon], None]) -> tuple[str, str]:
    """Give the options that lead to a real daemon, which answers."""
    wait_for(keeper_daemon)
    return "--runtime-dir", str(keeper_daemon.runtime_dir)


@pytest.fixture
def context(at: tuple[str, str], ctl: Ctl, linear: Callable[..., Path], handlers: Callable[[str], Path]) -> Ctl:
    """Give ``dadmsctl context VERB PID …`` of a process that lives."""
    done = ctl(*at, "run", linear("sleep"), "--handlers", handlers(SLEEPS), "--detach")
    assert (done.returncode, done.stderr) == (0, "")

    def run(verb: str | Path, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return ctl(*at, "context", verb, done.stdout.strip(), *arguments)

    return run


def test_values_are_put_read_and_removed(context: Ctl) -> None:
    done = context("set", "plan", "sites", '["a", "b"]')
    assert (done.returncode, done.stdout, done.stderr) == (0, "version 1\n", "")
    assert context("set", "plan", "a=b", "plain text").stdout == "version 2\n"
    assert context("get", "plan", "sites").stdout == "a, b\n"
    assert json.loads(context("get", "plan", "a=b", "--json").stdout) == {"version": 2, "value": "plain text"}
    assert json.loads(context("increment", "plan", "n", "--by", "2.5", "--json").stdout) == {"version": 3, "applied": True, "value": 2.5}
    assert context("increment", "plan", "m").stdout == "1\n"
    context("update", "plan", "o", '{"x": 1}')
    context("update", "plan", "o", '{"y": 2}')
    view = json.loads(context("get", "plan", "--json").stdout)
    assert view["cells"]["o"] == {"version": 6, "value": {"x": 1, "y": 2}}
    assert (view["version"], view["keys"]) == (6, 5)
    assert "plain text" in context("get", "plan").stdout
    assert context("delete", "plan", "m").returncode == 0
    gone = context("get", "plan", "m")
    assert (gone.returncode, gone.stdout) == (4, "")
    assert gone.stderr == 'dadmsctl: cannot get "m" of region "plan" of 1001: there is none\n'
    again = context("delete", "plan", "m")
    assert (again.returncode, again.stderr) == (4, 'dadmsctl: cannot delete "m" of region "plan" of 1001: there is none\n')
    assert context("delete", "plan").returncode == 0
    assert context("get", "plan").returncode == 4


def test_compare_and_swap_says_by_its_exit_code_whether_it_was_applied(context: Ctl) -> None:
    assert context("cas", "r", "k", "1", "--expected", "0").stdout == "version 1\n"
    late = context("cas", "r", "k", "2", "--expected", "0", "--json")
    assert (late.returncode, json.loads(late.stdout)) == (4, {"version": 1, "applied": False, "value": 1})
    assert late.stderr == 'dadmsctl: cannot cas "k" of region "r" of 1001: its version is 1, not 0\n'
    assert context("cas", "r", "k", "2", "--expected", "1").returncode == 0


def test_regions_are_listed_with_their_rights(context: Ctl) -> None:
    context("set", "r", "k", "1")
    assert context("share", "r", "--reader", "1002", "--reader", "main", "--writer", "").returncode == 0
    (region,) = json.loads(context("ls", "--json").stdout)
    assert (region["name"], region["readers"], region["writers"], region["keys"]) == ("r", ["1002", "main"], [], 1)
    assert "1002, main" in context("ls").stdout
    refused = context("share", "r", "--reader", "everybody")
    assert refused.returncode == 4
    assert '"*", "main", "PID" or "PID/TID"' in refused.stderr
    nobody = context("break", "r", "l")
    assert (nobody.returncode, nobody.stderr) == (4, 'dadmsctl: cannot break lock "l" of region "r" of 1001: nobody has it\n')


def test_watching_ends_with_a_change_or_with_its_time(context: Ctl, at: tuple[str, str], start: Start) -> None:
    context("set", "r", "k", "1")
    assert context("watch", "r", "k", "--after", "0", "--timeout", "5").stdout == "1\n"
    late = context("watch", "r", "k", "--timeout", "0.2")
    assert (late.returncode, late.stdout) == (5, "")
    assert late.stderr == 'dadmsctl: nothing newer than version 1 in "k" of region "r" of 1001\n'
    follower = start(*at, "context", "watch", "1001", "r", "--after", "0", "-f", "--json")
    await_line(follower, '"value":1')
    context("set", "r", "k", "2")
    await_line(follower, '"value":2')
    follower.kill()
    follower.communicate()


def test_what_there_is_not_is_refused(context: Ctl, at: tuple[str, str], ctl: Ctl) -> None:
    done = ctl(*at, "context", "ls", "7")
    assert (done.returncode, done.stderr) == (4, "dadmsctl: cannot list the context of 7: no process 7\n")
    assert "not JSON" in context("set", "r", "k", "{broken").stderr
    assert context("update", "r", "k", "5").stderr.endswith("only a map with texts for keys can be merged\n")


SHARING = """
@handler("make")
def make(task):
    task.context.increment("sites", "made")
    return {"data": task.artifact(b"x" * 1_000_000)}

@handler("use")
def use(task):
    return {"size": len(task.open(task.variables["data"])), "made": task.context.get("sites", "made").value}
"""


def test_handlers_of_a_model_share_values_and_large_data(
    at: tuple[str, str], ctl: Ctl, linear: Callable[..., Path], handlers: Callable[[str], Path]
) -> None:
    """A reference is a variable like any other."""
    done = ctl(*at, "run", linear("make", "use"), "--handlers", handlers(SHARING), "--json")
    assert done.returncode == 0, done.stderr
    variables = json.loads(done.stdout)["outcome"]["variables"]
    assert (variables["size"], variables["made"]) == (1_000_000, 1)
    assert set(variables["data"]) == {"$artifact", "pid", "size", "form"}
