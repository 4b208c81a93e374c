"""Processes that are defined in files, as an administrator works with them: a real daemon, its directory, reload, and restarts of everything."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dadms_ipc import requests
from dadms_ipc.client import Client
from tests.conftest import Daemon
from tests.fault.kernel.test_odd_code import is_alive
from tests.integration.cli.conftest import Ctl


@pytest.fixture
def files(short_path: Path) -> Path:
    """Give the directory of definitions of a configuration."""
    (short_path / "dadms.toml").write_text("[process_kernel]\nmax_processes = 50\n")
    (short_path / "processes.d").mkdir()
    return short_path / "processes.d"


def started(short_path: Path) -> Daemon:
    daemon = Daemon(short_path, "--config", str(short_path / "dadms.toml"))
    with Client(daemon.runtime_dir, start_timeout=20.0) as client:
        client.call(requests.Status(), timeout=20.0)
    return daemon


@pytest.fixture
def daemon(files: Path, short_path: Path) -> Iterator[Daemon]:
    """Give a daemon with definitions: one good file with two, and a bad one."""
    (files / "two.toml").write_text('[process.web]\ncommand = "sleep 1000"\nrequires = ["db"]\n\n[process.db]\ncommand = "sleep 1000"\n')
    (files / "bad.toml").write_text('command = "x"\ncomand = "y"\n')
    made = started(short_path)
    yield made
    made.close()


def by_name(ctl: Ctl, daemon: Daemon) -> dict[str, dict[str, object]]:
    return {each["name"]: each for each in json.loads(ctl("--runtime-dir", str(daemon.runtime_dir), "ps", "-a", "--json").stdout)}


def test_definitions_start_are_compared_and_reloaded_and_a_bad_file_costs_only_itself(ctl: Ctl, files: Path, daemon: Daemon) -> None:
    at = ("--runtime-dir", str(daemon.runtime_dir))
    assert ctl(*at, "wait", "web", "--until", "ready").returncode == 0
    before = by_name(ctl, daemon)
    assert set(before) == {"web", "db"}
    told = f'dadmsd: a mistake in "{files}": bad.toml:2: unknown key "comand"; did you mean "command"?; dadmsctl config check {files} tells all\n'
    assert told in daemon.said()
    mistake = f'bad.toml:2: unknown key "comand"; did you mean "command"?\ndadmsctl: cannot use all of "{files}": 1 mistake\n'
    done = ctl("config", "check", files)
    assert (done.returncode, done.stderr) == (4, mistake)
    done = ctl(*at, "config", "diff")
    assert (done.returncode, done.stdout, done.stderr) == (4, "", mistake)
    (files / "bad.toml").unlink()
    (files / "new.toml").write_text('command = "sleep 1000"\n')
    (files / "two.toml").write_text((files / "two.toml").read_text().replace('requires = ["db"]', 'requires = ["db"]\numask = "027"'))
    done = ctl(*at, "config", "diff")
    assert (done.returncode, done.stdout, done.stderr) == (1, f'! restart "web" ({before["web"]["pid"]}): umask\n+ start "new"\n', "")
    done = ctl(*at, "reload")
    assert (done.returncode, done.stderr) == (0, "")
    assert ctl(*at, "wait", "web", "new", "--until", "ready").returncode == 0
    after = by_name(ctl, daemon)
    assert after["db"]["os_pid"] == before["db"]["os_pid"], "what did not change was not touched"
    assert after["web"]["incarnation"] == 2
    done = ctl(*at, "config", "diff")
    assert (done.returncode, done.stdout) == (0, "")


def test_another_niceness_is_live_and_what_somebody_changed_live_outlives_a_kill_of_the_daemon(
    ctl: Ctl, files: Path, short_path: Path, daemon: Daemon
) -> None:
    at = ("--runtime-dir", str(daemon.runtime_dir))
    (files / "bad.toml").unlink()
    assert ctl(*at, "wait", "web", "--until", "ready").returncode == 0
    before = by_name(ctl, daemon)["web"]
    (files / "two.toml").write_text((files / "two.toml").read_text().replace('requires = ["db"]', 'requires = ["db"]\nnice = 1'))
    assert ctl(*at, "reload").stdout == f'~ change "web" ({before["pid"]}): nice\n'
    deadline = time.monotonic() + 20
    while os.getpriority(os.PRIO_PROCESS, int(str(before["os_pid"]))) != 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert ctl(*at, "limits", "web", "nice=2", "files=512").returncode == 0
    assert ctl(*at, "reload").stdout == "nothing has changed\n"
    assert by_name(ctl, daemon)["web"]["os_pid"] == before["os_pid"], "nothing of this is a reason for a restart"
    daemon.process.kill()
    daemon.process.wait()
    following = started(short_path)
    try:
        assert ctl(*at, "wait", "web", "--until", "ready").returncode == 0
        found = by_name(ctl, following)["web"]
        assert (found["incarnation"], os.getpriority(os.PRIO_PROCESS, int(str(found["os_pid"])))) == (2, 2)
        assert ctl(*at, "config", "diff").returncode == 0
        assert "512" in ctl(*at, "limits", "web").stdout
    finally:
        following.close()


def test_what_is_wanted_outlives_kernel_keeper_and_daemon(ctl: Ctl, files: Path, short_path: Path, daemon: Daemon) -> None:
    at = ("--runtime-dir", str(daemon.runtime_dir))
    assert ctl(*at, "wait", "web", "--until", "ready").returncode == 0
    assert ctl(*at, "stop", "web").returncode == 0
    db = by_name(ctl, daemon)["db"]
    os.kill(int(json.loads(ctl(*at, "status", "--json").stdout)["os_pid"]), signal.SIGKILL)
    found = by_name(ctl, daemon)
    assert (found["db"]["os_pid"], found["web"]["status"]) == (db["os_pid"], "stopped")
    daemon.stop()
    again = started(short_path)
    try:
        assert ctl(*at, "wait", "db", "--until", "ready").returncode == 0
        found = by_name(ctl, again)
        assert (found["db"]["incarnation"], found["web"]["status"], found["web"]["incarnation"]) == (2, "stopped", 1)
        again.process.kill()
        again.process.wait()
        while is_alive(int(str(found["db"]["os_pid"]))):
            time.sleep(0.01)
    finally:
        again.close()
    third = started(short_path)
    try:
        assert ctl(*at, "wait", "db", "--until", "ready").returncode == 0
        found = by_name(ctl, third)
        assert (found["db"]["incarnation"], found["web"]["status"]) == (3, "stopped")
    finally:
        third.close()


def test_config_show_has_what_holds_and_a_wrong_file_changes_nothing(ctl: Ctl, short_path: Path, daemon: Daemon) -> None:
    at = ("--runtime-dir", str(daemon.runtime_dir))
    shown = ctl(*at, "config", "show").stdout
    assert "max_processes = 50\n" in shown
    assert f"# definitions in {short_path / 'processes.d'}\n" in shown
    (short_path / "dadms.toml").write_text("[process_kernel]\nmax_proceses = 60\n")
    done = ctl(*at, "reload")
    assert (done.returncode, "max_proceses" in done.stderr) == (4, True)
    (short_path / "dadms.toml").write_text("[process_kernel]\nmax_processes = 60\n")
    line = "~ [process_kernel] max_processes = 50 → 60 (kernel started again)\n"
    assert line in ctl(*at, "config", "diff").stdout
    before = by_name(ctl, daemon)
    assert line in ctl(*at, "reload").stdout
    while "max_processes = 60\n" not in ctl(*at, "config", "show").stdout:
        time.sleep(0.05)
    assert by_name(ctl, daemon)["db"]["os_pid"] == before["db"]["os_pid"]
    assert "the configuration changed: [process_kernel] max_processes = 50 → 60; kernel started again" in daemon.said()
    (short_path / "processes.d" / "bad.toml").unlink()
    assert ctl(*at, "reload").stdout == "nothing has changed\n"
    (short_path / "dadms.toml").write_text("[process_kernel]\nmax_processes = 60\n[daemon]\nstop_timeout_ms = 7000\n")
    told = json.loads(ctl(*at, "reload", "--json").stdout)["keys"]
    assert told == [{"table": "daemon", "key": "stop_timeout_ms", "now": 30000, "then": 7000, "servers": []}]


def test_what_this_host_cannot_do_is_refused_with_file_and_line_and_what_runs_runs_on(ctl: Ctl, files: Path, daemon: Daemon) -> None:
    at = ("--runtime-dir", str(daemon.runtime_dir))
    assert ctl(*at, "wait", "web", "--until", "ready").returncode == 0
    before = by_name(ctl, daemon)
    (files / "bad.toml").unlink()
    (files / "two.toml").write_text(
        '[process.web]\ncommand = "sleep 2000"\nrequires = ["db"]\n[process.web.limits]\nfiles = 64\ncpu = 999\n\n[process.db]\ncommand = "/no/such/program"\n'
    )
    (files / "gone.toml").write_text('user = "root"\ncommand = "no-such-program"\n')
    mistakes = [
        'two.toml:6: cannot change "web": 999 cores asked, all processes together may use ',
        'two.toml:9: cannot change "db": cannot run "/no/such/program": No such file or directory',
        'gone.toml:2: cannot start "gone": cannot run "no-such-program": it is not in /usr/local/bin:/usr/bin:/bin',
    ]
    for command in (("config", "diff"), ("reload",)):
        done = ctl(*at, *command)
        told = done.stderr.splitlines()
        assert (done.returncode, done.stdout, told.pop()) == (4, "", f'dadmsctl: cannot use all of "{files}": 3 mistakes'), done
        assert all(line.startswith(mistake) for line, mistake in zip(sorted(told), sorted(mistakes), strict=True)), told
    after = by_name(ctl, daemon)
    assert {name: each["os_pid"] for name, each in after.items()} == {name: each["os_pid"] for name, each in before.items()}


def test_a_directory_is_checked_as_a_whole_without_a_daemon(ctl: Ctl, files: Path) -> None:
    (files / "a.toml").write_text('command = "sleep 9"\n\nrequires = ["b"]\n')
    (files / "b.toml").write_text(
        '[process.b]\ncommand = "sleep 9"\nafter = ["a"]\n[process.c]\ncommand = "sleep 9"\nrequires = ["dd", "off", "spoilt"]\nafter = ["cc"]\n'
    )
    (files / "d.toml").write_text('command = "sleep 9"\nnice = 77\nrestart = "sometimes"\numask = "9"\n')
    (files / "off.toml").write_text('command = "sleep 9"\nenabled = false\n')
    (files / "gone.toml").write_text('kind = "tool"\ncommand = "/no/such/program --now"\n')
    (files / "spoilt.toml").write_text('comand = "x"\n')
    (files / "ill.toml").write_text('command = "sleep 9"\nlive_command = "/nosuch/live"\nready = "exec"\nready_command = "/nosuch/probe"\n')
    done = ctl("config", "check", files)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.splitlines() == [
        'a.toml:3: "a": its dependencies go in a circle: a → b → a',
        'b.toml:3: "b": its dependencies go in a circle: b → a → b',
        'b.toml:6: "c" requires "dd", which nothing here defines; did you mean "d"?',
        'b.toml:6: "c" requires "off", which is not enabled (off.toml)',
        'd.toml:2: "d": nice is 77, it can be from -20 to 19',
        "d.toml:3: \"d\": no restart 'sometimes'; there are never, on-failure, always",
        "d.toml:4: umask = '9': it is no mask of modes: write it in octal, such as 027",
        'gone.toml:2: "gone": cannot run "/no/such/program": No such file or directory',
        'ill.toml:4: "ill": cannot run "/nosuch/probe": No such file or directory',
        'ill.toml:2: "ill": cannot run "/nosuch/live": No such file or directory',
        'spoilt.toml:1: unknown key "comand"; did you mean "command"?',
        'dadmsctl: warning: b.toml:7: "c" starts after "cc", which nothing here defines; did you mean "c"?',
        f'dadmsctl: cannot use all of "{files}": 11 mistakes',
    ]
    one = ctl("config", "check", files / "b.toml")
    assert [line.partition(".toml:")[0] for line in one.stderr.splitlines()[:-1]] == ["b"] * 3 + ["dadmsctl: warning: b"]
    fine = ctl("config", "check", files / "off.toml")
    assert (fine.returncode, fine.stdout, fine.stderr) == (0, f"{files / 'off.toml'} is in order: off\n", "")


def test_a_name_that_a_file_defines_and_nobody_has_is_told_with_why_nobody_does(
    ctl: Ctl, files: Path, short_path: Path, daemon: Daemon
) -> None:
    at = ("--runtime-dir", str(daemon.runtime_dir))
    (files / "far.toml").write_text('command = "sleep 1000"\nmemory_request = "900G"\n')
    (files / "off.toml").write_text('command = "sleep 1000"\nenabled = false\n')
    assert ctl(*at, "reload").returncode == 4
    (files / "fresh.toml").write_text('command = "sleep 1000"\n')
    for name, why in {
        "bad": 'its file has a mistake: bad.toml:2: unknown key "comand"; did you mean "command"?',
        "far": 'far.toml:2: cannot start "far": 900 GiB asked, 4 GiB free of 4 GiB',
        "off": "off.toml:2: it is not enabled",
        "fresh": "a file defines it, and it has not been started; dadmsctl reload starts it",
    }.items():
        done = ctl(*at, "explain", name)
        assert (done.returncode, done.stderr) == (4, f'dadmsctl: cannot explain "{name}": no process is called "{name}": {why}\n')
    done = ctl(*at, "explain", "wep")
    assert (done.returncode, done.stderr) == (4, 'dadmsctl: cannot explain "wep": no process is called "wep"; did you mean "web"?\n')


def test_a_file_whose_name_is_not_utf_8_is_told_and_everything_else_goes_on(ctl: Ctl, files: Path, daemon: Daemon) -> None:
    at = ("--runtime-dir", str(daemon.runtime_dir))
    (files / "bad.toml").unlink()
    assert ctl(*at, "wait", "web", "--until", "ready").returncode == 0
    before = by_name(ctl, daemon)
    Path(os.fsdecode(os.fsencode(files) + b"/caf\xe9.toml")).write_text('command = "sleep 9"')
    for command in (("config", "diff"), ("reload",), ("config", "check", files)):
        done = ctl(*at, *command)
        assert (done.returncode, done.stdout, done.stderr.splitlines()[0]) == (4, "", "caf\\xe9.toml: its name is not UTF-8")
    after = by_name(ctl, daemon)
    assert {name: each["os_pid"] for name, each in after.items()} == {name: each["os_pid"] for name, each in before.items()}
