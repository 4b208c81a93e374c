"""What orchestrators say and answer over the bus, with a real daemon; and that the bus may die in the middle."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dadms_ipc.client import Client
from dadms_ipc.errors import RequestRefused
from dadms_ipc.requests import Kill, ProcessInfo, Spawn, Spec, Status, Wait
from tests.conftest import Daemon

DATA = Path(__file__).parent / "data"
DMN = Path(__file__).parents[3] / "examples" / "uas_selection" / "go_no_go.dmn"
QUESTION = {"model": {"name": DMN.name, "source": DMN.read_bytes()}, "inputs": {"cost_risk": 0.1, "score_margin": 0.2, "robustness": 0.9}}


def packed(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


@pytest.fixture
def door(keeper_daemon: Daemon) -> Iterator[Client]:
    with Client(keeper_daemon.runtime_dir, timeout=30.0, start_timeout=30.0) as client:
        yield client


def start(door: Client, orchestrator: str, config: dict[str, Any], handlers: Path | None = None) -> int:
    """Start a process and wait until it is ready; gives its pid."""
    raw, path = msgspec.Raw(packed(config)), str(handlers) if handlers else None
    pid = int(door.call(Spawn(Spec("test", orchestrator, config=raw, handlers=path, enforcement="best-effort")))["pid"])
    info = ended_or(door, pid, "ready")
    assert info.status in ("running", "completed"), info
    return pid


def ended_or(door: Client, pid: int, until: str) -> ProcessInfo:
    info: ProcessInfo = door.call(Wait(pid, until=until, timeout=30.0))
    return info


def kill_bus(door: Client) -> None:
    os.kill(int(door.call(Status()).servers["bus"]["os_pid"]), signal.SIGKILL)


def ask(door: Client, pid: int, question: object) -> Any:
    return msgspec.msgpack.decode(door.request(str(pid), packed(question)))


def test_decision_process_answers_requests_also_of_the_next_bus(door: Client) -> None:
    pid = start(door, "decision", {})
    assert ask(door, pid, QUESTION)["value"]["verdict"] == "go"
    with pytest.raises(RequestRefused, match="no msgpack map of model, decision and inputs"):
        ask(door, pid, 5)
    with pytest.raises(RequestRefused, match="not well-formed XML"):
        ask(door, pid, {"model": {"name": "x.dmn", "source": b"<no"}})
    kill_bus(door)
    assert ask(door, pid, {**QUESTION, "decision": "go_no_go"})["rules"][0]["rule"] == 5
    door.call(Kill(pid))
    assert ended_or(door, pid, "ended").cause.startswith("exited 0")


@pytest.fixture
def waiting_model(tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """A model whose first task waits until somebody opens a FIFO for writing, and that FIFO."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    source = (DATA / "fork_join.bpmn").read_text().replace("import math", "import math\nopen(gate).read()")
    return {"model": {"name": "waits.bpmn", "source": source.encode()}, "variables": {"gate": str(fifo)}}, fifo


def release(fifo: Path) -> None:
    """Let the waiting task go on; waits until it waits."""
    with fifo.open("w"):
        pass


def test_bpmn_process_publishes_its_activity_and_answers_with_its_state(door: Client, waiting_model: tuple[dict[str, Any], Path]) -> None:
    config, fifo = waiting_model
    door.subscribe("process/#")
    pid = start(door, "bpmn", config, DATA / "counting.py")
    said: list[dict[str, Any]] = []
    while not {"left", "right"} <= {one["data"]["element"] for one in said if one["kind"] == "bpmn.done"}:
        message = door.receive()
        assert (message.sender, message.topic) == (str(pid), f"process/{pid}/activity")
        said.append(msgspec.msgpack.decode(message.body))
    assert said[0] == {
        "type": "STATUS_UPDATE",
        "kind": "bpmn.started",
        "text": 'process "fork_join" started',
        "data": {"element": "fork_join", "detail": {}},
    }
    state = ask(door, pid, None)
    assert (state["status"], state["open"]) == ("running", ["Sum up"])
    assert state["variables"]["left"] == "left"
    with pytest.raises(RequestRefused, match="takes no messages yet"):
        door.send(str(pid), "process/hello", b"\xc0")
    release(fifo)
    assert ended_or(door, pid, "ended").status == "completed"


def test_run_ends_well_when_the_bus_dies_in_the_middle(door: Client, waiting_model: tuple[dict[str, Any], Path]) -> None:
    config, fifo = waiting_model
    pid = start(door, "bpmn", config, DATA / "counting.py")
    kill_bus(door)
    release(fifo)
    info = ended_or(door, pid, "ended")
    assert info.status == "completed"
    assert isinstance(info.outcome, dict)
    assert info.outcome["variables"]["count_of"] == 3
