"""What systemd is told, on a real socket."""

import os
import socket
from pathlib import Path

import pytest

from dadmsd.keeper.notify import Notify


@pytest.mark.parametrize("is_abstract", [False, True])
def test_states_arrive_at_the_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_abstract: bool) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"dadms-test-{os.getpid()}" if is_abstract else "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if is_abstract else name)
        notify = Notify({"NOTIFY_SOCKET": ("@" if is_abstract else "") + name})
        notify.tell("READY=1", "STATUS=ready")
        notify.close()
        assert manager.recv(100) == b"READY=1\nSTATUS=ready"


def test_a_manager_that_is_gone_or_absent_is_no_error(tmp_path: Path) -> None:
    for environment in ({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, {}):
        notify = Notify(environment)
        notify.tell("READY=1")
        notify.close()


@pytest.mark.parametrize(
    ("environment", "interval"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_hears_from_us_twice_in_its_time(environment: dict[str, str], interval: float | None) -> None:
    notify = Notify({"NOTIFY_SOCKET": "@x", **environment})
    notify.close()
    assert notify.interval == interval
