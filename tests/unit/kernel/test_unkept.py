"""A disk that takes nothing new, as the core sees it: what is refused, what waits, what goes on."""

import msgspec
import pytest

from dadms_ipc import context, port, requests
from dadms_ipc.requests import Kill, Spawn, Spec, Status
from dadmsd.kernel.core import effects, events
from tests.unit.kernel.driver import Driver, only, told

REASON = 'no space left on device ("/var/lib/dadms": 0.0 MiB free of 10 MiB)'
ONE = msgspec.Raw(b"\x01")


def filled(driver: Driver, *, is_strained: bool = False) -> None:
    driver.give(events.DiskFilled(REASON, is_strained))


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (Spawn(Spec("new", "decision")), 'process "new"'),
        (requests.Start(1001), "the start of 1001"),
        (requests.Restart(1001), "the restart of 1001"),
        (requests.ChangeLimits(1001, {"pids": 50}), "other limits of 1001"),
        (requests.SetThreadPriority(7, 1), "another priority of thread 7"),
        (requests.Reload(), "what the definitions ask for"),
        (requests.ChangeContext(1001, context.Set("r", "k", ONE)), 'a change of region "r"'),
    ],
)
def test_what_would_have_to_be_remembered_is_refused_with_the_reason(request_: requests.Request, what: str) -> None:
    driver = Driver()
    driver.run()
    filled(driver)
    assert driver.refusal(request_) == f"cannot keep {what}: {REASON}"


def test_what_ends_or_is_only_looked_at_is_done() -> None:
    driver = Driver()
    driver.run()
    driver.answer(requests.ChangeContext(1001, context.Set("r", "k", ONE)))
    filled(driver)
    assert driver.answer(Status()).unkept == REASON
    driver.answer(requests.ChangeContext(1001, context.Delete("r", "k")))
    driver.answer(Kill(1001))
    driver.end(1001)
    assert driver.process().status == "killed"


def test_a_submission_waits_for_room_and_is_taken_once() -> None:
    driver = Driver()
    pid = driver.run()
    filled(driver)
    assert told(driver.submit(pid, 2), port.Accepted) == []
    assert told(driver.submit(pid, 2), port.Accepted) == [], "it is the same, repeated"
    assert told(driver.give(events.DiskFreed()), port.Accepted) == [port.Accepted(1, 1)]
    assert told(driver.give(events.DiskFreed()), port.Accepted) == []
    assert driver.kinds("disk.") == ["disk.full", "disk.free"]
    assert driver.state.counters.next_tid == 3


def test_who_ends_meanwhile_is_not_asked_again() -> None:
    driver = Driver()
    pid = driver.run()
    filled(driver)
    driver.submit(pid)
    driver.end(pid)
    driver.give(events.DiskFreed())
    assert driver.state.counters.next_tid == 1


def test_threads_end_and_others_begin_until_the_memory_is_nearly_used_up() -> None:
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 3)
    driver.worker("1001.1/w1")
    filled(driver)
    assert told(driver.finish("1001.1/w1"), port.Finished)
    filled(driver, is_strained=True)
    flying = len(driver.flying("1001.1/w1"))
    while driver.flying("1001.1/w1"):
        assert only(driver.finish("1001.1/w1"), effects.SendBatch) == []
    assert flying
    if driver.state.pools[pid].ready:
        assert only(driver.give(events.DiskFreed()), effects.SendBatch)


def test_context_and_artifacts_of_threads_are_refused_but_for_what_gives_back() -> None:
    driver = Driver()
    driver.run()
    filled(driver)
    operations: list[port.Asked] = [context.Increment("r", "k", 1), port.Reserve(5), context.Regions()]
    answers = [
        driver.give(events.ContextCalled("1001.1", port.ContextCall(number, 0, operation)))
        for number, operation in enumerate(operations, 1)
    ]
    said = [(each.message.status, msgspec.msgpack.decode(each.message.body)) for done in answers for each in only(done, effects.AnswerCall)]
    assert said[0] == ("refused", {"message": f'cannot keep a change of region "r": {REASON}'})
    assert said[1] == ("refused", {"message": f"cannot keep an artifact: {REASON}"})
    assert said[2][0] == "ok"
