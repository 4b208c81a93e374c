"""Threads that are tried again: which, when, how often, and what is known of it."""

from typing import Any

import pytest

from dadms_ipc import port, requests
from dadms_ipc.port import Retry
from dadmsd.kernel.core import effects, events, retrying
from dadmsd.kernel.core.records import Chunk
from dadmsd.worker.messages import Outcome
from tests.unit.kernel.driver import NIL, Driver, results, sent, told

STEADY = Retry(attempts=3, backoff="fixed", delay=5.0, jitter=0.0)


def begun(retry: Retry | None, **fields: Any) -> Driver:
    """Have thread 1 run in the only worker of process 1001."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, retry=retry, **fields)
    driver.worker(f"{pid}.1/w1")
    return driver


def fail(driver: Driver, name: str = "1001.1/w1", kind: str = "ValueError", **fields: Any) -> list[effects.AnyEffect]:
    """Have the entry of the thread at the head of a worker raise."""
    return driver.finish(name, status="error", kind=kind, message="no", **fields)


def shown(driver: Driver, tid: int = 1) -> requests.ThreadInfo:
    """Show a thread."""
    info = driver.answer(requests.ShowThread(tid))
    assert isinstance(info, requests.ThreadInfo)
    return info


def test_a_thread_that_fails_is_tried_again_after_its_pause() -> None:
    """It waits without a slot; the process hears of the last attempt alone, and of how many there were."""
    driver = begun(STEADY)
    done = fail(driver)
    assert not results(done)
    assert driver.state.slots_held == 0
    info = shown(driver)
    assert (info.state, info.attempts, info.due_at) == ("waiting", 1, 1005.0)
    assert [(each.cause, each.message, each.worker) for each in info.tried] == [("exception", "ValueError: no", 1)]
    assert not sent(driver.give(after=4.9))
    assert sent(driver.give(after=0.2)) == {"1001.1/w1": [1]}
    assert (shown(driver).state, shown(driver).attempts) == ("running", 2)
    fail(driver)
    driver.give(after=5.1)
    (result,) = results(driver.finish("1001.1/w1"))
    assert (result.status, result.attempts) == ("completed", 3)
    assert [each.cause for each in shown(driver).tried] == ["exception", "exception"]
    assert driver.kinds("thread.retrying") == ["thread.retrying"] * 2
    assert not any(table == "tries" for table, _ in driver.rows)


def test_the_last_attempt_is_the_last() -> None:
    driver = begun(STEADY)
    for _ in range(2):
        fail(driver)
        driver.give(after=5.1)
    (result,) = results(fail(driver))
    assert (result.status, result.cause, result.attempts) == ("error", "exception", 3)
    assert driver.process().threads_failed == 1


def test_a_thread_without_a_policy_is_begun_once() -> None:
    driver = begun(None)
    (result,) = results(fail(driver))
    assert (result.status, result.attempts) == ("error", 1)


@pytest.mark.parametrize(
    ("on", "kind", "code", "again"),
    [
        (("exception",), "ValueError", "", True),
        (("ValueError",), "ValueError", "", True),
        (("KeyError", "OSError"), "ValueError", "", False),
        (("timed_out", "worker_lost"), "ValueError", "", False),
        (("exception",), "MemoryError", "", False),
        (("oom",), "MemoryError", "", True),
        (("MemoryError",), "MemoryError", "", True),
        (("exception",), "result-too-large", "", False),
        (("result",), "result-too-large", "", True),
        (("exception",), "Rejected", "E1", False),
        (("Rejected",), "Rejected", "E1", True),
    ],
)
def test_what_is_tried_again_is_what_the_policy_names(on: tuple[str, ...], kind: str, code: str, *, again: bool) -> None:
    """Causes, or classes by name; a BPMN error, which is raised on purpose, by name alone."""
    driver = begun(Retry(attempts=2, on=on))
    assert bool(results(fail(driver, kind=kind, code=code))) != again


def test_a_lost_worker_is_a_cause() -> None:
    driver = begun(Retry(attempts=2, backoff="fixed", delay=1.0, jitter=0.0, on=("worker_lost",)))
    assert not results(driver.give(events.Exited("1001.1/w1", 2, 11, begun=1)))
    assert shown(driver).tried[0].message == "its worker w1 (pid 201) ended by signal 11"
    driver.give(after=1.1)
    assert sent(driver.worker("1001.1/w2", 202)) == {"1001.1/w2": [1]}
    (result,) = results(driver.give(events.Exited("1001.1/w2", 2, 11, begun=1)))
    assert (result.cause, result.attempts) == ("worker_lost", 2)


def test_a_time_out_is_a_cause_and_each_attempt_has_its_own_time() -> None:
    driver = begun(Retry(attempts=2, backoff="fixed", delay=1.0, jitter=0.0), timeout=2.0)
    driver.give(after=2.1)
    driver.give(events.Exited("1001.1/w1", 2, 9, begun=1))
    assert shown(driver).tried[0].cause == "timed_out"
    driver.give(after=1.1)
    driver.worker("1001.1/w2", 202)
    driver.give(after=1.9)
    assert shown(driver).state == "running"
    (result,) = results(driver.finish("1001.1/w2"))
    assert (result.status, result.attempts) == ("completed", 2)


def test_what_was_given_up_is_not_tried_again_however_it_ends() -> None:
    """Its worker may be quicker than its end, in either way."""
    for end in (
        lambda driver: driver.give(events.Exited("1001.1/w1", 2, 9, begun=1)),
        lambda driver: driver.give(events.Exited("1001.1/w1", 2, 11, "worker", begun=1)),
        fail,
    ):
        driver = begun(STEADY)
        driver.cancel(1001, 1)
        assert len(results(end(driver))) == 1
        assert not driver.state.pools[1001].tries


def test_one_that_waits_can_be_given_up() -> None:
    driver = begun(STEADY)
    fail(driver)
    (result,) = results(driver.cancel(1001, 1))
    assert (result.status, result.attempts) == ("terminated", 1)
    assert not sent(driver.give(after=6.0))


def test_one_that_waits_can_be_suspended_before_and_after_its_time() -> None:
    """Resumed in time it waits on, resumed late it is ready; the pause runs on meanwhile."""
    driver = begun(STEADY)
    fail(driver)
    driver.answer(requests.SuspendThread(1))
    assert shown(driver).state == "suspended"
    driver.give(after=1.0)
    driver.answer(requests.ResumeThread(1))
    assert (shown(driver).state, shown(driver).due_at) == ("waiting", 1005.0)
    driver.answer(requests.SuspendThread(1))
    assert not sent(driver.give(after=10.0))
    driver.answer(requests.ResumeThread(1))
    assert shown(driver).state == "running"


def test_one_that_fails_while_it_is_to_stand_still_stands_still() -> None:
    driver = begun(STEADY)
    driver.answer(requests.SuspendThread(1))
    fail(driver)
    driver.freeze("1001.1/w1")
    assert shown(driver).state == "suspended"
    assert not sent(driver.give(after=10.0))
    driver.next_kernel()
    assert shown(driver).state == "suspended"
    driver.answer(requests.ResumeThread(1))
    driver.give(events.WorkerReady("1001.1/w1"))
    assert shown(driver).state == "running"


def test_one_that_waits_takes_another_priority() -> None:
    driver = begun(STEADY)
    driver.submit(1001, 2)
    fail(driver)
    driver.answer(requests.SetThreadPriority(1, -50))
    driver.give(after=5.1)
    driver.finish("1001.1/w1")
    assert driver.flying("1001.1/w1") == [3]
    driver.finish("1001.1/w1")
    assert driver.flying("1001.1/w1") == [1]


def test_a_new_kernel_knows_the_attempts_and_the_time() -> None:
    driver = begun(STEADY)
    fail(driver)
    driver.next_kernel()
    info = shown(driver)
    assert (info.state, info.attempts, info.due_at) == ("waiting", 1, 1005.0)
    driver.give(events.WorkerReady("1001.1/w1"), after=4.0)
    assert sent(driver.give(after=1.1)) == {"1001.1/w1": [1]}
    driver.next_kernel()
    assert shown(driver).state == "running"
    (result,) = results(driver.finish("1001.1/w1"))
    assert (result.status, result.attempts) == ("completed", 2)


def test_a_retry_writes_no_chunk_anew() -> None:
    """One of ten thousand that fails costs a row of its own."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 1000, retry=STEADY)
    driver.worker(f"{pid}.1/w1")
    flying = list(driver.state.pools[pid].workers[f"{pid}.1/w1"].in_flight)
    driver.kernel.handle(
        [events.ResultsRead(f"{pid}.1/w1", [Outcome(*flying[0], "error", NIL, "ValueError", "no")])], now=driver.now, wall=1000.0
    )
    written = driver.kernel.take_rows()
    assert ("tries", 1) in written
    assert not any(isinstance(row, Chunk) for row in written.values())


def test_a_thread_that_is_tried_again_completes_among_short_ones() -> None:
    """A run of short threads says nothing of attempts; this one is told alone."""
    driver = begun(Retry(attempts=2, backoff="fixed", delay=0.0))
    fail(driver, seconds=0.0001)
    driver.give()
    (flying,) = driver.state.pools[1001].workers["1001.1/w1"].in_flight
    from dadmsd.worker.messages import Stretch

    done = driver.give(events.ResultsRead("1001.1/w1", [Stretch(*flying, 1000.0, [NIL], [0.0001])]))
    assert [(result.tid, result.attempts) for result in results(done)] == [(1, 2)]
    assert not told(done, port.Finished)[0].runs


def test_the_end_of_a_process_ends_what_waits() -> None:
    driver = begun(STEADY)
    fail(driver)
    driver.end(1001)
    assert driver.thread(1).state == "terminated"
    assert not any(table == "tries" for table, _ in driver.rows)


def test_a_process_that_ends_tries_nothing_again() -> None:
    driver = begun(STEADY)
    driver.answer(requests.Kill(1001))
    assert len(results(fail(driver))) == 1


def test_many_that_fail_at_once_are_counted() -> None:
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, retry=STEADY)
    driver.worker(f"{pid}.1/w1")
    driver.finish(f"{pid}.1/w1", seconds=0.0001)
    driver.submit(pid, 40, retry=STEADY)
    name = f"{pid}.1/w1"
    driver.give(after=1.0)
    driver.finish(name, count=len(driver.flying(name)), status="error", kind="ValueError", seconds=0.0001)
    driver.give(after=0.2)
    assert driver.kinds("thread.retrying") == ["thread.retrying"] * 16
    (info,) = [info for info in driver.state.events if info.kind == "threads.retrying"]
    assert info.data == {"count": len(driver.state.pools[pid].tries) - 16}


@pytest.mark.parametrize(
    ("backoff", "pauses"), [("fixed", [2.0, 2.0, 2.0, 2.0]), ("linear", [2.0, 4.0, 6.0, 7.0]), ("exponential", [2.0, 4.0, 7.0, 7.0])]
)
def test_pauses_grow_as_the_policy_says_up_to_its_ceiling(backoff: str, pauses: list[float]) -> None:
    policy = Retry(backoff=backoff, delay=2.0, ceiling=7.0, jitter=0.0)
    assert [retrying.pause_before(b"k", policy, 1, retry) for retry in (1, 2, 3, 4)] == pauses


def test_jitter_takes_a_part_off_and_repeats() -> None:
    policy = Retry(backoff="fixed", delay=2.0, ceiling=7.0, jitter=0.5)
    drawn = [retrying.pause_before(b"k", policy, tid, 1) for tid in range(200)]
    assert drawn == [retrying.pause_before(b"k", policy, tid, 1) for tid in range(200)]
    assert all(1.0 <= pause <= 2.0 for pause in drawn)
    assert min(drawn) < 1.1 < 1.9 < max(drawn)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Retry(attempts=0), "attempts is 0, it can be from 1 to 100"),
        (Retry(attempts=101), "attempts is 101, it can be from 1 to 100"),
        (Retry(delay=float("nan")), "delay is nan, it can be from 0 to 604800"),
        (Retry(ceiling=-1.0), "ceiling is -1, it can be from 0 to 604800"),
        (Retry(jitter=1.5), "jitter is 1.5, it can be from 0 to 1"),
        (Retry(backoff="often"), 'no backoff "often"; there are fixed, linear, exponential'),
        (Retry(on=()), "it names 0 conditions, it can name 1 to 100"),
        (Retry(on=("terminated",)), "what was terminated is never tried again: somebody gave it up"),
        (Retry(on=("x" * 201,)), "a condition has 201 characters, it can have 200"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(policy: Retry, words: str) -> None:
    driver = Driver()
    pid = driver.run()
    assert told(driver.submit(pid, retry=policy), port.Refused) == [port.Refused(1, f"cannot submit with this retry policy: {words}")]


def test_a_batch_is_sent_in_its_order_whatever_that_is() -> None:
    """Numbers that do not rise are no span, though first and last would fit."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1")
    driver.finish(f"{pid}.1/w1", seconds=0.0001)
    for count in (1, 1, 5):
        driver.submit(pid, count)
    driver.answer(requests.SetThreadPriority(4, 20))
    driver.answer(requests.SetThreadPriority(6, 10))
    driver.finish(f"{pid}.1/w1", seconds=0.0001)
    flying = driver.flying(f"{pid}.1/w1")
    assert flying == [3, 4, 6, 5, 7, 8]
    done = driver.next_kernel()
    assert sent(done) == {f"{pid}.1/w1": flying}
