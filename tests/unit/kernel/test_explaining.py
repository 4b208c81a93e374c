"""What is said of a process: why it is as it is, and how its incarnations ended."""

import pytest

from dadms_ipc import port, requests
from dadms_ipc.requests import Explanation, LifeInfo
from dadmsd.kernel.core import events
from dadmsd.kernel.core.restarts import RESUMES_MOST
from tests.unit.kernel.driver import NIL, Driver
from tests.unit.kernel.test_checkpoints import begin, give, lose
from tests.unit.kernel.test_order import waiting
from tests.unit.kernel.test_restarts import command, execute, leave


def said(driver: Driver, pid: int) -> list[str]:
    answer = driver.answer(requests.Explain(pid))
    assert isinstance(answer, Explanation)
    return answer.sentences


def test_each_state_has_its_reason() -> None:
    driver = Driver()
    db = waiting(driver, name="db", ready="notify", ready_timeout=60.0)
    assert said(driver, db) == ["base was asked to fork it (60 s left)"]
    driver.give(events.Forked(f"{db}.1", 100, 1))
    assert said(driver, db) == ["OS process 100 waits at its gate until its limits are in force (60 s left)"]
    driver.give(events.GateOpened(f"{db}.1"))
    driver.give(events.Executed(f"{db}.1"))
    driver.give(events.Notified(f"{db}.1", status="warming up"), after=10.0)
    assert said(driver, db) == [
        'OS process 100 runs, and is waited for until it says READY=1 on its notify socket (50 s left); it says "warming up"'
    ]
    web = waiting(driver, name="web", requires=["db"], run_timeout=100.0)
    assert said(driver, web) == [f'requires "db" ({db}), which is starting']
    driver.give(events.Notified(f"{db}.1", is_ready=True))
    execute(driver, web)
    driver.give(after=20.0)
    assert said(driver, web) == ["it has been ready for 20 s", "in 80 s its time is over"]
    driver.answer(requests.Suspend(web))
    assert said(driver, web)[0] == f"it is suspended (freezing), and so is its time; dadmsctl resume {web} lets it go on"


def test_a_backoff_says_when_and_how_many_starts_are_left() -> None:
    driver = Driver()
    pid = command(driver, backoff=4.0, backoff_jitter=0.0, start_limit=3)
    leave(driver, pid, 1, 9)
    driver.give(after=1.0)
    assert said(driver, pid) == [
        "its incarnation 1 ended: exited 9",
        "the next one is started in 3 s",
        "1 of 3 starts within 300 s are used up",
    ]


def test_an_end_says_what_it_waits_for() -> None:
    driver = Driver()
    pid = command(driver, stop_timeout=5.0)
    driver.answer(requests.Stop(pid))
    driver.give(after=2.0)
    assert said(driver, pid) == ["OS process 100 was sent SIGTERM, and has 3 s until SIGKILL"]
    assert driver.answer(requests.Status(pid)).waits_for == said(driver, pid)
    driver.give(events.Exited(f"{pid}.1", 1, 0))
    assert said(driver, pid) == ["its main has ended; if something that it started lives on, it gets SIGKILL in 3 s"]


def test_one_that_ended_says_why_and_what_would_start_it() -> None:
    driver = Driver()
    limited, stopped, done = command(driver, start_limit=1), command(driver), command(driver, kind="tool")
    leave(driver, limited, 1, 3)
    driver.answer(requests.Stop(stopped, reason="the night shift"))
    leave(driver, stopped, 2, 15)
    leave(driver, done, 1, 0)
    assert said(driver, limited)[1] == "its limit is 1 start within 300 s (start_limit)"
    assert said(driver, stopped) == [
        "it was stopped: signal 15 (SIGTERM), by stop from uid 0: the night shift",
        "it is not to run: stop from uid 0: the night shift",
        f"dadmsctl start {stopped} starts it",
    ]
    assert said(driver, done)[1] == 'it is not started again: its policy is "never"'


def test_who_went_on_from_its_checkpoint_is_not_said_to_have_a_policy_against_it() -> None:
    driver = Driver()
    driver.run()
    give(driver)
    for incarnation in range(1, RESUMES_MOST + 1):
        lose(driver, incarnation)
        begin(driver, incarnation + 1)
    lose(driver, RESUMES_MOST + 1)
    assert said(driver, 1001)[1] == "it is not started again: it went on from the same checkpoint 3 times, at most 3 are tried"


@pytest.mark.parametrize(
    ("restart", "why"), [("", "it has given its outcome"), ("never", 'its policy is "never"')], ids=["by itself", "by its policy"]
)
def test_an_outcome_is_final_and_said_to_be(restart: str, why: str) -> None:
    driver = Driver()
    driver.run(restart=restart)
    driver.give(events.OutcomeGiven("1001.1", port.Outcome("failed", NIL, "no")))
    driver.end(1001)
    assert said(driver, 1001)[:2] == ["it failed: no", f"it is not started again: {why}"]


def test_history_outlives_the_table_and_the_kernel() -> None:
    driver = Driver(retention=100.0, cleanup_interval=10.0)
    pid = command(driver, kind="tool")
    leave(driver, pid, 2, 11)
    driver.give(after=50.0)
    assert pid in driver.state.processes
    driver.give(after=60.0)
    assert pid not in driver.state.processes
    driver.next_kernel()
    (life,) = driver.answer(requests.History(pid))
    assert isinstance(life, LifeInfo)
    assert (life.status, life.cause, life.reason, life.exit_signal) == (
        "failed",
        "signal 11 (SIGSEGV)",
        "signal 11 (SIGSEGV), not by us",
        11,
    )
    assert said(driver, pid)[-1] == "it has left the table; its lives are in the history"
    assert driver.refusal(requests.Start(pid)) == f"process {pid} has left the table: it failed (signal 11 (SIGSEGV)); its history is kept"
    assert driver.refusal(requests.Explain(4711)) == "no process 4711"


def test_what_was_stopped_to_be_started_again_does_not_leave_the_table_by_its_age() -> None:
    driver = Driver(retention=100.0, cleanup_interval=10.0)
    pid = command(driver)
    driver.answer(requests.Stop(pid))
    leave(driver, pid, 2, 15)
    driver.give(after=1000.0)
    assert pid in driver.state.processes
    assert driver.state.next_deadline() is None or driver.state.next_deadline() != driver.now, "nobody looks in vain"


def test_the_history_has_an_end() -> None:
    from dadmsd.kernel.core import state

    driver = Driver()
    pid = command(driver, start_limit=0, backoff=0.01, backoff_most=0.01)
    for _ in range(30):
        leave(driver, pid)
        driver.give(after=1.0)
        execute(driver, pid)
    assert len(driver.state.lives) == 30 <= state.LIVES_KEPT
    assert [life.incarnation for life in driver.answer(requests.History(limit=3))] == [28, 29, 30]
