"""Runs the DMN Technology Compatibility Kit: ``python -m dadms_orchestrators.decision.conformance PATH``.

Rule 1: a case is judged by its expected value alone; the engine never sees a case's name or its expectation.
Rule 2: numbers are equal within 1e-8, absolutely, which is how the kit's own runner compares them (it writes cosines with
eight digits); everything else is equal or it is not.
Rule 3: beside the total stands the rate of cases whose expected value is not null, because 43 % of the kit expects null and
an engine that knows nothing passes those.

The last line printed is one JSON object: ``{"dmn_level2": …, "dmn_level3": …, "dmn_total": …, "dmn_nonnull": …, "cases": …}``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

from dadms_orchestrators.decision.errors import DecisionError
from dadms_orchestrators.decision.evaluation import evaluate
from dadms_orchestrators.decision.feel.temporal import Date, DateTime, Time
from dadms_orchestrators.decision.feel.temporaltext import parse_date, parse_date_time, parse_duration, parse_time
from dadms_orchestrators.decision.feel.values import equal, show
from dadms_orchestrators.decision.model import Model, load_model
from dadms_orchestrators.decision.xmltree import Element, parse_xml

TOLERANCE = Decimal("0.00000001")  # what the kit's runner allows between two numbers
BAR = 0.99  # of every rate; below it the run fails
_PARSERS = {
    "date": parse_date,
    "dateTime": parse_date_time,
    "time": parse_time,
    "duration": parse_duration,
}


class Outcome(NamedTuple):
    """One result of one case."""

    level: str  # "2" or "3"
    suite: str
    case: str
    node: str
    expected: Any
    actual: Any
    passed: bool
    why: str


def main(arguments: list[str]) -> int:
    """Run the kit below a folder, print failures and rates; return 0 where every rate reaches the bar."""
    root = Path(arguments[0]) if arguments else Path("..") / "shared" / "conformance" / "dmn-tck"
    if not root.is_dir():
        print(f'cannot run the kit: "{root}" is no folder', file=sys.stderr)  # noqa: T201 - this is a program
        return 2
    outcomes = [outcome for suite in suites(root) for outcome in run_suite(suite)]
    for outcome in outcomes:
        if not outcome.passed:
            wanted, found = show(outcome.expected), show(outcome.actual)
            print(f"FAIL {outcome.suite} {outcome.case} {outcome.node}: {wanted} expected, {found} found {outcome.why}")  # noqa: T201 - this is a program
    rates = summary(outcomes)
    for name, value in rates.items():
        print(f"{name:12} {value if name == 'cases' else format(value, '.4%')}")  # noqa: T201 - this is a program
    print(json.dumps(rates))  # noqa: T201 - this is a program
    return 0 if outcomes and all(rates[name] >= BAR for name in rates if name != "cases") else 1


def suites(root: Path) -> list[Path]:
    """Return the folders that hold cases, in order."""
    return sorted({path.parent for path in root.rglob("*.xml") if "compliance-level-" in str(path)})


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return the rates of some outcomes."""

    def rate(chosen: list[Outcome]) -> float:
        return round(sum(outcome.passed for outcome in chosen) / len(chosen), 6) if chosen else 0.0

    return {
        "dmn_level2": rate([outcome for outcome in outcomes if outcome.level == "2"]),
        "dmn_level3": rate([outcome for outcome in outcomes if outcome.level == "3"]),
        "dmn_total": rate(outcomes),
        "dmn_nonnull": rate([outcome for outcome in outcomes if outcome.expected is not None]),
        "cases": len(outcomes),
    }


def run_suite(folder: Path) -> Iterator[Outcome]:
    """Run every case of a folder."""
    level = folder.parent.name.rpartition("-")[2]
    for path in sorted(folder.glob("*.xml")):
        cases = parse_xml(path.read_bytes(), path.name)
        model = _model(folder / cases.text_of("modelName"))
        for case in cases.all("testCase"):
            inputs = {node.get("name"): value_of(node) for node in case.all("inputNode")}
            for result in case.all("resultNode"):
                expected_element = result.child("expected")
                expected = value_of(expected_element) if expected_element is not None else None
                asked = case.get("invocableName") if case.get("type") in ("decisionService", "bkm") else ""
                actual, why = _actual(model, asked or result.get("name"), inputs)
                passed = not isinstance(model, str) and agree(expected, actual)
                yield Outcome(level, folder.name, case.get("id"), result.get("name"), expected, actual, passed, why)


def _actual(model: Model | str, asked: str, inputs: dict[str, Any]) -> tuple[Any, str]:
    if isinstance(model, str):
        return None, model
    try:
        evaluation = evaluate(model, asked, inputs)
    except DecisionError as error:
        return None, str(error)
    except Exception as error:
        return None, f"CRASH {type(error).__name__}: {error}"
    return evaluation.value, "; ".join(str(found) for found in evaluation.trace.nulls())


def _model(path: Path) -> Model | str:
    def resolve(location: str) -> bytes:
        for candidate in sorted(path.parent.glob("*.dmn")):
            data = candidate.read_bytes()
            if candidate.name == Path(location).name or parse_xml(data, candidate.name).get("namespace") == location:
                return data
        raise KeyError(location)

    try:
        return load_model(path.read_bytes(), name=path.name, resolve=resolve, strict=False)
    except DecisionError as error:
        return f"the model was refused: {error}"


def value_of(element: Element) -> Any:
    """Return the value that an ``inputNode``, ``expected``, ``item`` or ``component`` holds."""
    found = element.child("list", "value", "component")
    if found is None:
        return None
    if found.get("nil") == "true":
        return None
    if found.tag == "list":
        return [value_of(item) for item in found.all("item")]
    if found.tag == "component":
        return {part.get("name"): value_of(part) for part in element.all("component")}
    kind, text = found.get("type").rpartition(":")[2], found.text
    if kind in ("decimal", "double", "integer", "int", "float", "long"):
        try:
            return Decimal(text.strip())
        except InvalidOperation:
            return None
    if kind == "boolean":
        return text.strip() == "true"
    parser = _PARSERS.get(kind)
    return text if parser is None else parser(text.strip())


def agree(expected: Any, actual: Any) -> bool:
    """Say whether a value is the expected one, the way the kit compares."""
    if isinstance(expected, Decimal) and isinstance(actual, Decimal):
        return abs(expected - actual) < TOLERANCE
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(agree(a, b) for a, b in zip(expected, actual, strict=True))
    if isinstance(expected, dict) and isinstance(actual, dict):
        return expected.keys() == actual.keys() and all(agree(value, actual[key]) for key, value in expected.items())
    if isinstance(expected, (Date, Time, DateTime)):
        return type(expected) is type(actual) and equal(expected, actual) is True
    return type(expected) is type(actual) and equal(expected, actual) is True


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
