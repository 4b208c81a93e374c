"""Multi-criteria scoring: which candidate serves best, how far ahead it is, and whether that depends on the weights.

Two methods that fail differently: the weighted sum of values scaled to 0..1 (a candidate can make up for a weakness), and TOPSIS (closeness to the best and
distance from the worst that the field has). A candidate's score is the mean of both. All random numbers come from one seeded generator.
"""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

CRITERIA = {  # name: column of the table, whether more is better
    "sensor": ("sensor_score", True),
    "endurance": ("endurance_h", True),
    "range": ("range_km", True),
    "payload": ("payload_kg", True),
    "wind": ("wind_limit_ms", True),
    "deploy": ("deploy_min", False),
    "crew": ("crew", False),
    "cost": ("expected_cost_usd", False),
}
DATA_SPREAD = 0.06  # relative standard deviation of a figure in the table: makers measure on a fine day
WEIGHT_SPREAD = 0.4  # standard deviation of the logarithm of a weight: two thirds of all opinions are within a factor of 1.5
DATA_DRAWS = 6000
WEIGHT_DRAWS = 10_000

Matrix = list[list[float]]  # a row for each candidate, a column for each criterion


def read_weights(text: str) -> dict[str, float]:
    """Read ``sensor=5, cost=4``; what is not named weighs nothing. Raises ValueError with what is wrong."""
    weights = dict.fromkeys(CRITERIA, 0.0)
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if name not in weights or not equals:
            raise ValueError(f'cannot read the weight "{part}": write NAME=NUMBER with one of {", ".join(CRITERIA)}')
        try:
            weights[name] = float(number)
        except ValueError:
            raise ValueError(f'cannot read the weight "{part}": "{number}" is not a number') from None
        if not 0.0 <= weights[name] < math.inf:
            raise ValueError(f'cannot use the weight "{part}": it is below zero or not finite')
    total = sum(weights.values())
    if total == 0.0:
        raise ValueError("cannot use the weights: all of them are zero")
    return {name: weight / total for name, weight in weights.items()}


def matrix_of(rows: Sequence[Mapping[str, Any]]) -> Matrix:
    """Give the figures that count, a row for each candidate."""
    return [[float(row[column]) for column, _ in CRITERIA.values()] for row in rows]


def _better_is_more() -> list[bool]:
    return [more for _, more in CRITERIA.values()]


def weighted_sum(matrix: Matrix, weights: Sequence[float]) -> list[float]:
    """Give each candidate's weighted sum, 0..1. Where all are alike, nobody loses."""
    columns = []
    for column, more, weight in zip(zip(*matrix, strict=True), _better_is_more(), weights, strict=True):
        low, high = min(column), max(column)
        span = high - low
        if span == 0.0:
            columns.append([weight] * len(column))
        elif more:
            columns.append([weight * (value - low) / span for value in column])
        else:
            columns.append([weight * (high - value) / span for value in column])
    return [sum(values) for values in zip(*columns, strict=True)]


def topsis(matrix: Matrix, weights: Sequence[float]) -> list[float]:
    """Give each candidate's closeness to the ideal, 0..1."""
    columns, best, worst = [], [], []
    for column, more, weight in zip(zip(*matrix, strict=True), _better_is_more(), weights, strict=True):
        length = math.sqrt(sum(value * value for value in column)) or 1.0
        scaled = [weight * value / length for value in column]
        columns.append(scaled)
        best.append(max(scaled) if more else min(scaled))
        worst.append(min(scaled) if more else max(scaled))
    closeness = []
    for row in zip(*columns, strict=True):
        from_best, from_worst = math.dist(row, best), math.dist(row, worst)
        total = from_best + from_worst
        closeness.append(from_worst / total if total else 1.0)
    return closeness


def combined(matrix: Matrix, weights: Sequence[float]) -> list[float]:
    """Give the mean of both methods, 0..1."""
    return [(one + other) / 2.0 for one, other in zip(weighted_sum(matrix, weights), topsis(matrix, weights), strict=True)]


def score(
    names: Sequence[str], matrix: Matrix, weights: Sequence[float], rng: random.Random, draws: int = DATA_DRAWS
) -> dict[str, dict[str, float]]:
    """Score every candidate, with the interval that holds 80 % of its scores when the table's figures are uncertain."""
    sums, closeness, middle = weighted_sum(matrix, weights), topsis(matrix, weights), combined(matrix, weights)
    drawn: list[list[float]] = [[] for _ in names]
    for _ in range(draws):
        shaken = [[value * max(0.0, rng.gauss(1.0, DATA_SPREAD)) for value in row] for row in matrix]
        for scores, value in zip(drawn, combined(shaken, weights), strict=True):
            scores.append(value)
    answer = {}
    for index, name in enumerate(names):
        scores = sorted(drawn[index])
        low, high = (scores[draws // 10], scores[(draws * 9) // 10]) if scores else (middle[index], middle[index])
        answer[name] = {
            "weighted_sum": round(sums[index], 4),
            "topsis": round(closeness[index], 4),
            "score": round(middle[index], 4),
            "low": round(low, 4),
            "high": round(high, 4),
        }
    return answer


def sensitivity(
    names: Sequence[str], matrix: Matrix, weights: Sequence[float], rng: random.Random, draws: int = WEIGHT_DRAWS
) -> dict[str, Any]:
    """Shake the weights: how often each candidate comes first, how often one is ahead of another, and how often the winner changes."""
    winner = max(range(len(names)), key=combined(matrix, weights).__getitem__)
    first = [0] * len(names)
    ahead = [[0] * len(names) for _ in names]
    for _ in range(draws):
        shaken = [weight * math.exp(rng.gauss(0.0, WEIGHT_SPREAD)) for weight in weights]
        total = sum(shaken)
        scores = combined(matrix, [weight / total for weight in shaken])
        first[max(range(len(names)), key=scores.__getitem__)] += 1
        for one, mine in enumerate(scores):
            row = ahead[one]
            for other, theirs in enumerate(scores):
                row[other] += mine > theirs
    return {
        "draws": draws,
        "reversals": round(1.0 - first[winner] / draws, 4),
        "first": {name: round(first[index] / draws, 4) for index, name in enumerate(names)},
        "ahead": {
            name: {other: round(ahead[one][two] / draws, 4) for two, other in enumerate(names) if two != one}
            for one, name in enumerate(names)
        },
    }
