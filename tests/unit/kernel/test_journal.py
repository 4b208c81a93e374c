"""A journal that is damaged: what is said of it, and what to do."""

import sqlite3
from pathlib import Path

import pytest

from dadms_ipc.errors import HostFailure
from dadmsd.kernel.core.records import Counters
from dadmsd.kernel.journal import Journal

WAY_OUT = "; move it away to start anew (what it knew is lost)"


def opened(path: Path) -> Journal:
    return Journal(path, boot_id="boot", daemon="daemon")


def made(path: Path) -> Path:
    journal = opened(path)
    journal.commit({("counters", 0): Counters()})
    journal.close()
    return path


def execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def refusal(path: Path) -> str:
    with pytest.raises(HostFailure) as failed:
        list(opened(path).rows())
    assert f'the journal "{path}"' in str(failed.value)
    return str(failed.value)


def test_a_journal_that_is_whole_is_read(tmp_path: Path) -> None:
    journal = opened(made(tmp_path / "kernel.db"))
    assert list(journal.rows()) == [Counters()]
    journal.close()


def test_a_file_that_is_no_database_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "kernel.db"
    path.write_bytes(b"not a database " * 1000)
    assert refusal(path).endswith(WAY_OUT)


def test_damaged_pages_say_what_to_do(tmp_path: Path) -> None:
    path = made(tmp_path / "kernel.db")
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    assert refusal(path).endswith(WAY_OUT)


@pytest.mark.parametrize(
    "statement",
    ["DROP TABLE meta", "DELETE FROM meta", "DROP TABLE process", "UPDATE counters SET record = x'ff00'", "UPDATE counters SET record = 7"],
)
def test_a_journal_that_lacks_a_part_says_what_to_do(tmp_path: Path, statement: str) -> None:
    path = made(tmp_path / "kernel.db")
    execute(path, statement)
    assert refusal(path).endswith(WAY_OUT)


def test_a_directory_in_its_place_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "kernel.db").mkdir()
    assert WAY_OUT not in refusal(tmp_path / "kernel.db")


def test_a_newer_schema_is_not_called_damaged(tmp_path: Path) -> None:
    path = made(tmp_path / "kernel.db")
    execute(path, "PRAGMA user_version = 99")
    assert WAY_OUT not in refusal(path)
