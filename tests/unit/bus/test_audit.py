"""The audit file: its lines, its rotation, and a disk that takes nothing."""

import re
import stat
from pathlib import Path

import pytest

from dadmsd.bus import audit
from dadmsd.bus.core.events import Audit, Who

STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")


def lines(path: Path) -> list[str]:
    """Give the lines of a file without their times."""
    found = path.read_text().splitlines()
    assert all(STAMP.match(line) for line in found)
    return [STAMP.sub("", line) for line in found]


def test_a_line_says_who_what_and_why(tmp_path: Path) -> None:
    """What a peer chose is quoted, and stays on its line."""
    file = audit.AuditFile(tmp_path / "logs")
    file.write(Audit("t", "refused", Who(1002, 47), "uid 1002 pid 47", "kill", 'cannot "x"\nuid=0'))
    file.write(Audit("t", "refused", Who(1002, 47), "process 1001.1", "SEND", "full"))
    file.write(Audit("t", "cut", Who(-1, -1, (), "lap top", "PUBLIC", "10.0.0.5"), "", "", "revoked"))
    file.write(Audit("t", "did", Who(0, 1), "uid 0 pid 1", "shutdown", ""))
    file.write(Audit("shut the control door"))
    assert lines(tmp_path / "logs" / "audit.log") == [
        r'refused uid=1002 pid=47 what="kill" why="cannot \"x\"\nuid=0"',
        'refused uid=1002 pid=47 as="process 1001.1" what="SEND" why="full"',
        'cut key="lap top" address=10.0.0.5 why="revoked"',
        'did uid=0 pid=1 what="shutdown"',
        'note why="shut the control door"',
    ]
    assert stat.S_IMODE((tmp_path / "logs" / "audit.log").stat().st_mode) == 0o600
    file.close()


def test_a_full_file_is_set_aside_and_a_few_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody fills a disk by being refused."""
    monkeypatch.setattr(audit, "FILE_LIMIT", 200)
    file = audit.AuditFile(tmp_path)
    for number in range(60):
        file.write(Audit(f"line {number:03d} " + "x" * 60))
    file.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["audit.log", "audit.log.1", "audit.log.2", "audit.log.3", "audit.log.4"]
    assert all(path.stat().st_size <= 200 for path in tmp_path.iterdir())
    assert "line 059" in (tmp_path / "audit.log").read_text()


def test_what_the_disk_did_not_take_is_counted(tmp_path: Path) -> None:
    """And nothing is raised: a request does not wait for a disk."""
    place = tmp_path / "logs"
    place.write_text("in the way")
    file = audit.AuditFile(place)
    for _ in range(3):
        file.write(Audit("lost"))
    place.unlink()
    file.write(Audit("kept"))
    assert lines(place / "audit.log") == ["lost lines=3", 'note why="kept"']
    file.close()
