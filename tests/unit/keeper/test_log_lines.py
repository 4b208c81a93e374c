"""How a process's output becomes lines of its log."""

import os
from pathlib import Path

import pytest

from dadmsd.logger import lines as module
from dadmsd.logger.files import LogFile, LogFiles
from dadmsd.logger.lines import CONTINUED, CONTINUES, Lines

AT = 1795366535.125  # seconds since 1970
HEAD = b"2026-11-22T16:55:35.125Z 1001.1 "


def test_lines_have_their_time_and_incarnation_and_wait_for_their_end() -> None:
    lines = Lines("1001.1")
    assert lines.take(b"one\ntw", AT) == HEAD + b"one\n"
    assert lines.take(b"o", AT) == b""
    assert lines.take(b"\n\nthree\n", AT) == HEAD + b"two\n" + HEAD + b"\n" + HEAD + b"three\n"
    assert lines.end(AT) == b""


def test_an_unfinished_line_ends_with_its_process() -> None:
    lines = Lines("1001.1")
    lines.take(b"no newline", AT)
    assert lines.end(AT) == HEAD + b"no newline\n"
    assert lines.end(AT) == b""


def test_bytes_that_are_no_text_pass_through() -> None:
    assert Lines("1001.1").take(b"\xff\x00\x1b[0m\n", AT) == HEAD + b"\xff\x00\x1b[0m\n"


@pytest.mark.parametrize("step", [1, 7, 10, 1000])
def test_a_line_that_is_too_long_is_split_and_every_piece_says_so(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(module, "LINE_LIMIT", 10)
    lines = Lines("1001.1")
    text = b"abcdefghijklmnopqrstuvwxyz\nshort\n"
    out = b"".join(lines.take(text[at : at + step], AT) for at in range(0, len(text), step))
    assert out == b"".join(
        [
            HEAD + b"abcdefghij" + CONTINUES + b"\n",
            HEAD + CONTINUED + b"klmnopqrst" + CONTINUES + b"\n",
            HEAD + CONTINUED + b"uvwxyz\n",
            HEAD + b"short\n",
        ]
    )


def test_what_waits_is_bounded_by_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines("1001.1")
    for _ in range(100):
        lines.take(b"x" * 60_000, AT)
    assert len(lines.end(AT)) <= module.LINE_LIMIT + 100


def test_the_time_is_of_the_same_second_at_its_edges() -> None:
    assert Lines("1.1").take(b"x\n", 1795366535.9999).startswith(b"2026-11-22T16:55:35.999Z ")
    assert Lines("1.1").take(b"x\n", 1795366536.0).startswith(b"2026-11-22T16:55:36.000Z ")


def test_what_a_full_disk_lost_is_counted_in_the_file(tmp_path: Path) -> None:
    directory = tmp_path / "gone"
    file = LogFile(directory / "1001.log")
    file.write(b"lost one\n")
    file.write(b"lost two\n")
    directory.mkdir()
    file.write(b"kept\n")
    file.close()
    assert (directory / "1001.log").read_text() == "[logger: 18 bytes were lost here: No such file or directory]\nkept\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_that_is_full_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    file = LogFile(Path("/dev/full"))
    file.write(b"nothing of this stays\n")
    file.write(b"nor of this\n")
    file.close()


def test_incarnations_of_a_process_share_a_file_that_closes_with_the_last(tmp_path: Path) -> None:
    files = LogFiles(tmp_path)
    first, second = files.take("1001"), files.take("1001")
    assert first is second
    first.write(b"1\n")
    files.leave("1001")
    second.write(b"2\n")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers, not paths
    files.leave("1001")
    assert len(os.listdir("/proc/self/fd")) == before - 1  # noqa: PTH208 - numbers, not paths
    assert (tmp_path / "1001.log").read_text() == "1\n2\n"
