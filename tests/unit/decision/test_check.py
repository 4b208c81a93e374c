"""What can be said of a model file before anything is started: places as editors count them, what a decision asks for, and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dadms_orchestrators.decision import evaluate, load_model
from dadms_orchestrators.decision.checking import Refused, check, column_in

GO_NO_GO = Path(__file__).parents[3] / "examples" / "uas_selection" / "go_no_go.dmn"
HEAD = '<definitions xmlns="https://www.omg.org/spec/DMN/20230324/MODEL/" name="m" namespace="urn:m">'
INPUTS = """
<inputData id="a" name="age"><variable name="age" typeRef="number"/></inputData>
<inputData id="v" name="vip"><variable name="vip" typeRef="boolean"/></inputData>
<inputData id="u" name="unused"><variable name="unused"/></inputData>
<decision id="base" name="Base"><variable name="Base"/><informationRequirement><requiredInput href="#a"/></informationRequirement>
<literalExpression><text>age * 2</text></literalExpression></decision>
<decision id="fee" name="Fee"><variable name="Fee"/><informationRequirement><requiredInput href="#v"/></informationRequirement>
<informationRequirement><requiredDecision href="#base"/></informationRequirement>
<literalExpression><text>{text}</text></literalExpression></decision>"""
CLASH = """
<inputData id="a" name="age"><variable name="age" typeRef="number"/></inputData>
<decision id="d" name="d"><variable name="d"/><informationRequirement><requiredInput href="#a"/></informationRequirement>
<decisionTable hitPolicy="UNIQUE"><input><inputExpression><text>age</text></inputExpression></input><output/>
<rule><inputEntry><text>&lt; 20</text></inputEntry><outputEntry><text>1</text></outputEntry></rule>
<rule><inputEntry><text>&gt; 10</text></inputEntry><outputEntry><text>2</text></outputEntry></rule>
<rule><inputEntry><text>-</text></inputEntry><outputEntry><text>{output}</text></outputEntry></rule>
</decisionTable></decision>"""


def written(folder: Path, body: str, name: str = "m.dmn", head: str = HEAD) -> Path:
    path = folder / name
    path.write_text(f"{head}{body}\n</definitions>\n", encoding="utf-8")
    return path


def test_a_decision_asks_for_the_inputs_that_it_reaches_in_the_order_of_the_graph(tmp_path: Path) -> None:
    checked = check(written(tmp_path, INPUTS.format(text="if vip then 0 else Base")))
    assert checked.top == ["Fee"]
    assert {decision.name: decision.inputs for decision in checked.decisions} == {"Base": ["age"], "Fee": ["vip", "age"]}
    assert [(known.names, known.type) for known in checked.inputs] == [(["age"], "number"), (["vip"], "boolean"), (["unused"], "Any")]
    assert not checked.is_open
    assert checked.findings == []


def test_a_table_that_gives_one_row_names_its_outputs() -> None:
    [decision] = check(GO_NO_GO).decisions
    assert decision.outputs == ["verdict", "reason"]


def test_everything_that_does_not_compile_is_told_with_its_place(tmp_path: Path) -> None:
    path = written(tmp_path, INPUTS.format(text="\n  if vip\n  then 0 &lt;&gt;\n  else Base").replace("age * 2", "age *&#32;* 2"))
    with pytest.raises(Refused) as refused:
        check(path)
    lines = path.read_text().splitlines()
    for told in refused.value.told:
        assert told.file == str(path)
        assert told.node in ("Base", "Fee")
    base, fee = refused.value.told
    assert lines[base.line - 1][base.column - 1 :].startswith("* 2"), "an entity before it counts as the editor counts it"
    assert lines[fee.line - 1].strip() == "then 0 &lt;&gt;"
    assert str(base).startswith(f"{path}:{base.line}:{base.column}: Base: ")


def test_xml_that_is_broken_is_told_with_line_and_column(tmp_path: Path) -> None:
    path = written(tmp_path, "\n  <decision <")
    with pytest.raises(Refused) as refused:
        check(path)
    [told] = refused.value.told
    assert (told.line, told.column) == (2, 13)
    assert "not well-formed" in told.reason


def test_what_is_wrong_with_an_imported_model_is_told_of_its_own_file(tmp_path: Path) -> None:
    other = HEAD.replace('name="m"', 'name="Other"').replace("urn:m", "urn:o")
    inner = written(
        tmp_path, '\n<decision id="x" name="x"><literalExpression><text>1 +</text></literalExpression></decision>', "o.dmn", other
    )
    body = '<import name="o" namespace="urn:o" locationURI="o.dmn" importType="https://www.omg.org/spec/DMN/20230324/MODEL/"/>'
    with pytest.raises(Refused) as refused:
        check(written(tmp_path, body))
    assert [(told.file, told.line, told.node) for told in refused.value.told] == [(str(inner), 2, "x")]


def test_an_import_is_also_found_among_the_files_that_were_given(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = HEAD.replace('name="m"', 'name="Other"').replace("urn:m", "urn:o")
    inner = written(elsewhere, '<inputData id="i" name="i"><variable name="size" typeRef="number"/></inputData>', "o.dmn", other)
    body = '<import name="o" namespace="urn:o" locationURI="o.dmn" importType="https://www.omg.org/spec/DMN/20230324/MODEL/"/>'
    path = written(tmp_path, body)
    with pytest.raises(Refused, match="was not found"):
        check(path)
    assert check(path, [inner]).inputs[0].names == ["size", "i", "o.size", "o"]


def test_findings_come_by_severity_with_their_rules(tmp_path: Path) -> None:
    findings = check(written(tmp_path, CLASH.format(output="3"))).findings
    assert [found.severity for found in findings] == sorted((found.severity for found in findings), key=("error", "warning").index)
    assert {tuple(found.rules) for found in findings if found.kind == "overlap"} == {(1, 2), (1, 3), (2, 3)}
    assert check(written(tmp_path, CLASH.format(output="3")), validates=False).findings == []


@pytest.mark.parametrize(
    ("line", "expression", "column", "expected"),
    [
        ("    <text>a + +</text>", "a + +", 5, 15),
        ("    <text>&lt; 5 ~</text>", "< 5 ~", 5, 18),
        ("    <text>  a + +</text>", "a + +", 7, 17),  # a column counts the spaces before the expression
        ("  then 0 ~", "if x\n  then 0 ~\n  else 1", 10, 10),
        ("<text><![CDATA[a < ~]]></text>", "a < ~", 5, 20),
        ("<a><text>x</text><text>y ~</text></a>", "y ~", 3, 26),
        ("<text>a +</text>", "a +", 4, 10),  # its end
        ("<text>something else</text>", "a + +", 5, 0),
    ],
)
def test_a_column_of_an_expression_is_found_in_the_line_of_its_file(line: str, expression: str, column: int, expected: int) -> None:
    assert column_in(line, expression, column) == expected


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dadms_orchestrators.decision", "check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_the_program_says_by_its_exit_code_what_it_found(tmp_path: Path) -> None:
    done = run(GO_NO_GO)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{GO_NO_GO}: nothing was found\n", "")
    clash = written(tmp_path, CLASH.format(output="3"))
    done = run(clash)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"{clash}:6: d: " in done.stdout
    assert "(rules 1, 2)" in done.stdout
    broken = written(tmp_path, CLASH.format(output="3 +"))
    done = run(broken)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith(f"{broken}:7:")
    assert json.loads(run(broken, "--json").stdout)["refused"][0]["line"] == 7
    done = run(tmp_path / "absent.dmn")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f'cannot read "{tmp_path / "absent.dmn"}": No such file or directory\n'


def test_a_model_of_another_kind_is_refused_by_the_namespace_of_its_root(tmp_path: Path) -> None:
    path = tmp_path / "van.bpmn"
    path.write_text(
        '<?xml version="1.0"?>\n<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"><process id="p"/></definitions>'
    )
    done = run(path)
    assert (done.returncode, done.stdout, done.stderr) == (4, "", f"{path}:2: this is a BPMN model\n")
    path.write_text('<definitions xmlns="urn:x"/>')
    assert run(path).stderr == f"{path}:1: its root is in the namespace urn:x, which is none of DMN's\n"


@pytest.mark.parametrize(
    "text",
    [
        "{f: function(n) if n &lt; 2 then 1 else n * f(n-1), r: f(5)}.r",
        "{even: function(n) if n = 0 then true else odd(n - 1), odd: function(n) if n = 0 then false else even(n - 1), r: even(4)}.r",
    ],
)
def test_a_function_of_a_context_knows_itself_and_what_follows_it(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, f'<decision id="d" name="d"><literalExpression><text>{text}</text></literalExpression></decision>')
    assert check(path).findings == []
    outcome = evaluate(load_model(path.read_bytes()), "d", {})
    assert (outcome.value in (120, True), outcome.errors) == (True, [])


def test_a_boxed_function_knows_itself_and_another_entry_does_not(tmp_path: Path) -> None:
    body = "<literalExpression><text>if n &lt; 2 then 1 else n * f(n-1)</text></literalExpression>"
    function = f'<functionDefinition><formalParameter name="n"/>{body}</functionDefinition>'
    entries = f'<contextEntry><variable name="f"/>{function}</contextEntry><contextEntry><literalExpression><text>f(5)</text></literalExpression></contextEntry>'
    path = written(tmp_path, f'<decision id="d" name="d"><context>{entries}</context></decision>')
    assert check(path).findings == []
    assert evaluate(load_model(path.read_bytes()), "d", {}).value == 120
    wrong = written(tmp_path, '<decision id="d" name="d"><literalExpression><text>{f: f + 1}</text></literalExpression></decision>')
    assert [found.reason for found in check(wrong).findings] == ['"f" is not known here']


def test_a_locale_without_letters_is_no_obstacle(tmp_path: Path) -> None:
    path = written(tmp_path, CLASH.format(output='"č"').replace('name="d"', 'name="Řešení"'))
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "dadms_orchestrators.decision", "check", str(path)]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (1, b"")
    assert ": Řešení: " in done.stdout.decode()


def test_a_name_without_end_is_shown_in_part(tmp_path: Path) -> None:
    found = check(written(tmp_path, CLASH.format(output='"x"').replace('name="d"', f'name="{"n" * 100_000}"'))).findings
    assert found
    for told in found:
        assert f": {'n' * 199}…: " in str(told)
        assert len(str(told)) < 1000
