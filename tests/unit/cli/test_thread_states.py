"""How a thread's state reads in a table."""

import time

import pytest

from dadms_ipc.requests import AttemptInfo, ThreadInfo
from dadmsctl.commands.threads import _attempts, _state


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": "running"}, "running"),
        ({"state": "waiting"}, "waiting"),
        ({"state": "waiting", "repeats": 17}, "waiting: for 17"),
        ({"state": "completed", "repeats": 17}, "completed"),
        ({"state": "waiting", "tried": [AttemptInfo("oom")], "due_at": -5.0}, "waiting: attempt 2 in 0 ms"),
    ],
)
def test_a_state_says_what_is_waited_for(fields: dict[str, object], words: str) -> None:
    assert _state(ThreadInfo(1, 1001, "work", "work 1", **fields)) == words  # type: ignore[arg-type]  # of the table above


def test_every_attempt_is_a_line() -> None:
    tried = [AttemptInfo("worker_lost", "its worker ended", 3, 77, 1.0, 2.0), AttemptInfo("exception", "ValueError: a\nb")]
    lines = list(_attempts(ThreadInfo(1, 1001, "work", "work 1", "waiting", tried=tried, due_at=time.time() + 60)))
    assert lines[0].startswith("attempt  1: worker_lost after 2")
    assert lines[0].endswith(" in w3 (77): its worker ended")
    assert lines[1].endswith(": ValueError: a")
    assert lines[2].startswith("attempt  3: due in ")
