"""Time-outs over kernels: what runs has the time that is left, whoever rules, and what stands still keeps it."""

from collections.abc import Callable
from typing import Any

import pytest

from dadms_ipc.port import Declaration
from dadms_ipc.requests import Resume, ResumeThread, ShowThread, Suspend, SuspendThread
from dadmsd.kernel.core import effects, events
from tests.unit.kernel.driver import Driver, names, only

W1, W2 = "1001.1/w1", "1001.1/w2"
Step = Callable[[Driver], object]
TIMEOUT = 10.0


def plain(driver: Driver) -> None:
    driver.run(workers=1)
    driver.submit(1001, 2, timeout=TIMEOUT)
    driver.worker(W1)


def looping(driver: Driver) -> None:
    driver.run(workers=1, declarations=[Declaration("ask", is_async=True, at_once=4)])
    driver.submit(1001, 2, entry="ask", timeout=TIMEOUT)
    driver.worker(W1)


def passes(seconds: float) -> Step:
    """Let time pass, and hold that nobody is ended meanwhile."""

    def step(driver: Driver) -> None:
        done = driver.give(after=seconds)
        assert not names(done, effects.Signal)
        assert not [each for each in only(done, effects.SteerWorker) if each.verb == "cancel"]

    return step


def asked(request: Any) -> Step:
    return lambda driver: driver.answer(request)


def gives_way(driver: Driver) -> None:
    driver.give(events.Yielded(W1, 1, driver.state.pools[1001].workers[W1].head[0]))


SCENES: dict[str, list[Step]] = {  # the time that is left at the end of each: one second
    "it runs": [plain, passes(4.0), passes(5.0)],
    "it follows another": [plain, passes(7.0), lambda driver: driver.finish(W1), passes(9.0)],
    "it was suspended": [
        plain, passes(4.0), asked(SuspendThread(1)), lambda driver: driver.freeze(W1), lambda driver: driver.worker(W2, 202), passes(7.0), lambda driver: driver.finish(W2), passes(50.0), asked(ResumeThread(1)), passes(5.0),
    ],
    "it gave way": [
        plain, passes(4.0), lambda driver: driver.submit(1001, 1), gives_way, lambda driver: driver.freeze(W1), lambda driver: driver.worker(W2, 202), passes(3.0),
        lambda driver: driver.finish(W2), lambda driver: driver.finish(W2), passes(5.0),
    ],
    "its process was suspended": [
        plain, passes(4.0), asked(Suspend(1001)), lambda driver: driver.give(events.Frozen(1001, 1)), passes(50.0), passes(50.0), asked(Resume(1001)), passes(5.0),
    ],
    "it is async": [looping, passes(4.0), passes(5.0)],
    "it is async and was held": [looping, passes(4.0), asked(SuspendThread(1)), asked(SuspendThread(2)), passes(50.0), passes(50.0), asked(ResumeThread(1)), passes(5.0)],
    "it is async and was held twice": [
        looping, asked(SuspendThread(2)), passes(2.0), asked(SuspendThread(1)), passes(50.0), asked(ResumeThread(1)), passes(2.0), asked(SuspendThread(1)), passes(50.0), asked(ResumeThread(1)), passes(5.0),
    ],
    "it is async and its process was suspended": [
        looping, passes(4.0), asked(Suspend(1001)), lambda driver: driver.give(events.Frozen(1001, 1)), passes(50.0), asked(Resume(1001)), passes(5.0),
    ],
    "it is async, was held and its process was suspended": [
        looping, passes(4.0), asked(SuspendThread(1)), asked(SuspendThread(2)), passes(7.0), asked(Suspend(1001)), lambda driver: driver.give(events.Frozen(1001, 1)), passes(50.0),
        asked(Resume(1001)), passes(7.0), asked(ResumeThread(1)), passes(5.0),
    ],
}  # fmt: skip


def is_up(driver: Driver) -> bool:
    """Tell whether the time of a thread is over now."""
    done = driver.give(after=0.1)
    return bool(names(done, effects.Signal)) or any(each.verb == "cancel" for each in only(done, effects.SteerWorker))


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("kernels", ["one", "another after each step", "another every second step"])
def test_a_thread_has_its_time_and_no_more_whoever_rules(scene: str, kernels: str) -> None:
    driver = Driver(slots=1) if scene == "it gave way" else Driver()
    for number, step in enumerate(SCENES[scene]):
        step(driver)
        if kernels != "one" and (kernels == "another after each step" or number % 2):
            driver.next_kernel()
            if 1001 in driver.state.pools:
                driver.give(events.WorkerReady(W1))
    assert not is_up(driver), "0.9 s are left"
    driver.give(after=0.7)
    assert not is_up(driver), "0.1 s are left"
    driver.now += 0.01
    assert is_up(driver)


def test_what_is_shown_of_a_thread_goes_on_as_well() -> None:
    driver = Driver()
    plain(driver)
    before = driver.answer(ShowThread(1))
    driver.give(after=4.0)
    driver.next_kernel()
    after = driver.answer(ShowThread(1))
    assert (after.run_seconds, after.started_at) == pytest.approx((4.0, before.started_at))


def test_what_timed_out_while_no_kernel_was_there_is_ended_by_the_next() -> None:
    driver = Driver()
    plain(driver)
    driver.now += 60.0
    driver.next_kernel()
    assert is_up(driver)
