"""Code of users that forks, lingers or takes two servers at once: what it costs, and what stands."""

import os
import signal
import time
from pathlib import Path

import pytest

from dadms_ipc.requests import Spawn, Spec, Wait
from tests.conftest import Daemon
from tests.fault.kernel.daemon import begun, client, daemon, ended, ends_trees, kill_server, spawn, until


def test_a_child_that_an_entry_forks_does_not_become_a_second_worker(short_path: Path) -> None:
    """It returns from the entry into our code, and is ended there; every thread runs once and has its own result."""
    ledger = short_path / "ledger"
    with daemon(short_path) as made, client(made) as door:
        steps: list[list[list[object]]] = [[["fork", None, None]], [["work", 0.01, None]] * 3]
        info = ended(door, spawn(door, ledger, steps, workers=1))
        assert info.outcome == {"results": [["completed", "", ""]] * 4}
        assert sorted(begun(ledger).values()) == [1, 1, 1, 2]  # the line of the forking entry is written by parent and child


def test_an_outcome_stands_when_its_process_does_not_exit(short_path: Path) -> None:
    """An exit function that never returns is ended after the exit time-out; the process has completed."""
    with daemon(short_path) as made, client(made) as door:
        pid = spawn(door, short_path / "ledger", [[["work", 0.0, None]], [["linger-in-main", None, None]]])
        started = time.monotonic()
        info = ended(door, pid)
        assert (info.status, info.cause) == ("completed", "completed")
        assert time.monotonic() - started > 5.0  # seconds: it did linger


def test_after_kernel_and_keeper_are_killed_at_once_the_next_daemon_ends_what_is_left(short_path: Path) -> None:
    """Workers that nobody ended live on with their groups; the next daemon on the same directories ends them before it does anything else."""
    ledger = short_path / "ledger"
    with daemon(short_path) as made, client(made) as door:
        pid = spawn(door, ledger, [[["hang", None, None]] * 2], workers=2)
        event = until(door, lambda event: event.kind == "thread.started")
        worker = int(event.data["os_pid"])  # type: ignore[index]  # a map by its kind
        kill_server(door, "kernel", signal.SIGSTOP)  # so that it cannot act on the keeper's death
        made.process.kill()
        made.process.wait()
        os.kill(_orphaned_kernel(), signal.SIGKILL)
    with daemon(short_path) as made, client(made) as door:
        info = ended(door, pid)
        assert (info.status, info.reason) == ("failed", "the daemon was restarted")
        assert not is_alive(worker)


def test_after_kernel_and_keeper_of_a_private_daemon_are_killed_at_once_nothing_is_left(short_path: Path) -> None:
    """No daemon comes after it: the logger ends what is left, commands that would run on included, and removes groups and directory."""
    if not ends_trees():
        pytest.skip("without cgroups nobody can find them once keeper and kernel are gone")
    lease, mine = os.pipe()
    made = Daemon(short_path, lease=lease)
    os.close(lease)
    with client(made) as door:
        pid = door.call(Spawn(Spec("sleeper", kind="service", command=["/bin/sleep", "600"])))["pid"]
        sleeper = door.call(Wait(pid, until="ready")).os_pid
        kill_server(door, "kernel", signal.SIGSTOP)  # so that it cannot act on the keeper's death
        made.process.kill()
        made.process.wait()
        os.kill(_orphaned_kernel(), signal.SIGKILL)
    deadline = time.monotonic() + 20.0
    while (is_alive(sleeper) or made.runtime_dir.exists()) and time.monotonic() < deadline:
        time.sleep(0.05)  # nobody tells
    assert not is_alive(sleeper)
    assert not made.runtime_dir.exists()
    os.close(mine)


def _orphaned_kernel() -> int:
    """Find the kernel that fell to this process, a subreaper."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
                if int(stat.rpartition(")")[2].split()[1]) == os.getpid() and b"dadmsd.kernel" in (entry / "cmdline").read_bytes():
                    return int(entry.name)
            except (OSError, IndexError):
                continue
    raise AssertionError("no kernel fell to us")


def is_alive(os_pid: int) -> bool:
    """Tell whether a process lives; a zombie that waits for this process to reap it does not."""
    try:
        return Path(f"/proc/{os_pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
