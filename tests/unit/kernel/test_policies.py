"""Who is next: priorities, deadlines, weights; in the core, and as requests."""

import pytest

from dadms_ipc import port, requests
from dadmsd.kernel.core import effects, events
from tests.unit.kernel.driver import NIL, Driver, names, sent

WORKER = "1001.1/w1"


def submit(driver: Driver, pid: int, count: int = 1, *, priority: int = 0, deadline: float | None = None) -> None:
    sequence = driver.process(pid).asked + 1
    driver.give(events.Submitted(f"{pid}.1", port.Submit(sequence, "work", [NIL] * count, priority=priority, deadline=deadline)))


def order(driver: Driver, count: int) -> list[int]:
    """Give the threads that one worker of unknown length gets, one after the other."""
    found = []
    for _ in range(count):
        found.extend(driver.flying(WORKER))
        driver.finish(WORKER)
    return found


def busy(**settings: object) -> tuple[Driver, int]:
    driver = Driver(**settings)
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(WORKER)
    return driver, pid


def test_a_higher_priority_is_sooner_and_equal_ones_keep_their_order() -> None:
    driver, pid = busy()
    submit(driver, pid, 2, priority=-1)
    submit(driver, pid, 2)
    submit(driver, pid, 2, priority=5)
    assert order(driver, 7) == [1, 6, 7, 4, 5, 2, 3]


def test_waiting_makes_up_for_a_low_priority() -> None:
    driver, pid = busy(thread_timeout=1000.0)
    submit(driver, pid, priority=0)
    driver.give(after=11.0)
    submit(driver, pid, priority=1)
    assert order(driver, 3) == [1, 2, 3], "eleven seconds are more than one step"


def test_a_thread_that_waits_is_given_another_priority() -> None:
    driver, pid = busy()
    submit(driver, pid, 4)
    assert driver.answer(requests.SetThreadPriority(4, 3)) == {"tid": 4}
    driver.answer(requests.SetThreadPriority(2, -3))
    driver.next_kernel()
    assert order(driver, 5) == [1, 4, 3, 5, 2]
    assert driver.process(pid).priorities.keys() <= {2, 4}


def test_a_priority_is_bounded() -> None:
    driver, pid = busy()
    submit(driver, pid)
    assert driver.refusal(requests.SetThreadPriority(2, 101)) == "cannot set a priority of 101: -100 to 100"
    submit(driver, pid, priority=-101)
    assert driver.process(pid).refusal == "cannot submit with a priority of -101: -100 to 100"
    for deadline in (0.0, 1e308, float("nan")):
        submit(driver, pid, deadline=deadline)
        assert driver.process(pid).refusal == f"cannot submit with a deadline in {deadline} s: it is above 0, and at most 2592000 s"


def test_a_process_may_steer_its_own_threads() -> None:
    driver, pid = busy()
    submit(driver, pid, 3)
    driver.give(events.SteerAsked(f"{pid}.1", driver.process(pid).asked + 1, "priority", [4], 9))
    assert order(driver, 4) == [1, 4, 2, 3]
    driver.give(events.SteerAsked(f"{pid}.1", driver.process(pid).asked + 1, "dance", [4], 9))
    assert "asks to dance threads" in driver.child(f"{pid}.1").failure


def test_the_earliest_deadline_is_first_under_that_policy() -> None:
    driver, pid = busy(policy="deadline")
    submit(driver, pid)
    submit(driver, pid, deadline=90.0)
    submit(driver, pid, deadline=5.0)
    assert order(driver, 4) == [1, 4, 2, 3], "one without a deadline is wanted within a minute"


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_fair_gives_slots_by_run_time_and_weight(weight: float) -> None:
    driver = Driver(slots=1, policy="fair")
    pids = [driver.run(workers=1), driver.run(workers=1, weight=weight)]
    for pid in pids:
        driver.submit(pid)
    workers: list[str] = []
    for _ in pids:
        name = next(name for name, child in driver.state.children.items() if child.role == "worker" and child.phase == "forking")
        driver.worker(name, 200 + len(workers))
        workers.append(name)
        driver.finish(name, seconds=1.0)
    for pid in pids:
        driver.submit(pid, 8)
    found = []
    for _ in range(8):
        name = next(name for name in workers if driver.flying(name))
        found.append(int(name.partition(".")[0]) - 1000)
        driver.finish(name, seconds=1.0)
    share = found.count(2) / found.count(1)
    assert 0.5 <= share / weight <= 2.0, found


def test_a_worker_is_replaced_after_so_many_threads() -> None:
    driver = Driver()
    pid = driver.run(workers=1, recycle_threads=3)
    driver.submit(pid, 10)
    driver.worker(WORKER)
    driver.finish(WORKER, seconds=0.0001)
    assert driver.flying(WORKER) == [2, 3], "no more than it may run"
    done = driver.finish(WORKER, count=2, seconds=0.0001)
    assert names(done, effects.Retire) == [WORKER]
    assert sent(done) == {}
    driver.give(events.Exited(WORKER, 1, 0, begun=3))
    assert sent(driver.worker(f"{pid}.1/w2", 202)) == {f"{pid}.1/w2": [4, 5, 6]}


def test_a_worker_is_replaced_when_it_is_old_between_two_threads() -> None:
    driver = Driver()
    pid = driver.run(workers=1, recycle_seconds=60.0, thread_timeout=1000.0)
    driver.submit(pid, 2)
    driver.worker(WORKER)
    assert not names(driver.give(after=61.0), effects.Retire)
    assert names(driver.finish(WORKER), effects.Retire) == [WORKER]
