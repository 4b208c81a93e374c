"""Async workers in the core: many threads in each, no slot, results in any order, one cancelled alone; and a kernel that dies in between."""

from typing import Any

import pytest

from dadms_ipc.port import Declaration, Retry
from dadms_ipc.requests import Kill, KillThread, Resume, ResumeThread, ShowThread, Status, Suspend, SuspendThread, Threads
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.looping import CANCEL_GRACE, LOOPS_MOST
from dadmsd.worker.messages import Outcome, Stretch
from tests.unit.kernel.driver import NIL, Driver, names, only, results, sent

W1 = "1001.1/w1"


def looping(count: int = 0, *, at_once: int = 4, **changes: Any) -> tuple[Driver, int]:
    """Start a process with the async entry "ask" and submit threads of it; its first worker is up."""
    driver = Driver(**changes)
    pid = driver.run(workers=1, declarations=[Declaration("ask", is_async=True, at_once=at_once)])
    if count:
        driver.submit(pid, count, entry="ask")
        driver.worker(W1)
    return driver, pid


def land(driver: Driver, name: str, *tids: int, status: str = "completed", first: int = 0, **fields: Any) -> list[effects.AnyEffect]:
    """Have threads of an async worker end, in this order."""
    first = first or driver.child(name).done_sequence + 1
    outcomes = [Outcome(sequence, tid, status, NIL, **{"run_seconds": 0.1, **fields}) for sequence, tid in enumerate(tids, first)]
    return driver.give(events.ResultsRead(name, outcomes))


def state(driver: Driver, tid: int) -> str:
    """Give the state that is shown of a thread."""
    return str(driver.answer(ShowThread(tid)).state)


def test_what_waits_goes_to_one_worker_up_to_its_number_and_holds_no_slot() -> None:
    driver, pid = looping()
    done = driver.submit(pid, 3, entry="ask")
    assert names(done, effects.Fork) == [W1]
    assert sent(driver.worker(W1)) == {W1: [1, 2, 3]}
    assert {state(driver, tid) for tid in (1, 2, 3)} == {"waiting"}
    assert driver.state.slots_held == 0
    assert sent(driver.submit(pid, 2, entry="ask")) == {W1: [4]}
    assert "1001.1/w2" in driver.state.children, "there is one that nobody has room for"


def test_ends_come_in_any_order_and_make_room() -> None:
    driver, _ = looping(4)
    done = land(driver, W1, 3, 1)
    assert [result.tid for result in results(done)] == [3, 1]
    assert only(done, effects.Consume) == [effects.Consume(W1, 2)]
    assert [state(driver, tid) for tid in (1, 2, 3, 4)] == ["completed", "waiting", "completed", "waiting"]
    assert land(driver, W1, 3, 1, first=1) == [effects.Consume(W1, 2)], "what is known is dropped"
    land(driver, W1, 4, 2)
    assert not [key for key in driver.rows if key[0] == "batch"]
    assert not driver.state.pools[1001].workers[W1].is_busy


def test_a_next_kernel_sends_again_only_what_may_not_have_arrived() -> None:
    driver, pid = looping(2)
    driver.submit(pid, 2, entry="ask")
    land(driver, W1, 2)
    done = driver.next_kernel()
    assert sent(done) == {W1: [3, 4]}, "of the first batch, one has ended: it has arrived"
    assert only(done, effects.SendBatch)[0].first_sequence == 3
    assert [result.tid for result in results(land(driver, W1, 2, 4, 1, 3, first=1))] == [4, 1, 3]


def test_workers_of_a_kind_are_bounded_and_the_rest_waits() -> None:
    driver, pid = looping()
    done = driver.submit(pid, 100, entry="ask")
    assert len(names(done, effects.Fork)) == LOOPS_MOST
    for number in range(1, LOOPS_MOST + 1):
        driver.worker(f"1001.1/w{number}", 200 + number)
    assert driver.state.pools[pid].ready == 100 - 4 * LOOPS_MOST
    assert sent(land(driver, W1, 1, 2)) == {W1: [17, 18]}


@pytest.mark.parametrize("slots", [1, 8])
def test_plain_threads_get_the_slots_whatever_waits(slots: int) -> None:
    driver, pid = looping(4, slots=slots)
    done = driver.submit(pid, 1)
    assert names(done, effects.Fork) == ["1001.1/w2"]
    assert sent(driver.worker("1001.1/w2", 202)) == {"1001.1/w2": [5]}
    assert driver.state.slots_held == 1
    assert driver.finish("1001.1/w2")
    assert driver.state.slots_held == 0


def test_one_is_cancelled_alone_and_ends_as_was_asked() -> None:
    driver, _ = looping(3)
    done = driver.give(events.RequestArrived(b"k", 1, 0, "admin", "uid 0", KillThread(2)))
    assert only(done, effects.SteerWorker, effects.Signal) == [effects.SteerWorker(W1, "cancel", [2])]
    assert not only(driver.cancel(1001, 2), effects.SteerWorker), "it is cancelled once"
    (result,) = results(land(driver, W1, 2, status="cancelled", kind="CancelledError"))
    assert (result.status, result.cause, result.message, result.kind) == ("terminated", "terminated", "was terminated by uid 0", "")
    assert [state(driver, tid) for tid in (1, 2, 3)] == ["waiting", "terminated", "waiting"]
    assert driver.give(after=CANCEL_GRACE + 1) == []


def test_one_that_was_quicker_than_its_cancellation_has_completed() -> None:
    driver, _ = looping(2)
    driver.cancel(1001, 2)
    (result,) = results(land(driver, W1, 2))
    assert result.status == "completed"
    assert not driver.state.pools[1001].condemned


def test_one_that_does_not_end_in_its_grace_costs_the_worker() -> None:
    driver, _ = looping(3)
    driver.cancel(1001, 2)
    assert not only(driver.give(after=CANCEL_GRACE - 0.1), effects.Signal)
    assert only(driver.give(after=0.2), effects.Signal) == [effects.Signal(W1, 9)]
    ended = {result.tid: result for result in results(driver.give(events.Exited(W1, 2, 9, begun=3)))}
    assert {tid: (result.status, result.cause) for tid, result in ended.items()} == {
        1: ("error", "worker_lost"),
        2: ("terminated", "terminated"),
        3: ("error", "worker_lost"),
    }
    assert "ended by signal 9, since it did not end a thread that was terminated; 3 threads ran in it" in ended[1].message
    assert "nobody can tell" not in ended[1].message, "it is known for whose sake its worker was ended"


def test_its_time_begins_when_it_is_handed_out_and_ends_it_alone() -> None:
    driver, pid = looping(2)
    driver.give(after=20.0)
    driver.submit(pid, 2, entry="ask", timeout=5.0)
    assert only(driver.give(after=5.1), effects.SteerWorker) == [
        effects.SteerWorker(W1, "cancel", [3]),
        effects.SteerWorker(W1, "cancel", [4]),
    ]
    land(driver, W1, 3, 4, status="cancelled")
    assert driver.thread(3).message == "did not end within 5 s"
    assert {effect.tids[0] for effect in only(driver.give(after=5.0), effects.SteerWorker)} == {1, 2}


@pytest.mark.parametrize("dies", [False, True])
def test_what_had_begun_in_a_lost_worker_is_lost_and_the_rest_goes_back(*, dies: bool) -> None:
    driver, _ = looping(4)
    land(driver, W1, 4)
    if dies:
        driver.next_kernel()
    done = driver.give(events.Exited(W1, 2, 11, begun=2))
    assert {(result.tid, result.cause) for result in results(done)} == {(1, "worker_lost"), (2, "worker_lost")}
    assert names(done, effects.Fork) == ["1001.1/w2"]
    assert sent(driver.worker("1001.1/w2", 202)) == {"1001.1/w2": [3]}


@pytest.mark.parametrize(("count", "causes"), [(1, {"oom"}), (2, {"worker_lost"})])
def test_out_of_memory_is_said_of_one_that_was_alone(count: int, causes: set[str]) -> None:
    driver, _ = looping(count)
    ended = results(driver.give(events.Exited(W1, 2, 9, "worker limit of 64 MiB", begun=count)))
    assert {result.cause for result in ended} == causes
    assert all("out of memory: worker limit of 64 MiB" in result.message for result in ended)


def test_a_suspended_one_is_held_and_makes_room_and_its_time_stands_still() -> None:
    driver, pid = looping(4)
    answer = driver.answer(SuspendThread(2))
    assert answer == {"tid": 2, "cooperative": True}
    assert state(driver, 2) == "suspended"
    assert sent(driver.submit(pid, 1, entry="ask")) == {W1: [5]}, "it makes room"
    done = driver.give(after=40.0)
    assert {tid for effect in only(done, effects.SteerWorker) for tid in effect.tids} == {1, 3, 4, 5}
    land(driver, W1, 1, 3, 4, 5, status="cancelled")
    done = driver.next_kernel()
    assert only(done, effects.SteerWorker) == [effects.SteerWorker(W1, "hold", [2])]
    assert state(driver, 2) == "suspended"
    done = driver.give(events.RequestArrived(b"r", 1, 0, "admin", "uid 0", ResumeThread(2)))
    assert only(done, effects.SteerWorker) == [effects.SteerWorker(W1, "hold", [])]
    assert state(driver, 2) == "waiting"
    assert not only(driver.give(after=29.0), effects.SteerWorker)
    assert only(driver.give(after=2.0), effects.SteerWorker) == [effects.SteerWorker(W1, "cancel", [2])]


def test_those_that_wait_and_those_that_stand_are_found() -> None:
    driver, pid = looping(3)
    driver.answer(SuspendThread(2))
    assert [info.tid for info in driver.answer(Threads(pid, state="waiting"))] == [1, 3]
    assert [info.tid for info in driver.answer(Threads(pid, state="suspended"))] == [2]
    assert (driver.answer(Status(pid)).threads_running, driver.answer(Status(pid)).threads_waiting) == (0, 3)
    assert driver.answer(Threads(pid, state="running")) == driver.answer(Threads(pid, state="sent")) == []


def test_what_one_stood_still_is_none_of_its_run_time() -> None:
    """Neither of one that completes, as its worker counts on, nor of one that is lost."""
    driver, _ = looping(2)
    driver.give(after=4.0)
    for tid in (1, 2):
        driver.answer(SuspendThread(tid))
    driver.give(after=100.0)
    driver.answer(ResumeThread(1))
    driver.give(after=1.0)
    (first,) = results(land(driver, W1, 1, run_seconds=105.0))
    (second,) = results(driver.give(events.Exited(W1, 2, 9, begun=2)))
    assert (first.run_seconds, second.run_seconds) == (5.0, 4.0)


def test_one_that_is_held_may_still_complete() -> None:
    driver, _ = looping(1)
    driver.answer(SuspendThread(1))
    (result,) = results(land(driver, W1, 1))
    assert result.status == "completed"
    assert driver.process().suspended == []


def test_a_suspended_one_that_is_terminated_goes_on_to_end() -> None:
    driver, _ = looping(1)
    driver.answer(SuspendThread(1))
    assert only(driver.cancel(1001, 1), effects.SteerWorker) == [
        effects.SteerWorker(W1, "hold", []),
        effects.SteerWorker(W1, "cancel", [1]),
    ]
    assert "was cancelled" in driver.refusal(SuspendThread(1))


def test_a_next_kernel_cancels_again_and_gives_a_grace_anew() -> None:
    driver, _ = looping(2)
    driver.cancel(1001, 2)
    done = driver.next_kernel()
    assert effects.SteerWorker(W1, "cancel", [2]) in done
    assert only(driver.give(after=CANCEL_GRACE + 0.1), effects.Signal) == [effects.Signal(W1, 9)]


@pytest.mark.parametrize("claim", [Outcome(2, 1, "completed", NIL), Outcome(1, 9, "completed", NIL), Stretch(1, 1, 0.0, [NIL], [0.1])])
def test_a_result_that_cannot_be_costs_the_worker(claim: Outcome | Stretch) -> None:
    driver, _ = looping(2)
    done = driver.give(events.ResultsRead(W1, [claim]))
    assert only(done, effects.Signal) == [effects.Signal(W1, 9)]
    ended = results(driver.give(events.Exited(W1, 2, 9, begun=2)))
    assert all("broke the protocol: claims a result" in result.message for result in ended)


def test_an_idle_one_is_retired_and_one_that_is_old_drains() -> None:
    driver, _ = looping(1)
    land(driver, W1, 1)
    assert only(driver.give(after=31.0), effects.Retire) == [effects.Retire(W1)]


def test_an_old_one_gets_nothing_more_and_goes_when_it_is_empty() -> None:
    driver = Driver()
    pid = driver.run(workers=1, declarations=[Declaration("ask", is_async=True, at_once=4)], recycle_seconds=10.0)
    driver.submit(pid, 2, entry="ask")
    driver.worker(W1)
    driver.give(after=11.0)
    assert names(driver.submit(pid, 1, entry="ask"), effects.Fork) == ["1001.1/w2"]
    land(driver, W1, 1)
    assert only(land(driver, W1, 2), effects.Retire) == [effects.Retire(W1)]


def test_one_that_failed_is_tried_again_and_takes_no_place_in_its_batch() -> None:
    driver, pid = looping()
    driver.submit(pid, 2, entry="ask", retry=Retry(2, "fixed", 1.0, on=("exception", "timed_out")))
    driver.worker(W1)
    assert not results(land(driver, W1, 1, status="error", kind="ValueError", message="busy"))
    assert state(driver, 1) == "waiting"
    driver.next_kernel()
    assert sent(driver.give(after=1.5)) == {W1: [1]}
    assert (state(driver, 1), driver.answer(ShowThread(1)).message) == ("waiting", "ValueError: busy"), "of the attempt before"
    land(driver, W1, 1)
    assert [(info.state, info.attempts) for info in driver.state.threads if info.tid == 1] == [("completed", 2)]


@pytest.mark.parametrize("retry", [Retry(2, "fixed", 1.0, on=("timed_out",)), None])
def test_one_that_timed_out_is_tried_again_as_its_policy_says(retry: Retry | None) -> None:
    driver, pid = looping()
    driver.submit(pid, 1, entry="ask", timeout=5.0, retry=retry)
    driver.worker(W1)
    driver.give(after=5.1)
    ended = results(land(driver, W1, 1, status="cancelled", kind="CancelledError"))
    assert [result.status for result in ended] == ([] if retry else ["timed_out"])
    assert sent(driver.give(after=1.5)) == ({W1: [1]} if retry else {})


def test_lost_ones_are_tried_again_as_their_policy_says() -> None:
    driver, pid = looping()
    driver.submit(pid, 2, entry="ask", retry=Retry(2, "fixed", 1.0, on=("worker_lost",)))
    driver.worker(W1)
    assert not results(driver.give(events.Exited(W1, 2, 11, begun=2)))
    assert names(driver.give(after=1.5), effects.Fork) == ["1001.1/w2"]
    assert sent(driver.worker("1001.1/w2", 202)) == {"1001.1/w2": [1, 2]}


def test_time_stands_still_while_the_process_does() -> None:
    driver, pid = looping(2)
    driver.give(after=20.0)
    driver.answer(SuspendThread(2))
    driver.cancel(pid, 1)
    driver.answer(Suspend(pid))
    driver.give(events.Frozen(pid, 1))
    assert driver.give(after=100.0) == []
    assert not sent(driver.submit(pid, 1, entry="ask"))
    done = driver.give(events.RequestArrived(b"r", 1, 0, "admin", "uid 0", Resume(pid)))
    assert sent(done) == {W1: [3]}
    assert not only(driver.give(after=CANCEL_GRACE - 0.1), effects.Signal)
    assert only(driver.give(after=0.2), effects.Signal) == [effects.Signal(W1, 9)]


def test_one_that_was_held_when_its_process_stood_still_has_its_time_left() -> None:
    driver, pid = looping(1)
    driver.give(after=20.0)
    driver.answer(SuspendThread(1))
    driver.answer(Suspend(pid))
    driver.give(events.Frozen(pid, 1))
    driver.give(after=100.0)
    driver.answer(Resume(pid))
    driver.answer(ResumeThread(1))
    assert not only(driver.give(after=9.0), effects.SteerWorker)
    assert only(driver.give(after=1.5), effects.SteerWorker) == [effects.SteerWorker(W1, "cancel", [1])]


def test_an_end_of_the_process_ends_what_runs() -> None:
    driver, pid = looping(2)
    driver.answer(Kill(pid, force=True))
    driver.give(events.Exited(f"{pid}.1", 2, 9))
    ended = results(driver.give(events.Exited(W1, 2, 9, begun=2)))
    assert not ended or {result.status for result in ended} == {"terminated"}
    driver.give(events.GroupGone(pid))
    assert {info.message for info in driver.state.threads} == {"its process was ended while it ran"}
    driver.give()
    assert not driver.state.looping


def test_two_kinds_each_have_their_own() -> None:
    driver = Driver()
    pid = driver.run(workers=1, declarations=[Declaration("ask", is_async=True, at_once=2), Declaration("tell", is_async=True)])
    assert names(driver.submit(pid, 1, entry="tell"), effects.Fork) == [W1]
    assert names(driver.submit(pid, 3, entry="ask"), effects.Fork) == ["1001.1/w2", "1001.1/w3"]
    assert sent(driver.worker("1001.1/w2", 202)) == {"1001.1/w2": [2, 3]}
    assert sent(driver.worker(W1)) == {W1: [1]}


def test_an_old_idle_one_goes_when_something_comes() -> None:
    driver = Driver()
    pid = driver.run(workers=1, declarations=[Declaration("ask", is_async=True, at_once=4)], recycle_seconds=10.0)
    driver.submit(pid, 1, entry="ask")
    driver.worker(W1)
    land(driver, W1, 1)
    driver.give(after=11.0)
    done = driver.submit(pid, 1, entry="ask")
    assert only(done, effects.Retire) == [effects.Retire(W1)]
    assert names(done, effects.Fork) == ["1001.1/w2"]
    assert not sent(driver.submit(pid, 1, entry="ask")), "nobody is sent to one that leaves"


def test_an_idle_one_is_taken_over_and_nothing_is_at_its_head() -> None:
    driver, _ = looping(1)
    land(driver, W1, 1)
    assert not only(driver.next_kernel(), effects.SteerWorker, effects.SendBatch)
    assert driver.state.pools[1001].workers[W1].head == (0, 0)


def test_starts_are_told_one_by_one_while_they_are_few() -> None:
    driver, pid = looping(at_once=1000)
    driver.submit(pid, 20, entry="ask")
    driver.worker(W1)
    assert driver.kinds("thread") == ["threads.started"]
    driver.submit(pid, 3, entry="ask")
    assert driver.kinds("thread") == ["threads.started"], "more within a tenth of a second are not told of"
    driver.give(after=0.2)
    driver.submit(pid, 3, entry="ask")
    assert driver.kinds("thread.started") == ["thread.started"] * 3
