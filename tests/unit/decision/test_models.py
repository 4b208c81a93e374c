"""Whole models: requirement graphs, boxed expressions, types, services, imports, and what loading refuses."""

from __future__ import annotations

import datetime
import subprocess
import sys
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from dadms_orchestrators.decision import DecisionError, Model, evaluate, load_model, to_json_value

Dmn = Callable[..., Model]
SPACE = "https://www.omg.org/spec/DMN/20230324/MODEL/"


def literal(text: str) -> str:
    return f"<literalExpression><text>{text}</text></literalExpression>"


def needs(kind: str, *ids: str) -> str:
    tag = "knowledgeRequirement" if kind == "requiredKnowledge" else "informationRequirement"
    return "".join(f'<{tag}><{kind} href="#{found}"/></{tag}>' for found in ids)


def test_decisions_feed_decisions(dmn: Dmn) -> None:
    model = dmn(
        '<inputData id="i" name="gross pay"><variable name="gross pay" typeRef="number"/></inputData>'
        f'<decision id="a" name="tax">{needs("requiredInput", "i")}{literal("gross pay * 0.2")}</decision>'
        f'<decision id="b" name="net">{needs("requiredInput", "i")}{needs("requiredDecision", "a")}'
        f"{literal('gross pay - tax')}</decision>"
    )
    assert evaluate(model, "net", {"gross pay": 100}).value == 80
    assert evaluate(model, "b", {"gross pay": 0.1}).value == Decimal("0.08")
    assert model.decisions() == ["tax", "net"]
    assert model.inputs() == {"gross pay": "number"}


def test_a_decision_sees_only_what_it_requires(dmn: Dmn) -> None:
    model = dmn(f'<inputData id="i" name="x"/><decision id="a" name="a">{literal("x")}</decision>')
    evaluation = evaluate(model, "a", {"x": 1})
    assert evaluation.value is None
    assert evaluation.trace.nulls()[0].reason == '"x" is not known here'
    assert [error.reason for error in evaluation.errors] == ['"x" is not known here']


BOXED = {
    "context": "<context><contextEntry><variable name='a'/>{1}</contextEntry><contextEntry>{a + 1}</contextEntry></context>",
    "list": "<list>{1}{2}</list>",
    "relation": "<relation><column name='a'/><column name='b'/><row>{1}{2}</row><row>{3}{4}</row></relation>",
    "conditional": "<conditional><if>{1 = 1}</if><then>{1}</then><else>{2}</else></conditional>",
    "filter": "<filter><in>{[{v: 1}, {v: 2}]}</in><match>{v = 2}</match></filter>",
    "for": "<for iteratorVariable='n'><in>{1..3}</in><return>{n * 2}</return></for>",
    "some": "<some iteratorVariable='n'><in>{[1, 2]}</in><satisfies>{n = 2}</satisfies></some>",
    "every": "<every iteratorVariable='n'><in>{[1, 2]}</in><satisfies>{n = 2}</satisfies></every>",
}


@pytest.mark.parametrize(
    ("boxed", "expected"),
    [
        ("context", 2),
        ("list", [1, 2]),
        ("relation", [{"a": 1, "b": 2}, {"a": 3, "b": 4}]),
        ("conditional", 1),
        ("filter", [{"v": 2}]),
        ("some", True),
        ("every", False),
    ],
)
def test_boxed_expression(dmn: Dmn, boxed: str, expected: object) -> None:
    assert to_json_value(evaluate(dmn(f'<decision id="d" name="d">{_boxed(BOXED[boxed])}</decision>'), "d", {}).value) == expected


def test_a_boxed_loop_sees_its_earlier_results(dmn: Dmn) -> None:
    loop = "<for iteratorVariable='n'><in>{[1, 2, 3]}</in><return>{count(partial) + n}</return></for>"
    assert to_json_value(evaluate(dmn(f'<decision id="d" name="d">{_boxed(loop)}</decision>'), "d", {}).value) == [1, 3, 5]


def _boxed(text: str) -> str:
    """Write each ``{…}`` at the outermost level as a literal expression."""
    out, depth, begin = "", 0, 0
    for at, char in enumerate(text):
        if char == "{":
            depth += 1
            begin = at + 1 if depth == 1 else begin
        elif char == "}":
            depth -= 1
            if depth == 0:
                out += literal(text[begin:at])
        elif depth == 0:
            out += char
    return out


KNOWLEDGE = (
    '<businessKnowledgeModel id="k" name="fac"><variable name="fac"/><encapsulatedLogic>'
    '<formalParameter name="n" typeRef="number"/>'
    f"{literal('if n = 0 then 1 else n * fac(n - 1)')}</encapsulatedLogic></businessKnowledgeModel>"
)


def test_a_knowledge_model_may_call_itself_and_is_evaluated_by_name(dmn: Dmn) -> None:
    model = dmn(KNOWLEDGE + f'<decision id="d" name="d">{needs("requiredKnowledge", "k")}{literal("fac(20)")}</decision>')
    assert evaluate(model, "d", {}).value == 2_432_902_008_176_640_000
    assert evaluate(model, "fac", {"n": 3}).value == 6


def test_an_invocation_binds_by_name(dmn: Dmn) -> None:
    binding = f'<binding><parameter name="n"/>{literal("3")}</binding>'
    model = dmn(
        f'{KNOWLEDGE}<decision id="d" name="d">{needs("requiredKnowledge", "k")}'
        f"<invocation>{literal('fac')}{binding}</invocation></decision>"
    )
    assert evaluate(model, "d", {}).value == 6


SERVICE = (
    '<inputData id="i" name="i"><variable name="i" typeRef="number"/></inputData>'
    f'<decision id="in" name="given"><variable name="given"/>{literal("1")}</decision>'
    f'<decision id="o1" name="sum">{needs("requiredInput", "i")}{needs("requiredDecision", "in")}{literal("i + given")}</decision>'
    f'<decision id="o2" name="product">{needs("requiredInput", "i")}{needs("requiredDecision", "in")}{literal("i * given")}</decision>'
    '<decisionService id="s" name="both"><variable name="both"/><outputDecision href="#o1"/><outputDecision href="#o2"/>'
    '<inputDecision href="#in"/><inputData href="#i"/></decisionService>'
)


@pytest.mark.parametrize("call", ["both(3, 4)", "both(given: 4, i: 3)"])
def test_a_service_is_a_function_of_its_inputs_then_its_input_decisions(dmn: Dmn, call: str) -> None:
    model = dmn(f'{SERVICE}<decision id="d" name="d">{needs("requiredKnowledge", "s")}{literal(call)}</decision>')
    assert to_json_value(evaluate(model, "d", {}).value) == {"sum": 7, "product": 12}


def test_a_service_is_evaluated_with_values_for_its_input_decisions(dmn: Dmn) -> None:
    model = dmn(SERVICE)
    assert to_json_value(evaluate(model, "both", {"i": 3, "given": 5}).value) == {"sum": 8, "product": 15}
    assert evaluate(model, "sum", {"i": 3, "given": 5}).value == 4  # a decision evaluates what it requires


TYPES = (
    '<itemDefinition name="tRisk"><typeRef>string</typeRef><allowedValues><text>"low","high"</text></allowedValues></itemDefinition>'
    '<itemDefinition name="tPerson"><itemComponent name="first name"><typeRef>string</typeRef></itemComponent>'
    '<itemComponent name="born"><typeRef>date</typeRef></itemComponent></itemDefinition>'
    '<itemDefinition name="tPeople" isCollection="true"><typeRef>tPerson</typeRef></itemDefinition>'
)


@pytest.mark.parametrize(
    ("type_name", "given", "expected", "error"),
    [
        ("tRisk", "low", "low", None),
        ("tRisk", "middle", None, 'the string "middle" is not among the allowed values "low","high"'),
        ("tRisk", ["high"], "high", None),
        ("tRisk", 1, None, "the number 1 is no tRisk"),
        ("date", "2020-01-02", "2020-01-02", None),
        ("date", datetime.date(2020, 1, 2), "2020-01-02", None),
        ("dateTime", datetime.date(2020, 1, 2), "2020-01-02T00:00:00Z", None),
        ("date", "yesterday", None, 'the string "yesterday" is no date'),
        ("tPeople", {"first name": "Ada", "born": "1815-12-10"}, [{"first name": "Ada", "born": "1815-12-10"}], None),
        ("tPeople", [{"first name": "Ada"}], None, 'the list [{first name: "Ada"}] is no tPeople'),
        ("list&lt;tRisk&gt;", ["low", "high"], ["low", "high"], None),
        ("list&lt;number&gt;", ["low"], None, 'the list ["low"] is no list<number>'),
        ("number", 12, 12, None),
        ("number", None, None, None),
    ],
)
def test_inputs_are_coerced_to_their_types(dmn: Dmn, type_name: str, given: object, expected: object, error: str | None) -> None:
    model = dmn(
        f'{TYPES}<inputData id="i" name="x"><variable name="x" typeRef="{type_name}"/></inputData>'
        f'<decision id="d" name="d">{needs("requiredInput", "i")}{literal("x")}</decision>'
    )
    evaluation = evaluate(model, "d", {"x": given})
    assert to_json_value(evaluation.value) == expected
    assert [found.reason for found in evaluation.errors] == ([] if error is None else [error])


def test_a_decision_of_the_wrong_type_is_null_and_says_so(dmn: Dmn) -> None:
    model = dmn(f'<decision id="d" name="d"><variable name="d" typeRef="number"/>{literal("&quot;x&quot;")}</decision>')
    evaluation = evaluate(model, "d", {})
    assert evaluation.value is None
    assert str(evaluation.errors[0]).startswith('the string "x" is no number (in "d" of model "m"')


IMPORTED = (
    f'<definitions xmlns="{SPACE}" name="lib" namespace="urn:lib"><itemDefinition name="tSmall"><typeRef>number</typeRef>'
    '<allowedValues><text>[0..9]</text></allowedValues></itemDefinition><inputData id="x" name="x">'
    '<variable name="x" typeRef="tSmall"/></inputData><businessKnowledgeModel id="twice" name="twice"><encapsulatedLogic>'
    f'<formalParameter name="n"/>{literal("n * 2")}</encapsulatedLogic></businessKnowledgeModel>'
    f'<decision id="shown" name="shown"><informationRequirement><requiredInput href="#x"/></informationRequirement>{literal("x + 1")}</decision></definitions>'
)
IMPORTING = (
    f'<definitions xmlns="{SPACE}" name="m" namespace="urn:m"><import name="lib" namespace="urn:lib" '
    f'importType="{SPACE}" locationURI="lib.dmn"/><decision id="d" name="d"><informationRequirement>'
    '<requiredDecision href="urn:lib#shown"/></informationRequirement><knowledgeRequirement><requiredKnowledge '
    f'href="urn:lib#twice"/></knowledgeRequirement>{literal("lib.twice(lib.shown)")}</decision></definitions>'
)


@pytest.mark.parametrize("inputs", [{"x": 3}, {"lib": {"x": 3}}, {"lib.x": 3}])
def test_imports_are_seen_under_their_name(inputs: dict[str, Any]) -> None:
    model = load_model(IMPORTING, resolve={"lib.dmn": IMPORTED.encode()}.__getitem__)
    assert evaluate(model, "d", inputs).value == 8
    assert evaluate(model, "lib.shown", {"x": 3}).value == 4


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"", "no element found"),
        (b"<a>", "no element found"),
        (b"<a/>", "its root is a, not definitions"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "declares a document type"),
        (b"<a>" * 300 + b"</a>" * 300, "200 inside each other"),
        (IMPORTING.encode(), "nothing was given that finds imported models"),
    ],
)
def test_what_is_no_model_is_refused_with_its_name(source: bytes, reason: str) -> None:
    with pytest.raises(DecisionError, match=reason) as refused:
        load_model(source, name="bad.dmn")
    assert "bad.dmn" in str(refused.value) or refused.value.place.model == "m"


def test_a_missing_import_and_a_circle_of_imports_are_refused() -> None:
    with pytest.raises(DecisionError, match="it was not found"):
        load_model(IMPORTING, resolve=dict[str, bytes]().__getitem__)
    circle = IMPORTING.encode()
    with pytest.raises(DecisionError, match=r"the imports go round: lib\.dmn -> lib\.dmn"):
        load_model(circle, resolve=lambda _: circle)


def test_a_syntax_error_carries_model_node_expression_line_and_column(dmn: Dmn) -> None:
    body = '\n<decision id="d" name="Fee">\n<literalExpression><text>1 +\n  * 2</text></literalExpression></decision>'
    with pytest.raises(DecisionError) as refused:
        dmn(body)
    place = refused.value.place
    assert (place.model, place.node, place.line, place.column) == ("m", "Fee", 4, 3)
    assert place.expression == "1 +\n  * 2"
    assert refused.value.reason == "an expression cannot start with '*'"


def test_without_strictness_what_cannot_be_compiled_is_null_and_the_rest_works(dmn: Dmn) -> None:
    model = dmn(f'<decision id="a" name="a">{literal("1 +")}</decision><decision id="b" name="b">{literal("2")}</decision>', strict=False)
    assert evaluate(model, "b", {}).value == 2
    evaluation = evaluate(model, "a", {})
    assert (evaluation.value, evaluation.errors[0].reason) == (None, "an expression is missing here")
    assert len(model.errors) == 1


def test_a_circle_of_requirements_is_refused(dmn: Dmn) -> None:
    circle = (
        f'<decision id="a" name="a">{needs("requiredDecision", "b")}{literal("b")}</decision>'
        f'<decision id="b" name="b">{needs("requiredDecision", "a")}{literal("a")}</decision>'
    )
    with pytest.raises(DecisionError, match="it requires itself: a -> b -> a"):
        dmn(circle)
    assert evaluate(dmn(circle, strict=False), "a", {}).value is None


def test_an_unknown_decision_is_refused_with_those_that_are_known(dmn: Dmn) -> None:
    model = dmn(f'<decision id="a" name="a">{literal("1")}</decision>')
    with pytest.raises(DecisionError, match='cannot evaluate "b": the model has the decisions "a"'):
        evaluate(model, "b", {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {"a": {1: object()}}])
def test_an_input_that_is_no_feel_value_is_refused(dmn: Dmn, value: object) -> None:
    model = dmn(f'<inputData id="i" name="x"/><decision id="d" name="d">{needs("requiredInput", "i")}{literal("x")}</decision>')
    with pytest.raises(DecisionError, match='cannot take input "x"'):
        evaluate(model, "d", {"x": value})


def test_java_is_called_by_the_table_and_refused_by_name(dmn: Dmn) -> None:
    def model(method: str) -> Model:
        text = f'{{java: {{class: "java.lang.Math", method signature: "{method}"}}}}'
        return dmn(f'<decision id="d" name="d">{literal(f"{{f: function(a, b) external {text}, r: f(3, 4)}}.r")}</decision>')

    assert evaluate(model("max(int, int)"), "d", {}).value == 4
    evaluation = evaluate(model("halt(int, int)"), "d", {})
    assert evaluation.value is None
    assert "java.lang.Math.halt(int, int) is not among those that are mapped" in evaluation.trace.nulls()[0].reason


def test_threads_share_a_model(dmn: Dmn) -> None:
    model = dmn(
        f'{KNOWLEDGE}<inputData id="i" name="x"/><decision id="d" name="d">{needs("requiredInput", "i")}'
        f"{needs('requiredKnowledge', 'k')}{literal('fac(x)')}</decision>"
    )
    expected = {n: evaluate(model, "d", {"x": n}).value for n in range(30)}
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(n for _ in range(20) for n in range(30) if evaluate(model, "d", {"x": n}).value != expected[n])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_importing_the_engine_starts_no_thread_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, threading; import dadms_orchestrators.decision; "
        "print(threading.active_count(), [name for name in ('lxml', 'SpiffWorkflow', 'zen', 'zmq', 'zoneinfo') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert shown.strip() == "1 []"


def test_an_import_without_a_name_stands_beside_the_models_own() -> None:
    source = IMPORTING.replace('name="lib" ', 'name="" ').replace("lib.twice(lib.shown)", "twice(shown)")
    model = load_model(source, resolve={"lib.dmn": IMPORTED.encode()}.__getitem__)
    assert evaluate(model, "d", {"x": 3}).value == 8
    assert evaluate(model, "shown", {"x": 3}).value == 4


def test_a_model_drawn_for_camunda_sees_every_input_and_results_by_output_name() -> None:
    def table(inputs: str, output: str, rules: list[tuple[str, str]]) -> str:
        rows = "".join(
            f"<rule><inputEntry><text>{test}</text></inputEntry><outputEntry><text>{result}</text></outputEntry></rule>"
            for test, result in rules
        )
        return f'<decisionTable><input><inputExpression typeRef="integer"><text>{inputs}</text></inputExpression></input>{output}{rows}</decisionTable>'

    season = table("temperature", '<output name="season" typeRef="string"/>', [("&gt; 10", '"warm"'), ("&lt;= 10", '"cold"')])
    dish = table("season", '<output name="dish"/>', [('"warm"', '"salad"'), ('"cold"', '"stew"')])
    source = (
        f'<definitions xmlns="{SPACE}" xmlns:camunda="http://camunda.org/schema/1.0/dmn" name="m"><decision id="s" name="Season">{season}</decision>'
        f'<decision id="d" name="Dish">{needs("requiredDecision", "s")}{dish}</decision></definitions>'
    )
    assert evaluate(load_model(source), "d", {"temperature": 20}).value == "salad"
    assert evaluate(load_model(source), "d", {"temperature": 5}).value == "stew"
    closed = load_model(source.replace("http://camunda.org/schema/1.0/dmn", "urn:other"))
    assert evaluate(closed, "d", {"temperature": 20}).value is None
