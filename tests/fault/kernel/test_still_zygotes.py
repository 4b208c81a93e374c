"""Zygotes that stand still, or are killed while they import: who waits for them fails in time, and whoever comes next is served."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from dadms_ipc.client import Client
from dadms_ipc.requests import Kill, Spawn, Spec, Status
from tests.conftest import Daemon
from tests.fault.kernel.daemon import SCRIPT, client, daemon, ended, kill_server, spawn, until

HANDLERS = """
from dadms_orchestrators import handler

@handler("*")
def anything(task):
    return {}
"""
STOPS_ITS_PARENT = "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\n"
STEPS = [[["work", 0.0, None]]]


MODEL = """<?xml version="1.0"?>
<bpmn:definitions xmlns:bpmn="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:camunda="http://camunda.org/schema/1.0/bpmn" id="d" targetNamespace="t">
<bpmn:process id="p" isExecutable="true"><bpmn:startEvent id="begin"/><bpmn:serviceTask id="a" camunda:type="external" camunda:topic="a"/><bpmn:endEvent id="end"/>
<bpmn:sequenceFlow id="f1" sourceRef="begin" targetRef="a"/><bpmn:sequenceFlow id="f2" sourceRef="a" targetRef="end"/></bpmn:process></bpmn:definitions>
"""


def start(made: Daemon, directory: Path, source: str, *options: str) -> "subprocess.Popen[str]":
    """Run a model with a handlers module."""
    stem = f"m{time.monotonic_ns()}"
    model, handlers = directory / f"{stem}.bpmn", directory / f"{stem}.py"
    model.write_text(MODEL)
    handlers.write_text(source)
    command = [sys.executable, "-m", "dadmsctl", "run", str(model), "--handlers", str(handlers), "-q", *options]
    environment = os.environ | {"DADMS_RUNTIME_DIR": str(made.runtime_dir)}
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)


def result(running: "subprocess.Popen[str]", seconds: float = 30.0) -> tuple[int, str]:
    """Wait for the end of a run; gives its exit code and what it said."""
    try:
        _, said = running.communicate(timeout=seconds)
    finally:
        running.kill()
    return running.returncode, said


def version_zygote(door: Client) -> int:
    """Give the OS pid of the zygote that all share: the one that is a child of the base."""
    base = int(door.call(Status()).servers["zygote"]["os_pid"])
    (found,) = Path(f"/proc/{base}/task/{base}/children").read_text().split()
    return int(found)


def test_after_handlers_that_stop_their_parent_everybody_is_served(short_path: Path) -> None:
    """The shared zygote is replaced, and the end of the daemon is no longer than another's."""
    with daemon(short_path) as made, client(made) as door:
        assert result(start(made, short_path, HANDLERS)) == (0, "")
        assert result(start(made, short_path, STOPS_ITS_PARENT + HANDLERS)) == (0, "")
        assert result(start(made, short_path, HANDLERS)) == (0, "")
        assert door.call(Status()).epoch == 1
        began = time.monotonic()
        assert made.stop(20.0) == 0
        assert time.monotonic() - began < 10.0


def test_a_task_that_stops_the_zygote_of_its_process_delays_its_end_by_a_second_or_two(short_path: Path) -> None:
    """Nobody reports the exit of its main, which closes its port all the same."""
    source = HANDLERS.replace("    return {}", "    import os, signal\n    os.kill(os.getppid(), signal.SIGSTOP)\n    return {}")
    with daemon(short_path) as made, client(made) as door:
        assert result(start(made, short_path, source)) == (0, "")
        said = until(door, lambda event: event.kind == "note" and event.text == "the process is completed")
        over = until(door, lambda event: event.kind == "process.ended")
        assert over.at - said.at < 5.0, "it lingers for ten seconds, and is killed then"


def test_a_process_whose_zygote_stands_still_fails_when_it_should_be_ready(short_path: Path) -> None:
    """Before it is judged that the zygote stands still, if so asked; the next process is served."""
    with daemon(short_path) as made, client(made) as door:
        assert result(start(made, short_path, HANDLERS)) == (0, "")
        os.kill(version_zygote(door), signal.SIGSTOP)
        code, said = result(start(made, short_path, HANDLERS, "--ready-timeout", "0.6"))
        assert (code, "not ready in 0.6 s" in said) == (1, True), said
        assert result(start(made, short_path, HANDLERS)) == (0, "")


def test_what_waits_for_a_still_zygote_can_be_killed_and_the_daemon_ends(short_path: Path) -> None:
    """Killed in time, and at the end even with a base zygote that stands still."""
    with daemon(short_path) as made, client(made) as door:
        ended(door, spawn(door, short_path / "ledger", STEPS))
        os.kill(version_zygote(door), signal.SIGSTOP)
        pid = spawn(door, short_path / "ledger", STEPS)
        door.call(Kill(pid))
        assert ended(door, pid, seconds=10.0).status == "killed"
        kill_server(door, "zygote", signal.SIGSTOP)
        began = time.monotonic()
        assert made.stop(20.0) == 0
        assert time.monotonic() - began < 15.0


def test_a_base_zygote_that_stands_still_is_replaced(short_path: Path) -> None:
    with daemon(short_path) as made, client(made) as door:
        ended(door, spawn(door, short_path / "ledger", STEPS))
        before = kill_server(door, "zygote", signal.SIGSTOP)
        info = ended(door, start_apart(door, short_path), seconds=40.0)
        assert info.status == "completed"
        assert door.call(Status()).servers["zygote"]["os_pid"] != before


def start_apart(door: Client, directory: Path) -> int:
    """Start a process whose code is imported by a zygote of its own, forked from the base."""
    config = msgspec.Raw(msgspec.msgpack.encode({"ledger": str(directory / "ledger"), "steps": STEPS}))
    return int(door.call(Spawn(Spec("script", SCRIPT, config=config, environment={"A": "b"})))["pid"])


def test_an_import_that_a_stranger_kills_is_begun_again(short_path: Path) -> None:
    """The run goes on."""
    marker = short_path / "importing"
    source = f"import os, pathlib, time\np = pathlib.Path({str(marker)!r})\nif not p.exists():\n    p.write_text(str(os.getpid()))\n    time.sleep(60)\n"
    with daemon(short_path) as made, client(made) as door:
        running = start(made, short_path, source + HANDLERS)
        await_(lambda: marker.exists() and bool(marker.read_text()))
        os.kill(int(marker.read_text()), signal.SIGKILL)
        assert result(running) == (0, "")
        until(door, lambda event: event.kind == "zygote.lost")


def await_(is_so: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that no event tells."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not after {seconds} s"
        time.sleep(0.01)


def test_more_forks_than_a_socket_holds_wait_for_a_zygote_that_stood_still_for_a_moment(short_path: Path) -> None:
    """The rest is handed over as it reads: none is lost, and it is not taken for silent."""
    with daemon(short_path) as made, client(made) as door:
        stopped = kill_server(door, "zygote", signal.SIGSTOP)
        pids = [int(door.call(Spawn(Spec(name="t", orchestrator="", kind="tool", command=["/bin/true"])))["pid"]) for _ in range(330)]
        os.kill(stopped, signal.SIGCONT)
        assert {ended(door, pid).status for pid in pids} == {"completed"}
        assert door.call(Status()).servers["zygote"]["os_pid"] == stopped
