"""The table of candidates, and which of them can be considered at all.

The figures are illustrative: the systems are invented, and so are their data. A row that cannot be read is an error that names its line and column.
"""

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from uas_costs import Plan, expected_cost

MIN_ENDURANCE_H = 2.0  # hours: two sorties must cover a search sector without a gap
MIN_RANGE_KM = 25.0  # kilometres of data link: a command post stays outside the disaster area
MIN_WIND_MS = 10.0  # metres a second: what is usual on the day after a storm


@dataclass(frozen=True)
class Candidate:
    """One system, as the table gives it."""

    system: str
    kind: str
    unit_cost_usd: float
    ground_station_usd: float  # for the whole fleet
    price_risk: float  # relative uncertainty of what the maker asks, 0.1 is ten per cent
    endurance_h: float
    range_km: float
    payload_kg: float
    sensor_score: float  # 0..10, by the evaluation team
    wind_limit_ms: float
    deploy_min: float  # from the vehicle to the air
    crew: float  # people for one aircraft
    operating_usd_per_h: float
    losses_per_1000_h: float

    def as_variable(self) -> dict[str, Any]:
        """Give the row as a process variable."""
        return asdict(self)


def read_candidates(path: Path) -> list[Candidate]:
    """Read the table; raises ValueError that says where it is wrong, OSError when it is not there."""
    columns = [field.name for field in fields(Candidate)]
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [column for column in columns if column not in (reader.fieldnames or [])]
        if missing:
            raise ValueError(f'cannot read "{path.name}": the column {missing[0]} is missing')
        found = [_candidate(row, f'"{path.name}" line {reader.line_num}') for row in reader]
    if not found:
        raise ValueError(f'cannot read "{path.name}": it holds no candidates')
    return found


def _candidate(row: dict[str, str], where: str) -> Candidate:
    values: dict[str, Any] = {}
    for field in fields(Candidate):
        text = (row[field.name] or "").strip()
        if field.type is str:
            values[field.name] = text
            continue
        try:
            values[field.name] = float(text)
        except ValueError:
            raise ValueError(f'cannot read {where}: {field.name} is "{text}", not a number') from None
        if values[field.name] < 0:
            raise ValueError(f"cannot read {where}: {field.name} is {text}, below zero")
    return Candidate(**values)


def objections(candidate: Candidate, plan: Plan) -> list[str]:
    """Say why a candidate is out before anything is weighed; nothing when it is in."""
    found = []
    if candidate.endurance_h < MIN_ENDURANCE_H:
        found.append(f"flies {candidate.endurance_h:g} h, at least {MIN_ENDURANCE_H:g} h are needed")
    if candidate.range_km < MIN_RANGE_KM:
        found.append(f"reaches {candidate.range_km:g} km, at least {MIN_RANGE_KM:g} km are needed")
    if candidate.wind_limit_ms < MIN_WIND_MS:
        found.append(f"flies in wind up to {candidate.wind_limit_ms:g} m/s, at least {MIN_WIND_MS:g} m/s are needed")
    cost = expected_cost(candidate.as_variable(), plan, plan.fleet_min)
    if cost > plan.budget:
        found.append(f"{plan.fleet_min} of them cost {cost:,.0f} USD over {plan.years} years, the budget is {plan.budget:,.0f} USD")
    return found
