"""Waiting until a process is ready, by who started it and by who only waits: a backoff is an answer for the one, and a delay for the other."""

import pytest

from dadms_ipc import requests
from dadmsd.kernel.core import effects, events
from tests.unit.kernel.driver import Driver, only
from tests.unit.kernel.test_order import waiting
from tests.unit.kernel.test_restarts import command, execute, leave


def answered(done: list[effects.AnyEffect]) -> list[str]:
    """Give the states in which processes were shown to who waited for them."""
    return [each.answer.status for each in only(done, effects.Reply) if isinstance(each.answer, requests.ProcessInfo)]


@pytest.mark.parametrize("until", ["started", "ready"])
def test_a_backoff_answers_who_started_it_and_not_who_waits(until: str) -> None:
    driver = Driver()
    pid = command(driver, backoff=5.0, backoff_jitter=0.0)
    leave(driver, pid)
    assert driver.answer(requests.Wait(pid, until=until)).status == "backoff"
    assert driver.ask(requests.Wait(pid, until=until, is_patient=True)) is None
    assert answered(driver.give(after=5.0)) == []
    name = f"{pid}.2"
    driver.open(name, 101)
    assert answered(driver.give(events.Executed(name))) == ["running"]


def test_who_waits_in_vain_is_answered_when_the_time_is_up_or_it_is_ended_for_good() -> None:
    driver = Driver()
    pid = command(driver, backoff=30.0, backoff_jitter=0.0)
    leave(driver, pid)
    assert driver.ask(requests.Wait(pid, until="ready", timeout=2.0, is_patient=True)) is None
    assert answered(driver.give(after=2.0)) == ["backoff"]
    assert driver.ask(requests.Wait(pid, until="ready", is_patient=True)) is None
    request = events.RequestArrived(b"other", 1, 0, "admin", "uid 0", requests.Stop(pid))
    assert answered(driver.give(request)) == []
    assert answered(driver.give(events.GroupGone(pid, incarnation=1))) == ["stopped"]


def test_one_that_waits_for_another_has_not_started_for_who_waits() -> None:
    driver = Driver()
    first = waiting(driver, name="db", ready="notify")
    second = waiting(driver, after=["db"])
    assert driver.answer(requests.Wait(second, until="started")).status == "waiting"
    assert driver.ask(requests.Wait(second, until="started", is_patient=True)) is None
    execute(driver, first)
    assert driver.process(second).status == "waiting"
