"""Rows in a worker: as many as fit the answer and the time, each with a result."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dadms_orchestrators.decision import DecisionError, Model
from dadms_orchestrators.decision import chunks as module
from dadms_orchestrators.decision.chunks import ROOM, evaluate_chunk
from dadms_orchestrators.decision.runnable import DmnModel, JdmDecision, carried, jdm_rows, load_runnable
from tests.unit.decision.conftest import HEAD
from tests.unit.decision.test_batch_and_jdm import JDM

Dmn = Callable[..., Model]
BODY = """<inputData id="n" name="n"><variable name="n" typeRef="number"/></inputData>
<decision id="d" name="d"><variable name="d"/><informationRequirement><requiredInput href="#n"/></informationRequirement>
<literalExpression><text>{text}</text></literalExpression></decision></definitions>"""


def model(text: str) -> DmnModel:
    found = load_runnable((HEAD + BODY.format(text=text)).encode(), "m.dmn", {})
    assert isinstance(found, DmnModel)
    return found


def test_cells_and_lines_are_read_as_the_model_declares_them() -> None:
    results = evaluate_chunk(model("n / 3"), "d", {"rows": [["1"], ["x"], ["1", "2"]], "names": ["n"], "echoes": True})
    assert [(result.value, result.is_read) for result in results] == [
        (b'"0.3333333333333333333333333333333333"', True),
        (b"null", False),
        (b"null", False),
    ]
    assert results[0].inputs == b'{"n":1}'
    assert [result.errors for result in results[1:]] == [["'x' is no number"], ["2 cells, 1 columns are named"]]
    results = evaluate_chunk(model("n * 10"), "d", {"rows": ['{"n": 0.1}', "[1]"]})
    assert [(result.value, result.inputs, result.is_read) for result in results] == [(b"1", b"", True), (b"null", b"", False)]


def test_whole_numbers_of_any_size_keep_their_digits() -> None:
    [result] = evaluate_chunk(model("10 ** 30"), "d", {"rows": ["{}"]})
    assert result.value == b"1" + b"0" * 30


def test_an_answer_takes_as_many_rows_as_fit() -> None:
    rows = ['{"n": 1}'] * 100
    results = evaluate_chunk(model('string join(for i in 1..10000 return "x", "")'), "d", {"rows": rows})
    assert 1 < len(results) < 100
    assert sum(result.size for result in results) <= ROOM < sum(result.size for result in results) + results[0].size


def test_a_row_whose_own_result_does_not_fit_is_a_row_with_an_error() -> None:
    text = 'if n = 1 then string join(for i in 1..300000 return "x", "") else n'
    results = evaluate_chunk(model(text), "d", {"rows": ['{"n": 1}', '{"n": 2}']})
    assert [result.value for result in results] == [b"null", b"2"]
    assert results[0].errors[0].startswith("its result takes 3000")


def test_a_thread_begins_no_row_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 0.0)
    assert len(evaluate_chunk(model("n"), "d", {"rows": ['{"n": 1}'] * 5})) == 1


def test_a_row_with_many_errors_keeps_the_first_ones_and_says_how_many_there_were() -> None:
    table = """<businessKnowledgeModel id="b" name="b"><variable name="b"/><encapsulatedLogic><formalParameter name="x"/>
<decisionTable><input><inputExpression><text>x</text></inputExpression></input><output/>
<rule><inputEntry><text>&lt; 0</text></inputEntry><outputEntry><text>1</text></outputEntry></rule></decisionTable>
</encapsulatedLogic></businessKnowledgeModel>"""
    needs = '<knowledgeRequirement><requiredKnowledge href="#b"/></knowledgeRequirement><literalExpression>'
    body = HEAD + table + BODY.format(text="for i in 1..30 return b(i)").replace("<literalExpression>", needs)
    [result] = evaluate_chunk(load_runnable(body.encode(), "m.dmn", {}), "d", {"rows": ['{"n": 1}']})
    assert len(result.errors) == 11
    assert result.errors[0].startswith("no rule matches, and there is no default (in ")
    assert result.errors[-1] == "and 20 more"
    assert result.rules == ["b: none"] * 30


@pytest.mark.parametrize(
    ("value", "expected"),
    [(2**64, str(2**64)), (2**64 - 1, 2**64 - 1), (-(2**63) - 1, str(-(2**63) - 1)), ([{"a": 10**20}], [{"a": str(10**20)}])],
)
def test_what_msgpack_does_not_carry_is_text(value: Any, expected: Any) -> None:
    assert carried(value) == expected


def test_a_jdm_model_is_one_decision_with_rules_like_any_other() -> None:
    pytest.importorskip("zen", reason="zen-engine, an optional extra, is not installed")
    found = load_runnable(json.dumps(JDM).encode(), "fees.json", {})
    assert isinstance(found, JdmDecision)
    assert found.choose(None) == "fees"
    with pytest.raises(DecisionError, match='a JDM model is one decision, "fees"'):
        found.choose("other")
    answer = found.answer("fees", {"x": 11})
    assert answer.value == {"o": 0.1}
    assert answer.rules == [{"decision": "t", "rule": 1, "because": {"x": "11 matches > 10"}, "outputs": {"o": 0.1}, "annotation": ""}]
    results = evaluate_chunk(found, "fees", {"rows": ['{"x": 11}', "{", '{"x": 1}']})
    assert [(result.value, result.rules) for result in results] == [(b'{"o":0.1}', ["t: 1"]), (b"null", []), (b'{"o":2}', ["t: 2"])]


def test_nodes_of_a_jdm_trace_without_rules_give_none() -> None:
    assert jdm_rows({"a": {"name": "a", "traceData": None, "order": 0}, "b": {"name": "b", "traceData": {"x": 1}, "order": 1}}) == []
