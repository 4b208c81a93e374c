"""What a thread can do to its worker, and what it costs: that thread, and nobody else."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from dadms_ipc.requests import Kill, KillThread, ReadLog, Threads
from dadmsd.kernel.host import detect
from tests.fault.kernel.daemon import MEBIBYTE, begun, client, daemon, ended, spawn, until


def has_memory_groups() -> bool:
    """Tell whether this host lets us cap memory by cgroup."""
    backend = detect("dadms-testprobe")
    held = "memory" in backend.holds
    backend.dismantle()
    return held


def test_kill_9_of_a_worker_costs_its_thread_alone(short_path: Path) -> None:
    """The thread ends in error with the cause, its slot is free, the process lives, the next thread runs."""
    ledger = short_path / "ledger"
    with daemon(short_path) as made, client(made) as door:
        pid = spawn(door, ledger, [[["hang", None, None]], [["work", 0.0, None]]], workers=1)
        started = until(door, lambda event: event.kind == "thread.started")
        os_pid = started.data["os_pid"]  # type: ignore[index]  # a map by its kind
        while not begun(ledger):
            os.sched_yield()
        os.kill(os_pid, signal.SIGKILL)
        info = ended(door, pid)
        results = info.outcome["results"]  # type: ignore[index]  # the script's outcome
        assert results == [["error", "worker_lost", f"its worker w1 (pid {os_pid}) ended by signal 9"], ["completed", "", ""]]
        assert info.status == "completed"


@pytest.mark.parametrize(
    ("step", "status", "cause", "words"),
    [
        (["die", 9, None], "error", "worker_lost", "ended by signal 9"),
        (["die", 11, None], "error", "worker_lost", "ended by signal 11"),
        (["leave", 3, None], "error", "worker_lost", "ended by exit code 3"),
        (["leave", 0, None], "error", "worker_lost", "ended by exit code 0"),
        (["fail", "no such candidate", None], "error", "exception", "no such candidate"),
        (["hang", None, 0.3], "timed_out", "timed_out", "did not end within 0.3 s"),
        (["big", 1 << 20, None], "error", "result", "artifact"),
    ],
    ids=lambda value: "-".join(map(str, value[:2])) if isinstance(value, list) else None,
)
def test_whatever_a_thread_does_ends_it_with_its_cause(short_path: Path, step: list[object], status: str, cause: str, words: str) -> None:
    """The thread says what happened; the one after it runs."""
    with daemon(short_path) as made, client(made) as door:
        info = ended(door, spawn(door, short_path / "ledger", [[step], [["work", 0.0, None]]], workers=1))
        results = info.outcome["results"]  # type: ignore[index]  # the script's outcome
        assert results[0][:2] == [status, cause]
        assert words in results[0][2]
        assert results[1] == ["completed", "", ""]


@pytest.mark.skipif(not has_memory_groups(), reason="this host delegates no memory cgroup")
def test_a_thread_beyond_its_workers_limit_ends_with_cause_oom(short_path: Path) -> None:
    """The OOM killer takes the worker that grew; main, servers and the other worker live."""
    ledger = short_path / "ledger"
    with daemon(short_path) as made, client(made) as door:
        pid = spawn(
            door, ledger, [[["grow", 400, None], ["work", 0.5, None]], [["work", 0.0, None]]], workers=2, worker_memory=96 * MEBIBYTE
        )
        info = ended(door, pid)
        results = info.outcome["results"]  # type: ignore[index]  # the script's outcome
        assert sorted(result[:2] for result in results) == [["completed", ""], ["completed", ""], ["error", "oom"]]
        assert "its own memory limit" in next(result[2] for result in results if result[1] == "oom")
        assert info.status == "completed"


@pytest.mark.skipif(not has_memory_groups(), reason="this host delegates no memory cgroup")
def test_a_process_beyond_its_limit_loses_a_worker_first(short_path: Path) -> None:
    """Without a limit of its own the worker hits that of its process, and is chosen before the main."""
    with daemon(short_path) as made, client(made) as door:
        pid = spawn(door, short_path / "ledger", [[["grow", 400, None]], [["work", 0.0, None]]], workers=1, memory=128 * MEBIBYTE)
        info = ended(door, pid)
        results = info.outcome["results"]  # type: ignore[index]  # the script's outcome
        assert [result[:2] for result in results] == [["error", "oom"], ["completed", ""]]


def test_a_thread_can_be_terminated_while_it_hangs_in_c(short_path: Path) -> None:
    """`dadmsctl thread kill` of a thread that never returns to Python."""
    ledger = short_path / "ledger"
    with daemon(short_path) as made, client(made) as door:
        pid = spawn(door, ledger, [[["hang", None, None]], [["work", 0.0, None]]], workers=1)
        started = until(door, lambda event: event.kind == "thread.started")
        while not begun(ledger):
            os.sched_yield()
        door.call(KillThread(started.data["tid"]))  # type: ignore[index]  # a map by its kind
        info = ended(door, pid)
        results = info.outcome["results"]  # type: ignore[index]  # the script's outcome
        assert results == [["terminated", "terminated", "was terminated while it ran"], ["completed", "", ""]]
        assert [each.state for each in door.call(Threads(pid))] == ["terminated", "completed"]


@pytest.mark.parametrize("force", [False, True])
def test_a_kill_ends_main_and_workers(short_path: Path, *, force: bool) -> None:
    """A process that is killed is gone with everything in it, whatever its workers do."""
    with daemon(short_path) as made, client(made) as door:
        pid = spawn(door, short_path / "ledger", [[["hang", None, None]] * 3], workers=3)
        until(door, lambda event: event.kind == "thread.started")
        door.call(Kill(pid, force=force, reason="the test"))
        info = ended(door, pid)
        assert info.status == "killed"
        assert "the test" in info.cause
        assert {each.state for each in door.call(Threads(pid))} == {"terminated"}


def test_what_threads_print_is_in_the_log(short_path: Path) -> None:
    """Lines of both streams, with the time and the incarnation."""
    with daemon(short_path) as made, client(made) as door:
        pid = spawn(door, short_path / "ledger", [[["say", "hello there", None]]])
        ended(door, pid)
        lines = door.call(ReadLog(pid)).data.decode().splitlines()
        assert sum(line.endswith(f"{pid}.1 hello there") for line in lines) == 2, lines


@pytest.mark.parametrize("byte", [0x00, 0x41, 0xFF])
def test_a_thread_that_writes_over_the_results_of_its_worker_carries_the_blame(short_path: Path, byte: int) -> None:
    """And not the next one, which finds a page that makes no sense."""
    steps: list[list[list[Any]]] = [[["work", 0.0, None]] * 2, [["scribble", byte, None], *[["work", 0.02, None]] * 3]]
    with daemon(short_path) as made, client(made) as door:
        info = ended(door, spawn(door, short_path / "ledger", steps, workers=1))
        threads = {each.tid: each for each in door.call(Threads(info.pid))}
    assert info.status == "completed", info
    [culprit] = [each for each in threads.values() if each.entry == "scribble"]
    assert (culprit.state, culprit.cause) == ("error", "worker_lost"), culprit
    assert f"thread {culprit.tid} wrote over the results that it keeps" in culprit.message
    assert [threads[tid].state for tid in sorted(threads) if tid != culprit.tid] == ["completed"] * 5
    assert max(begun(short_path / "ledger").values()) == 1
