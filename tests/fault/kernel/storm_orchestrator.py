"""An orchestrator for tests: many short threads, created one by one, each of which leaves a line in a ledger when it begins."""

import os
import time
from collections import Counter

from dadms_orchestrators.contract import Orchestrator, Thread
from dadms_orchestrators.sdk.process import Process

TAKES = 1e-4  # seconds that a thread runs: short enough for batches, and long enough for a blow to find somebody at work


def mark(argument: int, thread: Thread) -> int:
    """Write that this argument was begun, and give it back doubled; O_APPEND makes lines of different processes whole."""
    fd = os.open(thread.config["ledger"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
    os.write(fd, f"{argument}\n".encode())
    os.close(fd)
    ends = time.perf_counter() + TAKES
    while time.perf_counter() < ends:
        pass
    return 2 * argument


def run(process: Process) -> None:
    """Create them, wait for all, and count how they ended; some are terminated and some suspended for a while."""
    process.ready(ORCHESTRATOR.entries)
    handles = [process.create("mark", number) for number in range(process.config["count"])]
    for handle in handles[100::997]:
        process.terminate(handle)
    held = handles[200::997]
    for handle in held:
        process.suspend(handle)
    process.wait([handle for handle in handles if handle not in held])
    for handle in held:
        process.resume(handle)
    if not process.wait(handles):
        return
    statuses = Counter(handle.status for handle in handles)
    wrong = [number for number, handle in enumerate(handles) if handle.status == "completed" and handle.value() != 2 * number]
    done = [number for number, handle in enumerate(handles) if handle.status == "completed"]
    causes = Counter(handle.cause for handle in handles)
    process.outcome(
        "completed",
        {"statuses": dict(statuses), "causes": dict(causes), "wrong": wrong, "completed": len(done), "open": process.open_threads},
    )


ORCHESTRATOR = Orchestrator(name="storm", version="1", run=run, entries={"mark": mark})
