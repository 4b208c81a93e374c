"""SpiffWorkflow's task tree without its history: tokens, and the instances of processes that hold them.

SpiffWorkflow keeps every task that ever ran in a tree and searches the tree at each step, recursively in places; it predicts the future of a process into the same tree, takes ids
and times from the machine, and logs each change. On a chain of 400 tasks that costs 1 ms a task, at 1000 it stops. Here its states and its rules stay, and the following replaces the rest.

Rule 1: an instance knows its live tokens; nothing is searched for. A finished token is forgotten as soon as only one token is left, so that a loop can run for ever.
Rule 2: what becomes ready goes into one queue, in order; the run takes it from there. So the order of events is a function of the calls.
Rule 3: ids are counted; nothing here reads a clock or a random number.
Rule 4: data stays outside the tree (`variables.Scope`): no copies along a branch, no merging of lists at a join.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol
from uuid import UUID

from SpiffWorkflow.bpmn.util.subworkflow import BpmnSubWorkflow
from SpiffWorkflow.bpmn.workflow import BpmnWorkflow
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from dadms_orchestrators.bpmn.variables import Scope

FINISHED = TaskState.FINISHED_MASK


class Host(Protocol):
    """What the tree asks of the run that owns it."""

    def holds(self, token: Any, flow: Any) -> bool:
        """Whether the condition of a flow holds; raises Failure."""

    def takes(self, token: Any, flow: Any, why: str) -> None:
        """A gateway chose a flow."""

    def no_way(self, token: Any) -> Exception:
        """The Failure of a gateway of which no flow can be taken."""

    def arm(self, token: Any) -> None:
        """A timer began to wait."""

    def passed(self, token: Any) -> None:
        """A token left an element."""


class Token(Task):  # type: ignore[misc]  # SpiffWorkflow ships no types
    """A task of the tree, without clock, random number, log and data."""

    def __init__(self, workflow: Any, task_spec: Any, parent: Any = None, state: int = TaskState.MAYBE, id: UUID | None = None) -> None:  # noqa: A002  # the name is the library's
        top = workflow.top_workflow
        if id is None:
            top.token_count += 1
            id = UUID(int=top.token_count)  # noqa: A001  # as above
        self.id = id
        self.workflow = workflow
        self._parent = parent.id if parent is not None else None
        self._children: list[UUID] = []
        self._state = state
        self.triggered = False
        self.task_spec = task_spec
        self.thread_id = 0
        self.data: dict[str, Any] = {}
        self.internal_data: dict[str, Any] = {}
        self.last_state_change = 0
        self.source = parent.task_spec.name if parent is not None else ""  # where it came from, also when the parent is forgotten
        workflow.tasks[id] = self
        if not state & FINISHED:
            workflow.live[id] = self
        if parent is not None:
            parent._children.append(id)

    def _add_child(self, task_spec: Any, state: int = TaskState.MAYBE) -> Token:
        child = Token(self.workflow, task_spec, self, state)
        if state == TaskState.READY:
            child._ready()
        return child

    def _set_state(self, value: int) -> None:
        if value == self._state:
            return
        self._state = value
        workflow = self.workflow
        if value & FINISHED:
            if workflow.live.pop(self.id, None) is not None and value == TaskState.CANCELLED:
                workflow.top_workflow.cancelled.append(self)
        elif value == TaskState.READY:
            workflow.top_workflow.ready.append(self)

    def _inherit_data(self) -> None:
        """Data stays outside the tree."""

    def complete(self) -> None:
        """Mark it completed and let what follows react."""
        self.workflow.top_workflow.host.passed(self)
        super().complete()


class Tree:
    """What a process instance and a sub-instance share; stands before SpiffWorkflow's class."""

    tasks: dict[UUID, Token]
    live: dict[UUID, Token]
    task_tree: Token
    completed: bool
    scope: Scope
    spec: Any
    top_workflow: Any
    last_task: Any

    def plant(self) -> None:
        """Put the first token at the start."""
        self.task_tree = Token(self, self.spec.start, state=TaskState.FUTURE)
        self.task_tree._ready()

    def _task_completed_notify(self, token: Token) -> None:
        if token.task_spec.name == "End":
            self.completed = True
        if self.completed:
            self._finished()
            return
        for waiting in [other for other in self.live.values() if other._state == TaskState.WAITING and other.task_spec.rechecks]:
            if waiting._state == TaskState.WAITING:
                waiting.task_spec._update(waiting)

    def _finished(self) -> None:
        """Called when the instance has come to its end."""

    def _mark_complete(self, _: Token) -> None:
        self.completed = True

    def get_tasks_iterator(
        self, first_task: Token | None = None, *, state: int = TaskState.ANY_MASK, spec_name: str | None = None, **_: Any
    ) -> Any:
        """The tokens of this instance with a state and a spec, as far as SpiffWorkflow's own rules still ask; `first_task` narrows it to one spec's descendants, of which none is left."""
        if first_task is not None:
            return iter(())
        return iter([token for token in self.tasks.values() if token._state & state and spec_name in (None, token.task_spec.name)])

    def cancel(self, *_: Any) -> list[Token]:
        """Cancel everything that lives here, sub-instances with the tokens that stand for them."""
        self.completed = True
        cancelled = list(self.live.values())
        for token in cancelled:
            token.cancel()
        return cancelled

    def _remove_task(self, task_id: UUID) -> None:
        todo = [task_id]
        parent = self.tasks[task_id].parent
        if parent is not None:
            parent._children.remove(task_id)
        while todo:
            token = self.tasks.pop(todo.pop())
            self.live.pop(token.id, None)
            todo += token._children

    def forget(self) -> None:
        """Drop the history when one token is left. A task with boundary events never is: they wait beside it, or what waits for its end does."""
        if len(self.live) != 1 or len(self.tasks) <= 2:
            return
        (token,) = self.live.values()
        root = self.task_tree
        if token is root:
            return
        self.tasks = {root.id: root, token.id: token}
        root._children = [token.id]
        token._parent = root.id
        token._children = []


class NoScripts:
    """Stands where SpiffWorkflow keeps the engine that evaluates Python from models; this one never does."""

    def evaluate(self, *_: Any, **__: Any) -> Any:
        """Refuse."""
        raise NotImplementedError("expressions of models are evaluated by juel_eval")

    execute = evaluate


class Instance(Tree, BpmnWorkflow):  # type: ignore[misc]  # SpiffWorkflow ships no types
    """The process instance; holds the queue of all its sub-instances."""

    def __init__(self, spec: Any, subprocess_specs: dict[str, Any], host: Host) -> None:
        self.host = host
        self.ready: deque[Token] = deque()
        self.cancelled: list[Token] = []
        self.token_count = 0
        self.live = {}
        self.scope = Scope()
        super().__init__(spec, subprocess_specs, NoScripts(), deserializing=True)

    def create_subprocess(self, my_task: Token, spec_name: str) -> SubInstance:
        """Begin the sub-instance of a token."""
        instance = SubInstance(self.subprocess_specs[spec_name], my_task, self)
        self.subprocesses[my_task.id] = instance
        instance.plant()
        return instance

    def get_task_from_id(self, task_id: UUID) -> Token:
        """A token of this or any sub-instance; raises KeyError."""
        for tree in (self, *self.subprocesses.values()):
            if task_id in tree.tasks:
                return tree.tasks[task_id]  # type: ignore[no-any-return]  # as above
        raise KeyError(task_id)

    def trees(self) -> list[Tree]:
        """Itself and all that live below it, outermost first."""
        return [self, *sorted(self.subprocesses.values(), key=lambda tree: tree.depth)]


class SubInstance(Tree, BpmnSubWorkflow):  # type: ignore[misc]  # SpiffWorkflow ships no types
    """The instance of an embedded sub-process or of a called process."""

    def __init__(self, spec: Any, owner: Token, top: Instance) -> None:
        self.owner = owner
        self.local: Scope | None = None  # of a called process: the variables of the caller and its input parameters
        self.live = {}
        self.scope = Scope()
        super().__init__(spec, parent_task_id=owner.id, top_workflow=top, deserializing=True)

    @property
    def parent_workflow(self) -> Any:
        """The instance in which its token lives."""
        return self.owner.workflow

    def _finished(self) -> None:
        if self.owner._state == TaskState.STARTED:
            self.owner.task_spec._on_subworkflow_completed(self, self.owner)
