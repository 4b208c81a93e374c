"""Processes that have left the table, as a person asks after them by name: the history answers."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dadms_ipc import requests
from dadms_ipc.client import Client
from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl


@pytest.fixture
def at(short_path: Path) -> Iterator[tuple[str, str]]:
    """Give the options that lead to a daemon whose table forgets within a moment."""
    (short_path / "dadms.toml").write_text("[process_kernel]\nretention_ms = 1\ncleanup_interval_ms = 1\n")
    daemon = Daemon(short_path, "--config", str(short_path / "dadms.toml"))
    with Client(daemon.runtime_dir, start_timeout=20.0) as client:
        client.call(requests.Status(), timeout=20.0)
    yield "--runtime-dir", str(daemon.runtime_dir)
    daemon.close()


def test_a_name_that_only_the_history_knows_means_the_newest_of_it(ctl: Ctl, at: tuple[str, str]) -> None:
    first, second = (ctl(*at, "spawn", "job", "--", "sh", "-c", f"echo {code}; exit {code}").stdout.strip() for code in (3, 4))
    while json.loads(ctl(*at, "ps", "-a", "--json").stdout):  # the test's own time-out ends a wait in vain
        time.sleep(0.01)
    done = ctl(*at, "wait", "job", "--exit-code")
    assert (done.returncode, done.stdout) == (4, f'"job" ({second}) failed: exited 4\n')
    assert ctl(*at, "wait", "jo*").stdout == done.stdout
    shown = json.loads(ctl(*at, "status", "job", "--json").stdout)
    assert (shown["pid"], shown["exit_code"], shown["is_past"]) == (int(second), 4, True)
    assert ctl(*at, "logs", "job").stdout.endswith(f"{second}.1 4\n")
    assert f'"job" ({second}) has ended\n' in ctl(*at, "explain", "job").stdout
    assert ctl(*at, "history", "job").stdout.splitlines()[1].startswith(second)
    assert ctl(*at, "wait", first, "--exit-code").returncode == 3, "by its pid"
    started = ctl(*at, "start", "job")
    assert started.returncode == 4
    assert (
        started.stderr
        == f"dadmsctl: cannot start {second}: process {second} has left the table: it failed (exited 4); its history is kept\n"
    )
    assert ctl(*at, "kill", "*").stderr == 'dadmsctl: cannot kill "*": no process is called "*"\n', "nobody means all that ever was"
    assert ctl(*at, "wait", "job2").returncode == 4
