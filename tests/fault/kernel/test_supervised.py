"""Ways in which supervisors have failed, tried on this one: real services under a real daemon (docs/explanation/supervisor-failures.md has the list)."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dadms_ipc import requests
from dadms_ipc.client import Client
from dadms_ipc.requests import History, Kill, Limits, List, ProcessInfo, ReadLog, Spawn, Spec, Start, Status, Stop, Wait
from tests.fault.kernel.daemon import SCRIPT, client, daemon, ended, ends_trees, kill_server, lines_done

IDLE_CORES = 0.05  # of one core that a kernel with nothing to do may take on a busy machine: a loop that spins takes all of it


@pytest.fixture
def door(short_path: Path) -> Iterator[Client]:
    """Give a client of a real daemon."""
    with daemon(short_path) as made, client(made) as opened:
        yield opened


def start(door: Client, script: str, *, kind: str = "service", **changes: Any) -> int:
    """Start a shell script; gives its pid."""
    spec = Spec(
        **{"name": "c", "kind": kind, "command": ["sh", "-c", script], "backoff": 0.02, "start_limit": 0, "stop_timeout": 2.0, **changes}
    )
    return int(door.call(Spawn(spec))["pid"])


def show(door: Client, pid: int) -> ProcessInfo:
    found = door.call(Status(pid))
    assert isinstance(found, ProcessInfo)
    return found


def await_that(is_so: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a fact."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so after {seconds:g} s"
        time.sleep(0.01)


def descriptors(os_pid: int) -> int:
    return len(list(Path(f"/proc/{os_pid}/fd").iterdir()))


def cpu_seconds(os_pid: int) -> float:
    fields = Path(f"/proc/{os_pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def written(path: Path) -> bool:
    return path.exists() and path.read_text().endswith("\n")


def test_an_orchestrator_that_is_killed_runs_again_as_its_next_incarnation(short_path: Path, door: Client) -> None:
    ledger = short_path / "ledger"
    config = msgspec.Raw(msgspec.msgpack.encode({"ledger": str(ledger), "steps": [[["work", 0.4, None]] * 2]}))
    pid = int(door.call(Spawn(Spec("script", SCRIPT, config=config, restart="on-failure", backoff=0.05)))["pid"])
    door.call(Wait(pid, until="ready", timeout=20.0))
    await_that(ledger.exists)
    os.kill(show(door, pid).os_pid, signal.SIGKILL)
    info = ended(door, pid)
    assert (info.status, info.incarnation) == ("completed", 2)
    assert [(life.incarnation, life.status, life.reason) for life in door.call(History(pid))] == [
        (1, "failed", "signal 9 (SIGKILL), not by us"),
        (2, "completed", ""),
    ]
    assert lines_done(ledger) >= 2


def test_every_service_is_known_again_after_the_kernel_was_killed_and_exits_in_between_have_their_codes(door: Client) -> None:
    """None is restarted; those that ended while no kernel was there ended with their own code."""
    pids = [start(door, "trap 'exit 7' TERM; while :; do sleep 0.05; done", restart="never") for _ in range(20)]
    for pid in pids:
        door.call(Wait(pid, until="ready", timeout=20.0))
    before = {each.pid: each.os_pid for each in door.call(List())}
    kernel = kill_server(door, "kernel", signal.SIGSTOP)
    for pid in pids[:5]:
        os.kill(before[pid], signal.SIGTERM)
    await_that(lambda: all(Path(f"/proc/{before[pid]}/stat").read_text().rpartition(")")[2].split()[0] == "Z" for pid in pids[:5]))
    os.kill(kernel, signal.SIGKILL)
    for pid in pids[:5]:
        info = ended(door, pid)
        assert (info.status, info.exit_code, info.reason) == ("failed", 7, "exited 7")
    after = {each.pid: (each.os_pid, each.status, each.incarnation) for each in door.call(List(include_ended=False))}
    assert after == {pid: (before[pid], "running", 1) for pid in pids[5:]}


def test_one_that_forks_in_a_loop_is_ended_whole_and_delays_nobody(short_path: Path, door: Client) -> None:
    if "pids" not in str(door.call(Status()).limits_backend) and "rlimits" in door.call(Status()).limits_backend:
        pytest.skip("without a pids cgroup nothing holds a fork bomb here")
    up = short_path / "up"
    bomb = start(
        door, f"echo up > {up}; f() {{ f & f; }}; trap '' TERM; while :; do (sleep 0.2 &) ; done", restart="never", limits=Limits(pids=40)
    )
    other = start(door, "sleep 1000")
    await_that(lambda: written(up))
    door.call(Stop(bomb))
    started = time.monotonic()
    door.call(Stop(other))
    assert ended_or_stopped(door, other).status == "stopped"
    assert time.monotonic() - started < 5.0
    assert ended_or_stopped(door, bomb).status == "stopped"


def ended_or_stopped(door: Client, pid: int) -> ProcessInfo:
    found = door.call(Wait(pid, timeout=30.0))
    assert isinstance(found, ProcessInfo)
    return found


def test_a_grandchild_that_holds_the_pipe_open_does_not_hide_an_exit_nor_outlive_it(short_path: Path, door: Client) -> None:
    """The exit is that of the main, at once; what it left behind in a session of its own is ended with its group."""
    if not ends_trees():
        pytest.skip("without cgroups what left its session and its parent has escaped")
    left = short_path / "left"
    started = time.monotonic()
    pid = start(door, f"setsid sh -c 'echo $$ > {left}; sleep 1000' & while ! test -s {left}; do sleep 0.01; done; exit 5", kind="tool")
    info = ended(door, pid)
    assert (info.exit_code, time.monotonic() - started < 10.0) == (5, True)
    assert not Path("/proc", left.read_text().strip()).exists()


def test_what_is_said_at_the_very_end_is_in_the_log(door: Client) -> None:
    """No matter how many restarts: each incarnation's last words are drained before its pipe goes."""
    pid = start(door, "trap 'echo last words of $DADMS_INCARNATION; exit 0' TERM; echo up; while :; do sleep 0.02; done")
    for incarnation in (1, 2, 3):
        await_that(lambda incarnation=incarnation: log(door, pid).count(" up\n") == incarnation)  # type: ignore[misc]  # bound now
        door.call(Stop(pid))
        ended_or_stopped(door, pid)
        await_that(lambda incarnation=incarnation: f"last words of {incarnation}\n" in log(door, pid))  # type: ignore[misc]  # bound now
        door.call(Start(pid))
    door.call(Kill(pid, force=True))


def log(door: Client, pid: int) -> str:
    piece = door.call(ReadLog(pid))
    assert isinstance(piece, requests.LogPiece)
    return piece.data.decode()


def test_flapping_leaks_no_descriptor_and_is_no_tight_loop(door: Client) -> None:
    kernel = int(door.call(Status()).os_pid)
    keeper = int(Path(f"/proc/{kernel}/stat").read_text().rpartition(")")[2].split()[1])
    pid = start(door, "exit 1", backoff=0.01, backoff_most=0.01)
    await_that(lambda: show(door, pid).incarnation >= 10)
    before = (descriptors(kernel), descriptors(keeper))
    await_that(lambda: show(door, pid).incarnation >= 60)
    after = (descriptors(kernel), descriptors(keeper))
    assert max(now - then for now, then in zip(after, before, strict=True)) <= 12, f"{before} descriptors became {after}"
    door.call(Stop(pid))
    ended_or_stopped(door, pid)
    slow = start(door, "exit 1", backoff=5.0)
    time.sleep(1.0)
    assert show(door, slow).incarnation == 1, "it was tried again before its pause was over"
    assert show(door, slow).status == "backoff"


def test_a_noisy_service_does_not_delay_what_is_asked_of_the_daemon(door: Client) -> None:
    start(
        door,
        "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
        limits=Limits(cpu=0.5),
        enforcement="best-effort",
    )
    other = start(door, "sleep 1000")
    door.call(Wait(other, until="ready", timeout=20.0))
    times = []
    for _ in range(20):
        started = time.monotonic()
        door.call(Status(other))
        times.append(time.monotonic() - started)
    assert sorted(times)[10] < 0.5, times


def test_a_daemon_with_nothing_to_do_does_nothing(door: Client) -> None:
    """Services that run, one that is frozen, one that has ended, one whose notify socket is open: nothing is polled, no closed descriptor spins."""
    frozen = start(door, "sleep 1000")
    for _ in range(3):
        start(door, "sleep 1000", watchdog=1000.0)
    ended(door, start(door, "exit 0", kind="tool"))
    door.call(Wait(frozen, until="ready", timeout=20.0))
    door.call(requests.Suspend(frozen))
    door.call(Wait(frozen, until="suspended", timeout=20.0))
    kernel = int(door.call(Status()).os_pid)
    time.sleep(0.5)
    before = cpu_seconds(kernel)
    time.sleep(3.0)
    assert cpu_seconds(kernel) - before < 3.0 * IDLE_CORES


def test_a_death_is_seen_when_it_happens(door: Client) -> None:
    """Not at the next look of a timer: an exit is waited for, and is there in milliseconds, not in seconds."""
    late = []
    for _ in range(5):
        pid = start(door, "sleep 1000", restart="never")
        door.call(Wait(pid, until="ready", timeout=20.0))
        os.kill(show(door, pid).os_pid, signal.SIGKILL)
        killed = time.time()
        late.append(ended(door, pid).ended_at - killed)
    assert sorted(late)[2] < 0.25, late


def test_starts_at_the_same_time_make_one_incarnation(door: Client) -> None:
    pid = start(door, "sleep 1000")
    for _ in range(10):
        door.call(requests.Restart(pid))
        door.call(Start(pid))
    await_that(lambda: show(door, pid).status == "running" and show(door, pid).desired == "up")
    alive = Counter(life.incarnation for life in door.call(History(pid)))
    assert max(alive.values()) == 1
    os_pid = show(door, pid).os_pid
    group = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and is_in_session(int(entry.name), os_pid)]
    assert group == [os_pid] or len(group) <= 2, "the shell and its sleep"


def is_in_session(os_pid: int, leader: int) -> bool:
    try:
        return os.getsid(os_pid) == leader
    except OSError:
        return False


@pytest.mark.parametrize(
    "place", ["after-commit:6", "effect:Fork:2", "effect:OpenGate:2", "effect:SignalGroup", "effect:ClearGroup", "effect:Bury"]
)
def test_a_kernel_may_die_between_any_two_effects_of_a_restart(short_path: Path, place: str) -> None:
    """The one that comes after it finishes what was begun: one live incarnation, and each that ended in the history once."""
    with daemon(short_path, DADMS_CRASH_AT=f"{place}@1") as made, client(made) as door:
        pid = start(door, "trap 'exit 3' TERM; while :; do sleep 0.02; done")
        door.call(Wait(pid, until="ready", timeout=20.0))
        door.call(requests.Restart(pid))
        await_that(lambda: show(door, pid).incarnation == 2 and show(door, pid).status == "running")
        door.call(Stop(pid))
        assert ended_or_stopped(door, pid).status == "stopped"
        assert door.call(Status()).epoch == 2, f"the kernel did not die at {place}"
        lives = [(life.incarnation, life.status, life.exit_code) for life in door.call(History(pid))]
        assert [life[:2] for life in lives] == [(1, "stopped"), (2, "stopped")]
        assert {code for *_, code in lives} <= {3, None}
