"""Threads that have ended, for people: as many of the newest as are kept, whether they came as a run or alone."""

from array import array

from dadms_ipc.requests import ThreadInfo
from dadmsd.kernel.core.history import History
from dadmsd.kernel.core.records import Run


def run(first: int, count: int) -> Run:
    """Make short threads that ended one after the other."""
    return Run(first, 7, "work", 1, 100, 0.0, 0.0, array("f", [0.001] * count).tobytes())


def test_the_newest_of_runs_are_kept_and_no_more() -> None:
    history = History(10)
    for first in (1, 5, 9, 13):
        history.add_run(run(first, 4))
    assert [info.tid for info in history] == list(range(7, 17))
    assert [info.tid for info in reversed(history)] == list(range(16, 6, -1))
    assert len(history) == 10


def test_runs_and_single_threads_stand_in_the_order_of_their_ends() -> None:
    history = History(5)
    history.add_run(run(1, 2))
    history.extend([ThreadInfo(3, 7, "work", "work 3", "error", 1, 100, 0.0, 0.0, 0.0)])
    history.add_run(run(4, 2))
    assert [info.tid for info in history] == [1, 2, 3, 4, 5]
    history.add_run(run(6, 1))
    assert [info.tid for info in history] == [2, 3, 4, 5, 6]
