"""What the keeper says, and that saying it never blocks."""

import contextlib
import os
from pathlib import Path

import pytest

from dadmsd.keeper import voice as module
from dadmsd.keeper.voice import Voice


def test_people_and_the_file_hear_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    voice = Voice(tmp_path)
    voice.say("all is well")
    voice.note("between us")
    assert capfd.readouterr().err == "dadmsd: all is well\n"
    lines = (tmp_path / "servers.log").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["dadmsd: all is well", "dadmsd: between us"]


def test_a_reader_that_does_not_read_never_blocks_the_keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(write_end, b"x" * 4096):
            pass
    os.set_blocking(write_end, True)
    with os.fdopen(write_end, "w") as full:
        monkeypatch.setattr("sys.stderr", full)
        Voice(tmp_path).say("nobody listens")  # would block for ever
    os.close(read_end)
    assert "nobody listens" in (tmp_path / "servers.log").read_text()


def test_a_flood_of_lines_is_cut_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("dadmsd.keeper.voice.time.monotonic", lambda: now[0])
    voice = Voice(tmp_path)
    for number in range(module.LINES_A_SECOND + 30):
        voice.note(f"line {number}")
    now[0] = 101.0
    voice.note("later")
    lines = (tmp_path / "servers.log").read_text().splitlines()
    assert len(lines) == module.LINES_A_SECOND + 2
    assert lines[-2].endswith("dadmsd: 30 lines were left out")


def test_a_file_that_has_grown_is_set_aside_when_a_server_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILE_LIMIT", 1000)
    voice = Voice(tmp_path)
    os.write(voice.output(), b"x" * 2000)
    os.write(voice.output(), b"fresh")
    assert (tmp_path / "servers.log").read_text() == "fresh"
    assert (tmp_path / "servers.log.1").stat().st_size == 2000


def test_the_last_words_of_a_server_are_found_among_our_own(tmp_path: Path) -> None:
    voice = Voice(tmp_path)
    os.write(voice.output(), b"Traceback\nModuleNotFoundError: No module named 'x'\n")
    voice.note("kernel ended")
    assert voice.last_words() == "ModuleNotFoundError: No module named 'x'"
