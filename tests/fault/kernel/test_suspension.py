"""A thread that computes in C is suspended in a real worker: it uses no CPU, its slot serves another, and it goes on to the right digits."""

import os
import signal
import time
from pathlib import Path

import msgspec
import pytest

from dadms_ipc.client import Client
from dadms_ipc.requests import KillThread, Limits, ResumeThread, ShowThread, Spawn, Spec, SuspendThread, Threads
from tests.fault.kernel.daemon import client, daemon, ended, kill_server, until
from tests.fault.kernel.pi_orchestrator import pi

DIGITS = 25_000  # a second or two
PI = "tests.fault.kernel.pi_orchestrator:ORCHESTRATOR"
SLACK = 0.005  # seconds of CPU that a thread may use after it was said to stand still


def start(door: Client) -> tuple[int, int, int]:
    """Start the process; gives its pid, the thread that computes, and its worker's OS pid."""
    config = msgspec.Raw(msgspec.msgpack.encode({"digits": DIGITS}))
    pid = door.call(Spawn(Spec("pi", PI, config=config, limits=Limits(workers=1), enforcement="best-effort")))["pid"]
    started = until(door, lambda event: event.kind == "thread.started")
    data = started.data
    assert isinstance(data, dict)
    return int(pid), int(data["tid"]), int(data["os_pid"])


def cpu_seconds(os_pid: int) -> float:
    """Give what a process has had of a CPU, by the nanosecond (kernel documentation, "schedstats")."""
    return int(Path(f"/proc/{os_pid}/schedstat").read_text().split()[0]) / 1e9


def awaits_cpu(os_pid: int, seconds: float) -> None:
    """Wait until a process has used so much CPU: it is in the middle of its work."""
    deadline = time.monotonic() + 30
    while cpu_seconds(os_pid) < seconds:
        assert time.monotonic() < deadline
        os.sched_yield()


@pytest.mark.parametrize("dies", ["", "kernel"])
def test_a_suspended_thread_uses_no_cpu_and_resumes_to_the_right_digits(short_path: Path, dies: str) -> None:
    with daemon(short_path) as made, client(made) as door:
        pid, tid, os_pid = start(door)
        awaits_cpu(os_pid, cpu_seconds(os_pid) + 0.05)
        door.call(SuspendThread(tid))
        until(door, lambda event: event.kind == "thread.suspended")
        before = cpu_seconds(os_pid)
        if dies:
            kill_server(door, dies)
        until(door, lambda event: event.kind == "thread.completed")  # the other one, in a worker of its own
        assert door.call(ShowThread(tid)).state == "suspended"
        assert cpu_seconds(os_pid) - before < SLACK
        door.call(ResumeThread(tid))
        info = ended(door, pid)
        assert info.outcome == {"pi": pi(DIGITS, None), "quick": 7}
        assert {each.state for each in door.call(Threads(pid))} == {"completed"}


def test_a_suspended_thread_can_be_terminated(short_path: Path) -> None:
    with daemon(short_path) as made, client(made) as door:
        pid, tid, _ = start(door)
        door.call(SuspendThread(tid))
        until(door, lambda event: event.kind == "thread.suspended")
        door.call(KillThread(tid))
        assert ended(door, pid).status == "failed", "its orchestrator reads the value of a thread that was terminated"
        assert door.call(ShowThread(tid)).state == "terminated"


def test_a_suspended_worker_that_is_killed_ends_its_thread(short_path: Path) -> None:
    with daemon(short_path) as made, client(made) as door:
        pid, tid, os_pid = start(door)
        awaits_cpu(os_pid, cpu_seconds(os_pid) + 0.05)  # what has not begun yet is lost with nobody
        door.call(SuspendThread(tid))
        until(door, lambda event: event.kind == "thread.suspended")
        os.kill(os_pid, signal.SIGKILL)
        os.kill(os_pid, signal.SIGCONT)  # where there are no groups, it was stopped
        assert ended(door, pid).status == "failed"
        assert door.call(ShowThread(tid)).cause == "worker_lost"
