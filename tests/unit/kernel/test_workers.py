"""Workers that end: what it costs, and when it is enough."""

import pytest

from dadms_ipc import requests
from dadmsd.kernel.core import effects, events
from dadmsd.worker.messages import Outcome
from tests.unit.kernel.driver import NIL, Driver, names, results, sent


def test_a_killed_worker_costs_its_thread_and_nothing_else() -> None:
    """The thread that it had begun ends in error with the cause; the other one runs elsewhere; the slot is free."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 2)
    driver.worker(f"{pid}.1/w1")
    done = driver.give(events.Exited(f"{pid}.1/w1", 2, 9, begun=1))
    assert [(result.tid, result.status, result.cause) for result in results(done)] == [(1, "error", "worker_lost")]
    assert names(done, effects.Fork) == [f"{pid}.1/w2"]
    assert sent(driver.worker(f"{pid}.1/w2", 202)) == {f"{pid}.1/w2": [2]}


def test_a_thread_that_was_not_begun_is_not_lost_with_its_worker() -> None:
    """A worker that is killed before it began the thread gives it back."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1")
    assert not results(driver.give(events.Exited(f"{pid}.1/w1", 2, 9, begun=0)))
    assert sent(driver.worker(f"{pid}.1/w2", 202)) == {f"{pid}.1/w2": [1]}


@pytest.mark.parametrize(
    ("how", "status", "oom", "cause", "message"),
    [
        (2, 9, "worker limit of 64 MiB", "oom", "out of memory: worker limit of 64 MiB"),
        (2, 11, "", "worker_lost", "its worker w1 (pid 201) ended by signal 11"),
        (1, 3, "", "worker_lost", "its worker w1 (pid 201) ended by exit code 3"),
        (0, 0, "", "worker_lost", "its worker w1 (pid 201) ended by an unknown end"),
    ],
)
def test_the_cause_of_a_lost_thread_is_that_of_its_worker(how: int, status: int, oom: str, cause: str, message: str) -> None:
    """The process lives."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1")
    (result,) = results(driver.give(events.Exited(f"{pid}.1/w1", how, status, oom, begun=1)))
    assert (result.cause, result.message) == (cause, message)
    assert driver.process(pid).status == "running"
    assert driver.kinds("worker.lost") == ["worker.lost"]


def test_a_worker_that_claims_another_threads_result_is_ended() -> None:
    """A result for a thread that it was not given is a violation, not a result; those before it count, and its own thread is lost."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1")
    done = driver.give(events.ResultsRead(f"{pid}.1/w1", [Outcome(1, 99, "completed", NIL)]))
    assert names(done, effects.Signal) == [f"{pid}.1/w1"]
    assert driver.process(pid).threads_done == 0
    (result,) = results(driver.give(events.Exited(f"{pid}.1/w1", 2, 9, begun=1)))
    assert result.message == "its worker broke the protocol: claims a result for thread 99 that it was not given"


def test_an_idle_worker_that_claims_a_result_holds_no_slot() -> None:
    """Nor does its end give one back."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1")
    driver.finish(f"{pid}.1/w1")
    driver.give(events.ResultsRead(f"{pid}.1/w1", [Outcome(2, 99, "completed", NIL)]))
    driver.give(events.Exited(f"{pid}.1/w1", 2, 9, begun=1))
    assert driver.state.slots_held == 0


def come_to_nothing(driver: Driver, pid: int, number: int, how: str) -> list[effects.AnyEffect]:
    """Have a worker end before it is of use."""
    name = f"{pid}.1/w{number}"
    driver.give(events.Forked(name, 200 + number, 1))
    if how == "gate":
        driver.give(events.GateShut(name, "no room"))
    elif how == "late":
        driver.give(events.GateOpened(name))
        driver.give(after=60.1)
    elif how == "noise":
        driver.give(events.GateOpened(name), events.PortViolated(name, "noise"))
    elif how == "fork":
        return driver.give(events.Exited(name, 1, 3))
    elif how == "oom":
        return driver.give(events.GateOpened(name), events.Exited(name, 2, 9, "worker limit of 8 MiB"))
    return driver.give(events.Exited(name, 2, 9))


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("gate", "no room"),
        ("late", "signal 9"),
        ("noise", "broke the protocol: noise"),
        ("fork", "exit code 3"),
        ("oom", "out of memory: worker limit of 8 MiB"),
    ],
)
def test_workers_that_never_come_up_fail_the_threads_that_wait(how: str, why: str) -> None:
    """After five in a row the threads end in error with the reason, instead of being tried for ever; the next submission is tried anew."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 2)
    for number in range(1, 6):
        assert not driver.state.threads
        come_to_nothing(driver, pid, number, how)
    assert [(info.state, info.cause) for info in driver.state.threads] == [("error", "worker_lost")] * 2
    assert driver.thread(2).message == f"no worker can be started: 5 in a row ended before they were ready, the last one: {why}"
    assert names(driver.submit(pid), effects.Fork) == [f"{pid}.1/w6"]


def test_while_one_worker_works_nobody_fails_because_others_cannot_be_started() -> None:
    """The pool stays as small as it has to be; when the last worker is gone, it is tried once more."""
    driver = Driver()
    pid = driver.run(workers=2)
    driver.submit(pid, 4)
    driver.worker(f"{pid}.1/w1")
    for number in range(2, 7):
        come_to_nothing(driver, pid, number, "gate")
    assert not driver.state.threads
    assert not names(driver.submit(pid), effects.Fork)
    done = driver.give(events.Exited(f"{pid}.1/w1", 2, 11, begun=1))
    assert names(done, effects.Fork) == [f"{pid}.1/w7", f"{pid}.1/w8"]
    come_to_nothing(driver, pid, 7, "gate")
    assert len(driver.state.threads) == 1
    come_to_nothing(driver, pid, 8, "gate")
    assert len(driver.state.threads) == 5


def test_a_thread_over_which_workers_break_before_they_begin_it_fails_alone() -> None:
    """Arguments that no worker has room for, say: they would be tried for ever."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 2)
    for number in range(1, 6):
        driver.worker(f"{pid}.1/w{number}", 200 + number)
        assert not driver.state.threads
        driver.give(events.Exited(f"{pid}.1/w{number}", 2, 9, "worker limit of 8 MiB", begun=0))
    words = "5 in a row ended before they had begun a thread, the last one: out of memory: worker limit of 8 MiB"
    assert words in driver.thread(1).message
    assert sent(driver.worker(f"{pid}.1/w6", 206)) == {f"{pid}.1/w6": [2]}


def test_a_worker_of_use_ends_the_count() -> None:
    """Four fail, one gives a result, four fail: nobody fails."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 2)
    for number in range(1, 5):
        come_to_nothing(driver, pid, number, "gate")
    driver.worker(f"{pid}.1/w5", 205)
    driver.finish(f"{pid}.1/w5")
    driver.give(events.Exited(f"{pid}.1/w5", 2, 9, begun=1))
    for number in range(6, 10):
        come_to_nothing(driver, pid, number, "gate")
    assert [info.state for info in driver.state.threads] == ["completed"]


def test_workers_that_a_dead_zygote_did_not_fork_are_asked_of_the_next_one() -> None:
    """Eight at once count as one failure, for it was one."""
    driver = Driver()
    pid = driver.run(workers=8)
    driver.submit(pid, 8)
    done = driver.give(events.Exited("zygote/1", 2, 9))
    assert not driver.state.threads
    assert driver.process(pid).workers_failed == 1
    assert names(done, effects.Fork) == ["zygote/2"]
    assert len(names(driver.import_code("zygote/2"), effects.Fork)) == 8
    assert not driver.kinds("worker.lost")


def test_threads_do_not_wait_for_ever_for_code_that_cannot_be_imported_again() -> None:
    """The zygote of a running process is lost, and its code is gone: after five attempts what waits fails with the reason."""
    driver = Driver()
    pid = driver.run()
    driver.give(events.Exited("zygote/1", 2, 9))
    driver.submit(pid)
    for number in range(2, 7):
        assert not driver.state.threads
        driver.open(f"zygote/{number}", 50)
        driver.give(events.ChildFailed(f"zygote/{number}", "no module named x"), events.Exited(f"zygote/{number}", 1, 1))
    assert driver.thread(1).message.endswith("the last one: no module named x")
    assert list(driver.state.children) == [f"{pid}.1"]


def test_an_import_that_fails_is_no_matter_of_processes_that_wait_for_nothing() -> None:
    """Nor of those that end."""
    driver = Driver()
    idle, ending = driver.run(), driver.run()
    driver.give(events.Exited("zygote/1", 2, 9))
    driver.submit(ending)
    driver.give(events.Exited(f"{ending}.1", 1, 1))
    driver.open("zygote/2", 50)
    driver.give(events.Exited("zygote/2", 1, 1))
    assert [driver.process(pid).workers_failed for pid in (idle, ending)] == [0, 0]


def test_the_zygote_of_a_process_that_ends_takes_its_unforked_workers_with_it() -> None:
    """They are not asked for again."""
    driver = Driver()
    pid = driver.run()
    driver.submit(pid, 2)
    driver.give(events.Exited(f"{pid}.1", 1, 1))
    done = driver.give(events.Exited("zygote/1", 2, 9))
    assert not names(done, effects.Fork)
    driver.give(events.GroupGone(pid))
    assert driver.process(pid).status == "failed"


@pytest.mark.parametrize("force", [False, True])
def test_threads_of_a_process_that_is_killed_were_terminated_with_it(force: bool) -> None:
    """Not lost by accident: the message says whose doing it was."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 2)
    driver.worker(f"{pid}.1/w1")
    driver.answer(requests.Kill(pid, force=force))
    driver.give(events.Exited(f"{pid}.1/w1", 2, 9, begun=1))
    assert (driver.thread(1).state, driver.thread(1).message) == ("terminated", "its process was ended while it ran")
    driver.end(pid, 2, 9)
    assert driver.thread(2).state == "terminated"


def test_what_a_first_worker_is_not_held_to_is_said_once() -> None:
    """On a host without cgroups the memory of a worker is a promise that nobody keeps: its process's owner hears of it, once."""
    driver = Driver()
    pid = driver.run()
    driver.submit(pid, 2)
    for number, os_pid in ((1, 201), (2, 202)):
        driver.give(events.Forked(f"{pid}.1/w{number}", os_pid, 1))
        driver.give(
            events.GateOpened(f"{pid}.1/w{number}", {"worker_memory": "64 MiB"}, ["not enforced: cpu = 1"], {"worker_memory": 64 << 20})
        )
    assert driver.process(pid).limits == {"worker_memory": "64 MiB"}
    assert driver.process(pid).warnings == ["not enforced: cpu = 1"]
    said = [event.data for event in driver.state.events if event.kind == "limits"]
    held = {"worker_memory": 64 << 20}
    assert said[1:] == [{"limits": {"worker_memory": "64 MiB"}, "warnings": ["not enforced: cpu = 1"], "values": held}]
    assert driver.process(pid).limit_values == held
