"""JDM models (JSON decision models) through zen-engine, an optional extra.

Rule 1: zen-engine is imported when the first JDM model is read, never before: it is not needed for DMN, and it starts
threads of its own, which a zygote must not have.
Rule 2: its numbers are binary; they arrive here as the decimals that their text shows.
Rule 3: what it refuses is a ``DecisionError`` with its reason, like anything else.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from dadms_orchestrators.decision.errors import DecisionError, LimitExceeded, Place
from dadms_orchestrators.decision.jsonvalues import from_python, to_json_value

MAX_BYTES = 8 * 1024 * 1024  # of one file, as of a DMN model


class JdmModel(msgspec.Struct):
    """A JDM model, compiled by zen-engine."""

    name: str
    decision: Any
    nodes: dict[str, str] = {}  # id -> name


class JdmEvaluation(msgspec.Struct):
    """The outcome of a JDM model; ``trace`` is zen-engine's own, node by node."""

    value: Any
    trace: dict[str, Any]


def is_jdm(source: bytes) -> bool:
    """Say whether a text looks like a JDM model: a JSON object with nodes and edges."""
    if source.lstrip()[:1] != b"{":
        return False
    try:
        found = json.loads(source)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "nodes" in found and "edges" in found


def load_jdm(source: bytes | str, *, name: str = "<model>") -> JdmModel:
    """Read and compile a JDM model; raise ``DecisionError`` where zen-engine is not installed or refuses it."""
    what = f'cannot read "{name}"'
    data = source.encode() if isinstance(source, str) else source
    if len(data) > MAX_BYTES:
        raise LimitExceeded(what, f"{len(data)} bytes, at most {MAX_BYTES} are read", Place(name))
    try:
        zen = importlib.import_module("zen")
    except ImportError:
        reason = "JDM models need zen-engine, which is not installed (pip install 'dadms[zen]')"
        raise DecisionError(what, reason, Place(name)) from None
    try:
        found = json.loads(data)  # zen-engine's own refusal of broken JSON names neither line nor column
        return JdmModel(name, zen.ZenEngine().create_decision(data.decode()), _nodes(found))
    except (ValueError, RuntimeError, RecursionError) as error:
        raise DecisionError(what, _reason(error), Place(name)) from None


def evaluate_jdm(model: JdmModel, inputs: Mapping[str, object]) -> JdmEvaluation:
    """Evaluate a JDM model; raise ``DecisionError`` where zen-engine fails, since it has no null for that."""
    given = to_json_value({name: from_python(value) for name, value in inputs.items()})
    try:
        outcome = model.decision.evaluate(given, {"trace": True})
    except (ValueError, RuntimeError) as error:
        reason, node = _failure(error)
        raise DecisionError(f'cannot evaluate "{model.name}"', reason, Place(model.name, model.nodes.get(node, node))) from None
    return JdmEvaluation(from_python(outcome["result"]), outcome.get("trace") or {})


def _nodes(found: Any) -> dict[str, str]:
    """Return the names of a document's nodes by their ids."""
    nodes = found.get("nodes") if isinstance(found, dict) else None
    listed = [node for node in nodes if isinstance(node, dict)] if isinstance(nodes, list) else []
    return {str(node.get("id", "")): str(node.get("name") or node.get("id", "")) for node in listed}


def _failure(error: Exception) -> tuple[str, str]:
    """Return the reason of a failed evaluation and the id of its node; zen-engine says both in a JSON object, mostly."""
    said = _reason(error)
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        return said, ""
    if not isinstance(found, dict):
        return said, ""
    reason = found.get("source") or found.get("message") or found.get("type") or said
    reason = reason if isinstance(reason, str) else json.dumps(reason, ensure_ascii=False)
    return reason[:1].lower() + reason[1:], str(found.get("nodeId") or "")


def _reason(error: Exception) -> str:
    """Return what zen-engine says without the stack of its own that follows."""
    return " ".join(str(error).partition("Stack backtrace")[0].split())
