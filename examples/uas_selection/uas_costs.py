"""What a fleet costs over its life, and how sure that is.

Life-cycle cost = ground station + training + for each aircraft: price, hours flown, and what is lost on the way and bought again. The expected cost uses the
table's figures; the simulation draws each uncertain quantity and gives the distribution. All random numbers come from one seeded generator.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TRAINING_USD = 8000.0  # for one person of a crew
SAMPLES = 30_000  # of the life-cycle cost of a candidate; the standard error of a probability near 0.2 is 0.002


@dataclass(frozen=True)
class Plan:
    """What is asked for."""

    budget: float  # USD over the whole life
    fleet_min: int  # aircraft: fewer cannot hold two sectors day and night
    fleet_max: int
    flight_hours: float  # a year, for each aircraft
    years: int
    accepted_risk: float  # 0..1: of costing more than the budget


@dataclass(frozen=True)
class CostSamples:
    """Draws of a candidate's cost: ``fixed[i] + fleet * each[i]`` USD."""

    fixed: list[float]
    each: list[float]

    def of(self, fleet: int) -> list[float]:
        """Give the sorted draws for a fleet."""
        return sorted(fixed + fleet * each for fixed, each in zip(self.fixed, self.each, strict=True))


def expected_cost(row: Mapping[str, Any], plan: Plan, fleet: int) -> float:
    """Give the cost of a fleet in USD when everything goes as the table says."""
    hours = plan.flight_hours * plan.years
    lost = row["losses_per_1000_h"] * hours / 1000.0
    each = row["unit_cost_usd"] * (1.0 + lost) + row["operating_usd_per_h"] * hours + row["crew"] * TRAINING_USD
    return float(row["ground_station_usd"] + fleet * each)


def simulate(row: Mapping[str, Any], plan: Plan, rng: random.Random, samples: int = SAMPLES) -> CostSamples:
    """Draw the cost of a candidate. Prices rather rise than fall; losses come in clusters."""
    spread = row["price_risk"]
    price, station = row["unit_cost_usd"], row["ground_station_usd"]
    hourly, crew_cost = row["operating_usd_per_h"], row["crew"] * TRAINING_USD
    planned_hours, losses = plan.flight_hours * plan.years, row["losses_per_1000_h"] / 1000.0
    low, high = 1.0 - 0.5 * spread, 1.0 + 2.0 * spread
    triangular, gauss, gamma = rng.triangular, rng.gauss, rng.gammavariate
    fixed: list[float] = []
    each: list[float] = []
    for _ in range(samples):
        factor = triangular(low, high, 1.0)  # one maker asks for both
        hours = planned_hours * max(0.3, gauss(1.0, 0.15))
        lost = losses * hours * gamma(4.0, 0.25)  # mean 1
        fixed.append(station * factor)
        each.append(price * factor * (1.0 + lost) + hourly * triangular(0.85, 1.4, 1.0) * hours + crew_cost)
    return CostSamples(fixed, each)


def risk(samples: CostSamples, fleet: int, budget: float) -> dict[str, float]:
    """Give mean, median and 80 % point of a fleet's cost in USD, and the probability that it is above the budget."""
    draws = samples.of(fleet)
    over = sum(draw > budget for draw in draws)
    return {
        "fleet": fleet,
        "mean_usd": round(sum(draws) / len(draws)),
        "p50_usd": round(draws[len(draws) // 2]),
        "p80_usd": round(draws[(len(draws) * 4) // 5]),
        "p_over_budget": round(over / len(draws), 4),
    }


def largest_fleet(samples: CostSamples, plan: Plan) -> dict[str, float]:
    """Give the risk of the largest fleet that keeps to the accepted risk, or of the smallest fleet when none does."""
    best = risk(samples, plan.fleet_min, plan.budget)
    for fleet in range(plan.fleet_min + 1, plan.fleet_max + 1):
        larger = risk(samples, fleet, plan.budget)
        if larger["p_over_budget"] > plan.accepted_risk:
            break
        best = larger
    return best
