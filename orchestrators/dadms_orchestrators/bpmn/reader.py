"""From elements to a model: which XML means which node, flow and process.

Rule 1: nothing is guessed. What BPMN or Camunda 7 does not define is not read, and what is read but not executed is listed in `Node.unused`, so that a warning can name it.
Rule 2: findings are collected, and reading goes on: the author sees all of them at once.
"""

from __future__ import annotations

from dadms_orchestrators.bpmn import extensions
from dadms_orchestrators.bpmn.extensions import BPMN, CAMUNDA
from dadms_orchestrators.bpmn.markup import Element, parse_xml
from dadms_orchestrators.bpmn.model import Call, Connector, Event, Flow, Implementation, Node, Process, Scope, Script, Text
from dadms_orchestrators.bpmn.refusal import Finding, ModelRefused

TASKS = ("serviceTask", "sendTask", "businessRuleTask", "scriptTask", "userTask", "manualTask", "receiveTask", "task")
SUBPROCESSES = ("subProcess", "transaction", "adHocSubProcess")
GATEWAYS = ("exclusiveGateway", "inclusiveGateway", "parallelGateway", "eventBasedGateway", "complexGateway")
EVENTS = ("startEvent", "endEvent", "intermediateCatchEvent", "intermediateThrowEvent", "boundaryEvent")
NODES = (*TASKS, *SUBPROCESSES, "callActivity", *GATEWAYS, *EVENTS)

LOOPS = ("standardLoopCharacteristics", "multiInstanceLoopCharacteristics")
DATA = ("dataInputAssociation", "dataOutputAssociation")  # drawn, and not executed: variables carry the data


class Reader:
    """Reads one file; `findings` is what was wrong with it."""

    def __init__(self, source: bytes, file: str) -> None:
        self.file = file
        self.findings: list[Finding] = []
        self.root = parse_xml(source, file)
        self.errors: dict[str, str | None] = {}  # error id -> code
        self.ids: dict[str, int] = {}  # id -> line, of nodes and flows
        self.processes: dict[str, Process] = {}
        if self.root.name != (BPMN, "definitions"):
            namespace, local = self.root.name
            raise ModelRefused(
                [
                    Finding(
                        file,
                        self.root.line,
                        None,
                        f'the root element is "{local}" of namespace "{namespace}", and not the "definitions" of BPMN 2.0',
                    )
                ]
            )
        for error in self.root.all(BPMN, "error"):
            self.errors[error.get("id") or ""] = error.get("errorCode")
        for process in self.root.all(BPMN, "process"):
            self._process(process)
        if not self.processes:
            self._refuse(self.root, "the file holds no process")

    def _refuse(self, element: Element, reason: str, identifier: str | None = None) -> None:
        self.findings.append(Finding(self.file, element.line, identifier or element.get("id"), reason))

    def _id(self, element: Element) -> str:
        identifier = element.get("id") or ""
        kind = element.name[1]
        if not identifier:
            self._refuse(element, f"a {kind} {_name(element)!r} has no id")
            identifier = f"{kind}@{element.line}"
        if identifier in self.ids:
            self._refuse(element, f'the id "{identifier}" is used twice, first on line {self.ids[identifier]}')
            identifier = f"{identifier}@{element.line}"
        self.ids[identifier] = element.line
        return identifier

    def _process(self, element: Element) -> None:
        identifier = self._id(element)
        scope = Scope(identifier, _name(element), element.line)
        self.processes[identifier] = Process(self.file, scope, element.get("isExecutable") != "false", _documentation(element))
        self._scope(element, scope)

    def _scope(self, element: Element, scope: Scope) -> None:
        for child in element.all(BPMN, *NODES):
            scope.add(self._node(child))
        for child in element.all(BPMN, "sequenceFlow"):
            flow = self._flow(child, scope)
            if flow is not None:
                scope.add(flow)

    def _flow(self, element: Element, scope: Scope) -> Flow | None:
        identifier = self._id(element)
        source, target = element.get("sourceRef") or "", element.get("targetRef") or ""
        for role, reference in (("source", source), ("target", target)):
            if reference not in scope.nodes:
                self._refuse(element, f'sequence flow "{identifier}" names "{reference}" as its {role}, which is no node of "{scope.id}"')
                return None
        condition = element.first(BPMN, "conditionExpression")
        if condition is not None and condition.get("language") not in (None, "", "juel", "http://www.w3.org/1999/XPath"):
            self._refuse(
                condition,
                f'the condition of sequence flow "{identifier}" is written in "{condition.get("language")}", and only ${{...}} expressions can be evaluated',
                identifier,
            )
            condition = None
        text = extensions.text_of(condition) if condition is not None and condition.text.strip() else None
        return Flow(identifier, _name(element), source, target, text, element.line)

    def _node(self, element: Element) -> Node:
        tag = element.name[1]
        node = Node(self._id(element), _name(element), tag, element.line, _documentation(element))
        node.default = element.get("default") or ""
        node.declared_out = tuple(child.text.strip() for child in element.all(BPMN, "outgoing"))
        node.loop = next((child.name[1] for child in element.all(BPMN, *LOOPS)), "")
        extensions.read(element, node)
        node.unused += tuple((child.name[1], child.line) for child in element.all(BPMN, *DATA))
        if tag in EVENTS:
            node.event = self._event(element)
            node.attached_to = element.get("attachedToRef") or ""
            node.interrupting = element.get("cancelActivity") != "false"
        elif tag in SUBPROCESSES:
            node.inner = Scope(node.id, node.name, node.line)
            self._scope(element, node.inner)
            if element.get("triggeredByEvent") == "true":
                node.tag = "eventSubProcess"
        elif tag == "callActivity":
            node.call = Call(element.get("calledElement") or "", *extensions.mappings(element))
        elif tag in TASKS:
            node.implementation = _implementation(element, node.properties, node.connector)
        return node

    def _event(self, element: Element) -> Event:
        definitions = [child for child in element.children if child.name[0] == BPMN and child.name[1].endswith("EventDefinition")]
        if not definitions:
            return Event("none", element.line)
        if len(definitions) > 1:
            return Event("multiple", element.line)
        (definition,) = definitions
        kind = definition.name[1].removesuffix("EventDefinition")
        if kind == "error":
            reference = definition.get("errorRef")
            if reference and reference not in self.errors:
                self._refuse(
                    definition,
                    f'the event "{element.get("id")}" names the error "{reference}", which the file does not define',
                    element.get("id"),
                )
            code = self.errors.get(reference) or reference if reference else None
            return Event(
                kind, definition.line, code, definition.get("errorCodeVariable", CAMUNDA), definition.get("errorMessageVariable", CAMUNDA)
            )
        if kind == "timer":
            when = next(definition.all(BPMN, "timeDuration", "timeDate", "timeCycle"), None)
            if when is None or not when.text.strip():
                self._refuse(definition, f'the timer event "{element.get("id")}" says no duration and no date', element.get("id"))
                return Event(kind, definition.line)
            return Event(kind, definition.line, timer=when.name[1], when=extensions.text_of(when))
        return Event(kind, definition.line)


def _name(element: Element) -> str:
    return element.get("name") or ""


def _documentation(element: Element) -> str:
    return "\n".join(child.text.strip() for child in element.all(BPMN, "documentation"))


def _implementation(element: Element, properties: dict[str, str], connector: Connector | None) -> Implementation | None:
    """Who does a task, the first that the model names; None when it names nobody."""
    tag = element.name[1]
    if tag == "scriptTask":
        script = element.first(BPMN, "script")
        source, line = (script.text, script.line) if script is not None else ("", element.line)
        return Implementation("script", script=Script((element.get("scriptFormat") or "").strip().lower(), source, line))
    if tag == "businessRuleTask" and (decision := element.get("decisionRef", CAMUNDA)):
        return Implementation("decision", decision=decision, map_result=element.get("mapDecisionResult", CAMUNDA) or "resultList")
    if tag in ("userTask", "manualTask", "receiveTask"):
        return None
    if element.get("type", CAMUNDA) == "external" and (topic := element.get("topic", CAMUNDA)):
        return Implementation("external", topic)
    for attribute in ("class", "delegateExpression"):
        if name := element.get(attribute, CAMUNDA):
            return Implementation("class", name)
    if expression := element.get("expression", CAMUNDA):
        return Implementation("expression", expression=Text(expression, element.line))
    if connector is not None:
        return Implementation("http", connector.id or "http-connector")
    if all(properties.get(key) for key in ("service.type", "service.name", "service.version")):
        return Implementation("service", properties["service.name"])
    return None
