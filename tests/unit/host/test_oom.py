"""Whose memory limit ended a process: the verdict over counters, as a table."""

import signal

import pytest

from dadmsd.kernel.host.oom import Reading, attribute

BEFORE = Reading((("1001/w3", 0, 0), ("1001", 0, 4), ("", 0, 0)))


def after(leaf: tuple[int, int], group: tuple[int, int], instance: tuple[int, int] = (0, 0)) -> Reading:
    return Reading((("1001/w3", *leaf), ("1001", *group), ("", *instance)))


@pytest.mark.parametrize(
    ("reading", "where", "group", "is_certain"),
    [
        (after((1, 9), (0, 4)), "leaf", "1001/w3", True),
        (after((1, 0), (0, 9)), "group", "1001", True),
        (after((1, 9), (0, 9)), "leaf", "1001/w3", False),
        (after((1, 0), (0, 4), (0, 2)), "instance", "", True),
        (after((1, 0), (0, 4)), "host", "", True),
    ],
)
def test_the_first_group_upwards_that_refused_is_named(reading: Reading, where: str, group: str, is_certain: bool) -> None:
    verdict = attribute(BEFORE, reading, signal.SIGKILL)
    assert verdict is not None
    assert (verdict.where, verdict.group, verdict.is_certain) == (where, group, is_certain)
    assert '"1001/w3"' in verdict.text


@pytest.mark.parametrize(
    ("reading", "number"),
    [
        (after((0, 9), (0, 9)), signal.SIGKILL),  # limits were reached, and nobody was killed for it
        (after((1, 9), (0, 4)), signal.SIGTERM),
        (after((1, 9), (0, 4)), signal.SIGSEGV),
        (Reading((("1001/w3", 0, 0), ("1001", 1, 9), ("", 0, 0))), signal.SIGKILL),  # a victim, but in another leaf
    ],
)
def test_any_other_end_is_not_the_oom_killers(reading: Reading, number: int) -> None:
    assert attribute(BEFORE, reading, number) is None


def test_a_leaf_that_is_judged_again_counts_from_the_last_verdict() -> None:
    first = after((1, 9), (0, 4))
    assert attribute(first, first, signal.SIGKILL) is None
    assert attribute(first, after((2, 12), (0, 4)), signal.SIGKILL) is not None


@pytest.mark.parametrize(
    ("reading", "where", "is_certain"),
    [(after((1, 3), (0, 0)), "leaf", True), (after((1, 0), (0, 4)), "group", False)],
)
def test_without_a_reading_before_only_the_leafs_own_limit_is_certain(reading: Reading, where: str, is_certain: bool) -> None:
    verdict = attribute(None, reading, signal.SIGKILL)
    assert verdict is not None
    assert (verdict.where, verdict.is_certain) == (where, is_certain)
