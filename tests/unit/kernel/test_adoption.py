"""What a kernel makes of the rows of another one."""

from typing import Any

import msgspec
import pytest

from dadms_ipc import port, requests
from dadmsd.kernel.adoption import log_is_wanted
from dadmsd.kernel.core import effects, events
from tests.unit.kernel.driver import Driver, names, only, results, sent, short, told
from tests.unit.kernel.test_restarts import command, execute, leave


@pytest.mark.parametrize("interruption", ["the machine was restarted", "the daemon was restarted"])
def test_after_an_interruption_everything_that_lived_has_ended(interruption: str) -> None:
    """Rows of another boot, or another daemon: nothing is taken for living, and the reason is told."""
    driver = Driver()
    running, starting, importing = driver.run(handlers="/h.py"), driver.spawn(), driver.spawn(uid=7)
    driver.submit(running, 3)
    driver.worker(f"{running}.1/w1")
    done = driver.next_kernel(interruption=interruption)
    assert not only(done, effects.SendBatch)
    cleared = {effect.pid for effect in only(done, effects.ClearGroup)}
    assert cleared == {running, starting}
    driver.give(*[events.GroupGone(pid) for pid in cleared])
    for pid in cleared:
        assert (driver.process(pid).status, driver.process(pid).reason) == ("failed", interruption)
    assert [driver.thread(tid).state for tid in (1, 2, 3)] == ["terminated"] * 3
    assert not [child for child in driver.state.children.values() if child.role != "zygote"]
    assert (driver.process(importing).status, driver.process(importing).reason) == ("admitted", ""), "nothing of it had run"


def test_a_process_that_waits_for_a_zygote_gets_one_after_a_reboot() -> None:
    """It was admitted and had nothing yet that could have ended."""
    driver = Driver()
    driver.run()
    driver.give(events.PortViolated("zygote/1", "noise"))
    pid = driver.spawn()
    assert names(driver.next_kernel(interruption="the machine was restarted"), effects.Fork) == ["zygote/2"]
    driver.import_code("zygote/2")
    assert driver.process(pid).status == "starting"


def test_what_may_not_have_been_done_is_done_again() -> None:
    """Gates, signals, answers, results, batches, requests to go: each is harmless when it comes twice."""
    driver = Driver()
    gated, stopping, killing, running = (driver.run() if number else driver.spawn() for number in range(4))
    driver.give(events.Forked(f"{gated}.1", 90, 1))
    driver.answer(requests.Kill(stopping))
    driver.answer(requests.Kill(killing, force=True))
    driver.submit(running, 3)
    driver.worker(f"{running}.1/w1", 201)
    driver.worker(f"{running}.1/w2", 202)
    driver.finish(f"{running}.1/w1")
    driver.finish(f"{running}.1/w1")
    driver.give(events.ResultsSeen(f"{running}.1", 1))
    done = driver.next_kernel()
    assert names(done, effects.OpenGate) == [f"{gated}.1"]
    assert {(effect.name, effect.signal) for effect in only(done, effects.Signal)} == {(f"{stopping}.1", 15), (f"{killing}.1", 9)}
    assert told(done, port.Accepted) == [port.Accepted(1, 1)]
    assert [message.sequence for message in told(done, port.Finished)] == [2]
    assert sent(done) == {f"{running}.1/w2": [2]}


def test_a_refusal_is_repeated_like_an_acceptance() -> None:
    """The process waits for one of the two."""
    driver = Driver()
    pid = driver.run()
    driver.submit(pid, 0)
    assert told(driver.next_kernel(), port.Refused) == [port.Refused(1, "cannot submit 0 threads at once: 1 to 10000")]


def test_a_worker_that_was_asked_to_go_is_asked_again() -> None:
    """It may never have heard it, and holds a place in its pool meanwhile."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1")
    driver.finish(f"{pid}.1/w1")
    driver.give(after=30.1)
    assert only(driver.next_kernel(), effects.Retire) == [effects.Retire(f"{pid}.1/w1")]
    assert not sent(driver.submit(pid))


def test_a_thread_that_is_to_end_is_still_to_end() -> None:
    """The client was told so: the next kernel freezes the worker again, and takes it back."""
    driver = Driver()
    pid = short(driver, count=4)
    driver.answer(requests.KillThread(4))
    assert names(driver.next_kernel(), effects.FreezeWorker) == [f"{pid}.1/w1"]
    done = driver.freeze(f"{pid}.1/w1")
    assert [(result.tid, result.status) for result in results(done)] == [(4, "terminated")]


def test_what_has_ended_of_a_submission_has_ended_for_every_kernel() -> None:
    """Results that were seen are kept as facts while others of their submission are open."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 3)
    driver.worker(f"{pid}.1/w1")
    driver.finish(f"{pid}.1/w1")
    driver.give(events.ResultsSeen(f"{pid}.1", 1))
    driver.next_kernel()
    driver.next_kernel()
    assert driver.flying(f"{pid}.1/w1") == [2]
    for tid in (2, 3):
        driver.finish(f"{pid}.1/w1")
        assert driver.thread(tid).state == "completed"
    assert not [table for table, _ in driver.rows if table in ("chunk", "batch")]


def test_time_outs_stand_for_what_runs_and_for_what_is_ending() -> None:
    driver = Driver()
    pid, other = driver.run(workers=1), driver.run()
    driver.submit(pid, timeout=2.0)
    driver.worker(f"{pid}.1/w1")
    driver.give(after=1.5)
    driver.answer(requests.Kill(other))
    driver.next_kernel()
    assert not names(driver.give(after=0.4), effects.Signal)
    assert names(driver.give(after=0.2), effects.Signal) == [f"{pid}.1/w1"]
    assert names(driver.give(after=4.5), effects.Signal) == [f"{other}.1"]


def test_an_end_that_had_begun_goes_on() -> None:
    """Its group is to be removed again; what ended stays in the order in which it did."""
    driver = Driver(ended_kept=1, ended_least=0.0)
    first, second = driver.run(), driver.run()
    driver.end(second)
    driver.give(events.Exited(f"{first}.1", 1, 0), after=1.0)
    assert only(driver.next_kernel(), effects.ClearGroup) == [effects.ClearGroup(first, 1)]
    driver.give(events.GroupGone(first))
    assert list(driver.state.processes) == [first]


def test_a_child_that_was_to_be_forked_still_has_its_minute() -> None:
    """Its deadline is in the journal; one of an earlier phase is not taken for it."""
    driver = Driver(ready_timeout=300.0)
    pid = driver.spawn()
    driver.import_code()
    driver.give(after=59.0)
    driver.next_kernel()
    driver.give(events.Forked(f"{pid}.1", 100, 1))
    assert not driver.give(after=2.0)
    assert names(driver.give(after=58.1), effects.Signal) == [f"{pid}.1"]


def test_the_daemon_started_when_its_first_kernel_did() -> None:
    """A restart of the kernel is not one of the daemon; an interruption is."""
    driver = Driver()
    started = driver.answer(requests.Status()).started_at
    driver.give(after=100.0)
    driver.next_kernel()
    assert driver.answer(requests.Status()).started_at == started
    driver.next_kernel(interruption="the daemon was restarted")
    assert driver.answer(requests.Status()).started_at == started + 100.0


def test_events_go_on_where_they_were() -> None:
    """The numbers have no gap, and the old ones can still be read."""
    driver = Driver()
    driver.run()
    last = driver.answer(requests.Events()).last
    driver.next_kernel()
    driver.give(events.StopAsked("x"))
    assert [info.number for info in driver.answer(requests.Events()).events][: last + 1] == list(range(1, last + 2))


def test_results_that_nobody_has_seen_still_count() -> None:
    """Against what a process may leave lying."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 2)
    driver.worker(f"{pid}.1/w1")
    driver.finish(f"{pid}.1/w1")
    before = driver.state.pools[pid].unseen
    driver.next_kernel()
    assert driver.state.pools[pid].unseen == before > 0


def test_rows_survive_the_journal() -> None:
    """Each row reads as it was written, by a kernel that knows its fields."""
    driver = Driver()
    pid = short(driver, count=4)
    driver.cancel(pid, 4)
    for row in driver.rows.values():
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=type(row)) == row


def test_the_log_of_an_earlier_incarnation_is_not_taken_over() -> None:
    """The kernel that died may not have said that it is over: nobody would ever close it."""
    driver = Driver()
    pid = command(driver, start_limit=0, backoff=0.01, backoff_most=0.01)
    leave(driver, pid)
    driver.give(after=1.0)
    execute(driver, pid)
    driver.next_kernel()
    assert driver.process(pid).incarnation == 2
    names = (f"{pid}.1", f"{pid}.2", f"{pid}.1.probe", f"{pid}.2.probe", f"{pid}.x", "4711.1", "zygote-9", "strange")
    assert [name for name in names if log_is_wanted(driver.state, name)] == [f"{pid}.2", f"{pid}.2.probe"]
    orchestrator = driver.run()
    assert log_is_wanted(driver.state, f"{orchestrator}.1")
    assert log_is_wanted(driver.state, "zygote-1")
    driver.end(orchestrator)
    assert not log_is_wanted(driver.state, f"{orchestrator}.1")


@pytest.mark.parametrize(("status", "kind", "cause"), [(0, "completed", "exited 0"), (3, "failed", "exited 3")])
def test_what_waited_when_everything_ended_goes_on_waiting_and_its_end_is_its_own(status: int, kind: str, cause: str) -> None:
    driver = Driver()
    pid = command(driver, name="db", ready="notify")
    job = int(driver.answer(requests.Spawn(requests.Spec(name="job", kind="tool", command=["j"], after=["db"])))["pid"])
    driver.next_kernel(interruption="the daemon was restarted")
    driver.give(events.GroupGone(pid, incarnation=1))
    assert (driver.process(job).status, driver.process(pid).incarnation) == ("waiting", 2)
    driver.answer(requests.Kill(pid, force=True))
    leave(driver, pid, 2, 9)
    execute(driver, job)
    leave(driver, job, 1, status)
    assert (driver.process(job).status, driver.process(job).cause, driver.process(job).incarnation) == (kind, cause, 1)


@pytest.mark.parametrize("changes", [{}, {"handlers": "/h.py"}], ids=["shared", "of its own"])
def test_one_whose_code_was_being_imported_when_everything_ended_has_it_imported_again(changes: dict[str, Any]) -> None:
    """Nothing of it had run that could be repeated: who was told that it is admitted has not to ask again."""
    driver = Driver()
    pid = driver.spawn(**changes)
    if changes:
        driver.import_code("zygote/1")
    driver.open("zygote/2" if changes else "zygote/1", 60)
    done = driver.next_kernel(interruption="the daemon was restarted")
    assert (driver.process(pid).status, driver.process(pid).reason) == ("admitted", "")
    (again,) = names(done, effects.Fork)
    while f"{pid}.1" not in driver.state.children:
        driver.import_code(next(name for name, child in driver.state.children.items() if child.phase == "forking"))
    assert again.startswith("zygote/")
    driver.open(f"{pid}.1", 100)
    driver.give(events.MainReady(f"{pid}.1", ["work"], [], {}, []))
    assert (driver.process(pid).status, driver.process(pid).is_interrupted) == ("running", False)
