"""Variables in and out of tasks: parameters, results, decisions, connectors and forms."""

from __future__ import annotations

from typing import Any

import pytest

from dadms_orchestrators.bpmn import Field, RunRefused
from tests.unit.bpmn.drawing import finish, model, notes, people, run_of, task, works


def parameters(*lines: str) -> str:
    return "<extensionElements><camunda:inputOutput>" + "".join(lines) + "</camunda:inputOutput></extensionElements>"


def given(name: str, value: str) -> str:
    return f'<camunda:inputParameter name="{name}">{value}</camunda:inputParameter>'


def taken(name: str, value: str) -> str:
    return f'<camunda:outputParameter name="{name}">{value}</camunda:outputParameter>'


def test_input_parameters_are_computed_in_order_and_belong_to_the_task() -> None:
    inner = parameters(
        given("a", "${n + 1}"),
        given("b", "  ${a * 2}  "),
        given("text", "n is ${n}, and ${nobody}"),
        given(
            "map",
            '<camunda:map><camunda:entry key="k">${n}</camunda:entry><camunda:entry key="l"><camunda:list><camunda:value>1</camunda:value><camunda:value>${x}</camunda:value></camunda:list></camunda:entry></camunda:map>',
        ),
        given("nothing", ""),
        given("n", "own"),
    )
    run = run_of(model(task("A", inner), "S > A; A > E"), {"n": 1, "x": [True]})
    steps = run.advance()
    work = works(steps)["A"]
    assert work.inputs == {"a": 2, "b": 4, "text": "n is 1, and ", "map": {"k": 1, "l": ["1", [True]]}, "nothing": None, "n": "own"}
    assert work.variables == {"x": [True], **work.inputs}
    assert [note.detail for note in notes(steps, "assumed")] == [{"variable": "nobody"}]
    run.complete(work.id, {"a": "stays inside", "r": "comes out"})
    run.advance()
    assert run.outcome().variables == {"n": 1, "x": [True], "r": "comes out"}


def test_output_parameters_see_the_result_and_the_inputs() -> None:
    inner = parameters(
        given("limit", "${n * 10}"),
        taken("ok", "${score lt limit}"),
        taken("again", "${ok}"),
        taken("all", "<camunda:list><camunda:value>${score}</camunda:value></camunda:list>"),
    )
    run = run_of(model(task("A", inner), "S > A; A > E"), {"n": 1})
    run.complete(works(run.advance())["A"].id, {"score": 7})
    assert run.variables == {"n": 1, "score": 7, "ok": True, "again": True, "all": [7]}


def test_an_expression_task_is_evaluated_by_the_engine() -> None:
    nodes = '<serviceTask id="A" camunda:expression="${n * 2}" camunda:resultVariable="twice"/><serviceTask id="B" camunda:expression="${twice > 3}"/>'
    run = run_of(model(nodes, "S > A; A > B; B > E"), {"n": 2})
    run.advance()
    assert run.outcome().variables == {"n": 2, "twice": 4}


@pytest.mark.parametrize("attribute", ["class", "delegateExpression"])
def test_a_delegate_is_work_with_its_name_as_topic(attribute: str) -> None:
    run = run_of(model(f'<sendTask id="A" camunda:{attribute}="com.example.Mail" camunda:resultVariable="r"/>', "S > A; A > E"))
    work = works(run.advance())["A"]
    assert (work.kind, work.topic, work.result_variable) == ("class", "com.example.Mail", "r")
    run.complete(work.id, {"x": 1}, result=[1, 2])
    assert run.variables == {"x": 1, "r": [1, 2]}


def test_without_a_result_the_outputs_are_the_result() -> None:
    run = run_of(model('<serviceTask id="A" camunda:class="C" camunda:resultVariable="r"/>', "S > A; A > E"))
    run.complete(works(run.advance())["A"].id, {"x": 1})
    assert run.variables == {"r": {"x": 1}}


def test_a_script_is_work_and_never_runs_in_the_engine() -> None:
    script = "<script>\n      import os\n      os._exit(3)\n      r = 1\n    </script>"
    run = run_of(model(f'<scriptTask id="A" scriptFormat="Python" camunda:resultVariable="r">{script}</scriptTask>', "S > A; A > E"))
    work = works(run.advance())["A"]
    assert (work.kind, work.script_format) == ("script", "python")
    assert work.script == "\nimport os\nos._exit(3)\nr = 1\n"
    run.complete(work.id, {"y": 2}, result=1)
    assert run.variables == {"y": 2, "r": 1}


def test_a_connector_alone_is_work_whose_outputs_are_mapped() -> None:
    inner = (
        "<extensionElements><camunda:connector><camunda:connectorId>http-connector</camunda:connectorId><camunda:inputOutput>"
        + given("url", "https://host/${path}")
        + taken("code", "${statusCode}")
        + taken("first", "${response.items[0]}")
        + "</camunda:inputOutput></camunda:connector></extensionElements>"
    )
    run = run_of(model(f'<serviceTask id="A">{inner}</serviceTask>', "S > A; A > E"), {"path": "p"})
    work = works(run.advance())["A"]
    assert (work.kind, work.topic, work.connector) == (
        "http",
        "http-connector",
        {"id": "http-connector", "inputs": {"url": "https://host/p"}},
    )
    run.complete(work.id, {"statusCode": 200, "response": {"items": ["one"]}})
    assert run.variables == {"path": "p", "code": 200, "first": "one"}


RULES = [{"tier": "gold"}, {"tier": "silver"}]


@pytest.mark.parametrize(
    ("attributes", "outputs", "variables"),
    [
        ('camunda:resultVariable="d" camunda:mapDecisionResult="singleEntry"', {"tier": "gold"}, {"d": "gold"}),
        ('camunda:resultVariable="d" camunda:mapDecisionResult="singleEntry"', [{"tier": "gold"}], {"d": "gold"}),
        ('camunda:resultVariable="d" camunda:mapDecisionResult="singleEntry"', 5, {"d": 5}),
        ('camunda:resultVariable="d" camunda:mapDecisionResult="singleEntry"', None, {"d": None}),
        ('camunda:resultVariable="d" camunda:mapDecisionResult="singleResult"', [{"a": 1, "b": 2}], {"d": {"a": 1, "b": 2}}),
        ('camunda:resultVariable="d" camunda:mapDecisionResult="collectEntries"', RULES, {"d": ["gold", "silver"]}),
        ('camunda:resultVariable="d" camunda:mapDecisionResult="resultList"', RULES, {"d": RULES}),
        ('camunda:resultVariable="d"', {"tier": "gold"}, {"d": [{"tier": "gold"}]}),
        ("", [{"a": 1, "b": 2}], {"a": 1, "b": 2}),
        ("", 7, {"rate": 7}),
        ("", [], {}),
    ],
)
def test_a_decision_sets_what_its_mapping_says(attributes: str, outputs: Any, variables: dict[str, Any]) -> None:
    run = run_of(model(f'<businessRuleTask id="A" camunda:decisionRef="rate" {attributes}/>', "S > A; A > E"))
    work = works(run.advance())["A"]
    assert (work.kind, work.decision, work.topic) == ("decision", "rate", "")
    run.complete(work.id, outputs)
    assert run.variables == variables


@pytest.mark.parametrize(
    ("attributes", "outputs", "reason"),
    [
        ('camunda:resultVariable="d" camunda:mapDecisionResult="singleEntry"', RULES, "2 rules matched"),
        ('camunda:resultVariable="d" camunda:mapDecisionResult="singleEntry"', {"a": 1, "b": 2}, "2 outputs (a, b)"),
        ('camunda:resultVariable="d" camunda:mapDecisionResult="collectEntries"', [{"a": 1}, {}], "0 outputs"),
        ("", RULES, "no place for more than one"),
        ("", float("nan"), "is nan"),
    ],
)
def test_a_decision_that_does_not_fit_its_mapping_fails(attributes: str, outputs: Any, reason: str) -> None:
    run = run_of(model(f'<businessRuleTask id="A" camunda:decisionRef="rate" {attributes}/>', "S > A; A > E"))
    run.complete(works(run.advance())["A"].id, outputs)
    error = run.outcome().error
    assert error is not None
    assert reason in error.message


FORM = """<userTask id="U" name="Choose" camunda:assignee="${who}" camunda:candidateGroups="analysts"><documentation>Which one?</documentation><extensionElements><camunda:formData>
<camunda:formField id="kind" label="Kind" type="enum" defaultValue="a"><camunda:value id="a" name="A"/><camunda:value id="b" name="B"/></camunda:formField>
<camunda:formField id="count" type="long"><camunda:validation><camunda:constraint name="required"/></camunda:validation></camunda:formField>
<camunda:formField id="share" type="double" defaultValue="${start / 4}"/>
<camunda:formField id="sure" type="boolean" defaultValue="false"/>
<camunda:formField id="seen" type="string" defaultValue="${nobody}"><camunda:properties><camunda:property id="readonly" value="true"/></camunda:properties></camunda:formField>
</camunda:formData></extensionElements></userTask>"""
DECIDES = '<exclusiveGateway id="G" default="G_E"/>' + task("A")


def test_a_user_task_shows_its_fields_with_defaults() -> None:
    run = run_of(
        model(FORM + DECIDES, "S > U; U > G; G > A: ${sure &amp;&amp; other}; G > E; A > E".replace("&amp;", "&")),
        {"start": 1, "who": "ada"},
    )
    form = people(run.advance())["U"]
    assert (form.name, form.documentation, form.assignee, form.groups, form.undefined) == (
        "Choose",
        "Which one?",
        "ada",
        "analysts",
        ("sure", "other"),
    )
    assert form.fields == (
        Field("kind", "Kind", "enum", "a", False, False, ("a", "b")),
        Field("count", "", "long", None, True, False, ()),
        Field("share", "", "double", 0.25, False, False, ()),
        Field("sure", "", "boolean", False, False, False, ()),
        Field("seen", "", "string", None, False, True, ()),
    )
    run.answer(form.id, {"count": " 12 ", "sure": "TRUE", "other": False, "seen": "ignored"})
    run.advance()
    assert run.outcome().variables == {"start": 1, "who": "ada", "kind": "a", "count": 12, "share": 0.25, "sure": True, "other": False}


def test_a_variable_goes_before_the_default_of_its_field() -> None:
    run = run_of(model(FORM, "S > U; U > E"), {"kind": "b", "count": 3, "start": 0, "share": "not a number", "who": None})
    form = people(run.advance())["U"]
    assert [field.default for field in form.fields] == ["b", 3, 0.0, False, None]
    run.answer(form.id, {})
    run.advance()
    assert run.outcome().variables["count"] == 3


@pytest.mark.parametrize(
    ("values", "reasons"),
    [
        ({}, ['field "count" is required']),
        ({"count": "twelve"}, ["field \"count\" is 'twelve', and is a whole number"]),
        ({"count": 1.5, "kind": "z"}, ['"count" is 1.5, and is a whole number', "\"kind\" is 'z', and can be a, b"]),
        ({"count": True}, ['"count" is True, and is a whole number']),
        ({"count": 1, "sure": "perhaps"}, ["is true or false"]),
        ({"count": 1, "other": {1}}, ['"other" is of the Python type set']),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_with_every_problem_and_changes_nothing(values: dict[str, Any], reasons: list[str]) -> None:
    run = run_of(model(FORM, "S > U; U > E"), {"start": 1, "who": "ada"})
    form = people(run.advance())["U"]
    before = run.snapshot()
    with pytest.raises(RunRefused) as refused:
        run.answer(form.id, values)
    assert str(refused.value).startswith('cannot answer user task "Choose" (U): ')
    assert all(reason in str(refused.value) for reason in reasons)
    assert run.snapshot() == before
    run.answer(form.id, {"count": 1})
    run.advance()
    assert run.is_finished


START = '<startEvent id="S"><extensionElements><camunda:formData><camunda:formField id="budget" type="long"><camunda:validation><camunda:constraint name="required"/></camunda:validation></camunda:formField></camunda:formData></extensionElements></startEvent>'


def test_start_fields_are_required_and_typed() -> None:
    source = model(task("A"), "S > A; A > E").replace(b'<startEvent id="S"/>', START.encode())
    with pytest.raises(RunRefused, match=r'cannot start drawn\.bpmn: field "budget" is required'):
        run_of(source)
    with pytest.raises(RunRefused, match="is a whole number"):
        run_of(source, {"budget": "much"})
    assert run_of(source, {"budget": "2000000", "more": 1}).variables == {"budget": 2_000_000, "more": 1}


def test_start_variables_are_json() -> None:
    with pytest.raises(RunRefused) as refused:
        run_of(model(task("A"), "S > A; A > E"), {"a": {1}, "b": b"", "c": 1})
    assert (
        str(refused.value)
        == 'cannot start drawn.bpmn: variable "a" is of the Python type set, which JSON does not have; variable "b" is of the Python type bytes, which JSON does not have'
    )


def test_variables_of_a_step_are_not_those_of_the_run() -> None:
    mine = {"list": [1]}
    run = run_of(model(task("A") + task("B"), "S > A; A > B; B > E"), mine)
    mine["list"].append(2)
    outputs = {"out": [1]}
    run.complete(works(run.advance())["A"].id, outputs)
    outputs["out"].append(2)
    assert works(run.advance())["B"].variables == {"list": [1], "out": [1]}


def test_a_service_named_by_its_properties_is_work_for_that_service() -> None:
    properties = "".join(
        f'<camunda:property name="service.{key}" value="{value}"/>' for key, value in (("type", "ai"), ("name", "scorer"), ("version", "2"))
    )
    inner = f"<extensionElements><camunda:properties>{properties}</camunda:properties></extensionElements>"
    for tag in ("serviceTask", "task", "sendTask"):
        run = run_of(model(f'<{tag} id="A">{inner}</{tag}>', "S > A; A > E"))
        work = works(run.advance())["A"]
        assert (work.kind, work.topic, work.properties["service.version"]) == ("service", "scorer", "2")


def test_input_parameters_of_a_subprocess_belong_to_it() -> None:
    inner = parameters(given("local", "${n + 1}"), taken("result", "${local + r}"))
    inner += (
        '<startEvent id="s"/>'
        + task("A")
        + '<endEvent id="e"/><sequenceFlow id="1" sourceRef="s" targetRef="A"/><sequenceFlow id="2" sourceRef="A" targetRef="e"/>'
    )
    run = run_of(model(f'<subProcess id="U">{inner}</subProcess>', "S > U; U > E"), {"n": 1})
    work = works(run.advance())["A"]
    assert (work.variables, work.inputs) == ({"n": 1, "local": 2}, {})
    finish_with = {"r": 40, "local": 3}
    run.complete(work.id, finish_with)
    run.advance()
    assert run.outcome().variables == {"n": 1, "r": 40, "result": 43}


def test_the_instance_and_its_key_can_be_asked_for() -> None:
    inner = parameters(given("id", "${execution.processInstanceId}/${execution.businessKey}/${execution.currentActivityId}"))
    run = run_of(model(task("A", inner), "S > A; A > E"), instance="1001", business_key="k")
    assert works(run.advance())["A"].inputs == {"id": "1001/k/A"}
    assert finish(run_of(model(task("A", inner), "S > A; A > E"))) == ["A"]
