"""From a model to SpiffWorkflow's specifications: which of its classes plays which node, and how they are connected.

SpiffWorkflow's own parser is not used: it recurses along the flow (500 tasks in a row end it), evaluates conditions as Python, refuses several ways out of a task, and hides some of its
errors behind another. The graph is built from the model that was checked; the classes keep SpiffWorkflow's rules for what runs when, and say here where they differ.

Rule 1: no prediction. The children of a token are made when it completes.
Rule 2: a parallel gateway needs a token on each incoming flow and takes exactly one of each; an inclusive one waits as long as another token could still reach it.
Rule 3: several ways out of a task, or conditions on them, become a gateway of their own behind the task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from SpiffWorkflow.bpmn.specs import defaults
from SpiffWorkflow.bpmn.specs.bpmn_process_spec import BpmnProcessSpec
from SpiffWorkflow.bpmn.specs.control import BoundaryEventJoin, BoundaryEventSplit, BpmnStartTask, SimpleBpmnTask, _EndJoin
from SpiffWorkflow.bpmn.specs.event_definitions.base import EventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.item_aware_event import ErrorEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.simple import NoneEventDefinition, TerminateEventDefinition
from SpiffWorkflow.exceptions import WorkflowException
from SpiffWorkflow.specs import WorkflowSpec
from SpiffWorkflow.util.task import TaskState

from dadms_orchestrators.bpmn.model import Flow, Node, Process, Scope


class Placed:
    """What every specification here has in common; stands before SpiffWorkflow's class."""

    node: Node | None = None  # what it stands for; None for the parts that are not drawn
    process: Process
    chooses = False  # makes its children itself when it runs
    rechecks = False  # may become ready because another token ended

    name: str
    outputs: list[Any]
    _inputs: list[str]

    def _predict(self, *_: Any, **__: Any) -> None:
        """Nothing is predicted."""

    def _on_complete_hook(self, my_task: Any) -> None:
        super()._on_complete_hook(my_task)  # type: ignore[misc]  # the library's class comes after this one
        if not self.chooses:
            my_task._sync_children(self.outputs, TaskState.FUTURE)


class Start(Placed, BpmnStartTask):  # type: ignore[misc]  # SpiffWorkflow ships no types; so for every class below
    """The start of an instance, before its start event."""


class End(Placed, SimpleBpmnTask):  # type: ignore[misc]
    """The end of an instance, after all its end events."""


class Last(Placed, _EndJoin):  # type: ignore[misc]
    """Waits until no other token lives in the instance."""

    rechecks = True

    def _update_hook(self, my_task: Any) -> bool:
        done = True
        for other in list(my_task.workflow.live.values()):
            if other is my_task:
                continue
            if other.task_spec is self:
                other.cancel()
            else:
                done = False
        if not done:
            my_task._set_state(TaskState.WAITING)
        return done

    def _run_hook(self, _: Any) -> bool:
        return True


class Pass(Placed, SimpleBpmnTask):  # type: ignore[misc]
    """A node that does nothing: a start event, an intermediate throw event of the kind none, a manual task."""


class Outside(Placed, defaults.ServiceTask):  # type: ignore[misc]
    """A task that somebody else does; running it only starts it."""


class Form(Placed, defaults.UserTask):  # type: ignore[misc]
    """A task that a person does."""

    def _run_hook(self, _: Any) -> None:
        return None  # started, not done


class EndEvent(Placed, defaults.EndEvent):  # type: ignore[misc]
    """An end event; one that terminates makes nothing that follows."""

    @property
    def terminates(self) -> bool:
        """Whether it ends everything else in its instance."""
        return isinstance(self.event_definition, TerminateEventDefinition)

    def _run_hook(self, _: Any) -> bool:
        return True

    def _on_complete_hook(self, my_task: Any) -> None:
        self.chooses = self.terminates
        super()._on_complete_hook(my_task)


class Embedded(Placed, defaults.SubWorkflowTask):  # type: ignore[misc]
    """An embedded sub-process."""

    def start_workflow(self, my_task: Any) -> None:
        """Begin the sub-instance; the run gives it its variables before its first token moves."""
        my_task.workflow.top_workflow.create_subprocess(my_task, self.spec)

    def update_data(self, *_: Any) -> None:
        """Data stays outside the tree."""


class Called(Embedded, defaults.CallActivity):  # type: ignore[misc]
    """A call activity."""

    def __init__(self, wf_spec: Any, bpmn_id: str, subworkflow_spec: str, **kwargs: Any) -> None:
        defaults.CallActivity.__init__(self, wf_spec, bpmn_id, subworkflow_spec, **kwargs)


class Condition:
    """The condition of a flow as SpiffWorkflow's gateways ask it; `always` is a flow without one."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.always = flow.condition is None

    def _matches(self, my_task: Any) -> bool:
        if self.always:
            return True
        host = my_task.workflow.top_workflow.host
        if not host.holds(my_task, self.flow):
            return False
        host.takes(my_task, self.flow, self.flow.condition.source if self.flow.condition is not None else "")
        return True


class Exclusive(Placed, defaults.ExclusiveGateway):  # type: ignore[misc]
    """Takes the first flow whose condition holds, or else its default."""

    chooses = True
    default_flow: Flow | None = None

    def _run_hook(self, my_task: Any) -> bool:
        host = my_task.workflow.top_workflow.host
        try:
            super()._run_hook(my_task)
        except WorkflowException:
            raise host.no_way(my_task) from None
        if self.default_flow is not None and len(self.outputs) > 1 and my_task.children[0].task_spec.name == self.default_task_spec:
            host.takes(my_task, self.default_flow, "default")
        return True


class Inclusive(Placed, defaults.InclusiveGateway):  # type: ignore[misc]
    """Takes every flow whose condition holds, or else its default; waits for what can still reach it.

    A token elsewhere is waited for if it can come in by a flow that has brought none, and by none that has (BPMN 2.0.2, 13.4.3): one that comes round a loop
    for another turn is not.
    """

    chooses = True
    rechecks = True
    default_flow: Flow | None = None
    upstream: Mapping[str, frozenset[str]] = MappingProxyType(
        {}
    )  # by the specification of an incoming flow: those from which a path leads through it

    def _update_hook(self, my_task: Any) -> bool:
        if len(self._inputs) == 1:
            return True
        elsewhere: set[str] = set()
        joined: list[Any] = []
        for other in my_task.workflow.live.values():
            if other.task_spec is not self:
                elsewhere.add(other.task_spec.name)
            elif other is not my_task and other._state == TaskState.WAITING:
                joined.append(other)
            elif other is not my_task:  # it comes in this very moment, and looks again
                my_task._set_state(TaskState.WAITING)
                return False
        arrived = {my_task.source, *(other.source for other in joined)}
        again: set[str] = set().union(*(self.upstream.get(source, ()) for source in arrived))
        missing: set[str] = set().union(*(names for source, names in self.upstream.items() if source not in arrived))
        if elsewhere & (missing - again):
            my_task._set_state(TaskState.WAITING)
            return False
        for other in joined:
            other.cancel()  # its token goes on in this one
        return True

    def _run_hook(self, my_task: Any) -> bool:
        host = my_task.workflow.top_workflow.host
        taken: list[Any] = []
        default: Any = None
        conditional = False
        for condition, name in self.cond_task_specs:
            spec = my_task.workflow.spec.task_specs[name]
            if condition is None:
                default = spec
            elif condition._matches(my_task):
                taken.append(spec)
                conditional = conditional or not condition.always
        if default is not None and not conditional:
            host.takes(my_task, self.default_flow, "default")
            taken.append(default)
        if not taken:
            raise host.no_way(my_task)
        my_task._sync_children(taken, TaskState.FUTURE)
        return True


class Parallel(Placed, defaults.ParallelGateway):  # type: ignore[misc]
    """Takes one token from each incoming flow and gives one to each outgoing."""

    def _update_hook(self, my_task: Any) -> bool:
        if len(self._inputs) == 1:
            return True
        waiting: dict[str, list[Any]] = {}
        for other in my_task.workflow.live.values():
            if other.task_spec is self and other is not my_task and other._state == TaskState.WAITING:
                waiting.setdefault(other.source, []).append(other)
        taken: list[Any] = []
        for source, count in Counter(self._inputs).items():
            needed = count - (source == my_task.source)
            found = waiting.get(source, [])[:needed]
            if len(found) < needed:
                my_task._set_state(TaskState.WAITING)
                return False
            taken += found
        for token in taken:
            token.cancel()
        return True

    def _run_hook(self, _: Any) -> bool:
        return True


class Attach(Placed, BoundaryEventSplit):  # type: ignore[misc]
    """Starts a task together with the events on its boundary."""

    chooses = True

    def _run_hook(self, my_task: Any) -> bool:
        my_task._sync_children(self.outputs, TaskState.MAYBE)
        for child in my_task.children:
            if not isinstance(child.task_spec, self.event_type):
                child._set_state(TaskState.FUTURE)
        return bool(super()._run_hook(my_task))


class Detach(Placed, BoundaryEventJoin):  # type: ignore[misc]
    """Ends the waiting of the boundary events, or the task when one of them interrupted it."""


class Boundary(Placed, defaults.BoundaryEvent):  # type: ignore[misc]
    """An event on the boundary of a task."""


class Catch(Placed, defaults.IntermediateCatchEvent):  # type: ignore[misc]
    """An intermediate event that waits."""


class Timer(EventDefinition):  # type: ignore[misc]
    """Waits until a moment that the run computes; it has no clock of its own."""

    def update_task(self, my_task: Any) -> None:
        """Called while the token waits."""
        if "due" not in my_task.internal_data:
            my_task.workflow.top_workflow.host.arm(my_task)

    def catches(self, *_: Any) -> bool:
        """Nothing that is thrown is a timer."""
        return False


class ProcessSpec(BpmnProcessSpec):  # type: ignore[misc]
    """The specification of a process or sub-process, with ends of ours."""

    def __init__(self, name: str) -> None:
        WorkflowSpec.__init__(self, name=name)
        self.svg = None
        self.description = None
        self.io_specification = None
        self.data_objects: dict[str, Any] = {}
        self.data_stores: dict[str, Any] = {}
        self.correlation_keys: dict[str, Any] = {}
        self.bpmn_start_events: list[Any] = []
        self.start = Start(self, "Start")
        self.end = Last(self, "Last")
        self.end.connect(End(self, "End"))


def build(processes: dict[str, Process]) -> dict[str, ProcessSpec]:
    """The specifications of all processes and, by `sub:` and their id, of the sub-processes in them."""
    specs: dict[str, ProcessSpec] = {}
    for process in processes.values():
        _build_scope(process, process.scope, process_name(process.scope.id), specs)
    return specs


def process_name(process: str) -> str:
    """The name of a process among the specifications."""
    return f"process:{process}"


def _build_scope(process: Process, scope: Scope, name: str, specs: dict[str, ProcessSpec]) -> None:
    spec = specs[name] = ProcessSpec(name)
    entries: dict[str, Any] = {}  # node -> where a flow to it arrives
    for node in scope.nodes.values():
        entries[node.id] = placed = _place(spec, process, node, specs)
        placed.node, placed.process = node, process
        if node.tag == "startEvent":
            spec.start.connect(placed)
        if node.tag == "endEvent":
            placed.connect(spec.end)
    nodes = dict(entries)
    for node in scope.nodes.values():
        if boundaries := scope.boundaries(node):
            attach = entries[node.id] = Attach(spec, f"attach:{node.id}")
            detach = Detach(spec, f"detach:{node.id}", split_task=attach.name, cancel=True)
            for part in (nodes[node.id], *(nodes[boundary.id] for boundary in boundaries)):
                attach.connect(part)
                part.connect(detach)
    for node in scope.nodes.values():
        _connect(scope, node, nodes[node.id], entries, spec, process)
    _see_upstream(spec)


def _place(spec: ProcessSpec, process: Process, node: Node, specs: dict[str, ProcessSpec]) -> Any:
    name = f"node:{node.id}"
    if node.inner is not None:
        inner = f"sub:{process.scope.id}:{node.id}"
        _build_scope(process, node.inner, inner, specs)
        return Embedded(spec, name, inner)
    if node.call is not None:
        return Called(spec, name, process_name(node.call.element))
    if node.implementation is not None:
        return Outside(spec, name)
    if node.event is not None:
        return _place_event(spec, name, node)
    return {"userTask": Form, "exclusiveGateway": Exclusive, "inclusiveGateway": Inclusive, "parallelGateway": Parallel}.get(
        node.tag, Pass
    )(spec, name)


def _place_event(spec: ProcessSpec, name: str, node: Node) -> Any:
    event = node.event
    assert event is not None
    definition = {
        "timer": lambda: Timer(node.id),
        "error": lambda: ErrorEventDefinition(node.id, event.code),
        "terminate": TerminateEventDefinition,
    }.get(event.kind, NoneEventDefinition)()
    if node.tag == "boundaryEvent":
        return Boundary(spec, name, definition, node.interrupting)
    if node.tag == "intermediateCatchEvent":
        return Catch(spec, name, definition)
    if node.tag == "endEvent":
        return EndEvent(spec, name, definition)
    return Pass(spec, name)


def _connect(scope: Scope, node: Node, placed: Any, entries: dict[str, Any], spec: ProcessSpec, process: Process) -> None:
    leaving = scope.leaving(node)
    default = next((flow for flow in leaving if flow.id == node.default), None)
    if not isinstance(placed, Exclusive | Inclusive | Parallel):
        conditional = any(flow.condition is not None for flow in leaving)
        if conditional or (len(leaving) > 1):
            split = (Inclusive if conditional or default is not None else Parallel)(spec, f"split:{node.id}")
            split.node, split.process = node, process
            placed.connect(split)
            placed = split
    if isinstance(placed, Exclusive | Inclusive):
        placed.default_flow = default
    for flow in leaving:
        target = entries[flow.target]
        if isinstance(placed, Exclusive | Inclusive) and flow is not default:
            placed.connect_if(Condition(flow), target)
        else:
            placed.connect(target)


def _see_upstream(spec: ProcessSpec) -> None:
    """Tell every joining inclusive gateway from where each of its incoming flows can be reached without passing it."""
    before: dict[str, list[str]] = {name: list(part._inputs) for name, part in spec.task_specs.items()}
    for gateway in spec.task_specs.values():
        if not isinstance(gateway, Inclusive) or len(gateway._inputs) < 2:
            continue
        upstream: dict[str, frozenset[str]] = {}
        for source in set(gateway._inputs) - {gateway.name}:
            seen: set[str] = set()
            todo = [source]
            while todo:
                name = todo.pop()
                if name not in seen:
                    seen.add(name)
                    todo += [other for other in before[name] if other != gateway.name]
            upstream[source] = frozenset(seen)
        gateway.upstream = upstream
