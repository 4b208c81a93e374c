"""The worked example, run whole against a real port: its outcome, its parallel branches, and that its data decide."""

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.example.port_kernel import PortKernel

EXAMPLE = Path(__file__).parents[3] / "examples" / "uas_selection"
INPUTS: dict[str, Any] = json.loads((EXAMPLE / "inputs.json").read_text())


@pytest.fixture
def select(run_model: Callable[..., PortKernel]) -> Callable[..., PortKernel]:
    def run(**changes: Any) -> PortKernel:
        return run_model(EXAMPLE / "uas_selection.bpmn", EXAMPLE / "handlers.py", answers={**INPUTS, **changes}, slots=3)

    return run


def test_example_selects_the_system_that_keeps_to_the_budget(select: Callable[..., PortKernel]) -> None:
    kernel = select()
    variables = kernel.outcome["variables"]
    assert (kernel.status, kernel.outcome["end_event"], variables["decision"]) == ("completed", "selected", "go")
    advice = variables["recommendation"]
    assert (advice["system"], advice["fleet"], advice["decision"]) == ("Tern VTOL-M", 4, "go")
    assert advice["cost_p50_usd"] < advice["cost_p80_usd"] <= INPUTS["budget"]
    ranking = variables["ranking"]
    assert ranking[0]["system"] == "Osprey Tiltwing T2", "the best score is too dear here, and the outcome says so"
    assert any("Osprey Tiltwing T2 scores higher, but" in reason for reason in advice["reasons"])
    assert {one["system"] for one in variables["rejected"]} >= {"Sparrow Scout", "Albatross Long Eye"}


def test_what_the_page_for_scripts_reads_of_the_outcome_is_there(select: Callable[..., PortKernel]) -> None:
    page = (EXAMPLE.parents[1] / "docs" / "how-to" / "run-in-scripts.md").read_text()
    named = set(re.findall(r"\.outcome\.variables\.([\w.]+)", page))
    assert named == {"recommendation", "budget", "recommendation.system"}
    variables = select().outcome["variables"]
    for path in named:
        assert functools.reduce(lambda value, key: value[key], path.split("."), variables) is not None


def test_parallel_branches_overlap_in_different_os_processes(select: Callable[..., PortKernel]) -> None:
    kernel = select()
    labels = {tid: label for tid, (_, _, label) in kernel.journal.threads.items()}
    branch = [
        result
        for result in kernel.journal.results
        if labels[result.tid] in ("Score by two methods", "Simulate life-cycle cost", "Shake the weights")
    ]
    assert len({result.os_pid for result in branch}) == 3
    assert max(result.started_at for result in branch) < min(result.started_at + result.run_seconds for result in branch)


def test_same_inputs_give_the_same_outcome(select: Callable[..., PortKernel]) -> None:
    assert select().outcome["variables"] == select().outcome["variables"]


def test_larger_budget_selects_the_better_system(select: Callable[..., PortKernel]) -> None:
    advice = select(budget=2_600_000).outcome["variables"]["recommendation"]
    assert advice["system"] == "Osprey Tiltwing T2"
    assert advice["cost_p80_usd"] > INPUTS["budget"]


def test_budget_that_buys_nothing_ends_elsewhere_with_reasons(select: Callable[..., PortKernel]) -> None:
    kernel = select(budget=500_000)
    variables = kernel.outcome["variables"]
    assert (kernel.status, kernel.outcome["end_event"], variables["decision"]) == ("completed", "nothing_fits", "no-go")
    headline, *reasons = variables["recommendation"]["reasons"]
    assert headline == "None of 11 candidates does the job within 500,000 USD"
    assert len(reasons) == len(variables["rejected"]) == 11
    assert all("budget is 500,000 USD" in reason or "needed" in reason for reason in reasons)


def test_other_weights_select_another_system(select: Callable[..., PortKernel]) -> None:
    assert select(weights="cost=10, endurance=1").outcome["variables"]["recommendation"]["system"] == "Cormorant SeaGlide"


@pytest.mark.parametrize(
    ("price", "winner", "over_budget"), [("205000,95000,0.05", "Tern VTOL-M", 0.31), ("190000,95000,0.05", "Osprey Tiltwing T2", 0.19)]
)
def test_offer_that_is_low_enough_and_firm_selects_the_better_system(
    select: Callable[..., PortKernel], tmp_path: Path, price: str, winner: str, over_budget: float
) -> None:
    table = tmp_path / "table.csv"
    written = (EXAMPLE / "candidates.csv").read_text()
    assert "tiltwing,205000,95000,0.30," in written
    table.write_text(written.replace("tiltwing,205000,95000,0.30,", f"tiltwing,{price},"))
    variables = select(candidates=str(table)).outcome["variables"]
    assert variables["recommendation"]["system"] == winner
    assert round(variables["cost_risks"]["Osprey Tiltwing T2"]["p_over_budget"], 2) == over_budget


def test_risk_of_overspending_makes_it_a_no_go(select: Callable[..., PortKernel]) -> None:
    """Only the dear system does what is weighed, so the rule table has to say no."""
    kernel = select(accepted_risk=100, weights="sensor=1, range=1", fleet_max=10)
    variables = kernel.outcome["variables"]
    assert variables["recommendation"]["system"] == "Osprey Tiltwing T2"
    assert (variables["decision"], kernel.outcome["end_event"]) == ("no-go", "not_bought")


def test_matched_rule_is_told(select: Callable[..., PortKernel]) -> None:
    notes = [note.text for note in select().notes if note.kind == "bpmn.rule"]
    assert notes == ["Go or no-go: rule 5 matched"]


def test_wrong_weight_fails_the_task_with_its_line(select: Callable[..., PortKernel]) -> None:
    kernel = select(weights="sensor=5, beauty=3")
    assert kernel.status == "failed"
    assert 'cannot read the weight "beauty=3"' in kernel.reason
    assert "uas_selection.bpmn:" in kernel.reason
