"""Shared context with real processes, real kills, and a checker instead of an eye."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dadms_ipc import context
from dadms_ipc.client import Client
from dadms_ipc.requests import ChangeContext, Limits, ReadContext, ResumeThread, Spawn, Spec, Status, SuspendThread, Threads
from tests.fault.kernel.daemon import client, daemon, ended, kill_server, until
from tests.fault.kernel.linearizability import explain, history

CONTEXT = "tests.fault.kernel.context_orchestrator:ORCHESTRATOR"
CLIENTS, COUNT = 8, 150  # threads, and operations of each


def start(door: Client, threads: list[list[Any]], *, workers: int, **config: Any) -> int:
    """Start a process that runs these threads; gives its pid."""
    raw = msgspec.Raw(msgspec.msgpack.encode({"threads": threads, **config}))
    spec = Spec("context", CONTEXT, config=raw, limits=Limits(workers=workers), stop_timeout=2.0)
    return int(door.call(Spawn(spec))["pid"])


def watched(door: Client, pid: int, key: str, after: int = 0, *, region: str = "r") -> context.Cell:
    """Wait for a value."""
    cell: context.Cell = door.call(ReadContext(pid, context.Watch(region, key, after, 30.0)))
    if cell.version == after:
        raise AssertionError(
            f"no {key} in 30 s: {door.call(Threads(pid))}, {door.call(ReadContext(pid, context.Get(region)))}, {door.call(Status(pid))}"
        )
    return cell


def outcome(door: Client, pid: int) -> dict[str, Any]:
    """Give what a process came to."""
    info = ended(door, pid, seconds=120.0)
    assert info.status == "completed", info
    assert isinstance(info.outcome, dict)
    return info.outcome


def test_everything_works_in_an_entry(short_path: Path) -> None:
    """Each operation, over a worker's port."""
    with daemon(short_path) as made, client(made) as door:
        (value,) = outcome(door, start(door, [["use", None]], workers=1))["threads"]
        assert value == [False, {"a": 1, "b": [1, 2]}, 2, True, True, "DeadlinePassed", {"k": {"a": 1, "b": [1, 2]}, "n": 2}]


@pytest.mark.parametrize("seed", [1, 2])
def test_operations_are_linearizable_while_the_kernel_is_killed(short_path: Path, seed: int) -> None:
    """Eight threads and their main compare, swap and count; the kernel dies three times in between. Every answer is explained by one order of all."""
    with daemon(short_path) as made, client(made) as door:
        threads = [["hammer", {"seed": seed * 100 + number, "count": COUNT}] for number in range(1, CLIENTS + 1)]
        pid = start(door, threads, workers=CLIENTS, clients=CLIENTS, count=COUNT)
        cell = context.Cell()
        for mark in (20, 100, 180):  # changes: at least a quarter of all operations are increments, which always change something
            while cell.version < mark:
                cell = watched(door, pid, "n", cell.version)
            kill_server(door, "kernel")
        came = outcome(door, pid)
        clients = history([came["main"], *came["threads"]])
        assert [len(each) for each in clients] == [COUNT] * (CLIENTS + 1)
        assert door.call(Status()).epoch == 4
        assert any(each.kind == "cas" and each.applied for ops in clients for each in ops)
        assert any(each.kind == "cas" and not each.applied for ops in clients for each in ops)
        assert explain(clients)


PLACES = [f"{place}:{count}" for place in ("before-commit", "after-commit", "effect:AnswerCall") for count in (3, 20, 21, 22, 30, 45)]


@pytest.mark.parametrize("place", PLACES)
def test_a_change_takes_effect_once_wherever_the_kernel_dies(short_path: Path, place: str) -> None:
    """Around commits and answers of calls."""
    with daemon(short_path, DADMS_CRASH_AT=f"{place}@1") as made, client(made) as door:
        threads = [["hammer", {"seed": number, "count": 20}] for number in (1, 2)]
        came = outcome(door, start(door, threads, workers=2, clients=2, count=20))
        assert explain(history([came["main"], *came["threads"]]))
        assert door.call(Status()).epoch == 2, f"the kernel did not come to {place}"


def test_a_lock_of_a_killed_thread_is_free_within_50_ms(short_path: Path) -> None:
    """From the SIGKILL of its worker to the answer that the next one gets, the best of three: what else the machine does is not ours."""
    took = []
    with daemon(short_path) as made, client(made) as door:
        for attempt in range(3):
            pid = start(door, [["hold", attempt], ["take", attempt]], workers=2)
            tid, token = watched(door, pid, f"held {attempt}").value
            watched(door, pid, f"wants {attempt}")
            (holder,) = [info for info in door.call(Threads(pid)) if info.tid == tid]
            killed_at = time.monotonic()
            os.kill(holder.os_pid, signal.SIGKILL)
            lost, taken = outcome(door, pid)["threads"]
            assert lost[:2] == ["error", "worker_lost"]
            assert taken[1] > token
            took.append(taken[0] - killed_at)
    assert min(took) < 0.05, took  # seconds


@pytest.mark.parametrize("how", ["runs", "suspended"])
def test_the_writes_of_an_old_holder_are_refused_by_token(short_path: Path, how: str) -> None:
    """Its lock is broken while it runs, or stands still, and another thread has it; the value stays what it was, also after the next kernel."""
    with daemon(short_path) as made, client(made) as door:
        pid = start(door, [["write_late", None], ["take", 0]], workers=2)
        holder = watched(door, pid, "ready").value
        if how == "suspended":
            door.call(SuspendThread(holder))
            until(door, lambda event: event.kind == "thread.suspended")
        assert door.call(ChangeContext(pid, context.Break("r", "l"))).applied
        kill_server(door, "kernel")
        door.call(ChangeContext(pid, context.Set("r", "held 0", msgspec.Raw(b"\x01"))))
        watched(door, pid, "taken")
        door.call(ChangeContext(pid, context.Set("r", "broken", msgspec.Raw(b"\x01"))))
        if how == "suspended":
            door.call(ResumeThread(holder))
        (kind, message), taken = outcome(door, pid)["threads"]
        assert kind == "RequestRefused"
        assert message.startswith(f'cannot set "a" of region "r" of {pid} under lock "l" with token ')
        assert door.call(ReadContext(pid, context.Get("r", "a"))).value == "mine"
        assert taken[1] > int(message.split(" with token ")[1].split(":")[0])
