"""The orchestrator of benchmarks.threads: it creates threads one by one, waits for them, and its outcome is the clock.

``config`` names the measurement and how much of it. What is timed is timed in here, by the process that creates the threads: from the first ``create`` to the last
value read, as the peers' scripts time it from the first ``submit`` to the last result.
"""

import asyncio
import time
from typing import Any

from dadms_orchestrators.contract import AsyncThread, Entry, Orchestrator, Thread
from dadms_orchestrators.sdk.handles import Handle
from dadms_orchestrators.sdk.process import Process

WORKERS = 2
MILLISECOND = 0.001  # seconds of the fixed work


def noop(arguments: Any, _thread: Thread) -> Any:
    """Give back what came in."""
    return arguments


def spin(_arguments: Any, _thread: Thread) -> None:
    """Work for a millisecond of wall clock."""
    end = time.perf_counter() + MILLISECOND
    while time.perf_counter() < end:
        pass


def hold(seconds: Any, _thread: Thread) -> None:
    """Keep a worker."""
    time.sleep(seconds)


def turn(_arguments: Any, _thread: Thread) -> None:
    """Compute for ever."""
    while True:
        pass


async def nap(seconds: float, _thread: AsyncThread) -> float:
    """Sleep, as one of many."""
    await asyncio.sleep(seconds)
    return seconds


def many(process: Process, entry: str, count: int) -> float:
    """Create threads one by one, wait for all, read each value; give the seconds."""
    began = time.perf_counter()
    handles = [process.create(entry, index) for index in range(count)]
    process.wait(handles)
    values = [handle.value() for handle in handles]
    seconds = time.perf_counter() - began
    assert values == (list(range(count)) if entry == "noop" else [None] * count)
    return seconds


def one_by_one(process: Process, count: int, pause: float) -> list[float]:
    """Create one thread at a time on an idle system, after a pause; give the seconds from its creation to its value, of each."""
    seconds = []
    for index in range(count):
        if pause:
            time.sleep(pause)
        began = time.perf_counter()
        handle = process.create("noop", index)
        process.wait([handle])
        assert handle.value() == index
        seconds.append(time.perf_counter() - began)
    return seconds


def terminations(process: Process, count: int) -> list[float]:
    """Terminate a thread that runs; give the seconds until it has ended, of each."""
    seconds = []
    for _ in range(count):
        handle = process.create("hold", 60.0)
        while not process.wait([handle], timeout=0.05) and not handle.tid:
            pass
        process.wait([handle], timeout=0.1)  # it runs by then, in a worker that may have had to be started
        began = time.perf_counter()
        process.terminate(handle)
        process.wait([handle])
        assert handle.status == "terminated", handle.status
        seconds.append(time.perf_counter() - began)
    return seconds


def with_waiting(process: Process, count: int, operations: int) -> dict[str, list[float]]:
    """Let so many threads wait behind two that hold both workers; time what is done to others meanwhile."""
    holders = [process.create("hold", 120.0) for _ in range(WORKERS)]
    waiting = [process.create("noop", index) for index in range(count)]
    creating, ending = [], []
    for _ in range(operations):
        began = time.perf_counter()
        handle = process.create("noop", None)
        while not handle.tid:
            process.wait([handle], timeout=0.001)
        creating.append(time.perf_counter() - began)
        began = time.perf_counter()
        process.terminate(handle)
        process.wait([handle])
        ending.append(time.perf_counter() - began)
    began = time.perf_counter()
    _end(process, holders)
    process.wait(waiting)
    return {"create": creating, "terminate": ending, "all": [time.perf_counter() - began]}


def naps(process: Process, count: int) -> float:
    """Create so many async threads that sleep for a second; give the seconds until the last value was read. Their worker is up."""
    _values(process, [process.create("nap", 0.0)])
    began = time.perf_counter()
    _values(process, [process.create("nap", 1.0) for _ in range(count)])
    return time.perf_counter() - began


def _values(process: Process, handles: list[Handle]) -> None:
    process.wait(handles)
    for handle in handles:
        handle.value()


def _end(process: Process, handles: list[Handle]) -> None:
    for handle in handles:
        process.terminate(handle)
    process.wait(handles)


def run(process: Process) -> None:
    """Measure what the configuration names."""
    config = process.config
    process.ready(ORCHESTRATOR.entries)
    many(process, "spin", 20)  # both workers are up, and known
    many(process, "noop", 2000)
    match config["measure"]:
        case "noop" | "spin" as entry:
            found: Any = many(process, entry, config["count"])
        case "idle":
            found = one_by_one(process, config["count"], config["pause"])
        case "terminate":
            found = terminations(process, config["count"])
        case "naps":
            found = naps(process, config["count"])
        case "hold":
            process.wait([process.create("turn", label="turn for ever", timeout=600.0)])
            return
        case "waiting":
            found = with_waiting(process, config["count"], config["operations"])
    process.outcome("completed", {"found": found})


ENTRIES: dict[str, Entry] = {"noop": noop, "spin": spin, "hold": hold, "turn": turn, "nap": nap}
ORCHESTRATOR = Orchestrator(name="thread work", version="1.0.0", run=run, entries=ENTRIES)
