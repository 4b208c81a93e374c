"""Somebody removes the journals of a running daemon: what runs runs on, and everybody who looks is told what that will cost."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from dadms_ipc import requests
from dadms_ipc.client import Client
from dadms_ipc.requests import Spawn, Spec, Status
from dadmsd.bus.store import FILE
from dadmsd.kernel.belongings import BUS, KERNEL, LOSSES
from tests.conftest import Daemon
from tests.fault.kernel.daemon import kill_server, until


def log(made: Daemon) -> str:
    return (made.state_dir / "logs" / "servers.log").read_text()


def test_the_removal_of_the_kernels_file_is_told_and_ends_nothing(made: Daemon, door: Client) -> None:
    pid = int(door.call(Spawn(Spec(name="web", kind="service", command=["sleep", "1000"])))["pid"])
    door.call(requests.Wait(pid, until="ready", timeout=20.0))
    assert door.call(Status()).gone == []
    (made.state_dir / KERNEL).unlink()
    door.call(requests.Stop(pid))  # a turn, which is folded in a second
    event = until(door, lambda event: event.kind == "journal.removed")
    why = f'"{made.state_dir / KERNEL}" was removed or replaced: {LOSSES[KERNEL]}'
    assert event.text == why
    assert door.call(Status()).gone == [why]
    assert log(made).count(f"kernel: {why}") == 1
    assert [info.kind for info in door.call(requests.Events()).events if info.kind == "journal.removed"] == ["journal.removed"]
    assert door.call(Status()).epoch == 1


def test_a_follower_who_lives_through_the_loss_is_told_and_sees_what_happens_then(made: Daemon, door: Client, short_path: Path) -> None:
    """The next kernel numbers its events from 1 on, and none of them is as high as what the follower has seen."""
    for _ in range(3):
        pid = int(door.call(Spawn(Spec(name="old", kind="tool", command=["true"])))["pid"])
        door.call(requests.Wait(pid, timeout=20.0))
    command = [sys.executable, "-m", "dadmsctl", "--runtime-dir", str(made.runtime_dir), "events", "-f"]
    errors = short_path / "errors"
    with errors.open("wb") as file, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True) as follower:
        assert follower.stdout is not None
        guard = threading.Timer(60.0, follower.kill)
        guard.start()
        while "journal.removed" not in follower.stdout.readline():
            if (path := made.state_dir / KERNEL).exists():  # it has seen something
                for each in made.state_dir.glob("kernel.*"):
                    each.unlink()
                assert not path.exists()
                door.call(Status())
        kill_server(door, "kernel")
        door.call(Spawn(Spec(name="new", kind="tool", command=["true"])))
        assert any("new completed" in line for line in follower.stdout)
        guard.cancel()
        follower.kill()
    assert "the daemon has lost its journal" in errors.read_text()


def test_the_removal_of_the_bus_file_is_told_by_the_kernel_and_by_the_next_bus(made: Daemon, door: Client) -> None:
    pid = int(door.call(Spawn(Spec(name="web", kind="service", command=["sleep", "1000"])))["pid"])
    assert door.send(f"{pid}", "t", b"kept") == "stored"
    assert BUS == FILE
    (made.state_dir / BUS).unlink()
    why = f'"{made.state_dir / BUS}" was removed or replaced: {LOSSES[BUS]}'
    info = door.call(Status())
    assert info.gone == [why]
    assert until(door, lambda event: event.kind == "journal.removed").text == why
    os.kill(int(info.servers["bus"]["os_pid"]), signal.SIGKILL)
    until(door, lambda event: event.kind == "server.restarted", after=0)
    assert door.call(Status()).gone == []
    assert f'bus: "{made.state_dir / BUS}" was removed under an earlier bus' in log(made)
