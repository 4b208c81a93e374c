"""The real daemon, with its real servers: it stands, it gets up again, and it leaves nothing."""

import os
import select
import signal
from pathlib import Path

import psutil
import pytest

from dadms_ipc import requests
from dadms_ipc.client import Client
from tests.conftest import Daemon
from tests.integration.keeper.theatre import PATIENCE

SERVERS = ("zygote", "kernel", "bus", "logger")


def servers(daemon: Daemon) -> dict[str, int]:
    """Pids of the running servers, by name; the list in ``/proc/PID/task/TID/children`` may miss some while others end (proc(5))."""
    found = {}
    for child in psutil.Process(daemon.process.pid).children():
        argv = child.cmdline()
        name = argv[argv.index("-m") + 1].removeprefix("dadmsd.") if "-m" in argv else ""
        if name in SERVERS:  # one that was forked and is no server yet has the keeper's own
            found[name] = child.pid
    return found


def status(daemon: Daemon) -> requests.DaemonInfo:
    with Client(runtime_dir=daemon.runtime_dir, timeout=PATIENCE, start_timeout=PATIENCE) as client:
        answer = client.call(requests.Status())
    assert isinstance(answer, requests.DaemonInfo)
    return answer


def test_the_daemon_stands_and_leaves_nothing_but_its_state(keeper_daemon: Daemon) -> None:
    answer = status(keeper_daemon)
    assert answer.epoch == 1
    assert answer.runtime_dir == str(keeper_daemon.runtime_dir)
    assert set(servers(keeper_daemon)) == set(SERVERS)
    assert keeper_daemon.stop() == 0
    assert not keeper_daemon.runtime_dir.exists()
    assert (keeper_daemon.state_dir / "kernel.db").exists()
    assert "Traceback" not in (keeper_daemon.state_dir / "logs" / "servers.log").read_text()


@pytest.mark.parametrize("victim", SERVERS)
def test_a_real_server_that_is_killed_comes_back_and_requests_are_answered(keeper_daemon: Daemon, victim: str) -> None:
    status(keeper_daemon)
    before = servers(keeper_daemon)
    ended = os.pidfd_open(before[victim])
    os.kill(before[victim], signal.SIGKILL)
    assert select.select([ended], [], [], PATIENCE)[0]
    os.close(ended)
    answer = status(keeper_daemon)
    after = servers(keeper_daemon)
    assert answer.epoch == (2 if victim == "kernel" else 1)
    assert {name: pid for name, pid in after.items() if name != victim} == {name: pid for name, pid in before.items() if name != victim}
    assert keeper_daemon.stop() == 0


def test_killing_the_keeper_ends_every_server(keeper_daemon: Daemon) -> None:
    status(keeper_daemon)
    pids = servers(keeper_daemon)
    fds = [os.pidfd_open(pid) for pid in pids.values()]
    keeper_daemon.process.kill()
    keeper_daemon.process.wait()
    for fd in fds:
        assert select.select([fd], [], [], PATIENCE)[0]
        os.close(fd)


def test_a_daemon_whose_keeper_was_killed_starts_again_on_its_directory(keeper_daemon: Daemon, short_path: Path) -> None:
    status(keeper_daemon)
    keeper_daemon.process.kill()
    keeper_daemon.process.wait()
    again = Daemon(short_path)
    try:
        assert status(again).epoch == 2
        assert again.stop() == 0
    finally:
        again.close()


def test_a_private_daemon_ends_with_its_lease_and_nothing_of_it_is_left(short_path: Path) -> None:
    lease, owner = os.pipe()
    daemon = Daemon(short_path, lease=lease)
    try:
        os.close(lease)
        assert status(daemon).is_private
        os.close(owner)
        assert daemon.process.wait(PATIENCE) == 0
        assert not daemon.runtime_dir.exists()
        assert daemon.said() == ""
    finally:
        daemon.close()
