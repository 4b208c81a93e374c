"""The commands that look after a running daemon, each as a person and as a script use it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl, Start, await_line

Linear = Callable[..., Path]
Handlers = Callable[[str], Path]

SLEEPS = """
import time
print("the module speaks")
@handler("sleep")
def sleep(task):
    print("the task speaks \\x1b[31m", flush=True)
    time.sleep(1e6)

@handler("quick")
def quick(task):
    return {"done": True}
"""


@pytest.fixture
def at(keeper_daemon: Daemon, wait_for: Callable[[Daemon], None]) -> tuple[str, str]:
    """Give the options that lead to a real daemon, which answers."""
    wait_for(keeper_daemon)
    return "--runtime-dir", str(keeper_daemon.runtime_dir)


@pytest.fixture
def sleeper(at: tuple[str, str], ctl: Ctl, start: Start, linear: Linear, handlers: Handlers) -> int:
    """Give the pid of a process whose only task runs and does not end."""
    done = ctl(*at, "run", linear("sleep"), "--handlers", handlers(SLEEPS), "--thread-timeout", "100", "--detach")
    assert (done.returncode, done.stderr) == (0, "")
    watch = start(*at, "events", "-f", "--pid", done.stdout.strip())
    await_line(watch, "thread.started")
    watch.kill()
    watch.communicate()
    return int(done.stdout)


def test_ps_and_status_show_a_process_and_its_limits(at: tuple[str, str], ctl: Ctl, sleeper: int) -> None:
    [process] = json.loads(ctl(*at, "ps", "--json").stdout)
    assert (process["pid"], process["name"], process["status"], process["threads_running"]) == (sleeper, "order", "running", 1)
    table = ctl(*at, "ps").stdout
    assert table.splitlines()[0].split()[:4] == ["PID", "NAME", "ORCHESTRATOR", "STATUS"]
    assert f"{sleeper}" in table
    status = json.loads(ctl(*at, "status", str(sleeper), "--json").stdout)
    assert status["limits"]
    assert "limit memory" in ctl(*at, "status", str(sleeper)).stdout


def test_status_without_a_pid_shows_the_daemon_and_its_servers(at: tuple[str, str], ctl: Ctl) -> None:
    status = json.loads(ctl(*at, "status", "--json").stdout)
    assert status["runtime_dir"] == at[1]
    assert {"bus", "logger"} <= set(status["servers"])
    shown = ctl(*at, "status").stdout
    assert "epoch 1" in shown
    assert "bus" in shown


def test_thread_ls_shows_the_running_thread(at: tuple[str, str], ctl: Ctl, sleeper: int) -> None:
    [thread] = json.loads(ctl(*at, "thread", "ls", str(sleeper), "--json").stdout)
    assert (thread["pid"], thread["label"], thread["state"]) == (sleeper, "Do sleep", "running")
    assert "Do sleep" in ctl(*at, "thread", "ls").stdout


def test_thread_kill_ends_a_running_thread_and_refuses_those_that_are_none(at: tuple[str, str], ctl: Ctl, sleeper: int) -> None:
    [thread] = json.loads(ctl(*at, "thread", "ls", str(sleeper), "--json").stdout)
    done = ctl(*at, "thread", "kill", "999999", str(thread["tid"]))
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "dadmsctl: cannot kill thread 999999: there is none\n"
    [process] = json.loads(ctl(*at, "wait", str(sleeper), "--json").stdout)
    assert process["status"] == "failed"
    assert "Do sleep" in process["reason"]
    [thread] = json.loads(ctl(*at, "thread", "ls", str(sleeper), "--json").stdout)
    assert (thread["state"], thread["cause"]) == ("terminated", "terminated")
    done = ctl(*at, "thread", "kill", str(thread["tid"]))
    assert (done.returncode, done.stderr) == (4, f"dadmsctl: cannot kill thread {thread['tid']}: it has ended (terminated)\n")


def test_of_several_processes_those_are_killed_that_can_be(
    at: tuple[str, str], ctl: Ctl, linear: Linear, handlers: Handlers, sleeper: int
) -> None:
    other = int(ctl(*at, "run", linear("sleep"), "--handlers", handlers(SLEEPS), "--detach").stdout)
    done = ctl(*at, "kill", str(sleeper), "999999", str(other))
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("dadmsctl: cannot kill 999999: no process 999999")
    assert done.stderr.count("\n") == 1
    assert json.loads(ctl(*at, "ps", "--json").stdout) == []
    waited = ctl(*at, "wait", "999999", str(sleeper), str(other), "--json")
    assert waited.returncode == 4
    assert [process["pid"] for process in json.loads(waited.stdout)] == [sleeper, other]
    assert waited.stderr.startswith("dadmsctl: cannot wait for 999999: no process 999999")


def test_a_log_for_programs_has_an_object_a_line(at: tuple[str, str], ctl: Ctl, linear: Linear, handlers: Handlers) -> None:
    source = "@handler('quick')\ndef quick(task):\n    print('two\\nlines')\n"
    pid = ctl(*at, "run", linear("quick"), "--handlers", handlers(source), "--detach").stdout.strip()
    ctl(*at, "wait", pid)
    text = ctl(*at, "logs", pid).stdout.splitlines()
    lines = [json.loads(line) for line in ctl(*at, "logs", pid, "--json").stdout.splitlines()]
    assert [line["text"] for line in lines] == ["two", "lines"]
    for line, written in zip(lines, text, strict=True):
        assert set(line) == {"time", "incarnation", "text", "is_probe"}
        assert line["incarnation"] == 1
        assert written == f"{line['time']} {pid}.1 {line['text']}"


def test_logs_show_what_tasks_wrote_without_sending_it_to_the_terminal(at: tuple[str, str], start: Start, ctl: Ctl, sleeper: int) -> None:
    watch = start(*at, "logs", "-f", str(sleeper))
    lines = await_line(watch, "the task speaks")
    assert lines[-1].endswith("the task speaks \\x1b[31m\n")
    assert ctl(*at, "kill", str(sleeper)).returncode == 0
    assert watch.wait(30) == 0
    watch.communicate()
    whole = ctl(*at, "logs", str(sleeper)).stdout
    assert ctl(*at, "logs", "-n", "1", str(sleeper)).stdout == whole.splitlines(keepends=True)[-1]
    assert ctl(*at, "logs", "-n", "0", str(sleeper)).stdout == ""
    assert ctl(*at, "logs", "-n", "1000", str(sleeper)).stdout == whole


def test_events_are_numbered_without_gaps_and_followed_from_any_number(at: tuple[str, str], ctl: Ctl, sleeper: int) -> None:
    events = [json.loads(line) for line in ctl(*at, "events", "--json").stdout.splitlines()]
    numbers = [event["number"] for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    later = [json.loads(line)["number"] for line in ctl(*at, "events", "--json", "--after", str(numbers[2])).stdout.splitlines()]
    assert later[: len(numbers) - 3] == numbers[3:]
    own = [json.loads(line) for line in ctl(*at, "events", "--json", "--pid", str(sleeper)).stdout.splitlines()]
    assert {event["pid"] for event in own} == {sleeper}
    assert "process.running" in {event["kind"] for event in own}


def test_kill_ends_a_process_and_wait_tells_a_script_how_it_ended(at: tuple[str, str], ctl: Ctl, sleeper: int) -> None:
    waited = ctl(*at, "wait", str(sleeper), "--timeout", "0.2")
    assert waited.returncode == 5
    assert waited.stderr == f'dadmsctl: cannot wait longer for "order" ({sleeper}): it is still running\n'
    assert ctl(*at, "wait", str(sleeper), "--until", "ready").returncode == 0
    assert ctl(*at, "kill", str(sleeper), "--reason", "enough").returncode == 0
    waited = ctl(*at, "wait", str(sleeper), "--json")
    assert waited.returncode == 1
    [process] = json.loads(waited.stdout)
    assert process["status"] in ("killed", "failed")
    assert json.loads(ctl(*at, "ps", "--json").stdout) == []
    assert [one["pid"] for one in json.loads(ctl(*at, "ps", "--all", "--json").stdout)] == [sleeper]


def test_a_detached_run_is_waited_for_like_any_process(at: tuple[str, str], ctl: Ctl, linear: Linear, handlers: Handlers) -> None:
    done = ctl(*at, "run", linear("quick"), "--handlers", handlers(SLEEPS), "--detach")
    waited = ctl(*at, "wait", done.stdout.strip(), "--json")
    assert waited.returncode == 0
    assert json.loads(waited.stdout)[0]["outcome"]["variables"] == {"done": True}


@pytest.mark.parametrize(
    "command",
    [
        ["status", "999999"],
        ["kill", "999999"],
        ["thread", "ls", "999999"],
        ["wait", "999999"],
        ["logs", "999999"],
        ["spawn", "no_such_orchestrator"],
    ],
)
def test_what_does_not_exist_is_refused_by_name(command: list[str], at: tuple[str, str], ctl: Ctl) -> None:
    done = ctl(*at, *command)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("dadmsctl: cannot ")
    assert command[-1] in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_second_daemon_on_the_same_directory_is_refused(at: tuple[str, str], keeper_daemon: Daemon, ctl: Ctl) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "dadmsd", "--runtime-dir", at[1], "--state-dir", keeper_daemon.state_dir],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 4
    assert f"another one (pid {keeper_daemon.process.pid}) runs on {at[1]}" in second.stderr
    assert ctl(*at, "ps").returncode == 0


def test_shutdown_returns_when_the_daemon_is_gone(at: tuple[str, str], keeper_daemon: Daemon, ctl: Ctl, sleeper: int) -> None:
    assert ctl(*at, "shutdown").returncode == 0
    assert keeper_daemon.process.wait(5) == 0
    done = ctl(*at, "status", str(sleeper))
    assert done.returncode == 3
