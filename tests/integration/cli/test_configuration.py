"""A configuration file on its way into force: checked by the command line, told about at the daemon's start, obeyed by its servers."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

from dadms_ipc.client import Client
from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl

TEXT = '[message_bus]\nmax_queue_size = 3\n[thread_scheduler]\npolicy = "deadline"\n'


def test_what_the_file_says_is_obeyed_and_nothing_is_warned_of(short_path: Path, ctl: Ctl, wait_for: Callable[[Daemon], None]) -> None:
    path = short_path / "dadms.toml"
    path.write_text(TEXT)
    checked = ctl("config", "check", path)
    assert (checked.returncode, checked.stdout) == (0, f"{path} is in order\n")
    assert checked.stderr == "", "every key is in force"
    daemon = Daemon(short_path, "--config", str(path))
    try:
        wait_for(daemon)
        with Client(daemon.runtime_dir) as client:
            bounds = client.bus_status()["bounds"]
    finally:
        daemon.close()
    assert bounds["queue"] == 3
    assert "warning" not in daemon.said()


def test_mistakes_are_told_with_file_and_line_and_a_sentence_ends_them(short_path: Path, ctl: Ctl) -> None:
    path = short_path / "dadms.toml"
    path.write_text("[message_bus]\nmax_queue_size = 0\n")
    one = f"{path}:2: [message_bus] max_queue_size = 0: expected int >= 1\n"
    done = ctl("config", "check", path)
    assert (done.returncode, done.stdout, done.stderr) == (4, "", f'{one}dadmsctl: cannot use the configuration "{path}": 1 mistake\n')
    path.write_text("[message_bus]\nmax_queue_size = 0\n[nothing]\n")
    told = ctl("config", "check", path).stderr.splitlines(keepends=True)
    assert (told[0], told[1].partition(": ")[0]) == (one, f"{path}:3")
    assert told[2:] == [f'dadmsctl: cannot use the configuration "{path}": 2 mistakes\n']


def test_who_does_not_exist_is_told_by_the_check_as_by_the_start(short_path: Path, ctl: Ctl) -> None:
    path = short_path / "dadms.toml"
    path.write_text('[access]\nobserve = ["99999999999999999999"]\n')
    done = ctl("config", "check", path)
    assert done.returncode == 4
    assert (
        done.stderr
        == f'dadmsctl: cannot use the configuration "{path}": [access] observe names "99999999999999999999": there is no such user\n'
    )


def test_an_address_that_this_host_has_not_is_told_by_check_start_and_reload(
    short_path: Path, ctl: Ctl, wait_for: Callable[[Daemon], None]
) -> None:
    path, good = short_path / "dadms.toml", '[network]\nenabled = false\nlisten = "192.0.2.1"\n'  # RFC 5737: nobody's
    wrong, why = (
        good.replace("false", "true"),
        '[network] listen = "192.0.2.1": this host cannot listen there: Cannot assign requested address',
    )
    path.write_text(wrong)
    lines = [f"{path}:3: {why}", f'dadmsctl: cannot use the configuration "{path}": 1 mistake']
    done = ctl("config", "check", path)
    assert (done.returncode, done.stderr.splitlines()) == (4, lines)
    refused = Daemon(short_path, "--config", str(path))
    assert refused.process.wait(20) == 4
    assert refused.said() == f'dadmsd: cannot use the configuration "{path}": line 3: {why}\n'
    path.write_text(good)
    daemon = Daemon(short_path, "--config", str(path))
    try:
        wait_for(daemon)
        at = ("--runtime-dir", str(daemon.runtime_dir))
        path.write_text(wrong)
        done = ctl(*at, "reload")
        assert (done.returncode, done.stderr.splitlines()) == (4, lines)
        assert json.loads(ctl(*at, "status", "--json").stdout)["servers"]["bus"]["restarts"] == 0
    finally:
        daemon.close()


def test_a_port_that_another_program_has_is_refused_by_diff_and_reload_and_not_claimed(
    short_path: Path, ctl: Ctl, wait_for: Callable[[Daemon], None]
) -> None:
    path = short_path / "dadms.toml"
    path.write_text("")
    daemon = Daemon(short_path, "--config", str(path))
    try:
        wait_for(daemon)
        at = ("--runtime-dir", str(daemon.runtime_dir))
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            path.write_text(f'[network]\nenabled = true\nlisten = "127.0.0.1"\nkernel_port = {port}\n')
            for command in (("config", "diff"), ("reload",)):
                done = ctl(*at, *command)
                assert (done.returncode, done.stdout) == (4, ""), done.stderr
                told = f"{path}:4: [network] kernel_port = {port}: cannot listen on 127.0.0.1 there: Address already in use"
                assert done.stderr.splitlines()[0] == told
        assert json.loads(ctl(*at, "status", "--json").stdout)["servers"]["bus"]["restarts"] == 0
    finally:
        daemon.close()


def test_what_a_reload_changed_for_the_bus_alone_is_shown_and_claimed_once(
    short_path: Path, ctl: Ctl, wait_for: Callable[[Daemon], None]
) -> None:
    """The kernel that answers is the one from before."""
    path = short_path / "dadms.toml"
    path.write_text("")
    daemon = Daemon(short_path, "--config", str(path))
    try:
        wait_for(daemon)
        at = ("--runtime-dir", str(daemon.runtime_dir))
        path.write_text("[message_bus]\nretry_attempts = 2\n[daemon]\nstop_timeout_ms = 7000\n")
        line = "~ [message_bus] retry_attempts = 3 → 2 (bus started again)\n"
        assert line in ctl(*at, "config", "diff").stdout
        assert line in ctl(*at, "reload").stdout
        deadline = time.monotonic() + 20
        while "retry_attempts = 2\n" not in (shown := ctl(*at, "config", "show").stdout):
            assert time.monotonic() < deadline, shown
        assert "stop_timeout_ms = 7000\n" in shown
        done = ctl(*at, "config", "diff")
        assert (done.returncode, done.stdout) == (0, "")
        assert ctl(*at, "reload").stdout == "nothing has changed\n"
        assert json.loads(ctl(*at, "status", "--json").stdout)["servers"]["kernel"]["restarts"] == 0
    finally:
        daemon.close()


def test_a_daemon_that_reads_no_definitions_says_so(ctl: Ctl, keeper_daemon: Daemon, wait_for: Callable[[Daemon], None]) -> None:
    wait_for(keeper_daemon)
    at = ("--runtime-dir", str(keeper_daemon.runtime_dir))
    none = "this daemon reads no definitions: dadmsd --config FILE reads those in processes.d beside FILE\n"
    assert ctl(*at, "reload").stdout == f"nothing has changed\n{none}"
    done = ctl(*at, "config", "diff")
    assert (done.returncode, done.stdout) == (0, none)
