"""Which processes a word on the command line means."""

import time

import pytest

from dadms_ipc.errors import RequestRefused
from dadms_ipc.requests import ProcessInfo
from dadmsctl.targets import meant


def process(pid: int, name: str, status: str = "running", group: str = "") -> ProcessInfo:
    return ProcessInfo(pid, 1, name, "", status, 0, group)


TABLE = [
    process(1001, "web", "failed"),
    process(1002, "web"),
    process(1003, "web"),
    process(1004, "etl-a", group="etl"),
    process(1005, "etl-b", "completed", group="etl"),
    process(1006, "etl-b", "failed", group="etl"),
]


@pytest.mark.parametrize(
    ("word", "pids"),
    [
        ("web", [1002, 1003]),
        ("etl-*", [1004, 1006]),
        ("group:etl", [1004, 1006]),
        ("group:e*", [1004, 1006]),
        ("[we]*", [1002, 1003, 1004, 1006]),
    ],
)
def test_a_word_means_those_that_live_or_the_newest(word: str, pids: list[int]) -> None:
    assert meant(TABLE, word) == pids


@pytest.mark.parametrize("verb", ["suspend", "resume", "restart"])
@pytest.mark.parametrize(
    ("word", "pids"), [("etl-*", [1004]), ("group:etl", [1004]), ("[we]*", [1002, 1003, 1004]), ("etl-b", [1006]), ("*-b", [1006])]
)
def test_what_has_ended_is_neither_suspended_nor_resumed_nor_restarted_beside_what_lives(verb: str, word: str, pids: list[int]) -> None:
    """Where a word means nobody that lives, whoever has ended is asked, and the refusal says so."""
    assert meant(TABLE, word, verb) == pids


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("wob", 'no process is called "wob"; did you mean "web"?'),
        ("zzz", 'no process is called "zzz"; there are etl-a, etl-b, web'),
        ("group:zzz", 'no group is called "zzz"; there are etl'),
        ("group:", 'no group is called ""; there are etl'),
    ],
)
def test_a_word_that_means_nobody_is_refused_with_what_there_is(word: str, reason: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        meant(TABLE, word)
    assert str(refused.value) == reason


def test_a_pattern_that_means_thousands_is_looked_up_in_no_time() -> None:
    """Each process is looked at a few times, not once for each of the others: that took seconds of a core for a thousand."""
    table = [process(pid, f"etl-{pid}") for pid in range(1001, 5001)]
    began = time.process_time()
    assert meant(table, "etl-*") == list(range(1001, 5001))
    assert time.process_time() - began < 1.0
