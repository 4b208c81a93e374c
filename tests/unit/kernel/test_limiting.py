"""Limits that change while a process lives, in the pure core: the ledger, the host's word, and crashes in between."""

from typing import Any

import pytest

from dadms_ipc import requests
from dadms_ipc.requests import Limits
from dadmsd.kernel.core import effects, events, limit_words
from tests.unit.kernel.driver import Driver, only
from tests.unit.kernel.test_order import waiting
from tests.unit.kernel.test_restarts import command, execute, leave

GIB = 1 << 30


def ask(driver: Driver, pid: int, sequence: int = 90, **changes: Any) -> list[effects.AnyEffect]:
    return driver.give(events.RequestArrived(b"c", sequence, 0, "operate", "uid 0", requests.ChangeLimits(pid, changes)))


def test_the_answer_waits_for_the_host_and_has_what_was_read_back() -> None:
    driver = Driver()
    pid = command(driver, limits=Limits(memory=GIB))
    done = ask(driver, pid, memory=2 * GIB, cpu=0.5)
    assert only(done, effects.SetLimits) == [effects.SetLimits(pid, 1)]
    assert only(done, effects.Reply) == []
    held = {"memory": "2 GiB by cgroup v2 memory, read back"}
    (reply,) = only(driver.give(events.LimitsSet(pid, 1, held, values={"memory": 2 * GIB, "cpu": 0.5})), effects.Reply)
    assert reply.answer == {"pid": pid, "limits": held, "warnings": [], "limit_values": {"memory": 2 * GIB, "cpu": 0.5}}
    assert driver.process(pid).spec.limits == Limits(memory=2 * GIB, cpu=0.5)
    assert only(ask(driver, pid, memory=2 * GIB, cpu=0.5), effects.SetLimits) == [], "a retry is answered from the journal"


def test_what_the_host_refuses_changes_nothing_reservations_included() -> None:
    driver = Driver()
    pid = command(driver, limits=Limits(memory=GIB), memory_request=GIB)
    ask(driver, pid, memory=GIB // 2, memory_request=GIB // 2)
    assert driver.state.ledger.memory_reserved == GIB // 2
    (reply,) = only(driver.give(events.LimitsSet(pid, 1, reason="800 MiB are in use")), effects.Reply)
    assert (reply.status, reply.answer) == ("refused", {"message": f'cannot change the limits of {pid} ("c"): 800 MiB are in use'})
    assert driver.process(pid).spec.limits == Limits(memory=GIB)
    assert driver.state.ledger.memory_reserved == GIB


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"memry": 1}, 'unknown limit "memry"; did you mean "memory"?'),
        ({"memory": "much"}, "Expected int | null, got str - at $.memory"),
        ({"memory": 1024}, "memory is 1 KiB, at least 8 MiB is needed"),
        ({"memory": 8 * GIB}, "a memory limit of 8 GiB asked, all processes together may use 4 GiB (memory_limit_mb)"),
        ({"memory_request": 5 * GIB}, "5 GiB asked, 4 GiB free of 4 GiB"),
        ({"cpu_request": 3.0}, "3 cores asked, 2 free of 2"),
        ({"swap": GIB}, "swap = 1 GiB cannot be enforced here (simulated); best-effort enforcement would go without"),
    ],
)
def test_what_cannot_be_meant_or_granted_is_refused_with_the_numbers(changes: dict[str, Any], reason: str) -> None:
    driver = Driver()
    pid = command(driver)
    assert driver.refusal(requests.ChangeLimits(pid, changes)) == f'cannot change the limits of {pid} ("c"): {reason}'
    assert driver.process(pid).before is None


def test_one_that_has_no_group_gets_them_at_its_next_start() -> None:
    driver = Driver()
    pid = command(driver, kind="tool")
    leave(driver, pid)
    answer = driver.answer(requests.ChangeLimits(pid, {"memory": GIB}))
    assert answer["warnings"] == ["they hold from its next start on"]
    assert driver.process(pid).spec.limits.memory == GIB
    blocked = waiting(driver, name="w", after=["w"] if False else [])
    driver.answer(requests.ChangeLimits(blocked, {"cpu": 0.5}))
    assert driver.process(blocked).spec.limits.cpu == 0.5


def test_a_kernel_that_dies_before_the_host_answered_asks_it_again() -> None:
    driver = Driver()
    pid = command(driver, limits=Limits(memory=GIB))
    ask(driver, pid, memory=2 * GIB)
    assert only(driver.next_kernel(), effects.SetLimits) == [effects.SetLimits(pid, 1)]
    assert only(ask(driver, pid, memory=2 * GIB), effects.SetLimits, effects.Reply) == [], "the client's repetition waits like its first"
    (reply,) = only(driver.give(events.LimitsSet(pid, 1)), effects.Reply)
    assert reply.status == "ok"


def test_another_change_meanwhile_is_refused() -> None:
    driver = Driver()
    pid = command(driver)
    ask(driver, pid, memory=GIB)
    (reply,) = only(ask(driver, pid, 91, memory=2 * GIB), effects.Reply)
    assert reply.answer == {"message": f'cannot change the limits of {pid} ("c"): its limits are being changed already'}


def test_a_process_that_ends_meanwhile_has_them_from_its_next_start_on() -> None:
    driver = Driver()
    pid = command(driver)
    ask(driver, pid, memory=GIB)
    leave(driver, pid)
    driver.give(after=1.0)
    execute(driver, pid)
    (reply,) = only(driver.give(events.LimitsSet(pid, 1, reason="its group is gone")), effects.Reply)
    assert reply.status == "refused"
    assert driver.process(pid).spec.limits.memory == GIB


def test_niceness_changes_as_a_limit_does_and_below_zero_is_for_root() -> None:
    driver = Driver()
    pid = command(driver)
    assert only(ask(driver, pid, nice=5), effects.SetLimits) == [effects.SetLimits(pid, 1)]
    assert driver.process(pid).spec.nice == 5
    driver.give(events.LimitsSet(pid, 1, {"nice": "5"}))
    driver.process(pid).uid = 1000
    assert "nice = -1 is for root" in driver.refusal(requests.ChangeLimits(pid, {"nice": -1}), uid=1000, role="operate")
    assert "nice is -21, it can be from -20 to 19" in driver.refusal(requests.ChangeLimits(pid, {"nice": -21}))
    spec = requests.Spec("n", kind="service", command=["/bin/true"], nice=-1)
    assert driver.refusal(requests.Spawn(spec), uid=1000, role="operate") == 'cannot start "n" with nice = -1: uid 1000 is not root'


def test_a_limit_that_is_lifted_is_shown_no_longer_and_told_also_by_the_next_kernel() -> None:
    driver = Driver()
    pid = command(driver, limits=Limits(cpu=0.5, files=512))
    driver.process(pid).limits = {"cpu": "0.5 cores by cgroup v1 cpu, read back", "files": "512 by RLIMIT_NOFILE, read back", "nice": "3"}
    driver.process(pid).limit_values = {"cpu": 0.5, "files": 512, "nice": 3}
    ask(driver, pid, cpu=None, files=None)
    (reply,) = only(
        driver.give(events.LimitsSet(pid, 1, {"memory": "4 GiB by cgroup v1 memory, read back"}, values={"memory": 4 * GIB})), effects.Reply
    )
    held = {"files": "512 by RLIMIT_NOFILE, read back", "nice": "3", "memory": "4 GiB by cgroup v1 memory, read back"}
    values = {"files": 512, "nice": 3, "memory": 4 * GIB}
    assert reply.answer == {"pid": pid, "limits": held, "warnings": [], "limit_values": values}, (
        "an rlimit is lowered only, and what was not changed stays"
    )
    told = driver.state.events[-1]
    assert told.text == "limits changed: memory 4 GiB, cpu lifted"
    changed = {"memory": "4 GiB by cgroup v1 memory, read back"}
    assert told.data == {"limits": changed, "warnings": [], "lifted": ["cpu"], "values": {"memory": 4 * GIB}}
    driver.next_kernel()
    shown = driver.answer(requests.Status(pid))
    assert (shown.limits, shown.limit_values) == (held, values)


def test_limits_of_a_process_without_a_main_can_be_looked_at_without_a_warning() -> None:
    driver = Driver()
    rates = {"/dev/sda": requests.IoLimit(read_bytes=1000)}
    pid = command(driver, kind="tool", limits=Limits(memory=GIB, cpu=0.5, io=rates), nice=4, enforcement="best-effort")
    leave(driver, pid)
    answer = driver.answer(requests.ChangeLimits(pid, {}))
    assert answer["warnings"] == []
    assert answer["limits"] == {
        "memory": "1 GiB from its next start on",
        "cpu": "0.5 cores from its next start on",
        "files": "1024 from its next start on",
        "core": "0 B from its next start on",
        "io": "/dev/sda from its next start on",
        "nice": "4 from its next start on",
    }
    assert answer["limit_values"] == {
        "memory": GIB,
        "cpu": 0.5,
        "files": 1024,
        "core": 0,
        "io": {"/dev/sda": {"read_bytes": 1000}},
        "nice": 4,
    }
    shown = driver.answer(requests.Status(pid))
    assert (shown.limits, shown.limit_values) == (answer["limits"], answer["limit_values"]), "its status shows the same"


def test_what_a_limit_is_warned_of_is_told_once_until_it_is_so_again() -> None:
    driver = Driver()
    pid = command(driver)
    low = "RLIMIT_NOFILE is 1024, not the 5000 that were asked"
    told = []
    for sequence, (changes, warnings) in enumerate(
        (({"files": 5000}, [low]), ({"memory": GIB}, [low]), ({"files": 512}, []), ({"files": 5000}, [low])), 90
    ):
        if sequence == 91:
            driver.next_kernel()
        ask(driver, pid, sequence, **changes)
        (reply,) = only(driver.give(events.LimitsSet(pid, 1, warnings=warnings)), effects.Reply)
        assert isinstance(reply.answer, dict)
        data = driver.state.events[-1].data
        assert isinstance(data, dict)
        assert data["warnings"] == reply.answer["warnings"]
        told.append(reply.answer["warnings"])
    assert told == [[low], [], [], [low]]


def test_a_line_of_limits_has_neither_who_holds_them_nor_how_that_is_known() -> None:
    held = {
        "memory": "1 GiB by cgroup v1 memory, read back",
        "nice": "-5, by its main for itself",
        "files": "1024 by RLIMIT_NOFILE, read back",
    }
    assert limit_words.brief(held | {"cpu": "1 core"}) == "memory 1 GiB, nice -5, files 1024, cpu 1 core"
