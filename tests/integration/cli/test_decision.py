"""Decisions from the command line, against real daemons: values with their reasons, refusals before anything is spawned, findings."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dadms_orchestrators.decision import evaluate, load_model
from dadms_orchestrators.decision.conformance import agree, value_of
from dadms_orchestrators.decision.runnable import carried
from dadms_orchestrators.decision.xmltree import parse_xml
from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl

CHECKOUT = Path(__file__).parents[3]
GO_NO_GO = CHECKOUT / "examples" / "uas_selection" / "go_no_go.dmn"
KIT = CHECKOUT / ".." / "shared" / "conformance" / "dmn-tck"
GIVEN = ["-s", "cost_risk=0.1", "-s", "score_margin=0.1", "-s", "robustness=0.9"]
HEAD = '<definitions xmlns="https://www.omg.org/spec/DMN/20230324/MODEL/" name="Fees" namespace="urn:m">\n'
TABLE = """<inputData id="a" name="age"><variable name="age" typeRef="number"/></inputData>
<decision id="fee" name="Fee"><variable name="Fee"/><informationRequirement><requiredInput href="#a"/></informationRequirement>
<decisionTable hitPolicy="UNIQUE"><input label="Age"><inputExpression><text>age</text></inputExpression></input><output/>
<annotation name="Why"/>
<rule><inputEntry><text>&lt; 20</text></inputEntry><outputEntry><text>1</text></outputEntry><annotationEntry><text>young</text></annotationEntry></rule>
<rule><inputEntry><text>[10..30]</text></inputEntry><outputEntry><text>{output}</text></outputEntry><annotationEntry><text>grown</text></annotationEntry></rule>
</decisionTable></decision>
"""
Write = Callable[..., Path]


@pytest.fixture
def ctl(ctl: Ctl) -> Ctl:
    """Run a command to its end; what a host without cgroups cannot enforce is said there too, and is not what these tests are about."""

    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        done = ctl(*arguments)
        done.stderr = without_limits(done.stderr)
        return done

    return run


def without_limits(errors: str) -> str:
    """Leave out the warnings about limits."""
    return "".join(line for line in errors.splitlines(keepends=True) if "⚠ not enforced" not in line)


@pytest.fixture
def write(short_path: Path) -> Write:
    """Write a model from the inside of its definitions."""

    def write(body: str, name: str = "fees.dmn") -> Path:
        path = short_path / name
        path.write_text(f"{HEAD}{body}</definitions>\n")
        return path

    return write


@pytest.fixture
def fees(write: Write) -> Path:
    """Give a model of which two rules match where the age is 10 to 19."""
    return write(TABLE.format(output="2"))


def test_a_value_is_shown_with_the_rules_that_matched_and_why(ctl: Ctl, fees: Path) -> None:
    done = ctl("decision", "eval", fees, "--set", "age=25")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["Fee"]
    assert lines[1] == ["2"]
    assert ["RULES", "THAT", "MATCHED"] in lines
    assert ["Fee", "2", "Age:", "25", "matches", "[10..30]", "2", "grown"] in lines
    assert "\x1b" not in done.stdout


def test_json_has_everything(ctl: Ctl, environment: dict[str, str]) -> None:
    done = ctl("decision", "eval", GO_NO_GO, *GIVEN, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["decision"] == "Go or no-go"
    assert document["value"]["verdict"] == "go"
    [row] = document["rules"]
    assert row["rule"] == 5
    assert row["because"]["Lead in score"] == "0.1 matches >= 0.03"
    assert (document["errors"], document["nulls"], document["missing"], document["warnings"]) == ([], [], [], [])
    assert os.listdir(environment["TMPDIR"]) == []  # noqa: PTH208 - names


def test_a_daemon_that_runs_is_used(ctl: Ctl, keeper_daemon: Daemon, wait_for: Callable[[Daemon], None]) -> None:
    wait_for(keeper_daemon)
    where = ("--runtime-dir", keeper_daemon.runtime_dir)
    assert ctl(*where, "decision", "eval", GO_NO_GO, *GIVEN).returncode == 0
    [process] = json.loads(ctl(*where, "ps", "-a", "--json").stdout)
    assert (process["name"], process["status"]) == ("go_no_go", "completed")
    assert ctl("decision", "eval", GO_NO_GO, *GIVEN, "--no-private").returncode == 3


def test_a_clash_of_a_unique_table_is_one_sentence_and_its_rules_are_shown(ctl: Ctl, fees: Path) -> None:
    done = ctl("decision", "eval", fees, "--set", "age=15")
    assert done.returncode == 1
    assert done.stderr.startswith('dadmsctl: cannot evaluate "Fee": rules 1, 2 match at once, and the hit policy is UNIQUE (in "Fee" ')
    assert done.stderr.count("\n") == 1
    assert "young" in done.stdout
    assert "grown" in done.stdout
    assert "WHY IT IS NULL\nline 4: Fee: rules 1, 2 match at once" in done.stdout


def test_a_missing_input_is_named_with_what_was_given_instead(ctl: Ctl, fees: Path) -> None:
    done = ctl("decision", "eval", fees, "--set", "Age=15")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[:2] == [
        'dadmsctl: warning: the model knows no input "Age": did you mean "age"?',
        'dadmsctl: warning: the input "age" (number) was not given, and is null',
    ]
    assert lines[-1] == 'dadmsctl: cannot evaluate "Fee": the input "age" was not given'


def test_a_wrong_type_is_the_cause_that_is_named(ctl: Ctl, fees: Path) -> None:
    done = ctl("decision", "eval", fees, "--set", "age=old")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        'dadmsctl: cannot evaluate "Fee": the string "old" is no number (in "age" of model "Fees" at line 2'
    )
    assert "line 2: age: " in done.stdout


def test_an_error_on_the_way_fails_although_a_value_came_out(ctl: Ctl, write: Write) -> None:
    body = """<inputData id="a" name="age"><variable name="age" typeRef="number"/></inputData>
<decision id="d" name="d"><variable name="d"/><informationRequirement><requiredInput href="#a"/></informationRequirement>
<literalExpression><text>if age = null then "unknown" else "known"</text></literalExpression></decision>"""
    done = ctl("decision", "eval", write(body), "--set", "age=old")
    assert done.returncode == 1
    assert done.stdout.splitlines()[:2] == ["d", "unknown"]
    assert "is no number" in done.stderr
    done = ctl("run", write(body), "--set", "age=old")
    assert done.returncode == 1
    assert 'the decision "d" went wrong on its way to a value: the string "old" is no number' in done.stdout + done.stderr
    done = ctl("decision", "eval", write(body))
    assert (done.returncode, done.stderr) == (0, 'dadmsctl: warning: the input "age" (number) was not given, and is null\n')
    assert ctl("decision", "eval", write(body), "--set", "age=null").stderr == ""


def test_a_null_without_an_error_is_an_answer_with_its_reasons(ctl: Ctl, write: Write) -> None:
    body = '<decision id="d" name="d"><variable name="d"/>\n<literalExpression><text>number("x") + 1</text></literalExpression></decision>'
    done = ctl("decision", "eval", write(body))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == "null"
    assert "WHY IT IS NULL\nline 3: d: " in done.stdout
    assert 'in `number("x") + 1`' in done.stdout
    nulls = json.loads(ctl("decision", "eval", write(body), "--json").stdout)["nulls"]
    assert {"node": "d", "line": 3, "model": "Fees"}.items() <= nulls[0].items()


def test_numbers_that_no_message_carries_come_as_their_digits(ctl: Ctl, write: Write) -> None:
    body = '<decision id="d" name="d"><variable name="d"/><literalExpression><text>10 ** 25 + 1</text></literalExpression></decision>'
    done = ctl("decision", "eval", write(body), "--json")
    assert json.loads(done.stdout)["value"] == "10000000000000000000000001"


@pytest.mark.parametrize("command", [["run"], ["decision", "eval"], ["decision", "validate"]])
def test_a_model_that_does_not_load_is_refused_before_anything_is_spawned(
    ctl: Ctl, write: Write, command: list[str], environment: dict[str, str]
) -> None:
    path = write(TABLE.format(output="2 +").replace("[10..30]", "[10.."))
    done = ctl(*command, path)
    assert (done.returncode, done.stdout) == (4, "")
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"{path}:7:")
    assert ": Fee: " in lines[0]
    assert len(lines) == 3
    assert lines[-1] == 'dadmsctl: cannot use "fees.dmn": the model does not load'
    assert os.listdir(environment["TMPDIR"]) == []  # noqa: PTH208 - names


def test_a_decision_that_is_not_there_is_refused_with_the_nearest_name(ctl: Ctl, fees: Path) -> None:
    done = ctl("decision", "eval", fees, "--decision", "fees")
    assert (done.returncode, done.stdout, done.stderr) == (4, "", 'dadmsctl: cannot evaluate "fees": did you mean "Fee"?\n')
    done = ctl("run", fees, "--decision", "fees")
    assert (done.returncode, done.stderr) == (4, 'dadmsctl: cannot evaluate "fees": did you mean "Fee"?\n')


def test_run_warns_of_inputs_too(ctl: Ctl, fees: Path) -> None:
    done = ctl("run", fees, "--set", "age=25", "--set", "aeg=2")
    assert done.returncode == 0
    assert 'the model knows no input "aeg": did you mean "age"?' in done.stderr


def test_findings_are_grouped_by_severity_and_errors_fail(ctl: Ctl, fees: Path) -> None:
    done = ctl("decision", "validate", fees)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[0] == "1 error"
    assert f"  {fees}:7: Fee: rules 1 and 2 both match" in done.stdout
    assert "(rules 1, 2)" in done.stdout
    assert "1 warning\n" in done.stdout
    document = json.loads(ctl("decision", "validate", fees, "--json").stdout)
    assert [(found["severity"], found["kind"], found["rules"]) for found in document["findings"]] == [
        ("error", "overlap", [1, 2]),
        ("warning", "gap", []),
    ]
    done = ctl("decision", "validate", GO_NO_GO)
    assert (done.returncode, done.stdout) == (0, f"{GO_NO_GO}: nothing was found\n")


def test_a_jdm_model_runs_where_its_engine_is_installed(ctl: Ctl, short_path: Path) -> None:
    pytest.importorskip("zen", reason="zen-engine, an optional extra, is not installed")
    path = jdm(short_path)
    done = ctl("decision", "eval", path, "--set", "x=11")
    assert (done.returncode, done.stderr) == (0, "")
    assert "x: 11 matches > 10" in done.stdout
    assert json.loads(ctl("decision", "eval", path, "--set", "x=1", "--json").stdout)["value"] == {"o": 2}
    assert ctl("decision", "validate", path).returncode == 0


def test_a_jdm_model_without_its_engine_says_what_to_install(ctl: Ctl, short_path: Path, environment: dict[str, str]) -> None:
    hidden = short_path / "site"
    hidden.mkdir()
    (hidden / "zen.py").write_text('raise ImportError("hidden by a test")\n')
    environment["PYTHONPATH"] = str(hidden)
    path = jdm(short_path)
    for arguments in (["eval", path], ["validate", path], ["batch", path, "--rows", path]):
        done = ctl("decision", *arguments)
        assert (done.returncode, done.stdout) == (4, "")
        assert "zen-engine, which is not installed (pip install 'dadms[zen]')" in done.stderr


def test_a_jdm_model_that_fails_says_so_in_one_sentence(ctl: Ctl, short_path: Path) -> None:
    pytest.importorskip("zen", reason="zen-engine, an optional extra, is not installed")
    path = short_path / "pricing.json"
    nodes = [
        {"id": "a", "name": "Request", "type": "inputNode"},
        {"id": "b", "name": "Calc", "type": "expressionNode", "content": {"expressions": [{"id": "x", "key": "y", "value": "amount * 2"}]}},
        {"id": "c", "name": "Response", "type": "outputNode"},
    ]
    edges = [{"id": "1", "sourceId": "a", "targetId": "b"}, {"id": "2", "sourceId": "b", "targetId": "c"}]
    path.write_text(json.dumps({"nodes": nodes, "edges": edges}))
    done = ctl("decision", "eval", path, "--set", "amont=1")
    sentence = 'dadmsctl: cannot evaluate "pricing": failed to evaluate expression: "amount * 2" (in "Calc" of model "pricing.json")\n'
    assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence)


def test_a_limit_that_is_reached_fails_the_command_and_gives_no_value(ctl: Ctl, write: Write, short_path: Path) -> None:
    text = 'if (some i in 1..2000000 satisfies i = 1999999) then "reject" else "approve"'
    done = ctl(
        "decision", "eval", write(f'<decision id="d" name="D"><literalExpression><text>{text}</text></literalExpression></decision>')
    )
    place = f'(in "D" of model "Fees" at line 2, column 5 of `{text}`)'
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f'dadmsctl: cannot evaluate "D": a loop makes more than 1000000 rounds {place}\n'
    done = ctl("decision", "eval", short_path / "fees.dmn", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["decision"], document["value"]) == (1, "D", None)
    assert "a loop makes more than 1000000 rounds" in document["errors"][0]


@pytest.mark.parametrize("command", ["validate", "eval", "batch"])
def test_a_bpmn_model_is_no_decision_model(ctl: Ctl, short_path: Path, command: str) -> None:
    path = short_path / "van.bpmn"
    path.write_text('<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"><process id="p"/></definitions>')
    (rows := short_path / "rows.csv").write_text("a\n1\n")
    done = ctl("decision", command, path, *(["--rows", rows] if command == "batch" else []))
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == f'{path}:1: this is a BPMN model\ndadmsctl: cannot use "van.bpmn": the model does not load\n'


def jdm(folder: Path) -> Path:
    """Write a JDM model of one table."""
    table = {
        "hitPolicy": "first",
        "inputs": [{"id": "x", "name": "x", "field": "x"}],
        "outputs": [{"id": "o", "name": "o", "field": "o"}],
        "rules": [{"_id": "1", "x": "> 10", "o": "0.1"}, {"_id": "2", "x": "", "o": "2"}],
    }
    nodes = [
        {"id": "i", "name": "in", "type": "inputNode"},
        {"id": "t", "name": "t", "type": "decisionTableNode", "content": table},
        {"id": "o", "name": "out", "type": "outputNode"},
    ]
    edges = [{"id": "1", "sourceId": "i", "targetId": "t"}, {"id": "2", "sourceId": "t", "targetId": "o"}]
    path = folder / "fees.json"
    path.write_text(json.dumps({"contentType": "application/vnd.gorules.decision", "nodes": nodes, "edges": edges}))
    return path


# Of each suite every case whose inputs JSON can say: tables of several hit policies, a requirement graph, contexts, dates.
SUITES = [
    "compliance-level-2/0004-simpletable-U",
    "compliance-level-2/0010-multi-output-U",
    "compliance-level-3/0004-lending",
    "compliance-level-3/0020-vacation-days",
]


def cases(suite: str) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Give the decisions of the first two cases of a suite, with inputs and expected values."""
    [path] = (KIT / suite).glob("*.xml")
    for case in list(parse_xml(path.read_bytes(), path.name).all("testCase"))[:2]:
        inputs = {node.get("name"): value_of(node) for node in case.all("inputNode")}
        for result in list(case.all("resultNode"))[:2]:
            expected = result.child("expected")
            yield result.get("name"), inputs, value_of(expected) if expected is not None else None


@pytest.mark.parametrize("suite", SUITES)
def test_models_of_the_conformance_kit_give_what_it_expects(
    ctl: Ctl, keeper_daemon: Daemon, wait_for: Callable[[Daemon], None], short_path: Path, suite: str
) -> None:
    if not KIT.is_dir():
        pytest.skip("the conformance kit is not beside the checkout")
    wait_for(keeper_daemon)
    [path] = (KIT / suite).glob("*.dmn")
    for name, inputs, expected in cases(suite):
        file = short_path / "inputs.json"
        file.write_text(json.dumps(carried(inputs)))
        done = ctl("--runtime-dir", keeper_daemon.runtime_dir, "decision", "eval", path, "--decision", name, "--input", file, "--json")
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout, parse_float=Decimal, parse_int=Decimal)
        found = evaluate(load_model(path.read_bytes(), name=path.name), name, inputs)
        assert agree(carried(expected) if not isinstance(expected, Decimal | dict | list | str) else expected, document["value"])
        assert [row["rule"] for row in document["rules"]] == [row["rule"] for row in found.trace.rows()]
