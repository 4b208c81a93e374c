"""Thousands of short threads in batches while workers are killed, stopped and starved of memory at random, and the kernel is killed: none is lost, none begun twice,
none recorded twice, no slot leaks.

``make storm`` does it six times with 200 000 threads and 40 blows each; the default is short enough for every test run.
"""

import hashlib
import os
import random
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from dadms_ipc.client import Client
from dadms_ipc.requests import Limits, ProcessInfo, Spawn, Spec, Status
from tests.conftest import Daemon
from tests.fault.kernel.blows import Blows
from tests.fault.kernel.daemon import MEBIBYTE, client, daemon, ended, kill_server, until
from tests.fault.kernel.test_workers import has_memory_groups

STORM = "tests.fault.kernel.storm_orchestrator:ORCHESTRATOR"
COUNT, BLOWS, TIMES = (int(number) for number in os.environ.get("DADMS_STORM", "12000x6x1").split("x"))  # threads, blows, repeats
KINDS = ("killed", "stopped", "starved")


def workers_of(made: Daemon, door: Client, pid: int) -> list[int]:
    """Give the OS pids of a process's workers: those in its groups below this daemon's own, as another one beside may have such a pid."""
    info: ProcessInfo = door.call(Status(pid))
    instance = f"dadms-{hashlib.sha256(str(made.runtime_dir).encode()).hexdigest()[:8]}"  # as the kernel names it
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - names; glob() trips over one that ends while it looks
        try:
            text = Path(f"/proc/{name}/cgroup").read_text()
        except OSError:
            continue
        if f"/{instance}/{pid}/w" in text and int(name) != info.os_pid:
            found.append(int(name))
    return found


def lines(ledger: Path) -> int:
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


def is_running(door: Client, pid: int) -> bool:
    return bool(door.call(Status(pid)).status == "running")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(7, 7 + TIMES))
@pytest.mark.parametrize("kills_kernel", [False, True], ids=["workers", "workers and kernel"])
def test_no_thread_is_lost_or_begun_twice(short_path: Path, seed: int, *, kills_kernel: bool) -> None:
    chance = random.Random(seed)
    ledger = short_path / "ledger"
    config = msgspec.Raw(msgspec.msgpack.encode({"ledger": str(ledger), "count": COUNT}))
    kinds = [kind for kind in KINDS if kind != "starved" or has_memory_groups()]
    plan = [kinds[number % len(kinds)] for number in range(BLOWS)]
    chance.shuffle(plan)
    blows = Blows()
    with daemon(short_path) as made, client(made) as door:
        spec = Spec("storm", STORM, config=config, limits=Limits(workers=2, worker_memory=64 * MEBIBYTE), enforcement="best-effort")
        pid = door.call(Spawn(spec))["pid"]
        until(door, lambda event: event.kind == "worker.ready")
        if not workers_of(made, door, pid):
            pytest.skip("this host gives workers no groups of their own to be found by")
        for number, kind in enumerate(plan):
            while lines(ledger) < COUNT * (number + 1) // (BLOWS + 2) and is_running(door, pid):
                blows.let_go_on()
                os.sched_yield()
            if kills_kernel and number % 3 == 2:
                kill_server(door, "kernel")
            while not (victims := workers_of(made, door, pid)) and is_running(door, pid):
                blows.let_go_on()  # the one before was the last, and the next one is being forked
            if victims:
                blows.strike(kind, chance.choice(victims))
        blows.let_go_on(now=True)
        info = ended(door, pid)
        begun = Counter(ledger.read_text().split())
        outcome = info.outcome
        assert info.status == "completed", info
        assert isinstance(outcome, dict)
        assert outcome["wrong"] == []
        assert outcome["open"] == 0
        assert sum(outcome["statuses"].values()) == COUNT
        assert set(begun.values()) == {1}, "begun twice"
        lost = outcome["causes"].get("worker_lost", 0) + outcome["causes"].get("oom", 0)
        assert lost <= blows.deadly, f"{lost} lost by {blows.counts}"
        assert outcome["completed"] + lost + outcome["causes"].get("terminated", 0) == COUNT
        assert len(begun) >= outcome["completed"]
        assert sum(blows.counts.values()) >= BLOWS * 3 // 4, f"{BLOWS} blows were meant, {blows.counts} hit: they prove little"
        assert door.call(Status()).threads_running == 0
        assert (info.threads_done, info.threads_waiting, info.threads_running) == (COUNT, 0, 0)
