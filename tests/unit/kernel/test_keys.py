"""Idempotency keys: what is not run again, what it ends with, how long that is remembered."""

import msgspec
import pytest

from dadms_ipc import port, requests
from dadmsd.kernel.core import effects, events, keys
from dadmsd.worker.messages import Outcome, Stretch
from tests.unit.kernel.driver import Driver, results, sent, told

VALUE = msgspec.Raw(msgspec.msgpack.encode("done"))


def keyed(*names: str) -> Driver:
    """Have process 1001 submit a thread for each of these keys, and one worker be ready."""
    driver = Driver()
    pid = driver.run(workers=1, restart="on-failure")
    driver.submit(pid, len(names), keys=list(names))
    driver.worker(f"{pid}.1/w1")
    return driver


def finish(
    driver: Driver, name: str = "1001.1/w1", status: str = "completed", kind: str = "", message: str = ""
) -> list[effects.AnyEffect]:
    """End the thread at the head of a worker."""
    sequence, tid = driver.state.pools[1001].workers[name].head
    return driver.give(events.ResultsRead(name, [Outcome(sequence, tid, status, VALUE, kind, message, run_seconds=0.01)]))


def again(driver: Driver) -> list[tuple[int, str]]:
    """End the main, and have the next incarnation come up; gives the keys that are kept."""
    incarnation = driver.process().incarnation
    driver.give(events.Exited(f"1001.{incarnation}", 2, 9))
    while left := driver.state.owned(1001):
        driver.give(*[events.Exited(child.name, 2, 9) for child in left])
    driver.give(events.GroupGone(1001))
    driver.give(after=60.0)
    if driver.process().status not in ("failed", "killed", "completed"):
        driver.open(f"1001.{incarnation + 1}", 300 + incarnation)
        driver.give(events.MainReady(f"1001.{incarnation + 1}", ["work", "other"], []))
    return [key for table, key in driver.rows if table == "kept"]  # type: ignore[misc]  # (pid, key)


def test_a_key_that_ended_is_given_its_result_at_once() -> None:
    driver = keyed("a")
    finish(driver)
    done = driver.submit(1001, keys=["a"])
    assert told(done, port.Accepted) == [port.Accepted(2, 2)]
    (result,) = results(done)
    assert (result.tid, result.status, result.value, result.repeats) == (2, "completed", VALUE, 1)
    assert not sent(done)
    assert (driver.thread(2).repeats, driver.thread(2).key, driver.thread(2).attempts) == (1, "a", 0)
    assert driver.process().threads_done == 2


def test_a_key_that_is_open_ends_with_the_first() -> None:
    driver = keyed("a", "b", "a")
    driver.submit(1001, keys=["a"])
    assert [driver.answer(requests.ShowThread(tid)).state for tid in (1, 2, 3, 4)] == ["running", "ready", "waiting", "waiting"]
    assert [driver.answer(requests.ShowThread(tid)).repeats for tid in (1, 2, 3, 4)] == [0, 0, 1, 1]
    assert [(result.tid, result.repeats) for result in results(finish(driver))] == [(1, 0), (3, 1), (4, 1)]
    finish(driver)
    assert not driver.state.keyed[1001].key_of


@pytest.mark.parametrize(("kind", "is_kept"), [("ValueError", True), ("result-too-large", True), ("MemoryError", False)])
def test_what_the_entry_came_to_by_itself_is_kept(kind: str, *, is_kept: bool) -> None:
    driver = keyed("a")
    finish(driver, status="error", kind=kind, message="no")
    ended = results(driver.submit(1001, keys=["a"]))
    assert [(each.status, each.kind, each.repeats) for each in ended] == ([("error", kind, 1)] if is_kept else [])


def test_what_was_terminated_or_lost_may_run_again() -> None:
    driver = keyed("a", "b")
    driver.give(events.Exited("1001.1/w1", 2, 9, begun=1))
    driver.cancel(1001, 2)
    driver.submit(1001, 2, keys=["a", "b"])
    assert sent(driver.worker("1001.1/w2", 202)) == {"1001.1/w2": [3]}
    assert driver.state.pools[1001].ready == 1


def test_one_that_waits_for_another_can_be_given_up_alone_and_suspended() -> None:
    driver = keyed("a", "a", "a")
    assert [(each.tid, each.status) for each in results(driver.cancel(1001, 2))] == [(2, "terminated")]
    driver.answer(requests.SuspendThread(3))
    assert driver.answer(requests.ShowThread(3)).state == "suspended"
    driver.next_kernel()
    assert driver.answer(requests.ShowThread(3)).state == "suspended"
    driver.answer(requests.ResumeThread(3))
    assert driver.answer(requests.ShowThread(3)).state == "waiting"
    driver.answer(requests.SuspendThread(3))
    driver.give(events.WorkerReady("1001.1/w1"))
    assert [each.tid for each in results(finish(driver))] == [1, 3]


def test_who_is_given_up_takes_those_with_it_that_wait_for_it() -> None:
    driver = keyed("b", "a", "a")
    assert [(each.tid, each.status, each.repeats) for each in results(driver.cancel(1001, 2))] == [
        (2, "terminated", 0),
        (3, "terminated", 2),
    ]


def test_the_next_incarnation_gets_what_was_done() -> None:
    """What was not done runs again; what is asked for in between is no different."""
    driver = keyed("a", "b")
    finish(driver)
    assert again(driver) == [(1001, "a")]
    driver.next_kernel()
    done = driver.submit(1001, 2, keys=["a", "b"])
    assert [(each.tid, each.repeats) for each in results(done)] == [(3, 1)]
    assert driver.state.pools[1001].ready == 1


def test_a_new_kernel_knows_who_waits_for_whom() -> None:
    driver = keyed("a", "b", "a")
    driver.next_kernel()
    driver.give(events.WorkerReady("1001.1/w1"))
    assert [(each.tid, each.repeats) for each in results(finish(driver))] == [(1, 0), (3, 1)]


def test_keys_are_kept_until_the_process_ends_for_good() -> None:
    driver = keyed("a")
    finish(driver)
    driver.answer(requests.Kill(1001, force=True))
    assert not again(driver)
    assert not driver.state.keyed


def test_the_oldest_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and by bytes; that it did is told."""
    monkeypatch.setattr(keys, "KEPT_MOST", 2)
    driver = keyed("a", "b", "c")
    for _ in range(3):
        finish(driver)
    assert list(driver.state.keyed[1001].kept) == ["b", "c"]
    assert driver.kinds("threads.keys") == ["threads.keys_dropped"]
    monkeypatch.setattr(keys, "KEPT_BYTES", 450)
    driver.submit(1001, keys=["d"])
    finish(driver)
    assert list(driver.state.keyed[1001].kept) == ["d"]
    assert [key for table, key in driver.rows if table == "kept"] == [(1001, "d")]


ONE, TWO = (msgspec.Raw(msgspec.msgpack.encode(number)) for number in (1, 2))


def ask(driver: Driver, *submitted: tuple[str, msgspec.Raw], entry: str = "work") -> list[effects.AnyEffect]:
    """Have process 1001 submit an argument for each key."""
    process = driver.process()
    keys, arguments = [key for key, _ in submitted], [argument for _, argument in submitted]
    return driver.give(
        events.Submitted(f"1001.{process.incarnation}", port.Submit(process.asked + 1, entry, arguments, [], None, keys=keys))
    )


def started() -> Driver:
    driver = Driver()
    driver.run(workers=1, restart="on-failure")
    ask(driver, ("a", ONE))
    driver.worker("1001.1/w1")
    return driver


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_key_that_is_open_is_refused_with_other_work(restarts: int) -> None:
    driver = started()
    for _ in range(restarts):
        driver.next_kernel()
    (refused,) = told(ask(driver, ("b", ONE), ("a", TWO)), port.Refused)
    assert refused.reason == 'cannot submit "work" with another argument with the key "a": thread 1, which is open, is "work" with its own'
    (refused,) = told(ask(driver, ("a", ONE), entry="other"), port.Refused)
    assert refused.reason == 'cannot submit "other" with the key "a": thread 1, which is open, is "work" with it'
    assert told(ask(driver, ("a", ONE)), port.Accepted), "the same is the same"


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_key_that_has_ended_is_refused_with_other_work(restarts: int) -> None:
    driver = started()
    finish(driver)
    for _ in range(restarts):
        driver.next_kernel()
    (refused,) = told(ask(driver, ("a", TWO)), port.Refused)
    assert (
        refused.reason == 'cannot submit "work" with another argument with the key "a": thread 1, which has ended, is "work" with its own'
    )
    (refused,) = told(ask(driver, ("a", ONE), entry="other"), port.Refused)
    assert refused.reason == 'cannot submit "other" with the key "a": thread 1, which has ended, is "work" with it'
    assert [each.repeats for each in results(ask(driver, ("a", ONE)))] == [1]


def test_a_key_that_became_free_may_be_of_other_work() -> None:
    driver = started()
    driver.give(events.Exited("1001.1/w1", 2, 9, begun=1))
    assert told(ask(driver, ("a", TWO)), port.Accepted)


def test_two_of_one_submission_with_one_key_have_to_be_the_same() -> None:
    driver = started()
    (refused,) = told(ask(driver, ("", ONE), ("b", ONE), ("b", TWO)), port.Refused)
    assert (
        refused.reason
        == 'cannot submit "work" with another argument with the key "b": number 2 of the same submission is "work" with its own'
    )
    assert told(ask(driver, ("b", ONE), ("b", ONE)), port.Accepted)


def test_the_order_of_the_keys_of_a_map_does_not_matter() -> None:
    """And what cannot be sorted is compared as it came."""
    driver = started()
    maps = [{"x": 1, "y": [2, {"p": 1, "q": 2}]}, {"y": [2, {"q": 2, "p": 1}], "x": 1}]
    first, second = (msgspec.Raw(msgspec.msgpack.encode(each)) for each in maps)
    odd = msgspec.Raw(msgspec.msgpack.encode({1: 1, "a": 2, None: 3}))
    ask(driver, ("m", first), ("odd", odd))
    assert told(ask(driver, ("m", second), ("odd", odd)), port.Accepted)


def test_a_row_of_an_older_kernel_takes_any_work() -> None:
    driver = started()
    finish(driver)
    driver.state.keyed[1001].kept["a"].digest = b""
    assert [each.repeats for each in results(ask(driver, ("a", TWO)))] == [1]


def test_what_gave_way_is_counted_over_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "KEPT_MOST", 1)
    driver = keyed("a", "b", "c")
    for _ in range(3):
        finish(driver)
    driver.next_kernel()
    assert driver.answer(requests.Status(1001)).keys_dropped == 2


def test_short_threads_with_keys_are_kept_as_well() -> None:
    driver = keyed("a", "b")
    flying = list(driver.state.pools[1001].workers["1001.1/w1"].in_flight)
    driver.give(events.ResultsRead("1001.1/w1", [Stretch(*flying[0], 1000.0, [VALUE], [0.0001])]))
    assert [each.value for each in results(driver.submit(1001, keys=["a"]))] == [VALUE]


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (["a"], "cannot submit 2 threads with 1 keys"),
        (["a", "x" * 201], "cannot submit with a key of 201 characters: at most 200"),
        (["c", ""], "cannot submit 2 threads with keys: 1 with keys are open already, at most 2 may be"),
    ],
)
def test_keys_that_cannot_be_are_refused(monkeypatch: pytest.MonkeyPatch, named: list[str], words: str) -> None:
    monkeypatch.setattr(keys, "OPEN_MOST", 2)
    driver = keyed("b")
    assert told(driver.submit(1001, 2, keys=named), port.Refused) == [port.Refused(2, words)]


def test_no_key_is_no_key() -> None:
    driver = keyed("", "")
    finish(driver)
    assert not results(driver.submit(1001, keys=[""]))
    assert not driver.state.keyed[1001].kept
