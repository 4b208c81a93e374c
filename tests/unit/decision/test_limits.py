"""Limits of an evaluation: one that is reached is an error of the whole of it, never a null that the model goes on with."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from dadms_orchestrators.bpmn.decisions import DecisionFailed, run_decision
from dadms_orchestrators.contract import Thread
from dadms_orchestrators.decision import LimitExceeded, Model, evaluate, validate
from dadms_orchestrators.decision.batch import evaluate_rows
from dadms_orchestrators.decision.feel import Notes, current, evaluate_text
from dadms_orchestrators.decision.feel.runtime import Exceeded
from dadms_orchestrators.decision.feel.types import Type, conforms
from dadms_orchestrators.decision.jsonvalues import MAX_DEPTH
from dadms_orchestrators.decision.runnable import DmnModel

Dmn = Callable[..., Model]
ROUNDS = "a loop makes more than 1000000 rounds"
DEEP = "functions call each other more than 120 deep"


def decision(text: str) -> str:
    """Return a decision "d" that is one text."""
    return f'<decision id="d" name="d"><literalExpression><text>{text.replace("&", "&amp;").replace("<", "&lt;")}</text></literalExpression></decision>'


REACHED = {
    "some": ('if (some i in 1..2000000 satisfies i = 1999999) then "reject" else "approve"', ROUNDS),
    "every": ('if (every i in 1..2000000 satisfies i < 2000000) then "reject" else "approve"', ROUNDS),
    "for": ('if count(for i in 1..1100000 return i) > 1000000 then "reject" else "approve"', ROUNDS),
    "function": ('{f: function(n) if n < 1 then 0 else 1 + f(n-1), r: if f(130) > 100 then "reject" else "approve"}.r', DEEP),
    "sort": ("{f: function(a, b) f(a, b), r: sort([2, 1], f)}.r", DEEP),
    "concatenate": ("count({m: for i in 1..600000 return i, r: concatenate(m, m)}.r)", "the list has more than 1000000 items"),
    "pattern": (f'matches("a", "{"a" * 5001}")', "the pattern has 5001 characters, at most 5000 are taken"),
    "quantifier": ('matches("a", "a{10001}") = null', "a quantifier of the pattern repeats more than 10000 times"),
    "digits": (f'matches("a", "a{{{"9" * 4500}}}")', "a quantifier of the pattern has 4502 characters, at most 100 are taken"),
    "groups": (f'matches("a", "{"(" * 101}a{")" * 101}")', "the groups of the pattern are nested deeper than 100"),
    "written range": (f'range("{"(" * 100}1..2")', "nested deeper than 64"),
}


@pytest.mark.parametrize(("text", "reason"), REACHED.values(), ids=REACHED)
def test_a_limit_that_is_reached_is_an_error_of_the_evaluation_with_its_place(dmn: Dmn, text: str, reason: str) -> None:
    with pytest.raises(LimitExceeded) as caught:
        evaluate(dmn(decision(text)), "d", {})
    place = caught.value.place
    assert (caught.value.reason, place.model, place.node, place.expression) == (reason, "m", "d", text)
    assert place.line == 1
    assert place.column > 0


def test_the_innermost_expression_is_the_place_that_is_named(dmn: Dmn) -> None:
    with pytest.raises(LimitExceeded) as caught:
        evaluate(dmn(decision("[count(for i in 1..1100000 return i)]")), "d", {})
    assert caught.value.place.column == len("[count(") + 1


def test_a_knowledge_model_that_calls_itself_for_ever_is_an_error(dmn: Dmn) -> None:
    body = "<encapsulatedLogic><literalExpression><text>if k() then 1 else 2</text></literalExpression></encapsulatedLogic>"
    knowledge = f'<businessKnowledgeModel id="k" name="k"><variable name="k"/>{body}</businessKnowledgeModel>'
    needs = '<knowledgeRequirement><requiredKnowledge href="#k"/></knowledgeRequirement>'
    model = dmn(knowledge + decision("if k() = 1 then 1 else 2").replace("<literal", f"{needs}<literal"))
    for name in ("d", "k"):
        with pytest.raises(LimitExceeded, match=DEEP):
            evaluate(model, name, {})


def test_the_interpreters_own_limit_is_one_of_them(dmn: Dmn) -> None:
    step = "[" * 15 + "f(n - 1)" + "][1]" * 15  # more frames a call than a hundred calls have room for
    with pytest.raises(LimitExceeded, match="nested deeper than the interpreter's stack"):
        evaluate(dmn(decision(f"{{f: function(n) if n < 1 then 0 else {step}, r: if f(110) > 100 then 1 else 2}}.r")), "d", {})


@pytest.mark.parametrize("tag", ["for", "some", "every"])
def test_a_boxed_loop_has_the_same_limit(dmn: Dmn, tag: str) -> None:
    last = "return" if tag == "for" else "satisfies"
    loop = f'<{tag} iteratorVariable="i"><in><literalExpression><text>[1..1000001]</text></literalExpression></in>'
    loop += f"<{last}><literalExpression><text>i = 0</text></literalExpression></{last}></{tag}>"
    with pytest.raises(LimitExceeded, match=f"{ROUNDS} .in "):
        evaluate(dmn(f'<decision id="d" name="d">{loop}</decision>'), "d", {})


def test_all_loops_of_an_evaluation_have_a_limit_together() -> None:
    token = current.set(Notes(rounds=9_999_999))
    try:
        with pytest.raises(LimitExceeded, match="the loops of one evaluation make more than 10000000 rounds"):
            evaluate_text("[for i in 1..2 return i]")
    finally:
        current.reset(token)


def test_a_value_deeper_than_its_type_is_followed_is_no_mismatch() -> None:
    node = Type("context")
    node.fields = {"next": node}
    value: dict[str, object] = {"next": None}
    for _ in range(80):
        value = {"next": value}
    with pytest.raises(Exceeded, match="deeper than 64 levels of its type"):
        conforms(value, node)


def test_a_row_of_a_batch_has_the_limit_as_its_error(dmn: Dmn) -> None:
    text = "if (some i in 1..n satisfies i = n) then 1 else 2"
    model = dmn(
        '<inputData id="n" name="n"/>'
        + decision(text).replace("<literal", '<informationRequirement><requiredInput href="#n"/></informationRequirement><literal')
    )
    found = list(evaluate_rows(model, "d", [{"n": 3}, {"n": 1_000_001}, {"n": 4}]))
    assert [outcome.value for outcome in found] == [1, None, 1]
    assert [len(outcome.errors) for outcome in found] == [0, 1, 0]
    assert ROUNDS in found[1].errors[0]


def test_a_value_too_deep_for_its_reader_is_an_error() -> None:
    text = "{f: function(n) if n = 0 then [] else [f(n - 1)], r: f(%d)}.r"
    head = '<definitions xmlns="https://www.omg.org/spec/DMN/20230324/MODEL/" name="m" namespace="urn:m">'
    assert DmnModel(f"{head}{decision(text % (MAX_DEPTH - 1))}</definitions>".encode(), "m.dmn", {}).answer("d", {}).value
    with pytest.raises(LimitExceeded, match=f"nested deeper than {MAX_DEPTH}"):
        DmnModel(f"{head}{decision(text % MAX_DEPTH)}</definitions>".encode(), "m.dmn", {}).answer("d", {})


def test_a_business_rule_task_fails_with_the_reason() -> None:
    text, reason = REACHED["some"]
    source = f'<definitions xmlns="https://www.omg.org/spec/DMN/20230324/MODEL/" name="m" namespace="urn:m">{decision(text)}</definitions>'
    thread = cast("Thread", SimpleNamespace(config={"decisions": {"m.dmn": source.encode()}}))  # all of it that the entry reads
    with pytest.raises(LimitExceeded, match=reason):
        run_decision({"decision": "d", "variables": {}}, thread)


def test_a_business_rule_task_fails_for_an_error_although_a_value_came_out() -> None:
    source = """<definitions xmlns="https://www.omg.org/spec/DMN/20230324/MODEL/" name="m" namespace="urn:m">
<inputData id="n" name="n"><variable name="n" typeRef="number"/></inputData>
<decision id="d" name="d"><variable name="d"/><informationRequirement><requiredInput href="#n"/></informationRequirement>
<literalExpression><text>if n = null then "none" else "one"</text></literalExpression></decision></definitions>"""
    thread = cast("Thread", SimpleNamespace(config={"decisions": {"m.dmn": source.encode()}}))
    assert run_decision({"decision": "d", "variables": {"n": None}}, thread)["value"] == "none"
    with pytest.raises(DecisionFailed, match='went wrong on its way to a value: the string "x" is no number'):
        run_decision({"decision": "d", "variables": {"n": "x"}}, thread)


def test_validating_a_model_whose_allowed_values_reach_a_limit_says_so(table: Dmn) -> None:
    allowed = 'name="y"><outputValues><text>count(for i in 1..1000001 return i) > 1</text></outputValues>'
    model = table("", ["x"], [allowed], [["1", "1"]])
    assert [(found.kind, ROUNDS in found.reason) for found in validate(model)] == [("size", True)]


def test_a_chain_of_decisions_may_have_any_length(dmn: Dmn) -> None:
    length = 3_000
    links = [
        f'<decision id="d{n}" name="d{n}"><informationRequirement><requiredDecision href="#d{n + 1}"/></informationRequirement>'
        f"<literalExpression><text>d{n + 1} + 1</text></literalExpression></decision>"
        for n in range(length)
    ]
    last = f'<decision id="d{length}" name="d{length}"><literalExpression><text>0</text></literalExpression></decision>'
    outcome = evaluate(dmn("".join(links) + last), "d0", {})
    assert (outcome.value, outcome.errors) == (length, [])
