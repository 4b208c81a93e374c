"""The command line as a user starts it: a process of its own, against real daemons and with real models."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dadms_ipc import requests
from dadms_ipc.client import Client
from tests.conftest import Daemon

PATIENCE = 60.0  # seconds for one command; what takes longer hangs

HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<bpmn:definitions xmlns:bpmn="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:camunda="http://camunda.org/schema/1.0/bpmn" targetNamespace="test">
<bpmn:process id="order" isExecutable="true">
"""
TAIL = "</bpmn:process>\n</bpmn:definitions>\n"

Ctl = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def environment(short_path: Path) -> dict[str, str]:
    """Give an environment in which no daemon runs, and temporary files are seen."""
    temporary = short_path / "tmp"
    temporary.mkdir()
    return os.environ | {"DADMS_RUNTIME_DIR": str(short_path / "none"), "TMPDIR": str(temporary), "COLUMNS": "120"}


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """Start a command and leave it running; its stdout is read line by line. What still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path, **options: Any) -> "subprocess.Popen[str]":
        command: Sequence[str | Path] = [sys.executable, "-m", "dadmsctl", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        if process.stdout is not None and not process.stdout.closed:
            process.communicate()


@pytest.fixture
def ctl(environment: dict[str, str]) -> Ctl:
    """Run a command to its end."""

    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        command: Sequence[str | Path] = [sys.executable, "-m", "dadmsctl", *arguments]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, env=environment, text=True, capture_output=True, timeout=PATIENCE, check=False
        )

    return run


@pytest.fixture
def linear(short_path: Path) -> Callable[..., Path]:
    """Write a model of service tasks one after the other, each with the topic of its name."""

    def write(*topics: str) -> Path:
        ways = ["begin", *topics, "end"]
        flows = [
            f'<bpmn:sequenceFlow id="f{number}" sourceRef="{ways[number]}" targetRef="{ways[number + 1]}"/>'
            for number in range(len(ways) - 1)
        ]
        tasks = [f'<bpmn:serviceTask id="{topic}" name="Do {topic}" camunda:type="external" camunda:topic="{topic}"/>' for topic in topics]
        body = "\n".join(['<bpmn:startEvent id="begin"/>', *tasks, '<bpmn:endEvent id="end"/>', *flows])
        path = short_path / "order.bpmn"
        path.write_text(HEAD + body + TAIL)
        return path

    return write


@pytest.fixture
def forked(short_path: Path) -> Callable[..., Path]:
    """Write a model of service tasks on parallel branches."""

    def write(*topics: str) -> Path:
        tasks = [f'<bpmn:serviceTask id="{topic}" name="Do {topic}" camunda:type="external" camunda:topic="{topic}"/>' for topic in topics]
        flows = [
            f'<bpmn:sequenceFlow id="to_{topic}" sourceRef="split" targetRef="{topic}"/><bpmn:sequenceFlow id="from_{topic}" sourceRef="{topic}" targetRef="join"/>'
            for topic in topics
        ]
        frame = """<bpmn:startEvent id="begin"/><bpmn:parallelGateway id="split"/><bpmn:parallelGateway id="join"/><bpmn:endEvent id="end"/>
<bpmn:sequenceFlow id="in" sourceRef="begin" targetRef="split"/><bpmn:sequenceFlow id="out" sourceRef="join" targetRef="end"/>"""
        path = short_path / "forked.bpmn"
        path.write_text("\n".join([HEAD, *tasks, frame, *flows, TAIL]))
        return path

    return write


@pytest.fixture
def handlers(short_path: Path) -> Callable[[str], Path]:
    """Write a handlers module."""

    def write(source: str) -> Path:
        path = short_path / "handlers.py"
        path.write_text(f"from dadms_orchestrators import BpmnError, Task, handler\n{source}")
        return path

    return write


def await_line(process: "subprocess.Popen[str]", text: str) -> list[str]:
    """Read a command's stdout until a line holds a text; gives what was read. The test's own time-out ends a wait in vain."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    pytest.fail(f"the command ended without saying {text!r}:\n{''.join(lines)}{process.stderr.read() if process.stderr else ''}")


@pytest.fixture
def wait_for() -> Callable[[Daemon], None]:
    """Wait until a daemon that was just started answers."""

    def wait(daemon: Daemon) -> None:
        with Client(daemon.runtime_dir, start_timeout=20.0) as client:
            client.call(requests.Status(), timeout=20.0)

    return wait
