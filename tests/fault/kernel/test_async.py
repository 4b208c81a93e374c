"""Async threads in real workers: a thousand at a time in one, each cancellable alone; none is lost or begun twice, whoever is killed."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from dadms_ipc.client import Client
from dadms_ipc.requests import Limits, Spawn, Spec, ThreadInfo, Threads
from tests.fault.kernel.daemon import client, daemon, ended

ASYNC = "tests.fault.kernel.async_orchestrator:ORCHESTRATOR"
NAP = {"seconds": 1.0}


def start(door: Client, ledger: Path, *threads: tuple[str, int, Any, float | None], **spec: Any) -> int:
    """Start a process that creates threads: (entry, how many, argument, time-out) each; gives its pid."""
    config = msgspec.Raw(msgspec.msgpack.encode({"ledger": str(ledger), "threads": threads}))
    limits = spec.pop("limits", Limits(workers=1))
    answer = door.call(Spawn(Spec("async", ASYNC, config=config, limits=limits, enforcement="best-effort", stop_timeout=2.0, **spec)))
    return int(answer["pid"])


def outcome(door: Client, pid: int) -> dict[str, Any]:
    """Wait for what a process came to."""
    info = ended(door, pid)
    assert isinstance(info.outcome, dict), info
    return info.outcome


def count(ledger: Path, word: str) -> int:
    """Count the lines of a kind."""
    return sum(line.startswith(word) for line in ledger.read_text().splitlines()) if ledger.exists() else 0


def awaits(is_it: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Wait for something that another process writes."""
    deadline = time.monotonic() + seconds
    while not is_it():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def shown(door: Client, pid: int) -> list[ThreadInfo]:
    """Give the threads of a process."""
    found: list[ThreadInfo] = door.call(Threads(pid, limit=1000))
    return found


def test_a_thousand_threads_that_sleep_a_second_take_little_more_than_that_on_one_worker(short_path: Path) -> None:
    with daemon(short_path) as made, client(made) as door:
        pid = start(door, short_path / "ledger", ("nap", 1000, NAP, None))
        found = outcome(door, pid)
        assert found["ends"] == {"completed": 1000}
        assert found["seconds"] < 2.0
        threads = shown(door, pid)
        assert {(thread.state, thread.worker) for thread in threads} == {("completed", 1)}
        assert sorted(found["values"]) == [thread.tid for thread in threads]
