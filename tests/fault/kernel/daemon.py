"""A real daemon and a real process in it, for the fault tests of the kernel."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from dadms_ipc.client import Client
from dadms_ipc.requests import EventInfo, Events, Limits, List, ProcessInfo, Spawn, Spec, Status, Wait
from dadmsd.kernel.host import detect
from tests.conftest import Daemon

SCRIPT = "tests.fault.kernel.script_orchestrator:ORCHESTRATOR"
MEBIBYTE = 1 << 20


@contextmanager
def daemon(directory: Path, *options: str, **environment: str) -> Iterator[Daemon]:
    """Run a daemon with more in its environment."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        made = Daemon(directory, *options)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    try:
        yield made
    finally:
        made.close()


def client(made: Daemon, *, timeout: float = 20.0) -> Client:
    """Open a client; the daemon may just be starting."""
    return Client(made.runtime_dir, timeout=timeout, start_timeout=20.0)


def spawn(door: Client, ledger: Path, steps: list[list[list[Any]]], **limits: Any) -> int:
    """Start a scripted process; gives its pid."""
    config = msgspec.Raw(msgspec.msgpack.encode({"ledger": str(ledger), "steps": steps}))
    answer = door.call(Spawn(Spec("script", SCRIPT, config=config, limits=Limits(**limits), stop_timeout=2.0)))
    return int(answer["pid"])


def ended(door: Client, pid: int, *, seconds: float = 60.0) -> ProcessInfo:
    """Wait for the end of a process."""
    deadline = time.monotonic() + seconds
    while True:
        info: ProcessInfo = door.call(Wait(pid, timeout=5.0))
        if info.status in ("completed", "failed", "killed"):
            return info
        assert time.monotonic() < deadline, f"{info} after {seconds} s"


def until(door: Client, is_it: Callable[[EventInfo], bool], *, after: int = 0, seconds: float = 30.0) -> EventInfo:
    """Wait for an event."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        page = door.call(Events(after, wait=5.0))
        for event in page.events:
            if is_it(event):
                found: EventInfo = event
                return found
        after = page.last
    raise AssertionError(f"no such event in {seconds} s")


def kill_server(door: Client, name: str, number: int = signal.SIGKILL) -> int:
    """Send a signal to the kernel or another server; gives its OS pid."""
    info = door.call(Status())
    os_pid = int(info.os_pid if name == "kernel" else info.servers[name]["os_pid"])
    os.kill(os_pid, number)
    return os_pid


def begun(ledger: Path) -> Counter[int]:
    """Count how often each thread began."""
    if not ledger.exists():
        return Counter()
    return Counter(int(line.split()[1]) for line in ledger.read_text().splitlines() if line.startswith("begun"))


def lines_done(ledger: Path) -> int:
    """Count the threads that came to their end."""
    return sum(line.startswith("done") for line in ledger.read_text().splitlines()) if ledger.exists() else 0


def only_process(door: Client) -> ProcessInfo:
    """Give the one process that there is."""
    processes: list[ProcessInfo] = door.call(List())
    assert len(processes) == 1, processes
    return processes[0]


def ends_trees() -> bool:
    """Tell whether this host lets us end a whole tree, who left its session included: with cgroups."""
    backend = detect("dadms-testprobe")
    backend.dismantle()
    return backend.ends_trees
