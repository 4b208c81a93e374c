"""The events of a process, folded into its tasks and into where the time went."""

from typing import Any

import pytest

from dadms_ipc.requests import EventInfo
from dadmsctl.story import Story, covered, spent


def event(number: int, at: float, kind: str, /, **data: Any) -> EventInfo:
    return EventInfo(number, at, 1001, kind, "", data)


def story_of(*events: EventInfo) -> Story:
    story = Story(1001)
    for one in events:
        story.take(one)
    return story


WHOLE = (
    event(1, 100.0, "process.admitted", name="x"),
    event(2, 100.1, "process.importing"),
    event(3, 100.4, "process.starting"),
    event(4, 100.45, "limits", limits={"memory": "1 GiB (cgroup v1)"}, warnings=["cpu is not capped"]),
    event(5, 100.5, "process.running"),
    event(6, 100.6, "thread.started", tid=1, label="A", worker=1, os_pid=11),
    event(7, 100.6, "thread.started", tid=2, label="B", worker=2, os_pid=12),
    event(8, 102.6, "thread.completed", tid=1, label="A", worker=1, os_pid=11, run_seconds=2.0, cpu_seconds=1.5),
    event(
        9,
        103.6,
        "thread.error",
        tid=2,
        label="B",
        worker=2,
        os_pid=12,
        run_seconds=3.0,
        cause="exception",
        kind="ValueError",
        message="no budget",
    ),
    event(10, 104.0, "process.ended", status="failed", cause="exited 0"),
)


def test_a_story_holds_each_task_with_its_worker_its_time_and_its_end() -> None:
    story = story_of(*WHOLE)
    first, second = story.tasks.values()
    assert (first.label, first.worker, first.os_pid, first.state, first.run_seconds) == ("A", 1, 11, "completed", 2.0)
    assert (second.state, second.cause, second.message) == ("error", "exception", "ValueError: no budget")
    assert story.failed() == [second]
    assert story.running() == []
    assert story.has_ended
    assert story.last == 10
    assert story.warnings == ["cpu is not capped"]


def test_time_is_shared_out_without_counting_any_of_it_twice() -> None:
    seconds = spent(story_of(*WHOLE), total=5.0, check=0.4, daemon=0.3)
    assert seconds.importing == pytest.approx(0.3)
    assert seconds.starting == pytest.approx(0.1)
    assert seconds.tasks == pytest.approx(3.0)
    assert seconds.work == pytest.approx(5.0)
    assert seconds.cpu == pytest.approx(1.5)
    assert seconds.parallelism == pytest.approx(5.0 / 3.0)
    assert seconds.check + seconds.daemon + seconds.importing + seconds.starting + seconds.tasks + seconds.other == pytest.approx(
        seconds.total
    )


def test_events_that_are_told_again_or_are_not_known_change_nothing() -> None:
    once = story_of(*WHOLE)
    again = story_of(
        *WHOLE,
        *WHOLE,
        event(11, 105.0, "thread.progress", tid=1, text="half"),
        event(12, 105.0, "thread.started"),
        event(13, 1.0, "new.kind"),
    )
    assert again.tasks == once.tasks
    assert again.marks == once.marks
    assert again.warnings == once.warnings


def test_a_task_whose_start_was_not_told_is_known_by_its_end() -> None:
    story = story_of(event(1, 10.0, "thread.timed_out", tid=7, entry="external", worker=3, run_seconds=1.0))
    assert (story.tasks[7].label, story.tasks[7].began_at, story.tasks[7].state) == ("external", 9.0, "timed_out")
    assert story.failed() == [story.tasks[7]]


def test_a_process_that_ran_nothing_has_no_parallelism() -> None:
    assert spent(Story(1), total=1.0, check=0.1, daemon=0.0).parallelism == 0.0


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [
        ([], 0.0),
        ([(0, 1)], 1.0),
        ([(0, 1), (2, 3)], 2.0),
        ([(0, 5), (1, 2)], 5.0),
        ([(1, 3), (0, 2)], 3.0),
        ([(0, 1), (1, 2), (0, 2)], 2.0),
    ],
)
def test_seconds_that_several_spans_cover_count_once(spans: list[tuple[float, float]], seconds: float) -> None:
    assert covered(spans) == seconds
