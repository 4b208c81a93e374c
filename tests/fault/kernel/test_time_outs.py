"""Time-outs of threads while kernels are killed: they go on, and what ended in time has ended in time."""

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dadms_ipc.client import Client
from dadms_ipc.requests import ShowThread, Status, ThreadInfo, WaitThreads
from tests.conftest import Daemon
from tests.fault.kernel.daemon import kill_server, spawn, until


@contextmanager
def without_kernel(made: Daemon, door: Client) -> Iterator[None]:
    """Have no kernel: it was killed, and its keeper stands still."""
    kernel = door.call(Status()).os_pid
    pidfd = os.pidfd_open(kernel)
    os.kill(made.process.pid, signal.SIGSTOP)
    try:
        os.kill(kernel, signal.SIGKILL)
        assert select.select([pidfd], [], [], 20.0)[0]
        yield
    finally:
        os.kill(made.process.pid, signal.SIGCONT)
        os.close(pidfd)


def started(door: Client, pid: int) -> int:
    event = until(door, lambda event: event.kind == "thread.started" and event.pid == pid)
    return int(event.data["tid"])  # type: ignore[index]  # by construction


def test_a_thread_that_does_not_end_is_ended_in_its_time_however_many_kernels_die(door: Client, short_path: Path) -> None:
    pid = spawn(door, short_path / "ledger", [[["hang", 600.0, 3.0]]], workers=1)
    tid = started(door, pid)
    began = last = time.monotonic()
    for _ in range(4):
        last = time.monotonic()
        kill_server(door, "kernel")
        assert door.call(WaitThreads(pid, [tid], timeout=0.7)) is not None
    door.call(WaitThreads(pid, [tid], timeout=20.0))
    info: ThreadInfo = door.call(ShowThread(tid))
    assert info.state == "timed_out"
    assert 2.9 <= info.run_seconds < last - began + 3.0, "the last kernel gave it none of its time again"
    assert last - began > 2.0


def test_what_ended_in_time_while_no_kernel_was_there_has_completed(made: Daemon, door: Client, short_path: Path) -> None:
    pid = spawn(door, short_path / "ledger", [[["work", 0.8, 1.5]]], workers=1)
    tid = started(door, pid)
    with without_kernel(made, door):
        deadline = time.monotonic() + 20.0
        while "done" not in (short_path / "ledger").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(1.2)  # its time is up, and it has ended before
    door.call(WaitThreads(pid, [tid], timeout=20.0))
    assert door.call(ShowThread(tid)).state == "completed"


def test_what_ran_out_of_time_while_no_kernel_was_there_is_ended_by_the_next(made: Daemon, door: Client, short_path: Path) -> None:
    pid = spawn(
        door,
        short_path / "ledger",
        [[["hang", 600.0, 30.0]]],
        workers=1,
    )
    started(door, pid)
    other = spawn(door, short_path / "ledger", [[["hang", 600.0, 3.0]]], workers=1)
    tid = started(door, other)
    with without_kernel(made, door):
        time.sleep(3.2)
    door.call(Status())
    answered = time.monotonic()
    door.call(WaitThreads(other, [tid], timeout=20.0))
    assert time.monotonic() - answered < 2.5, "the next kernel gave it none of its time again"
    assert door.call(ShowThread(tid)).state == "timed_out"
