"""An orchestrator with a watchdog: one that waits lives, one that hangs in its own code is ended, one that is suspended need not say anything."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from dadms_ipc import requests
from dadms_ipc.client import Client
from tests.conftest import Daemon

WATCHDOG = 0.6  # seconds
WAITS = "tests.integration.cli.waiting_orchestrator:WAITS"


def spawned(client: Client, **config: object) -> int:
    spec = requests.Spec(
        "w",
        WAITS,
        config=msgspec.Raw(msgspec.msgpack.encode(config)),
        watchdog=WATCHDOG,
        stop_timeout=0.3,
        environment={"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    pid = int(client.call(requests.Spawn(spec))["pid"])
    assert client.call(requests.Wait(pid, until="ready", timeout=20.0), timeout=30.0).status == "running"
    return pid


def test_one_that_waits_lives_however_long_and_through_a_suspension(keeper_daemon: Daemon, wait_for: Callable[[Daemon], None]) -> None:
    wait_for(keeper_daemon)
    with Client(keeper_daemon.runtime_dir, timeout=20.0) as client:
        pid = spawned(client, hangs=False)
        assert client.call(requests.Wait(pid, timeout=3 * WATCHDOG)).status == "running"
        client.call(requests.Suspend(pid))
        client.call(requests.Wait(pid, until="suspended", timeout=10.0))
        assert client.call(requests.Wait(pid, timeout=3 * WATCHDOG)).suspension == "frozen"
        client.call(requests.Resume(pid))
        assert client.call(requests.Wait(pid, timeout=3 * WATCHDOG)).status == "running"
        os.kill(client.call(requests.Status()).os_pid, signal.SIGKILL)  # the next kernel hears it as well
        assert client.call(requests.Wait(pid, timeout=3 * WATCHDOG)).status == "running"
        client.call(requests.Kill(pid, force=True))


def test_one_that_hangs_in_its_own_code_is_ended_with_the_cause(keeper_daemon: Daemon, wait_for: Callable[[Daemon], None]) -> None:
    wait_for(keeper_daemon)
    with Client(keeper_daemon.runtime_dir, timeout=20.0) as client:
        begun = time.monotonic()
        pid = spawned(client, hangs=True)
        ended = client.call(requests.Wait(pid, timeout=20.0), timeout=30.0)
    assert (ended.status, ended.cause) == ("failed", "watchdog"), ended
    assert ended.reason == "did not say within 0.6 s that it lives"
    assert time.monotonic() - begun < 15
