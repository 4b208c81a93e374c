"""Fork servers: who imports what once, and what it means that one is gone."""

import pytest

from dadms_ipc import requests
from dadmsd.kernel.core import effects, events
from tests.unit.kernel.driver import Driver, names, only


def test_handlers_are_imported_by_a_zygote_of_the_processs_own() -> None:
    """Forked from the shared one; its warnings are the process's, and it goes with it."""
    driver = Driver()
    pid = driver.spawn(handlers="/h.py")
    driver.import_code()
    assert driver.child("zygote/2").parent == "zygote/1"
    driver.open("zygote/2", 51)
    driver.give(events.ZygoteReady("zygote/2", "1", ["topic"], ["starts threads"], 0.1))
    assert driver.child(f"{pid}.1").parent == "zygote/2"
    assert driver.process(pid).warnings == ["starts threads"]
    driver.end(pid)
    assert list(driver.state.children) == ["zygote/1"]


def test_an_environment_needs_code_that_is_imported_under_it() -> None:
    """Its zygote is forked from the base, not from one that has imported the code already."""
    driver = Driver()
    pid = driver.spawn(environment={"MODE": "test"}, handlers="/h.py")
    assert [(child.name, child.parent, child.pid) for child in driver.state.children.values()] == [("zygote/1", "base", pid)]
    driver.import_code()
    assert driver.child(f"{pid}.1").parent == "zygote/1"


@pytest.mark.parametrize(
    ("before", "exit_", "cause", "words"),
    [
        ([events.ChildFailed("zygote/2", 'cannot import handlers "/h.py": line 3')], (1, 70, ""), "import failed", 'cannot import handlers "/h.py": line 3'),
        ([], (2, 9, "process limit of 64 MiB"), "oom", 'cannot import handlers "/h.py": out of memory, process limit of 64 MiB'),
        ([], (1, 3, ""), "import failed", 'cannot import handlers "/h.py": exited 3 during the import'),
        ([events.GateShut("zygote/2", "no room")], (2, 9, ""), "import failed", "no room"),
    ],
)  # fmt: skip
def test_handlers_that_cannot_be_imported_fail_their_process_with_the_reason(
    before: list[events.Event], exit_: tuple[int, int, str], cause: str, words: str
) -> None:
    """Everything is given back, and the shared zygote is nobody's victim."""
    driver = Driver()
    pid = driver.spawn(handlers="/h.py")
    driver.import_code()
    driver.give(events.Forked("zygote/2", 51, 1))
    driver.give(*before or [events.GateOpened("zygote/2")])
    done = driver.give(events.Exited("zygote/2", *exit_))
    assert only(done, effects.ClearGroup) == [effects.ClearGroup(pid, 1)]
    driver.give(events.GroupGone(pid))
    process = driver.process(pid)
    assert (process.status, process.cause, process.reason) == ("failed", cause, words)
    assert list(driver.state.children) == ["zygote/1"]


@pytest.mark.parametrize(("ready_timeout", "seconds"), [(None, 30), (2.0, 2)])
def test_an_import_that_does_not_end_is_ended(ready_timeout: float | None, seconds: float) -> None:
    """After the import time-out, or the process's own patience if that is less."""
    driver = Driver()
    pid = driver.spawn(handlers="/h.py", ready_timeout=ready_timeout)
    driver.import_code()
    driver.open("zygote/2", 51)
    assert not driver.give(after=seconds - 0.1)
    assert names(driver.give(after=0.2), effects.Signal) == ["zygote/2"]
    driver.give(events.Exited("zygote/2", 2, 9))
    assert f"not finished after {seconds} s" in driver.process(pid).reason


def test_code_that_cannot_be_imported_fails_everybody_who_waits_for_it_and_nobody_else() -> None:
    """Two of the same code fail; one of another user goes on, and so does the next who asks."""
    driver = Driver()
    pids = [driver.spawn(), driver.spawn(handlers="/h.py"), driver.spawn(uid=1000)]
    driver.open("zygote/1", 50)
    driver.give(events.Exited("zygote/1", 1, 1))
    assert [driver.process(pid).ending_as for pid in pids] == ["failed", "failed", ""]
    assert "cannot import dadms_orchestrators.decision" in driver.process(pids[0]).reason
    assert names(driver.give(events.RequestArrived(b"d", 1, 0, "admin", "", requests.Spawn(driver.process().spec))), effects.Fork) == [
        "zygote/3"
    ]


def test_a_zygote_that_breaks_the_protocol_is_replaced_when_it_is_needed() -> None:
    """While it is being killed nobody is forked from it; who waits gets the next one."""
    driver = Driver()
    driver.run()
    assert names(driver.give(events.PortViolated("zygote/1", "noise")), effects.Signal) == ["zygote/1"]
    pid = driver.spawn()
    assert driver.process(pid).status == "admitted"
    done = driver.give(events.Exited("zygote/1", 2, 9))
    assert names(done, effects.Fork) == ["zygote/2"]
    assert "zygote.lost" not in driver.kinds()
    driver.import_code("zygote/2")
    assert driver.child(f"{pid}.1").parent == "zygote/2"


def test_a_zygote_that_is_killed_costs_nothing_that_runs() -> None:
    """It is told; the next one is made when somebody needs it."""
    driver = Driver()
    pid = driver.run()
    done = driver.give(events.Exited("zygote/1", 2, 9))
    assert not names(done, effects.Fork)
    assert driver.kinds("zygote.lost") == ["zygote.lost"]
    assert driver.process(pid).status == "running"
    assert names(driver.submit(pid), effects.Fork) == ["zygote/2"]
    assert names(driver.import_code("zygote/2"), effects.Fork) == [f"{pid}.1/w1"]


def test_a_main_that_was_not_forked_when_its_zygote_was_killed_is_forked_by_the_next_one() -> None:
    """What waits for a fork waits; it does not fail."""
    driver = Driver()
    pid = driver.spawn()
    driver.import_code()
    assert driver.child(f"{pid}.1").phase == "forking"
    done = driver.give(events.Exited("zygote/1", 2, 9))
    assert names(done, effects.Bury) == ["zygote/1", f"{pid}.1"]
    assert names(driver.import_code("zygote/2"), effects.Fork) == [f"{pid}.1"]
    driver.open(f"{pid}.1", 100)
    driver.give(events.MainReady(f"{pid}.1", ["work"], []))
    assert driver.process(pid).status == "running"
    assert driver.process(pid).forks_lost == 0


def test_what_kills_each_zygote_that_is_to_fork_it_fails() -> None:
    """After three of them a main is taken for the cause, and is not tried for ever."""
    driver = Driver()
    pid = driver.spawn()
    for number in range(1, 5):
        driver.import_code(f"zygote/{number}")
        driver.give(events.Exited(f"zygote/{number}", 2, 9))
    assert (driver.process(pid).ending_as, driver.process(pid).reason) == ("failed", "its zygote is gone")


def test_a_main_that_is_to_end_is_not_forked_again() -> None:
    """A kill before the fork, and then the zygote: the process is killed."""
    driver = Driver()
    pid = driver.spawn()
    driver.import_code()
    driver.answer(requests.Kill(pid))
    driver.give(events.Exited("zygote/1", 2, 9))
    driver.give(events.GroupGone(pid))
    assert driver.process(pid).status == "killed"


def test_a_fork_that_fails_with_its_zygote_fails_once() -> None:
    """The report of the failure and the end of the zygote in one batch."""
    driver = Driver()
    pid = driver.spawn()
    driver.import_code()
    driver.give(events.Exited("zygote/1", 2, 9), events.ForkFailed(f"{pid}.1", "no more processes"))
    driver.give(events.GroupGone(pid))
    assert driver.process(pid).reason == "no more processes"


def test_a_zygote_of_its_own_that_was_not_forked_is_asked_of_the_next_shared_one() -> None:
    """The shared one is killed before it has forked it."""
    driver = Driver()
    pid = driver.spawn(handlers="/h.py")
    driver.import_code()
    assert driver.child("zygote/2").phase == "forking"
    assert names(driver.give(events.Exited("zygote/1", 2, 9)), effects.Fork) == ["zygote/3"]
    assert names(driver.import_code("zygote/3"), effects.Fork) == ["zygote/4"]
    assert names(driver.import_code("zygote/4"), effects.Fork) == [f"{pid}.1"]


def test_a_zygote_of_its_own_serves_when_the_shared_one_is_gone() -> None:
    """Its workers need not wait for an import that they do not need."""
    driver = Driver()
    pid = driver.run(handlers="/h.py")
    driver.give(events.Exited("zygote/1", 2, 9))
    assert names(driver.submit(pid), effects.Fork) == [f"{pid}.1/w1"]


def test_who_waits_for_a_zygote_of_its_own_does_not_fail_with_a_shared_one() -> None:
    """The shared one is made anew for somebody else, and its import fails."""
    driver = Driver()
    pid = driver.spawn(handlers="/h.py")
    driver.import_code()
    driver.open("zygote/2", 51)
    driver.give(events.Exited("zygote/1", 2, 9))
    other = driver.spawn()
    driver.open("zygote/3", 52)
    driver.give(events.Exited("zygote/3", 1, 1))
    assert driver.process(other).ending_as == "failed"
    assert driver.process(pid).status == "admitted"
    driver.give(events.ZygoteReady("zygote/2", "1", [], [], 0.1))
    assert driver.process(pid).status == "starting"


def test_forks_are_asked_for_again_when_nobody_knows_whether_they_were_heard() -> None:
    """By a new kernel, of a zygote that does not know them; by this kernel, of a base zygote that is new."""
    driver = Driver()
    driver.run()
    driver.spawn()
    driver.spawn()
    assert not driver.give(events.ParentReported("zygote/1", frozenset())), "what we asked for ourselves is on its way"
    driver.next_kernel()
    done = driver.give(events.ParentReported("base", frozenset()), events.ParentReported("zygote/1", frozenset({"1003.1"})))
    assert names(done, effects.Fork) == ["1002.1"]
    assert not driver.give(events.ParentReported("zygote/1", frozenset({"1003.1"}))), "once is enough"
    driver.spawn(environment={"A": "b"})
    assert names(driver.give(events.ParentReported("base", frozenset(), is_new=True)), effects.Fork) == ["zygote/2"]


def test_a_zygote_that_stands_still_is_greeted_and_then_replaced_and_its_forks_go_to_its_successor() -> None:
    """Two steps: the kernel may have been what stood still."""
    driver = Driver()
    pid = driver.spawn()
    driver.import_code()
    assert driver.give(after=1.9) == []
    assert only(driver.give(after=0.2), effects.Greet) == [effects.Greet("zygote/1")]
    assert names(driver.give(after=2.1), effects.Signal) == ["zygote/1"]
    assert driver.kinds("zygote.silent") == ["zygote.silent"]
    assert names(driver.give(events.Exited("zygote/1", 2, 9)), effects.Fork) == ["zygote/2"]
    assert names(driver.import_code("zygote/2"), effects.Fork) == [f"{pid}.1"]


def test_a_greeted_zygote_has_its_time_also_where_somebody_waits_for_it_anew() -> None:
    driver = Driver()
    driver.spawn()
    driver.import_code()
    assert only(driver.give(after=2.1), effects.Greet) == [effects.Greet("zygote/1")]
    driver.give(after=1.0)
    driver.spawn()  # which has it looked at in half a second
    assert not only(driver.give(after=0.6), effects.Signal)
    assert names(driver.give(after=0.5), effects.Signal) == ["zygote/1"]


def test_a_zygote_that_answers_its_greeting_is_left_alone() -> None:
    """What it is asked for takes long for another reason."""
    driver = Driver()
    driver.spawn()
    driver.import_code()
    driver.give(after=2.1)
    driver.give(events.ParentReported("zygote/1", frozenset()), after=1.0)
    for _ in range(5):
        assert not only(driver.give(after=1.5), effects.Signal)


def test_who_waits_for_a_zygote_that_stands_still_fails_when_it_should_be_ready() -> None:
    """From its admission on, whatever it waits for."""
    driver = Driver()
    pid = driver.spawn(ready_timeout=3.0)
    driver.import_code()
    driver.give(after=3.1)
    assert driver.child(f"{pid}.1").intent == "not ready"
    driver.give(events.Exited("zygote/1", 2, 9))
    driver.give(events.GroupGone(pid))
    assert (driver.process(pid).status, driver.process(pid).cause) == ("failed", "not ready in 3 s")


def test_a_base_zygote_that_stands_still_is_killed_and_the_next_one_is_asked() -> None:
    """By its pid: it is the keeper's child."""
    driver = Driver()
    driver.give(events.ServerChanged("zygote", 42, 0, True, ""), after=60.0)
    driver.spawn()
    found = [effect for _ in range(20) for effect in driver.give(after=1.0)]
    assert only(found, effects.KillBase)[0] == effects.KillBase(42)
    driver.give(events.ServerChanged("zygote", 0, 0, False, "signal 9"))
    driver.give(events.ServerChanged("zygote", 43, 1, True, ""))
    assert names(driver.give(events.ParentReported("base", frozenset(), is_new=True)), effects.Fork) == ["zygote/1"]
    assert not only(driver.give(after=4.0), effects.KillBase), "it has time to start"


def test_the_end_of_a_child_that_nobody_reports_is_the_silence_of_its_zygote() -> None:
    """Its children fall to the keeper then, which reports them."""
    driver = Driver()
    pid = driver.run()
    driver.answer(requests.Kill(pid, force=True))
    found = [effect for _ in range(6) for effect in driver.give(after=1.0)]
    assert names(found, effects.Signal) == ["zygote/1"]


@pytest.mark.parametrize(("is_its_own", "seconds"), [(True, 1.3), (False, 4.3)])
def test_the_exit_of_a_child_that_has_closed_its_port_and_is_not_reported_is_the_silence_of_its_zygote(
    is_its_own: bool, seconds: float
) -> None:
    """Of a process whose main has ended nobody needs the zygote that is its own."""
    driver = Driver()
    pid = driver.spawn(handlers="/h.py" if is_its_own else None)
    driver.import_code()
    if is_its_own:
        driver.import_code("zygote/2", 51)
    driver.open(f"{pid}.1", 100)
    driver.give(events.MainReady(f"{pid}.1", ["work"], []), after=10.0)
    driver.give(events.PortEnded(f"{pid}.1"), events.PortEnded("nobody"))
    found: list[effects.AnyEffect] = []
    began = driver.now
    while not names(found, effects.Signal) and driver.now < began + 20.0:
        found = driver.give(after=0.1)
    assert names(found, effects.Signal) == ["zygote/2" if is_its_own else "zygote/1"]
    assert driver.now - began <= seconds
    driver.give(events.Exited(f"{pid}.1", 1, 0))
    assert driver.state.ending == set()


def test_a_zygote_that_reports_the_exit_of_who_has_closed_its_port_is_left_alone() -> None:
    driver = Driver()
    pid = driver.run()
    driver.give(events.PortEnded(f"{pid}.1"), after=10.0)
    driver.give(events.Exited(f"{pid}.1", 1, 0), after=0.4)
    for _ in range(20):
        assert not only(driver.give(after=0.5), effects.Greet, effects.Signal)


def test_an_import_that_a_stranger_kills_is_begun_again_twice_and_no_more() -> None:
    """Then the code is taken for the cause."""
    driver = Driver()
    pid = driver.spawn(handlers="/h.py")
    driver.import_code()
    for number in (2, 3, 4):
        assert driver.process(pid).status == "admitted"
        driver.open(f"zygote/{number}", 50 + number)
        driver.give(events.Exited(f"zygote/{number}", 2, 9))
    driver.give(events.GroupGone(pid))
    assert driver.process(pid).reason == 'cannot import handlers "/h.py": signal 9 (SIGKILL) during the import'


@pytest.mark.parametrize(("how", "number"), [(3, 11), (2, 15), (1, 70)])
def test_an_import_that_ends_by_itself_is_not_begun_again(how: int, number: int) -> None:
    driver = Driver()
    pid = driver.spawn(handlers="/h.py")
    driver.import_code()
    driver.open("zygote/2", 52)
    driver.give(events.Exited("zygote/2", how, number))
    assert driver.process(pid).ending_as == "failed"


def test_a_shared_zygote_that_has_its_code_is_given_room_for_what_its_children_copy() -> None:
    """One of a process's own lives in its group, as they do."""
    driver = Driver()
    driver.spawn()
    assert only(driver.import_code(), effects.MakeRoom) == [effects.MakeRoom("zygote/1")]
    driver.spawn(environment={"A": "b"})
    assert not only(driver.import_code("zygote/2", 60), effects.MakeRoom)


def test_a_zygote_that_ran_out_of_memory_is_said_to_have() -> None:
    driver = Driver()
    driver.run()
    driver.give(events.Exited("zygote/1", 2, 9, oom="its own limit"))
    (told,) = [info.text for info in driver.state.events if info.kind == "zygote.lost"]
    assert told == "zygote/1 is gone: out of memory: its own limit"
