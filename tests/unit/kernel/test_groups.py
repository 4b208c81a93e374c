"""Groups: counted as their threads move, steered together, given up when one of theirs fails; over a change of kernels too."""

from typing import Any

import pytest

from dadms_ipc import port, requests
from dadms_ipc.port import Retry
from dadms_ipc.requests import GroupInfo, SteerGroup
from dadmsd.kernel.core import effects, events, groups
from dadmsd.worker.messages import Stretch
from tests.unit.kernel.driver import NIL, Driver, names, results, short, told


def grouped(count: int = 3, *, workers: int = 1, **fields: Any) -> Driver:
    """Have process 1001 submit threads to the group "g", the first of which runs."""
    driver = Driver()
    pid = driver.run(workers=workers)
    driver.submit(pid, count, group="g", **fields)
    driver.worker(f"{pid}.1/w1")
    return driver


def shown(driver: Driver) -> dict[str, Any]:
    """Give what is not nothing of the group."""
    (info,) = driver.answer(requests.Groups(1001))
    assert isinstance(info, GroupInfo)
    return {name: value for name in GroupInfo.__struct_fields__ if (value := getattr(info, name)) and name not in ("pid", "name")}


def steer(driver: Driver, action: str, priority: int = 0) -> None:
    driver.answer(SteerGroup(1001, "g", action, priority))


def test_a_group_is_counted_as_its_threads_move() -> None:
    driver = grouped()
    driver.submit(1001)
    assert shown(driver) == {"ready": 2, "running": 1}
    driver.finish("1001.1/w1")
    driver.finish("1001.1/w1", status="error", kind="ValueError")
    assert shown(driver) == {"running": 1, "completed": 1, "error": 1}
    driver.next_kernel()
    assert shown(driver) == {"running": 1, "completed": 1, "error": 1}
    driver.cancel(1001, 3)
    driver.give(events.Exited("1001.1/w1", 2, 9, begun=3))
    assert shown(driver) == {"completed": 1, "error": 1, "terminated": 1}
    driver.next_kernel()
    assert shown(driver) == {"completed": 1, "error": 1, "terminated": 1}


def test_short_threads_are_counted_by_the_run() -> None:
    driver = Driver()
    pid = short(driver, count=1)
    driver.submit(pid, 20, group="g")
    driver.finish(f"{pid}.1/w1", seconds=0.0001)
    flying = list(driver.state.pools[pid].workers[f"{pid}.1/w1"].in_flight)
    count = len(flying)
    assert shown(driver) == {"ready": 20 - count, "running": count} if count < 20 else {"running": 20}
    driver.give(events.ResultsRead(f"{pid}.1/w1", [Stretch(*flying[0], 1000.0, [NIL] * count, [0.0001] * count)]))
    assert shown(driver)["completed"] == count
    listed = driver.answer(requests.Threads(pid, group="g"))
    assert [info.tid for info in listed] == list(range(3, 23))


def test_a_suspended_group_is_passed_over_and_so_is_what_comes_to_it() -> None:
    driver = grouped()
    driver.submit(1001)
    steer(driver, "suspend")
    driver.submit(1001, 2, group="g")
    driver.freeze("1001.1/w1")
    assert shown(driver) == {"running": 1, "suspended": 4, "is_suspended": True}
    assert driver.answer(requests.ShowThread(1)).state == "suspended"
    assert driver.state.pools[1001].ready == 1, "the one that is not of the group"
    assert driver.refusal(requests.ResumeThread(2)) == 'cannot resume thread 2: its group "g" is suspended; resume that'
    driver.next_kernel()
    assert shown(driver) == {"running": 1, "suspended": 4, "is_suspended": True}
    assert driver.process().suspended == [1], "one mark for the rest"
    steer(driver, "resume")
    assert shown(driver) == {"running": 1, "ready": 4}
    driver.give(events.WorkerReady("1001.1/w1"))
    for tid in (1, 4, 2, 3, 5, 6):  # those that are in the queue again go behind their equals
        assert driver.flying("1001.1/w1") == [tid]
        driver.finish("1001.1/w1")


def test_a_thread_with_a_place_of_its_own_keeps_it_over_a_suspension() -> None:
    """One with a priority, one between two attempts, one that waits for another with its key."""
    driver = grouped(1)
    driver.submit(1001, 4, group="g", retry=Retry(backoff="fixed", delay=5.0, jitter=0.0), keys=["", "a", "a", ""])
    driver.answer(requests.SetThreadPriority(5, 50))
    driver.finish("1001.1/w1")
    driver.answer(requests.SetThreadPriority(5, 50))
    driver.finish("1001.1/w1", status="error", kind="ValueError")
    driver.freeze("1001.1/w1")
    states = [driver.answer(requests.ShowThread(tid)).state for tid in (2, 3, 4, 5)]
    steer(driver, "suspend")
    driver.freeze("1001.1/w1")
    driver.next_kernel()
    steer(driver, "resume")
    driver.give(events.WorkerReady("1001.1/w1"))
    assert [driver.answer(requests.ShowThread(tid)).state for tid in (2, 3, 4, 5)] == states
    assert sorted(states) == ["ready", "running", "waiting", "waiting"]


def test_a_group_takes_another_priority_and_its_threads_may_have_their_own() -> None:
    driver = grouped(1)
    driver.submit(1001, 3)
    driver.submit(1001, 3, group="g")
    driver.answer(requests.SetThreadPriority(7, -90))
    steer(driver, "priority", 20)
    driver.submit(1001, 1, group="g")
    driver.next_kernel()
    driver.give(events.WorkerReady("1001.1/w1"))
    for tid in (1, 5, 6, 8, 2, 3, 4, 7):
        assert driver.flying("1001.1/w1") == [tid]
        driver.finish("1001.1/w1")
    assert driver.refusal(SteerGroup(1001, "g", "priority", 101)) == "cannot set a priority of 101: -100 to 100"


def test_ranking_a_group_of_short_threads_sends_none_twice() -> None:
    """Its older places in the queue are void."""
    driver = Driver()
    pid = short(driver, count=1)
    driver.submit(pid, 3000, group="g")
    for priority in (5, -5, 7):
        steer(driver, "priority", priority)
    seen: list[int] = []
    name = f"{pid}.1/w1"
    while flying := driver.flying(name):
        seen += flying[:1]
        driver.finish(name, seconds=0.0001)
    assert seen == list(range(2, 3003))


def test_a_group_is_terminated_as_a_whole() -> None:
    driver = grouped()
    driver.submit(1001)
    done = driver.give(events.SteerAsked("1001.1", 3, "kill", [], 0, "g"))
    assert [(result.tid, result.status) for result in results(done)] == [(2, "terminated"), (3, "terminated")]
    assert names(done, effects.Signal) == ["1001.1/w1"]
    assert driver.thread(2).message == 'its group "g" was terminated by its process'


def test_a_failure_cancels_the_rest_where_that_was_asked_for() -> None:
    driver = grouped(4, workers=2, cancels=True)
    driver.worker("1001.1/w2", 202)
    done = driver.finish("1001.1/w1", status="error", kind="ValueError")
    assert {result.tid: result.status for result in results(done)} == {1: "error", 3: "terminated", 4: "terminated"}
    assert names(done, effects.Signal) == ["1001.1/w2"]
    assert driver.thread(3).message == 'thread 1 of its group "g" failed'
    assert told(driver.submit(1001, group="g"), port.Refused)[0].reason == (
        'cannot submit to group "g": thread 1 of it failed, and the 1 others are being cancelled'
    )
    driver.give(events.Exited("1001.1/w2", 2, 9, begun=1))
    assert shown(driver) == {"error": 1, "terminated": 3, "cancels": True, "failed_by": 1}
    assert told(driver.submit(1001, group="g"), port.Accepted)
    assert shown(driver) == {"running": 1}, "it begins anew"


def test_what_is_tried_again_or_terminated_is_no_failure() -> None:
    driver = grouped(3, cancels=True, retry=Retry(attempts=2, delay=1.0))
    driver.cancel(1001, 3)
    driver.finish("1001.1/w1", status="error", kind="ValueError")
    assert shown(driver) == {"running": 1, "waiting": 1, "terminated": 1, "cancels": True}


def test_a_kernel_that_dies_over_a_failure_leaves_the_rest_to_the_next() -> None:
    driver = grouped(4, cancels=True)
    driver.finish("1001.1/w1", status="error", kind="ValueError")
    assert shown(driver) == {"error": 1, "terminated": 3, "cancels": True, "failed_by": 1}
    again = grouped(4, cancels=True)
    row = again.state.pools[1001].groups["g"].row
    row.failed_by, row.ended = 9, {5: 1}
    again.state.changed(row)
    again._keep()
    again.next_kernel()
    again.give()
    assert shown(again) == {"running": 1, "error": 1, "terminated": 3, "cancels": True, "failed_by": 9}


def test_groups_end_with_their_incarnation() -> None:
    driver = grouped()
    driver.end(1001)
    assert not any(table == "grouped" for table, _ in driver.rows)
    assert driver.answer(requests.Groups(1001)) == []
    assert driver.refusal(SteerGroup(1001, "g", "kill")) == 'no group "g" of process 1001 ("p"); there is none'


def test_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest without open threads is forgotten; one with open threads never."""
    monkeypatch.setattr(groups, "GROUPS_KEPT", 0)
    monkeypatch.setattr(groups, "OPEN_MOST", 3)
    driver = grouped(1)
    driver.finish("1001.1/w1")
    for name in ("a", "b", "c"):
        driver.submit(1001, group=name)
    assert list(driver.state.pools[1001].groups) == ["a", "b", "c"]
    assert told(driver.submit(1001, group="d"), port.Refused)[0].reason == (
        'cannot submit to group "d": 3 groups have open threads, at most so many may'
    )
    assert told(driver.submit(1001, group="x" * 201), port.Refused)[0].reason == (
        "cannot submit to a group with a name of 201 characters: at most 200"
    )


def test_what_cannot_be_done_with_a_group_is_refused() -> None:
    driver = grouped()
    assert driver.refusal(SteerGroup(1001, "h", "kill")) == 'no group "h" of process 1001 ("p"); there is g'
    assert driver.refusal(SteerGroup(1001, "g", "dance")) == "cannot dance a group: kill, suspend, resume, priority are possible"
    assert driver.refusal(requests.Threads(group="g")) == "cannot list a group: of which process?"
    assert driver.refusal(SteerGroup(1001, "g", "kill"), uid=77).startswith("cannot kill threads of 1001")
    driver.give(events.SteerAsked("1001.1", 2, "resume", [], 0, "h"))
    assert driver.process().asked == 2
    driver.give(events.SteerAsked("1001.1", 3, "dance", [], 0, "g"))
    assert driver.child("1001.1").intent == "violation"


def wait(driver: Driver, sequence: int, **how: Any) -> effects.Reply | None:
    return driver.ask(requests.WaitThreads(1001, **how), sequence=sequence)


def replies(done: list[effects.AnyEffect]) -> dict[int, tuple[bool, int, dict[str, int]]]:
    """Give the answers to those who waited, by their sequence."""
    found = {each.sequence: each.answer for each in done if isinstance(each, effects.Reply)}
    return {key: (each.is_over, each.open, each.statuses) for key, each in found.items() if isinstance(each, requests.WaitedInfo)}


def test_a_client_waits_for_one_any_or_all() -> None:
    driver = grouped()
    assert wait(driver, 11, tids=[1]) is None
    assert wait(driver, 12, tids=[2, 3], count=1) is None
    assert wait(driver, 13, tids=[1, 2, 3]) is None
    assert wait(driver, 14, group="g", count=2) is None
    assert wait(driver, 15, group="g") is None
    assert replies(driver.finish("1001.1/w1")) == {11: (True, 0, {"completed": 1})}
    done = driver.finish("1001.1/w1", status="error", kind="ValueError")
    assert replies(done) == {12: (True, 1, {"error": 1}), 14: (True, 1, {"completed": 1, "error": 1})}
    assert replies(driver.finish("1001.1/w1")).keys() == {13, 15}
    found = wait(driver, 16, tids=[1, 2])
    assert found is not None
    assert found.answer == requests.WaitedInfo(1001, is_over=True, open=0, statuses={"completed": 1, "error": 1})


def test_many_that_end_unseen_are_waited_for_in_the_same_turn() -> None:
    """Their events are counted and come later; who waits does not."""
    driver = Driver()
    pid = short(driver, count=40)
    driver.finish(f"{pid}.1/w1", count=20, seconds=0.0001)
    flying = driver.flying(f"{pid}.1/w1")
    wait(driver, 11, tids=flying[:1])
    assert replies(driver.finish(f"{pid}.1/w1", seconds=0.0001)).keys() == {11}


def test_a_wait_ends_with_its_time_or_with_the_process() -> None:
    driver = grouped()
    wait(driver, 11, tids=[1], timeout=2.0)
    wait(driver, 12, group="g", timeout=60.0)
    wait(driver, 13, tids=[2, 3], timeout=60.0)
    assert replies(driver.give(after=2.1)) == {11: (False, 1, {})}
    done = driver.end(1001)
    assert replies(done) == {12: (True, 0, {"terminated": 3}), 13: (True, 0, {"terminated": 2})}
    found = wait(driver, 14, tids=[2, 3])
    assert found is not None
    assert found.answer == requests.WaitedInfo(1001, is_over=True, open=0, statuses={"terminated": 2})


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({}, "cannot wait: threads or a group, one of the two"),
        ({"tids": [1], "group": "g"}, "cannot wait: threads or a group, one of the two"),
        ({"tids": [1, 99]}, "cannot wait for thread 99 of process 1001: there is none, or it ended long ago"),
        ({"group": "h"}, 'cannot wait for group "h": process 1001 has none, or it was forgotten'),
        ({"group": "g", "count": 0}, "cannot wait for 0 threads"),
        ({"tids": [1], "count": 5}, "cannot wait for 5 of 1 threads"),
        ({"tids": list(range(10_001))}, "cannot wait for 10001 threads: at most 10000"),
    ],
)
def test_what_cannot_be_waited_for_is_refused(how: dict[str, Any], words: str) -> None:
    assert grouped().refusal(requests.WaitThreads(1001, **how)) == words


def test_what_is_said_of_a_group_before_its_first_thread_holds_for_that_one() -> None:
    driver = Driver()
    pid = driver.run(workers=1)
    driver.give(events.SteerAsked(f"{pid}.1", 1, "suspend", [], 0, "g"))
    driver.give(events.SteerAsked(f"{pid}.1", 2, "priority", [], 7, "g"))
    driver.next_kernel()
    driver.submit(pid, 2, group="g")
    assert shown(driver) == {"suspended": 2, "priority": 7, "is_suspended": True}
    driver.give(events.SteerAsked(f"{pid}.1", driver.process(pid).asked + 1, "resume", [], 0, "g"))
    assert shown(driver) == {"ready": 2, "priority": 7}
