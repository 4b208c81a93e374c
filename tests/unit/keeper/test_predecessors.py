"""Servers that outlive their keeper, as real processes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dadmsd.keeper import predecessors


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def test_nothing_is_waited_for_after_an_orderly_end(tmp_path: Path) -> None:
    assert predecessors.await_end(tmp_path) == []


def test_a_server_that_ends_by_itself_is_waited_for(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    predecessors.record(tmp_path, [("kernel", process.pid)])
    assert process.stdin is not None
    process.stdin.close()
    assert predecessors.await_end(tmp_path, patience=20.0) == []
    assert process.wait() == 0


def test_a_server_that_takes_too_long_is_killed_and_named(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    predecessors.record(tmp_path, [("kernel", sleeper.pid)])
    assert predecessors.await_end(tmp_path, patience=0.05) == ["kernel"]
    assert sleeper.wait() == -9


def test_a_pid_that_somebody_else_has_now_is_left_alone(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    ticks = predecessors.start_ticks(sleeper.pid)
    (tmp_path / "servers").write_text(f"kernel {sleeper.pid} {ticks - 1}\n")
    begun = time.monotonic()
    assert predecessors.await_end(tmp_path, patience=20.0) == []
    assert time.monotonic() - begun < 10.0
    assert sleeper.poll() is None


@pytest.mark.parametrize(
    "content", ["", "kernel\n", "kernel x y\n", "kernel 1 1\n", "kernel 99999999999999999999 5\n", "\x00", "kernel -1 5\n"]
)
def test_a_broken_file_names_nobody(tmp_path: Path, content: str) -> None:
    (tmp_path / "servers").write_text(content)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers, not paths
    assert predecessors.await_end(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - numbers, not paths
