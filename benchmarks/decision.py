"""Evaluations a second of one decision table, beside zen-engine and beside a function written by hand.

The work, the same for all three: three inputs (a number tested for a range, a string for being in a list, a boolean),
20 rules, every rule evaluated, only the last one matching. Ours is hit policy COLLECT with numbers as Decimal; zen-engine's
is its own "collect" with numbers as it has them (doubles on its side), given the model compiled and the input as a dict; the
function tests Decimals rule by rule and is what nothing in Python can beat.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from dadms_orchestrators.decision import Evaluation, evaluate, load_model

RULES = 20
REPEATS = 5
SECONDS = 0.6  # a repeat
REGIONS = [("north", "south"), ("east", "west"), ("inland", "island")]
INPUTS: dict[str, Any] = {"Amount": Decimal(19_500), "Region": "west", "Member": True}
EXPECTED = "rule 20"


def rule(number: int) -> tuple[int, int, tuple[str, ...], bool]:
    """Return the range, regions and membership that a rule asks for; only rule 20 fits the inputs."""
    if number == RULES:
        return 19_000, 20_000, REGIONS[1], True
    if number % 3 == 0:  # fits the amount and the region, so that the third test decides
        return 0, 20_000, REGIONS[1], False
    if number % 3 == 1:  # fits the amount, so that the second test decides
        return 0, 20_000, REGIONS[number % 2 * 2], True
    return 1_000 * number, 1_000 * (number + 1), REGIONS[1], True


def dmn() -> str:
    """Return the table as a DMN model."""
    rows = []
    for number in range(1, RULES + 1):
        low, high, regions, member = rule(number)
        listed = ",".join(f'"{region}"' for region in regions)
        cells = "".join(
            f"<inputEntry><text>{cell}</text></inputEntry>" for cell in (f"[{low}..{high})", listed, "true" if member else "false")
        )
        rows.append(f'<rule>{cells}<outputEntry><text>"rule {number}"</text></outputEntry></rule>')
    inputs = "".join(f"<input><inputExpression><text>{name}</text></inputExpression></input>" for name in INPUTS)
    data = "".join(f'<inputData id="i{name}" name="{name}"><variable name="{name}"/></inputData>' for name in INPUTS)
    needs = "".join(f'<informationRequirement><requiredInput href="#i{name}"/></informationRequirement>' for name in INPUTS)
    return (
        '<definitions xmlns="https://www.omg.org/spec/DMN/20230324/MODEL/" name="benchmark" namespace="urn:benchmark">'
        f'{data}<decision id="d" name="Rate"><variable name="Rate"/>{needs}'
        f'<decisionTable hitPolicy="COLLECT">{inputs}<output name="rate"/>{"".join(rows)}</decisionTable>'
        "</decision></definitions>"
    )


def jdm() -> dict[str, Any]:
    """Return the same table as a JDM model."""
    fields = [{"id": name, "name": name, "field": name} for name in INPUTS]
    rows = []
    for number in range(1, RULES + 1):
        low, high, regions, member = rule(number)
        listed = ",".join(f'"{region}"' for region in regions)
        rows.append({"_id": str(number), "Amount": f"[{low}..{high})", "Region": listed,
                     "Member": "true" if member else "false", "rate": f'"rule {number}"'})  # fmt: skip
    table = {"hitPolicy": "collect", "inputs": fields, "outputs": [{"id": "rate", "name": "rate", "field": "rate"}], "rules": rows}
    nodes = [
        {"id": "in", "name": "in", "type": "inputNode"},
        {"id": "table", "name": "table", "type": "decisionTableNode", "content": table},
        {"id": "out", "name": "out", "type": "outputNode"},
    ]
    edges = [{"id": "1", "sourceId": "in", "targetId": "table"}, {"id": "2", "sourceId": "table", "targetId": "out"}]
    return {"contentType": "application/vnd.gorules.decision", "nodes": nodes, "edges": edges}


def by_hand() -> Callable[[], list[str]]:
    """Return the table as a programmer would write it."""
    rules = []
    for number in range(1, RULES + 1):
        low, high, regions, member = rule(number)
        rules.append((Decimal(low), Decimal(high), frozenset(regions), member, f"rule {number}"))

    def run() -> list[str]:
        amount, region, member = INPUTS["Amount"], INPUTS["Region"], INPUTS["Member"]
        return [name for low, high, regions, wanted, name in rules if low <= amount < high and region in regions and member is wanted]

    return run


def per_second(run: Callable[[], Any]) -> float:
    """Return the median rate of a call over some repeats."""
    for _ in range(200):
        run()
    rates = []
    for _ in range(REPEATS):
        calls, begin = 0, time.perf_counter()
        while (spent := time.perf_counter() - begin) < SECONDS:
            for _ in range(100):
                run()
            calls += 100
        rates.append(calls / spent)
    return statistics.median(rates)


def zen() -> Callable[[], Any] | None:
    """Return the table in zen-engine, None where that is not installed."""
    try:
        from zen import ZenEngine
    except ImportError:
        return None
    decision = ZenEngine().create_decision(json.dumps(jdm()))
    inputs = {**INPUTS, "Amount": int(INPUTS["Amount"])}
    return lambda: decision.evaluate(inputs)


def main(arguments: list[str]) -> int:
    """Measure and print."""
    model = load_model(dmn(), name="benchmark")

    def ours() -> Evaluation:
        return evaluate(model, "Rate", INPUTS)

    hand, peer = by_hand(), zen()
    assert ours().value == hand() == [EXPECTED]
    figures = {"evaluations_per_second": per_second(ours)}
    python = per_second(hand)
    figures["ratio_vs_python"] = figures["evaluations_per_second"] / python
    peer_rate = None
    if peer is not None:
        assert peer()["result"] == [{"rate": EXPECTED}], peer()["result"]
        peer_rate = per_second(peer)
        figures["ratio_vs_zen"] = figures["evaluations_per_second"] / peer_rate
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "machine": platform.machine()}
    if "--json" in arguments:
        print(json.dumps({"subject": "decision", "machine": machine, "figures": figures}))
        return 0
    print(f"one table, 3 inputs, {RULES} rules, collect; one core, medians of {REPEATS} repeats of {SECONDS} s")
    print(f"{'dadms decision':24} {figures['evaluations_per_second']:12,.0f} /s")
    if peer_rate is None:
        print(f"{'zen-engine':24} skipped: it is not installed (pip install dadms[zen])")
    else:
        print(f"{'zen-engine':24} {peer_rate:12,.0f} /s   we are {figures['ratio_vs_zen']:.2f} times as fast")
    print(f"{'a function by hand':24} {python:12,.0f} /s   we are {figures['ratio_vs_python']:.2f} times as fast")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
