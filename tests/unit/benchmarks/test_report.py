"""A benchmark says what it measured in one JSON object for programs, or in a table for people."""

import json

import pytest

from benchmarks.report import Row, machine, report

ROWS = [Row("ours", [0.2, 0.4, 0.3], note="capped"), Row("theirs", [2.5])]
FIGURES = {"ready_100_seconds": 0.3, "ratio_vs_subprocess": 8.333}


def test_json_is_one_object_with_subject_machine_and_figures(capsys: pytest.CaptureFixture[str]) -> None:
    report("spawn", FIGURES, ROWS, as_json=True, about="until ready", on=machine())
    (line,) = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert said["subject"] == "spawn"
    assert said["figures"] == FIGURES
    assert {"cpus", "memory_gib", "kernel", "machine", "python", "load_1_minute"} <= set(said["machine"])


def test_people_see_the_median_the_range_and_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    report("spawn", FIGURES, ROWS, as_json=False, about="until ready", on={"cpus": 2})
    said = capsys.readouterr().out
    assert "0.3 s" in said
    assert "0.2 - 0.4" in said
    assert "ratio_vs_subprocess = 8.333" in said
