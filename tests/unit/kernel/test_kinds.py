"""Kinds of worker: what a process may declare, who runs in which, and how kinds share the workers of a process."""

import pytest

from dadms_ipc.port import Declaration
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.core.kinds import KINDS_MOST, PLAIN, Kind, flaw_of, kinds_of
from tests.unit.kernel.driver import Driver, names, only, results, sent

MIB = 1 << 20
LARGE = Declaration("large", memory_limit=256 * MIB)
SMALL = Declaration("small", memory_limit=64 * MIB)
ASK = Declaration("ask", is_async=True)


def test_kinds_are_those_of_entries_that_ask_for_something() -> None:
    assert kinds_of([LARGE, ASK, Declaration("work")]) == {"large": Kind(memory=256 * MIB), "ask": Kind(at_once=1000)}
    assert [Kind(at_once=5, memory=64 * MIB).words, PLAIN.words] == ["async, 5 at once, memory 64 MiB", ""]


@pytest.mark.parametrize(
    ("declarations", "words"),
    [
        ([Declaration("other")], 'declares "other", which is not among its entries'),
        ([Declaration("e0", at_once=3)], "at_once = 3"),
        ([Declaration("e0", is_async=True, at_once=10_001)], "1 to 10000, of an async entry"),
        ([Declaration("e0", memory_limit=MIB)], "a memory limit of 1 MiB"),
        ([Declaration(f"e{n}", memory_limit=(8 + n) * MIB) for n in range(KINDS_MOST)], "17 kinds of worker: at most 16"),
        ([LARGE], ""),
    ],
)
def test_what_cannot_be_meant_is_said(declarations: list[Declaration], words: str) -> None:
    found = flaw_of(declarations, ["large", *(f"e{n}" for n in range(20))])
    assert words in found
    assert bool(found) is bool(words)


def test_a_process_that_declares_what_cannot_be_meant_fails_with_the_reason() -> None:
    driver = Driver()
    pid = driver.spawn()
    driver.import_code()
    driver.open(f"{pid}.1", 100)
    driver.give(events.MainReady(f"{pid}.1", ["work"], [], {}, [Declaration("work", memory_limit=1)]))
    driver.end(pid, 2, 9)
    assert driver.process().status == "failed"
    assert "declares a memory limit of 1 B" in driver.process().reason


@pytest.mark.parametrize("enforcement", ["strict", "best-effort"])
def test_a_limit_that_this_host_cannot_hold_fails_the_process_or_is_a_warning(enforcement: str) -> None:
    driver = Driver(holds=frozenset())
    pid = driver.spawn(enforcement=enforcement)
    driver.import_code()
    driver.open(f"{pid}.1", 100)
    done = driver.give(events.MainReady(f"{pid}.1", ["large"], [], {}, [LARGE]))
    if enforcement == "strict":
        assert only(done, effects.Signal) == [effects.Signal(f"{pid}.1", 9)]
        driver.end(pid, 2, 9)
        assert 'a memory limit of 256 MiB for "large", which cannot be enforced here (simulated)' in driver.process().reason
    else:
        assert driver.process().status == "running"
        assert "256 MiB" in driver.process().warnings[0]


def test_each_thread_runs_in_a_worker_of_its_kind() -> None:
    driver = Driver()
    pid = driver.run(workers=3, declarations=[LARGE, SMALL])
    for entry in ("large", "small", "work"):
        driver.submit(pid, entry=entry)
    kinds = {name: child.kind.memory for name, child in driver.state.children.items() if child.role == "worker"}
    assert kinds == {"1001.1/w1": 256 * MIB, "1001.1/w2": 64 * MIB, "1001.1/w3": None}
    assert [sent(driver.worker(name, 201)) for name in kinds] == [{"1001.1/w1": [1]}, {"1001.1/w2": [2]}, {"1001.1/w3": [3]}]
    driver.next_kernel()
    driver.finish("1001.1/w2")
    assert sent(driver.submit(pid, entry="small")) == {"1001.1/w2": [4]}, "the next kernel knows the kinds"
    assert sent(driver.submit(pid, entry="large")) == {}


def test_an_idle_worker_goes_for_one_of_the_kind_that_is_next() -> None:
    driver = Driver()
    pid = driver.run(workers=1, declarations=[LARGE])
    driver.submit(pid)
    driver.worker("1001.1/w1")
    done = driver.submit(pid, entry="large")
    assert not only(done, effects.Retire, effects.Fork)
    done = driver.finish("1001.1/w1")
    assert only(done, effects.Retire) == [effects.Retire("1001.1/w1")]
    done = driver.give(events.Exited("1001.1/w1", 1, 0))
    assert names(done, effects.Fork) == ["1001.1/w2"]
    assert sent(driver.worker("1001.1/w2", 202)) == {"1001.1/w2": [2]}


def test_kinds_take_turns_in_the_order_in_which_their_threads_came() -> None:
    """One worker at a time, and neither kind starves: the thread that came first is next, whatever kind it is of."""
    driver = Driver()
    pid = driver.run(workers=1, declarations=[LARGE])
    for entry in ("work", "large", "work", "large"):
        driver.submit(pid, entry=entry)
    order = []
    for number in range(1, 5):
        name = f"1001.1/w{number}"
        order.extend(sent(driver.worker(name, 200 + number))[name])
        assert only(driver.finish(name), effects.Retire) or number == 4
        driver.give(events.Exited(name, 1, 0))
    assert order == [1, 2, 3, 4]


def test_a_higher_priority_of_another_kind_is_waited_for_by_a_busy_one() -> None:
    driver = Driver()
    pid = driver.run(workers=1, declarations=[LARGE])
    driver.submit(pid, 3)
    driver.worker("1001.1/w1")
    driver.submit(pid, entry="large", priority=50)
    done = driver.finish("1001.1/w1")
    assert (sent(done), only(done, effects.Retire)) == ({}, [effects.Retire("1001.1/w1")])


def test_a_kind_whose_workers_come_to_nothing_fails_its_own_threads_only() -> None:
    driver = Driver()
    pid = driver.run(workers=2, declarations=[SMALL])
    driver.submit(pid)
    driver.worker("1001.1/w1")
    driver.submit(pid, entry="small")
    done: list[effects.AnyEffect] = []
    for number in range(2, 7):
        done = driver.give(events.Exited(f"1001.1/w{number}", 2, 9, "worker limit of 64 MiB"))
    (result,) = results(done)
    assert (result.tid, result.cause) == (2, "worker_lost")
    assert result.message.startswith("no worker (memory 64 MiB) can be started: 5 in a row ended before they were ready")
    assert driver.finish("1001.1/w1")


def test_async_workers_are_beside_those_with_slots() -> None:
    driver = Driver(slots=1)
    pid = driver.run(workers=1, declarations=[ASK, LARGE])
    for entry in ("ask", "work", "large", "ask"):
        driver.submit(pid, entry=entry)
    assert [child.kind.words for child in driver.state.children.values() if child.role == "worker"] == ["async, 1000 at once", ""]
    assert sent(driver.worker("1001.1/w1")) == {"1001.1/w1": [1, 4]}
