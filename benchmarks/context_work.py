"""The orchestrator of benchmarks.context: threads that use the shared context of their process, and hold the clock."""

import time
from typing import Any

from dadms_orchestrators.contract import Orchestrator, Thread
from dadms_orchestrators.sdk.process import Process

LONG = 3600.0  # seconds; a holder is ended long before


def operate(arguments: Any, thread: Thread) -> dict[str, list[float]]:
    """Do each operation so many times, one after the other; give the seconds of each."""
    shared = thread.context
    shared.set("bench", "cas", 0)
    version = shared.get("bench", "cas").version
    seconds: dict[str, list[float]] = {name: [] for name in ("get", "set", "increment", "cas", "lock")}
    for number in range(arguments["count"]):
        marks = [time.perf_counter()]
        shared.get("bench", "value")
        marks.append(time.perf_counter())
        shared.set("bench", "value", number)
        marks.append(time.perf_counter())
        shared.increment("bench", "counter")
        marks.append(time.perf_counter())
        version = shared.cas("bench", "cas", number, expected=version).version
        marks.append(time.perf_counter())
        shared.lock("bench", "lock").release()
        marks.append(time.perf_counter())
        for name, began, ended in zip(seconds, marks, marks[1:], strict=False):
            seconds[name].append(ended - began)
    return seconds


def hold(key: Any, thread: Thread) -> None:
    """Have the lock, and never give it back."""
    thread.context.lock("bench", key)
    thread.context.set("bench", f"{key} is held", thread.tid)
    time.sleep(LONG)


def take(key: Any, thread: Thread) -> float:
    """Have the lock after it; give the moment (CLOCK_MONOTONIC, which all processes share)."""
    thread.context.watch("bench", f"{key} is held", after=0, timeout=60.0)
    thread.context.set("bench", f"{key} is wanted", thread.tid)
    with thread.context.lock("bench", key, timeout=60.0):
        return time.monotonic()


def run(process: Process) -> None:
    """Measure what ``config`` names."""
    process.ready(["operate", "hold", "take"])
    if process.config["measure"] == "operate":
        handle = process.create("operate", process.config)
        process.wait([handle])
        process.outcome("completed", {"found": handle.value()})
        return
    seconds = []
    for number in range(process.config["count"]):
        key = f"lock {number}"
        holder, taker = process.create("hold", key), process.create("take", key)
        process.context.watch("bench", f"{key} is wanted", after=0, timeout=60.0)
        time.sleep(0.01)  # until everything sleeps, as it would
        killed_at = time.monotonic()
        process.terminate(holder)
        process.wait([holder, taker])
        seconds.append(taker.value() - killed_at)
    process.outcome("completed", {"found": seconds})


ORCHESTRATOR = Orchestrator(name="bench-context", version="1", run=run, entries={"operate": operate, "hold": hold, "take": take})
