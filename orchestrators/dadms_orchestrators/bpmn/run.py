"""One run of a model: which tasks are ready, what their results change, and how it ends.

Rule 1: no clock, no process, no code of the model. Time comes in through `tick`, results through `complete`, `fail` and `answer`; steps go out through `advance`.
Rule 2: a call that is refused changed nothing. Results for work that was cancelled are ignored, since they may have been on their way.
Rule 3: a failed task fails the run unless an error boundary event around it catches the failure; it is never taken for done.
Rule 4: what a model computes itself happens inside `advance`, one token after the other, in an order that depends on the calls alone.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from SpiffWorkflow.bpmn.util import BpmnEvent
from SpiffWorkflow.util.task import TaskState

from dadms_orchestrators.bpmn import calls, forms, results, timers
from dadms_orchestrators.bpmn import snapshot as snapshots
from dadms_orchestrators.bpmn.catching import catching_event
from dadms_orchestrators.bpmn.definition import Definition
from dadms_orchestrators.bpmn.expressions import Evaluator, Failure
from dadms_orchestrators.bpmn.model import Flow, Node
from dadms_orchestrators.bpmn.refusal import RunRefused
from dadms_orchestrators.bpmn.results import UNSET as UNSET
from dadms_orchestrators.bpmn.rules import kind_of
from dadms_orchestrators.bpmn.specs import Embedded, EndEvent, Form, Outside, Start, Timer
from dadms_orchestrators.bpmn.steps import Cancelled, Note, Outcome, RunError, Step, TaskError, UserTask, Work
from dadms_orchestrators.bpmn.tokens import Instance, SubInstance, Token
from dadms_orchestrators.bpmn.variables import Scope
from dadms_orchestrators.bpmn.work import Open, user_task_of, work_of

MAX_ENGINE_STEPS = 20_000  # of one advance(); a model that moves so long without any work moves for ever
MAX_PATH = 10_000  # elements that an outcome lists; a loop passes more


class Run:
    """A process instance."""

    def __init__(
        self,
        definition: Definition,
        variables: dict[str, Any] | None = None,
        *,
        now: float = 0.0,
        instance: str = "1",
        business_key: str | None = None,
    ) -> None:
        self.definition = definition
        self.instance = instance
        self.business_key = business_key
        self._begin_state(now)
        self._top.scope = Scope(forms.start_variables(definition, variables or {}, instance, business_key))
        self._top.plant()
        process = definition.process.scope
        self.note("started", process.id, f'process "{process.name or process.id}" started')

    def _begin_state(self, now: float) -> None:
        self._now = now
        self._top = Instance(self.definition.main, self.definition.specs, self)
        self._steps: list[Step] = []
        self._open: dict[str, Open] = {}
        self._gone: set[str] = set()
        self._serial = 0
        self._arming: deque[Token] = deque()
        self._status = "running"
        self._error: RunError | None = None
        self._end_event: str | None = None
        self._path: list[str] = []

    # What a caller asks

    @property
    def is_finished(self) -> bool:
        """Whether there is an outcome."""
        return self._status != "running"

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of the process as they are now; not to be changed."""
        return dict(self._top.scope.values)

    @property
    def open(self) -> tuple[str, ...]:
        """The ids of work and user tasks that are out."""
        return tuple(self._open)

    def outcome(self) -> Outcome:
        """How it ended; raises RunRefused while it runs."""
        if not self.is_finished:
            raise RunRefused(f"the run has no outcome yet: {len(self._open)} tasks are out")
        return Outcome(self._status, self.variables, self._end_event, self._error, tuple(self._path))

    def next_deadline(self) -> float | None:
        """The unix time of the next timer."""
        return min((token.internal_data["due"] for token in self._waiting_timers()), default=None)

    # What a caller says

    def advance(self, now: float | None = None) -> list[Step]:
        """Move until only outside work is left; the steps since the last call."""
        if now is not None:
            self.tick(now)
        self._drain()
        steps, self._steps = self._steps, []
        return steps

    def tick(self, now: float) -> None:
        """Let the timers fire that are due at this unix time."""
        self._now = max(self._now, now)
        for token in sorted(self._waiting_timers(), key=lambda token: (token.internal_data["due"], token.id)):
            if token.internal_data["due"] <= self._now and token._state == TaskState.WAITING:
                token.internal_data["event_fired"] = True
                self.note("timer", token.task_spec.node.id, f"timer {token.task_spec.node} fired")
                token.task_spec._update(token)

    def complete(self, work: str, outputs: Any = None, *, result: Any = UNSET) -> None:
        """The work is done; raises RunRefused when it is not open. Results that cannot be variables fail the task."""
        opened = self._take(work, "work")
        if opened is None:
            return
        try:
            results.apply(self, opened, outputs, result)
        except Failure as failure:
            self._failed(opened.token, failure)
        else:
            node = opened.token.task_spec.node
            self.note("done", node.id, f"{kind_of(node)} {node} is done")
            opened.token.complete()

    def fail(self, work: str, error: TaskError) -> None:
        """The work failed; raises RunRefused when it is not open."""
        opened = self._take(work, "work")
        if opened is not None:
            spec = opened.token.task_spec
            self._failed(opened.token, Failure(error, spec.node, spec.process))

    def answer(self, task: str, values: dict[str, Any]) -> None:
        """A person answered; raises RunRefused when the task is not open or an answer does not fit, and then nothing changed."""
        opened = self._peek(task, "user task")
        if opened is None:
            return
        node = opened.token.task_spec.node
        step = user_task_of(opened, self)
        defaults = {field.name: field.default for field in step.fields}
        named = f"{kind_of(node)} {node}"
        filled = forms.filled(node.fields, values, defaults, f"answer {named}")
        self._take(task, "user task")
        try:
            results.settle(self, opened, filled)
        except Failure as failure:
            self._failed(opened.token, failure)
        else:
            self.note("done", node.id, f"{named} is answered")
            opened.token.complete()

    # Keeping

    def snapshot(self) -> bytes:
        """The running instance as JSON."""
        return snapshots.take(self)

    @classmethod
    def restore(cls, definition: Definition, data: bytes) -> Run:
        """A run from its snapshot; every open task is given again by the next `advance`. Raises RunRefused."""
        kept = snapshots.read(definition, data)
        run = cls.__new__(cls)
        run.definition, run.instance, run.business_key = definition, kept.instance, kept.business_key
        run._begin_state(kept.now)
        snapshots.put(run, kept)
        run._steps.extend(run._step_of(opened) for opened in run._open.values())
        return run

    # Results

    def _peek(self, identifier: str, kind: str) -> Open | None:
        opened = self._open.get(identifier)
        if opened is None:
            if identifier in self._gone:
                return None
            raise RunRefused(f'cannot take a result for "{identifier}": no such {kind} is open')
        if opened.kind != kind:
            raise RunRefused(f'cannot take a result for "{identifier}" as {kind}: it is a {opened.kind}')
        return opened

    def _take(self, identifier: str, kind: str) -> Open | None:
        opened = self._peek(identifier, kind)
        if opened is not None:
            del self._open[identifier]
        return opened

    # Moving

    def _drain(self) -> None:
        moved = 0
        while not self.is_finished and (self._arming or self._top.ready):
            token = self._arming.popleft() if self._arming else self._top.ready.popleft()
            if token.id not in token.workflow.live or token._state not in (TaskState.READY, TaskState.WAITING):
                continue
            try:
                moved += 1
                if moved > MAX_ENGINE_STEPS:
                    raise self._failure(token, "EndlessLoop", f"the process passed {MAX_ENGINE_STEPS} elements without reaching any work")
                self._move(token)
            except Failure as failure:
                self._failed(token, failure)
            self._tell_cancelled()
            token.workflow.forget()
            if self._top.completed and not self.is_finished:
                self._status = "completed"
                self.note("end", self.definition.process.scope.id, "the process is completed")
        self._tell_cancelled()

    def _move(self, token: Token) -> None:
        if token._state == TaskState.WAITING:
            self._arm_now(token)
            return
        spec = token.task_spec
        node = spec.node
        if isinstance(spec, Start):
            if isinstance(token.workflow, SubInstance):
                calls.enter(self, token.workflow)
            token.run()
        elif isinstance(spec, Outside | Form):
            self._start_work(token)
        elif isinstance(spec, Embedded):
            calls.leave(self, token)
            token.run()
        elif isinstance(spec, EndEvent):
            self._end(token, node)
        else:
            token.run()

    def _start_work(self, token: Token) -> None:
        node = token.task_spec.node
        scope = self.local_scope(token)
        token.run()
        self._serial += 1
        opened = Open(f"{node.id}#{self._serial}", "user task" if node.tag == "userTask" else "work", token, scope)
        implementation = node.implementation
        if implementation is not None and implementation.expression is not None:
            value = self.evaluator(scope, token).text("its expression", implementation.expression)
            results.settle(self, opened, {node.result_variable: value} if node.result_variable else {})
            token.complete()
            return
        step = self._step_of(opened)
        self._open[opened.id] = opened
        token.internal_data["open"] = opened.id
        self._steps.append(step)

    def _step_of(self, opened: Open) -> Work | UserTask:
        return user_task_of(opened, self) if opened.kind == "user task" else work_of(opened, self)

    def local_scope(self, token: Token) -> Scope:
        """The scope that the input parameters of a node make around it; raises Failure."""
        scope = Scope({}, token.workflow.scope)
        node = token.task_spec.node
        assumed: list[str] = []
        for parameter in node.inputs:
            scope.values[parameter.name] = self.evaluator(scope, token, assumed=assumed).parameter(parameter)
        self.tell_assumed(node, assumed)
        return scope

    def tell_assumed(self, node: Node, assumed: list[str]) -> None:
        """Say which variables counted as null."""
        for name in dict.fromkeys(assumed):
            self.note("assumed", node.id, f'{kind_of(node)} {node}: variable "{name}" is not defined and counts as null', variable=name)

    def _end(self, token: Token, node: Node) -> None:
        assert node.event is not None
        is_last = token.workflow is self._top
        if is_last:
            self._end_event = node.id
        self.note("end", node.id, f"{kind_of(node)} {node} reached")
        if node.event.kind != "error":
            token.run()
            return
        code = node.event.code
        self.passed(token)
        raise self._failure(token, "BpmnError", f'the process reached error end event {node} with the code "{code or ""}"', code=code or "")

    # Failing

    def _failure(self, token: Token, kind: str, message: str, *, code: str | None = None) -> Failure:
        spec = token.task_spec
        node, process = (spec.node, spec.process) if spec.node is not None else (self._owner_node(token), self.definition.process)
        return Failure(TaskError(kind, message, code=code), node, process)

    def _owner_node(self, token: Token) -> Node:
        if isinstance(token.workflow, SubInstance):
            return token.workflow.owner.task_spec.node  # type: ignore[no-any-return]  # SpiffWorkflow ships no types
        start = self.definition.process.scope.start()
        assert start is not None
        return start

    def _failed(self, token: Token, failure: Failure) -> None:
        catching = catching_event(token, failure.error)
        if catching is None:
            self._error = failure.told()
            self._status = "failed"
            self._top.cancel()
            self._tell_cancelled()
            return
        node: Node = catching.task_spec.node
        assert node.event is not None
        for name, value in ((node.event.code_variable, failure.error.code), (node.event.message_variable, failure.error.message)):
            if name:
                catching.workflow.scope.set(name, value)
        self.note(
            "caught",
            node.id,
            f"boundary event {node} caught {failure.error.code or failure.error.type}: {failure.error.message}",
            error=str(failure.told()),
        )
        catching.task_spec.catch(catching, BpmnEvent(catching.task_spec.event_definition))
        catching.task_spec._update(catching)

    def _tell_cancelled(self) -> None:
        for token in self._top.cancelled:
            self._top.subprocesses.pop(token.id, None)
            opened = self._open.pop(token.internal_data.get("open", ""), None)
            if opened is not None:
                self._gone.add(opened.id)
                reason = "the process failed" if self._status == "failed" else "its branch was ended by another event"
                self._steps.append(Cancelled(opened.id, token.task_spec.node.id, reason))
        self._top.cancelled.clear()

    # What the tree asks (tokens.Host)

    def holds(self, token: Token, flow: Flow) -> bool:
        """Whether the condition of a flow holds; raises Failure."""
        assert flow.condition is not None
        return self.evaluator(token.workflow.scope, token).condition(
            f'condition of sequence flow "{flow.name or flow.id}" ({flow.id})', flow.condition
        )

    def takes(self, token: Token, flow: Flow, why: str) -> None:
        """A gateway chose a flow."""
        node = token.task_spec.node
        self.note("branch", node.id, f'{kind_of(node)} {node} takes "{flow.name or flow.id}": {why}', flow=flow.id)

    def no_way(self, token: Token) -> Failure:
        """No condition held."""
        node = token.task_spec.node
        return self._failure(token, "NoWay", f"no condition of {kind_of(node)} {node} holds, and it has no default flow")

    def arm(self, token: Token) -> None:
        """A timer began to wait; its time is computed as soon as the tree is at rest."""
        self._arming.append(token)

    def passed(self, token: Token) -> None:
        """A token left an element."""
        spec = token.task_spec
        if spec.node is not None and spec.name.startswith("node:") and len(self._path) < MAX_PATH:
            self._path.append(spec.node.id)

    # Small things

    def _arm_now(self, token: Token) -> None:
        node: Node = token.task_spec.node
        assert node.event is not None
        assert node.event.when is not None
        value = self.evaluator(token.workflow.scope, token).text("its time", node.event.when)
        try:
            token.internal_data["due"] = timers.due(node.event.timer, str(value), now=self._now)
        except timers.NotATime as error:
            raise Failure(TaskError("NotATime", str(error)), node, token.task_spec.process, node.event.when.line) from None

    def _waiting_timers(self) -> list[Token]:
        waiting: list[Token] = list(self._top.event_manager.tasks.values())
        return [token for token in waiting if isinstance(token.task_spec.event_definition, Timer) and "due" in token.internal_data]

    def evaluator(self, scope: Scope, token: Token, *, assumed: list[str] | None = None) -> Evaluator:
        """Evaluates for the node of a token."""
        spec = token.task_spec
        return Evaluator(scope, spec.node, spec.process, self.instance, self.business_key, assumed=assumed)

    def note(self, what: str, element: str, text: str, **detail: Any) -> None:
        """Say that something happened."""
        self._steps.append(Note(what, element, text, detail))
