"""When the answer to a submission waits for the result that follows it at once."""

import pytest

from dadms_ipc import port
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.deliveries import ANSWER_SECONDS
from tests.unit.kernel.driver import NIL, Driver


def known(driver: Driver, *, seconds: float) -> int:
    """Start a process with a worker that is idle, whose entry is known to run that long."""
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1")
    driver.finish(f"{pid}.1/w1", seconds=seconds)
    return pid


def told(done: list[effects.AnyEffect]) -> list[str]:
    """Name what a process is told, in order; a result that is the answer to a submission as well is two words of one message."""
    return [_words(effect.message) for effect in done if isinstance(effect, effects.Tell)]


def _words(message: object) -> str:
    name = type(message).__name__
    if not isinstance(message, port.Finished) or not message.submission:
        return name
    assert message.first_tid == message.results[0].tid if message.results else message.runs[0].first_tid
    return f"Accepted and {name}"


def test_a_thread_that_ends_at_once_is_accepted_with_its_result() -> None:
    driver = Driver()
    pid = known(driver, seconds=0.00001)
    assert told(driver.submit(pid)) == []
    assert told(driver.finish(f"{pid}.1/w1", seconds=0.00001)) == ["Accepted and Finished"]


@pytest.mark.parametrize(("seconds", "count"), [(0.1, 1), (0.00001, 2)])
def test_what_may_take_its_time_is_accepted_at_once(seconds: float, count: int) -> None:
    driver = Driver()
    pid = known(driver, seconds=seconds)
    assert told(driver.submit(pid, count)) == ["Accepted"]


def test_nobody_waits_long_for_an_answer() -> None:
    """The thread takes longer than those before it."""
    driver = Driver()
    pid = known(driver, seconds=0.00001)
    driver.submit(pid)
    assert told(driver.give(after=ANSWER_SECONDS)) == ["Accepted"]
    assert told(driver.finish(f"{pid}.1/w1", seconds=1.0)) == ["Finished"]


def test_the_next_submission_has_the_answer_to_the_last_one_given_first() -> None:
    driver = Driver()
    pid = known(driver, seconds=0.00001)
    driver.submit(pid)
    done = driver.give(events.Submitted(f"{pid}.1", port.Submit(driver.process(pid).asked + 1, "work", [NIL])))
    assert told(done) == ["Accepted", "Accepted"]


def test_the_next_kernel_answers() -> None:
    driver = Driver()
    pid = known(driver, seconds=0.00001)
    driver.submit(pid)
    assert "Accepted" in told(driver.next_kernel())


def test_a_worker_that_dies_of_it_does_not_take_the_answer_along() -> None:
    driver = Driver()
    pid = known(driver, seconds=0.00001)
    driver.submit(pid)
    assert told(driver.give(events.Exited(f"{pid}.1/w1", 2, 9, begun=2))) == ["Accepted and Finished"]
