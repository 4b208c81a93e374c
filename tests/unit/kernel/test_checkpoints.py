"""Checkpoints as the core keeps them: who goes on from one, when it is dropped, and what is refused."""

from typing import Any

import pytest

from dadms_ipc import port
from dadms_ipc.port import CHECKPOINT_BYTES
from dadms_ipc.requests import Kill, Stop
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.restarts import RESUMES_MOST
from tests.unit.kernel.driver import NIL, Driver, told

SIGNALLED = 2  # si_code of waitid(2): killed


def give(driver: Driver, value: bytes = b"x", *, name: str = "1001.1", number: int = 1) -> list[port.Kept]:
    return told(driver.give(events.CheckpointGiven(name, number, value)), port.Kept)


def lose(driver: Driver, incarnation: int, status: int = 9) -> list[effects.AnyEffect]:
    """Have the main of an incarnation killed by a stranger."""
    done = driver.give(events.Exited(f"1001.{incarnation}", SIGNALLED, status))
    return done + driver.give(events.GroupGone(1001))


def begin(driver: Driver, incarnation: int) -> None:
    """Have the next incarnation come to running, after its pause."""
    driver.give(after=60.0)
    driver.open(f"1001.{incarnation}", 100 + incarnation)
    driver.give(events.MainReady(f"1001.{incarnation}", ["work"], []))


def test_a_checkpoint_is_a_row_before_it_is_answered_and_the_newest_counts() -> None:
    driver = Driver()
    driver.run()
    assert give(driver, b"a") == [port.Kept(1)]
    assert give(driver, b"b", number=2) == [port.Kept(2)]
    assert driver.state.checkpoints[1001].value == b"b"
    assert driver.rows["checkpoint", 1001].value == b"b"  # type: ignore[attr-defined]  # a Checkpoint by its table
    driver.next_kernel()
    assert driver.state.checkpoints[1001].value == b"b"


def test_what_is_too_large_comes_after_the_outcome_or_from_an_earlier_incarnation_is_not_kept() -> None:
    driver = Driver()
    driver.run()
    [kept] = give(driver, b"x" * (CHECKPOINT_BYTES + 1))
    assert kept.reason == f"cannot keep a checkpoint of {CHECKPOINT_BYTES + 1} bytes: at most {CHECKPOINT_BYTES} are kept"
    driver.give(events.OutcomeGiven("1001.1", port.Outcome("failed", NIL, "no")))
    [kept] = give(driver)
    assert kept.reason == "cannot keep a checkpoint: the process has given its outcome"
    assert give(driver, name="1001.7") == []
    assert driver.state.checkpoints == {}


def test_one_that_is_lost_goes_on_so_often_from_one_checkpoint_and_no_longer() -> None:
    driver = Driver()
    driver.run()
    give(driver)
    for incarnation in range(1, RESUMES_MOST + 1):
        lose(driver, incarnation)
        assert driver.process().status == "backoff"
        begin(driver, incarnation + 1)
        give(driver, name=f"1001.{incarnation + 1}")  # the same: that is no progress
    assert "from its checkpoint of" in next(info.text for info in driver.state.events if info.kind == "process.renewed")
    lose(driver, RESUMES_MOST + 1)
    assert driver.process().status == "failed"
    assert driver.process().reason.endswith(f"it had gone on from the same checkpoint {RESUMES_MOST} times")
    assert 1001 in driver.state.checkpoints


def test_a_new_checkpoint_begins_the_count_anew() -> None:
    driver = Driver()
    driver.run()
    give(driver)
    for incarnation in range(1, RESUMES_MOST + 3):
        lose(driver, incarnation)
        begin(driver, incarnation + 1)
        give(driver, bytes([incarnation]), name=f"1001.{incarnation + 1}")
    assert driver.process().status == "running"


@pytest.mark.parametrize("changes", [{"restart": "never"}, {}], ids=["its policy says never", "without a checkpoint"])
def test_one_that_is_lost_fails_otherwise(changes: dict[str, Any]) -> None:
    driver = Driver()
    driver.run(**changes)
    if changes:
        give(driver)
    lose(driver, 1)
    assert (driver.process().status, driver.process().cause) == ("failed", "signal 9 (SIGKILL)")


def test_an_exit_is_no_loss() -> None:
    driver = Driver()
    driver.run()
    give(driver)
    driver.end(1001, status=3)
    assert (driver.process().status, driver.process().cause) == ("failed", "exited 3")


def test_after_a_reboot_and_after_the_end_of_the_daemon_it_goes_on() -> None:
    driver = Driver()
    driver.run()
    give(driver)
    driver.next_kernel(interruption="the machine was restarted")
    driver.give(events.GroupGone(1001))
    assert (driver.process().incarnation, driver.process().status) == (2, "admitted")
    driver.give(events.StopAsked("SIGTERM"))
    driver.give(events.GroupGone(1001))
    assert (driver.process().status, driver.process().resume) == ("stopped", True)
    driver.next_kernel(interruption="the daemon was restarted")
    driver.give()
    assert (driver.process().incarnation, driver.process().status) == (3, "admitted")
    assert driver.state.checkpoints[1001].value == b"x"


def test_an_outcome_that_is_in_the_journal_stands_when_everything_ends_before_its_process_does() -> None:
    driver = Driver()
    driver.run()
    give(driver)
    driver.give(events.OutcomeGiven("1001.1", port.Outcome("completed", NIL)))
    assert driver.state.checkpoints == {}
    driver.next_kernel(interruption="the daemon was restarted")
    driver.give(events.GroupGone(1001))
    assert driver.process().status == "completed"


@pytest.mark.parametrize(("request_", "is_kept"), [(Kill(1001), False), (Stop(1001), True)], ids=["killed", "stopped"])
def test_who_is_killed_for_good_begins_anew_and_who_is_stopped_goes_on(request_: Kill | Stop, is_kept: bool) -> None:
    driver = Driver()
    driver.run()
    give(driver)
    driver.answer(request_)
    driver.end(1001)
    assert driver.process().status in ("killed", "stopped")
    assert (1001 in driver.state.checkpoints) is is_kept
    assert (("checkpoint", 1001) in driver.rows) is is_kept


def test_what_leaves_the_table_takes_its_checkpoint_along() -> None:
    driver = Driver(ended_kept=0)
    driver.run()
    give(driver)
    driver.end(1001, status=3)
    driver.give(after=driver.settings.retention + driver.settings.cleanup_interval)
    assert 1001 not in driver.state.processes
    assert ("checkpoint", 1001) not in driver.rows
