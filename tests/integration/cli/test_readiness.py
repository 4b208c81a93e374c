"""Readiness, liveness, order and suspension as a person sees them, with real programs under a real daemon."""

import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl, Start
from tests.integration.cli.test_supervision import await_file, status

SPEAKER = """
import os, socket, sys, time
def say(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
"""


@pytest.fixture
def at(keeper_daemon: Daemon, wait_for: Callable[[Daemon], None]) -> tuple[str, str]:
    """Give the options that lead to a real daemon, which answers."""
    wait_for(keeper_daemon)
    return "--runtime-dir", str(keeper_daemon.runtime_dir)


def speaker(script: str) -> list[str]:
    """Give the command of a program that says how it is."""
    return ["--", sys.executable, "-c", SPEAKER + script]


def kinds(ctl: Ctl, at: tuple[str, str], pid: str) -> list[str]:
    return [json.loads(line)["kind"] for line in ctl(*at, "events", "--pid", pid, "--json").stdout.splitlines()]


def test_a_service_is_ready_when_it_says_so_and_not_before(ctl: Ctl, at: tuple[str, str], short_path: Path) -> None:
    go = short_path / "go"
    script = f"say('STATUS=warming up')\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\nsay('READY=1\\nSTATUS=serving')\ntime.sleep(1000)"
    pid = ctl(*at, "spawn", "web", "--service", "--ready", "notify", *speaker(script)).stdout.strip()
    while status(ctl, at, pid)["said"] != "warming up":
        time.sleep(0.01)
    assert status(ctl, at, pid)["status"] == "starting"
    go.touch()
    assert ctl(*at, "wait", pid, "--until", "ready").returncode == 0
    assert (status(ctl, at, pid)["status"], status(ctl, at, pid)["said"]) == ("running", "serving")


def test_whoever_does_not_belong_to_it_cannot_speak_for_it(ctl: Ctl, at: tuple[str, str], short_path: Path) -> None:
    where = short_path / "where"
    script = f"open({str(where)!r}, 'w').write(os.environ['NOTIFY_SOCKET'] + chr(10)); time.sleep(1000)"
    pid = ctl(*at, "spawn", "web", "--service", "--ready", "notify", *speaker(script)).stdout.strip()
    path = await_file(where)
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"READY=1", path)
    while "process.notify-refused" not in kinds(ctl, at, pid):
        time.sleep(0.01)
    assert status(ctl, at, pid)["status"] == "starting"


def test_a_service_that_does_not_become_ready_in_time_is_a_failure_that_says_so(ctl: Ctl, at: tuple[str, str]) -> None:
    options = ["--service", "--restart", "never", "--ready", "notify", "--ready-timeout", "0.3"]
    done = ctl(*at, "spawn", "web", "--wait", *options, "--", "sleep", "1000")
    assert (done.returncode, done.stderr) == (
        1,
        'dadmsctl: "web" (1001) failed: not ready in 0.3 s (ready_timeout, 300 s by default): it did not say READY=1\n',
    )


def test_one_that_is_not_ready_in_time_is_asked_to_end_first(ctl: Ctl, at: tuple[str, str]) -> None:
    options = ["--service", "--restart", "never", "--ready", "exec", "--ready-command", "sh -c 'exit 9'", "--ready-interval", "0.1"]
    script = 'trap "echo in order; exit 0" TERM; while :; do sleep 0.05; done'
    done = ctl(*at, "spawn", "db", "--wait", *options, "--ready-timeout", "0.6", "--", "sh", "-c", script)
    said = re.fullmatch(
        r'dadmsctl: "db" \(1001\) failed: not ready in 0.6 s \(ready_timeout, 300 s by default\): '
        r"its ready command was asked (once|[1-9] times), the last time: exited 9\n",
        done.stderr,
    )
    assert (done.returncode, bool(said)) == (1, True), done.stderr
    ctl(*at, "wait", "db")
    assert ctl(*at, "logs", "db").stdout.endswith(" in order\n")
    assert status(ctl, at, "db")["exit_code"] == 0


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("/nosuch/probe", 'cannot run "/nosuch/probe": No such file or directory'),
        ("sh -c 'exit 3'", "exited 3"),
        ("sleep 1000", "it did not end within 0.2 s (probe_timeout, 5 s by default)"),
    ],
)
def test_a_ready_command_that_fails_says_why_while_it_is_waited_for(ctl: Ctl, at: tuple[str, str], command: str, why: str) -> None:
    options = ["--service", "--ready", "exec", "--ready-command", command, "--ready-interval", "0.05", "--probe-timeout", "0.2"]
    ctl(*at, "spawn", "bp", *options, "--", "sleep", "1000")
    while not status(ctl, at, "bp")["reason"]:
        time.sleep(0.02)
    said = re.compile(rf"its ready command was asked (once|[0-9]+ times), the last time: {re.escape(why)}")
    found = status(ctl, at, "bp")
    assert (found["status"], bool(said.fullmatch(str(found["reason"])))) == ("starting", True), found["reason"]
    assert said.fullmatch(ctl(*at, "explain", "bp").stdout.splitlines()[2].strip())
    ctl(*at, "stop", "bp")
    assert "ready command" not in str(status(ctl, at, "bp")["reason"]), "it did not end for that"


def test_a_ready_command_means_that_it_says_when_the_process_is_ready(ctl: Ctl, at: tuple[str, str], short_path: Path) -> None:
    go = short_path / "go"
    ctl(*at, "spawn", "bp", "--service", "--ready-command", f"test -e {go}", "--ready-interval", "0.05", "--", "sleep", "1000")
    while not status(ctl, at, "bp")["reason"]:
        time.sleep(0.02)
    go.touch()
    assert ctl(*at, "wait", "bp", "--until", "ready").returncode == 0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--ready", "notify", "--ready-command", "true"], "--ready-command is for --ready exec, and this is --ready notify"),
        (["--ready", "exec"], "--ready exec needs --ready-command, which says what exits with 0 once COMMAND is ready"),
    ],
)
def test_options_of_readiness_that_do_not_match_are_told_in_words_of_options(
    ctl: Ctl, at: tuple[str, str], options: list[str], why: str
) -> None:
    done = ctl(*at, "spawn", "bp", "--service", *options, "--", "sleep", "1000")
    assert (done.returncode, done.stderr) == (2, f"dadmsctl: {why} (dadmsctl spawn --help)\n")


def test_what_a_ready_command_said_is_forgotten_once_it_is_content(ctl: Ctl, at: tuple[str, str], short_path: Path) -> None:
    ready = short_path / "ready"
    options = ["--service", "--ready", "exec", "--ready-command", f"test -e {ready}", "--ready-interval", "0.05"]
    ctl(*at, "spawn", "bp", *options, "--", "sleep", "1000")
    while not status(ctl, at, "bp")["reason"]:
        time.sleep(0.02)
    ready.touch()
    assert ctl(*at, "wait", "bp", "--until", "ready").returncode == 0
    assert status(ctl, at, "bp")["reason"] == ""


def test_a_watchdog_that_hears_nothing_ends_the_service_with_that_cause(ctl: Ctl, at: tuple[str, str]) -> None:
    script = "say('READY=1')\nfor _ in range(5): time.sleep(0.1); say('WATCHDOG=1')\ntime.sleep(1000)"
    options = ["--service", "--restart", "never", "--ready", "notify", "--watchdog", "0.4"]
    pid = ctl(*at, "spawn", "web", *options, *speaker(script)).stdout.strip()
    assert ctl(*at, "wait", pid).returncode == 1
    found = status(ctl, at, pid)
    assert (found["cause"], found["reason"]) == ("watchdog", "did not say within 0.4 s that it lives")
    assert float(str(found["ended_at"])) - float(str(found["ready_at"])) > 0.8, "its messages counted"


def test_a_probe_tells_when_a_service_is_ready_and_when_it_is_not_well(ctl: Ctl, at: tuple[str, str], short_path: Path) -> None:
    ready, ill = short_path / "ready", short_path / "ill"
    options = ["--ready", "exec", "--ready-command", f"test -e {ready}", "--ready-interval", "0.05", "--restart", "never"]
    options += ["--live-command", f"sh -c 'echo asked; test ! -e {ill}'", "--live-interval", "0.05", "--live-threshold", "2"]
    pid = ctl(*at, "spawn", "web", "--service", *options, "--", "sh", "-c", "echo serving; sleep 1000").stdout.strip()
    assert status(ctl, at, pid)["status"] == "starting"
    ready.touch()
    assert ctl(*at, "wait", pid, "--until", "ready").returncode == 0
    ill.touch()
    assert ctl(*at, "wait", pid).returncode == 1
    found = status(ctl, at, pid)
    assert (found["cause"], found["reason"]) == ("liveness", "its live command failed 2 times in a row, the last time: exited 1")
    assert kinds(ctl, at, pid).count("process.probe-failed") == 1
    lines = [json.loads(line) for line in ctl(*at, "logs", "-f", pid, "--json").stdout.splitlines()]
    assert {(line["text"], line["incarnation"], line["is_probe"]) for line in lines} == {("serving", 1, False), ("asked", 1, True)}
    assert f" {pid}.1.probe asked\n" in ctl(*at, "logs", pid).stdout


def test_what_a_probe_prints_without_an_end_of_line_is_a_line_of_its_run(ctl: Ctl, at: tuple[str, str]) -> None:
    options = ["--service", "--live-command", "sh -c 'printf ok; test -n \"$DADMS_PID\" && printf ay'", "--live-interval", "0.05"]
    pid = ctl(*at, "spawn", "web", *options, "--", "sleep", "1000").stdout.strip()
    ends = time.monotonic() + 30.0
    while len(said := ctl(*at, "logs", pid).stdout.splitlines()) < 5 and time.monotonic() < ends:
        time.sleep(0.05)
    assert {line.partition(".probe ")[2] for line in said} == {"okay"}, said
    assert len(said) >= 5


def test_a_tool_has_its_time(ctl: Ctl, at: tuple[str, str]) -> None:
    pid = ctl(*at, "spawn", "slow", "--run-timeout", "0.2", "--", "sleep", "1000").stdout.strip()
    assert ctl(*at, "wait", pid).returncode == 1
    assert (status(ctl, at, pid)["cause"], status(ctl, at, pid)["reason"]) == (
        "timed out",
        "did not end within 0.2 s (run_timeout, 300 s by default)",
    )


def test_an_old_service_is_replaced_by_its_next_incarnation(ctl: Ctl, at: tuple[str, str]) -> None:
    pid = ctl(*at, "spawn", "web", "--service", "--max-age", "0.3", "--", "sleep", "1000").stdout.strip()
    while int(str(status(ctl, at, pid)["incarnation"])) < 3:
        time.sleep(0.02)
    assert "process.backoff" in kinds(ctl, at, pid)


def test_a_process_starts_when_what_it_requires_is_ready_and_ends_before_it(ctl: Ctl, at: tuple[str, str], short_path: Path) -> None:
    go, order = short_path / "go", short_path / "order"
    leaving = f'trap "echo $0 >> {order}; exit 0" TERM; echo up > {short_path}/$0.up; while :; do sleep 0.01; done'
    probe = ["--ready", "exec", "--ready-command", f"test -e {go}", "--ready-interval", "0.05"]
    ctl(*at, "spawn", "db", "--service", *probe, "--", "sh", "-c", leaving, "db")
    web = ctl(*at, "spawn", "web", "--service", "--requires", "db", "--", "sh", "-c", leaving, "web").stdout.strip()
    found = status(ctl, at, web)
    assert (found["status"], found["waits_for"]) == ("waiting", ['requires "db" (1001), which is starting'])
    go.touch()
    assert ctl(*at, "wait", web, "--until", "ready").returncode == 0
    await_file(short_path / "web.up")
    await_file(short_path / "db.up")
    assert ctl(*at, "stop", "db").returncode == 0
    assert order.read_text().split() == ["web", "db"]
    found = status(ctl, at, web)
    assert (found["status"], found["is_stuck"]) == ("waiting", True)
    why = r"requires \"db\" \(1001\), which was stopped \(.*by stop from uid .*\), and comes back when somebody starts it: dadmsctl start 1001"
    assert re.fullmatch(why, str(found["waits_for"]).strip("[']"))
    assert ctl(*at, "start", "db").returncode == 0
    assert ctl(*at, "wait", web, "--until", "ready").returncode == 0


def test_a_circle_of_dependencies_is_refused_with_the_names_in_it(ctl: Ctl, at: tuple[str, str]) -> None:
    ctl(*at, "spawn", "a", "--service", "--after", "c", "--", "sleep", "1000")
    ctl(*at, "spawn", "b", "--service", "--requires", "a", "--", "sleep", "1000")
    done = ctl(*at, "spawn", "c", "--service", "--requires", "b", "--", "sleep", "1000")
    assert (done.returncode, done.stderr) == (4, 'dadmsctl: cannot start "c": its dependencies go in a circle: c → b → a → c\n')
    done = ctl(*at, "spawn", "d", "--service", "--requires", "nobody", "--", "sleep", "1000")
    assert (done.returncode, done.stderr) == (4, 'dadmsctl: cannot start "d": it requires "nobody", and there is no process of that name\n')


def test_a_suspended_process_stands_still_with_its_time_and_goes_on_where_it_stood(ctl: Ctl, at: tuple[str, str], short_path: Path) -> None:
    count = short_path / "count"
    script = f"i=0; while :; do i=$((i+1)); echo $i > {count}; sleep 0.01; done"
    pid = ctl(*at, "spawn", "clock", "--run-timeout", "2.5", "--", "sh", "-c", script).stdout.strip()
    await_file(count)
    assert ctl(*at, "suspend", "clock").returncode == 0
    assert status(ctl, at, pid)["suspension"] == "frozen"
    stood = count.read_text()
    time.sleep(3.0)  # longer than it may run
    assert (count.read_text(), status(ctl, at, pid)["status"]) == (stood, "running")
    assert ctl(*at, "resume", "clock").returncode == 0
    while count.read_text() == stood:
        time.sleep(0.01)
    assert ctl(*at, "wait", pid).returncode == 1
    assert status(ctl, at, pid)["cause"] == "timed out"


@pytest.mark.parametrize("words", [["stop"], ["kill", "--force"]])
def test_a_frozen_process_is_ended_like_any_other(ctl: Ctl, at: tuple[str, str], short_path: Path, words: list[str]) -> None:
    up = short_path / "up"
    script = f"trap 'exit 7' TERM; sleep 1000 & echo $! > {up}; wait"
    pid = ctl(*at, "spawn", "ice", "--service", "--", "sh", "-c", script).stdout.strip()
    child = await_file(up)
    ctl(*at, "suspend", pid)
    started = time.monotonic()
    assert ctl(*at, *words, pid).returncode == 0
    assert time.monotonic() - started < 4.0, "it waited for the grace to pass"
    assert not Path("/proc", child).exists()
    assert status(ctl, at, pid)["exit_code"] == (7 if words == ["stop"] else None)


def test_one_that_will_not_end_delays_nobody_else(ctl: Ctl, at: tuple[str, str], short_path: Path) -> None:
    """It ignores SIGTERM; others are stopped, started and shown meanwhile."""
    up = short_path / "up"
    ctl(*at, "spawn", "deaf", "--stop-timeout", "20", "--", "sh", "-c", f"trap '' TERM; echo up > {up}; while :; do sleep 0.1; done")
    ctl(*at, "spawn", "other", "--service", "--", "sleep", "1000")
    await_file(up)
    assert ctl(*at, "stop", "deaf", "--no-wait").returncode == 0
    started = time.monotonic()
    assert ctl(*at, "restart", "other").returncode == 0
    assert ctl(*at, "stop", "other").returncode == 0
    assert time.monotonic() - started < 10.0
    assert status(ctl, at, "1001")["status"] == "stopping"
    assert ctl(*at, "kill", "deaf", "--force").returncode == 0


def test_services_outlive_a_kernel_and_what_they_say_meanwhile_is_heard(
    ctl: Ctl, at: tuple[str, str], start: Start, short_path: Path
) -> None:
    """A kernel that is killed while a service becomes ready: the next one has its word, and did not start it anew."""
    import signal

    go, done = short_path / "go", short_path / "done"
    script = f"while not os.path.exists({str(go)!r}): time.sleep(0.001)\nsay('READY=1')\nopen({str(done)!r}, 'w').write('said\\n')\ntime.sleep(1000)"
    pid = ctl(*at, "spawn", "web", "--service", "--ready", "notify", *speaker(script)).stdout.strip()
    os_pid = status(ctl, at, pid)["os_pid"]
    kernel = json.loads(ctl(*at, "status", "--json").stdout)["os_pid"]
    os.kill(kernel, signal.SIGSTOP)
    go.touch()
    await_file(done)
    os.kill(kernel, signal.SIGKILL)
    assert ctl(*at, "wait", pid, "--until", "ready", "--timeout", "20").returncode == 0
    found = status(ctl, at, pid)
    assert (found["os_pid"], found["incarnation"], found["status"]) == (os_pid, 1, "running")
