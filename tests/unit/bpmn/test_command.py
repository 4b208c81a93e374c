"""`python -m dadms_orchestrators.bpmn check` as a command line sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dadms_orchestrators.bpmn.__main__ import main
from tests.unit.bpmn.drawing import document, model, process, task


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dadms_orchestrators.bpmn", "check", *arguments], capture_output=True, text=True, timeout=30, check=False
    )


def test_a_model_that_can_run(tmp_path: Path) -> None:
    path = tmp_path / "m.bpmn"
    path.write_bytes(model(task("A"), "S > A; A > E"))
    done = check(str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f'{path}: process "P" can run: 1 tasks\n  topic A\n'


def test_json_says_what_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "m.bpmn"
    path.write_bytes(model(task("A"), "S > A; A > E"))
    done = check(str(path), "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["process"], said["topics"], said["file"]) == (0, "P", ["A"], str(path))


def test_a_refused_model_has_a_line_for_each_reason(tmp_path: Path) -> None:
    path = tmp_path / "m.bpmn"
    path.write_bytes(model('<task id="A"/>\n<task id="B"/>', "S > A; A > B; B > E"))
    done = check(str(path))
    assert (done.returncode, done.stdout) == (4, "")
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [f"{path}:4", f"{path}:5"]
    assert "Traceback" not in done.stderr
    said = json.loads(check(str(path), "--json").stdout)
    assert [(finding["line"], finding["element"]) for finding in said["refused"]] == [(4, "A"), (5, "B")]


def test_a_locale_without_letters_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "m.bpmn"
    path.write_bytes(model(task("Úkol"), "S > Úkol; Úkol > E"))
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "dadms_orchestrators.bpmn", "check", str(path)]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "  topic Úkol" in done.stdout.decode()
    command = [sys.executable, "-m", "dadmsctl", "--runtime-dir", str(tmp_path / "none"), "run", "--no-private", str(path)]
    asked = subprocess.run(command, capture_output=True, env=environment, timeout=30, check=False)
    assert b"none runs on" in asked.stderr, asked.stderr  # the check is behind it


def test_what_cannot_be_read_and_what_is_no_command(tmp_path: Path) -> None:
    missing = check(str(tmp_path / "no.bpmn"))
    assert (missing.returncode, missing.stderr) == (2, f'cannot read "{tmp_path / "no.bpmn"}": No such file or directory\n')
    assert check(str(tmp_path)).returncode == 2  # a directory
    assert check().returncode == 2
    assert check("--wrong", "x").returncode == 2


def test_the_check_loads_no_engine(tmp_path: Path) -> None:
    """A command line waits for it, so SpiffWorkflow and lxml stay out."""
    path = tmp_path / "m.bpmn"
    path.write_bytes(model(task("A"), "S > A; A > E"))
    code = "import sys; from dadms_orchestrators.bpmn.__main__ import main; assert main(['check', sys.argv[1]]) == 0; print(sorted(m for m in sys.modules if m.split('.')[0] in ('SpiffWorkflow', 'lxml', 'zmq', 'click', 'rich')))"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_calls_and_warnings_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "q.bpmn").write_bytes(
        document(process('<userTask id="U"/><businessRuleTask id="D" camunda:decisionRef="rate"/>', "S > U; U > D; D > E", "Q"))
    )
    path = tmp_path / "m.bpmn"
    path.write_bytes(document(process('<callActivity id="C" calledElement="Q"/>', "S > C; C > E").replace("true", "false")))
    assert main(["check", str(path)]) == 0
    shown = capsys.readouterr()
    for part in ("decision rate", "user task U: no fields", f"calls Q in {tmp_path / 'q.bpmn'}"):
        assert part in shown.out
    assert shown.err.endswith("it is run all the same (warning)\n")


def test_a_name_without_end_is_shown_in_part(tmp_path: Path) -> None:
    path = tmp_path / "m.bpmn"
    path.write_bytes(model(f'<task id="{"i" * 100_000}" name="{"n" * 100_000}"/>', f"S > {'i' * 100_000}; {'i' * 100_000} > E"))
    done = check(str(path))
    assert done.returncode == 4
    assert f'"{"n" * 80}..." ({"i" * 200}...) has no implementation' in done.stderr
    assert max(map(len, done.stderr.splitlines())) < 1000
