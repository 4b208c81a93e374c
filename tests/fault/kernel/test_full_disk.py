"""A file system that is really full, below a daemon that stays: new durable work is refused with the numbers, what runs runs on, and all is well by itself when there is room."""

import fcntl
import os
import re
import signal
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dadms_ipc import context, requests
from dadms_ipc.client import Client
from dadms_ipc.errors import HostFailure, RequestRefused
from dadms_ipc.requests import Spawn, Spec, Status, Wait
from tests.fault.kernel.daemon import begun, client, ended, kill_server, spawn, until
from tests.fault.roomless import Roomless, roomless
from tests.fault.test_table import results

STEPS = [[["work", 1.0, None]] * 2, [["work", 0.02, None]] * 4, [["work", 0.0, None]]]
THREADS = sum(map(len, STEPS))
FULL = r'no space left on device \(".*/s": 0\.0 MiB free of 24 MiB\)'


@pytest.fixture
def daemon(short_path: Path) -> Iterator[Roomless]:
    with roomless(short_path) as made:
        yield made


@pytest.fixture
def door(daemon: Roomless) -> Iterator[Client]:
    with client(daemon, timeout=30.0) as made:
        yield made


def sleeper(door: Client, name: str) -> requests.ProcessInfo:
    pid = door.call(Spawn(Spec(name, kind="service", command=["/bin/sleep", "1000"], restart="never")))["pid"]
    found: requests.ProcessInfo = door.call(Wait(pid, until="ready", timeout=20.0))
    return found


def working(door: Client, ledger: Path) -> int:
    """Start a process, and come back when its first threads run."""
    pid = spawn(door, ledger, STEPS, workers=2)
    until(door, lambda event: event.kind == "thread.started" and event.pid == pid)
    return pid


def exhaust(door: Client, pid: int) -> None:
    """Have things kept until the room that the journal has of its own is short, and nothing new is taken."""
    value = msgspec.Raw(msgspec.msgpack.encode(bytes(50_000)))
    for _ in range(1000):
        door.call(requests.ChangeContext(pid, context.Set("r", "k", value)))


def flood(door: Client, to: str) -> None:
    """Send until the store of the bus has no room of its own left."""
    for _ in range(1000):
        door.send(to, "NOTE", bytes(60_000), timeout=10.0)


def completes(door: Client, pid: int, ledger: Path) -> None:
    info = ended(door, pid)
    assert (info.status, [result[0] for result in results(info)]) == ("completed", ["completed"] * THREADS), info
    assert sorted(begun(ledger).values()) == [1] * THREADS


def test_what_is_new_is_refused_and_what_runs_runs_on_and_goes_on_when_there_is_room(
    daemon: Roomless, door: Client, short_path: Path
) -> None:
    pid = working(door, short_path / "ledger")
    lone, other = sleeper(door, "lone"), sleeper(door, "other")
    kernel = door.call(Status()).os_pid
    with daemon.full():
        with pytest.raises(RequestRefused, match=f'^cannot keep a change of region "r": {FULL}$'):
            exhaust(door, pid)
        with pytest.raises(RequestRefused, match=f'^cannot keep process "new": {FULL}$'):
            sleeper(door, "new")
        assert door.call(Status()).unkept
        for thread in (1, 2):  # those that ran end
            until(door, lambda event, tid=thread: event.kind == "thread.completed" and event.data["tid"] == tid)  # type: ignore[misc]  # bound now
        os.kill(lone.os_pid, signal.SIGKILL)
        assert door.call(Wait(lone.pid, timeout=20.0)).cause == "signal 9 (SIGKILL)"
        door.call(requests.Kill(other.pid, force=True))
        assert door.call(Wait(other.pid, timeout=20.0)).status == "killed"
        assert door.call(Status(pid)).status == "running", "what it submits next waits"
    until(door, lambda event: event.kind == "disk.free")
    completes(door, pid, short_path / "ledger")
    assert sleeper(door, "after").status == "running"
    assert door.call(Status()).unkept == ""
    assert door.call(Status()).os_pid == kernel, "no kernel has died of it"


def test_a_kernel_that_is_killed_meanwhile_is_followed_by_one_that_goes_on(daemon: Roomless, door: Client, short_path: Path) -> None:
    pid = working(door, short_path / "ledger")
    with daemon.full():
        with pytest.raises(RequestRefused, match=FULL):
            exhaust(door, pid)
        for _ in range(2):
            old = kill_server(door, "kernel")
            assert door.call(Status()).os_pid != old
            daemon.fill()
            with pytest.raises(RequestRefused, match=FULL):
                exhaust(door, pid)
        until(door, lambda event: event.kind == "thread.completed" and event.pid == pid)
    until(door, lambda event: event.kind == "disk.free")
    completes(door, pid, short_path / "ledger")


def test_the_bus_refuses_what_needs_the_disk_and_takes_it_again(daemon: Roomless, door: Client) -> None:
    lone = sleeper(door, "receiver")
    with daemon.full():
        with pytest.raises(HostFailure, match=f"cannot keep it: {FULL}"):
            flood(door, str(lone.pid))
        door.publish("still/alive", b"")
        door.confirm()
    assert retried(door, str(lone.pid)) == "stored"


def retried(door: Client, to: str) -> str:
    """Send until the bus tries its disk again."""
    while True:
        try:
            return door.send(to, "NOTE", b"x", timeout=10.0)
        except HostFailure as error:
            assert "no space left" in str(error)  # noqa: PT017 - the loop ends by another way


def written(door: Client, pid: int) -> str:
    """Give all of a log."""
    found = b""
    while data := door.call(requests.ReadLog(pid, len(found))).data:
        found += data
    return found.decode()


def test_the_logger_counts_and_marks_what_it_could_not_write_and_nobody_waits(daemon: Roomless, door: Client) -> None:
    info = sleeper(door, "talker")
    pid = info.pid
    with Path(f"/proc/{info.os_pid}/fd/1").open("w") as out:
        out.write("before\n")
        out.flush()
        with daemon.full():
            for number in range(20_000):
                out.write(f"lost {number} {'x' * 100}\n")
            out.flush()
        out.write("after\n")
        out.flush()
        while "after" not in door.call(requests.ReadLog(pid, -3000)).data.decode():
            out.write("after\n")
            out.flush()
    text = written(door, pid)
    assert "before" in text
    assert "were lost here: No space left on device]" in text, "behind it stands what its pipe held when there was room again"


def test_the_count_outlives_the_logger_and_the_process(daemon: Roomless, door: Client) -> None:
    """Also of a process that ended while nothing could be written: its log is told when there is room."""
    talker, gone = sleeper(door, "talker"), sleeper(door, "gone")
    outs = [os.open(f"/proc/{info.os_pid}/fd/1", os.O_WRONLY) for info in (talker, gone)]
    numbers: dict[int, int] = dict.fromkeys(outs, 0)

    def say(out: int, count: int) -> None:
        for _ in range(count):
            os.write(out, b"%09d\n" % numbers[out])
            numbers[out] += 1

    with daemon.full():
        for out in outs:
            say(out, 5000)
        for _ in range(2):
            kill_server(door, "logger")
            for out in outs:
                say(out, 5000)
            while any(waiting(out) for out in outs):
                time.sleep(0.01)  # a pipe's emptiness wakes nobody
        os.close(outs[1])
        door.call(requests.Kill(gone.pid, force=True))
        door.call(Wait(gone.pid, timeout=20.0))
        kill_server(door, "logger")
    for info, out in zip((talker, gone), outs, strict=True):
        while b"were lost here: No space left on device" not in (text := written(door, info.pid)).encode():
            pass  # each look is a call
        there = set(re.findall(r"(?m) (\d{9})$", text))
        lost = sum(int(count) for count in re.findall(r"\[logger: (\d+) lines? \(", text))
        assert len(there) + lost >= numbers[out], text[-300:]
        assert len(there) < numbers[out], "it was full"
    os.close(outs[0])


def waiting(fd: int) -> int:
    """Give how many bytes nobody has read from a pipe yet (FIONREAD)."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_a_thread_that_writes_gets_the_error_and_its_process_goes_on(daemon: Roomless, door: Client, short_path: Path) -> None:
    target = str(daemon.state_dir / "scratch")
    steps: list[list[list[Any]]] = [[["work", 0.3, None]], [["write", target, None]], [["work", 0.0, None]]]
    pid = spawn(door, short_path / "ledger", steps, workers=1)
    until(door, lambda event: event.kind == "thread.started" and event.pid == pid)
    daemon.fill()
    # the submission of the next step waits for room, and finds little: the file that it writes is larger than what is left then
    ballast = daemon.inside / "ballast"
    os.truncate(ballast, ballast.stat().st_size - (9 << 20))
    info = ended(door, pid)
    ballast.unlink()
    assert [result[0] for result in results(info)] == ["completed", "error", "completed"], info
    assert "No space left on device" in str(results(info)[1][2])


def test_every_server_that_dies_meanwhile_is_replaced_also_where_not_even_an_epoch_can_be_written(short_path: Path) -> None:
    """Everything of the daemon is on the disk that is full, its sockets and the keeper's own files included."""
    with roomless(short_path, is_whole=True) as daemon, client(daemon, timeout=30.0) as door:
        pid = working(door, short_path / "ledger")
        with daemon.full():
            for name in ("kernel", "bus", "logger", "zygote", "kernel"):
                old = kill_server(door, name)
                while True:
                    info = door.call(Status())
                    now = info.os_pid if name == "kernel" else info.servers[name]["os_pid"]
                    if now not in (0, old):
                        break
                daemon.fill()
            assert daemon.process.poll() is None
        completes(door, pid, short_path / "ledger")
        assert sleeper(door, "after").status == "running"


def test_a_daemon_that_is_ended_meanwhile_says_what_it_could_not_keep(daemon: Roomless, door: Client, short_path: Path) -> None:
    """Results of threads use up what the journal has of its own."""
    pid = spawn(door, short_path / "ledger", [[["work", 3.0, None], *[["big", 200_000, None]] * 50]], workers=1)
    until(door, lambda event: event.kind == "thread.started" and event.pid == pid)
    daemon.fill()  # whose file goes with the daemon
    with pytest.raises(RequestRefused, match=FULL):
        exhaust(door, pid)
    door.call(requests.WaitThreads(pid, list(range(1, 52)), timeout=60.0))
    daemon.fill()
    assert daemon.stop() == 1
    line = next(line for line in daemon.said().splitlines() if "found no room" in line)
    assert re.search(rf"^dadmsd: \d+ rows of the journal \(.*\d+ of results.*\) found no room and are lost: {FULL}", line), line
