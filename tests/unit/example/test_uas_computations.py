"""What the example's computations hold to: scores in 0..1, more is better where it should be, and the same seed gives the same numbers."""

import importlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "uas_selection"


@pytest.fixture(scope="module")
def uas() -> Iterator[Any]:
    """The modules of the example, as its handlers see them."""
    sys.path.append(str(EXAMPLE))
    modules = {name: importlib.import_module(f"uas_{name}") for name in ("candidates", "costs", "scoring")}
    yield SimpleNamespace(**modules)
    sys.path.remove(str(EXAMPLE))


@pytest.fixture
def plan(uas: Any) -> Any:
    return uas.costs.Plan(budget=2_000_000, fleet_min=4, fleet_max=10, flight_hours=120, years=3, accepted_risk=0.2)


@pytest.fixture
def rows(uas: Any, plan: Any) -> list[dict[str, Any]]:
    rows = [candidate.as_variable() for candidate in uas.candidates.read_candidates(EXAMPLE / "candidates.csv")]
    return [{**row, "expected_cost_usd": uas.costs.expected_cost(row, plan, 4)} for row in rows]


@pytest.fixture
def weights(uas: Any) -> list[float]:
    return list(uas.scoring.read_weights("sensor=5, endurance=4, wind=4, deploy=4, cost=4, range=3, payload=2, crew=2").values())


@pytest.mark.parametrize("method", ["weighted_sum", "topsis", "combined"])
def test_scores_are_between_0_and_1(uas: Any, rows: list[dict[str, Any]], weights: list[float], method: str) -> None:
    scores = getattr(uas.scoring, method)(uas.scoring.matrix_of(rows), weights)
    assert len(scores) == len(rows)
    assert all(0.0 <= score <= 1.0 for score in scores)
    assert len(set(scores)) > 1


@pytest.mark.parametrize("method", ["weighted_sum", "topsis"])
def test_candidate_that_is_best_in_everything_scores_1(uas: Any, rows: list[dict[str, Any]], weights: list[float], method: str) -> None:
    matrix = uas.scoring.matrix_of(rows)
    ideal = [
        max(column) if more else min(column)
        for column, (_, more) in zip(zip(*matrix, strict=True), uas.scoring.CRITERIA.values(), strict=True)
    ]
    worst = [
        min(column) if more else max(column)
        for column, (_, more) in zip(zip(*matrix, strict=True), uas.scoring.CRITERIA.values(), strict=True)
    ]
    scores = getattr(uas.scoring, method)([*matrix, ideal, worst], weights)
    assert scores[-2] == pytest.approx(1.0)
    assert scores[-1] == pytest.approx(0.0)
    assert max(scores) == scores[-2]


def test_getting_better_never_lowers_the_weighted_sum(uas: Any, rows: list[dict[str, Any]], weights: list[float]) -> None:
    matrix = uas.scoring.matrix_of(rows)
    for row in range(len(matrix)):
        for column, (_, more) in enumerate(uas.scoring.CRITERIA.values()):
            better = [list(values) for values in matrix]
            better[row][column] *= 1.3 if more else 0.7
            assert uas.scoring.weighted_sum(better, weights)[row] >= uas.scoring.weighted_sum(matrix, weights)[row] - 1e-12


def test_where_all_are_alike_nobody_loses(uas: Any, weights: list[float]) -> None:
    alike = [[1.0] * len(weights)] * 3
    assert uas.scoring.combined(alike, weights) == pytest.approx([1.0] * 3)


def test_interval_holds_the_score(uas: Any, rows: list[dict[str, Any]], weights: list[float]) -> None:
    names = [row["system"] for row in rows]
    scores = uas.scoring.score(names, uas.scoring.matrix_of(rows), weights, random.Random(1), draws=400)
    assert all(one["low"] <= one["high"] for one in scores.values())
    assert sum(one["low"] <= one["score"] <= one["high"] for one in scores.values()) >= len(names) - 2


def test_sensitivity_counts_every_draw_once(uas: Any, rows: list[dict[str, Any]], weights: list[float]) -> None:
    names = [row["system"] for row in rows]
    found = uas.scoring.sensitivity(names, uas.scoring.matrix_of(rows), weights, random.Random(1), draws=500)
    assert sum(found["first"].values()) == pytest.approx(1.0, abs=0.001)
    assert found["reversals"] == pytest.approx(1.0 - max(found["first"].values()), abs=0.001)
    assert found["ahead"][names[0]][names[1]] + found["ahead"][names[1]][names[0]] == pytest.approx(1.0, abs=0.001)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("beauty=1", "beauty"),
        ("cost", "NAME=NUMBER"),
        ("cost=much", "not a number"),
        ("cost=-1", "below zero"),
        ("cost=inf", "not finite"),
        ("cost=nan", "not finite"),
        ("cost=0", "all of them are zero"),
    ],
)
def test_weights_that_cannot_be_read_are_named(uas: Any, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        uas.scoring.read_weights(text)


def test_weights_add_up_to_1(uas: Any) -> None:
    weights = uas.scoring.read_weights("cost=3, sensor=1")
    assert (weights["cost"], weights["sensor"], sum(weights.values())) == (0.75, 0.25, 1.0)


def test_simulated_cost_is_around_the_expected_one_and_rather_above(uas: Any, plan: Any, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        found = uas.costs.risk(uas.costs.simulate(row, plan, random.Random(1), 4000), 4, plan.budget)
        assert 1.0 < found["mean_usd"] / row["expected_cost_usd"] < 1.35
        assert found["p50_usd"] < found["p80_usd"]


def test_same_seed_gives_the_same_draws_and_another_does_not(uas: Any, plan: Any, rows: list[dict[str, Any]]) -> None:
    draws = [uas.costs.simulate(rows[0], plan, random.Random(seed), 50).each for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_risk_falls_as_the_budget_rises_and_the_fleet_grows_with_it(uas: Any, plan: Any, rows: list[dict[str, Any]]) -> None:
    samples = uas.costs.simulate(rows[0], plan, random.Random(1), 4000)
    risks = [uas.costs.risk(samples, 6, budget)["p_over_budget"] for budget in range(1_000_000, 3_000_000, 100_000)]
    assert risks == sorted(risks, reverse=True)
    assert (risks[0], risks[-1]) == (1.0, 0.0)
    fleets = [
        uas.costs.largest_fleet(samples, uas.costs.Plan(budget, 4, 10, 120, 3, 0.2))["fleet"]
        for budget in (1_300_000, 2_000_000, 2_600_000)
    ]
    assert fleets == sorted(set(fleets))


def test_largest_fleet_keeps_to_the_accepted_risk_and_one_more_does_not(uas: Any, plan: Any, rows: list[dict[str, Any]]) -> None:
    samples = uas.costs.simulate(rows[0], plan, random.Random(1), 4000)
    best = uas.costs.largest_fleet(samples, plan)
    assert 4 < best["fleet"] < 10
    assert best["p_over_budget"] <= plan.accepted_risk < uas.costs.risk(samples, int(best["fleet"]) + 1, plan.budget)["p_over_budget"]


def test_screening_names_every_objection(uas: Any, plan: Any) -> None:
    table = {candidate.system: candidate for candidate in uas.candidates.read_candidates(EXAMPLE / "candidates.csv")}
    assert len(table) >= 8
    assert uas.candidates.objections(table["Tern VTOL-M"], plan) == []
    assert len(uas.candidates.objections(table["Sparrow Scout"], plan)) == 3
    assert "budget is 2,000,000 USD" in uas.candidates.objections(table["Heron Relief 20"], plan)[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("118000", "a lot"), 'line 2: unit_cost_usd is "a lot", not a number'),
        (("118000", "-5"), "line 2: unit_cost_usd is -5, below zero"),
        (("unit_cost_usd", "price"), "the column unit_cost_usd is missing"),
    ],
)
def test_table_that_cannot_be_read_names_line_and_column(uas: Any, tmp_path: Path, change: tuple[str, str], reason: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text((EXAMPLE / "candidates.csv").read_text().replace(*change, 1))
    with pytest.raises(ValueError, match=reason):
        uas.candidates.read_candidates(path)


def test_empty_table_is_refused(uas: Any, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text((EXAMPLE / "candidates.csv").read_text().splitlines()[0] + "\n")
    with pytest.raises(ValueError, match="holds no candidates"):
        uas.candidates.read_candidates(path)
