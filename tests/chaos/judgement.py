"""What must hold when the chaos is over: the invariants of the design, each asked of the machine, the daemon, or the ledgers that the threads kept themselves."""

import contextlib
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dadms_ipc.client import Client
from dadms_ipc.requests import List, ProcessInfo, Status
from tests.chaos.load import Load, Started
from tests.chaos.victims import living

CALM = 60.0  # seconds for everything that is on its way to come to its end
FDS_SLACK = 3  # descriptors that one moment differs from another by: a frame, a look at /proc


def judge_threads(started: Started, info: ProcessInfo) -> list[str]:
    """No thread began twice; of a process that completed, each ended in exactly one recorded way, and what ran to its end says so in its own ledger."""
    lines = started.ledger.read_text().splitlines() if started.ledger.exists() else []
    begun = Counter(line.split()[1] for line in lines if line.startswith("begun"))
    done = Counter(line.split()[1] for line in lines if line.startswith("done"))
    wrong = [f"{started.pid}: thread {tid} began {count} times" for tid, count in begun.items() if count > 1]
    if info.status == "completed" and started.threads:
        results = info.outcome["results"]  # type: ignore[index] # the script's outcome
        completed = sum(result[0] == "completed" for result in results)
        if len(results) != started.threads:
            wrong.append(f"{started.pid}: {started.threads} threads were submitted and {len(results)} ended")
        if sum(done.values()) < completed - sum("grow" in str(result) for result in results):
            wrong.append(f"{started.pid}: {completed} threads completed and {sum(done.values())} came to their end")
    return wrong


def judge_processes(load: Load) -> list[str]:
    """Each request took effect once, and each process ended in one way."""
    wrong = []
    for started in load.started:
        info = load.infos[started.pid]
        if not info.ended_at or info.status not in ("completed", "failed", "killed"):
            wrong.append(f"{started.pid} is {info.status}")
        if info.workers or info.threads_running or info.threads_waiting:
            wrong.append(f"{started.pid} has ended with {info.workers} workers, {info.threads_running}+{info.threads_waiting} threads")
        wrong += judge_threads(started, info)
    pids = [started.pid for started in load.started]
    if len(set(pids)) != len(pids):
        wrong.append("a pid was given twice")
    return wrong


def calm(client: Client, keeper: int, runtime_dir: Path) -> list[str]:
    """Wait until only the servers and zygotes live; says what does not come true."""
    wrong: list[str] = []
    deadline = time.monotonic() + CALM
    while time.monotonic() < deadline:
        wrong = _unrest(client, keeper, runtime_dir)
        if not wrong:
            return []
        time.sleep(0.1)  # nobody tells when the last of it is gone
    return wrong


def _unrest(client: Client, keeper: int, runtime_dir: Path) -> list[str]:
    info: Any = client.call(Status())
    wrong = [f"{name} is {getattr(info, name)}" for name in ("threads_running", "threads_ready", "memory_reserved") if getattr(info, name)]
    alive = [process for process in client.call(List()) if not process.ended_at]
    wrong += [f"{process.pid} is still {process.status}" for process in alive]
    wrong += [f"{name} does not run" for name, server in info.servers.items() if not server["running"]]
    parts = Counter(victim.part for victim in living(keeper, runtime_dir))
    wrong += [f"{count} {part}s live" for part, count in parts.items() if part != "child" and count != 1]
    zombies = [pid for pid in map(int, _children(keeper)) if _state(pid) == "Z"]
    wrong += [f"{pid} is a zombie" for pid in zombies]
    return wrong


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _state(pid: int) -> str:
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - numbers


def settled(read: Callable[[], int], most: int) -> int:
    """Wait until a number is low enough; gives it."""
    deadline = time.monotonic() + CALM
    while (found := read()) > most and time.monotonic() < deadline:
        time.sleep(0.1)  # as above
    return found


def judge_journal(state_dir: Path) -> list[str]:
    """The journal can be read after all of it."""
    with contextlib.closing(sqlite3.connect(f"file:{state_dir / 'kernel.db'}?mode=ro", uri=True)) as journal:
        [[verdict]] = journal.execute("PRAGMA integrity_check").fetchall()
    return [] if verdict == "ok" else [f"the journal: {verdict}"]
