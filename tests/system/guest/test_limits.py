"""Limits where the kernel has all of them: the service as it is shipped, a pure cgroup v2 with controllers, and what users start through ``dadmsctl`` and the client."""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dadms_ipc.client import Client
from dadms_ipc.requests import IoLimit, Kill, Limits, ProcessInfo, Spawn, Spec, Status, Wait
from tests.system.booted.service import CHECKOUT, PATIENCE, UNIT, awaited, running

MIB = 1 << 20
GROUPS = Path("/sys/fs/cgroup/system.slice") / UNIT


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Give a client of the service."""
    with running() as made:
        yield made


def started(client: Client, script: str, *, kind: str = "tool", **limits: object) -> ProcessInfo:
    """Start a program with limits; gives it when it runs, or has ended."""
    spec = Spec("limited", kind=kind, command=["/payload/bin/python", "-c", script], limits=Limits(**limits), restart="never")  # type: ignore[arg-type] # each test names its own
    pid = client.call(Spawn(spec))["pid"]
    info: ProcessInfo = client.call(Wait(pid, until="ready", timeout=PATIENCE))
    return info


def over(client: Client, pid: int) -> ProcessInfo:
    info: ProcessInfo = client.call(Wait(pid, until="ended", timeout=PATIENCE))
    assert info.ended_at, info
    return info


def group_of(pid: int) -> Path:
    """Find the group that holds a process's limits."""
    [found] = [path for path in GROUPS.glob(f"dadms-*/{pid}") if path.is_dir()]
    return found


WAIT = "import sys, signal; print('began', flush=True); signal.pause()"


def test_the_backend_is_v2_with_every_controller_and_the_unit_delegates_them(client: Client) -> None:
    info = client.call(Status())
    assert info.limits_backend == "cgroup v2"
    assert {"memory", "cpu", "pids", "io"} <= set((GROUPS / "cgroup.subtree_control").read_text().split())
    assert (GROUPS / "cgroup.procs").read_text() == ""  # a group that hands controllers down holds no process
    [instance] = GROUPS.glob("dadms-*")
    for server in info.servers.values():
        path = Path(f"/proc/{server['os_pid']}/cgroup").read_text().strip().removeprefix("0::")
        assert path.startswith(str(instance).removeprefix("/sys/fs/cgroup")), path


def test_every_limit_is_in_its_file(client: Client) -> None:
    info = started(client, WAIT, kind="service", memory=64 * MIB, memory_high=48 * MIB, cpu=0.5, cpu_weight=300, pids=20)
    group = group_of(info.pid)
    read = {name: (group / name).read_text().strip() for name in ("memory.max", "memory.high", "cpu.max", "cpu.weight", "pids.max")}
    assert read == {
        "memory.max": str(64 * MIB), "memory.high": str(48 * MIB), "cpu.max": "50000 100000", "cpu.weight": "300", "pids.max": "20"
    }  # fmt: skip
    client.call(Kill(info.pid, force=True))
    over(client, info.pid)
    assert awaited(lambda: not group.exists())


def test_memory_max_ends_the_one_that_grew_and_the_cause_is_oom(client: Client) -> None:
    info = over(client, started(client, "b = bytearray(200 << 20)", memory=64 * MIB).pid)
    assert info.cause.startswith("oom"), info


def test_a_child_that_grew_is_told_beside_the_exit_of_its_program(client: Client) -> None:
    """The program of the spec lives, and ends with a code of its own."""
    script = (
        "import subprocess, sys; sys.exit(7 if subprocess.run([sys.executable, '-c', 'b = bytearray(200 << 20)']).returncode == -9 else 8)"
    )
    info = over(client, started(client, script, memory=64 * MIB).pid)
    assert info.cause == "exited 7", info
    assert info.reason == "exited 7; the OOM killer ended a process that it had started, beyond its memory limit"
    assert info.status == "failed"


def test_memory_high_slows_down_and_kills_nobody(client: Client) -> None:
    script = "b = bytearray(60 << 20)\nfor at in range(0, len(b), 4096): b[at] = 1\n" + WAIT
    info = started(client, script, kind="service", memory=200 * MIB, memory_high=32 * MIB)
    events = group_of(info.pid) / "memory.events"
    assert awaited(lambda: int(re.search(r"high (\d+)", events.read_text())[1]) > 0)  # type: ignore[index] # the line is there
    assert Path(f"/proc/{info.os_pid}").exists()
    assert re.search(r"oom_kill 0", events.read_text())
    client.call(Kill(info.pid, force=True))
    over(client, info.pid)


def test_cpu_max_gives_a_fifth_of_a_core(client: Client) -> None:
    script = "import time\nend = time.monotonic() + 5\nwhile time.monotonic() < end: pass"
    began = time.monotonic()
    info = started(client, script, kind="service", cpu=0.2)
    stat = group_of(info.pid) / "cpu.stat"
    over_at = began + 4
    while time.monotonic() < over_at:
        time.sleep(0.1)  # measured over this time
    used = int(re.search(r"usage_usec (\d+)", stat.read_text())[1]) / 1e6  # type: ignore[index] # the line is there
    assert int(re.search(r"nr_throttled (\d+)", stat.read_text())[1]) > 0  # type: ignore[index] # as above
    assert used / (time.monotonic() - began) < 0.3
    client.call(Kill(info.pid, force=True))
    over(client, info.pid)


def test_pids_max_fails_the_fork_and_ends_nobody(client: Client) -> None:
    script = (
        "import os, signal\nmade = 0\ntry:\n    while made < 50:\n        if os.fork() == 0: signal.pause()\n        made += 1\n"
        "except OSError as error:\n    print('made', made, error.errno, flush=True)\nsignal.pause()"
    )
    info = started(client, script, kind="service", pids=6)
    group = group_of(info.pid)
    assert awaited(lambda: "max" in (group / "pids.events").read_text() and not (group / "pids.events").read_text().startswith("max 0"))
    assert (group / "pids.current").read_text().strip() == "6"
    members = [int(pid) for path in group.rglob("cgroup.procs") for pid in path.read_text().split()]
    assert len(members) == 6
    client.call(Kill(info.pid, force=True))  # the whole tree
    over(client, info.pid)
    assert awaited(lambda: not any(Path(f"/proc/{pid}").exists() for pid in members))


def test_io_max_bounds_what_is_written_in_a_second(client: Client) -> None:
    script = (
        "import os, mmap, time\nfd = os.open('/var/tmp/big', os.O_WRONLY | os.O_CREAT | os.O_DIRECT)\n"
        "b = mmap.mmap(-1, 1 << 20)\nbegan = time.monotonic()\nfor n in range(6): os.write(fd, b)\n"
        "open('/var/tmp/took', 'w').write(str(time.monotonic() - began))\nos.unlink('/var/tmp/big')"
    )
    took: dict[str, float] = {}
    limits: dict[str, dict[str, IoLimit]] = {"free": {}, "capped": {"/var/tmp": IoLimit(write_bytes=MIB)}}
    for name, io in limits.items():
        Path("/var/tmp/took").unlink(missing_ok=True)
        info = over(client, started(client, script, io=io).pid)
        assert info.cause == "exited 0", info
        took[name] = float(Path("/var/tmp/took").read_text())
    assert took["capped"] > 3.5, took  # six MiB at one a second; the first is free
    assert took["free"] < took["capped"] / 2, took


def test_one_that_forks_and_ignores_sigterm_is_ended_with_its_whole_tree(client: Client) -> None:
    script = (
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('began', flush=True)\n"
        "while True:\n    if os.fork() == 0:\n        os.setsid()\n        time.sleep(0.2)\n        os._exit(0)\n    time.sleep(0.01)"
    )
    info = started(client, script, kind="service", pids=100)
    group = group_of(info.pid)
    assert awaited(lambda: int((group / "pids.current").read_text()) > 5)
    client.call(Kill(info.pid, force=True))
    ended = over(client, info.pid)
    assert ended.status in ("killed", "failed"), ended
    assert awaited(lambda: not group.exists())


def test_dadmsctl_run_holds_a_model_to_its_memory(client: Client) -> None:
    example = CHECKOUT / "examples/uas_selection"
    model, handlers, inputs = (str(example / name) for name in ("uas_selection.bpmn", "handlers.py", "inputs.json"))
    run = ["dadmsctl", "--timeout", "60", "run", model, "--handlers", handlers, "--input", inputs, "--thread-timeout", "500"]
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    grown = subprocess.run([*run, "--memory", "24M"], capture_output=True, text=True, check=False, timeout=300)
    assert grown.returncode != 0
    assert "oom" in grown.stdout + grown.stderr
    assert client.call(Status()).servers["bus"]["restarts"] == 0
