"""An orchestrator for tests: async entries, each of which leaves a line in a ledger when it begins and when it ends."""

import asyncio
import ctypes
import os
import time
from collections import Counter

from dadms_ipc.running import current_tid
from dadms_orchestrators.contract import AsyncThread, Orchestrator, Thread
from dadms_orchestrators.entries import thread
from dadms_orchestrators.sdk.process import Process


def _mark(thread: AsyncThread | Thread, word: str) -> None:
    """Write a line; O_APPEND makes those of different processes whole."""
    fd = os.open(thread.config["ledger"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
    os.write(fd, f"{word} {thread.tid}\n".encode())
    os.close(fd)


@thread
async def nap(seconds: float, thread: AsyncThread) -> int:
    """Sleep, and give the number of the thread, as its context knows it after the sleep."""
    _mark(thread, "begun")
    await asyncio.sleep(seconds)
    _mark(thread, "done")
    return current_tid()


@thread(at_once=10)
async def few(thread: AsyncThread) -> None:
    """Sleep a little; ten of these share a worker."""
    _mark(thread, "begun")
    await asyncio.sleep(0.05)
    _mark(thread, "done")


@thread
async def steps(thread: AsyncThread, count: int = 100_000) -> int:
    """Wait again and again, and leave a line each time."""
    for _ in range(count):
        _mark(thread, "step")
        await asyncio.sleep(0.005)
    return count


@thread
async def deaf(thread: AsyncThread) -> None:
    """Go on whatever is asked."""
    _mark(thread, "begun")
    while True:
        try:
            await asyncio.sleep(60.0)
        except asyncio.CancelledError:
            _mark(thread, "deaf")


@thread
async def tidy(thread: AsyncThread) -> None:
    """Put things in order when it is cancelled."""
    _mark(thread, "begun")
    try:
        await asyncio.sleep(60.0)
    finally:
        await asyncio.sleep(0.01)
        _mark(thread, "tidied")


@thread
async def blocks(thread: AsyncThread) -> None:
    """Keep the loop in a call of C that does not return for long."""
    _mark(thread, "begun")
    ctypes.CDLL(None).sleep(60)


@thread
async def fails(words: str) -> None:
    """Raise after a wait."""
    print(f"about to fail: {words}")  # noqa: T201 - what the log is to show
    await asyncio.sleep(0)
    raise ValueError(words)


@thread
async def large(size: int) -> bytes:
    """Give many bytes."""
    await asyncio.sleep(0)
    return bytes(size)


@thread
async def counts(thread: AsyncThread) -> int:
    """Take the lock of all, add one under it, say so, and keep an artifact of the number."""
    async with await thread.context.lock("sums", "all", timeout=30.0) as lock:
        total = int((await thread.context.get("sums", "n")).value or 0) + 1
        await thread.context.set("sums", "n", total, guard=lock)
    thread.progress(f"counted {total}", 0.5)
    made = await thread.artifact(str(total).encode())
    return int(bytes(thread.open(made)).decode())


@thread(memory_limit=96 << 20)
def grows(size: int) -> int:
    """Use so much memory, in a plain worker with a limit of its own."""
    return len(bytearray(size))


@thread
def plain(thread: Thread) -> float:
    """Run as most entries do."""
    _mark(thread, "begun")
    return time.time()


ENTRIES = [nap, few, steps, deaf, tidy, blocks, fails, large, counts, grows, plain]


def run(process: Process) -> None:
    """Create what was asked for, wait for all of it, and count how it ended."""
    process.ready(ORCHESTRATOR.entries)
    config = process.config
    began = time.monotonic()
    handles = [
        process.create(entry, argument, timeout=timeout) for entry, count, argument, timeout in config["threads"] for _ in range(count)
    ]
    if not process.wait(handles):
        return
    seconds = time.monotonic() - began
    ends = Counter(f"{handle.status} {handle.cause}".strip() for handle in handles)
    done = [handle.value() for handle in handles if handle.status == "completed"]
    values = [value if not isinstance(value, bytes) else len(value) for value in done]
    process.outcome("completed", {"ends": dict(ends), "seconds": seconds, "values": values})


ORCHESTRATOR = Orchestrator(name="asynchronous", version="1", run=run, entries=ENTRIES)
