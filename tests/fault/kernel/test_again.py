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


def start(door: Client, ledger: Path, **config: Any) -> int:
    """Start the orchestrator; gives its pid."""
    encoded = msgspec.Raw(msgspec.msgpack.encode({"ledger": str(ledger), **config}))
    spec = Spec(
        "again", AGAIN, config=encoded, limits=Limits(workers=WORKERS), enforcement="best-effort", restart="on-failure", backoff=0.05
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
