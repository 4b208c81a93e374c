"""Failures: caught where the model says so, and never taken for done."""

from __future__ import annotations

from typing import Any

import pytest

from dadms_orchestrators.bpmn import Run, TaskError
from tests.unit.bpmn.drawing import cancelled, document, finish, model, notes, process, run_of, task, works

CRASH = TaskError("ValueError", "no such platform", "File handlers.py, line 3")
ERRORS = '<error id="err_a" errorCode="A1"/><error id="err_b" errorCode="B2"/>'


def boundary(identifier: str, on: str, reference: str = "", more: str = "") -> str:
    ref = f'errorRef="{reference}"' if reference else ""
    return f'<boundaryEvent id="{identifier}" attachedToRef="{on}"><errorEventDefinition {ref} {more}/></boundaryEvent>'


def test_an_uncaught_failure_fails_the_run_with_task_line_and_cause() -> None:
    run = run_of(
        model('<parallelGateway id="G"/>' + task("A", attributes='name="Rate\n it"') + task("B"), "S > G; G > A; G > B; A > E; B > E"),
        {"x": 1},
    )
    ready = works(run.advance())
    run.fail(ready["A"].id, CRASH)
    assert run.is_finished
    assert cancelled(run.advance()) == ["B"]
    outcome = run.outcome()
    error = outcome.error
    assert error is not None
    assert (outcome.status, outcome.end_event, outcome.variables) == ("failed", None, {"x": 1})
    assert (error.type, error.message, error.cause, error.element, error.file, error.line) == (
        "ValueError",
        "no such platform",
        "File handlers.py, line 3",
        "A",
        "drawn.bpmn",
        4,
    )
    assert str(error) == 'drawn.bpmn:4: "Rate it" (A): ValueError: no such platform [File handlers.py, line 3]'
    assert "A" not in outcome.path


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (TaskError("BpmnError", "too dear", code="A1"), "XA"),
        (TaskError("BpmnError", "too slow", code="B2"), "XB"),
        (TaskError("BpmnError", "unknown", code="C3"), "XC"),
        (TaskError("B2", "a failure whose type is the code"), "XB"),
        (CRASH, "XC"),
    ],
)
def test_the_boundary_event_with_the_code_catches_and_one_without_catches_the_rest(error: TaskError, end: str) -> None:
    nodes = (
        task("A")
        + boundary("C", "A", "", 'camunda:errorCodeVariable="code" camunda:errorMessageVariable="said"')
        + boundary("CA", "A", "err_a")
        + boundary("CB", "A", "err_b")
    )
    nodes += "".join(f'<endEvent id="{name}"/>' for name in ("XA", "XB", "XC"))
    run = run_of(model(nodes, "S > A; A > E; C > XC; CA > XA; CB > XB", ERRORS))
    run.fail(works(run.advance())["A"].id, error)
    steps = run.advance()
    assert len(notes(steps, "caught")) == 1
    assert cancelled(steps) == []  # it ended by itself
    outcome = run.outcome()
    assert (outcome.status, outcome.end_event, outcome.error) == ("completed", end, None)
    assert outcome.variables == ({"code": error.code, "said": error.message} if end == "XC" else {})


def test_a_code_that_no_event_has_is_not_caught() -> None:
    run = run_of(model(task("A") + boundary("C", "A", "err_a"), "S > A; A > E; C > E", ERRORS))
    run.fail(works(run.advance())["A"].id, TaskError("BpmnError", "no", code="B2"))
    assert run.outcome().status == "failed"


def test_an_event_on_another_task_catches_nothing() -> None:
    run = run_of(
        model('<parallelGateway id="G"/>' + task("A") + task("B") + boundary("C", "B"), "S > G; G > A; G > B; A > E; B > E; C > E")
    )
    run.fail(works(run.advance())["A"].id, CRASH)
    assert run.outcome().status == "failed"


def test_an_event_does_not_catch_what_fails_after_its_task() -> None:
    run = run_of(model(task("A") + task("B") + boundary("C", "A"), "S > A; A > B; B > E; C > E"))
    run.complete(works(run.advance())["A"].id)
    run.fail(works(run.advance())["B"].id, CRASH)
    assert run.outcome().status == "failed"


def subprocess(ending: str = "") -> str:
    inner = '<startEvent id="s"/><parallelGateway id="g"/><endEvent id="e">' + ending + "</endEvent>" + task("A") + task("B")
    lines = "".join(f'<sequenceFlow id="{a}_{b}" sourceRef="{a}" targetRef="{b}"/>' for a, b in ("sg", "gA", "gB", "Ae", "Be"))
    return f'<subProcess id="U">{inner}{lines}</subProcess>'


def test_a_failure_in_a_subprocess_is_caught_on_it_and_ends_all_of_it() -> None:
    run = run_of(model(subprocess() + boundary("C", "U") + task("Z"), "S > U; U > E; C > Z; Z > E"))
    ready = works(run.advance())
    run.fail(ready["A"].id, CRASH)
    steps = run.advance()
    assert cancelled(steps) == ["B"]
    assert set(works(steps)) == {"Z"}
    run.complete(ready["B"].id, {"late": 1})
    run.complete(works(steps)["Z"].id, {"z": 1})
    run.advance()
    assert run.outcome().variables == {"z": 1}


def test_an_error_end_event_is_caught_on_its_subprocess() -> None:
    ending = '<errorEventDefinition errorRef="err_a"/>'
    run = run_of(model(subprocess(ending) + boundary("C", "U", "err_a") + task("Z"), "S > U; U > E; C > Z; Z > E", ERRORS))
    run.complete(works(run.advance())["A"].id)
    steps = run.advance()
    assert (cancelled(steps), set(works(steps))) == (["B"], {"Z"})


def test_an_error_end_event_that_nothing_catches_fails_the_run_with_its_code() -> None:
    run = run_of(
        model(task("A") + '<endEvent id="X"><errorEventDefinition errorRef="err_a"/></endEvent>', "S > A; A > X; A > E: ${ok}", ERRORS),
        {"ok": False},
    )
    run.complete(works(run.advance())["A"].id)
    run.advance()
    outcome = run.outcome()
    assert outcome.error is not None
    assert (outcome.status, outcome.end_event, outcome.error.code, outcome.error.line) == ("failed", "X", "A1", 4)


def test_an_error_crosses_a_call_activity() -> None:
    called = process(
        task("A") + '<endEvent id="x"><errorEventDefinition errorRef="err_b"/></endEvent>', "S > A; A > x; A > E: ${false}", "Q"
    )
    called = called.replace('"S"', '"s"').replace('"E"', '"e"')
    run = run_of(
        document(
            process('<callActivity id="C" calledElement="Q"/>' + boundary("B", "C", "err_b") + task("Z"), "S > C; C > E; B > Z; Z > E"),
            called,
            ERRORS,
        )
    )
    run.complete(works(run.advance())["A"].id)
    assert set(works(run.advance())) == {"Z"}


def test_a_loop_of_failures_and_retries_goes_on() -> None:
    nodes = '<exclusiveGateway id="M"/>' + task("A") + boundary("C", "A")
    run = run_of(model(nodes, "S > M; M > A; A > E; C > M"))
    for _ in range(500):
        run.fail(works(run.advance())["A"].id, CRASH)
    run.complete(works(run.advance())["A"].id)
    run.advance()
    assert run.outcome().status == "completed"
    assert run.outcome().path.count("C") == 500


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ({"x": {1, 2}}, 'variable "x" is of the Python type set'),
        ({"fine": 1, "x": [1, {"y": b"bytes"}]}, 'variable "x"[1].y is of the Python type bytes'),
        ({"x": float("nan")}, 'variable "x" is nan'),
        ({"x": float("-inf")}, 'variable "x" is -inf'),
        ({"x": 2**64}, 'variable "x" is a whole number of 65 bits'),
        ({"x": {1: 2}}, 'variable "x" has the key 1'),
        ({"x": "\ud800"}, 'variable "x" is a text with half a surrogate pair'),
        ({1: 2}, "has the key 1"),
        ([1], "a value of the type list, and variables are a map of names"),
        ("text", "a value of the type str"),
    ],
)
def test_a_result_that_is_no_variable_fails_the_task_and_names_both(outputs: Any, reason: str) -> None:
    run = run_of(model(task("A"), "S > A; A > E"), {"before": 1})
    run.complete(works(run.advance())["A"].id, outputs)
    run.advance()
    outcome = run.outcome()
    assert outcome.error is not None
    assert outcome.status == "failed"
    assert reason in outcome.error.message
    assert outcome.error.message.startswith('service task "A"')
    assert outcome.variables == {"before": 1}


def test_a_value_that_is_too_deep_fails_the_task() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    run = run_of(model(task("A"), "S > A; A > E"))
    run.complete(works(run.advance())["A"].id, {"deep": deep})
    error = run.outcome().error
    assert error is not None
    assert "nested deeper than 64 levels" in error.message


def test_a_bad_result_can_be_caught_too() -> None:
    run = run_of(model(task("A") + boundary("C", "A") + task("Z"), "S > A; A > E; C > Z; Z > E"))
    run.complete(works(run.advance())["A"].id, {"x": {1}})
    assert set(works(run.advance())) == {"Z"}


def test_a_parameter_that_cannot_be_computed_fails_its_task() -> None:
    wrong = '<extensionElements><camunda:inputOutput><camunda:inputParameter name="p">\n${1 / n}</camunda:inputParameter></camunda:inputOutput></extensionElements>'
    source = model(task("A", wrong) + boundary("C", "A") + task("Z"), "S > A; A > E; C > Z; Z > E")
    assert finish(run_of(source, {"n": 1})) == ["A"]
    assert finish(run_of(source, {"n": 0})) == ["Z"]
    uncaught = run_of(model(task("A", wrong), "S > A; A > E"), {"n": 0})
    uncaught.advance()
    error = uncaught.outcome().error
    assert error is not None
    assert (error.type, error.line, error.element) == ("ExpressionError", 5, "A")
    assert 'parameter "p": division by zero, in ${1 / n}' in error.message


def test_an_output_parameter_that_fails_sets_nothing() -> None:
    inner = '<extensionElements><camunda:inputOutput><camunda:outputParameter name="r">${missing}</camunda:outputParameter></camunda:inputOutput></extensionElements>'
    run = run_of(model(task("A", inner), "S > A; A > E"))
    run.complete(works(run.advance())["A"].id, {"half": 1})
    assert run.outcome().variables == {}
    assert run.outcome().error is not None


def test_a_finished_run_stays_as_it_is() -> None:
    run = run_of(model(task("A"), "S > A; A > E"))
    work = works(run.advance())["A"]
    run.fail(work.id, CRASH)
    first = run.outcome()
    assert run.advance(now=1e9) == []
    assert run.next_deadline() is None
    restored = Run.restore(run.definition, run.snapshot())
    assert (restored.is_finished, restored.outcome()) == (True, first)
