"""Lists on terminals of any width: columns go whole, in one order, and what says which one it is and how it stands always stays."""

import io

import pytest
from rich.console import Console

from dadms_ipc.requests import LifeInfo, ProcessInfo, ThreadInfo
from dadmsctl import listing
from dadmsctl.commands.past import COLUMNS, IMPORTANCE
from dadmsctl.commands.past import _row as life_row
from dadmsctl.commands.processes import PS_COLUMNS, PS_IMPORTANCE
from dadmsctl.commands.processes import _row as process_row
from dadmsctl.commands.threads import LS_COLUMNS, LS_IMPORTANCE
from dadmsctl.commands.threads import _row as thread_row
from dadmsctl.listing import ALWAYS, fitting

PROCESS = ProcessInfo(
    pid=1001, incarnation=1, name="uas_selection", orchestrator="bpmn", status="completed", uid=0, os_pid=1234567, created_at=1.0, ended_at=9.0,
    cause="exited 0, by kill from uid 0 pid 1481", memory_peak=123 << 20, cpu_seconds=12.3, workers=4, threads_done=9,
)  # fmt: skip
THREAD = ThreadInfo(
    tid=123456, pid=1001, entry="external", label="Simulate life-cycle cost", state="error", worker=3, os_pid=31333, run_seconds=1.5,
    cause="exception", message="ValueError: no budget\nmore",
)  # fmt: skip
LIFE = LifeInfo(
    1001, 2, "uas_selection", 0, "stopped", "signal 15 (SIGTERM), by the end of the daemon (SIGTERM)", started_at=1.0, ended_at=9.0, exit_signal=15,
    memory_peak=14 << 20, cpu_seconds=12.3,
)  # fmt: skip
LISTS = {
    "history": (COLUMNS, IMPORTANCE, life_row(LIFE), ("1001", "uas_selection", "stopped")),
    "ps": (PS_COLUMNS, PS_IMPORTANCE, process_row(PROCESS), ("1001", "uas_selection", "completed")),
    "thread ls": (LS_COLUMNS, LS_IMPORTANCE, thread_row(THREAD), ("123456", "Simulate life-cycle cost", "error")),
}


def shown(name: str, width: int, monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool = True) -> list[str]:
    output = io.StringIO()
    screen = Console(file=output, width=width, force_terminal=is_terminal, color_system=None)
    monkeypatch.setattr(listing, "console", lambda: screen)
    columns, importance, row, _ = LISTS[name]
    listing.show(columns, importance, [row])
    return [line.rstrip() for line in output.getvalue().splitlines()]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("width", [10, 40, 60, 80, 100, 120, 200])
def test_which_one_it_is_and_how_it_stands_is_whole_at_every_width(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(name, width, monkeypatch)
    assert len(lines) == 2
    for cell in LISTS[name][3]:
        assert cell in lines[1]
    assert "…" not in "".join(lines)
    if width >= 50:
        assert max(map(len, lines)) <= width


@pytest.mark.parametrize("name", LISTS)
def test_a_wider_terminal_shows_the_same_columns_and_more(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [column.removeprefix(">") for column in LISTS[name][0]]
    before: set[str] = set()
    for width in range(10, 220):
        head = f" {shown(name, width, monkeypatch)[0]} "
        now = {column for column in columns if f" {column} " in head}
        assert before <= now
        before = now
    assert before == set(columns)


@pytest.mark.parametrize("name", LISTS)
def test_a_pipe_gets_every_column(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(name, 40, monkeypatch, is_terminal=False)[0].split() == " ".join(LISTS[name][0]).replace(">", "").split()


@pytest.mark.parametrize("name", LISTS)
def test_importance_names_every_column_once(name: str) -> None:
    columns, importance, row, _ = LISTS[name]
    assert sorted(importance) == sorted(column.removeprefix(">") for column in columns)
    assert len(row) == len(columns)


def test_the_least_important_column_goes_first_and_the_most_important_never() -> None:
    columns, importance = (">A", "B", "C", "D", "E"), ("B", "A", "E", "D", "C")
    assert fitting(columns, importance, [1, 1, 1, 1, 1], 13) == [0, 1, 2, 3, 4]
    assert fitting(columns, importance, [1, 1, 1, 1, 1], 12) == [0, 1, 3, 4]
    assert fitting(columns, importance, [9, 9, 9, 9, 9], 1) == [0, 1, 4]
    assert len(fitting(columns, importance, [9] * 5, 1)) == ALWAYS


def test_an_empty_list_is_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(listing, "console", lambda: Console(file=output, width=200))
    listing.show(PS_COLUMNS, PS_IMPORTANCE, [])
    assert output.getvalue().split()[:2] == ["PID", "NAME"]
