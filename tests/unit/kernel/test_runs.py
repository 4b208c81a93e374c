"""Short threads in columns: what a stretch of a page becomes in the core, its journal, its events and its tables."""

import msgspec

from dadms_ipc import port, requests
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.deliveries import TOLD_ONE_BY_ONE, TOLD_SECONDS
from dadmsd.worker.messages import Stretch
from tests.unit.kernel.driver import NIL, Driver, only, short


def run(driver: Driver, name: str, count: int, *, values: list[object] | None = None, seconds: float = 0.0001) -> list[effects.AnyEffect]:
    """Have a worker end its next threads as one stretch."""
    sequence, tid = driver.state.pools[driver.child(name).pid].workers[name].head
    encoded = [msgspec.Raw(msgspec.msgpack.encode(value)) for value in values or range(count)]
    return driver.give(events.ResultsRead(name, [Stretch(sequence, tid, 7.0, encoded, [seconds] * count)]))


def finished(done: list[effects.AnyEffect]) -> port.Finished:
    (message,) = [effect.message for effect in only(done, effects.Tell) if isinstance(effect.message, port.Finished)]
    return message


def test_a_stretch_is_delivered_as_one_run_and_shown_a_line_a_thread() -> None:
    driver = Driver()
    pid = short(driver, count=30)
    message = finished(run(driver, f"{pid}.1/w1", 30))
    assert (message.sequence, message.results, len(message.runs)) == (31, [], 1)
    assert [msgspec.msgpack.decode(result.value) for result in message.runs[0].results()] == list(range(30))
    assert driver.process(pid).threads_done == 31
    shown = driver.answer(requests.Threads(pid))
    assert [info.tid for info in shown] == list(range(1, 32))
    assert {info.state for info in shown} == {"completed"}
    assert driver.state.slots_held == 0


def test_a_stretch_over_two_submissions_is_two_runs() -> None:
    driver = Driver()
    pid = short(driver, count=3)
    name = f"{pid}.1/w1"
    driver.submit(pid, 4)
    driver.finish(name, count=3, seconds=0.00001)
    driver.submit(pid, 2)
    driver.submit(pid, 5)
    driver.finish(name, count=4, seconds=0.00001)
    assert driver.flying(name) == list(range(9, 16))
    runs = [part for count in (2, 5) for part in finished(run(driver, name, count)).runs]
    assert [(part.first_tid, len(part.values)) for part in runs] == [(9, 2), (11, 5)]


def test_what_was_recorded_of_a_stretch_is_not_recorded_again() -> None:
    """A kernel died between journal and page; the next one reads all of the stretch, and what came to it since."""
    driver = Driver()
    pid = short(driver, count=10)
    name = f"{pid}.1/w1"
    run(driver, name, 4)
    driver.next_kernel()
    encoded = [msgspec.Raw(msgspec.msgpack.encode(value)) for value in range(7)]
    message = finished(driver.give(events.ResultsRead(name, [Stretch(2, 2, 7.0, encoded, [0.0001] * 7)])))
    assert [(part.first_tid, part.values) for part in message.runs] == [(6, encoded[4:])]
    assert driver.process(pid).threads_done == 8
    again = driver.give(events.ResultsRead(name, [Stretch(2, 2, 7.0, encoded, [0.0001] * 7)]))
    assert again == [effects.Consume(name, 8)]


def test_a_stretch_of_threads_that_were_not_given_ends_the_worker() -> None:
    driver = Driver()
    pid = short(driver, count=5)
    name = f"{pid}.1/w1"
    driver.give(events.ResultsRead(name, [Stretch(2, 3, 7.0, [NIL], [0.1])]))
    assert driver.child(name).phase == "killing"
    assert "that it was not given" in driver.child(name).failure


def test_an_unseen_run_is_told_again_by_the_next_kernel() -> None:
    driver = Driver()
    pid = short(driver, count=5)
    first = finished(run(driver, f"{pid}.1/w1", 5))
    told = [effect.message for effect in only(driver.next_kernel(), effects.Tell) if isinstance(effect.message, port.Finished)]
    assert first in told
    driver.give(events.ResultsSeen(f"{pid}.1", 6))
    assert not [effect for effect in only(driver.next_kernel(), effects.Tell) if isinstance(effect.message, port.Finished)]


def test_many_short_ends_are_counted_and_told_at_intervals() -> None:
    driver = Driver()
    pid = short(driver, count=200)
    name = f"{pid}.1/w1"
    driver.give(after=1.0)
    before = len(driver.kinds("thread.completed"))
    run(driver, name, 10)
    assert len(driver.kinds("thread.completed")) == before + 10
    run(driver, name, 10)
    run(driver, name, 5)
    assert len(driver.kinds("thread.completed")) == before + 10, f"at most {TOLD_ONE_BY_ONE} are told one by one"
    assert driver.kinds("threads.ended") == []
    driver.give(after=TOLD_SECONDS)
    (info,) = [info for info in driver.state.events if info.kind == "threads.ended"]
    assert info.data == {"count": 15, "failed": 0}


def test_a_condemned_thread_that_is_quicker_stays_completed() -> None:
    driver = Driver()
    pid = short(driver, count=5)
    driver.cancel(pid, 4)
    run(driver, f"{pid}.1/w1", 5)
    assert driver.thread(4).state == "completed"
    assert not driver.state.pools[pid].condemned
