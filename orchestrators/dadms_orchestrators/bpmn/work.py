"""What is out: the record of an open task, and the step that describes it."""

from __future__ import annotations

import textwrap
from functools import partial
from typing import TYPE_CHECKING, Any

from dadms_orchestrators.bpmn.mapping import Unfit, field_value
from dadms_orchestrators.bpmn.model import FormField, Node
from dadms_orchestrators.bpmn.steps import Field, UserTask, Work
from dadms_orchestrators.bpmn.tokens import Token
from dadms_orchestrators.bpmn.variables import Scope

if TYPE_CHECKING:
    from dadms_orchestrators.bpmn.run import Run


class Open:
    """Work or a user task that is out; `scope` holds its input parameters, `seen` the variables as they were when it began: given again, it is the same."""

    __slots__ = ("connector", "id", "kind", "scope", "seen", "token")

    def __init__(
        self,
        identifier: str,
        kind: str,
        token: Token,
        scope: Scope,
        *,
        seen: dict[str, Any] | None = None,
        connector: dict[str, Any] | None = None,
    ) -> None:
        self.id = identifier
        self.kind = kind  # "work" or "user task"
        self.token = token
        self.scope = scope
        self.seen = scope.all() if seen is None else seen
        self.connector = connector


def work_of(opened: Open, run: Run) -> Work:
    """The step of a task; raises Failure when a parameter of its connector has no value."""
    spec = opened.token.task_spec
    node: Node = spec.node
    implementation = node.implementation
    assert implementation is not None
    if node.connector is not None and opened.connector is None:
        assumed: list[str] = []
        evaluator = run.evaluator(opened.scope, opened.token, assumed=assumed)
        inputs = {parameter.name: evaluator.parameter(parameter) for parameter in node.connector.inputs}
        opened.connector = {"id": node.connector.id, "inputs": inputs}
        run.tell_assumed(node, assumed)
    script = implementation.script
    return Work(
        id=opened.id,
        kind=implementation.kind,
        element=node.id,
        name=node.name,
        topic=implementation.topic,
        properties=node.properties,
        documentation=node.documentation,
        variables=opened.seen,
        inputs=dict(opened.scope.values),
        script=textwrap.dedent(script.source) if script is not None else "",
        script_format="python" if script is not None else "",
        decision=implementation.decision,
        connector=opened.connector,
        result_variable=node.result_variable,
        file=spec.process.file,
        line=node.line,
        process=spec.process.scope.id,
    )


def _fitting(field: FormField, value: Any) -> Any:
    """A default that its own field would take, or None: a form never offers what it refuses."""
    try:
        return field_value(field, value)
    except Unfit:
        return None


def user_task_of(opened: Open, run: Run) -> UserTask:
    """The step of a user task."""
    spec = opened.token.task_spec
    node: Node = spec.node
    scope = Scope(opened.seen)
    evaluator = run.evaluator(scope, opened.token, assumed=[])
    fields: list[Field] = []
    for field in node.fields:
        candidates = [scope.get(field.name)]
        if field.default is not None:
            candidates.append(evaluator.text(f'default of field "{field.name}"', field.default))
        default = next((value for value in map(partial(_fitting, field), candidates) if value is not None), None)
        fields.append(Field(field.name, field.label, field.type, default, field.required, field.readonly, field.choices))
    return UserTask(
        id=opened.id,
        element=node.id,
        name=node.name,
        documentation=node.documentation,
        fields=tuple(fields),
        assignee=str(evaluator.text("its assignee", node.assignee) or "") if node.assignee is not None else "",
        groups=node.groups,
        undefined=tuple(name for name in run.definition.checked.condition_variables if name not in scope and name != "execution"),
        variables=opened.seen,
        file=spec.process.file,
        line=node.line,
    )
