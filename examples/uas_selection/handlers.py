"""The tasks of the selection: each function is a service task of uas_selection.bpmn, and runs in a worker process of its own.

The computing is in the modules beside this one; here it meets the variables of the process. Everything random starts from the variable ``seed``, one
generator a task, so the same inputs give the same outcome.
"""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uas_candidates
import uas_costs
import uas_scoring

from dadms_orchestrators import BpmnError, Task, handler

HERE = Path(__file__).resolve().parent


def plan_of(variables: Mapping[str, Any]) -> uas_costs.Plan:
    """Give what is asked for; raises ValueError for what makes no sense."""
    plan = uas_costs.Plan(
        budget=float(variables["budget"]),
        fleet_min=int(variables["fleet_min"]),
        fleet_max=int(variables["fleet_max"]),
        flight_hours=float(variables["flight_hours"]),
        years=int(variables["years"]),
        accepted_risk=float(variables["accepted_risk"]) / 100.0,
    )
    if not 1 <= plan.fleet_min <= plan.fleet_max <= 100:
        raise ValueError(f"cannot plan a fleet of {plan.fleet_min} to {plan.fleet_max} aircraft: 1 to 100, the smaller number first")
    if plan.budget <= 0 or plan.flight_hours <= 0 or plan.years <= 0:
        raise ValueError(
            f"cannot plan with a budget of {plan.budget:g} USD and {plan.flight_hours:g} hours a year for {plan.years} years: all must be above zero"
        )
    return plan


@handler("uas.screen")
def screen(task: Task) -> dict[str, Any]:
    """Read the table and leave out what cannot do the job or cannot be paid."""
    plan = plan_of(task.variables)
    weights = uas_scoring.read_weights(task.variables["weights"])
    candidates = uas_candidates.read_candidates(HERE / task.variables["candidates"])
    names = [candidate.system for candidate in candidates]
    if len(set(names)) < len(names):
        raise BpmnError("BAD_TABLE", "cannot compare: two candidates have the same name")
    eligible, rejected = [], []
    for candidate in candidates:
        row = candidate.as_variable()
        reasons = uas_candidates.objections(candidate, plan)
        if reasons:
            rejected.append({"system": candidate.system, "reasons": reasons})
        else:
            eligible.append({**row, "expected_cost_usd": round(uas_costs.expected_cost(row, plan, plan.fleet_min))})
    task.progress(f"{len(eligible)} of {len(candidates)} candidates remain", 1.0)
    return {"eligible": eligible, "eligible_count": len(eligible), "rejected": rejected, "weight_shares": weights}


@handler("uas.score")
def score(task: Task) -> dict[str, Any]:
    """Score every candidate by two methods."""
    rows = task.variables["eligible"]
    weights = list(task.variables["weight_shares"].values())
    rng = random.Random(task.variables["seed"])  # noqa: S311 - a simulation wants a seed, not a secret
    return {"scores": uas_scoring.score([row["system"] for row in rows], uas_scoring.matrix_of(rows), weights, rng)}


@handler("uas.cost_risk")
def cost_risk(task: Task) -> dict[str, Any]:
    """Simulate what each candidate costs, and find the largest fleet that keeps to the accepted risk."""
    plan = plan_of(task.variables)
    rows = task.variables["eligible"]
    risks = {}
    for number, row in enumerate(rows, start=1):
        rng = random.Random(f"{task.variables['seed']} {row['system']}")  # noqa: S311 - the same
        risks[row["system"]] = uas_costs.largest_fleet(uas_costs.simulate(row, plan, rng), plan)
        task.progress(f"{row['system']} simulated", number / len(rows))
    return {"cost_risks": risks}


@handler("uas.sensitivity")
def sensitivity(task: Task) -> dict[str, Any]:
    """Shake the weights and see whose place depends on them."""
    rows = task.variables["eligible"]
    weights = list(task.variables["weight_shares"].values())
    rng = random.Random(task.variables["seed"])  # noqa: S311 - the same
    return {"weight_sensitivity": uas_scoring.sensitivity([row["system"] for row in rows], uas_scoring.matrix_of(rows), weights, rng)}


@handler("uas.select")
def select(task: Task) -> dict[str, Any]:
    """Take the best candidate whose cost is within the accepted risk; where there is none, the best."""
    scores, risks = task.variables["scores"], task.variables["cost_risks"]
    ahead = task.variables["weight_sensitivity"]["ahead"]
    accepted = task.variables["accepted_risk"] / 100.0
    ranking = sorted(scores, key=lambda system: scores[system]["score"], reverse=True)
    payable = [system for system in ranking if risks[system]["p_over_budget"] <= accepted]
    field = payable or ranking
    chosen = field[0]
    rival = field[1] if len(field) > 1 else None
    return {
        "selection": {
            "system": chosen,
            "fleet": risks[chosen]["fleet"],
            "rival": rival,
            "margin": round(scores[chosen]["score"] - scores[rival]["score"], 4) if rival else 1.0,
            "robustness": ahead[chosen][rival] if rival else 1.0,
            "passed_over": ranking[: ranking.index(chosen)],
        },
        "ranking": [_row(place, system, scores[system], risks[system], accepted) for place, system in enumerate(ranking, start=1)],
    }


def _row(place: int, system: str, scores: Mapping[str, float], risk: Mapping[str, float], accepted: float) -> dict[str, Any]:
    over = risk["p_over_budget"]
    verdict = f"{over:.0%} risk of costing more than the budget" + ("" if over <= accepted else f", {accepted:.0%} is accepted")
    return {
        "place": place,
        "system": system,
        "score": scores["score"],
        "score_low": scores["low"],
        "score_high": scores["high"],
        "fleet": risk["fleet"],
        "cost_p50_usd": risk["p50_usd"],
        "cost_p80_usd": risk["p80_usd"],
        "p_over_budget": over,
        "why": f"score {scores['score']:.2f} (weighted sum {scores['weighted_sum']:.2f}, TOPSIS {scores['topsis']:.2f}); {risk['fleet']:.0f} aircraft, {verdict}",
    }


@handler("uas.recommend")
def recommend(task: Task) -> dict[str, Any]:
    """Put the outcome into plain words."""
    selection, verdict = task.variables["selection"], task.variables["verdict"]
    row = next(row for row in task.variables["ranking"] if row["system"] == selection["system"])
    reasons = [f"{selection['system']} {_standing(selection, task.variables['ranking'])}: score {row['score']:.2f} of 1"]
    if selection["rival"]:
        reasons.append(
            f"it is ahead of {selection['rival']} by {selection['margin']:.2f}, and stays ahead in {selection['robustness']:.0%} of the shaken weightings"
        )
    reasons.append(
        f"{selection['fleet']:.0f} aircraft cost {row['cost_p50_usd']:,.0f} USD in the middle case and at most {row['cost_p80_usd']:,.0f} USD in four cases out of five; "
        f"more than the budget of {task.variables['budget']:,.0f} USD in {row['p_over_budget']:.0%}"
    )
    reasons += [
        f"{system} scores higher, but costs more than the budget in {_over(task, system):.0%} of the cases, and {task.variables['accepted_risk']:g}% is accepted"
        for system in selection["passed_over"]
    ]
    return {
        "decision": verdict["verdict"],
        "recommendation": {
            "decision": verdict["verdict"],
            "system": selection["system"],
            "fleet": selection["fleet"],
            "cost_p50_usd": row["cost_p50_usd"],
            "cost_p80_usd": row["cost_p80_usd"],
            "risk_over_budget": row["p_over_budget"],
            "reasons": [verdict["reason"], *reasons],
        },
    }


def _standing(selection: Mapping[str, Any], ranking: list[dict[str, Any]]) -> str:
    if not selection["passed_over"]:
        return f"is the best of {len(ranking)} candidates that can do the job"
    return f"is the best of those whose cost is within the accepted risk, and number {len(selection['passed_over']) + 1} of {len(ranking)} in score"


def _over(task: Task, system: str) -> float:
    return float(task.variables["cost_risks"][system]["p_over_budget"])


@handler("uas.nothing_fits")
def nothing_fits(task: Task) -> dict[str, Any]:
    """Say why no candidate is left."""
    rejected = task.variables["rejected"]
    return {
        "decision": "no-go",
        "recommendation": {
            "decision": "no-go",
            "system": None,
            "fleet": 0,
            "reasons": [f"None of {len(rejected)} candidates does the job within {task.variables['budget']:,.0f} USD"]
            + [f"{one['system']}: {'; '.join(one['reasons'])}" for one in rejected],
        },
    }
