"""The disk gives back something else than was written, and the next kernel says so."""

import os
import select
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec

from dadms_ipc import context, requests
from dadms_ipc.client import Client
from dadms_ipc.requests import Spawn, Spec, Status, Wait
from dadmsd.kernel.frames import MAGIC, read
from dadmsd.kernel.host.processes import look
from dadmsd.kernel.tail import ASIDE
from tests.conftest import Daemon
from tests.fault.kernel.daemon import begun, ended, spawn, until

ONE = msgspec.Raw(b"\x01")


def damage(made: Daemon, door: Client, pid: int, act: Callable[[bytearray, list[int]], None]) -> Path:
    """Kill the kernel after some turns, and change its tail before the next one reads it; ``act`` has the content and where its frames begin."""
    kernel = door.call(Status()).os_pid
    while True:
        for number in range(6):  # they are in the tail for a second, unless it begins anew in between
            door.call(requests.ChangeContext(pid, context.Set("r", f"k{number}", ONE)))
        os.kill(kernel, signal.SIGSTOP)
        newest = sorted(made.state_dir.glob("kernel.tail-*"))[-1]
        content = bytearray(newest.read_bytes())
        places = [frame.place for frame in read(bytes(content), int(newest.name.rpartition("-")[2]))]
        if len(places) >= 6:
            break
        os.kill(kernel, signal.SIGCONT)
    os.kill(made.process.pid, signal.SIGSTOP)
    try:
        pidfd = os.pidfd_open(kernel)
        os.kill(kernel, signal.SIGKILL)
        assert select.select([pidfd], [], [], 20.0)[0]
        os.close(pidfd)
        act(content, places)
        newest.write_bytes(content)
    finally:
        os.kill(made.process.pid, signal.SIGCONT)
    return newest


def service(door: Client) -> requests.ProcessInfo:
    pid = door.call(Spawn(Spec("lasting", kind="service", command=["/bin/sleep", "1000"])))["pid"]
    found: requests.ProcessInfo = door.call(Wait(pid, until="ready", timeout=20.0))
    return found


def log(made: Daemon) -> str:
    return (made.state_dir / "logs" / "servers.log").read_text()


def test_one_wrong_bit_is_put_right_and_told_and_what_runs_runs_on(made: Daemon, door: Client, short_path: Path) -> None:
    lasting = service(door)
    pid = spawn(door, short_path / "ledger", [[["work", 0.5, None]] * 2, [["work", 0.02, None]] * 20], workers=2)
    until(door, lambda event: event.kind == "thread.started" and event.pid == pid)

    def flip(content: bytearray, places: list[int]) -> None:
        content[places[-3] + 30] ^= 0x10

    tail = damage(made, door, pid, flip)
    event = until(door, lambda event: event.kind == "journal.damaged")
    assert f'"{tail}" at byte ' in event.text
    assert "one bit was wrong and is put right; nothing is lost" in event.text
    assert f"kernel: {event.text}" in log(made)
    assert tail.with_name(ASIDE + tail.name).stat().st_mode & 0o777 == 0o600
    assert ended(door, pid).status == "completed"
    assert sorted(begun(short_path / "ledger").values()) == [1] * 22
    assert door.call(Status(lasting.pid)).os_pid == lasting.os_pid


def test_what_cannot_be_put_right_is_told_and_nothing_lives_that_the_rows_may_not_know(
    made: Daemon, door: Client, short_path: Path
) -> None:
    """What was to run runs again, as after a restart of the daemon; no pid is given twice."""
    lasting = service(door)
    other = spawn(door, short_path / "ledger", [[["work", 60.0, None]]])
    until(door, lambda event: event.kind == "thread.started" and event.pid == other)
    main = door.call(Status(other)).os_pid

    def smash(content: bytearray, places: list[int]) -> None:
        content[places[-5] : places[-5] + 40] = bytes(40)

    tail = damage(made, door, lasting.pid, smash)
    event = until(door, lambda event: event.kind == "journal.damaged")
    assert f'"{tail}" at byte ' in event.text
    assert "bytes are left out" in event.text
    assert f"kernel: {event.text}" in log(made)
    assert len(MAGIC) < tail.with_name(ASIDE + tail.name).stat().st_size
    assert look(lasting.os_pid) is None
    assert look(main) is None
    until(door, lambda event: event.kind == "process.running" and event.pid == lasting.pid, after=event.number)
    again = door.call(Wait(lasting.pid, until="ready", timeout=20.0))
    assert (again.status, look(again.os_pid) is not None) == ("running", True)
    assert ended(door, other).reason == "the journal was damaged"
    assert service(door).pid > other
