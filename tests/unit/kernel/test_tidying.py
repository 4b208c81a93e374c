"""The working directories that processes leave, on a real file system; docs/reference/cli.md says what stays."""

import time
from pathlib import Path

from dadms_ipc import requests
from dadmsd.kernel.core import events
from dadmsd.kernel.tidying import QUIET_SECONDS, Tidying
from tests.unit.kernel.driver import Driver


def ended(driver: Driver, pid: int) -> None:
    """End a running process, and everything of it."""
    driver.ask(requests.Kill(pid, force=True))
    driver.give(events.Exited(f"{pid}.{driver.process(pid).incarnation}", 2, 9))
    driver.give(events.GroupGone(pid))


def gone_through(tidying: Tidying) -> None:
    """Let all quiet moments come that there is work for."""
    rounds = 0
    while tidying.due is not None:
        tidying.tidy(tidying.due)
        rounds += 1
        assert rounds < 1000, "it never comes to an end"


def test_an_empty_directory_goes_in_a_quiet_moment_and_what_a_process_left_stays(tmp_path: Path) -> None:
    driver = Driver(state_dir=str(tmp_path))
    first, second = driver.run(), driver.spawn()
    for pid in (first, second):
        (tmp_path / "work" / str(pid)).mkdir(parents=True)
    (tmp_path / "work" / str(second) / "report.txt").write_text("kept")
    ended(driver, first)
    driver.ask(requests.Kill(second, force=True))
    driver.give(events.GroupGone(second))
    tidying = Tidying(driver.state)
    assert tidying.due is None
    tidying.note(first)
    tidying.note(second)
    tidying.tidy(time.monotonic())
    assert (tmp_path / "work" / str(first)).exists(), f"not {QUIET_SECONDS} s after the end"
    gone_through(tidying)
    assert [path.name for path in (tmp_path / "work").iterdir()] == [str(second)]


def test_the_directory_of_a_process_that_runs_again_is_its_own(tmp_path: Path) -> None:
    """It was noted at the end of the first incarnation, and the second works there when the quiet moment comes."""
    driver = Driver(state_dir=str(tmp_path))
    pid = driver.run()
    directory = tmp_path / "work" / str(pid)
    directory.mkdir(parents=True)
    ended(driver, pid)
    tidying = Tidying(driver.state)
    tidying.note(pid)
    driver.answer(requests.Start(pid))
    gone_through(tidying)
    assert directory.exists()


def test_what_a_killed_kernel_had_noted_is_found_by_the_next(tmp_path: Path) -> None:
    """Of processes that have ended, and of those that have left the table; nobody else's."""
    driver = Driver(state_dir=str(tmp_path))
    over, living = driver.run(), driver.spawn()
    ended(driver, over)
    for name in (str(over), str(living), "999", "notes"):
        (tmp_path / "work" / name).mkdir(parents=True)
    driver.next_kernel()
    tidying = Tidying(driver.state)
    tidying.find()
    gone_through(tidying)
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == [str(living), "notes"]


def test_nothing_is_found_where_nobody_ever_worked(tmp_path: Path) -> None:
    tidying = Tidying(Driver(state_dir=str(tmp_path)).state)
    tidying.find()
    assert tidying.due is None


def test_a_daemon_that_ends_leaves_no_empty_directory(tmp_path: Path) -> None:
    driver = Driver(state_dir=str(tmp_path))
    pid = driver.run()
    (tmp_path / "work" / str(pid)).mkdir(parents=True)
    ended(driver, pid)
    tidying = Tidying(driver.state)
    tidying.note(pid)
    tidying.finish()
    assert list((tmp_path / "work").iterdir()) == []
    assert tidying.due is None
