"""What is begun again, and what is not, when mains, workers and kernels are killed: keys over incarnations, and attempts with their pauses."""

import os
import signal
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dadms_ipc.client import Client
from dadms_ipc.requests import Limits, ProcessInfo, ShowThread, Spawn, Spec, Status, Threads
from tests.fault.kernel.again_orchestrator import PAUSE
from tests.fault.kernel.daemon import client, daemon, ended, kill_server, until

AGAIN = "tests.fault.kernel.again_orchestrator:ORCHESTRATOR"
COUNT = 1000
WORKERS = 2


def start(door: Client, ledger: Path, *, workers: int = WORKERS, **config: Any) -> int:
    """Start the orchestrator; gives its pid."""
    encoded = msgspec.Raw(msgspec.msgpack.encode({"ledger": str(ledger), **config}))
    spec = Spec(
        "again", AGAIN, config=encoded, limits=Limits(workers=workers), enforcement="best-effort", restart="on-failure", backoff=0.05
    )
    return int(door.call(Spawn(spec))["pid"])


def lines(ledger: Path) -> list[list[str]]:
    """Give what the threads wrote."""
    return [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []


@pytest.mark.parametrize("kills_kernel", [False, True], ids=["main", "main and kernel"])
def test_a_restarted_orchestrator_gets_what_was_done(short_path: Path, *, kills_kernel: bool) -> None:
    """It submits a thousand threads with keys, is killed in the middle, and submits them again: each runs once, but for those whose worker died with it."""
    ledger = short_path / "ledger"
    with daemon(short_path) as made, client(made) as door:
        pid = start(door, ledger, lines=COUNT)
        for part in (300, 600):
            deadline = time.monotonic() + 30
            while len(lines(ledger)) < part:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            info: ProcessInfo = door.call(Status(pid))
            os.kill(info.os_pid, signal.SIGKILL)
            if kills_kernel:
                kill_server(door, "kernel")
            incarnation = info.incarnation
            until(door, lambda event: event.kind == "process.running" and door.call(Status(pid)).incarnation > incarnation)  # noqa: B023 -- called at once
        info = ended(door, pid)
        outcome: Any = info.outcome
        assert info.status == "completed", info
        assert info.incarnation == 3
        assert outcome["statuses"] == {"completed": COUNT}
        assert outcome["values"] == [number * number for number in range(COUNT)]
        assert outcome["repeated"] >= 600 - 2 * WORKERS
        begun = Counter(line[0] for line in lines(ledger))
        assert len(begun) == COUNT
        assert sum(begun.values()) - COUNT <= 2 * WORKERS, [key for key, count in begun.items() if count > 1]


def test_a_pause_between_attempts_outlives_the_kernel(short_path: Path) -> None:
    """A worker is lost, an exception is raised, the kernel is killed while the thread waits: three attempts, each after its pause."""
    ledger = short_path / "ledger"
    with daemon(short_path) as made, client(made) as door:
        pid = start(door, ledger, flaky=True)
        until(door, lambda event: event.kind == "thread.retrying")
        (info,) = door.call(Threads(pid))
        assert (info.state, info.attempts, [each.cause for each in info.tried]) == ("waiting", 1, ["worker_lost"])
        kill_server(door, "kernel")
        again = door.call(ShowThread(info.tid))
        assert again.due_at == info.due_at or time.time() >= info.due_at
        outcome: Any = ended(door, pid).outcome
        assert (outcome["values"], outcome["attempts"]) == (["at last"], 3)
        shown = door.call(ShowThread(info.tid))
        assert [each.cause for each in shown.tried] == ["worker_lost", "exception"]
        times = [float(line[1]) for line in lines(ledger)]
        assert len(times) == 3
        assert all(later - earlier >= PAUSE - 0.01 for earlier, later in pairwise(times))


def test_a_group_is_cancelled_when_one_of_it_fails(short_path: Path) -> None:
    """The block ends with what failed; nothing of the rest runs on."""
    naps = [{"seconds": 60.0}, {"seconds": 0.1, "fails": True}, *[{"seconds": 60.0}] * 50]
    with daemon(short_path) as made, client(made) as door:
        outcome: Any = ended(door, start(door, short_path / "ledger", team=naps, cancels=True), seconds=30.0).outcome
        assert outcome["failures"] == ["thread 2 ended as error: NotYet: it was to fail"]
        assert Counter(outcome["statuses"]) == {"terminated": 51, "error": 1}
        assert outcome["progress"] == [52, 0, 52]
        assert door.call(Status()).threads_running == 0


@pytest.mark.parametrize("victim", ["", "kernel", "worker"])
def test_a_thread_that_gives_way_lets_another_run_and_goes_on(short_path: Path, victim: str) -> None:
    """One worker at a time: the second thread runs in the middle of the first, which ends after it, whoever dies meanwhile."""
    ledger = short_path / "ledger"
    with daemon(short_path) as made, client(made) as door:
        pid = start(door, ledger, workers=1, polite=1.0)
        deadline = time.monotonic() + 30
        while "begun-slow" not in (ledger.read_text() if ledger.exists() else ""):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        first, second = sorted(door.call(Threads(pid)), key=lambda info: info.tid)
        assert (first.state, second.state) == ("ready", "running")
        assert first.worker != second.worker
        assert first.run_seconds < 0.9
        if victim == "kernel":
            kill_server(door, "kernel")
        elif victim == "worker":
            os.kill(first.os_pid, signal.SIGKILL)
        info = ended(door, pid)
        words = [line[0] for line in lines(ledger)]
        if victim == "worker":
            assert door.call(ShowThread(first.tid)).cause == "worker_lost"
            return
        assert info.status == "completed", info
        assert words == ["polite", "begun-slow", "slow-done", "polite-done"]
        done = door.call(ShowThread(first.tid))
        assert done.run_seconds < 0.9, "the time in which it waited is not its own"
        assert door.call(Status()).threads_running == 0
