"""Room on the disk: granted by the last measurement and what was granted since, refused with numbers."""

import msgspec
import pytest

from dadms_ipc import requests
from dadms_ipc.port import Reserve, Room
from dadms_ipc.requests import Spawn, Spec
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.disk import STALE
from tests.unit.kernel.driver import START, Driver, only
from tests.unit.kernel.test_context import W1, Shared

GIB = 1 << 30


def reserve(shared: Shared, size: int) -> tuple[str, object] | None:
    done = shared.driver.give(events.ContextCalled(W1, shared.call(W1, Reserve(size))))  # type: ignore[arg-type]  # a call of another kind
    (answer,) = (effect.message for effect in only(done, effects.AnswerCall))
    if answer.status == "ok":
        return "ok", msgspec.msgpack.decode(answer.body, type=Room)
    return answer.status, msgspec.msgpack.decode(answer.body)["message"]


def test_room_is_counted_from_the_last_look_on() -> None:
    shared = Shared(disk_limit=10 * GIB)
    shared.driver.give(events.DiskMeasured(4 * GIB))
    assert reserve(shared, 2 * GIB) == ("ok", Room(6 * GIB, 10 * GIB))
    assert reserve(shared, 4 * GIB) == ("ok", Room(10 * GIB, 10 * GIB))
    status, message = reserve(shared, 1)  # type: ignore[misc]  # it is answered
    assert (status, message) == (
        "refused",
        "cannot keep an artifact: artifacts, logs and working directories have 10 GiB (looked at 0.0 s ago), and this takes 1 B, at most 10 GiB (disk_limit_mb)",
    )
    shared.driver.give(events.DiskMeasured(3 * GIB))
    assert reserve(shared, GIB) == ("ok", Room(4 * GIB, 10 * GIB))
    assert reserve(shared, 0) == ("ok", Room(4 * GIB, 10 * GIB))
    info = shared.driver.answer(requests.Status())
    assert (info.disk_used, info.disk_limit, info.disk_looked_at) == (4 * GIB, 10 * GIB, START + shared.driver.now)
    shared.driver.give(after=90.0)
    assert shared.driver.answer(requests.Status()).disk_looked_at == START + shared.driver.now - 90.0
    assert reserve(shared, -1) == ("refused", "cannot keep an artifact of -1 bytes")


def test_what_is_granted_while_it_is_measured_is_counted_still() -> None:
    """It may have been written behind the one who counts."""
    shared = Shared(disk_limit=10 * GIB)
    shared.driver.give(events.DiskMeasured(0))
    reserve(shared, GIB)
    shared.driver.give(after=STALE)
    reserve(shared, GIB)  # this one has it measured, and is granted after that
    shared.driver.give(events.DiskMeasured(GIB))
    assert reserve(shared, 0) == ("ok", Room(2 * GIB, 10 * GIB))


def test_it_is_measured_when_somebody_asks_and_not_sooner() -> None:
    driver = Driver()
    driver.spawn()
    assert not only(driver.give(after=1000.0), effects.MeasureDisk), "nobody asked"
    assert driver.state.disk.is_looking, "the first look is under way"
    driver.give(events.DiskMeasured(0))
    ask = events.RequestArrived(b"x", 1, 0, "admin", "uid 0", Spawn(Spec("p", "decision")))
    assert not only(driver.give(ask), effects.MeasureDisk), "it was looked at just now"
    driver.give(after=STALE)
    again = events.RequestArrived(b"x", 2, 0, "admin", "uid 0", Spawn(Spec("p", "decision")))
    assert len(only(driver.give(again), effects.MeasureDisk)) == 1
    assert len(only(driver.next_kernel(), effects.MeasureDisk)) == 1


def test_nothing_is_started_beyond_the_limit_and_what_runs_goes_on() -> None:
    driver = Driver(disk_limit=GIB)
    pid = driver.run()
    driver.give(events.DiskMeasured(GIB))
    refused = driver.refusal(Spawn(Spec("etl", "decision")))
    assert refused.startswith('cannot start "etl": artifacts, logs and working directories have 1 GiB (looked at 0.0 s ago), at most 1 GiB')
    assert driver.state.disk.is_looking, "it is measured again, so that who makes room is heard"
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1")
    driver.finish(f"{pid}.1/w1")
    assert driver.thread(1).state == "completed"
    driver.give(events.DiskMeasured(GIB - 1))
    driver.answer(Spawn(Spec("etl", "decision")))


def test_what_the_kernel_removed_itself_is_nobodys_refusal() -> None:
    """However lately it was measured: what is gone is known to be gone."""
    driver = Driver(disk_limit=GIB)
    driver.give(events.DiskMeasured(GIB))
    assert len(only(driver.give(events.DiskCleared()), effects.MeasureDisk)) == 1
    assert not only(driver.give(events.DiskCleared()), effects.MeasureDisk), "the one under way began after it"
    driver.give(events.DiskMeasured(0))
    driver.answer(Spawn(Spec("etl", "decision")))


@pytest.mark.parametrize("is_restarted", [False, True])
def test_the_artifacts_of_a_process_go_when_it_leaves_the_table(is_restarted: bool) -> None:
    driver = Driver(ended_kept=0, ended_least=0.0)
    pid = driver.run()
    if is_restarted:
        driver.next_kernel()
    assert [effect.pid for effect in only(driver.end(pid), effects.DropArtifacts)] == [pid]
    assert driver.answer(requests.Status(pid)).is_past
