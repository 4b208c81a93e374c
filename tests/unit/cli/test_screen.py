"""What reaches a terminal or a pipe: escaped, laid out, and never cut where a program reads."""

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from dadms_ipc.requests import EventInfo, ProcessInfo
from dadmsctl import ending
from dadmsctl.commands.watching import line_of
from dadmsctl.narrator import Narrator
from dadmsctl.story import Spent, Story, spent
from dadmsctl.terminal import console, printable, table
from dadmsctl.values import WHOLE, line, view
from dadmsctl.waiting import sentence_of


def shown(renderable: Any, width: int = 120) -> str:
    output = io.StringIO()
    Console(file=output, width=width, highlight=False, markup=False, emoji=False).print(renderable)
    return "\n".join(row.rstrip() for row in output.getvalue().splitlines())


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain, ünïcode ✔", "plain, ünïcode ✔"),
        ("a\x1b[31mred", r"a\x1b[31mred"),
        ("bell\x07", r"bell\x07"),
        ("over\rwrite", r"over\x0dwrite".replace("x0d", "r")),
        ("turned\u202etext", r"turned\u202etext"),
        ("half\ud800", r"half\ud800"),
        ("c1\x9b", r"c1\x9b"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
    ],
)
def test_control_characters_are_shown_and_not_sent(text: str, safe: str) -> None:
    assert printable(text) == safe


def test_a_table_keeps_long_cells_whole_and_puts_numbers_on_the_right() -> None:
    laid = shown(table((">PID", "NAME"), [("7", "x" * 300), ("1001", "[bold]not markup[/bold]")]), width=1000)
    assert laid.splitlines() == [" PID  NAME", "   7  " + "x" * 300, "1001  [bold]not markup[/bold]"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (True, "yes"), (3, "3"), (2_000_000, "2,000,000"), (0.123456, "0.1235"), (2.0, "2"), (1_234_567.8, "1,234,568"), (1e20, "1e+20"), ("a", "a"),
     ([1, 2.5, "x"], "1, 2.5, x"), ([], "none"), ({}, "{}"), ("x" * 500, "x" * 400 + "… (500 characters)"), (float("inf"), "inf"), (float("nan"), "nan")],
)  # fmt: skip
def test_scalars_stand_on_one_line(value: Any, text: str) -> None:
    assert line(value) == text


def test_alike_records_are_shown_as_a_table() -> None:
    rows = [{"name": "Alpha", "score": 0.91}, {"name": "Beta", "score": 0.5, "note": "late"}]
    assert shown(view(rows)).splitlines() == ["name   score  note", "Alpha   0.91", "Beta     0.5  late"]


def test_what_is_long_says_how_much_it_left_out() -> None:
    assert "… 88 more" in shown(view([{"n": number} for number in range(100)]))
    assert "(and k8, k9)" in shown(view([{f"k{number}": 1 for number in range(10)}] * 2))
    assert "… 8 more" in shown(view({f"k{number}": 1 for number in range(20)}))


def test_what_is_asked_for_whole_is_not_cut_anywhere() -> None:
    text = " ".join(f"word{number}" for number in range(200))
    value = {
        "text": text,
        "rows": [{f"k{column}": row for column in range(10)} for row in range(100)],
        "map": {f"m{n}": n for n in range(20)},
    }
    whole = shown(view(value, 1, WHOLE), 10_000)
    assert text in whole
    assert "…" not in whole
    assert "(and" not in whole
    for name in ("k9", "m19", "99"):
        assert name in whole


def test_a_table_on_a_pipe_has_no_spaces_at_the_end_of_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    console().print(table(("NAME", "CAUSE"), [("order", ""), ("a much longer name", "oom")]))
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["NAME                CAUSE", "order", "a much longer name  oom"]


def test_what_is_nested_without_end_becomes_one_line() -> None:
    value: Any = "core"
    for _ in range(50):
        value = {"in": value}
    assert len(shown(view(value)).splitlines()) <= 5


PROCESS = ProcessInfo(pid=1001, incarnation=1, name="order", orchestrator="bpmn", status="completed", uid=0)


def ended(process: ProcessInfo, given: dict[str, Any] | None = None) -> str:
    output = io.StringIO()
    console = Console(file=output, width=120, highlight=False, markup=False, emoji=False)
    story = Story(process.pid)
    ending.show_outcome(console, process, given or {})
    ending.show_time(console, process, story, spent(story, total=1.0, check=0.25, daemon=0.5))
    return output.getvalue()


def test_an_ending_shows_new_variables_and_puts_a_decision_with_its_reasons_last() -> None:
    outcome = {
        "variables": {
            "choice": {"system": "Alpha", "reasons": ["best score", "[fits] the budget"]},
            "budget": 2_000_000,
            "ranking": ["Alpha", "Beta"],
        },
        "end_event": "Chosen",
    }
    text = ended(msgspec.structs.replace(PROCESS, outcome=outcome), {"budget": 2_000_000})
    assert "OUTCOME  Chosen" in text
    assert "Alpha, Beta" in text
    assert "(1 more as given)" in text
    assert text.index("Alpha, Beta") < text.index("choice") < text.index("· best score") < text.index("· [fits] the budget")
    assert "start of a private daemon 0.50 s" in " ".join(text.split())


def test_an_ending_without_an_outcome_says_how_it_ended() -> None:
    fields = {name: getattr(PROCESS, name) for name in PROCESS.__struct_fields__} | {
        "status": "failed",
        "cause": "oom",
        "reason": "it grew",
    }
    assert "FAILED  oom" in ended(ProcessInfo(**fields))


def test_what_a_run_used_is_what_somebody_counted() -> None:
    story = Story(1)
    by_group = msgspec.structs.replace(PROCESS, memory_peak=64 << 20, cpu_seconds=1.5)
    tasks = Spent(total=2.0, check=0, daemon=0, importing=0, starting=0, tasks=1.0, other=1.0, work=1.0, cpu=1.1)
    said = {}
    for name, process in {"group": by_group, "rlimits": PROCESS}.items():
        output = io.StringIO()
        ending.show_time(Console(file=output, width=120), process, story, tasks)
        said[name] = " ".join(output.getvalue().split())
    assert said["group"].endswith("process used 1.50 s of CPU, 64 MiB of memory at most")
    assert said["rlimits"].endswith("tasks used 1.10 s of CPU")


@pytest.mark.parametrize(
    ("cause", "reason", "why"),
    [
        ("exited 0, by kill from uid 0 pid 7", "kill from uid 0 pid 7", "by kill from uid 0 pid 7, exited 0"),
        ("killed", "Ctrl-C", "Ctrl-C"),
        ("exited 1", "exited 1 without an outcome", "exited 1 without an outcome"),
        ("import failed", 'cannot import handlers "h.py": no', 'import failed: cannot import handlers "h.py": no'),
        ("oom", "", "oom"),
        ("exception", "ValueError: a\nb\x1b[2J\r\n", r"exception: ValueError: a\nb\x1b[2J\r\n"),
    ],
)
def test_cause_and_reason_say_nothing_twice(cause: str, reason: str, why: str) -> None:
    process = msgspec.structs.replace(PROCESS, status="killed", cause=cause, reason=reason)
    assert sentence_of(process) == f'"order" (1001) killed: {why}'


IMPORTED = [
    EventInfo(1, 1.0, 1001, "process.admitted", "order is admitted"),
    EventInfo(2, 1.0, 1001, "process.importing", "zygote/1 imports a:b"),
    EventInfo(3, 1.2, 1001, "zygote.ready", "zygote/1 has imported a:b"),
    EventInfo(4, 1.2, 1001, "process.importing", "zygote/2 imports a:b"),
    EventInfo(5, 1.25, 1001, "zygote.ready", "zygote/2 has imported a:b"),
    EventInfo(6, 1.25, 1001, "process.starting", "order is forked from zygote/2"),
]


def test_imports_are_one_line_unless_all_is_asked_for() -> None:
    assert [line[12:] for line in told(*IMPORTED).splitlines()] == ["order is admitted", "code imported in 0.25 s"]
    assert [line[12:] for line in told(*IMPORTED, is_verbose=True).splitlines()] == [event.text for event in IMPORTED]
    assert told(IMPORTED[-1]) == ""


def told(*events: EventInfo, is_quiet: bool = False, is_verbose: bool = False) -> str:
    output = io.StringIO()
    story = Story(1001)
    console = Console(file=output, width=1000, highlight=False, markup=False, emoji=False)
    with Narrator(console, is_quiet=is_quiet, began=0.0, is_verbose=is_verbose) as narrator:
        for event in events:
            story.take(event)
            narrator.tell(event, story)
    return output.getvalue()


THREAD = {"tid": 1, "label": "Score\x1b[2J", "worker": 2, "os_pid": 4711}


def test_the_story_on_a_pipe_is_lines_without_control_characters() -> None:
    text = told(
        EventInfo(1, 0.0, 1001, "thread.started", "", THREAD),
        EventInfo(2, 0.0, 1001, "thread.error", "", THREAD | {"run_seconds": 0.21, "cause": "oom", "message": "killed\r\nat 64 MiB"}),
        EventInfo(3, 0.0, 1001, "note", "Within budget? yes", {"kind": "bpmn.branch"}),
        EventInfo(4, 0.0, 1001, "note", "Score done", {"kind": "bpmn.done"}),
        EventInfo(5, 0.0, 1001, "process.ended", "ended", {}),
    )
    assert "\x1b" not in text
    assert "\r" not in text
    assert [row[10:].strip().split("  ")[0] for row in text.splitlines()] == [
        r"▶ Score\x1b[2J",
        r"✘ Score\x1b[2J",
        "at 64 MiB",
        "◆ Within budget? yes",
    ]
    assert "w2   OS pid 4711" in text
    assert "w2   0.21 s  oom: killed" in text


def test_a_quiet_story_tells_warnings_only() -> None:
    limits = EventInfo(1, 0.0, 1001, "limits", "limits in force", {"warnings": ["cpu is not capped"]})
    assert told(limits, EventInfo(2, 0.0, 1001, "thread.started", "", THREAD), is_quiet=True).split() == ["⚠", "cpu", "is", "not", "capped"]


def test_an_event_is_one_line_whatever_it_says() -> None:
    assert line_of(EventInfo(3, 0.0, 0, "note", "two\nlines\x07")).endswith(r"dadmsd  note                two lines\x07")
