"""Batches over CSV and JSON lines, values to JSON, and JDM models."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from dadms_orchestrators.decision import DecisionError, Model, to_json_value
from dadms_orchestrators.decision.batch import cell, evaluate_rows, inputs_of_line, read_csv, read_json_lines
from dadms_orchestrators.decision.feel import evaluate_text
from dadms_orchestrators.decision.jdm import evaluate_jdm, is_jdm, load_jdm

Dmn = Callable[..., Model]
MODEL = (
    '<inputData id="a" name="amount"><variable name="amount" typeRef="number"/></inputData>'
    '<inputData id="v" name="vip"><variable name="vip" typeRef="boolean"/></inputData>'
    '<inputData id="s" name="since"><variable name="since" typeRef="date"/></inputData>'
    '<decision id="d" name="fee"><informationRequirement><requiredInput href="#a"/></informationRequirement>'
    '<informationRequirement><requiredInput href="#v"/></informationRequirement>'
    '<informationRequirement><requiredInput href="#s"/></informationRequirement><literalExpression>'
    "<text>if vip then 0 else amount * 0.1 + since.year - 2000</text></literalExpression></decision>"
)


def test_csv_rows_get_the_types_of_their_inputs_and_a_bad_one_stops_nothing(dmn: Dmn) -> None:
    model = dmn(MODEL)
    lines = ["amount,vip,since\n", "0.3,false,2001-01-01\n", "x,false,2001-01-01\n", "1,true\n", "5,true,\n"]
    outcomes = list(evaluate_rows(model, "fee", read_csv(lines, model)))
    assert [outcome.value for outcome in outcomes] == [Decimal("1.03"), None, None, 0]
    assert [outcome.errors for outcome in outcomes] == [
        (),
        ("cannot read line 3: 'x' is no number",),
        ("cannot read line 4: 2 cells, 3 columns are named",),
        (),
    ]
    assert [outcome.number for outcome in outcomes] == [1, 2, 3, 4]


def test_json_lines_keep_every_digit(dmn: Dmn) -> None:
    lines = [b'{"amount": 0.12345678901234567890, "since": "2000-01-01"}', b"", b"[1]", b"{"]
    outcomes = list(evaluate_rows(dmn(MODEL), "fee", read_json_lines(lines)))
    assert outcomes[0].value == Decimal("0.01234567890123456789")
    assert [outcome.errors[0].split(":")[0] for outcome in outcomes[1:]] == ["cannot read line 3", "cannot read line 4"]
    assert outcomes[0].as_json() == {"row": 1, "value": "0.01234567890123456789", "errors": [], "rules": []}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"a": 1, "a": 2}', 'the key "a" stands twice in one object'),
        ('{"a": "10:30", "x": [{"b" : 1, "b" :2}]}', 'the key "b" stands twice in one object'),
        ('{"a": 1, "\\u0061": 2}', 'the key "a" stands twice in one object'),
        ("[" * 100_000 + "]" * 100_000, "it is nested too deep"),
        ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "it is nested too deep"),
    ],
    ids=["flat", "inside", "escaped", "list", "member"],
)
def test_a_line_that_means_two_things_or_is_too_deep_is_a_row_with_an_error(dmn: Dmn, line: str, reason: str) -> None:
    outcomes = list(evaluate_rows(dmn(MODEL), "fee", read_json_lines([line, '{"amount": 1, "since": "2000-01-01"}'])))
    assert outcomes[0].errors == (f"cannot read line 1: {reason}",)
    assert (outcomes[1].value, outcomes[1].errors) == (Decimal("0.1"), ())


@pytest.mark.parametrize("line", ['{"a": "\\": \\":", "b": {"a": 1}}', '{"a": "10:30", "b": [{"c": 1}, {"c": 2}]}', "{}"])
def test_a_key_in_two_objects_or_a_text_with_colons_is_no_key_twice(line: str) -> None:
    assert inputs_of_line(line) == json.loads(line)


@pytest.mark.parametrize(
    ("text", "reason"), [("[" * 100_000, "it is nested too deep"), ('{"a": 1, "a": 2}', 'the key "a" stands twice in one object')]
)
def test_a_cell_of_json_is_read_as_strictly(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        cell(text, "Any")


def test_a_batch_streams(dmn: Dmn) -> None:
    taken: list[int] = []

    def rows() -> Any:
        for number in range(1_000_000):
            taken.append(number)
            yield {"amount": number, "since": "2000-01-01"}

    outcomes = evaluate_rows(dmn(MODEL), "fee", rows())
    assert next(outcomes).value == 0
    assert next(outcomes).number == 2
    assert taken == [0, 1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("1.50", 1.5),
        ("0.1 + 0.2", 0.3),
        ("1 / 3", "0.3333333333333333333333333333333333"),
        ("10 ** 30", 10**30),
        ("null", None),
        ('[true, "x", {a: 1}]', [True, "x", {"a": 1}]),
        ('@"2020-01-01"', "2020-01-01"),
        ('@"2020-01-01T10:00:00@Europe/Paris"', "2020-01-01T10:00:00@Europe/Paris"),
        ('@"P1DT2H"', "P1DT2H"),
        ("[1..3)", "[1..3)"),
        ("function(a) a", "function(a)"),
    ],
)
def test_values_become_json(text: str, expected: object) -> None:
    found = to_json_value(evaluate_text(text))
    assert found == expected
    assert type(found) is type(expected)
    json.dumps(found)


JDM = {
    "contentType": "application/vnd.gorules.decision",
    "nodes": [
        {"id": "i", "name": "in", "type": "inputNode"},
        {
            "id": "t",
            "name": "t",
            "type": "decisionTableNode",
            "content": {
                "hitPolicy": "first",
                "inputs": [{"id": "x", "name": "x", "field": "x"}],
                "outputs": [{"id": "o", "name": "o", "field": "o"}],
                "rules": [{"_id": "1", "x": "> 10", "o": "0.1"}, {"_id": "2", "x": "", "o": "2"}],
            },
        },
        {"id": "o", "name": "out", "type": "outputNode"},
    ],
    "edges": [{"id": "1", "sourceId": "i", "targetId": "t"}, {"id": "2", "sourceId": "t", "targetId": "o"}],
}


def test_jdm_models_run_in_zen_engine() -> None:
    pytest.importorskip("zen", reason="zen-engine, an optional extra, is not installed")
    model = load_jdm(json.dumps(JDM), name="x.json")
    assert evaluate_jdm(model, {"x": 11}).value == {"o": Decimal("0.1")}
    evaluation = evaluate_jdm(model, {"x": Decimal(1)})
    assert evaluation.value == {"o": 2}
    assert "t" in evaluation.trace


@pytest.mark.parametrize("source", ["{", '{"nodes": [{"id": "a"}], "edges": []}'])
def test_a_broken_jdm_model_is_refused_without_a_stack(source: str) -> None:
    pytest.importorskip("zen", reason="zen-engine, an optional extra, is not installed")
    with pytest.raises(DecisionError, match=r'cannot read "x\.json"') as refused:
        load_jdm(source, name="x.json")
    assert "\n" not in str(refused.value)


def test_without_zen_engine_a_jdm_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zen", None)
    with pytest.raises(DecisionError, match="pip install 'dadms\\[zen\\]'"):
        load_jdm(json.dumps(JDM), name="x.json")


def test_what_looks_like_jdm() -> None:
    assert is_jdm(json.dumps(JDM).encode())
    assert not is_jdm(b"<definitions/>")
    assert not is_jdm(b'{"nodes": 1}')
    assert not is_jdm(b"{")


def test_a_jdm_model_that_fails_names_its_node_and_the_reason() -> None:
    pytest.importorskip("zen", reason="zen-engine, an optional extra, is not installed")
    nodes = [
        {"id": "a", "name": "Request", "type": "inputNode"},
        {"id": "b", "name": "Calc", "type": "expressionNode", "content": {"expressions": [{"id": "x", "key": "y", "value": "amount * 2"}]}},
        {"id": "c", "name": "Response", "type": "outputNode"},
    ]
    edges = [{"id": "1", "sourceId": "a", "targetId": "b"}, {"id": "2", "sourceId": "b", "targetId": "c"}]
    model = load_jdm(json.dumps({"nodes": nodes, "edges": edges}), name="pricing.json")
    assert evaluate_jdm(model, {"amount": 2}).value["y"] == 4
    with pytest.raises(DecisionError) as caught:
        evaluate_jdm(model, {"amont": 1})
    assert (caught.value.place.node, caught.value.reason) == ("Calc", 'failed to evaluate expression: "amount * 2"')
