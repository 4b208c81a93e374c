"""Every model that DADMS really used runs to its end with one generic handlers module, and what cannot run is refused before a thread starts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.example.port_kernel import PortKernel

ROOT = Path(__file__).parents[3]
MODELS = ROOT / ".." / "shared" / "models"
GENERIC = ROOT / "examples" / "handlers_generic.py"

pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="the models are not beside this checkout")

MUST_RUN = {  # model: where it ends
    "advanced_decision_process": None,
    "enhanced_decision_process_with_mcp": None,
    "dadm_example_step1_A": None,
    "openai_decision_process": None,
    "openai_decision_test_w_ca": None,
    "openai_decision_test_ca": None,
    "simple_mcp_demo_process": "end_event",
    "simple_analysis_test_backup": "EndEvent_Success",
    "service_health_test": "EndEvent_1",
    "service_health_test_backup": "EndEvent_1",
    "basic_openai_test_backup": "EndEvent_1",
    "simple_dadm_analysis": "EndEvent_Success",
    "openai_decision_test": None,
    "simple_adder_process": None,
    "echo_test_process": "EndEvent_1",
    "test_properties_panel": None,
    "test_save_load": None,
}
MUST_BE_REFUSED = ["basic_openai_test", "test_bpmn_2_moderate", "test_bpmn_3_simple", "test_bpmn_1_simple", "example_analysis"]
ANSWERS = {"simple_mcp_demo_process": {"analysis_type": "graph"}}


@pytest.mark.parametrize("name", MUST_RUN)
def test_model_reaches_its_end_with_the_generic_handlers(name: str, run_model: Callable[..., PortKernel]) -> None:
    kernel = run_model(MODELS / f"{name}.bpmn", GENERIC, answers=ANSWERS.get(name, {}))
    assert (kernel.status, kernel.reason, kernel.exit_code) == ("completed", "", 0)
    assert kernel.outcome["end_event"]
    assert MUST_RUN[name] in (None, kernel.outcome["end_event"])
    assert kernel.journal.threads, "no task of the model ran"
    assert set(kernel.starts.values()) == {1}, "a thread was started twice"


@pytest.mark.parametrize("name", MUST_BE_REFUSED)
def test_refused_model_starts_no_thread_and_says_where(name: str, run_model: Callable[..., PortKernel]) -> None:
    kernel = run_model(MODELS / f"{name}.bpmn", GENERIC)
    assert kernel.status == "failed"
    assert f"{name}.bpmn" in kernel.reason
    assert not kernel.journal.threads
    assert not kernel.journal.is_ready


def test_other_answer_takes_the_other_branch(run_model: Callable[..., PortKernel]) -> None:
    labels = {}
    for kind in ("statistical", "graph", "script"):
        kernel = run_model(MODELS / "simple_mcp_demo_process.bpmn", GENERIC, answers={"analysis_type": kind})
        labels[kind] = kernel.journal.threads[1][1]["topic"]
    assert labels == {"statistical": "statistical_analysis", "graph": "graph_analysis", "script": "script_generation"}


def test_unanswered_question_fails_with_the_variables_name(run_model: Callable[..., PortKernel]) -> None:
    kernel = run_model(MODELS / "simple_mcp_demo_process.bpmn", GENERIC)
    assert kernel.status == "failed"
    assert "analysis_type" in kernel.reason
