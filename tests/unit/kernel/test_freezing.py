"""Workers that stand still: suspending, resuming, and taking back what was not begun; each step may be the last one of a kernel."""

from typing import Any

import pytest

from dadms_ipc import requests
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.freezing import FROZEN_MOST, resume, suspend
from tests.unit.kernel.driver import Driver, names, only, results, sent, short

WORKER = "1001.1/w1"


def long(driver: Driver, *, count: int = 1, workers: int = 1, **changes: Any) -> int:
    """Start a process with threads of unknown length, one of which runs."""
    pid = driver.run(workers=workers, **changes)
    driver.submit(pid, count)
    driver.worker(f"{pid}.1/w1")
    return pid


def do(driver: Driver, pid: int, what: str, *tids: int) -> list[effects.AnyEffect]:
    """Suspend or resume, as a request would."""
    pool = driver.state.pools[pid]
    if what == "suspend":
        assert suspend(driver.state, pool, tids) == ""
    else:
        resume(driver.state, pool, tids)
    return driver.give()


def state_of(driver: Driver, pid: int, tid: int) -> str:
    from dadmsd.kernel.core.answers import thread_infos

    return next(info.state for info in thread_infos(driver.state, pid, 1000) if info.tid == tid)


def run_seconds(driver: Driver, pid: int, tid: int) -> float:
    from dadmsd.kernel.core.answers import thread_infos

    return next(info.run_seconds for info in thread_infos(driver.state, pid, 1000) if info.tid == tid)


def test_a_running_thread_is_suspended_where_it_stands_and_its_slot_serves_another() -> None:
    driver = Driver(slots=1)
    pid = long(driver, count=2)
    assert names(do(driver, pid, "suspend", 1), effects.FreezeWorker) == [WORKER]
    assert driver.state.slots_held == 1, "it may run until it is known to stand still"
    assert names(driver.freeze(WORKER), effects.Fork) == [f"{pid}.1/w2"], "another worker for the next thread"
    assert driver.state.slots_held == 0
    assert state_of(driver, pid, 1) == "suspended"
    assert sent(driver.worker(f"{pid}.1/w2", 202)) == {f"{pid}.1/w2": [2]}


def test_a_resumed_thread_goes_on_when_a_slot_is_free() -> None:
    driver = Driver(slots=1)
    pid = long(driver, count=2)
    do(driver, pid, "suspend", 1)
    driver.freeze(WORKER)
    driver.worker(f"{pid}.1/w2", 202)
    assert not names(do(driver, pid, "resume", 1), effects.ThawWorker), "the slot is taken"
    assert names(driver.finish(f"{pid}.1/w2"), effects.ThawWorker) == [WORKER]
    assert (driver.state.slots_held, state_of(driver, pid, 1)) == (1, "running")
    assert [result.status for result in results(driver.finish(WORKER))] == ["completed"]


def test_time_stands_still_for_a_suspended_thread() -> None:
    driver = Driver()
    pid = long(driver, thread_timeout=10.0)
    driver.give(after=4.0)
    do(driver, pid, "suspend", 1)
    driver.freeze(WORKER)
    assert not names(driver.give(after=100.0), effects.Signal)
    do(driver, pid, "resume", 1)
    assert not names(driver.give(after=5.5), effects.Signal)
    assert names(driver.give(after=1.0), effects.Signal) == [WORKER]


def test_what_a_thread_stood_still_is_none_of_its_run_time() -> None:
    """Its worker cannot know; who counted it would also have the process pay for it under the policy "fair"."""
    driver = Driver()
    pid = long(driver)
    driver.give(after=4.0)
    do(driver, pid, "suspend", 1)
    driver.freeze(WORKER)
    driver.give(after=100.0)
    assert run_seconds(driver, pid, 1) == 4.0
    driver.next_kernel()
    driver.give(after=100.0)
    do(driver, pid, "resume", 1)
    driver.give(after=1.0)
    driver.next_kernel()
    assert run_seconds(driver, pid, 1) == 5.0
    pool = driver.state.pools[pid]
    used = pool.used
    (result,) = results(driver.finish(WORKER, seconds=205.0))
    assert (result.run_seconds, pool.used - used, driver.thread(1).run_seconds) == (5.0, 5.0, 5.0)


def test_what_a_process_stood_still_is_none_of_its_threads_run_time() -> None:
    driver = Driver()
    pid = long(driver, count=2)
    driver.answer(requests.Suspend(pid))
    driver.give(after=100.0)
    assert run_seconds(driver, pid, 1) == 0.0
    driver.answer(requests.Resume(pid))
    driver.give(after=2.0)
    (first,) = results(driver.finish(WORKER, seconds=102.0))
    (second,) = results(driver.finish(WORKER, seconds=3.0))
    assert (first.run_seconds, second.run_seconds) == (2.0, 3.0), "the next one did not stand still"


def test_a_suspended_thread_that_is_lost_ran_until_it_stood_still() -> None:
    driver = Driver()
    pid = long(driver)
    driver.give(after=4.0)
    do(driver, pid, "suspend", 1)
    driver.freeze(WORKER)
    driver.give(after=100.0)
    (result,) = results(driver.give(events.Exited(WORKER, 2, 9, begun=1)))
    assert (result.cause, result.run_seconds) == ("worker_lost", 4.0)


def test_a_process_pays_for_the_time_of_threads_that_came_to_nothing() -> None:
    """One whose threads hang until their time is up would have every slot under the policy "fair" otherwise."""
    driver = Driver()
    pid = long(driver, count=2, thread_timeout=10.0)
    used = driver.state.pools[pid].used
    assert names(driver.give(after=10.0), effects.Signal) == [WORKER]
    (result,) = results(driver.give(events.Exited(WORKER, 2, 9, begun=1)))
    assert (result.status, driver.state.pools[pid].used - used) == ("timed_out", 10.0)


def test_who_runs_and_who_stands_is_found_behind_those_that_wait() -> None:
    driver = Driver(slots=2)
    pid = long(driver, count=5, workers=2)
    driver.worker(f"{pid}.1/w2", 202)
    do(driver, pid, "suspend", 1, 4)
    driver.freeze(WORKER)

    def listed(shown: str, **changes: Any) -> list[int]:
        found = driver.answer(requests.Threads(pid, state=shown, **changes))
        assert {info.state for info in found} <= {shown}
        return [info.tid for info in found]

    assert (listed("running"), listed("suspended"), listed("ready")) == ([2], [1, 4], [3, 5])
    shown = driver.answer(requests.Status(pid))
    assert (shown.threads_running, shown.threads_waiting) == (1, 4), "what stands still does not run"
    assert (listed("suspended", limit=1), listed("ready", limit=1), listed("sent"), listed("waiting")) == ([4], [5], [], [])
    driver.finish(f"{pid}.1/w2")
    assert (listed("completed"), listed("error"), listed("running")) == ([2], [], [3])
    assert listed("completed") == [info.tid for info in driver.answer(requests.Threads(state="completed"))]
    assert driver.refusal(requests.Threads(pid, state="gone")).startswith('cannot list threads that are "gone": a thread is running, ready')
    assert driver.refusal(requests.Threads(state="ready", group="g")) == "cannot list a group: of which process?"
    assert driver.refusal(requests.Threads(pid, state="ready", group="g")).startswith('no group "g"')


def test_those_that_were_sent_behind_one_that_runs_are_found() -> None:
    driver = Driver()
    pid = short(driver, count=4)
    found = [info.tid for info in driver.answer(requests.Threads(pid, state="sent"))]
    (running,) = [info.tid for info in driver.answer(requests.Threads(pid, state="running"))]
    assert found == [tid for tid in driver.flying(WORKER) if tid != running]


def test_a_waiting_thread_is_passed_over_until_it_is_resumed() -> None:
    driver = Driver()
    pid = long(driver, count=4)
    do(driver, pid, "suspend", 2, 3)
    assert sent(driver.finish(WORKER)) == {WORKER: [4]}
    assert state_of(driver, pid, 2) == "suspended"
    do(driver, pid, "resume", 3)
    assert sent(driver.finish(WORKER)) == {WORKER: [3]}


def test_a_thread_that_was_sent_and_not_begun_is_set_aside() -> None:
    driver = Driver()
    pid = short(driver, count=4)
    assert names(do(driver, pid, "suspend", 4), effects.FreezeWorker) == [WORKER]
    done = driver.freeze(WORKER)
    assert only(done, effects.Revoke, effects.ThawWorker) == [effects.Revoke(WORKER, 3, 5), effects.ThawWorker(WORKER)]
    assert (state_of(driver, pid, 2), state_of(driver, pid, 4)) == ("running", "suspended")
    driver.finish(WORKER, seconds=0.0001)
    assert driver.flying(WORKER) == [3, 5]


def test_a_thread_that_ended_before_its_worker_stood_still_has_completed() -> None:
    driver = Driver()
    pid = long(driver)
    do(driver, pid, "suspend", 1)
    driver.finish(WORKER)
    assert names(driver.give(events.WorkerFrozen(WORKER, 1)), effects.ThawWorker) == [WORKER]
    assert driver.thread(1).state == "completed"
    assert (driver.process(pid).suspended, driver.state.slots_held) == ([], 0)


def test_terminating_a_suspended_thread_kills_and_thaws_its_worker() -> None:
    """In a v1 freezer, SIGKILL ends nothing that stands still."""
    driver = Driver()
    pid = long(driver, count=2)
    do(driver, pid, "suspend", 1)
    driver.freeze(WORKER)
    assert only(driver.cancel(pid, 1), effects.Signal, effects.ThawWorker) == [effects.Signal(WORKER, 9), effects.ThawWorker(WORKER)]
    done = driver.give(events.Exited(WORKER, 2, 9, begun=1))
    assert [(result.tid, result.status) for result in results(done)] == [(1, "terminated")]
    assert driver.process(pid).suspended == []


def test_a_suspended_thread_that_is_terminated_holds_no_slot_under_the_next_kernel_either() -> None:
    """Its slot serves another; it was thawed only so that it can be killed."""
    driver = Driver(slots=1)
    pid = long(driver, count=2)
    do(driver, pid, "suspend", 1)
    driver.freeze(WORKER)
    driver.worker(f"{pid}.1/w2", 202)
    driver.cancel(pid, 1)
    driver.next_kernel()
    assert driver.state.slots_held == 1
    driver.give(events.Exited(WORKER, 2, 9, begun=1))
    assert driver.state.slots_held == 1


def test_nobody_is_lost_with_a_thread_that_is_terminated_before_him() -> None:
    """Two threads travel together, the first is terminated: by the time that its worker is killed, the second is in the queue again."""
    driver = Driver()
    pid = short(driver, count=3)
    assert not names(driver.cancel(pid, 2), effects.Signal)
    done = driver.freeze(WORKER)
    assert names(done, effects.Signal) == [WORKER]
    done = driver.give(events.Exited(WORKER, 2, 9, begun=2))
    assert [(result.tid, result.status) for result in results(done)] == [(2, "terminated")]
    assert sent(driver.worker(f"{pid}.1/w2", 202)) == {f"{pid}.1/w2": [3, 4]}


def test_a_thread_that_times_out_takes_nobody_with_it() -> None:
    driver = Driver()
    short(driver, count=3)
    assert names(driver.give(after=31.0), effects.FreezeWorker) == [WORKER]
    driver.finish(WORKER, count=1, seconds=0.0001)
    done = driver.give(events.WorkerFrozen(WORKER, 3))
    assert names(done, effects.ThawWorker) == [WORKER], "it had ended meanwhile, and the next one runs"
    assert not names(done, effects.Signal)


def test_the_number_of_frozen_workers_is_bounded() -> None:
    driver = Driver(slots=64)
    pid = driver.run(workers=FROZEN_MOST + 1)
    driver.submit(pid, FROZEN_MOST + 1)
    for number in range(1, FROZEN_MOST + 2):
        driver.worker(f"{pid}.1/w{number}", 200 + number)
    pool = driver.state.pools[pid]
    assert suspend(driver.state, pool, range(1, FROZEN_MOST + 1)) == ""
    why = suspend(driver.state, pool, [FROZEN_MOST + 1])
    assert why == f"cannot suspend thread 17: 16 workers of process {pid} are frozen, at most 16 may be"


def test_a_host_that_cannot_freeze_lets_the_thread_go_on() -> None:
    driver = Driver()
    pid = long(driver)
    do(driver, pid, "suspend", 1)
    driver.give(events.FreezeFailed(WORKER, "no freezer"))
    assert (driver.process(pid).suspended, state_of(driver, pid, 1)) == ([], "running")
    assert names(driver.cancel(pid, 1), effects.Signal) == [WORKER]


def test_a_host_that_cannot_freeze_terminates_all_the_same() -> None:
    driver = Driver()
    pid = short(driver, count=3)
    driver.cancel(pid, 2)
    assert names(driver.give(events.FreezeFailed(WORKER, "no freezer")), effects.Signal) == [WORKER]


@pytest.mark.parametrize("dies_after", ["asking", "standing still", "resuming"])
def test_the_next_kernel_takes_up_a_suspension_wherever_the_last_one_died(dies_after: str) -> None:
    driver = Driver(slots=1)
    pid = short(driver, count=3)
    do(driver, pid, "suspend", 2)
    if dies_after == "asking":
        assert names(driver.next_kernel(), effects.FreezeWorker) == [WORKER]
        driver.freeze(WORKER)
    else:
        driver.freeze(WORKER)
        assert only(driver.next_kernel(), effects.Revoke) == [effects.Revoke(WORKER, 3, 4)]
    assert (state_of(driver, pid, 2), state_of(driver, pid, 3), driver.state.slots_held) == ("suspended", "ready", 0)
    if dies_after == "resuming":
        pool = driver.state.pools[pid]
        resume(driver.state, pool, [2])
        driver._keep()
        driver.next_kernel()
        assert names(driver.give(), effects.ThawWorker) == [WORKER]
    else:
        assert names(do(driver, pid, "resume", 2), effects.ThawWorker) == [WORKER]
    assert [result.tid for result in results(driver.finish(WORKER))] == [2]


def test_a_suspended_thread_in_the_queue_stays_so_under_the_next_kernel() -> None:
    driver = Driver()
    pid = long(driver, count=3)
    do(driver, pid, "suspend", 2)
    driver.next_kernel()
    assert state_of(driver, pid, 2) == "suspended"
    assert sent(driver.finish(WORKER)) == {WORKER: [3]}


def test_a_suspended_worker_that_is_killed_from_outside_loses_its_thread_and_no_slot() -> None:
    driver = Driver()
    pid = long(driver)
    do(driver, pid, "suspend", 1)
    driver.freeze(WORKER)
    done = driver.give(events.Exited(WORKER, 2, 9, begun=1))
    assert [(result.tid, result.cause) for result in results(done)] == [(1, "worker_lost")]
    assert (driver.state.slots_held, driver.process(pid).suspended) == (0, [])


def test_a_worker_that_a_dead_kernel_may_not_have_thawed_is_thawed_by_the_next() -> None:
    """It committed that the worker goes on, and died before it brought that about: the worker would stand still for ever."""
    driver = Driver()
    pid = short(driver, count=4)
    name = f"{pid}.1/w1"
    driver.cancel(pid, 4)
    driver.freeze(name)
    assert driver.child(name).freeze == ""
    assert effects.ThawWorker(name) in driver.next_kernel()


def test_a_process_that_a_dead_kernel_may_not_have_let_go_on_goes_on() -> None:
    """The same for all of it; its workers are let go on once it is, for they may share what freezes them."""
    driver = Driver()
    pid = short(driver, count=4)
    driver.cancel(pid, 4)
    driver.freeze(f"{pid}.1/w1")
    driver.give(after=1.0)
    driver.answer(requests.Suspend(pid))
    driver.give(events.Frozen(pid, 1))
    assert not only(driver.next_kernel(), effects.Thaw, effects.ThawWorker)
    driver.ask(requests.Resume(pid))
    again = driver.next_kernel()
    assert only(again, effects.Thaw, effects.ThawWorker) == [effects.ThawWorker(f"{pid}.1/w1"), effects.Thaw(pid, 1)]
