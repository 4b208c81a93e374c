"""Definitions against what there is, in the pure core: only what must restarts, and one that is wrong stops nobody else."""

from typing import Any

import msgspec
import pytest

from dadms_ipc import requests
from dadms_ipc.requests import Limits, ReloadReport, Spec
from dadmsd.kernel.core import effects, events, soundness
from dadmsd.kernel.core.defined import Definition, Reading
from tests.unit.kernel.driver import Driver, only
from tests.unit.kernel.test_restarts import command, execute, leave


def definition(name: str, *, file: str = "a.toml", enabled: bool = True, **changes: Any) -> Definition:
    return Definition(name, file, Spec(**{"name": name, "kind": "service", "command": [name], **changes}), enabled)


def reload(driver: Driver, *definitions: Definition, mistakes: list[str] | None = None, bad: list[str] | None = None) -> ReloadReport:
    driver.give(events.DefinitionsRead(Reading(list(definitions), mistakes or [], bad or [])))
    answer = driver.answer(requests.Reload())
    assert isinstance(answer, ReloadReport)
    return answer


def actions(report: ReloadReport) -> list[tuple[str, str]]:
    return [(change.action, change.name) for change in report.changes]


def test_what_is_defined_starts_with_the_kernel_and_once() -> None:
    driver = Driver()
    reading = Reading([definition("web"), definition("off", enabled=False)])
    driver.give(events.DefinitionsRead(reading, is_applied=True))
    assert [(each.spec.name, each.definition) for each in driver.state.processes.values()] == [("web", "a.toml")]
    driver.next_kernel()
    driver.give(events.DefinitionsRead(reading, is_applied=True))
    assert len(driver.state.processes) == 1


def test_a_reload_does_what_must_be_done_and_leaves_the_rest_alone() -> None:
    driver = Driver()
    report = reload(driver, definition("same"), definition("tuned"), definition("moved"), definition("gone"))
    assert actions(report) == [("start", "same"), ("start", "tuned"), ("start", "moved"), ("start", "gone")]
    for pid in range(1001, 1005):
        execute(driver, pid)
    changed = [definition("same"), definition("tuned", backoff=1.0), definition("moved", umask=0o77), definition("new")]
    driver.give(events.DefinitionsRead(Reading(changed)))
    told = driver.answer(requests.Compare())
    assert driver.process(1002).spec.backoff == 0.2, "a comparison changes nothing"
    report = reload(driver, *changed)
    assert actions(report) == actions(told) == [("change", "tuned"), ("restart", "moved"), ("end", "gone"), ("start", "new")]
    assert {pid: driver.process(pid).desired for pid in range(1001, 1006)} == {
        1001: "up",
        1002: "up",
        1003: "restart",
        1004: "down",
        1005: "up",
    }
    assert driver.process(1002).spec.backoff == 1.0
    leave(driver, 1003, 2, 15)
    assert (driver.process(1003).incarnation, driver.process(1003).spec.umask) == (2, 0o77)


def test_what_requires_a_definition_that_is_restarted_is_restarted_as_well() -> None:
    """Before it, and waits until it is there again."""
    driver = Driver()
    both = (definition("db"), definition("web", requires=["db"]))
    reload(driver, *both)
    db, web = (process.pid for process in driver.state.processes.values())
    execute(driver, db)
    execute(driver, web)
    reload(driver, definition("db", command=["/bin/other"]), both[1])
    assert {pid: driver.process(pid).desired for pid in (db, web)} == {db: "restart", web: "restart"}
    assert driver.process(db).status == "running", "what requires it ends first"
    leave(driver, web, 2, 15)
    leave(driver, db, 2, 15)
    assert driver.process(db).status == "starting"
    assert driver.process(web).status != "running"
    execute(driver, db)
    execute(driver, web)
    assert driver.process(web).status == "running"


def test_a_bad_file_neither_ends_nor_changes_what_it_defined() -> None:
    driver = Driver()
    reload(driver, definition("web"), definition("db", file="b.toml"))
    report = reload(driver, definition("db", file="b.toml"), mistakes=["a.toml:1: broken"], bad=["a.toml"])
    assert (report.changes, report.mistakes) == ([], ["a.toml:1: broken"])


def test_what_somebody_stopped_stays_stopped_over_reloads_and_restarts_of_everything() -> None:
    driver = Driver()
    reload(driver, definition("web"))
    execute(driver, 1001)
    driver.answer(requests.Stop(1001))
    leave(driver, 1001, 2, 15)
    assert actions(reload(driver, definition("web", nice=5))) == [("change", "web")]
    driver.next_kernel(interruption="the machine was restarted")
    driver.give(events.DefinitionsRead(Reading([definition("web", nice=5)]), is_applied=True))
    assert (driver.process(1001).status, driver.process(1001).spec.nice) == ("stopped", 5)
    driver.answer(requests.Start(1001))
    assert driver.process(1001).status == "starting"


def test_a_defined_tool_runs_again_with_each_daemon_and_stays_in_the_table() -> None:
    driver = Driver(ended_kept=0, ended_least=0.0, retention=1.0, cleanup_interval=1.0)
    reload(driver, definition("job", kind="tool"))
    execute(driver, 1001)
    leave(driver, 1001, 1, 0)
    driver.give(after=100.0)
    assert driver.process(1001).status == "completed"
    driver.next_kernel()
    driver.give()
    assert driver.process(1001).incarnation == 1, "a kernel that was restarted is not a daemon that was"
    driver.next_kernel(interruption="the daemon was restarted")
    driver.give()
    assert driver.process(1001).incarnation == 2


def test_order_does_not_matter_and_circles_and_missing_names_cost_only_those() -> None:
    driver = Driver()
    report = reload(
        driver,
        definition("web", requires=["db"]),
        definition("a", requires=["b"]),
        definition("b", after=["a"]),
        definition("lost", requires=["nobody"]),
        definition("db"),
    )
    assert actions(report) == [("start", "db"), ("start", "web")]
    assert report.mistakes == [
        'a.toml: cannot start "a": its dependencies go in a circle: a → b → a',
        'a.toml: cannot start "b": its dependencies go in a circle: b → a → b',
        'a.toml: cannot start "lost": it requires "nobody", and there is no process of that name',
    ]


def test_what_starts_after_others_waits_for_them_whatever_the_order_of_the_files() -> None:
    driver = Driver()
    report = reload(
        driver,
        definition("all", after=["web"]),
        definition("web", requires=["db"], after=["job"]),
        definition("db"),
        definition("job", kind="tool"),
    )
    assert actions(report) == [("start", "db"), ("start", "job"), ("start", "web"), ("start", "all")]
    assert {each.spec.name: each.status for each in driver.state.processes.values()} == {
        "db": "starting",
        "job": "starting",
        "web": "waiting",
        "all": "waiting",
    }


def test_what_was_to_run_begins_under_the_next_daemon_in_the_order_of_dependencies_and_not_of_pids() -> None:
    """Whoever is renewed first must not take one that is renewed after it for one that has ended, or that has completed."""
    driver = Driver()
    reload(driver, definition("late", after=["web"]), definition("user"))
    reload(
        driver, definition("late", after=["web"]), definition("user", requires=["job"]), definition("web"), definition("job", kind="tool")
    )
    for pid in (1001, 1002, 1003, 1004):
        execute(driver, pid)
    leave(driver, 1004, 1, 0)
    execute(driver, 1002)
    driver.give(events.StopAsked("SIGTERM"))
    for pid in (1001, 1002, 1003):
        leave(driver, pid, 2, 15)
    assert [driver.process(pid).status for pid in (1001, 1002, 1003, 1004)] == ["stopped", "stopped", "stopped", "completed"]
    driver.next_kernel(interruption="the machine was restarted")
    driver.give()
    late, user, web, job = (driver.process(pid) for pid in (1001, 1002, 1003, 1004))
    assert {each.spec.name: each.status for each in (late, user, web, job)} == {
        "late": "waiting",
        "user": "waiting",
        "web": "starting",
        "job": "starting",
    }
    execute(driver, 1003)
    assert (late.status, user.status) == ("starting", "waiting")
    execute(driver, 1004)
    leave(driver, 1004, 1, 0)
    assert user.status == "starting"


def test_a_change_that_would_close_a_circle_is_refused_and_the_process_stays_as_it_was() -> None:
    driver = Driver()
    reload(driver, definition("db"), definition("web", requires=["db"]))
    report = reload(driver, definition("db", after=["web"]), definition("web", requires=["db"]))
    assert actions(report) == []
    assert report.mistakes == ['a.toml: cannot change "db": its dependencies go in a circle: db → web → db']
    assert driver.process(1001).spec.after == []


def test_one_that_there_is_no_room_for_is_told_with_the_numbers() -> None:
    driver = Driver(memory_limit=1 << 30)
    report = reload(driver, definition("big", memory_request=2 << 30), definition("small"))
    assert actions(report) == [("start", "small")]
    assert report.mistakes == ['a.toml: cannot start "big": 2 GiB asked, 1 GiB free of 1 GiB']
    report = reload(driver, definition("small", memory_request=2 << 30))
    assert report.mistakes == ['a.toml: cannot change "small": 2 GiB asked, 1 GiB free of 1 GiB']
    reload(driver, definition("small", memory_request=1 << 30))
    assert driver.state.ledger.memory_reserved == 1 << 30


def test_a_definition_that_is_gone_takes_its_ended_process_with_it() -> None:
    driver = Driver()
    reload(driver, definition("job", kind="tool"))
    execute(driver, 1001)
    leave(driver, 1001, 1, 0)
    assert actions(reload(driver)) == [("end", "job")]
    assert driver.state.processes == {}
    assert [life.name for life in driver.state.lives] == ["job"]


def test_reading_again_is_for_an_admin() -> None:
    driver = Driver()
    driver.give(events.DefinitionsRead(Reading()))
    assert driver.refusal(requests.Reload(), role="operate").startswith('cannot reload: needs the role "admin"')


def test_limits_in_a_definition_change_under_the_running_process() -> None:
    driver = Driver()
    reload(driver, definition("web"))
    execute(driver, 1001)
    driver.give(events.DefinitionsRead(Reading([definition("web", limits=Limits(memory=1 << 30))])))
    done = driver.give(events.RequestArrived(b"c", 90, 0, "admin", "uid 0", requests.Reload()))
    assert only(done, effects.SetLimits) == [effects.SetLimits(1001, 1)]
    driver.give(events.LimitsSet(1001, 1))
    assert (driver.process(1001).desired, driver.process(1001).spec.limits.memory) == ("up", 1 << 30)


def test_a_live_change_stays_until_the_definition_says_something_else() -> None:
    """Over each reload and each daemon that reads the same text."""
    driver = Driver()
    reload(driver, definition("web"))
    execute(driver, 1001)
    driver.give(events.RequestArrived(b"c", 90, 0, "admin", "uid 0", requests.ChangeLimits(1001, {"nice": 2, "files": 512})))
    driver.give(events.LimitsSet(1001, 1))
    driver.next_kernel(interruption="the daemon was restarted")
    driver.give(events.DefinitionsRead(Reading([definition("web")]), is_applied=True))
    assert actions(reload(driver, definition("web"))) == []
    found = driver.process(1001)
    assert (found.desired, found.spec.nice, found.spec.limits.files) == ("up", 2, 512)
    assert actions(reload(driver, definition("web", backoff=1.0))) == [("change", "web")]
    assert (driver.process(1001).spec.nice, driver.process(1001).spec.backoff) == (0, 1.0)


def test_a_definition_that_catches_up_with_a_live_change_has_nothing_to_change() -> None:
    driver = Driver()
    reload(driver, definition("web"))
    execute(driver, 1001)
    driver.give(events.RequestArrived(b"c", 90, 0, "admin", "uid 0", requests.ChangeLimits(1001, {"nice": 2})))
    driver.give(events.LimitsSet(1001, 1))
    assert actions(reload(driver, definition("web", nice=2))) == []
    assert actions(reload(driver, definition("web"))) == [("change", "web")], "the text is another one than before"


def test_limits_and_niceness_alone_are_no_reason_for_a_restart_and_what_the_host_refuses_is_asked_again() -> None:
    driver = Driver()
    reload(driver, definition("web"))
    execute(driver, 1001)
    wanted = definition("web", nice=5, limits=Limits(files=512))
    for sequence in (90, 91):
        driver.give(events.DefinitionsRead(Reading([wanted])))
        done = driver.give(events.RequestArrived(b"c", sequence, 0, "admin", "uid 0", requests.Reload()))
        assert only(done, effects.SetLimits) == [effects.SetLimits(1001, 1)]
        assert driver.process(1001).desired == "up"
        driver.give(events.LimitsSet(1001, 1, reason="the host says no"))
        assert driver.process(1001).spec.nice == 0
    assert actions(reload(driver, wanted)) == [("change", "web")]
    driver.give(events.LimitsSet(1001, 1))
    assert actions(reload(driver, wanted)) == []
    assert driver.process(1001).spec.nice == 5


def test_a_daemon_that_is_not_root_restarts_what_is_to_be_less_nice() -> None:
    driver = Driver(uid=1000)
    reload(driver, definition("web", nice=5))
    execute(driver, 1001)
    assert actions(reload(driver, definition("web", nice=3))) == [("restart", "web")]


LINES = {"": 1, "command": 2, "memory_high": 7, "cpu": 8, "uid": 4, "memory_request": 5, "requires": 6}


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({"limits": Limits(memory=1 << 40)}, "1: cannot {} \"web\": a memory limit of 1 TiB asked, all processes together may use 4 GiB (memory_limit_mb)"),
        ({"limits": Limits(cpu=0.001)}, '8: cannot {} "web": cpu is 0.001, at least 0.01 is needed'),
        ({"limits": Limits(memory_high=100 << 20)}, '7: cannot {} "web": memory_high = 100 MiB cannot be enforced here (v1); best-effort enforcement would go without'),
        ({"uid": 4321}, '4: cannot {} "web": user 4321 asked, the daemon runs as user 1000 and cannot change it'),
    ],
)  # fmt: skip
def test_what_this_host_cannot_hold_is_refused_with_its_line_and_what_runs_runs_on(changes: dict[str, Any], mistake: str) -> None:
    driver = Driver(limits_backend="v1", holds=["memory", "cpu", "pids"], uid=1000)
    wrong = msgspec.structs.replace(definition("web", command=["else"], **changes), lines=LINES)
    report = reload(driver, wrong)
    assert (actions(report), report.mistakes) == ([], [f"a.toml:{mistake.format('start')}"])
    reload(driver, definition("web"))
    execute(driver, 1001)
    for _ in range(2):  # told again by each reload until it is mended
        report = reload(driver, wrong)
        assert (actions(report), report.mistakes) == ([], [f"a.toml:{mistake.format('change')}"])
    told = driver.answer(requests.Compare())
    assert isinstance(told, ReloadReport)
    assert (actions(told), told.mistakes) == ([], report.mistakes), "a comparison says so before"
    assert (driver.process(1001).status, driver.process(1001).desired, driver.process(1001).spec.command) == ("running", "up", ["web"])
    leave(driver, 1001, 1, 0)
    reload(driver, wrong)
    assert driver.process(1001).spec.command == ["web"], "nor is it taken while nothing runs"


def test_one_of_the_name_of_a_process_that_no_file_defines_is_started_and_warned_of_as_long_as_both_live() -> None:
    driver = Driver()
    spawned = command(driver, kind="tool", name="web")
    wanted = msgspec.structs.replace(definition("web"), lines={"": 3})
    warning = f'a.toml:3: process {spawned} has the name "web" as well, and no file defines it: there are two of one name'
    report = reload(driver, wanted)
    assert (actions(report), report.mistakes, report.warnings) == ([("start", "web")], [], [warning])
    assert reload(driver, wanted).warnings == [warning]
    leave(driver, spawned, 1, 0)
    assert reload(driver, wanted).warnings == []


def test_a_program_that_is_not_there_is_refused_with_its_line_and_costs_only_its_own_definition() -> None:
    driver = Driver()
    lost = msgspec.structs.replace(definition("lost"), lines=LINES, lacks={"command": 'cannot run "lost": No such file or directory'})
    report = reload(driver, lost, definition("web"))
    assert actions(report) == [("start", "web")]
    assert report.mistakes == ['a.toml:2: cannot start "lost": cannot run "lost": No such file or directory']
    execute(driver, 1001)
    same = msgspec.structs.replace(definition("web"), lacks={"command": "cannot run"})
    report = reload(driver, same)
    assert (actions(report), report.mistakes) == ([], []), "what is unchanged and runs is not asked about"


def test_there_is_no_room_for_what_a_line_asks() -> None:
    driver = Driver(memory_limit=1 << 30)
    report = reload(driver, msgspec.structs.replace(definition("big", memory_request=2 << 30), lines=LINES))
    assert report.mistakes == ['a.toml:5: cannot start "big": 2 GiB asked, 1 GiB free of 1 GiB']


def test_a_change_that_requires_nobody_is_refused() -> None:
    driver = Driver()
    reload(driver, definition("web"))
    report = reload(driver, msgspec.structs.replace(definition("web", requires=["nobody"]), lines=LINES))
    assert (actions(report), report.mistakes) == (
        [],
        ['a.toml:6: cannot change "web": it requires "nobody", and there is no process of that name'],
    )
    report = reload(driver, definition("web", requires=["db"]), definition("db"))
    assert (actions(report), report.mistakes) == ([("change", "web"), ("start", "db")], []), "one that comes with the same reload is there"


def compare(driver: Driver, *definitions: Definition, **reading: Any) -> ReloadReport:
    driver.give(events.DefinitionsRead(Reading(list(definitions), **reading)))
    report = driver.answer(requests.Compare())
    assert isinstance(report, ReloadReport)
    return report


def test_a_comparison_counts_room_as_a_reload_does() -> None:
    """Each of two finds room, and both together do not; nor does one that grows beside them. What is to end has what it reserved until it has ended."""
    driver = Driver(memory_limit=1 << 30, max_processes=3)
    reload(driver, definition("small", memory_request=1 << 20), definition("going", memory_request=256 << 20))
    execute(driver, 1001)
    execute(driver, 1002)
    wanted = (
        msgspec.structs.replace(definition("small", memory_request=900 << 20), lines=LINES),
        msgspec.structs.replace(definition("first", memory_request=400 << 20), lines=LINES),
        msgspec.structs.replace(definition("second", memory_request=400 << 20), lines=LINES),
    )
    told = compare(driver, *wanted)
    assert (actions(told), told.mistakes) == (
        [("end", "going"), ("start", "first")],
        [
            'a.toml:5: cannot change "small": 900 MiB asked, 768 MiB free of 1 GiB',
            'a.toml:1: cannot start "second": 3 processes live, at most 3 may (max_processes)',
        ],
    )
    assert (driver.state.ledger.memory_reserved, len(driver.state.ledger.grants)) == (257 << 20, 2), "nothing is reserved"
    report = reload(driver, *wanted)
    assert (actions(report), report.mistakes, report.absent) == (actions(told), told.mistakes, told.absent)


def test_a_comparison_says_that_the_disk_is_full_as_a_reload_does() -> None:
    driver = Driver(disk_limit=1 << 20)
    driver.give(events.DiskMeasured(2 << 20))
    told = compare(driver, definition("web"))
    assert actions(told) == []
    assert "disk_limit_mb" in told.mistakes[0]
    assert reload(driver, definition("web")).mistakes == told.mistakes


def test_a_report_says_of_each_name_without_a_process_why_there_is_none() -> None:
    driver = Driver(memory_limit=1 << 30)
    reload(driver, definition("runs"))
    report = compare(
        driver,
        definition("runs", memory_request=2 << 30),
        definition("big", memory_request=2 << 30),
        definition("off", enabled=False),
        definition("fine"),
        mistakes=["b.toml:2: broken"],
        bad_files=["b.toml"],
        bad_names={"spoilt": "its file has a mistake: b.toml:2: broken", "runs": "its file has a mistake"},
    )
    assert report.absent == {
        "spoilt": "its file has a mistake: b.toml:2: broken",
        "off": "a.toml: it is not enabled",
        "big": 'a.toml: cannot start "big": 2 GiB asked, 1 GiB free of 1 GiB',
    }


def test_a_definition_that_breaks_the_check_itself_is_told_and_the_others_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever nobody has foreseen: here a check that fails at one definition."""

    def breaks(spec: Spec) -> list[tuple[str, str]]:
        return [("", str(1 // 0))] if spec.name == "bad" else list(soundness.flaws(spec))

    driver = Driver()
    monkeypatch.setattr("dadmsd.kernel.core.admission.flaws", breaks)
    report = reload(driver, definition("bad"), definition("web"))
    assert actions(report) == [("start", "web")]
    assert report.mistakes == ['a.toml: cannot start "bad": the check itself broke: ZeroDivisionError: integer division or modulo by zero']


def test_nothing_ends_where_the_directory_could_not_be_read_whole() -> None:
    driver = Driver()
    reload(driver, definition("web"), definition("db"))
    driver.give(events.DefinitionsRead(Reading([definition("web")], ["d: it cannot be read"], is_whole=False)))
    report = driver.answer(requests.Reload())
    assert isinstance(report, ReloadReport)
    assert (actions(report), report.mistakes) == ([], ["d: it cannot be read"])
    assert actions(reload(driver, definition("web"))) == [("end", "db")]
