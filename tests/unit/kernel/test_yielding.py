"""Threads that give way: when they are asked, who has their slot meanwhile, how they go on, and what may befall them while they wait."""

import pytest

from dadms_ipc import requests
from dadmsd.kernel.core import effects, events, yielding
from tests.unit.kernel.driver import Driver, names, only, results, sent

W1, W2 = "1001.1/w1", "1001.1/w2"


def crowded(*, slots: int = 1, workers: int = 1, count: int = 2, timeout: float | None = None) -> Driver:
    """Have thread 1 run in the only worker, and others wait."""
    driver = Driver(slots=slots)
    driver.run(workers=workers)
    driver.submit(1001, count, timeout=timeout)
    driver.worker(W1)
    return driver


def give_way(driver: Driver, name: str = W1, number: int = 1) -> list[effects.AnyEffect]:
    """Have the thread that a worker runs give way."""
    return driver.give(events.Yielded(name, number, driver.state.pools[1001].workers[name].head[0]))


def state_of(driver: Driver, tid: int) -> str:
    return str(driver.answer(requests.ShowThread(tid)).state)


def test_a_running_thread_is_asked_once_others_have_waited() -> None:
    """Not at once, not twice, and not where nobody waits."""
    driver = crowded()
    assert not only(driver.give(after=0.015), effects.AskYield)
    assert only(driver.give(after=0.01), effects.AskYield) == [effects.AskYield(W1)]
    assert not only(driver.give(after=0.1), effects.AskYield)
    alone = crowded(count=1)
    assert not only(alone.give(after=1.0), effects.AskYield)


def test_what_gives_way_is_behind_what_waits_and_goes_on_where_it_stood() -> None:
    driver = crowded(count=3)
    give_way(driver)
    assert (state_of(driver, 1), driver.state.slots_held) == ("ready", 0)
    assert sent(driver.worker(W2, 202)) == {W2: [2]}
    assert not only(driver.finish(W2), effects.GoOn), "thread 3 is before it"
    assert driver.flying(W2) == [3]
    assert only(driver.finish(W2), effects.GoOn) == [effects.GoOn(W1, 1)]
    assert (state_of(driver, 1), driver.state.slots_held) == ("running", 1)
    (result,) = results(driver.finish(W1))
    assert (result.tid, result.status) == (1, "completed")


def test_what_comes_later_is_behind_what_gave_way() -> None:
    driver = crowded()
    give_way(driver)
    driver.worker(W2, 202)
    driver.give(after=1.0)
    driver.submit(1001)
    assert only(driver.finish(W2), effects.GoOn) == [effects.GoOn(W1, 1)]
    assert driver.state.pools[1001].ready == 1


def test_priority_goes_before_having_run() -> None:
    driver = crowded()
    give_way(driver)
    driver.worker(W2, 202)
    driver.submit(1001)
    driver.answer(requests.SetThreadPriority(3, 10))
    driver.finish(W2)
    assert driver.flying(W2) == [3]


def test_nobody_gives_way_to_nobody() -> None:
    """A word that comes too late is answered at once."""
    driver = crowded(count=1)
    assert only(give_way(driver), effects.GoOn) == [effects.GoOn(W1, 1)]
    assert driver.state.slots_held == 1


def test_a_process_with_one_worker_gives_way_to_itself() -> None:
    """Slots are free, its place among the workers of its process is what others wait for."""
    driver = crowded(slots=8)
    assert only(driver.give(after=0.03), effects.AskYield) == [effects.AskYield(W1)]
    give_way(driver)
    assert sent(driver.worker(W2, 202)) == {W2: [2]}
    assert only(driver.finish(W2), effects.GoOn)


def test_two_that_give_way_take_turns() -> None:
    driver = crowded()
    give_way(driver)
    driver.worker(W2, 202)
    driver.give(after=0.03)
    assert only(give_way(driver, W2), effects.GoOn) == [effects.GoOn(W1, 1)]
    driver.give(after=0.03)
    assert only(give_way(driver, W1, 2), effects.GoOn) == [effects.GoOn(W2, 1)]
    assert driver.state.slots_held == 1


def test_the_time_of_a_thread_stands_still_while_it_waits() -> None:
    driver = crowded(timeout=2.0)
    driver.give(after=1.5)
    give_way(driver)
    driver.worker(W2, 202)
    assert not names(driver.give(after=1.0), effects.Signal)
    driver.finish(W2)
    assert not names(driver.give(after=0.4), effects.Signal)
    assert driver.answer(requests.ShowThread(1)).run_seconds == pytest.approx(1.9)
    assert names(driver.give(after=0.2), effects.Signal) == [W1]


def test_what_waits_can_be_terminated_and_its_worker_may_die() -> None:
    driver = crowded()
    give_way(driver)
    assert names(driver.cancel(1001, 1), effects.Signal) == [W1]
    (result,) = results(driver.give(events.Exited(W1, 2, 9, begun=1)))
    assert (result.status, driver.state.slots_held) == ("terminated", 0)
    assert sent(driver.worker(W2, 202)) == {W2: [2]}


def test_what_waits_can_be_suspended() -> None:
    """It goes on when it is resumed and a slot is free, with its time where it was."""
    driver = crowded(timeout=2.0)
    give_way(driver)
    driver.answer(requests.SuspendThread(1))
    driver.freeze(W1)
    assert state_of(driver, 1) == "suspended"
    driver.worker(W2, 202)
    assert not only(driver.finish(W2), effects.GoOn)
    driver.next_kernel()
    driver.give(after=5.0)
    done = driver.ask(requests.ResumeThread(1))
    assert done is not None
    assert state_of(driver, 1) == "running"
    assert not driver.child(W1).is_yielded


def test_threads_behind_it_do_not_wait_with_it() -> None:
    driver = Driver(slots=1)
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(W1)
    driver.finish(W1, seconds=0.0001)
    driver.submit(pid, 4)
    assert len(driver.flying(W1)) == 4
    driver.submit(pid, 2000)
    assert names(give_way(driver), effects.FreezeWorker) == [W1]
    done = driver.freeze(W1)
    assert only(done, effects.ThawWorker) == [effects.ThawWorker(W1)]
    assert driver.flying(W1) == [2]
    assert driver.state.slots_held == 0


def test_a_new_kernel_knows_who_waits_and_answers_again() -> None:
    """A word is repeated to it; what was answered before is answered again."""
    driver = crowded()
    give_way(driver)
    driver.next_kernel()
    assert (state_of(driver, 1), driver.state.slots_held) == ("ready", 0)
    assert not only(give_way(driver), effects.GoOn), "it waits on"
    driver.worker(W2, 202)
    assert only(driver.finish(W2), effects.GoOn) == [effects.GoOn(W1, 1)]
    driver.next_kernel()
    assert only(give_way(driver), effects.GoOn) == [effects.GoOn(W1, 1)]
    assert driver.state.slots_held == 1


def test_those_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yielding, "STANDING_MOST", 1)
    driver = crowded(count=3)
    give_way(driver)
    driver.worker(W2, 202)
    assert only(give_way(driver, W2), effects.GoOn) == [effects.GoOn(W2, 1)]
    assert driver.flying(W2) == [2]


def test_a_suspension_of_the_process_costs_a_thread_that_waits_nothing() -> None:
    driver = crowded(timeout=2.0)
    give_way(driver)
    driver.worker(W2, 202)
    driver.answer(requests.Suspend(1001))
    driver.give(events.Frozen(1001, 1))
    driver.give(after=10.0)
    driver.ask(requests.Resume(1001))
    driver.finish(W2)
    assert not names(driver.give(after=1.9), effects.Signal)
    assert names(driver.give(after=0.2), effects.Signal) == [W1]


def test_a_worker_that_says_it_waits_and_goes_on_breaks_the_protocol() -> None:
    driver = crowded()
    give_way(driver)
    driver.finish(W1)
    assert driver.child(W1).intent == "violation"
    driver.give(events.Exited(W1, 2, 9, begun=1))
    assert driver.thread(1).cause == "worker_lost"
