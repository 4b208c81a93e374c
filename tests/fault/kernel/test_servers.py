"""kill -9 of the servers in the middle of a run: it ends with the right outcome, and no thread ran twice."""

import os
import signal
import time
from pathlib import Path

import pytest

from dadms_ipc.requests import Status
from tests.fault.kernel.daemon import begun, client, daemon, ended, kill_server, lines_done, only_process, spawn, until

STEPS = [[["work", 0.25, None]] * 4, [["work", 0.05, None]] * 3]
COMPLETED = [["completed", "", ""]] * 7


@pytest.mark.parametrize(
    "servers", [["kernel"], ["bus"], ["logger"], ["kernel", "bus"], ["bus", "kernel", "logger", "kernel"]], ids="+".join
)
def test_a_run_survives_kill_9_of_servers(short_path: Path, servers: list[str]) -> None:
    """Threads that ran go on, their results arrive, and each began exactly once."""
    ledger = short_path / "ledger"
    with daemon(short_path) as made, client(made) as door:
        pid = spawn(door, ledger, STEPS, workers=2)
        until(door, lambda event: event.kind == "thread.started")
        for server in servers:
            kill_server(door, server)
        info = ended(door, pid)
        assert (info.status, info.outcome) == ("completed", {"results": COMPLETED})
        assert sorted(begun(ledger).values()) == [1] * 7
        assert info.workers == 0
        assert door.call(Status()).epoch == 1 + servers.count("kernel")


def test_a_run_survives_the_base_zygote(short_path: Path) -> None:
    """The base zygote is replaced; version zygotes, mains and workers live on, and a new process can be started."""
    ledger = short_path / "ledger"
    with daemon(short_path) as made, client(made) as door:
        pid = spawn(door, ledger, STEPS, workers=2)
        until(door, lambda event: event.kind == "thread.started")
        kill_server(door, "zygote")
        assert ended(door, pid).status == "completed"
        assert ended(door, spawn(door, ledger, [[["work", 0.0, None]]])).status == "completed"


def test_a_run_survives_its_version_zygote_and_a_new_one_serves(short_path: Path) -> None:
    """Children of a dead zygote fall to the keeper, which tells their exits; the next process gets a zygote anew."""
    ledger = short_path / "ledger"
    with daemon(short_path) as made, client(made) as door:
        pid = spawn(door, ledger, STEPS, workers=2)
        started = until(door, lambda event: event.kind == "thread.started")
        worker_parent = _parent(started.data["os_pid"])  # type: ignore[index]  # a map by its kind
        os.kill(worker_parent, signal.SIGKILL)
        assert ended(door, pid).status == "completed"
        assert sorted(begun(ledger).values()) == [1] * 7
        assert ended(door, spawn(door, ledger, [[["work", 0.0, None]]])).status == "completed"


def test_a_stopped_kernel_delays_and_loses_nothing(short_path: Path) -> None:
    """SIGSTOP for a while, then SIGCONT."""
    ledger = short_path / "ledger"
    with daemon(short_path) as made, client(made) as door:
        pid = spawn(door, ledger, STEPS, workers=2)
        while sum(begun(ledger).values()) < 2:  # else one worker might never be told to begin
            os.sched_yield()
        os_pid = kill_server(door, "kernel", signal.SIGSTOP)
        while lines_done(ledger) < 2:
            os.sched_yield()
        os.kill(os_pid, signal.SIGCONT)
        assert ended(door, pid).status == "completed"
        assert sorted(begun(ledger).values()) == [1] * 7


def _parent(os_pid: int) -> int:
    return int(Path(f"/proc/{os_pid}/stat").read_text().rpartition(")")[2].split()[1])


# Places of the first kernel's death, between every kind of effect and its neighbours, at the first and at a later time.
PLACES = [
    *(f"{place}:{count}" for place in ("before-commit", "after-commit") for count in (2, 4, 6, 8, 11, 14, 17, 20, 24)),
    *(f"effect:{name}:{count}" for name in ("Fork", "OpenGate", "Bury") for count in (1, 2, 3)),
    *(f"effect:{name}:{count}" for name in ("Tell", "SendBatch", "Consume") for count in (1, 2, 4)),
    *(f"effect:{name}:1" for name in ("Enroll", "Discharge", "ClearGroup", "Reply")),
    "adopted:1",
]


@pytest.mark.parametrize("place", PLACES)
def test_a_kernel_may_die_between_any_two_effects(short_path: Path, place: str) -> None:
    """The kernel kills itself at a chosen place; the next one finishes what was begun, once."""
    ledger = short_path / "ledger"
    steps = [[["work", 0.02, None]] * 3, [["work", 0.01, None]]]
    with daemon(short_path, DADMS_CRASH_AT=f"{place}@1") as made, client(made) as door:
        pid = spawn(door, ledger, steps, workers=2)
        info = ended(door, pid)
        assert (info.status, info.outcome) == ("completed", {"results": [["completed", "", ""]] * 4})
        assert sorted(begun(ledger).values()) == [1] * 4
        assert only_process(door).pid == pid
        assert door.call(Status()).epoch == 2, f"the kernel did not come to {place}"


def test_after_kill_9_of_the_keeper_nothing_lives(short_path: Path) -> None:
    """The kernel ends every process and removes every group; servers read the end of their channels and exit."""
    with daemon(short_path) as made, client(made) as door:
        spawn(door, short_path / "ledger", [[["hang", None, None]] * 2], workers=2)
        until(door, lambda event: event.kind == "thread.started")
        made.process.kill()
        made.process.wait()


def test_a_daemon_after_a_killed_keeper_takes_nothing_for_living(short_path: Path) -> None:
    """Processes of the daemon before are shown as ended, with the reason; the new one serves, and stops at once."""
    with daemon(short_path) as made, client(made) as door:
        pid = spawn(door, short_path / "ledger", [[["hang", None, None]] * 2], workers=2)
        until(door, lambda event: event.kind == "thread.started")
        made.process.kill()
        made.process.wait()
    with daemon(short_path) as made, client(made) as door:
        info = ended(door, pid)
        assert (info.status, info.reason) == ("failed", "the daemon was restarted")
        assert ended(door, spawn(door, short_path / "ledger", [[["work", 0.0, None]]])).status == "completed"
        started = time.monotonic()
        assert made.stop() == 0
        assert time.monotonic() - started < 20.0  # seconds: far below the keeper's 30 for a kernel that waits for what is long gone
