"""Exits that wait for a kernel."""

import os

import pytest

from dadmsd.keeper import orphans as module
from dadmsd.keeper.messages import OrphanExited
from dadmsd.keeper.orphans import WINDOW, Orphans


def exited(pid: int, status: int = 0) -> OrphanExited:
    return OrphanExited(pid, os.CLD_EXITED, status)


def test_an_exit_is_told_once_to_each_kernel_until_it_is_acknowledged() -> None:
    orphans = Orphans()
    orphans.add(exited(1))
    orphans.add(exited(2))
    assert list(orphans.to_tell()) == [exited(1), exited(2)]
    assert list(orphans.to_tell()) == []
    orphans.acknowledge(1)
    orphans.begin()
    assert list(orphans.to_tell()) == [exited(2)]


def test_an_unknown_acknowledgement_is_ignored() -> None:
    orphans = Orphans()
    orphans.acknowledge(7)
    assert len(orphans) == 0


def test_a_kernel_is_told_no_more_than_it_acknowledges() -> None:
    orphans = Orphans()
    for pid in range(WINDOW + 10):
        orphans.add(exited(pid))
    assert len(list(orphans.to_tell())) == WINDOW
    assert list(orphans.to_tell()) == []
    orphans.acknowledge(0)
    orphans.acknowledge(1)
    assert [one.os_pid for one in orphans.to_tell()] == [WINDOW, WINDOW + 1]


def test_the_newest_exit_of_a_pid_that_was_used_again_is_the_one_that_is_told() -> None:
    orphans = Orphans()
    orphans.add(exited(1, 10))
    list(orphans.to_tell())
    orphans.add(exited(1, 20))
    assert list(orphans.to_tell()) == [exited(1, 20)]


def test_a_flood_drops_the_oldest_and_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 3)
    orphans = Orphans()
    for pid in range(5):
        orphans.add(exited(pid))
    assert [one.os_pid for one in orphans.to_tell()] == [2, 3, 4]
    assert orphans.dropped == 2
