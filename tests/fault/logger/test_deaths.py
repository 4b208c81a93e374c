"""kill -9 of the logger at any instant, while it sets files aside and compresses them: every line that was written is in the log."""

import os
import random
import re
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dadmsd.logger import reading, segments
from tests.integration.keeper.test_logger import awaited, ended, flooding, logger_pid, opened
from tests.integration.keeper.theatre import PATIENCE, Theatre

LINES = 120_000
SCRIPT = f"""
import sys
for number in range({LINES}):
    sys.stdout.write(f"{{number:07d}} {{'z' * (number % 160)}}\\n")
    if number % 10 == 0:
        sys.stdout.flush()
sys.stdout.write("no newline at the end")
"""
RESTARTED = b"[the logger was restarted here"


@pytest.fixture
def theatre(short_path: Path) -> Iterator[Theatre]:
    """Give a theatre that is closed at the end."""
    made = Theatre(short_path)
    yield made
    made.close()


def whole(logs: Path) -> bytes:
    """Read a log as the kernel does."""
    found, place = b"", 0
    while (piece := reading.read(logs, "1001", place, 60_000)).data:
        found += piece.data
        place = piece.offset + len(piece.data)
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_every_line_is_there_however_often_the_logger_is_killed(theatre: Theatre, seed: int) -> None:
    chance = random.Random(seed)
    kernel = opened(theatre, "[logger]\nrotate_size_mb = 1\nkeep_files = 1000\nrate_limit_kb = 0\n")
    kernel.do("store", name="v1/log/1001.1")
    logs = theatre.state / "logs"
    flood = flooding(kernel, "v1/log/1001.1", [sys.executable, "-c", SCRIPT])
    killed, reached = 0, 0
    while flood.poll() is None:
        victim = logger_pid(theatre)
        if victim and (end := _size(logs)) > reached:
            reached = end + chance.randrange(1_000_000, 4_000_000)
            ends = os.pidfd_open(victim)
            signal.pidfd_send_signal(ends, signal.SIGKILL)
            assert select.select([ends], [], [], PATIENCE)[0]
            os.close(ends)
            killed += 1
    kernel.do("let_go", name="v1/log/1001.1")
    kernel.say("Drop", "v1/log/1001.1")
    assert awaited(lambda: b"no newline at the end\n" in whole(logs)[-200:])
    assert ended(theatre, kernel) == 0
    assert killed > 2
    _judge(whole(logs), killed)
    assert len(segments.listed(logs / "1001.log.d")) > 3


def _size(logs: Path) -> int:
    try:
        return reading.read(logs, "1001", -1, 1).end
    except OSError:
        return 0


def _judge(text: bytes, killed: int) -> None:
    """Every line is there, in order but for what is written again after a mark."""
    expected, marks = 0, 0
    for line in text.splitlines():
        found = re.match(rb"\S+Z 1001\.1 (\d{7}) (z*)$", line)
        if RESTARTED in line:
            marks += 1
        if found is None:
            continue  # a mark, the last words, or what a logger had written of a line when it was killed
        number = int(found[1])
        if len(found[2]) != number % 160:
            continue  # a part of a line, which is written again
        assert number <= expected, f"{expected} to {number - 1} are not there"
        expected = max(expected, number + 1)
    assert expected == LINES
    assert 0 < marks <= killed
