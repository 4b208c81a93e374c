"""The failure model as a table: who, what happens to it, what must hold. docs/explanation/failure-model.md names each cell by its id here.

A process with threads runs; while they do, one part is hurt; then the process's own ledger and its recorded end are judged, and another process is run to see that
everything serves. Memory is taken away by RLIMIT_AS and the disk by RLIMIT_FSIZE, of the one who is hurt: no byte more.
"""

import contextlib
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dadms_ipc.client import Client
from dadms_ipc.requests import ProcessInfo, Status
from tests.conftest import Daemon
from tests.fault.kernel.daemon import begun, client, daemon, ended, spawn, until

STEPS = [[["work", 0.15, None]] * 4, [["work", 0.02, None]] * 4, [["work", 0.0, None]] * 2]
THREADS = sum(map(len, STEPS))
ATTEMPTS = 5  # to find a process alive
LASTS = 0.5  # seconds that somebody is stopped, slow, or goes without
PULSE = (0.015, 0.005)  # seconds stopped and running, of somebody slow
SERVERS = ("kernel", "bus", "logger", "base zygote")


class Scene(NamedTuple):
    """What is going on when somebody is hurt."""

    keeper: int
    door: Client
    pid: int
    worker: int  # OS pid of one that runs a thread


def pid_of(who: str, scene: Scene) -> int:
    """Find the OS process of a part."""
    info = scene.door.call(Status())
    process: ProcessInfo = scene.door.call(Status(scene.pid))
    parts: dict[str, Callable[[], int]] = {
        "keeper": lambda: scene.keeper,
        "kernel": lambda: int(info.os_pid),
        "bus": lambda: int(info.servers["bus"]["os_pid"]),
        "logger": lambda: int(info.servers["logger"]["os_pid"]),
        "base zygote": lambda: int(info.servers["zygote"]["os_pid"]),
        "version zygote": lambda: int(Path(f"/proc/{scene.worker}/stat").read_text().rpartition(")")[2].split()[1]),
        "worker": lambda: scene.worker,
        "process": lambda: process.os_pid,
    }
    return parts[who]()


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def stopped(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(LASTS)  # that is what is done to it
    os.kill(pid, signal.SIGCONT)


def slow(pid: int) -> None:
    """Leave it a quarter of its time."""
    ends = time.monotonic() + LASTS
    with contextlib.suppress(ProcessLookupError):  # it has done what it had to do
        while time.monotonic() < ends:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(PULSE[0])  # as above
            os.kill(pid, signal.SIGCONT)
            time.sleep(PULSE[1])  # as above


def _without(pid: int, what: int, size: int) -> None:
    soft, hard = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (size, hard))
    time.sleep(LASTS)  # as above
    with contextlib.suppress(ProcessLookupError):  # it died of it
        resource.prlimit(pid, what, (soft, hard))


def out_of_memory(pid: int) -> None:
    _without(pid, resource.RLIMIT_AS, int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize())


def disk_full(pid: int) -> None:
    _without(pid, resource.RLIMIT_FSIZE, 0)


def results(info: ProcessInfo) -> list[list[Any]]:
    found: list[list[Any]] = info.outcome["results"]  # type: ignore[index] # the script's outcome
    return found


def goes_on(info: ProcessInfo) -> None:
    """Every thread completed, as if nothing had happened."""
    assert (info.status, [result[0] for result in results(info)]) == ("completed", ["completed"] * THREADS), info


def loses_the_thread(info: ProcessInfo) -> None:
    """The thread that the worker ran ends with the cause; the others complete."""
    assert info.status == "completed", info
    assert sorted(result[:2] for result in results(info)) == [["completed", ""]] * (THREADS - 1) + [["error", "worker_lost"]]


def threads_may_fail(info: ProcessInfo) -> None:
    """Threads that went without end in error, with the reason; each has one end, and the process goes on."""
    assert info.status == "completed", info
    assert len(results(info)) == THREADS
    assert all(result[0] == "completed" or (result[0] == "error" and result[2]) for result in results(info)), info


def fails_with_the_cause(info: ProcessInfo) -> None:
    assert (info.status, info.workers) == ("failed", 0), info
    assert "signal 9" in info.cause, info


def has_one_end(info: ProcessInfo) -> None:
    """It lives without, or fails with a cause: whichever, it is recorded and nothing of it is left."""
    assert info.workers == 0
    if info.status == "completed":
        goes_on(info)
    else:
        assert (info.status, bool(info.cause)) == ("failed", True), info


# what of the table is judged by hurting a part of a daemon that goes on; the keeper's death has tests of its own
CELLS: dict[tuple[str, Callable[[int], None]], Callable[[ProcessInfo], None]] = {
    **{(who, how): goes_on for who in (*SERVERS, "version zygote") for how in (killed, stopped, slow, out_of_memory, disk_full)},
    **{("keeper", how): goes_on for how in (stopped, slow, disk_full)},
    ("worker", killed): loses_the_thread,
    ("worker", stopped): goes_on,
    ("worker", slow): goes_on,
    ("worker", out_of_memory): threads_may_fail,
    ("worker", disk_full): threads_may_fail,
    ("process", killed): fails_with_the_cause,
    ("process", stopped): goes_on,
    ("process", slow): goes_on,
    ("process", out_of_memory): has_one_end,
    ("process", disk_full): goes_on,
}
IDS = [f"{who}-{how.__name__}".replace(" ", "_") for who, how in CELLS]


@pytest.fixture(autouse=True)
def _nothing_is_left() -> None:
    """Leave the check to the end of the module: the daemon's servers come and go."""


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, temporary_directory: Path) -> Iterator[Daemon]:
    """Give one daemon to all cells: what one of them breaks, the next one meets."""
    with tempfile.TemporaryDirectory(prefix="t", dir=temporary_directory) as directory, daemon(Path(directory)) as made:
        yield made


@pytest.fixture(scope="module")
def door(standing: Daemon) -> Iterator[Client]:
    with client(standing, timeout=30.0) as made:
        yield made


@pytest.mark.parametrize(("who", "how", "holds"), [(*cell, holds) for cell, holds in CELLS.items()], ids=IDS)
def test_what_holds(
    standing: Daemon, door: Client, short_path: Path, who: str, how: Callable[[int], None], holds: Callable[[ProcessInfo], None]
) -> None:
    ledger, pid, target = short_path, 0, 0
    for attempt in range(ATTEMPTS):
        ledger = short_path / f"ledger{attempt}"
        pid = spawn(door, ledger, STEPS, workers=2)
        started = until(door, lambda event, pid=pid: event.kind == "thread.started" and event.pid == pid)  # type: ignore[misc]  # bound now
        scene = Scene(standing.process.pid, door, pid, started.data["os_pid"])  # type: ignore[index] # a map by its kind
        target = pid_of(who, scene)
        if target:
            break
        ended(door, pid)  # it was quicker than we
    assert target > 1, "0 would be this program and all of its group"
    how(target)
    info = ended(door, pid)
    holds(info)
    assert max(begun(ledger).values(), default=0) <= 1
    goes_on(ended(door, spawn(door, short_path / "another", STEPS, workers=2)))
    assert door.call(Status()).threads_running == 0
    assert standing.process.poll() is None


def test_a_kernel_that_cannot_write_its_journal_stands_and_what_runs_runs_on(standing: Daemon, door: Client, short_path: Path) -> None:
    """Nothing finds room, not even what the journal keeps for it: rows wait in memory, and no thread notices."""
    ledger = short_path / "ledger"
    pid = spawn(door, ledger, [[["work", 2.0, None]] * 2, [["work", 0.0, None]]], workers=2)
    started = until(door, lambda event: event.kind == "thread.started" and event.pid == pid)
    worker = started.data["os_pid"]  # type: ignore[index] # a map by its kind
    keeper, kernel = standing.process.pid, int(door.call(Status()).os_pid)
    soft, hard = resource.prlimit(keeper, resource.RLIMIT_FSIZE)
    for os_pid in (keeper, kernel):
        resource.prlimit(os_pid, resource.RLIMIT_FSIZE, (0, hard))  # the next kernels have it from the keeper
    try:
        time.sleep(1.5)  # a disk that is full for a while
        assert Path(f"/proc/{worker}").exists()
    finally:
        resource.prlimit(keeper, resource.RLIMIT_FSIZE, (soft, hard))
        for child in Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(int(child), resource.RLIMIT_FSIZE, (soft, hard))
    info = ended(door, pid)
    assert int(door.call(Status()).os_pid) == kernel
    assert [result[0] for result in results(info)] == ["completed"] * 3
    assert sorted(begun(ledger).values()) == [1, 1, 1]


def test_a_keeper_without_memory_lives_or_everything_ends(short_path: Path) -> None:
    """There is no third way: no half of a daemon."""
    with daemon(short_path) as made, client(made) as door:
        pid = spawn(door, short_path / "ledger", STEPS, workers=2)
        until(door, lambda event: event.kind == "thread.started")
        out_of_memory(made.process.pid)
        if made.process.poll() is None:
            goes_on(ended(door, pid))
