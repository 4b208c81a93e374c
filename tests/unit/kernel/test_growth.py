"""A kernel runs for months: what it keeps is bounded by what lives, not by what has been."""

import gc

import pytest

from dadms_ipc import requests
from dadmsd.kernel.core import events
from dadmsd.kernel.core.deliveries import RESULTS_KEPT
from tests.unit.kernel.driver import Driver
from tests.unit.kernel.test_restarts import command, execute, leave


def cycle(driver: Driver, pid: int) -> None:
    """Run one thread to its end, and have it seen."""
    driver.submit(pid)
    driver.finish(f"{pid}.1/w1")
    driver.give(events.ResultsSeen(f"{pid}.1", driver.process(pid).results))


@pytest.fixture
def busy() -> tuple[Driver, int]:
    """Give a process whose worker has run three deliveries for each that is kept."""
    driver = Driver(thread_timeout=3600.0)
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1")
    driver.finish(f"{pid}.1/w1")
    for _ in range(3 * RESULTS_KEPT):
        cycle(driver, pid)
    return driver, pid


def test_timers_are_as_many_as_workers_not_as_threads(busy: tuple[Driver, int]) -> None:
    """The time-out of each thread is looked at, and none of them is kept for an hour after its thread has ended."""
    driver, _ = busy
    assert len(driver.state._timers) < 15


def test_deliveries_that_were_seen_go(busy: tuple[Driver, int]) -> None:
    """From memory and from the journal; the newest stay for people."""
    driver, pid = busy
    assert RESULTS_KEPT <= len(driver.state.results[pid]) < 2 * RESULTS_KEPT
    rows = [key for table, key in driver.rows if table == "results"]
    assert len(rows) == len(driver.state.results[pid])
    driver.next_kernel()
    assert driver.process(pid).threads_done == 3 * RESULTS_KEPT + 1


def test_a_delivery_stays_while_its_submission_is_open() -> None:
    """However many others come and go: a new kernel would take its thread for one that waits."""
    driver = Driver()
    pid = driver.run(workers=2)
    driver.submit(pid, 2, timeout=1e6)
    driver.worker(f"{pid}.1/w1", 201)
    driver.worker(f"{pid}.1/w2", 202)
    driver.finish(f"{pid}.1/w1")
    for _ in range(3 * RESULTS_KEPT):
        cycle(driver, pid)
    assert driver.state.results[pid][0].first_sequence == 1
    driver.next_kernel()
    assert driver.state.pools[pid].waiting() == [2]


def test_deliveries_that_were_not_seen_stay() -> None:
    """The process has not had them."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 3 * RESULTS_KEPT)
    driver.worker(f"{pid}.1/w1")
    for _ in range(3 * RESULTS_KEPT):
        driver.finish(f"{pid}.1/w1")
    assert len(driver.state.results[pid]) == 3 * RESULTS_KEPT
    driver.end(pid)
    assert len(driver.state.results[pid]) == RESULTS_KEPT, "nobody will have them any more"


def test_a_thousand_processes_leave_as_much_as_are_kept() -> None:
    """No child, pool, owner, result, waiter, timer or row of those that left the table."""
    driver = Driver(ended_kept=5, ended_least=0.0)
    driver.run()
    for _ in range(200):
        pid = driver.run(workers=1)
        driver.submit(pid)
        driver.worker(f"{pid}.1/w1")
        driver.finish(f"{pid}.1/w1")
        driver.give(events.RequestArrived(b"w", pid, 0, "admin", "", requests.Wait(pid, timeout=60.0)))
        driver.end(pid)
        driver.give(after=1.0)
    state = driver.state
    kept = {1001, *list(state.ended)}
    assert len(state.ended) == 5
    assert set(state.processes) == kept
    assert set(state.results) <= kept
    assert list(state.children) == ["zygote/1", "1001.1"]
    assert (set(state.pools), set(state.by_owner), state.waiters, state.watchers) == ({1001}, {1001}, {}, {})
    assert len(state._timers) < 400, "those of the last minute"
    tables = [table for table, _ in driver.rows if table not in ("event", "answered", "life")]
    assert len(tables) == 1 + 6 + 2 + 5, "counters, processes, children, results"
    assert len([table for table, _ in driver.rows if table == "life"]) == 200


def test_a_process_that_ends_with_many_waiting_threads_holds_nobody_up() -> None:
    """They are counted; those that the table shows are told."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 7000)
    driver.worker(f"{pid}.1/w1")
    driver.end(pid)
    assert (driver.process(pid).threads_done, driver.process(pid).threads_failed) == (7000, 7000)
    assert [info.tid for info in driver.state.threads] == list(range(2001, 7001))
    assert not [table for table, _ in driver.rows if table in ("chunk", "batch")]


def test_nothing_is_due_for_ever() -> None:
    """A kernel that handled what was due is not woken for it again, and one that nobody needs sleeps."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, timeout=5.0)
    driver.worker(f"{pid}.1/w1")
    driver.give(events.RequestArrived(b"w", 1, 0, "admin", "", requests.Wait(pid, timeout=7.0)))
    for _ in range(50):
        due = driver.state.next_deadline()
        if due is None:
            break
        assert due >= driver.now
        driver.now = due
        driver.give()
        if f"{pid}.1/w1" in driver.state.children and driver.child(f"{pid}.1/w1").phase == "killing":
            driver.give(events.Exited(f"{pid}.1/w1", 2, 9, begun=1))
    assert driver.state.next_deadline() is None


def test_restarts_leave_nothing_in_memory_or_journal_once_what_is_kept_of_the_past_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of lives of one child later there are as many objects and rows as before."""
    for name, most in (("LIVES_KEPT", 20), ("EVENTS_KEPT", 50), ("FLIGHT_KEPT", 50)):
        monkeypatch.setattr(f"dadmsd.kernel.core.state.{name}", most)
    driver = Driver()
    pid = command(driver, start_limit=0, backoff=0.01, backoff_most=0.01)

    def restart(count: int) -> tuple[int, int, int]:
        for _ in range(count):
            leave(driver, pid)
            driver.give(after=1.0)
            execute(driver, pid)
        for address in [address for address in driver.rows if address[0] == "event"]:
            del driver.rows[address]  # the journal drops the oldest by itself
        gc.collect()
        return len(gc.get_objects()), len(driver.rows), len(driver.state._timers)

    before = restart(200)
    after = restart(400)
    assert driver.process(pid).incarnation == 601
    assert after[0] - before[0] < 100, "objects"
    assert after[1] <= before[1], "rows"
    assert after[2] <= before[2], "timers"
