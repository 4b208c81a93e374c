"""What a BPMN file says, as data: processes, their nodes and flows, each with its line. It decides nothing.

Rule: one Struct for every kind of node, since a model is read by rules, by the builder and by people, and all of them ask the same few questions.
"""

from __future__ import annotations

from typing import Any

import msgspec

MAX_SHOWN_CHARS = 80  # of a name in a sentence; some names are whole paragraphs
MAX_ID_CHARS = 200  # of an id in a sentence; those that editors make have about twenty


def shown(text: str, limit: int = MAX_SHOWN_CHARS) -> str:
    """A name or an id as a sentence has it: on one line, and not without end."""
    line = " ".join(text[: 10 * limit].split())
    return line if len(line) <= limit and len(text) <= 10 * limit else line[:limit] + "..."


class Text(msgspec.Struct, frozen=True):
    """A piece of text of the model that may hold expressions, and where it begins."""

    source: str
    line: int


class Script(msgspec.Struct, frozen=True):
    """Code in the model; `language` is its scriptFormat in lower case, "" when absent."""

    language: str
    source: str
    line: int


# The value of a parameter: text, code, a map or a list of such, or nothing.
Value = Text | Script | dict[str, Any] | list[Any] | None


class Parameter(msgspec.Struct, frozen=True):
    """camunda:inputParameter or camunda:outputParameter."""

    name: str
    value: Value
    line: int


class Connector(msgspec.Struct, frozen=True):
    """camunda:connector; `id` is "" when the model gives none."""

    id: str
    inputs: tuple[Parameter, ...]
    outputs: tuple[Parameter, ...]
    line: int


class FormField(msgspec.Struct, frozen=True):
    """camunda:formField."""

    name: str
    label: str
    type: str
    default: Text | None
    required: bool
    readonly: bool
    choices: tuple[str, ...]
    line: int


class Mapping(msgspec.Struct, frozen=True):
    """camunda:in or camunda:out of a call activity: a variable, an expression, or all variables."""

    source: str | None
    expression: Text | None
    target: str | None
    everything: bool
    line: int


class Call(msgspec.Struct, frozen=True):
    """What a call activity calls; without any mapping all variables go in and all come out."""

    element: str
    ins: tuple[Mapping, ...]
    outs: tuple[Mapping, ...]

    @property
    def names_a_process(self) -> bool:
        """Whether it says which one, and does not compute it."""
        return bool(self.element) and "{" not in self.element


class Event(msgspec.Struct, frozen=True):
    """What an event waits for or throws; `kind` is "none", "error", "terminate", "timer" or the name of one that cannot run here."""

    kind: str
    line: int
    code: str | None = None  # of an error; None catches every error
    code_variable: str | None = None
    message_variable: str | None = None
    timer: str = ""  # "timeDuration", "timeDate" or "timeCycle"
    when: Text | None = None


class Implementation(msgspec.Struct, frozen=True):
    """Who does a task: `kind` as in `Work.kind`, or "expression", which the engine evaluates itself."""

    kind: str
    topic: str = ""
    script: Script | None = None
    decision: str = ""
    map_result: str = ""
    expression: Text | None = None


class Flow(msgspec.Struct):
    """A sequence flow."""

    id: str
    name: str
    source: str
    target: str
    condition: Text | None
    line: int


class Node(msgspec.Struct):
    """A task, event, gateway or sub-process; `tag` is its BPMN name."""

    id: str
    name: str
    tag: str
    line: int
    documentation: str = ""
    implementation: Implementation | None = None
    event: Event | None = None
    call: Call | None = None
    inner: Scope | None = None  # of a sub-process
    attached_to: str = ""  # of a boundary event
    interrupting: bool = True
    default: str = ""  # flow that is taken when no condition holds
    properties: dict[str, str] = {}
    inputs: tuple[Parameter, ...] = ()
    outputs: tuple[Parameter, ...] = ()
    connector: Connector | None = None
    fields: tuple[FormField, ...] = ()
    result_variable: str = ""
    assignee: Text | None = None
    groups: str = ""
    loop: str = ""  # loop or multi-instance characteristics
    declared_out: tuple[str, ...] = ()  # ids of its bpmn:outgoing children
    unused: tuple[tuple[str, int], ...] = ()  # parts that are read and not executed, with their lines

    def __str__(self) -> str:
        name, identifier = shown(self.name), shown(self.id, MAX_ID_CHARS)
        return f'"{name}" ({identifier})' if name else f'"{identifier}"'


class Scope(msgspec.Struct):
    """Nodes and flows that belong together: a process or an embedded sub-process. It is filled with `add`, which keeps the indexes."""

    id: str
    name: str
    line: int
    nodes: dict[str, Node] = {}
    flows: dict[str, Flow] = {}
    out: dict[str, list[Flow]] = {}
    into: dict[str, list[Flow]] = {}
    attached: dict[str, list[Node]] = {}

    def add(self, part: Node | Flow) -> None:
        """Take a node or a flow in."""
        if isinstance(part, Flow):
            self.flows[part.id] = part
            self.out.setdefault(part.source, []).append(part)
            self.into.setdefault(part.target, []).append(part)
            return
        self.nodes[part.id] = part
        if part.attached_to:
            self.attached.setdefault(part.attached_to, []).append(part)

    def leaving(self, node: Node) -> list[Flow]:
        """The flows that leave a node, in the order of the file."""
        return self.out.get(node.id, [])

    def entering(self, node: Node) -> list[Flow]:
        """The flows that lead to a node, in the order of the file."""
        return self.into.get(node.id, [])

    def boundaries(self, node: Node) -> list[Node]:
        """The events that are attached to a node."""
        return self.attached.get(node.id, [])

    def start(self) -> Node | None:
        """The first start event."""
        return next((node for node in self.nodes.values() if node.tag == "startEvent"), None)


class Process(msgspec.Struct):
    """One process of a file."""

    file: str
    scope: Scope
    executable: bool
    documentation: str = ""


def every_node(scope: Scope) -> list[tuple[Scope, Node]]:
    """All nodes of a scope and of the sub-processes in it, each with the scope that it stands in."""
    found: list[tuple[Scope, Node]] = []
    for node in scope.nodes.values():
        found.append((scope, node))
        if node.inner is not None:
            found.extend(every_node(node.inner))
    return found
