"""A log is one sequence of bytes, whatever files hold it: set aside, compressed, removed."""

import os
import resource
import threading
from pathlib import Path

import msgspec
import pytest

from dadmsd.config import Logger as Settings
from dadmsd.logger import housekeeping, reading, segments
from dadmsd.logger.files import LogFile
from dadmsd.logger.sink import Unwritten

MIB = 1024 * 1024
NOW = 1_795_366_535.0
SMALL = Settings(rotate_size_mb=1)


def nothing() -> None:
    """Nobody tidies up here."""


def log(directory: Path, settings: Settings = SMALL, stem: str = "1001") -> LogFile:
    return LogFile(directory, stem, settings, nothing, nothing)


def fill(file: LogFile, count: int, first: int = 0, now: float = NOW) -> None:
    """Write numbered lines of about a thousand bytes."""
    for number in range(first, first + count):
        file.write([f"{number:06d} {'x' * 960}".encode()], "1001.1", now)


def fill_at_once(file: LogFile, numbers: range) -> None:
    file.write([f"{number:06d} {'x' * 960}".encode() for number in numbers], "1001.1", NOW)


def whole(directory: Path, stem: str = "1001") -> bytes:
    """Read a log as the kernel does, a piece after the other."""
    found, place = b"", 0
    while (piece := reading.read(directory, stem, place, 60_000)).data:
        found += piece.data
        place = piece.offset + len(piece.data)
    assert place == piece.end
    return found


def numbers(text: bytes) -> list[int]:
    return [int(line.split()[2]) for line in text.splitlines()]


def tidy(directory: Path, settings: Settings = SMALL, now: float = NOW, in_use: set[str] | None = None) -> None:
    housekeeping.Housekeeping(directory, settings, {"1001"} if in_use is None else in_use, threading.Lock()).sweep(now)


def test_a_file_that_grew_too_large_is_set_aside_between_two_lines(tmp_path: Path) -> None:
    file = log(tmp_path)
    fill(file, 2500)
    aside = segments.listed(segments.aside(tmp_path, "1001"))
    assert [segment.first for segment in aside] == [0, *(segment.end for segment in aside[:-1])]
    assert len(aside) == 2
    assert all(MIB - 2000 < segment.end - segment.first <= MIB for segment in aside)
    assert numbers(whole(tmp_path)) == list(range(2500))


def test_a_file_that_is_too_old_is_set_aside_by_the_next_line_also_after_a_restart(tmp_path: Path) -> None:
    fill(log(tmp_path), 1)
    again = log(tmp_path)  # another logger: the age is in the first line
    fill(again, 1, first=1, now=NOW + 23 * 3600)
    assert not segments.aside(tmp_path, "1001").exists()
    fill(again, 1, first=2, now=NOW + 25 * 3600)
    assert len(segments.listed(segments.aside(tmp_path, "1001"))) == 1
    assert numbers(whole(tmp_path)) == [0, 1, 2]


def test_what_was_set_aside_is_compressed_and_read_as_before(tmp_path: Path) -> None:
    file = log(tmp_path)
    fill(file, 3500)
    before = whole(tmp_path)
    tidy(tmp_path)
    aside = segments.listed(segments.aside(tmp_path, "1001"))
    assert len(aside) == 3
    assert all(segment.is_compressed for segment in aside)
    assert whole(tmp_path) == before
    assert reading.read(tmp_path, "1001", -10, 10).data == before[-10:]
    assert reading.read(tmp_path, "1001", MIB + 5, 10).data == before[MIB + 5 : MIB + 15]


@pytest.mark.parametrize("left", ["unfinished", "both"])
def test_what_a_killed_logger_left_half_compressed_is_done_again(tmp_path: Path, left: str) -> None:
    file = log(tmp_path)
    fill(file, 1500)
    before = whole(tmp_path)
    [segment] = segments.listed(segments.aside(tmp_path, "1001"))
    original = segments.aside(tmp_path, "1001") / segment.name
    content = original.read_bytes()
    if left == "unfinished":
        (original.parent / f"{segment.name}.gz{segments.UNFINISHED}").write_bytes(b"half")
    else:
        tidy(tmp_path)
        original.write_bytes(content)
    assert whole(tmp_path) == before
    tidy(tmp_path)
    assert [path.name for path in original.parent.iterdir()] == [f"{segment.name}.gz"]
    assert whole(tmp_path) == before


def test_only_the_newest_files_are_kept_and_places_stay_what_they_were(tmp_path: Path) -> None:
    file = log(tmp_path)
    fill(file, 6500)
    before = whole(tmp_path)
    tidy(tmp_path, msgspec.structs.replace(SMALL, keep_files=2))
    aside = segments.listed(segments.aside(tmp_path, "1001"))
    assert len(aside) == 2
    piece = reading.read(tmp_path, "1001", 0, 100)
    assert piece.offset == piece.first == aside[0].first
    assert piece.data == before[piece.offset : piece.offset + 100]
    assert whole(tmp_path) == before[piece.first :]


def test_when_all_logs_are_too_large_together_the_oldest_go_and_never_one_that_is_written_to(tmp_path: Path) -> None:
    mine, ended = log(tmp_path), log(tmp_path, stem="999")
    fill(ended, 1500)
    fill(mine, 3500)
    for place, path in enumerate(sorted(tmp_path.rglob("*"), key=lambda path: ("999" not in str(path), path.name))):
        if path.is_file():
            os.utime(path, (NOW + place, NOW + place))
    place = reading.read(tmp_path, "1001", -1, 1).end
    tidy(tmp_path, msgspec.structs.replace(SMALL, total_size_mb=1, compress=False))
    left = {str(path.relative_to(tmp_path)): path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()}
    assert sum(left.values()) <= MIB
    assert "1001.log" in left
    assert reading.read(tmp_path, "1001", -1, 1).end == place  # an empty file remembers where it begins
    fill(mine, 1, first=9999)
    assert numbers(whole(tmp_path))[-1] == 9999


def test_the_logs_of_processes_that_ended_long_ago_are_removed(tmp_path: Path) -> None:
    for stem in ("1001", "1002", "1003", "zygote-4"):
        fill(log(tmp_path, stem=stem), 1500)
    (tmp_path / "servers.log").write_text("the keeper's own\n")
    for path in tmp_path.rglob("*"):
        os.utime(path, (NOW, NOW))
    os.utime(tmp_path / "1003.log", (NOW + 10 * 86_400, NOW + 10 * 86_400))  # it went on writing
    tidy(tmp_path, now=NOW + 15 * 86_400)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1001.log", "1001.log.d", "1003.log", "1003.log.d", "servers.log"]


def test_what_a_full_disk_did_not_take_is_told_and_a_half_line_is_ended(tmp_path: Path) -> None:
    """A limit on the size of files ends a write where a full disk does: in the middle."""
    file = log(tmp_path)
    fill(file, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_500, hard))
    try:
        with pytest.raises(Unwritten, match="File too large") as told:
            fill_at_once(file, range(1, 31))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    written = len(whole(tmp_path).splitlines()) - 1  # the last one in part
    assert len(told.value.texts) == 31 - written
    assert told.value.texts[0].startswith(b"%06d" % written)
    assert not whole(tmp_path).endswith(b"\n")
    fill(file, 1, first=31)
    assert whole(tmp_path).splitlines()[-1].split()[2] == b"000031"


def test_after_half_a_line_the_next_one_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "1001.log").write_bytes(b"2026-11-22T16:55:35.123Z 1001.1 a logger was killed he")
    file = log(tmp_path)
    file.write([b"and here is the next"], "1001.1", NOW)
    assert (tmp_path / "1001.log").read_bytes().splitlines()[0].endswith(b"killed he")
    assert (tmp_path / "1001.log").read_bytes().splitlines()[1].endswith(b" 1001.1 and here is the next")


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert reading.read(tmp_path, "1001", 0, 100) == (b"", 0, 0, 0)
    assert reading.read(tmp_path, "1001", 500, 100) == (b"", 0, 0, 0)
    assert reading.read(tmp_path, "1001", -500, 100) == (b"", 0, 0, 0)
