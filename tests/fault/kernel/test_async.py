"""Async threads in real workers: a thousand at a time in one, each cancellable alone; none is lost or begun twice, whoever is killed."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dadms_ipc.client import Client
from dadms_ipc.requests import (
    ChangeLimits,
    KillThread,
    Limits,
    List,
    ReadLog,
    Resume,
    ResumeThread,
    ShowThread,
    Spawn,
    Spec,
    Status,
    Suspend,
    SuspendThread,
    ThreadInfo,
    Threads,
)
from tests.fault.kernel.daemon import MEBIBYTE, begun, client, daemon, ended, kill_server, until

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


def test_few_at_once_take_turns_in_few_workers(short_path: Path) -> None:
    """Of an entry with at_once = 10, four workers take forty at a time; the rest waits in the queue, and all of them run once."""
    with daemon(short_path) as made, client(made) as door:
        pid = start(door, short_path / "ledger", ("few", 100, None, None))
        assert outcome(door, pid)["ends"] == {"completed": 100}
        assert begun(short_path / "ledger") == dict.fromkeys((thread.tid for thread in shown(door, pid)), 1)
        assert {thread.worker for thread in shown(door, pid)} == {1, 2, 3, 4}


def test_async_threads_wait_beside_plain_ones_and_hold_no_slot(short_path: Path) -> None:
    (short_path / "config.toml").write_text("[thread_scheduler]\nmax_concurrent_threads = 1\n")
    with daemon(short_path, "--config", str(short_path / "config.toml")) as made, client(made) as door:
        ledger = short_path / "ledger"
        pid = start(door, ledger, ("nap", 200, {"seconds": 30.0}, None), ("plain", 3, None, None))
        until(door, lambda event: event.kind == "threads.started")
        awaits(lambda: len([thread for thread in shown(door, pid) if thread.state == "completed"]) == 3)
        states = Counter(thread.state for thread in shown(door, pid))
        assert states == {"waiting": 200, "completed": 3}
        assert door.call(Status()).threads_running == 0


def test_one_thread_is_cancelled_alone_and_may_put_things_in_order(short_path: Path) -> None:
    with daemon(short_path) as made, client(made) as door:
        ledger = short_path / "ledger"
        pid = start(door, ledger, ("tidy", 1, None, None), ("nap", 20, NAP, None))
        awaits(lambda: count(ledger, "begun") == 21)
        tidy = min(thread.tid for thread in shown(door, pid))
        door.call(KillThread(tidy))
        assert outcome(door, pid)["ends"] == {"completed": 20, "terminated terminated": 1}
        assert count(ledger, f"tidied {tidy}") == 1
        info = door.call(ShowThread(tidy))
        assert info.state == "terminated"
        assert info.message.startswith(f"was terminated by uid {os.getuid()}")


def test_a_thread_that_is_too_slow_is_cancelled_with_the_cause(short_path: Path) -> None:
    with daemon(short_path) as made, client(made) as door:
        pid = start(door, short_path / "ledger", ("nap", 2, {"seconds": 60.0}, 0.3), ("nap", 20, NAP, None))
        assert outcome(door, pid)["ends"] == {"completed": 20, "timed_out timed_out": 2}
        slow = [thread for thread in shown(door, pid) if thread.state == "timed_out"]
        assert {thread.message for thread in slow} == {"did not end within 0.3 s"}
        assert all(thread.run_seconds < 30.0 for thread in slow)


@pytest.mark.parametrize("entry", ["deaf", "blocks"])
def test_one_that_does_not_end_costs_the_worker_and_its_siblings_are_lost_with_it(short_path: Path, entry: str) -> None:
    with daemon(short_path) as made, client(made) as door:
        ledger = short_path / "ledger"
        pid = start(door, ledger, ("nap", 20, {"seconds": 60.0}, None), (entry, 1, None, 0.5))
        found = outcome(door, pid)
        assert found["ends"] == {"error worker_lost": 20, "timed_out timed_out": 1}
        lost = next(thread for thread in shown(door, pid) if thread.cause == "worker_lost")
        assert "ended by signal 9, since it did not end a thread that was timed out; 21 threads ran in it" in lost.message
        assert max(begun(ledger).values()) == 1


def test_a_suspended_thread_is_not_stepped_and_goes_on_where_it_was(short_path: Path) -> None:
    with daemon(short_path) as made, client(made) as door:
        ledger = short_path / "ledger"
        start(door, ledger, ("steps", 2, {"count": 400}, 30.0))
        awaits(lambda: count(ledger, "step") > 20)
        info = min(door.call(Threads(None)), key=lambda thread: thread.tid)
        answer = door.call(SuspendThread(info.tid))
        assert answer == {"tid": info.tid, "cooperative": True}
        shown_now = door.call(ShowThread(info.tid))
        assert (shown_now.state, "cooperatively" in shown_now.message) == ("suspended", True)
        other = count(ledger, f"step {info.tid + 1}")
        awaits(lambda: count(ledger, f"step {info.tid + 1}") > other + 5)  # the other one goes on meanwhile
        steps = count(ledger, f"step {info.tid}\n".strip())
        kill_server(door, "kernel")  # the next one holds it as well
        awaits(lambda: count(ledger, f"step {info.tid + 1}") > other + 60)
        assert count(ledger, f"step {info.tid}") == steps
        assert door.call(ShowThread(info.tid)).state == "suspended"
        door.call(ResumeThread(info.tid))
        assert outcome(door, info.pid)["ends"] == {"completed": 2}
        assert count(ledger, f"step {info.tid}") == 400


@pytest.mark.parametrize("what", ["thread", "process"])
def test_time_stands_still_for_a_suspended_thread_and_for_a_suspended_process(short_path: Path, what: str) -> None:
    with daemon(short_path) as made, client(made) as door:
        ledger = short_path / "ledger"
        pid = start(door, ledger, ("nap", 1, {"seconds": 1.2}, 2.0))
        awaits(lambda: count(ledger, "begun") == 1)
        (info,) = shown(door, pid)
        door.call(SuspendThread(info.tid) if what == "thread" else Suspend(pid))
        until(door, lambda event: event.kind == f"{what}.suspended")
        time.sleep(2.5)  # what is measured: a time that passes
        door.call(ResumeThread(info.tid) if what == "thread" else Resume(pid))
        assert outcome(door, pid)["ends"] == {"completed": 1}


def test_errors_tracebacks_prints_and_large_results_are_as_of_plain_threads(short_path: Path) -> None:
    with daemon(short_path) as made, client(made) as door:
        pid = start(
            door, short_path / "ledger", ("fails", 1, {"words": "no such site"}, None), ("large", 1, {"size": 300_000}, None), ("large", 30, {"size": 200_000}, None)
        )  # fmt: skip
        found = outcome(door, pid)
        assert found["ends"] == {"error exception": 1, "error result": 1, "completed": 30}
        assert found["values"] == [200_000] * 30, "six megabytes through a ring of one"
        first, second, *_ = shown(door, pid)
        assert first.message == "ValueError: no such site"
        assert "at most 262144 travel" in second.message
        log = bytes(door.call(ReadLog(pid)).data).decode()
        assert "about to fail: no such site" in log


def test_context_artifacts_and_progress_work_without_blocking_the_others(short_path: Path) -> None:
    """A hundred threads take one lock in turn; each holds it across three calls while all the others wait for it in the same loop."""
    with daemon(short_path) as made, client(made) as door:
        pid = start(door, short_path / "ledger", ("counts", 100, None, None), limits=Limits(workers=1))
        found = outcome(door, pid)
        assert found["ends"] == {"completed": 100}
        assert sorted(found["values"]) == list(range(1, 101))


def test_an_entry_with_a_memory_limit_is_alone_in_ending_out_of_memory(short_path: Path) -> None:
    with daemon(short_path) as made, client(made) as door:
        pid = start(
            door,
            short_path / "ledger",
            ("grows", 2, {"size": 400 << 20}, None),
            ("grows", 1, {"size": 1 << 20}, None),
            ("plain", 5, None, None),
        )

        def is_told() -> bool:
            """Tell whether its limit is shown, or why there is none; of one that has ended it is no longer."""
            info = door.call(List())[0]
            assert not info.ended_at, info
            is_held = info.limits.get("worker_memory of grows", "").startswith("96 MiB by cgroup")
            return is_held or any("96 MiB" in warning for warning in info.warnings)

        awaits(is_told)
        assert outcome(door, pid)["ends"] == {"error oom": 2, "completed": 6}


WHO = ["worker", "kernel", "both"]


@pytest.mark.parametrize("who", WHO)
def test_whoever_is_killed_while_hundreds_run_none_is_lost_or_begun_twice(short_path: Path, who: str) -> None:
    with daemon(short_path) as made, client(made) as door:
        ledger = short_path / "ledger"
        pid = start(door, ledger, ("nap", 200, NAP, None))
        event = until(door, lambda event: event.kind == "threads.started")
        assert isinstance(event.data, dict)
        awaits(lambda: len(begun(ledger)) == 200)
        if who != "worker":
            kill_server(door, "kernel")
        if who != "kernel":
            os.kill(event.data["os_pid"], signal.SIGKILL)
        found = outcome(door, pid)
        assert found["ends"] == ({"completed": 200} if who == "kernel" else {"error worker_lost": 200})
        assert begun(ledger) == dict.fromkeys((thread.tid for thread in shown(door, pid)), 1)
        assert sum(begun(ledger).values()) == 200


def one_is_killed(door: Client, pid: int) -> bool:
    """Kill a worker that runs something, if any does; False: it was dead already, and the kernel is about to hear of it."""
    flying = [thread.os_pid for thread in shown(door, pid) if thread.state == "waiting" and thread.os_pid]
    try:
        for os_pid in flying[:1]:
            os.kill(os_pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("who", WHO)
def test_deaths_in_the_middle_of_many_ends_lose_nothing(short_path: Path, who: str) -> None:
    """They end one after the other, ten at a time in each of four workers; somebody is killed again and again."""
    with daemon(short_path) as made, client(made) as door:
        ledger = short_path / "ledger"
        pid = start(door, ledger, ("few", 400, None, None))
        for step in range(1, 6):
            awaits(lambda step=step: len(begun(ledger)) >= 60 * step)  # type: ignore[misc] # its default is the step
            if who != "worker":
                kill_server(door, "kernel")
            if who != "kernel":
                awaits(lambda: one_is_killed(door, pid))
        found = outcome(door, pid)
        ends = found["ends"]
        assert sum(ends.values()) == 400
        assert set(ends) <= {"completed", "error worker_lost"}
        assert max(begun(ledger).values()) == 1
        assert (ends["completed"] == 400) is (who == "kernel")
        assert ends["completed"] <= count(ledger, "done")


def test_of_the_limit_of_an_entry_and_a_live_one_of_its_process_the_lower_one_holds(short_path: Path) -> None:
    with daemon(short_path) as made, client(made) as door:
        pid = start(door, short_path / "ledger", ("grows", 1, {"size": 1 << 20}, None), ("nap", 1, {"seconds": 60.0}, None))
        awaits(lambda: any(thread.state == "completed" for thread in shown(door, pid)))
        if "worker_memory of grows" not in door.call(List())[0].limits:
            pytest.skip("no cgroup holds the memory of a worker here")
        for asked, held in ((64, "64 MiB"), (256, "96 MiB")):
            door.call(ChangeLimits(pid, {"worker_memory": asked * MEBIBYTE}))
            assert door.call(List())[0].limits["worker_memory of grows"].startswith(held)
