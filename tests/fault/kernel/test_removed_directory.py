"""Somebody removes the runtime directory of a running daemon, or files in it, as sweepers of temporary files do: the daemon makes it anew, and what runs runs on."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from dadms_ipc import requests
from dadms_ipc.client import Client
from tests.conftest import Daemon
from tests.fault.kernel.daemon import client, daemon

PATIENCE = 20.0  # seconds for a server to come back on a busy machine


def alive(door: Client) -> requests.ProcessInfo:
    """Give the one process, which the daemon that answers knows as running."""
    (found,) = door.call(requests.List(), timeout=PATIENCE)
    assert isinstance(found, requests.ProcessInfo)
    assert found.status == "running"
    return found


def spawned(made: Daemon) -> requests.ProcessInfo:
    with client(made) as door:
        made_as = door.call(requests.Spawn(requests.Spec(name="web", kind="service", command=["sleep", "1000"])))
        door.call(requests.Wait(made_as["pid"], until="ready", timeout=PATIENCE))
        return alive(door)


@pytest.mark.parametrize("what", ["directory", "sockets"])
def test_a_daemon_whose_directory_is_removed_is_reached_again(short_path: Path, what: str) -> None:
    (short_path / "dadms.toml").write_text("")
    with daemon(short_path, "--config", str(short_path / "dadms.toml")) as made:
        before = spawned(made)
        if what == "directory":
            shutil.rmtree(made.runtime_dir)
        else:
            made.control.unlink()
        with Client(made.runtime_dir, start_timeout=PATIENCE) as door:
            assert alive(door).os_pid == before.os_pid
            kernel = door.call(requests.Status()).os_pid
            os.kill(kernel, signal.SIGKILL)
            assert alive(door).os_pid == before.os_pid, "the next kernel finds its configuration"
        assert made.stop() == 0
        assert not made.runtime_dir.exists()


def test_the_next_server_finds_what_a_sweeper_has_removed(short_path: Path) -> None:
    (short_path / "dadms.toml").write_text("")
    with daemon(short_path, "--config", str(short_path / "dadms.toml")) as made:
        before = spawned(made)
        for name in ("lock", "epoch", "config.toml", "servers"):
            (made.runtime_dir / name).unlink()
        with client(made) as door:
            os.kill(door.call(requests.Status()).os_pid, signal.SIGKILL)
            assert alive(door).os_pid == before.os_pid
        assert (made.runtime_dir / "lock").read_text() == f"{made.process.pid}\n"
        assert "made anew: lock, config.toml" in made.said()
