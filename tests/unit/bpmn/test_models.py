"""The models that were really used: those that must run do so unchanged, those that must be refused are, with file, line and reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dadms_orchestrators.bpmn import ModelRefused, Run, UserTask, Work, check, load, load_siblings
from tests.unit.bpmn.drawing import MIWG, MODELS, findings

pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="the folder shared/models is not beside the checkout")

# Model -> variables that a person would set, end event, tasks done.
MUST_RUN: dict[str, tuple[dict[str, Any], str, int]] = {
    "advanced_decision_process": ({}, "EndEvent_Main", 10),
    "enhanced_decision_process_with_mcp": ({}, "EndEvent_Enhanced", 9),
    "dadm_example_step1_A": ({}, "EndEvent_1", 9),
    "openai_decision_process": ({}, "EndEvent_1", 6),
    "openai_decision_test_w_ca": ({}, "EndEvent_1", 2),
    "openai_decision_test_ca": ({}, "EndEvent_1", 1),
    "simple_mcp_demo_process": ({"analysis_type": "graph"}, "end_event", 3),
    "simple_analysis_test_backup": ({}, "EndEvent_Success", 3),
    "service_health_test": ({}, "EndEvent_1", 3),
    "service_health_test_backup": ({}, "EndEvent_1", 3),
    "basic_openai_test_backup": ({}, "EndEvent_1", 2),
    "simple_dadm_analysis": ({"analysis_status": "success"}, "EndEvent_Success", 2),
    "openai_decision_test": ({}, "EndEvent_1", 1),
    "simple_adder_process": ({}, "EndEvent_1", 2),
    "echo_test_process": ({}, "EndEvent_1", 1),
    "test_properties_panel": ({}, "EndEvent_1", 1),
    "test_save_load": ({}, "EndEvent_1", 1),
}

# Model -> (line, element, part of the reason) of every finding.
MUST_BE_REFUSED: dict[str, list[tuple[int | None, str | None, str]]] = {
    "basic_openai_test": [(None, None, "the file is empty (0 bytes)")],
    "test_bpmn_2_moderate": [
        (1, None, r'this is not XML: not well-formed (invalid token) (column 39); the file holds the two characters "\n"')
    ],
    "test_bpmn_3_simple": [
        (5, "Task_1", "has no implementation"),
        (9, "Task_2", "has no implementation"),
        (14, "Task_3", "has no implementation"),
        (14, "Task_3", 'has no way out: no sequence flow leaves it (it names "Flow_3", which leaves "IT Setup" (Task_2))'),
        (19, "EndEvent_1", "is never reached: no sequence flow leads to it"),
    ],
    "test_bpmn_1_simple": [
        (12, "ExclusiveGateway_1", 'sequence flow "Approval" (SequenceFlow_4) has no condition and is not the default'),
        (14, "ExclusiveGateway_1", 'sequence flow "Rejection" (SequenceFlow_5) has no condition and is not the default'),
    ],
    "example_analysis": [
        (32, "Activity_1u9qaxi", "has no implementation"),
        (49, "Activity_1sxbxlo", "has no implementation"),
        (
            74,
            "Activity_10tvtto",
            'service task "Fetch Sensitivity Analysis Schema" (Activity_10tvtto) is never reached: no sequence flow leads to it',
        ),
        (85, "Activity_1bojmg9", "and its service properties lack service.version"),
    ],
}


def generic(work: Work) -> dict[str, Any]:
    """What a handler can say that knows nothing but the properties: its outputs by name, and that it went well."""
    names = [name.strip() for name in work.properties.get("data.output", "").split(",") if name.strip()]
    said = {name: f"{work.topic} of {sorted(work.variables)}" for name in names or [f"{work.element}_result"]}
    return said if "analysis_status" in work.variables else {**said, "analysis_status": "completed"}


def test_the_tables_name_every_model() -> None:
    assert {path.stem for path in MODELS.glob("*.bpmn")} == {*MUST_RUN, *MUST_BE_REFUSED}


@pytest.mark.parametrize("name", MUST_RUN)
def test_a_model_that_must_run_reaches_its_end(name: str) -> None:
    path = MODELS / f"{name}.bpmn"
    variables, end, count = MUST_RUN[name]
    run = Run(load(check(path.read_bytes(), name=str(path), siblings=load_siblings(path))), variables)
    done = 0
    while True:
        steps = run.advance()
        if run.is_finished:
            break
        for step in steps:
            if isinstance(step, Work):
                run.complete(step.id, generic(step))
                done += 1
            elif isinstance(step, UserTask):
                run.answer(step.id, {name: "graph" for name in step.undefined if name == "analysis_type"})
                done += 1
    outcome = run.outcome()
    assert (outcome.status, outcome.end_event, outcome.error, done) == ("completed", end, None, count)


@pytest.mark.parametrize("name", MUST_BE_REFUSED)
def test_a_model_that_must_be_refused_is_refused_with_its_place(name: str) -> None:
    path = MODELS / f"{name}.bpmn"
    with pytest.raises(ModelRefused) as caught:
        check(path.read_bytes(), name=str(path), siblings=load_siblings(path))
    expected = MUST_BE_REFUSED[name]
    assert [(finding.file, finding.line, finding.element) for finding in caught.value.findings] == [
        (str(path), line, element) for line, element, _ in expected
    ]
    for finding, (_, _, reason) in zip(caught.value.findings, expected, strict=True):
        assert reason in finding.reason


def test_the_error_path_of_a_model_ends_in_its_error_event() -> None:
    run = Run(load((MODELS / "simple_dadm_analysis.bpmn").read_bytes()))
    (first,) = [step for step in run.advance() if isinstance(step, Work)]
    assert first.inputs["execution_type"] == "pipeline"
    assert first.inputs["pipeline_name"] is None  # nobody set it, and a task may take what is not there
    run.complete(first.id, {"analysis_status": "error"})
    (second,) = [step for step in run.advance() if isinstance(step, Work)]
    assert (second.kind, second.topic) == ("class", "com.dadm.ErrorHandler")
    run.complete(second.id, {})
    run.advance()
    error = run.outcome().error
    assert error is not None
    assert (run.outcome().status, run.outcome().end_event, error.code, error.element) == (
        "failed",
        "EndEvent_Error",
        "ANALYSIS_FAILED",
        "EndEvent_Error",
    )


def test_a_retry_loop_goes_back_and_comes_out() -> None:
    run = Run(load((MODELS / "simple_analysis_test_backup.bpmn").read_bytes()))
    tries = 0
    while True:
        steps = run.advance()
        if run.is_finished:
            break
        for step in steps:
            if isinstance(step, Work):
                tries += 1
                run.complete(step.id, {"analysis_status": "completed" if tries == 4 else "failed"})
            elif isinstance(step, UserTask):
                run.answer(step.id, {"retry_analysis": "true"} if step.element == "UserTask_HandleError" else {})
    assert (tries, run.outcome().end_event) == (4, "EndEvent_Success")
    assert run.outcome().variables["data_input"] == "10,20,30,40,50"


def test_a_connector_beside_a_topic_goes_to_the_handler_and_maps_its_response() -> None:
    run = Run(load((MODELS / "service_health_test_backup.bpmn").read_bytes()), instance="4711")
    (health,) = [step for step in run.advance() if isinstance(step, Work)]
    assert health.connector == {
        "id": "",
        "inputs": {"url": "http://analysis-service:8002/health", "method": "GET", "headers": {"Accept": "application/json"}},
    }
    run.complete(health.id, {"response": {"status": "up", "service": "analysis"}})
    (analysis,) = [step for step in run.advance() if isinstance(step, Work)]
    assert analysis.connector is not None
    assert '"workflow_id": "4711"' in analysis.connector["inputs"]["payload"]
    assert run.variables["service_status"] == "up"
    assert run.variables["health_response"] == {"status": "up", "service": "analysis"}


def test_start_fields_have_their_defaults() -> None:
    checked = check((MODELS / "basic_openai_test_backup.bpmn").read_bytes(), name="m.bpmn")
    assert [(field.name, field.required) for field in checked.start_fields] == [("test_question", True)]
    assert [finding.line for finding in checked.warnings] == [36, 60]
    assert Run(load(checked)).variables == {"test_question": "What is artificial intelligence?"}


def test_parallel_subprocesses_are_ready_at_once() -> None:
    run = Run(load((MODELS / "advanced_decision_process.bpmn").read_bytes()))
    (first,) = [step for step in run.advance() if isinstance(step, Work)]
    run.complete(first.id, {})
    assert {step.element for step in run.advance() if isinstance(step, Work)} == {
        "TechnicalFeasibilityTask",
        "CostBenefitTask",
        "RiskIdentificationTask",
    }


@pytest.mark.skipif(not MIWG.is_dir(), reason="the folder shared/conformance/bpmn-miwg is not beside the checkout")
@pytest.mark.parametrize("path", sorted(MIWG.glob("*.bpmn")), ids=lambda path: path.stem)
def test_an_interchange_model_is_taken_or_refused_with_reasons(path: Path) -> None:
    source = path.read_bytes()
    reasons = findings(source, str(path))
    if not reasons:
        load(source, name=str(path))
    assert all(finding.reason and finding.file == str(path) for finding in reasons)
    assert not reasons or any(finding.line is not None for finding in reasons)


def test_a_file_with_several_processes_can_be_told_which_one() -> None:
    path = MIWG / "A.4.0.bpmn"
    if not path.is_file():
        pytest.skip("the folder shared/conformance/bpmn-miwg is not beside the checkout")
    with pytest.raises(ModelRefused, match="2 processes"):
        check(path.read_bytes(), name="A")
    with pytest.raises(ModelRefused) as caught:
        check(path.read_bytes(), name="A", process="nowhere")
    assert 'no process "nowhere"' in caught.value.reason
