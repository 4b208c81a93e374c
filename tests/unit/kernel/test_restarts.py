"""What follows the end of an incarnation, in the pure core: policies, pauses, limits, and what was asked for."""

from typing import Any

import pytest

from dadms_ipc import requests
from dadms_ipc.requests import Spec
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.restarts import pause_after
from tests.unit.kernel.driver import Driver, only


def command(driver: Driver, *, kind: str = "service", **changes: Any) -> int:
    """Have a service or tool started up to its program."""
    pid = int(driver.answer(requests.Spawn(Spec(**{"name": "c", "kind": kind, "command": ["c"], **changes})))["pid"])
    execute(driver, pid)
    return pid


def execute(driver: Driver, pid: int) -> None:
    """Have the incarnation that was asked for become its program."""
    name = f"{pid}.{driver.process(pid).incarnation}"
    driver.open(name, 100)
    driver.give(events.Executed(name))


def leave(driver: Driver, pid: int, how: int = 1, status: int = 1, **fields: Any) -> list[effects.AnyEffect]:
    """Have the program end, and its group with it."""
    process = driver.process(pid)
    done = driver.give(events.Exited(f"{pid}.{process.incarnation}", how, status, **fields))
    return done + driver.give(events.GroupGone(pid, incarnation=process.incarnation))


@pytest.mark.parametrize(
    ("kind", "changes", "exit_", "status"),
    [
        ("tool", {}, (1, 0), "completed"),
        ("tool", {}, (1, 3), "failed"),
        ("tool", {}, (2, 11), "failed"),
        ("tool", {"success_codes": (0, 3)}, (1, 3), "completed"),
        ("tool", {"restart": "on-failure"}, (1, 0), "completed"),
        ("tool", {"restart": "on-failure"}, (1, 1), "backoff"),
        ("tool", {"restart": "on-failure", "final_codes": [1]}, (1, 1), "failed"),
        ("tool", {"restart_codes": [75]}, (1, 75), "backoff"),
        ("tool", {"restart_codes": [75]}, (1, 74), "failed"),
        ("tool", {"restart": "always"}, (1, 0), "backoff"),
        ("service", {}, (1, 0), "backoff"),
        ("service", {}, (2, 9), "backoff"),
        ("service", {"restart": "never"}, (1, 0), "completed"),
        ("service", {"final_codes": [0]}, (1, 0), "completed"),
    ],
)
def test_policy_and_exit_code_decide_whether_there_is_a_next_incarnation(
    kind: str, changes: dict[str, Any], exit_: tuple[int, int], status: str
) -> None:
    driver = Driver()
    pid = command(driver, kind=kind, **changes)
    leave(driver, pid, *exit_)
    assert driver.process(pid).status == status


def test_pauses_double_up_to_their_ceiling_and_begin_anew_after_a_good_while() -> None:
    driver = Driver()
    pid = command(driver, backoff=1.0, backoff_most=5.0, backoff_jitter=0.0, backoff_reset=10.0, start_limit=0)
    pauses = []
    for _ in range(5):
        leave(driver, pid)
        pauses.append(driver.process(pid).clocks["backoff"] - driver.now)
        driver.give(after=pauses[-1])
        assert driver.process(pid).status == "starting"
        execute(driver, pid)
    assert pauses == pytest.approx([1.0, 2.0, 4.0, 5.0, 5.0])
    driver.give(after=10.0)
    leave(driver, pid)
    assert driver.process(pid).clocks["backoff"] - driver.now == pytest.approx(1.0)


def test_the_chance_in_a_pause_is_the_same_for_the_same_incarnation_and_another_for_another() -> None:
    driver = Driver()
    first = driver.process(command(driver, backoff=1.0, backoff_jitter=0.5))
    second = driver.process(command(driver, backoff=1.0, backoff_jitter=0.5))
    pauses = [pause_after(driver.state, process) for process in (first, second)]
    assert pauses == [pause_after(driver.state, process) for process in (first, second)]
    assert pauses[0] != pauses[1]
    assert all(1.0 <= pause < 1.5 for pause in pauses)


def test_too_many_starts_in_a_while_are_a_failure_that_names_the_last_cause() -> None:
    driver = Driver()
    pid = command(driver, start_limit=3, start_limit_seconds=60.0)
    for _ in range(2):
        leave(driver, pid)
        driver.give(after=1.0)
        execute(driver, pid)
    leave(driver, pid, 1, 7)
    process = driver.process(pid)
    assert (process.status, process.cause) == ("failed", "start limit")
    assert process.reason == "started 3 times within 60 s, the last time it ended with: exited 7"
    assert driver.state.ledger.grants == {}


def test_starts_that_are_long_past_do_not_count() -> None:
    driver = Driver()
    pid = command(driver, start_limit=2, start_limit_seconds=60.0)
    for _ in range(5):
        driver.give(after=61.0)
        leave(driver, pid)
        assert driver.process(pid).status == "backoff"
        driver.give(after=1.0)
        execute(driver, pid)


@pytest.mark.parametrize(("escalate", "ended"), [("", set()), ("group", {1002}), ("parent", {1003})])
def test_a_start_limit_takes_with_it_what_the_spec_names(escalate: str, ended: set[int]) -> None:
    driver = Driver()
    pid = command(driver, start_limit=1, escalate=escalate, group="g")
    command(driver, group="g")
    command(driver, group="other")
    driver.process(pid).parent = 1003
    leave(driver, pid)
    taken = {each.pid: each.stop_reason for each in driver.state.live_processes() if each.desired == "down"}
    assert taken == dict.fromkeys(ended, f'the start limit of "c" ({pid})')


def test_a_start_limit_may_end_the_daemon() -> None:
    driver = Driver()
    pid = command(driver, start_limit=1, escalate="daemon")
    assert only(leave(driver, pid), effects.AskShutdown) == [effects.AskShutdown(f'the start limit of "c" ({pid})')]


def test_a_program_that_never_was_is_not_tried_again_at_its_first_start() -> None:
    driver = Driver()
    pid = int(driver.answer(requests.Spawn(Spec("c", kind="service", command=["/none"])))["pid"])
    driver.open(f"{pid}.1", 100)
    driver.give(events.ChildFailed(f"{pid}.1", 'cannot run "/none": No such file or directory'))
    leave(driver, pid, 1, 112)
    process = driver.process(pid)
    assert (process.status, process.cause, process.reason) == ("failed", "start failed", 'cannot run "/none": No such file or directory')


def test_one_that_ran_before_is_tried_again_when_its_program_is_missing() -> None:
    driver = Driver()
    pid = command(driver)
    leave(driver, pid)
    driver.give(after=1.0)
    driver.open(f"{pid}.2", 100)
    driver.give(events.ChildFailed(f"{pid}.2", "cannot run"))
    leave(driver, pid, 1, 112)
    assert driver.process(pid).status == "backoff"


@pytest.mark.parametrize("force", [False, True])
def test_a_kill_of_one_that_is_being_stopped_is_for_good_and_its_signal_is_its_own(*, force: bool) -> None:
    """The history names the request that a SIGKILL came from, and not the one before it."""
    driver = Driver()
    pid = command(driver, stop_timeout=20.0)
    driver.answer(requests.Stop(pid))
    driver.answer(requests.Kill(pid, force=force, reason="it hangs"))
    leave(driver, pid, 2, 9 if force else 15)
    process = driver.process(pid)
    assert process.status == "killed"
    assert process.cause == f"signal {'9 (SIGKILL)' if force else '15 (SIGTERM)'}, by kill from uid 0: it hangs"
    assert not process.is_kept


def test_a_kill_while_the_rest_of_a_stopped_tree_is_cleared_away_is_for_good() -> None:
    driver = Driver()
    pid = command(driver)
    driver.answer(requests.Restart(pid))
    driver.give(events.Exited(f"{pid}.1", 1, 0))
    driver.answer(requests.Kill(pid))
    driver.give(events.GroupGone(pid, incarnation=1))
    assert (driver.process(pid).status, driver.state.live_processes()) == ("killed", [])


def test_what_is_killed_while_the_daemon_ends_is_not_started_by_the_next_one() -> None:
    driver = Driver()
    pid = command(driver)
    driver.give(events.StopAsked("x"))
    assert driver.process(pid).resume
    driver.answer(requests.Kill(pid))
    leave(driver, pid, 2, 15)
    assert (driver.process(pid).status, driver.process(pid).resume) == ("killed", False)


def test_a_kill_of_one_that_was_stopped_ends_it_for_good() -> None:
    """It was kept to be started again; now it leaves the table as others do."""
    driver = Driver(retention=10.0, cleanup_interval=1.0)
    pid = command(driver)
    driver.answer(requests.Stop(pid))
    leave(driver, pid, 2, 15)
    driver.give(after=60.0)
    assert driver.process(pid).status == "stopped"
    assert driver.answer(requests.Kill(pid)) == {"pid": pid, "was": "stopped"}
    assert driver.process(pid).status == "killed"
    driver.next_kernel()
    assert driver.process(pid).status == "killed"
    driver.give(after=2.0)
    assert pid not in driver.state.processes


def test_a_stop_in_the_backoff_is_final_and_no_second_life() -> None:
    driver = Driver()
    pid = command(driver)
    leave(driver, pid)
    driver.answer(requests.Stop(pid))
    driver.give(events.GroupGone(pid, incarnation=1))
    assert driver.process(pid).status == "stopped"
    assert driver.give(after=100.0) == []
    assert [(life.incarnation, life.status) for life in driver.state.lives] == [(1, "failed")]


def test_a_start_in_the_backoff_does_not_wait_for_its_end() -> None:
    driver = Driver()
    pid = command(driver, backoff=30.0)
    leave(driver, pid)
    done = driver.give(events.RequestArrived(b"c", 90, 0, "admin", "uid 0", requests.Start(pid)))
    assert [effect.name for effect in only(done, effects.Fork)] == [f"{pid}.2"]
    assert driver.process(pid).failures == 0


def test_a_stop_is_told_to_the_whole_tree_and_what_is_left_has_the_rest_of_the_grace() -> None:
    driver = Driver()
    pid = command(driver, stop_timeout=5.0, stop_signal=2)
    done = driver.give(events.RequestArrived(b"c", 90, 0, "admin", "uid 0", requests.Stop(pid, reason="the shift ends")))
    assert only(done, effects.Signal) == [effects.Signal(f"{pid}.1", 2)]
    assert only(done, effects.SignalGroup) == [effects.SignalGroup(pid, 2, f"{pid}.1")]
    until = driver.now + 5.0
    done = driver.give(events.Exited(f"{pid}.1", 2, 2), after=1.0)
    assert only(done, effects.ClearGroup) == [effects.ClearGroup(pid, 1, until)]
    driver.give(events.GroupGone(pid, incarnation=1))
    process = driver.process(pid)
    assert (process.status, process.cause) == ("stopped", "signal 2 (SIGINT), by stop from uid 0: the shift ends")


def test_one_that_ignores_the_signal_is_killed_with_its_group_at_the_deadline() -> None:
    driver = Driver()
    pid = command(driver, stop_timeout=5.0)
    driver.answer(requests.Stop(pid))
    assert only(driver.give(after=4.9), effects.Signal) == []
    done = driver.give(after=0.2)
    assert only(done, effects.Signal) == [effects.Signal(f"{pid}.1", 9)]
    assert only(done, effects.KillGroup) == [effects.KillGroup(pid)]


def test_what_a_program_leaves_behind_that_ended_by_itself_is_given_no_grace() -> None:
    driver = Driver()
    pid = command(driver)
    done = driver.give(events.Exited(f"{pid}.1", 1, 0))
    assert only(done, effects.ClearGroup) == [effects.ClearGroup(pid, 1, 0.0)]


def test_a_late_report_about_an_earlier_group_changes_nothing() -> None:
    driver = Driver()
    pid = command(driver)
    leave(driver, pid)
    driver.give(after=1.0)
    execute(driver, pid)
    driver.give(events.Exited(f"{pid}.2", 1, 1))
    driver.give(events.GroupGone(pid, incarnation=1))
    assert driver.process(pid).status == "stopping"


def test_a_restart_ends_the_incarnation_and_begins_the_next_one_with_nothing_of_it() -> None:
    driver = Driver()
    pid = command(driver)
    driver.answer(requests.Restart(pid))
    assert driver.process(pid).desired == "restart"
    leave(driver, pid, 2, 15)
    process = driver.process(pid)
    assert (process.incarnation, process.status, process.desired, process.cause, process.exit_how) == (2, "starting", "up", "", 0)
    assert [(life.status, life.cause) for life in driver.state.lives] == [("stopped", "signal 15 (SIGTERM), by restart from uid 0")]


def test_one_that_ended_is_refused_a_start_when_there_is_no_room_for_it() -> None:
    driver = Driver(max_processes=1)
    pid = command(driver, kind="tool")
    leave(driver, pid)
    command(driver)
    assert driver.refusal(requests.Start(pid)) == 'cannot start "c": 1 processes live, at most 1 may (max_processes)'


def test_what_was_to_run_is_started_again_after_a_reboot_and_what_was_stopped_is_not() -> None:
    driver = Driver()
    running, pausing, stopped, tool = command(driver), command(driver), command(driver), command(driver, kind="tool")
    leave(driver, pausing)
    driver.answer(requests.Stop(stopped))
    leave(driver, stopped, 2, 15)
    driver.next_kernel(interruption="the machine was restarted")
    for pid in (running, tool):
        driver.give(events.GroupGone(pid, incarnation=1))
    driver.give()
    found = {pid: (driver.process(pid).status, driver.process(pid).incarnation) for pid in (running, pausing, stopped, tool)}
    assert found == {running: ("starting", 2), pausing: ("starting", 2), stopped: ("stopped", 1), tool: ("failed", 1)}
    assert driver.process(tool).reason == "the machine was restarted"


def test_what_the_end_of_the_daemon_ended_is_started_by_the_next_one() -> None:
    driver = Driver()
    service, tool = command(driver), command(driver, kind="tool")
    driver.give(events.StopAsked("SIGTERM"))
    for pid in (service, tool):
        leave(driver, pid, 2, 15)
    assert {driver.process(pid).status for pid in (service, tool)} == {"stopped", "killed"}
    driver.next_kernel(interruption="the daemon was restarted")
    driver.give()
    assert (driver.process(service).status, driver.process(service).incarnation) == ("starting", 2)
    assert driver.process(tool).status == "killed"


def test_a_pause_goes_on_under_the_next_kernel() -> None:
    driver = Driver()
    pid = command(driver, backoff=5.0, backoff_jitter=0.0)
    leave(driver, pid)
    driver.give(after=2.0)
    driver.next_kernel()
    driver.give(after=2.9)
    assert driver.process(pid).status == "backoff"
    driver.give(after=0.2)
    assert driver.process(pid).status == "starting"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "servise", "command": ["c"]}, "no kind 'servise'; did you mean \"service\"?"),
        ({"kind": "tool"}, "a tool needs a command"),
        ({"kind": "tool", "command": ["c"], "orchestrator": "bpmn"}, "a tool runs a command, and no orchestrator"),
        ({"kind": "tool", "command": ["c\0d"]}, "a null byte is in its command"),
        ({"kind": "tool", "command": ["c", "x" * 200_000]}, "its command has 200001 bytes, at most 131072 are possible"),
        ({"kind": "tool", "command": ["c"], "environment": {"A=B": "c"}}, "a name in its environment is empty or has a = in it"),
        ({"kind": "tool", "command": ["c"], "directory": "here"}, 'its directory "here" is no absolute path'),
        ({"kind": "tool", "command": ["c"], "nice": 20}, "nice is 20, it can be from -20 to 19"),
        ({"kind": "tool", "command": ["c"], "restart": "sometimes"}, "no restart 'sometimes'; there are never, on-failure, always"),
        ({"kind": "tool", "command": ["c"], "backoff": 0.0}, "backoff is 0.0, at least 0.01 is needed"),
        ({"kind": "tool", "command": ["c"], "backoff": 60.0}, "backoff_most is 30.0, at least 60 is needed"),
        ({"kind": "tool", "command": ["c"], "success_codes": (256,)}, "success_codes has 256, an exit code is from 0 to 255"),
        (
            {"kind": "tool", "command": ["c"], "restart_codes": [3], "final_codes": [3]},
            "exit code 3 is in restart_codes and in final_codes",
        ),
        ({"orchestrator": "decision", "umask": 0}, "umask is for a service or a tool, and this is an orchestrator"),
    ],
)
def test_a_specification_that_cannot_be_meant_is_refused(changes: dict[str, Any], reason: str) -> None:
    driver = Driver()
    assert driver.refusal(requests.Spawn(Spec("c", **changes))) == f'cannot start "c": {reason}'
    assert driver.state.processes == {}


def test_a_process_belongs_to_the_one_that_asks_for_it() -> None:
    driver = Driver()
    pid = command(driver)
    request = requests.Spawn(Spec("d", kind="tool", command=["d"]))
    driver.give(events.RequestArrived(b"p", 1, 0, "operate", f"process {pid}.1", request))
    assert driver.process(pid + 1).parent == pid
    assert driver.answer(requests.Spawn(Spec("e", kind="tool", command=["e"], parent=pid)))["pid"] == pid + 2
    assert driver.process(pid + 2).parent == pid


def test_a_wall_clock_that_is_set_back_moves_nothing() -> None:
    """Pauses, limits on starts and time-outs count monotonic seconds."""
    driver = Driver()
    pid = command(driver, backoff=5.0, backoff_jitter=0.0, run_timeout=60.0)
    leave(driver, pid)
    driver.now += 4.9
    for wall in (-3600.0, 7200.0):
        assert driver.kernel.handle([events.TimePassed()], now=driver.now, wall=wall) == []
    driver.now += 0.2
    done = driver.kernel.handle([events.TimePassed()], now=driver.now, wall=-3600.0)
    assert [effect.name for effect in only(done, effects.Fork)] == [f"{pid}.2"]
