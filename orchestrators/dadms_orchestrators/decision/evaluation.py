"""Evaluating a model: from named inputs to the value of a decision, its trace and its errors.

Rule 1: a node is evaluated at most once an evaluation, and only if something asks for it.
Rule 2: an evaluation never raises for what the model or the data did: the value is null and the trace says why. It raises
``DecisionError`` for a request that makes no sense: an unknown decision, an input that is no FEEL value; and ``LimitExceeded`` where a
limit of the engine is reached, since the value that would come of going on without is nobody's decision.
Rule 3: what a node requires is evaluated before it, not inside it, so that a chain of decisions may have any length.
Rule 4: evaluations share nothing that changes, so threads may evaluate one model at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dadms_orchestrators.decision.errors import DecisionError, Place
from dadms_orchestrators.decision.feel import Env, Notes, Source, current
from dadms_orchestrators.decision.feel.calls import call
from dadms_orchestrators.decision.feel.runtime import TOO_DEEP, Exceeded, Null, fail
from dadms_orchestrators.decision.feel.types import ANY, Mismatch, coerce
from dadms_orchestrators.decision.feel.values import Function
from dadms_orchestrators.decision.jsonvalues import from_python, typed
from dadms_orchestrators.decision.model import Model, Node
from dadms_orchestrators.decision.trace import NullNote, Trace

_MISSING: Any = object()


class Evaluation(msgspec.Struct):
    """The outcome of one evaluation."""

    value: Any
    trace: Trace

    @property
    def errors(self) -> list[NullNote]:
        """Return what went wrong: wrong types, tables without an answer, expressions that could not be read."""
        return [NullNote(reason, source.place(offset)) for source, offset, reason in self.trace.notes.failures]


def evaluate(model: Model, decision: str, inputs: Mapping[str, object]) -> Evaluation:
    """Evaluate a decision, decision service or business knowledge model, by id or name; raise ``DecisionError`` as rule 2 says.

    An imported input is found under its own name, under ``import.name``, or in a mapping under the import's name.
    """
    node = model.find(decision)
    if node is None:
        known = ", ".join(f'"{name}"' for name in model.decisions()[:20]) or "none"
        raise DecisionError(f'cannot evaluate "{decision}"', f"the model has the decisions {known}", Place(model.name))
    notes = Notes()
    token = current.set(notes)
    try:
        value = _Run(inputs, model).ask(node)
    except Exceeded as limit:
        raise limit.at(_place(node), 0).refusal(f'cannot evaluate "{decision}"') from None
    except RecursionError:
        raise Exceeded(TOO_DEEP).at(_place(node), 0).refusal(f'cannot evaluate "{decision}"') from None
    finally:
        current.reset(token)
    return Evaluation(value, Trace(notes.tables, notes))


class _Run:
    """One evaluation: its inputs, and the values of the nodes that were needed so far."""

    __slots__ = ("inputs", "model", "values")

    def __init__(self, inputs: Mapping[str, object], model: Model) -> None:
        self.inputs = inputs
        self.model = model
        self.values: dict[int, Any] = {}

    def ask(self, node: Node) -> Any:
        """Return the value of a node for who asked from outside: functions are called with the inputs."""
        if node.kind not in ("knowledge", "service"):
            return self.value(node)
        function = function_value(node)
        if function is None:
            return None
        try:
            return call(function, [from_python(self._given(name)) for name in function.parameters])
        except (Null, Mismatch) as why:
            fail(_place(node), 0, str(why))
            return None

    def value(self, node: Node) -> Any:
        """Return the value of a node as others see it."""
        key = id(node)
        found = self.values.get(key, _MISSING)
        if found is not _MISSING:
            return found
        if node.kind == "decision":
            return self._decide(node)
        found = self._input(node) if node.kind == "input" else function_value(node)
        self.values[key] = found
        return found

    def _decide(self, wanted: Node) -> Any:
        """Evaluate a decision after those that it requires, in the order in which it names them."""
        for requirement in wanted.requires:
            if requirement.node.kind == "decision":
                break
        else:  # the most frequent case by far
            value = self.values[id(wanted)] = self._made(wanted)
            return value
        values, active = self.values, {id(wanted)}
        way = [(wanted, iter(wanted.requires if wanted.logic is not None else ()))]
        while True:
            node, rest = way[-1]
            needed = next((found.node for found in rest if found.node.kind == "decision" and id(found.node) not in values), None)
            if needed is None:
                value = values[id(node)] = self._made(node)
                active.discard(id(node))
                way.pop()
                if not way:
                    return value
            elif id(needed) in active:
                fail(_place(needed), 0, "the decision requires itself")
                values[id(needed)] = None
            else:
                active.add(id(needed))
                way.append((needed, iter(needed.requires if needed.logic is not None else ())))

    def _made(self, node: Node) -> Any:
        """Evaluate a decision whose requirements are evaluated."""
        if node.logic is None:
            fail(_place(node), 0, "the decision has no logic")
            return None
        try:
            return node.logic(self.env(node))
        except Exceeded as limit:
            raise limit.at(_place(node), 0) from None
        except RecursionError:
            raise Exceeded(TOO_DEEP).at(_place(node), 0) from None

    def env(self, node: Node) -> Env:
        """Return the names that a node sees."""
        env: Env = self._everything() if node.model.is_open else {}
        for requirement in node.requires:
            value = self.value(requirement.node)
            if requirement.prefix:
                env.setdefault(requirement.prefix, {})[requirement.name] = value
            else:
                env[requirement.name] = value
                if node.model.is_open:
                    env.update(_by_output(requirement.node, value))
        return env

    def _everything(self) -> Env:
        """Return all inputs by their names, for a model that is open."""
        return {str(name): from_python(value) for name, value in self.inputs.items()}

    def _given(self, name: str) -> Any:
        return self.inputs.get(name)

    def _input(self, node: Node) -> Any:
        raw = self.inputs.get(node.variable, _MISSING)
        if raw is _MISSING:
            raw = self._qualified(node)
        try:
            value = from_python(raw)
        except DecisionError as error:
            raise DecisionError(f'cannot take input "{node.variable}"', error.reason, Place(self.model.name)) from None
        if node.type is None or value is None:
            return value
        try:
            return coerce(typed(value, node.type), node.type)
        except Mismatch as why:
            fail(_place(node), 0, str(why))
            return None

    def _qualified(self, node: Node) -> Any:
        if node.name in self.inputs:
            return self.inputs[node.name]
        for model in self.model.everywhere():
            for prefix, imported in model.imports.items():
                if imported is node.model:
                    if f"{prefix}.{node.variable}" in self.inputs:
                        return self.inputs[f"{prefix}.{node.variable}"]
                    nested = self.inputs.get(prefix)
                    if isinstance(nested, Mapping) and node.variable in nested:
                        return nested[node.variable]
        return None


def _by_output(node: Node, value: Any) -> Env:
    """Return a table's result under the names of its outputs, for a model that is open."""
    table = node.element.child("decisionTable")
    if table is None:
        return {}
    names = [output.get("name") for output in table.all("output")]
    if len(names) == 1:
        return {names[0]: value} if names[0] else {}
    return {name: value[name] for name in names if isinstance(value, dict) and name in value}


def _place(node: Node) -> Source:
    """Return a node as the place of what happens in it."""
    return Source("", node.model.name, node.name, node.element.line)


def function_value(node: Node) -> Function | None:
    """Return a knowledge model or a service as the function that it is, made once."""
    if node.function is None:
        node.function = _service(node) if node.kind == "service" else _knowledge(node)
    function: Function | None = node.function
    return function


def _knowledge(node: Node) -> Function | None:
    if node.logic is None:
        return None
    env: Env = {}
    for requirement in node.requires:
        if requirement.node is not node:
            value = function_value(requirement.node)
            if requirement.prefix:
                env.setdefault(requirement.prefix, {})[requirement.name] = value
            else:
                env[requirement.name] = value
    function: Function | None = node.logic(env)
    if function is None:
        return None
    env[node.variable] = function  # seen by the logic itself, which keeps this dict
    if node.type is not None:
        if node.type.kind != "function":
            function.result = node.type
        elif node.type.parameters is not None and len(node.type.parameters) == len(function.parameters):
            function.result = function.result or node.type.result
    return function


def _service(node: Node) -> Function:
    wanted = node.type.result if node.type is not None and node.type.kind == "function" else node.type

    def run(*values: Any) -> Any:
        inside = _Run({}, node.model)
        inside.values.update({id(parameter): value for parameter, value in zip(node.parameters, values, strict=True)})
        results = {output.variable: inside.value(output) for output in node.outputs}
        return next(iter(results.values())) if len(node.outputs) == 1 else results

    types = [parameter.type or ANY for parameter in node.parameters]
    return Function([parameter.variable for parameter in node.parameters], run, node.name, types, wanted)
