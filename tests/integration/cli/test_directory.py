"""Files that a handler writes: they stay where ``--directory`` says, and it is said when they are going to be removed."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Ctl = Callable[..., "CompletedProcess[str]"]
WRITES = """
import os
from pathlib import Path
@handler("greet")
def greet(task):
    Path(task.directory, "out.txt").write_text("kept")
    return {"same": os.path.samefile(task.directory, "."), "kept": task.artifact(b"x" * 300_000)}
"""


def test_files_stay_in_the_directory_that_was_named(
    ctl: Ctl, linear: Callable[..., Path], handlers: Callable[[str], Path], tmp_path: Path
) -> None:
    """Artifacts are the daemon's affair, and go with it."""
    done = ctl("run", linear("greet"), "--handlers", handlers(WRITES), "--directory", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.txt").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert "--directory" not in done.stdout + done.stderr


def test_files_that_are_going_to_be_removed_are_said(ctl: Ctl, linear: Callable[..., Path], handlers: Callable[[str], Path]) -> None:
    """In one warning that names the option."""
    done = ctl("run", linear("greet"), "--handlers", handlers(WRITES))
    assert done.returncode == 0, done.stderr
    assert "1 file (out.txt) in the working directory will be removed" in done.stdout + done.stderr


def test_a_directory_that_cannot_be_is_refused_before_anything_is_started(
    ctl: Ctl, linear: Callable[..., Path], handlers: Callable[[str], Path], tmp_path: Path
) -> None:
    done = ctl("run", linear("greet"), "--handlers", handlers(WRITES), "--directory", tmp_path / "none")
    assert done.returncode == 4
    assert "it is no directory" in done.stderr
