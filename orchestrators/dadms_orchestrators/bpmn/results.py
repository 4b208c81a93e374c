"""From what a task gave to the variables of its process.

Rule: everything is computed and checked first; then it is set. A result that cannot be variables fails the task, and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dadms_orchestrators.bpmn.expressions import Failure
from dadms_orchestrators.bpmn.mapping import Unfit, decision_variables
from dadms_orchestrators.bpmn.model import Implementation, Node, Text
from dadms_orchestrators.bpmn.rules import kind_of
from dadms_orchestrators.bpmn.steps import TaskError
from dadms_orchestrators.bpmn.variables import NotJson, Scope, json_copy

if TYPE_CHECKING:
    from dadms_orchestrators.bpmn.run import Run
    from dadms_orchestrators.bpmn.work import Open


class Unset:
    """No result was given, which is not the same as null."""


UNSET = Unset()


def apply(run: Run, opened: Open, outputs: Any, result: Any) -> None:
    """Set the variables that a result makes; raises Failure."""
    spec = opened.token.task_spec
    node: Node = spec.node
    implementation = node.implementation
    assert implementation is not None
    try:
        found = _variables(node, implementation, outputs, result)
    except NotJson as error:
        raise Failure(TaskError("NotJson", f"{kind_of(node)} {node}: {_which(outputs, str(error))}"), node, spec.process) from None
    except Unfit as error:
        raise Failure(TaskError("BadResult", f"{kind_of(node)} {node}: {error}"), node, spec.process) from None
    if node.connector is not None:
        found = _connected(run, opened, found, own=implementation.kind == "http")
    settle(run, opened, found)


def settle(run: Run, opened: Open, found: dict[str, Any]) -> None:
    """Set variables, and the output parameters that are computed from them; raises Failure, and then set nothing."""
    seen = Scope(dict(found), opened.scope)
    computed: dict[str, Any] = {}
    for parameter in opened.token.task_spec.node.outputs:
        computed[parameter.name] = run.evaluator(seen, opened.token).parameter(parameter)
        seen.values.setdefault(parameter.name, computed[parameter.name])
    for name, value in found.items():
        opened.scope.set(name, value)
    for name, value in computed.items():
        opened.token.workflow.scope.set(name, value)


def _variables(node: Node, implementation: Implementation, outputs: Any, result: Any) -> dict[str, Any]:
    given = json_copy(outputs, "what it gave", -1 if isinstance(outputs, dict) else 0)
    if implementation.kind == "decision":
        return decision_variables(implementation.decision, implementation.map_result, node.result_variable, given)
    if given is not None and not isinstance(given, dict):
        raise Unfit(f"it gave a value of the type {type(outputs).__name__}, and variables are a map of names")
    found: dict[str, Any] = given or {}
    if not node.result_variable:
        return found
    if result is UNSET:
        return {node.result_variable: found}
    return {**found, node.result_variable: json_copy(result, f'its result "{node.result_variable}"')}


def _which(outputs: Any, reason: str) -> str:
    """The reason, with the variable in which it lies."""
    for name, value in outputs.items() if isinstance(outputs, dict) else ():
        try:
            json_copy(value, f'variable "{name}"')
        except NotJson as error:
            return str(error)
    return reason


def _connected(run: Run, opened: Open, outputs: dict[str, Any], *, own: bool) -> dict[str, Any]:
    """The variables that the outputs of a connector make. `own`: nothing else leaves it. The handler of an external task may give no `response`, and has then answered itself."""
    node: Node = opened.token.task_spec.node
    assert node.connector is not None
    if not own and not isinstance(outputs.get("response"), dict):
        return outputs
    found = {} if own else dict(outputs)
    scope = Scope(dict(outputs), opened.scope)
    for parameter in node.connector.outputs:
        if isinstance(parameter.value, Text):
            found[parameter.name] = run.evaluator(scope, opened.token).parameter(parameter)
    return found
