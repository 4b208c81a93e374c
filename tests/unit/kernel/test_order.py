"""Dependencies, readiness and suspension, in the pure core."""

from typing import Any

import pytest

from dadms_ipc import requests
from dadms_ipc.requests import Spec
from dadmsd.kernel.core import dependencies, effects, events
from dadmsd.kernel.core.dependencies import circle
from dadmsd.kernel.core.records import Process
from tests.unit.kernel.driver import Driver, only
from tests.unit.kernel.test_restarts import command, execute, leave


def waiting(driver: Driver, **changes: Any) -> int:
    return int(driver.answer(requests.Spawn(Spec(**{"name": "w", "kind": "service", "command": ["w"], **changes})))["pid"])


def signalled(done: list[effects.AnyEffect]) -> list[str]:
    return [effect.name for effect in only(done, effects.Signal)]


def test_after_waits_for_who_is_coming_and_for_nobody_else() -> None:
    driver = Driver()
    first = waiting(driver, name="db", ready="notify")
    second = waiting(driver, after=["db", "nobody"])
    assert driver.process(second).status == "waiting"
    execute(driver, first)
    assert driver.process(second).status == "waiting", "its program runs, and it is not ready"
    done = driver.give(events.Notified(f"{first}.1", is_ready=True))
    assert [effect.name for effect in only(done, effects.Fork)] == [f"{second}.1"]


def test_after_does_not_wait_for_one_that_failed_and_requires_does() -> None:
    driver = Driver()
    first = command(driver, kind="tool", name="migrate")
    after, requires = waiting(driver, after=["migrate"]), waiting(driver, requires=["migrate"])
    leave(driver, first, 1, 1)
    assert (driver.process(after).status, driver.process(requires).status) == ("starting", "waiting")
    driver.answer(requests.Start(first))
    execute(driver, first)
    assert driver.process(requires).status == "waiting", "it runs, and has done nothing yet"
    leave(driver, first, 1, 0)
    assert driver.process(requires).status == "starting"


def test_who_waits_for_what_has_failed_says_so_down_to_the_cause_and_the_remedy() -> None:
    driver = Driver()
    db = command(driver, kind="tool", name="db")
    web, page = waiting(driver, name="web", requires=["db"]), waiting(driver, name="page", requires=["web"])
    assert not driver.answer(requests.Status(web)).is_stuck, "the tool may complete"
    leave(driver, db, 1, 3)
    failed = f'"db" ({db}), which failed (exited 3), and comes back when somebody starts it: dadmsctl start {db}'
    infos = [driver.answer(requests.Status(pid)) for pid in (web, page)]
    assert [info.is_stuck for info in infos] == [True, True]
    assert [info.waits_for for info in infos] == [[f"requires {failed}"], [f'requires "web" ({web}), which is waiting for {failed}']]
    told = [
        info for info in driver.state.events if info.kind == "process.waiting" and isinstance(info.data, dict) and info.data["is_stuck"]
    ]
    assert {info.pid for info in told} == {web, page}, "whoever follows the events hears of it"
    driver.answer(requests.Start(db))
    assert [driver.answer(requests.Status(pid)).is_stuck for pid in (web, page)] == [False, False]
    execute(driver, db)
    leave(driver, db, 1, 0)
    assert driver.process(web).status == "starting"


def test_one_of_several_with_a_name_that_may_still_come_is_enough() -> None:
    driver = Driver()
    first = command(driver, kind="tool", name="db")
    second = command(driver, kind="tool", name="db", ready="notify", ready_timeout=60.0)
    web = waiting(driver, name="web", requires=["db"])
    leave(driver, first, 1, 3)
    assert not driver.answer(requests.Status(web)).is_stuck
    leave(driver, second, 1, 3)
    assert driver.answer(requests.Status(web)).is_stuck


def test_a_chain_of_thousands_is_looked_through() -> None:
    length = 3000
    others = {str(number): [str(number + 1)] for number in range(length)}
    assert circle(Spec("0", requires=["1"]), others) == []
    assert len(circle(Spec(str(length), requires=["0"]), others)) == length + 2
    state = Driver().state
    for number in range(length):
        spec = Spec(str(number), kind="service", requires=[str(number - 1)] if number else [])
        state.processes[number] = Process(pid=number, spec=spec, uid=0, status="waiting" if number else "running")
    assert dependencies.stuck_on(state, state.processes[length - 1]) is None
    state.processes[0].status = "failed"
    state.changed(state.processes[0])
    assert dependencies.stuck_on(state, state.processes[length - 1]) == ("0", state.processes[0])


def test_a_tool_that_completed_is_what_requires_asked_for() -> None:
    driver = Driver()
    first = command(driver, kind="tool", name="migrate", ready="notify")
    second = waiting(driver, requires=["migrate"])
    leave(driver, first, 1, 0)
    assert driver.process(second).status == "starting"


def test_the_daemon_ends_dependents_first_and_all_others_at_once() -> None:
    driver = Driver()
    db, web, alone = command(driver, name="db"), command(driver, name="web", after=["db"]), command(driver, name="alone")
    assert signalled(driver.give(events.StopAsked("SIGTERM"))) == [f"{web}.1", f"{alone}.1"]
    assert driver.answer(requests.Status(db)).waits_for == [f'ends after "web" ({web}), which depends on it']
    done = driver.give(events.Exited(f"{web}.1", 1, 0))
    assert signalled(done) == [], "its group is not gone"
    assert signalled(driver.give(events.GroupGone(web))) == [f"{db}.1"]


def test_a_kernel_that_dies_in_the_middle_of_an_ordered_end_goes_on_with_it() -> None:
    driver = Driver()
    db, web = command(driver, name="db"), command(driver, name="web", requires=["db"])
    driver.give(events.StopAsked("SIGTERM"))
    driver.next_kernel()
    driver.give(events.StopAsked("SIGTERM"))
    driver.give(events.Exited(f"{web}.1", 1, 0))
    assert signalled(driver.give(events.GroupGone(web))) == [f"{db}.1"]


def test_a_kill_by_force_waits_for_nobody() -> None:
    driver = Driver()
    db = command(driver, name="db")
    command(driver, name="web", requires=["db"])
    assert signalled(driver.give(events.RequestArrived(b"c", 90, 0, "admin", "uid 0", requests.Kill(db, force=True)))) == [f"{db}.1"]


def test_what_requires_one_that_failed_for_good_ends_and_waits() -> None:
    driver = Driver()
    db = command(driver, name="db", restart="never")
    web = command(driver, name="web", requires=["db"])
    done = leave(driver, db, 1, 1)
    assert signalled(done) == [f"{web}.1"]
    leave(driver, web, 2, 15)
    driver.give(after=100.0)
    process = driver.process(web)
    assert (process.status, process.desired, process.incarnation) == ("waiting", "up", 2)


@pytest.mark.parametrize(
    ("spec", "others", "expected"),
    [
        (Spec("a", after=["a"]), {}, ["a", "a"]),
        (Spec("a", after=["b"]), {"b": ["c"], "c": ["a"]}, ["a", "b", "c", "a"]),
        (Spec("a", after=["b", "c"]), {"b": ["d"], "c": ["d"], "d": []}, []),
        (Spec("a", after=["b"]), {"b": ["c"], "c": ["b"]}, []),
    ],
)
def test_a_circle_is_found_through_the_new_one(spec: Spec, others: dict[str, list[str]], expected: list[str]) -> None:
    assert circle(spec, others) == expected


def test_an_extension_moves_the_deadline_of_the_ready_time_out_and_not_for_ever() -> None:
    driver = Driver()
    pid = waiting(driver, ready="notify", ready_timeout=10.0)
    execute(driver, pid)
    driver.give(events.Notified(f"{pid}.1", extension=1e9), after=9.0)
    assert driver.child(f"{pid}.1").deadline == pytest.approx(driver.now + 3600.0)


def test_an_extension_takes_no_time_away_and_counts_for_who_stands_still() -> None:
    """A microsecond more is not a microsecond in all: a service that said so failed at once, as not ready in 10 s."""
    driver = Driver()
    pid = waiting(driver, ready="notify", ready_timeout=10.0)
    execute(driver, pid)
    driver.give(events.Notified(f"{pid}.1", extension=1e-6), after=1.0)
    driver.give(after=8.9)
    assert driver.process(pid).status == "starting"
    driver.ask(requests.Suspend(pid))
    driver.give(events.Notified(f"{pid}.1", extension=5.0), after=100.0)
    driver.ask(requests.Resume(pid))
    driver.give(after=4.9)
    assert driver.process(pid).status == "starting"
    driver.give(after=0.2)
    assert driver.child(f"{pid}.1").intent == "not ready"


def test_people_are_told_once_that_a_process_is_leaving_and_once_a_minute_of_strangers() -> None:
    """Whoever can speak can speak as often as it likes, and the table of events is everybody's."""
    driver = Driver()
    pid = command(driver)
    driver.give(*[events.Notified(f"{pid}.1", is_stopping=True)] * 3)
    driver.give(events.Notified(f"{pid}.1", is_stopping=True), after=1.0)
    assert driver.kinds("process.leaving") == ["process.leaving"]
    driver.give(*[events.NotifyRefused(f"{pid}.1", 4242)] * 3, events.NotifyRefused("1009.1", 4242))
    driver.next_kernel()
    driver.give(events.NotifyRefused(f"{pid}.1", 4243), after=58.0)
    assert driver.kinds("process.notify") == ["process.notify-refused"]
    driver.give(events.NotifyRefused(f"{pid}.1", 4243), after=2.1)
    assert driver.kinds("process.notify") == ["process.notify-refused"] * 2


def test_a_probe_that_hangs_is_ended_and_counts_as_a_failure() -> None:
    driver = Driver()
    pid = command(driver, live_command=["ask"], live_interval=5.0, live_threshold=1, probe_timeout=2.0)
    done = driver.give(after=5.0)
    assert only(done, effects.Fork) == [effects.Fork(f"{pid}.1/p1", "command", "base", pid)]
    driver.open(f"{pid}.1/p1", 300)
    assert signalled(driver.give(after=2.1)) == [f"{pid}.1/p1"]
    done = driver.give(events.Exited(f"{pid}.1/p1", 2, 9))
    assert signalled(done) == [f"{pid}.1"]
    leave(driver, pid, 2, 15)
    assert [(life.cause, life.reason) for life in driver.state.lives] == [
        ("liveness", "its live command failed 1 times in a row, the last time: it did not end within 2 s (probe_timeout, 5 s by default)")
    ]


def test_a_program_that_is_not_ready_in_time_is_asked_to_end_and_has_its_grace() -> None:
    """A database that is not done with its recovery can put things in order; the reason says what its command said last."""
    driver = Driver()
    pid = waiting(driver, ready="exec", ready_command=["ask"], ready_timeout=4.0, stop_timeout=3.0, restart="never")
    execute(driver, pid)
    driver.give()
    driver.open(f"{pid}.1/p1", 300)
    driver.give(events.Executed(f"{pid}.1/p1"))
    driver.give(events.Exited(f"{pid}.1/p1", 1, 7), after=3.8)
    done = driver.give(after=0.3)
    assert only(done, effects.Signal) == [effects.Signal(f"{pid}.1", 15)]
    assert not only(done, effects.KillGroup)
    assert not only(driver.give(after=1.0), effects.Fork), "who is to end is not asked whether it is ready"
    done = driver.give(after=2.1)
    assert (only(done, effects.Signal), only(done, effects.KillGroup)) == ([effects.Signal(f"{pid}.1", 9)], [effects.KillGroup(pid)])
    leave(driver, pid, 2, 9)
    process = driver.process(pid)
    assert (process.status, process.cause) == ("failed", "not ready in 4 s")
    assert process.reason == "not ready in 4 s (ready_timeout, 60 s by default): its ready command was asked once, the last time: exited 7"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ready": "notify"}, "it did not say READY=1"),
        ({"ready": "exec", "ready_command": ["ask"]}, "its ready command has not ended"),
        ({}, "its program did not begin"),
    ],
)
def test_a_program_that_was_not_heard_of_in_time_is_told_as_that(changes: dict[str, Any], why: str) -> None:
    driver = Driver()
    pid = waiting(driver, ready_timeout=1.0, restart="never", probe_timeout=9.0, **changes)
    driver.open(f"{pid}.1", 100)
    if changes:
        driver.give(events.Executed(f"{pid}.1"))
    driver.give(after=1.1)
    if "ready_command" in changes:
        driver.give(events.ForkFailed(f"{pid}.1/p1", "no room"))
    leave(driver, pid, 2, 15)
    assert driver.process(pid).reason == f"not ready in 1 s (ready_timeout, 60 s by default): {why}"


def test_a_probe_that_succeeds_forgets_the_failures_before_it() -> None:
    driver = Driver()
    pid = command(driver, live_command=["ask"], live_interval=5.0, live_threshold=2)
    for number, status in enumerate((1, 0, 1, 0, 1), 1):
        driver.give(after=5.0)
        driver.open(f"{pid}.1/p{number}", 300)
        driver.give(events.Executed(f"{pid}.1/p{number}"))
        driver.give(events.Exited(f"{pid}.1/p{number}", 1, status))
    assert driver.process(pid).status == "running"


def test_the_suspended_are_not_asked_and_their_clocks_stand_still() -> None:
    driver = Driver()
    pid = command(driver, live_command=["ask"], live_interval=5.0, watchdog=6.0, run_timeout=20.0)
    driver.give(after=4.0)
    driver.answer(requests.Suspend(pid))
    driver.give(events.Frozen(pid, 1))
    driver.next_kernel()
    assert driver.give(after=1000.0) == []
    driver.answer(requests.Resume(pid))
    clocks = {kind: at - driver.now for kind, at in driver.process(pid).clocks.items()}
    assert clocks == pytest.approx({"probe": 1.0, "watchdog": 2.0, "run": 16.0})


def test_a_thread_of_a_suspended_process_has_its_time_left() -> None:
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, timeout=5.0)
    driver.worker(f"{pid}.1/w1")
    driver.answer(requests.Suspend(pid))
    driver.give(events.Frozen(pid, 1), after=1.0)
    driver.give(after=100.0)
    driver.answer(requests.Resume(pid))
    assert signalled(driver.give(after=4.5)) == []
    assert signalled(driver.give(after=1.0)) == [f"{pid}.1/w1"]


def test_a_stop_of_a_suspended_process_lets_it_go_on_to_end() -> None:
    driver = Driver()
    pid = command(driver)
    driver.answer(requests.Suspend(pid))
    driver.give(events.Frozen(pid, 1))
    done = driver.give(events.RequestArrived(b"c", 90, 0, "admin", "uid 0", requests.Stop(pid)))
    order = [type(effect) for effect in only(done, effects.Signal, effects.Thaw)]
    assert order == [effects.Signal, effects.Thaw]


def test_a_host_that_cannot_freeze_is_said_and_the_process_goes_on() -> None:
    driver = Driver()
    pid = command(driver)
    driver.answer(requests.Suspend(pid))
    driver.give(events.Frozen(pid, 1, "no freezer can be used"))
    assert driver.process(pid).suspension == ""
    assert driver.state.events[-1].text == "c goes on, by the kernel: no freezer can be used"


def test_who_does_not_run_is_not_suspended_and_who_is_not_suspended_is_not_resumed() -> None:
    driver = Driver()
    pid = command(driver)
    assert driver.refusal(requests.Resume(pid)) == f'cannot resume {pid} ("c"): it is running, and not suspended'
    driver.answer(requests.Stop(pid))
    assert driver.refusal(requests.Suspend(pid)) == f'cannot suspend {pid} ("c"): it is stopping'


def test_an_age_is_replaced_with_a_part_of_chance() -> None:
    driver = Driver()
    pid = command(driver, max_age=100.0, max_age_jitter=0.5)
    left = driver.process(pid).clocks["age"] - driver.now
    assert 100.0 <= left < 150.0
    assert signalled(driver.give(after=left)) == [f"{pid}.1"]
    assert driver.process(pid).desired == "restart"


def test_the_bus_hears_of_a_suspension_and_again_on_each_new_link() -> None:
    driver = Driver()
    pid = driver.run()
    done = driver.give(events.RequestArrived(b"c", 90, 0, "admin", "uid 0", requests.Suspend(pid)))
    assert only(done, effects.Pause) == [effects.Pause(pid, is_paused=True)]
    linked = only(driver.give(events.BusLinked()), effects.Enroll, effects.Pause)
    assert [type(effect) for effect in linked] == [effects.Enroll, effects.Pause]
    done = driver.give(events.RequestArrived(b"c", 91, 0, "admin", "uid 0", requests.Resume(pid)))
    assert only(done, effects.Pause) == [effects.Pause(pid, is_paused=False)]


def test_the_bus_hears_of_a_command_as_of_an_orchestrator() -> None:
    """Expected, enrolled before it runs, on each new link, paused, and discharged with whether another follows; nothing is said over a port that it does not have."""
    driver = Driver()
    done = driver.give(
        events.RequestArrived(b"c", 90, 0, "admin", "uid 0", requests.Spawn(requests.Spec("web", kind="service", command=["web"])))
    )
    pid = 1001
    assert [effect.type for effect in only(done, effects.Expect)] == ["service"]
    assert only(driver.give(events.BusLinked()), effects.Expect, effects.Enroll) == [effects.Expect(pid, "web", "", 0, "service")]
    driver.give(events.Forked(f"{pid}.1", 100, 1))
    enrolled = effects.Enroll(pid, 1, "web", 0, "", 0, "service")
    assert only(driver.give(events.GateOpened(f"{pid}.1", {})), effects.Enroll) == [enrolled]
    driver.give(events.Executed(f"{pid}.1"))
    assert only(driver.give(events.BusLinked()), effects.Expect, effects.Enroll) == [enrolled]
    assert only(driver.give(events.LineWanted(pid)), effects.Tell) == []
    done = driver.give(events.RequestArrived(b"c", 91, 0, "admin", "uid 0", requests.Suspend(pid)))
    assert only(done, effects.Pause) == [effects.Pause(pid, is_paused=True)]
    driver.give(events.RequestArrived(b"c", 92, 0, "admin", "uid 0", requests.Resume(pid)))
    assert only(driver.give(events.Exited(f"{pid}.1", 1, 1)), effects.Discharge) == [effects.Discharge(pid, 1, True)]


def test_messages_to_an_orchestrator_that_is_started_again_wait_for_it() -> None:
    driver = Driver()
    pid = driver.run()
    driver.end(pid)
    done = driver.give(events.RequestArrived(b"c", 90, 0, "admin", "uid 0", requests.Start(pid)))
    assert [effect.pid for effect in only(done, effects.Expect)] == [pid]
    assert driver.process(pid).incarnation == 2


def test_what_ended_before_the_one_that_it_requires_does_not_start_again_while_that_one_is_about_to_end() -> None:
    driver = Driver()
    db, web = command(driver, name="db"), command(driver, name="web", requires=["db"])
    driver.answer(requests.Stop(db))
    driver.give(events.Exited(f"{web}.1", 1, 0))
    done = driver.give(events.GroupGone(web, incarnation=1))
    assert only(done, effects.Fork) == []
    assert (driver.process(web).status, signalled(done)) == ("waiting", [f"{db}.1"])


def test_a_long_chain_is_walked_once_for_all_who_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """To walk it for each of them held up the kernel for seconds, with a thousand."""
    length = 200
    driver = Driver(max_processes=length)
    pids = [waiting(driver, name=f"c{each}", ready="notify", requires=[f"c{each - 1}"] if each else []) for each in range(length)]
    looks = 0
    look = dependencies._look

    def counted(*given: Any) -> Any:
        nonlocal looks
        looks += 1
        return look(*given)

    monkeypatch.setattr(dependencies, "_look", counted)
    shown = driver.answer(requests.List())
    assert [info.pid for info in shown] == pids
    assert length - 1 <= looks < 3 * length


def test_only_names_that_cannot_be_put_in_order_are_suspected_of_a_circle() -> None:
    edges = {"a": ["b", "nobody"], "b": [], "c": ["a", "b"], "x": ["y"], "y": ["x", "b"], "beyond": ["x"], "self": ["self"]}
    assert dependencies.suspects(edges) == {"x", "y", "beyond", "self"}


def test_who_depends_on_one_is_found_once_through_however_many_and_the_furthest_first() -> None:
    driver = Driver()
    needs: dict[str, list[str]] = {"db": [], "web": ["db"], "cache": ["db"], "page": ["web", "cache"], "other": []}
    pids = {name: waiting(driver, name=name, requires=requires) for name, requires in needs.items()}
    found = [each.spec.name for each in dependencies.dependents(driver.state, driver.process(pids["db"]))]
    assert sorted(found) == ["cache", "page", "web"]
    assert found.index("page") < max(found.index("web"), found.index("cache"))
    assert dependencies.dependents(driver.state, driver.process(pids["page"])) == []
