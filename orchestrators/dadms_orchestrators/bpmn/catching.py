"""Which error boundary event catches a failure.

Rule 1: the innermost that fits: first the events on the task itself, then those on the sub-processes and call activities around it.
Rule 2: on one task, an event with the code goes before one without, which catches every error. A failure that no handler raised on purpose has no code; its type stands for it.
Rule 3: an event on another task catches nothing, also when both wait in the same process. (SpiffWorkflow would ask every event that waits.)
"""

from __future__ import annotations

from SpiffWorkflow.util.task import TaskState

from dadms_orchestrators.bpmn.specs import Attach, Boundary
from dadms_orchestrators.bpmn.steps import TaskError
from dadms_orchestrators.bpmn.tokens import SubInstance, Token


def catching_event(token: Token, error: TaskError) -> Token | None:
    """The waiting token of the event that catches the failure of another; None when nothing does."""
    current: Token | None = token
    while current is not None:
        events = _waiting_error_events(current)
        for wanted in (error.code if error.code is not None else error.type, None):
            for event in events:
                if event.task_spec.node.event.code == wanted:
                    return event
        current = current.workflow.owner if isinstance(current.workflow, SubInstance) else None
    return None


def _waiting_error_events(token: Token) -> list[Token]:
    """The error events that wait on the boundary of a token's own task."""
    attach = token.parent
    if attach is None or not isinstance(attach.task_spec, Attach) or isinstance(token.task_spec, Boundary):
        return []
    waiting = [sibling for sibling in attach.children if isinstance(sibling.task_spec, Boundary) and sibling._state == TaskState.WAITING]
    return [sibling for sibling in waiting if sibling.task_spec.node.event.kind == "error"]
