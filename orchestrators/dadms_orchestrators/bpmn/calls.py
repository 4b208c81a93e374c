"""Entering and leaving sub-processes and called processes: which variables go in, and which come out.

Rule 1: an embedded sub-process sees the variables around it; its input parameters are its own.
Rule 2: a called process has variables of its own. With camunda:in and camunda:out exactly those go in and out; without any of both, all go in and all come out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dadms_orchestrators.bpmn.expressions import Failure
from dadms_orchestrators.bpmn.model import Mapping, Node
from dadms_orchestrators.bpmn.results import settle
from dadms_orchestrators.bpmn.rules import kind_of
from dadms_orchestrators.bpmn.steps import TaskError
from dadms_orchestrators.bpmn.tokens import SubInstance, Token
from dadms_orchestrators.bpmn.variables import Scope
from dadms_orchestrators.bpmn.work import Open

if TYPE_CHECKING:
    from dadms_orchestrators.bpmn.run import Run

MAX_CALL_DEPTH = 50  # processes within processes; beyond that they call themselves


def enter(run: Run, instance: SubInstance) -> None:
    """Give a sub-instance its variables; raises Failure."""
    owner = instance.owner
    spec = owner.task_spec
    node: Node = spec.node
    named = f"{kind_of(node)} {node}"
    if node.call is not None and instance.depth > MAX_CALL_DEPTH:
        raise Failure(TaskError("CallDepth", f"{named} is called from itself, {MAX_CALL_DEPTH} levels deep"), node, spec.process)
    local = run.local_scope(owner)
    if node.call is None:
        instance.scope = local
        run.note("entered", node.id, f"{named} entered")
        return
    instance.local = local
    instance.scope = Scope(local.all() if not node.call.ins and not node.call.outs else {})
    for mapping in node.call.ins:
        if mapping.everything:
            instance.scope.values.update(local.all())
        elif mapping.target:
            instance.scope.values[mapping.target] = _mapped(run, owner, mapping, local, "camunda:in")
    run.note("called", node.id, f'{named} calls process "{node.call.element}"', process=node.call.element)


def leave(run: Run, token: Token) -> None:
    """Take the variables of a sub-instance that came to its end; raises Failure."""
    node: Node = token.task_spec.node
    named = f"{kind_of(node)} {node}"
    instance: SubInstance = token.workflow.top_workflow.subprocesses.pop(token.id)
    if node.call is None:
        settle(run, Open("", "work", token, instance.scope, seen={}), {})
        run.note("left", node.id, f"{named} left")
        return
    local = instance.local
    assert local is not None
    found: dict[str, Any] = {}
    if not node.call.ins and not node.call.outs:
        found.update(instance.scope.values)
    for mapping in node.call.outs:
        if mapping.everything:
            found.update(instance.scope.values)
        elif mapping.target:
            found[mapping.target] = _mapped(run, token, mapping, instance.scope, "camunda:out")
    settle(run, Open("", "work", token, local, seen={}), found)
    run.note("returned", node.id, f'{named} returned from process "{node.call.element}"', process=node.call.element)


def _mapped(run: Run, token: Token, mapping: Mapping, scope: Scope, owner: str) -> Any:
    if mapping.expression is not None:
        return run.evaluator(scope, token).text(owner, mapping.expression)
    return scope.get(mapping.source or "")  # a variable that is not there goes over as null, as in Camunda
