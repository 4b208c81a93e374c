"""The last lines of a log and the first since a moment are found over every file that holds it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import click
import pytest

from dadms_ipc import requests
from dadmsctl import moments, places
from dadmsd.config import Logger
from dadmsd.logger import reading
from dadmsd.logger.files import LogFile

BEGAN = datetime(2026, 11, 22, 10, tzinfo=UTC).timestamp()
LINES = 3000


class Door:
    """Answers as the kernel does, from files."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs

    def call(self, request: requests.ReadLog) -> requests.LogPiece:
        found = reading.read(self._logs, str(request.pid), request.offset, request.limit)
        return requests.LogPiece(found.data, found.offset, found.end, "", found.first)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> places.Log:
    """Give a log of 3 MB in three files, a line a second."""
    logs = tmp_path_factory.mktemp("logs")
    file = LogFile(logs, "1001", Logger(rotate_size_mb=1), lambda: None, lambda: None)
    for number in range(LINES):
        file.write([f"{number:06d} {'x' * (number * 7 % 1900)}".encode()], "1001.1", BEGAN + number)
    file.close()
    return places.Log(cast("Any", Door(logs)), 1001)


def number_at(log: places.Log, offset: int) -> int | None:
    line = log.piece(offset).data.partition(b"\n")[0]
    return int(line.split()[2]) if line else None


@pytest.mark.parametrize("count", [1, 2, 100, 1500, LINES, LINES + 1, 10 * LINES])
def test_the_last_lines_begin_where_a_line_does(log: places.Log, count: int) -> None:
    assert number_at(log, places.last_lines(log, count)) == max(0, LINES - count)


def test_no_line_is_the_end(log: places.Log) -> None:
    assert places.last_lines(log, 0) == log.piece(-1, 1).size


@pytest.mark.parametrize("count", [0, 1, 100])
def test_the_last_lines_of_a_log_that_nothing_was_written_to_are_none(count: int, tmp_path: Path) -> None:
    assert places.last_lines(places.Log(cast("Any", Door(tmp_path)), 1001), count) == 0


@pytest.mark.parametrize("number", [0, 1, 2, 700, 1499, 1500, 2998, 2999])
def test_the_first_line_since_a_moment_is_the_one_that_was_written_then(log: places.Log, number: int) -> None:
    assert number_at(log, places.first_since(log, BEGAN + number)) == number
    assert number_at(log, places.first_since(log, BEGAN + number - 0.5)) == number


def test_since_before_the_first_line_is_everything_and_since_after_the_last_nothing(log: places.Log) -> None:
    assert places.first_since(log, 0.0) == 0
    assert places.first_since(log, BEGAN + LINES) == log.piece(-1, 1).size


def test_a_log_without_a_line_has_no_places(tmp_path: Path) -> None:
    empty = places.Log(cast("Any", Door(tmp_path)), 7)
    assert (places.last_lines(empty, 5), places.first_since(empty, BEGAN)) == (0, 0)


def test_moments_are_read_as_people_write_them() -> None:
    assert moments.moment("10m", now=1000.0) == 400.0
    assert moments.moment("2 h ago", now=10_000.0) == 2800.0
    assert moments.moment("2026-11-22T10:00:00Z") == BEGAN
    assert moments.moment("2026-11-22T11:00:00+01:00") == BEGAN
    with pytest.raises(click.BadParameter, match="'yesterday' is no moment"):
        moments.moment("yesterday")
