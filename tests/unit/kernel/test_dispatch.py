"""Who runs next, and where: slots, turns, batches, growth, retirement."""

import msgspec
import pytest

from dadms_ipc import port
from dadmsd.kernel.core import effects, events
from tests.unit.kernel.driver import NIL, Driver, names, only, results, sent, short


def test_slots_bound_what_runs() -> None:
    """With two slots, two processes with two workers each run two threads at a time."""
    driver = Driver(slots=2)
    for pid in (driver.run(), driver.run()):
        driver.submit(pid, 3)
    for number, name in enumerate([name for name, child in driver.state.children.items() if child.role == "worker"]):
        driver.worker(name, 300 + number)
    assert driver.state.slots_held == 2


def test_no_more_workers_are_forked_than_there_are_slots_for() -> None:
    """Those that are on their way count, whosever they are."""
    driver = Driver(slots=3)
    first, second = driver.run(workers=4), driver.run(workers=4)
    assert len(names(driver.submit(first, 10), effects.Fork)) == 3
    assert not names(driver.submit(second, 10), effects.Fork)


def test_a_worker_is_forked_for_each_thread_that_waits_and_no_more() -> None:
    """Those that are idle are used first."""
    driver = Driver()
    pid = driver.run(workers=4)
    assert names(driver.submit(pid, 2), effects.Fork) == [f"{pid}.1/w1", f"{pid}.1/w2"]
    driver.worker(f"{pid}.1/w1", 201)
    driver.worker(f"{pid}.1/w2", 202)
    driver.finish(f"{pid}.1/w2")
    done = driver.submit(pid)
    assert (sent(done), names(done, effects.Fork)) == ({f"{pid}.1/w2": [3]}, [])


def test_a_process_that_is_stopped_gets_no_new_workers() -> None:
    """What waits ends with it."""
    driver = Driver()
    pid = driver.run()
    driver.give(events.StopAsked("SIGTERM"))
    assert not names(driver.submit(pid), effects.Fork)
    driver.end(pid)
    assert driver.thread(1).message.startswith("its process ended")


def two(driver: Driver, *, seconds: float) -> list[str]:
    """Start two processes with a worker each, whose entry is known to run that long, and let many threads of each wait; gives the workers."""
    pids = [driver.run(workers=1), driver.run(workers=1)]
    for pid in pids:
        driver.submit(pid)
        driver.worker(f"{pid}.1/w1", pid)
        driver.finish(f"{pid}.1/w1", seconds=seconds)
    for pid in pids:
        driver.submit(pid, 600)
    return [f"{pid}.1/w1" for pid in pids]


def test_processes_take_turns_for_a_slot_whatever_else_happens_between() -> None:
    """Other events between two results do not give one of them every turn."""
    driver = Driver(slots=1)
    workers = two(driver, seconds=0.01)
    turns = []
    for number in range(1, 10):
        busy = next(name for name in workers if driver.flying(name))
        turns.append(busy)
        driver.finish(busy)
        driver.give(events.ResultsSeen(f"{busy.partition('/')[0]}", 1 + (number + 1) // 2))
    assert turns[1:] == workers * 4, "the first came when nobody else waited"


def test_a_process_with_short_threads_does_not_keep_its_slot_from_others() -> None:
    """While somebody waits for a slot, a busy worker gets nothing in advance: it runs dry, and the slot goes on."""
    driver = Driver(slots=1)
    workers = two(driver, seconds=0.0001)
    turns = []
    for _ in range(7):
        busy = next(name for name in workers if driver.flying(name))
        turns.append(busy)
        driver.finish(busy, count=len(driver.flying(busy)), seconds=0.0001)
    assert turns[1:] == workers * 3


def test_the_last_process_that_waits_gets_its_batches_in_advance_again() -> None:
    """When the others have nothing left, one runs while the other travels."""
    driver = Driver(slots=1)
    pid = short(driver, count=300)
    assert len(driver.flying(f"{pid}.1/w1")) == 240
    driver.finish(f"{pid}.1/w1", count=120, seconds=0.0001)
    assert len(driver.flying(f"{pid}.1/w1")) == 180, "the other batch, and what was left"


@pytest.mark.parametrize(("seconds", "parts"), [(0.001, [4, 2]), (0.00001, [6, 0])])
def test_what_is_left_in_the_end_is_parted_among_the_workers(seconds: float, parts: list[int]) -> None:
    """Three, two, and the last one where there is room first; unless it is so little that sending it costs as much."""
    driver = Driver(slots=4)
    pid = driver.run(workers=2)
    workers = [f"{pid}.1/w1", f"{pid}.1/w2"]
    driver.submit(pid, 2)
    for os_pid, name in enumerate(workers, 201):
        driver.worker(name, os_pid)
    for name in workers:
        driver.finish(name, seconds=seconds)
    driver.submit(pid, 6)
    assert [len(driver.flying(name)) for name in workers] == parts


def test_threads_travel_alone_until_their_entry_has_proved_to_be_short() -> None:
    """Then about twelve milliseconds of them at once."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid, 150)
    driver.worker(f"{pid}.1/w1")
    assert driver.flying(f"{pid}.1/w1") == [1]
    driver.finish(f"{pid}.1/w1", seconds=0.0002)
    assert driver.flying(f"{pid}.1/w1") == list(range(2, 122)), "two batches of sixty"
    driver.finish(f"{pid}.1/w1", count=60, seconds=0.02)
    assert len(driver.flying(f"{pid}.1/w1")) == 60, "they are not short any more"


def test_a_batch_has_one_entry_and_the_size_that_is_right_for_it() -> None:
    """Long threads do not travel together because short ones stood before them."""
    driver = Driver()
    pid = driver.run(workers=2)
    driver.submit(pid, 2)
    for number in (1, 2):
        driver.worker(f"{pid}.1/w{number}", 200 + number)
    for number in (1, 2):
        driver.finish(f"{pid}.1/w{number}", seconds=0.0001)
    done = driver.give(
        events.Submitted(f"{pid}.1", port.Submit(2, "work", [NIL] * 3)), events.Submitted(f"{pid}.1", port.Submit(3, "other", [NIL] * 5))
    )
    assert sent(done) == {f"{pid}.1/w1": [3, 4, 5], f"{pid}.1/w2": [6]}


def test_nothing_waits_behind_a_thread_that_may_be_long() -> None:
    """A busy worker gets short ones in advance only behind short ones."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1")
    driver.finish(f"{pid}.1/w1", seconds=0.0001)
    driver.submit(pid, 1, entry="other")
    assert not sent(driver.submit(pid, 10))
    assert driver.flying(f"{pid}.1/w1") == [2]


def test_a_batch_is_bounded_in_bytes() -> None:
    """It has to fit into a frame."""
    driver = Driver()
    pid = short(driver, count=1)
    driver.finish(f"{pid}.1/w1", seconds=0.000001)
    blob = msgspec.Raw(msgspec.msgpack.encode(b"x" * 400_000))
    driver.give(events.Submitted(f"{pid}.1", port.Submit(3, "work", [blob] * 9)))
    assert [len(batch.tids) for batch in driver.state.pools[pid].workers[f"{pid}.1/w1"].batches] == [3, 3]


def test_the_queue_passes_over_what_was_given_up() -> None:
    """Threads that ended while they waited are not sent, nor whole submissions of them."""
    driver = Driver()
    pid = short(driver, count=1)
    for _ in range(2):
        driver.submit(pid, 3)
    tids = driver.flying(f"{pid}.1/w1")
    waiting = [tid for tid in range(2, 9) if tid not in tids]
    driver.cancel(pid, *waiting[:-1])
    assert sum(len(batch) for batch in sent(driver.finish(f"{pid}.1/w1", count=len(tids), seconds=0.0001)).values()) == min(1, len(waiting))


def test_a_worker_that_is_idle_for_long_is_asked_to_go() -> None:
    """From its last thread on; it gets nothing more, and one that does not go is killed."""
    driver = Driver()
    pid = driver.run(workers=1)
    driver.submit(pid)
    driver.worker(f"{pid}.1/w1")
    driver.give(after=20.0)
    driver.finish(f"{pid}.1/w1")
    assert not driver.give(after=29.0)
    assert only(driver.give(after=1.1), effects.Retire) == [effects.Retire(f"{pid}.1/w1")]
    assert not sent(driver.submit(pid))
    assert names(driver.give(after=60.1), effects.Signal) == [f"{pid}.1/w1"]
    done = driver.give(events.Exited(f"{pid}.1/w1", 2, 9, begun=1))
    assert names(done, effects.Fork) == [f"{pid}.1/w2"]
    assert not driver.kinds("worker.lost")


def test_a_worker_that_is_busy_or_on_its_way_out_is_not_retired() -> None:
    """The timer of an idle worker comes due while it works, or when it is being killed."""
    driver = Driver(thread_timeout=100.0)
    pid = driver.run(workers=2)
    driver.submit(pid, 2)
    driver.worker(f"{pid}.1/w1", 201)
    driver.worker(f"{pid}.1/w2", 202)
    driver.finish(f"{pid}.1/w1")
    driver.finish(f"{pid}.1/w2")
    driver.give(after=29.0)
    driver.submit(pid)
    driver.give(events.PortViolated(f"{pid}.1/w2", "noise"))
    assert not only(driver.give(after=1.1), effects.Retire)
    driver.give(events.Exited(f"{pid}.1/w2", 2, 9))
    driver.finish(f"{pid}.1/w1")
    assert only(driver.give(after=30.1), effects.Retire) == [effects.Retire(f"{pid}.1/w1")]


def test_what_has_no_length_counts_as_long() -> None:
    """A worker may say anything about how long a thread ran: the kernel goes on, and sends one at a time."""
    driver = Driver()
    pid = short(driver, count=1)
    driver.finish(f"{pid}.1/w1", seconds=float("nan"))
    driver.submit(pid, 9)
    assert len(driver.flying(f"{pid}.1/w1")) < 9
    assert results(driver.finish(f"{pid}.1/w1", seconds=-1.0))


def test_submissions_keep_their_order_over_many_that_have_ended() -> None:
    """Two hundred submissions of one thread each, swept as they end, are numbered and run in order."""
    driver = Driver()
    pid = driver.run(workers=1)
    for _ in range(200):
        driver.give(events.Submitted(f"{pid}.1", port.Submit(driver.process(pid).asked + 1, "work", [NIL])))
    driver.worker(f"{pid}.1/w1")
    ran = []
    while driver.flying(f"{pid}.1/w1"):
        ran.extend(driver.flying(f"{pid}.1/w1")[:1])
        driver.finish(f"{pid}.1/w1")
    assert ran == list(range(1, 201))
    assert not [table for table, _ in driver.rows if table in ("chunk", "batch")]
