"""How processes come up and how they end: the status, the cause, and nothing left."""

from typing import Any

import msgspec
import pytest

from dadms_ipc import port, requests
from dadmsd.kernel.core import effects, events
from tests.unit.kernel.driver import NIL, START, Driver, names, only, told
from tests.unit.kernel.test_restarts import command, execute, leave


def test_a_process_goes_from_admitted_to_running() -> None:
    """Zygote, import, fork, gate, handshake."""
    driver = Driver()
    pid = driver.spawn()
    seen = [driver.process(pid).status]
    driver.import_code()
    seen.append(driver.process(pid).status)
    driver.open(f"{pid}.1", 100)
    driver.give(events.MainReady(f"{pid}.1", ["work"], ["a warning"], {"files": "1024"}))
    seen.append(driver.process(pid).status)
    assert seen == ["admitted", "starting", "running"]
    assert driver.process(pid).warnings == ["a warning"]
    assert driver.process(pid).limits == {"files": "1024"}


def test_the_bus_hears_of_a_process_when_its_limits_are_in_force_and_of_its_end() -> None:
    """Enrolled before it can speak, discharged when its main is gone."""
    driver = Driver()
    pid = driver.spawn()
    driver.import_code()
    driver.give(events.Forked(f"{pid}.1", 100, 1))
    assert only(driver.give(events.GateOpened(f"{pid}.1", {"memory": "64 MiB"})), effects.Enroll) == [effects.Enroll(pid, 1, "p", 0, "")]
    assert only(driver.give(events.BusLinked()), effects.Enroll, effects.FinishRoster) == [
        effects.Enroll(pid, 1, "p", 0, ""),
        effects.FinishRoster(1),
    ]
    assert only(driver.give(events.Exited(f"{pid}.1", 1, 0)), effects.Discharge) == [effects.Discharge(pid, 1)]
    assert only(driver.give(events.BusLinked()), effects.FinishRoster) == [effects.FinishRoster(0)]


def test_the_end_of_a_main_is_told_before_anybody_is_woken_to_clear_away() -> None:
    """Who is woken may take the processor, and who waits for the news would wait for him as well."""
    driver = Driver()
    pid = driver.run()
    done = driver.give(events.Exited(f"{pid}.1", 2, 9))
    kinds = [type(effect) for effect in done if not isinstance(effect, effects.Publish) or effect.kind == "process.exited"]
    assert kinds.index(effects.Publish) < kinds.index(effects.Bury)
    assert only(done, effects.Bury) == [effects.Bury(f"{pid}.1")]


def outcome(status: str = "completed", reason: str = "") -> list[events.Event]:
    return [events.OutcomeGiven("1001.1", port.Outcome(status, msgspec.Raw(msgspec.msgpack.encode({"x": 1})), reason))]


@pytest.mark.parametrize(
    ("before", "exit_", "status", "cause", "reason"),
    [
        (outcome(), {"how": 1, "status": 0}, "completed", "completed", ""),
        (outcome("failed", "no way"), {"how": 1, "status": 0}, "failed", "failed", "no way"),
        (outcome(), {"how": 1, "status": 3}, "failed", "exited 3", "exited 3 after its outcome"),
        (outcome(), {"how": 2, "status": 9, "oom": "its limit of 1 GiB"}, "failed", "oom", "out of memory: its limit of 1 GiB"),
        ([], {"how": 1, "status": 0}, "failed", "exited 0", "exited with 0 and no outcome"),
        ([], {"how": 1, "status": 4}, "failed", "exited 4", "exited 4 without an outcome"),
        ([], {"how": 2, "status": 11}, "failed", "signal 11 (SIGSEGV)", "signal 11 (SIGSEGV), not by us"),
        ([], {"how": 2, "status": 64}, "failed", "signal 64 (unnamed)", "signal 64 (unnamed), not by us"),
        ([], {"how": 0, "status": 0}, "failed", "ended in a way that nobody saw", "ended in a way that nobody saw, not by us"),
        ([events.ChildFailed("1001.1", "it broke")], {"how": 1, "status": 1}, "failed", "failed", "it broke"),
        (
            [events.ChildFailed("1001.1", "first"), events.ChildFailed("1001.1", "last")],
            {"how": 1, "status": 1},
            "failed",
            "failed",
            "first",
        ),
        ([events.PortViolated("1001.1", "noise")], {"how": 2, "status": 9}, "failed", "violation", "broke the protocol: noise"),
    ],
)
def test_the_cause_of_an_end_is_what_was_seen(
    before: list[events.Event], exit_: dict[str, Any], status: str, cause: str, reason: str
) -> None:
    """Out of memory, then our doing, then what it said, then how it exited."""
    driver = Driver()
    pid = driver.run()
    driver.give(*before)
    driver.end(pid, **exit_)
    process = driver.process(pid)
    assert (process.status, process.cause, process.reason) == (status, cause, reason)
    assert not driver.state.owned(pid)


def test_the_first_outcome_stands_and_each_is_acknowledged() -> None:
    """A repeated one is answered again, a different one changes nothing."""
    driver = Driver()
    pid = driver.run()
    for event in (*outcome(), *outcome("failed", "changed its mind")):
        assert told(driver.give(event), port.Recorded) == [port.Recorded()]
    assert (driver.process(pid).outcome_status, driver.process(pid).reason) == ("completed", "")


@pytest.mark.parametrize(("said", "status"), [("completed", "completed"), ("failed", "failed")])
def test_a_main_that_does_not_go_after_its_outcome_is_ended_and_the_outcome_stands(said: str, status: str) -> None:
    """What keeps it from exiting is its own affair; ten seconds are enough for it."""
    driver = Driver()
    pid = driver.run()
    driver.give(*outcome(said, "because"))
    assert not driver.give(after=9.9)
    assert names(driver.give(after=0.2), effects.Signal) == [f"{pid}.1"]
    driver.end(pid, 2, 9)
    assert driver.process(pid).status == status


def test_a_main_that_is_stopped_after_its_outcome_has_the_time_of_the_stop() -> None:
    """A repeated outcome does not give it more."""
    driver = Driver()
    pid = driver.run(stop_timeout=2.0)
    driver.give(*outcome())
    driver.answer(requests.Kill(pid))
    driver.give(*outcome(), after=1.0)
    assert names(driver.give(after=1.1), effects.Signal) == [f"{pid}.1"]


def test_what_a_stranger_says_is_no_outcome_and_no_note() -> None:
    """A worker, or a main that is gone, says nothing for a process."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1")
    for name in (f"{pid}.1/w1", "1009.1"):
        done = driver.give(events.OutcomeGiven(name, port.Outcome("completed", NIL)), events.NoteGiven(name, port.Note("x", "y")))
        assert not done
    assert not driver.process(pid).outcome_status


def test_a_main_that_is_not_ready_in_time_is_ended_with_its_group() -> None:
    """The cause says how long it had, and nothing says so again."""
    driver = Driver()
    pid = driver.spawn(ready_timeout=2.0)
    driver.import_code()
    driver.open(f"{pid}.1", 100)
    assert not driver.give(after=1.9)
    done = driver.give(after=0.2)
    assert names(done, effects.Signal) == [f"{pid}.1"]
    assert only(done, effects.KillGroup) == [effects.KillGroup(pid)]
    driver.end(pid, 2, 9)
    assert (driver.process(pid).status, driver.process(pid).cause, driver.process(pid).reason) == (
        "failed",
        "not ready in 2 s",
        "not ready in 2 s (ready_timeout, 60 s by default)",
    )


def test_a_gate_that_stays_shut_fails_the_start() -> None:
    """A limit could not be enforced: nothing of the user's ran, and the reason is the limit."""
    driver = Driver()
    pid = driver.spawn()
    driver.import_code()
    driver.give(events.Forked(f"{pid}.1", 100, 1))
    driver.give(events.GateShut(f"{pid}.1", "memory.max cannot be written"))
    driver.give(events.GateShut(f"{pid}.1", "late"))
    driver.end(pid, 2, 9)
    assert (driver.process(pid).cause, driver.process(pid).reason) == ("start failed", "memory.max cannot be written")


def test_a_fork_that_fails_fails_the_start() -> None:
    """Its zygote says why; one that says nothing has a minute."""
    driver = Driver()
    first, second = driver.spawn(), driver.spawn()
    driver.import_code()
    driver.give(events.ForkFailed(f"{first}.1", "no more processes"))
    driver.give(after=60.1)
    for pid, words in ((first, "no more processes"), (second, "its zygote did not fork it within 60 s")):
        driver.give(events.GroupGone(pid))
        assert (driver.process(pid).cause, driver.process(pid).reason) == ("start failed", words)
    driver.give(events.Forked(f"{second}.1", 300, 1))
    assert f"{second}.1" not in driver.state.children, "what is forked after all is nobody's"


# asked for


def test_stop_escalates_to_sigkill_at_the_deadline() -> None:
    """A process that ignores SIGTERM is killed, tree and all, when its stop time-out passes."""
    driver = Driver()
    pid = driver.run()
    done = driver.give(events.RequestArrived(b"c", 90, 0, "admin", "uid 0", requests.Kill(pid)))
    assert told(done, port.Stop) == [port.Stop("kill from uid 0", 5.0)]
    assert effects.Signal(f"{pid}.1", 15) in done
    assert not only(driver.give(after=4.9), effects.Signal)
    done = driver.give(after=0.2)
    assert effects.Signal(f"{pid}.1", 9) in done
    assert effects.KillGroup(pid) in done
    driver.end(pid, 2, 9)
    assert (driver.process(pid).status, driver.process(pid).cause) == ("killed", "signal 9 (SIGKILL), by kill from uid 0")


def test_force_kills_at_once_even_what_is_being_stopped() -> None:
    """The second request does not wait for the first one's deadline."""
    driver = Driver()
    pid = driver.run()
    driver.answer(requests.Kill(pid))
    driver.answer(requests.Kill(pid))
    done = driver.give(events.RequestArrived(b"d", 1, 0, "admin", "uid 0", requests.Kill(pid, force=True)))
    assert only(done, effects.Signal, effects.KillGroup) == [effects.Signal(f"{pid}.1", 9), effects.KillGroup(pid)]
    assert driver.kinds("process.stopping") == ["process.stopping"]


def test_a_main_that_completes_before_the_signal_reaches_it_has_completed() -> None:
    """The outcome counts, not the request."""
    driver = Driver()
    pid = driver.run()
    driver.give(*outcome())
    driver.answer(requests.Kill(pid))
    driver.end(pid)
    assert driver.process(pid).status == "completed"


@pytest.mark.parametrize("handlers", [None, "/h.py"])
def test_a_kill_before_the_start_ends_what_there_is(handlers: str | None) -> None:
    """While its zygote imports there is no main; a zygote of its own goes, a shared one stays."""
    driver = Driver()
    pid = driver.spawn(handlers=handlers)
    if handlers:
        driver.import_code()
        driver.open("zygote/2", 51)
    done = driver.give(events.RequestArrived(b"d", 1, 0, "admin", "uid 0", requests.Kill(pid)))
    assert names(done, effects.Signal) == (["zygote/2"] if handlers else [])
    driver.answer(requests.Kill(pid))
    if handlers:
        driver.give(events.Exited("zygote/2", 2, 9))
    driver.give(events.GroupGone(pid))
    assert (driver.process(pid).status, driver.process(pid).cause) == ("killed", "killed before its start, by kill from uid 0")
    assert list(driver.state.children) == ["zygote/1"]
    assert driver.answer(requests.Kill(pid)) == {"pid": pid, "was": "killed"}


@pytest.mark.parametrize("force", [False, True])
def test_a_main_whose_end_is_asked_for_before_it_exists_never_gets_through_its_gate(force: bool) -> None:
    """Its fork is reported later: it is killed at its gate, which is not opened."""
    driver = Driver()
    pid = driver.spawn()
    driver.import_code()
    driver.answer(requests.Kill(pid, force=force))
    done = driver.give(events.Forked(f"{pid}.1", 100, 1))
    assert done == [effects.Signal(f"{pid}.1", 9)]
    driver.end(pid, 2, 9)
    assert driver.process(pid).status == "killed"


def test_a_kill_at_the_gate_needs_no_patience() -> None:
    """What runs nothing of the user's yet is killed without a grace."""
    driver = Driver()
    pid = driver.spawn()
    driver.import_code()
    driver.give(events.Forked(f"{pid}.1", 100, 1))
    done = driver.give(events.RequestArrived(b"d", 1, 0, "admin", "uid 0", requests.Kill(pid)))
    assert names(done, effects.Signal) == [f"{pid}.1"]
    assert not told(done, port.Stop)


def test_the_end_of_a_main_takes_its_workers_then_its_zygote_then_its_group() -> None:
    """Each only when the one before is gone, so that nothing is forked into a group that is being removed."""
    driver = Driver()
    pid = driver.run(handlers="/h.py")
    driver.submit(pid, 2)
    driver.worker(f"{pid}.1/w1")
    done = driver.give(events.Exited(f"{pid}.1", 1, 1))
    assert names(done, effects.Signal) == [f"{pid}.1/w1"]
    assert names(driver.give(events.Forked(f"{pid}.1/w2", 300, 1)), effects.Signal) == [f"{pid}.1/w2"]
    done = driver.give(events.Exited(f"{pid}.1/w1", 2, 9), events.Exited(f"{pid}.1/w2", 2, 9))
    assert names(done, effects.Signal) == ["zygote/2"]
    assert only(driver.give(events.Exited("zygote/2", 2, 9)), effects.ClearGroup) == [effects.ClearGroup(pid, 1)]
    driver.give(events.GroupGone(pid, 77, 1.5))
    driver.give(events.GroupGone(pid, 0, 0.0))
    assert (driver.process(pid).memory_peak, driver.process(pid).cpu_seconds) == (77, 1.5)
    assert [driver.thread(tid).cause for tid in (1, 2)] == ["terminated", "terminated"]


# the daemon


def test_a_daemon_that_ends_says_so_when_nothing_is_left() -> None:
    """Processes, then the zygotes that nobody needs; asking twice changes nothing."""
    driver = Driver()
    pid = driver.run()
    done = driver.give(events.StopAsked("SIGTERM"), events.StopAsked("SIGTERM"))
    assert names(done, effects.Signal) == [f"{pid}.1"]
    done = driver.end(pid)
    assert names(done, effects.Signal) == ["zygote/1"]
    assert not only(done, effects.SayStopped)
    assert only(driver.give(events.Exited("zygote/1", 2, 9)), effects.SayStopped) == [effects.SayStopped()]
    assert not driver.give(after=1.0)


def test_a_daemon_whose_lease_ended_waits_for_nobody() -> None:
    """Nobody reads the outcome any more: everything is killed."""
    driver = Driver()
    pid = driver.run()
    assert effects.KillGroup(pid) in driver.give(events.StopAsked("lease"))


def test_a_restarted_server_is_told_once_it_runs_again() -> None:
    """Not its first start, not its death: its return."""
    driver = Driver()
    driver.give(events.ServerChanged("bus", 10, 0, True, ""))
    driver.give(events.ServerChanged("bus", 0, 0, False, "signal 9"))
    driver.give(events.ServerChanged("bus", 11, 1, True, "signal 9", 10))
    assert [info.text for info in driver.state.events] == ["bus was restarted as pid 11: pid 10 ended: signal 9"]
    assert driver.answer(requests.Status()).servers == {"bus": {"os_pid": 11, "restarts": 1, "running": True, "last_end": "signal 9"}}


def test_a_kernel_that_took_over_tells_once_what_ended_with_its_predecessor() -> None:
    driver = Driver()
    driver.give(events.ServerChanged("bus", 10, 1, True, "exit 1", 9), after=1.0)
    driver.next_kernel()
    for _ in range(2):  # what the keeper says of the bus is no news, and of the others is
        driver.give(events.ServerChanged("bus", 10, 1, True, "exit 1", 9))
        driver.give(events.ServerChanged("logger", 21, 1, True, "signal 9 (SIGKILL)", 20))
        driver.give(events.ServerChanged("kernel", 12, 1, True, "signal 9 (SIGKILL)", 11))
    driver.next_kernel()
    driver.give(events.ServerChanged("logger", 21, 1, True, "signal 9 (SIGKILL)", 20))
    driver.give(events.ServerChanged("kernel", 13, 2, True, "exit 1", 12))
    assert [info.text for info in driver.state.events] == [
        "bus was restarted as pid 10: pid 9 ended: exit 1",
        "logger was restarted as pid 21: pid 20 ended: signal 9 (SIGKILL)",
        "kernel was restarted as pid 12: pid 11 ended: signal 9 (SIGKILL)",
        "kernel was restarted as pid 13: pid 12 ended: exit 1",
    ]
    driver.give(after=1.0)
    driver.next_kernel(interruption="the daemon was restarted")
    driver.give(events.ServerChanged("bus", 40, 0, True, ""), events.ServerChanged("logger", 42, 1, True, "exit 2", 41), after=1.0)
    assert [info.text for info in driver.state.events][4:] == ["logger was restarted as pid 42: pid 41 ended: exit 2"]


# late and strange


def test_a_late_report_changes_nothing() -> None:
    """A report that lost a race: the phase stays, nothing is done."""
    driver = Driver()
    pid = driver.run()
    name = f"{pid}.1"
    for event in (
        events.Forked(name, 999, 9),
        events.GateOpened(name),
        events.GateShut(name, "late"),
        events.MainReady(name, [], []),
        events.ForkFailed(name, "late"),
        events.ZygoteReady("zygote/1", "2", [], [], 1.0),
        events.GroupGone(pid),
    ):
        assert not driver.give(event)
        assert (driver.child(name).phase, driver.child(name).os_pid, driver.child(name).failure) == ("ready", 100, "")


def test_reports_about_nobody_change_nothing() -> None:
    """Its row is gone; only an exit is answered, so that its zygote may reap it."""
    driver = Driver()
    name = "1009.1"
    assert driver.give(events.Exited(name, 1, 0)) == [effects.Bury(name)]
    for event in (
        events.Forked(name, 1, 1),
        events.ForkFailed(name, "x"),
        events.GateOpened(name),
        events.GateShut(name, "x"),
        events.ZygoteReady(name, "1", [], [], 0.0),
        events.MainReady(name, [], []),
        events.WorkerReady(name),
        events.ChildFailed(name, "x"),
        events.PortViolated(name, "x"),
        events.Submitted(name, port.Submit(1, "work", [NIL])),
        events.CancelAsked(name, 1, [1]),
        events.ResultsSeen(name, 1),
        events.ResultsRead(name, []),
        events.ProgressMade(name, 1, "x", None),
        events.LineWanted(1009),
        events.GroupGone(1009),
        events.ClientLeft(b"nobody"),
        events.TimePassed(),
    ):
        assert not driver.give(event), event


def test_a_process_that_somebody_waits_for_is_told_so() -> None:
    """Only one that lives, and is past its gate."""
    driver = Driver()
    pid = driver.run()
    assert driver.give(events.LineWanted(pid)) == [effects.Tell(f"{pid}.1", port.Listen())]
    driver.give(events.Exited(f"{pid}.1", 1, 0))
    assert driver.give(events.LineWanted(pid)) == []


def test_a_note_is_an_event() -> None:
    """Its kind and its data are the process's own."""
    driver = Driver()
    driver.run()
    driver.give(events.NoteGiven("1001.1", port.Note("branch", "yes", msgspec.Raw(msgspec.msgpack.encode({"flow": 7})))))
    info = driver.state.events[-1]
    assert (info.kind, info.text, info.data) == ("note", "yes", {"kind": "branch", "data": {"flow": 7}})


@pytest.mark.parametrize(("kind", "is_counted", "peak"), [("tool", True, 700), ("tool", False, 4096), ("orchestrator", True, 4096)])
def test_of_a_program_the_memory_of_its_group_counts_and_not_what_its_zygote_held(kind: str, is_counted: bool, peak: int) -> None:
    """What getrusage tells of a program begins with the pages of who forked it; an orchestrator's are its own, and in part charged to its zygote."""
    driver = Driver()
    pid = driver.run() if kind == "orchestrator" else command(driver, kind="tool")
    driver.give(events.Exited(f"{pid}.1", 1, 0, memory_peak=4096))
    driver.give(events.GroupGone(pid, 700, is_counted=is_counted))
    assert driver.process(pid).memory_peak == peak


def test_without_groups_what_its_children_used_is_what_a_process_used() -> None:
    """CPU time of main and workers adds up, the largest resident set counts; a group that counted more is believed."""
    driver = Driver()
    pid = driver.run()
    driver.give(events.Exited(f"{pid}.1", 1, 0, cpu_seconds=0.5, memory_peak=4096))
    driver.give(events.GroupGone(pid))
    assert (driver.process(pid).cpu_seconds, driver.process(pid).memory_peak) == (0.5, 4096)


def test_an_exit_is_told_at_once_and_the_end_when_nothing_is_left() -> None:
    """What the process left behind may take its time to end; who watches it knows by then how it exited."""
    driver = Driver()
    pid = driver.run()
    driver.give(events.Exited(f"{pid}.1", 1, 3))
    (told,) = [info for info in driver.state.events if info.kind == "process.exited"]
    assert (told.pid, told.text, told.data) == (pid, "p: exited 3", {"incarnation": 1, "exit_code": 3, "exit_signal": None})
    assert "process.ended" not in driver.kinds()
    driver.give(events.GroupGone(pid))
    assert driver.kinds()[-1] == "process.ended"
    killed = driver.run()
    driver.give(events.Exited(f"{killed}.1", 2, 9))
    assert driver.state.events[-1].data == {"incarnation": 1, "exit_code": None, "exit_signal": 9}


def test_what_the_oom_killer_took_of_a_program_stands_beside_its_exit_and_is_of_that_incarnation() -> None:
    driver = Driver()
    pid = int(driver.answer(requests.Spawn(requests.Spec("web", kind="service", command=["web"], backoff=0.1)))["pid"])
    execute(driver, pid)
    leave(driver, pid, 1, 7, oom_kills=2, oom_words="beyond its memory limit", at=START + driver.now - 5.0)
    driver.give(after=1.0)
    execute(driver, pid)
    driver.give(after=2.0)
    leave(driver, pid, 1, 0, at=START + driver.now - 0.5)
    first, second = driver.answer(requests.History(pid))
    words = "exited 7; the OOM killer ended 2 processes that it had started, beyond its memory limit"
    assert [(life.cause, life.reason, life.oom_kills) for life in (first, second)] == [("exited 7", words, 2), ("exited 0", "", 0)]
    assert second.exited_at == second.ended_at - 0.5
    assert first.exited_at == first.started_at, "a wall clock that was set meanwhile makes nothing end before it began"


def test_what_the_oom_killer_took_of_a_worker_counts_with_what_it_took_of_the_main() -> None:
    driver = Driver()
    pid = driver.run()
    driver.submit(pid, 1)
    driver.worker(f"{pid}.1/w1")
    driver.give(events.Exited(f"{pid}.1/w1", 1, 0, oom_kills=1, oom_words="beyond its memory limit"))
    assert driver.process(pid).oom_kills == 1
    driver.next_kernel()
    driver.end(pid, 1, 3, oom_kills=1, oom_words="beyond its memory limit")
    (life,) = driver.answer(requests.History(pid))
    assert (life.oom_kills, "the OOM killer ended 2 processes that it had started" in life.reason) == (2, True)
