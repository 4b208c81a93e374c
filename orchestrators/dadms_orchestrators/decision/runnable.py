"""A model of either kind behind one door: load it, choose its decision, evaluate it, with everything in a form that travels.

Rule 1: the source tells the kind: JSON with nodes and edges is a JDM model for zen-engine, anything else is DMN.
Rule 2: what comes out is JSON that msgpack carries: a whole number beyond 64 bits is the string of its digits.
Rule 3: a JDM model is one decision without a name; what zen-engine refuses while it runs is an error of the evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from dadms_orchestrators.decision.batch import Outcome, Row, evaluate_rows
from dadms_orchestrators.decision.errors import SHOWN, DecisionError, LimitExceeded, Place
from dadms_orchestrators.decision.evaluation import evaluate
from dadms_orchestrators.decision.feel.runtime import TOO_DEEP
from dadms_orchestrators.decision.jdm import JdmModel, evaluate_jdm, is_jdm, load_jdm
from dadms_orchestrators.decision.jsonvalues import to_json_value
from dadms_orchestrators.decision.model import Model, load_model
from dadms_orchestrators.decision.trace import NullNote, Trace


class Answer(msgspec.Struct, frozen=True):
    """What came of one evaluation, for people and messages."""

    value: Any
    rules: list[dict[str, Any]]  # that matched: decision, rule, because, outputs, annotation
    errors: list[str]
    nulls: list[dict[str, Any]]  # why values on the way were null: reason, model, node, expression, line, column


class DmnModel:
    """A DMN model."""

    def __init__(self, source: bytes, name: str, siblings: Mapping[str, bytes]) -> None:
        """Read and compile it; raise ``DecisionError``. An imported model is found in ``siblings`` by its file name, with or without a directory."""
        by_name = {other.rpartition("/")[2]: content for other, content in siblings.items()}
        self.model = load_model(source, name=name, resolve=lambda where: by_name[where.rpartition("/")[2]])

    def choose(self, decision: str | None) -> str:
        """Return the decision that is meant; raise ``DecisionError`` where that is not clear."""
        return decision or top_decision(self.model)

    def types(self) -> dict[str, str]:
        """Return the inputs with the names of their types."""
        return self.model.inputs()

    def answer(self, decision: str, inputs: Mapping[str, Any]) -> Answer:
        """Evaluate a decision; raise ``DecisionError`` for a request that makes no sense."""
        result = evaluate(self.model, decision, inputs)
        rules = [carried(row) for row in _rows_of(result.trace)]
        return Answer(
            carried(result.value), rules, [str(error) for error in result.errors], [_as_row(note) for note in result.trace.nulls()]
        )

    def outcomes(self, decision: str, rows: Iterable[Row]) -> Iterator[Outcome]:
        """Evaluate a decision for each row."""
        return evaluate_rows(self.model, decision, rows)


class JdmDecision:
    """A JDM model."""

    def __init__(self, source: bytes, name: str) -> None:
        """Compile it; raise ``DecisionError``, also where zen-engine is not installed."""
        self.model: JdmModel = load_jdm(source, name=name)
        self.name = name.rpartition("/")[2].partition(".")[0]

    def choose(self, decision: str | None) -> str:
        """Return the name of its one decision, which is the model's."""
        if decision in (None, "", self.name):
            return self.name
        reason = f'a JDM model is one decision, "{self.name}", and has no others'
        raise DecisionError(f'cannot evaluate "{decision}"', reason, Place(self.model.name))

    def types(self) -> dict[str, str]:
        """Return nothing: a JDM model does not declare its inputs."""
        return {}

    def answer(self, decision: str, inputs: Mapping[str, Any]) -> Answer:  # noqa: ARG002 - there is only one
        """Evaluate it; what zen-engine refuses is an error of the answer."""
        try:
            result = evaluate_jdm(self.model, inputs)
        except DecisionError as error:
            return Answer(None, [], [str(error)], [])
        return Answer(carried(result.value), [carried(row) for row in jdm_rows(result.trace)], [], [])

    def outcomes(self, decision: str, rows: Iterable[Row]) -> Iterator[Outcome]:  # noqa: ARG002 - there is only one
        """Evaluate it for each row."""
        for number, row in enumerate(rows, start=1):
            if isinstance(row, DecisionError):
                yield Outcome(number, {}, None, (str(row),))
                continue
            try:
                result = evaluate_jdm(self.model, row)
            except DecisionError as error:
                yield Outcome(number, row, None, (str(error),))
                continue
            yield Outcome(number, row, result.value, (), tuple(f"{hit['decision']}: {hit['rule']}" for hit in jdm_rows(result.trace)))


Runnable = DmnModel | JdmDecision


def _rows_of(trace: Trace) -> list[dict[str, Any]]:
    """Return the rules that matched; raise ``LimitExceeded`` where a value that one looked at is too deep to be shown."""
    try:
        return trace.rows()
    except RecursionError:
        raise LimitExceeded("cannot show the rules", f"a value that they look at: {TOO_DEEP}") from None


def load_runnable(source: bytes, name: str, siblings: Mapping[str, bytes]) -> Runnable:
    """Read a model of either kind; raise ``DecisionError``."""
    return JdmDecision(source, name) if is_jdm(source) else DmnModel(source, name, siblings)


def top_decision(model: Model) -> str:
    """Return the decision that no other decision requires; raise ``DecisionError`` when there is not exactly one."""
    tops = top_decisions(model)
    if len(tops) == 1:
        return tops[0]
    raise DecisionError(
        f'cannot choose a decision of "{model.name}"',
        f"name one of {', '.join(tops)}" if tops else "it has no decision that nothing requires",
    )


def top_decisions(model: Model) -> list[str]:
    """Return the decisions that no other decision requires."""
    decisions = [node for node in model.nodes.values() if node.kind == "decision"]
    required = {id(requirement.node) for node in decisions for requirement in node.requires}
    return [node.name for node in decisions if id(node) not in required]


def jdm_rows(trace: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each rule that matched in zen-engine's trace, in the form of DMN's."""
    rows = []
    for node in sorted(trace.values(), key=lambda node: node.get("order", 0)):
        data = node.get("traceData")
        for hit in data if isinstance(data, list) else [data]:
            if not isinstance(hit, Mapping) or not isinstance(hit.get("rule"), Mapping):
                continue  # an expression or a function: it has no rules
            values = hit.get("reference_map") or {}
            tests = {key.partition("[")[0]: text for key, text in hit["rule"].items() if not key.startswith("_")}
            rows.append(
                {
                    "decision": str(node.get("name", "")),
                    "rule": int(hit.get("index", 0)) + 1,
                    "because": {name: f"{values.get(name)} matches {test or '-'}" for name, test in tests.items()},
                    "outputs": node["output"] if isinstance(node.get("output"), Mapping) else {},
                    "annotation": str(hit["rule"].get("_description") or ""),
                }
            )
    return rows


def carried(value: Any) -> Any:
    """Return the JSON of a FEEL value as msgpack carries it."""
    return _narrow(to_json_value(value))


def _narrow(value: Any) -> Any:
    match value:
        case bool():
            return value
        case int() if not -(2**63) <= value < 2**64:
            return str(value)
        case list():
            return [_narrow(item) for item in value]
        case dict():
            return {key: _narrow(item) for key, item in value.items()}
    return value


def _as_row(note: NullNote) -> dict[str, Any]:
    place = note.place
    expression = " ".join(place.expression.split())
    return {
        "reason": note.reason,
        "model": place.model,
        "node": place.node,
        "expression": expression if len(expression) <= SHOWN else expression[: SHOWN - 1] + "…",
        "line": place.line,
        "column": place.column,
    }
