"""Descriptors after deaths of the kernel: nobody who outlives it keeps one for it."""

import time
from pathlib import Path
from typing import Any

from dadms_ipc.client import Client
from dadms_ipc.requests import Kill, Spawn, Spec, Start, Status, Stop, Threads, Wait
from tests.conftest import Daemon
from tests.fault.kernel.daemon import kill_server, spawn, until

KILLS = 10
LOOK = 0.05  # seconds
SETTLED = 15.0  # seconds until what is on its way has come


def descriptors(os_pid: int) -> list[str]:
    """Name what an OS process has open, without the numbers of inodes."""
    found = []
    for entry in Path(f"/proc/{os_pid}/fd").iterdir():
        try:
            found.append(str(entry.readlink()).split(":[")[0])
        except FileNotFoundError:
            continue  # closed meanwhile
    return sorted(found)


def children(os_pid: int) -> int:
    """Count the children of an OS process, those that are not reaped among them."""
    return len(Path(f"/proc/{os_pid}/task/{os_pid}/children").read_text().split())


def held(made: Daemon, door: Client, others: dict[str, int]) -> dict[str, Any]:
    """Look at who outlives kernels, and at the kernel of now."""
    info: Any = door.call(Status())
    pids = {name: int(info.servers[name]["os_pid"]) for name in ("bus", "logger", "zygote")}
    pids |= {"keeper": made.process.pid, "kernel": info.os_pid, **others}
    return {name: (descriptors(pid), children(pid)) for name, pid in pids.items()}


def test_ten_deaths_of_the_kernel_cost_nobody_a_descriptor(made: Daemon, door: Client, short_path: Path) -> None:
    """While services end and are started again all the time, so that it dies in the middle of forks, exits and reaps."""
    pid = spawn(door, short_path / "ledger", [[["work", 0.01, None]], [["hang", 600.0, 600.0]]], workers=1)
    started = until(door, lambda event: event.kind == "thread.started" and event.pid == pid)
    until(door, lambda event: event.kind == "thread.completed" and event.pid == pid)
    worker = int(started.data["os_pid"])  # type: ignore[index]  # by construction
    others = {"main": door.call(Status(pid)).os_pid, "worker": worker}
    spec: dict[str, Any] = {
        "kind": "service",
        "command": ["/bin/true"],
        "restart": "always",
        "backoff": 0.01,
        "backoff_most": 0.01,
        "start_limit": 0,
    }
    flapping = [int(door.call(Spawn(Spec(f"flap-{number}", **spec)))["pid"]) for number in range(6)]

    def rested() -> dict[str, Any]:
        for each in flapping:
            door.call(Stop(each))
            door.call(Wait(each, timeout=20.0))
        found = held(made, door, others)
        for each in flapping:
            door.call(Start(each))
        return found

    time.sleep(0.5)
    before = rested()
    for number in range(KILLS):
        time.sleep(0.11 + 0.017 * number)
        kill_server(door, "kernel")
        door.call(Status())
    deadline = time.monotonic() + SETTLED
    while (after := rested()) != before:
        assert time.monotonic() < deadline, {name: (before[name], after[name]) for name in before if before[name] != after[name]}
        time.sleep(LOOK)
    for each in flapping:
        door.call(Kill(each, force=True))
    assert len(door.call(Threads(pid))) == 2
