"""What Camunda's extension elements say: properties, parameters, connectors, forms and the mappings of calls.

Rule: an element in a place that Camunda does not define (an outputParameter outside of inputOutput) is not executed; it is listed as unused, so that a warning names it.
"""

from __future__ import annotations

from dadms_orchestrators.bpmn.markup import Element
from dadms_orchestrators.bpmn.model import Connector, FormField, Mapping, Node, Parameter, Script, Text, Value

BPMN = "http://www.omg.org/spec/BPMN/20100524/MODEL"
CAMUNDA = "http://camunda.org/schema/1.0/bpmn"


def text_of(element: Element) -> Text:
    """Its text without the space around it, and the line on which that begins."""
    return Text(element.text.strip(), element.text_line)


def read(element: Element, node: Node) -> None:
    """Put what the extension elements of a node say into it."""
    node.result_variable = element.get("resultVariable", CAMUNDA) or ""
    node.groups = element.get("candidateGroups", CAMUNDA) or ""
    assignee = element.get("assignee", CAMUNDA)
    node.assignee = Text(assignee, element.line) if assignee else None
    unused: list[tuple[str, int]] = []
    for extension in element.all(BPMN, "extensionElements"):
        for properties in extension.all(CAMUNDA, "properties"):
            for entry in properties.all(CAMUNDA, "property"):
                node.properties = {**node.properties, entry.get("name") or "": entry.get("value") or ""}
        for mapping in extension.all(CAMUNDA, "inputOutput"):
            node.inputs += _parameters(mapping, "inputParameter")
            node.outputs += _parameters(mapping, "outputParameter")
        for connector in extension.all(CAMUNDA, "connector"):
            node.connector = _connector(connector)
            unused += [(child.name[1], child.line) for child in connector.all(CAMUNDA, "outputParameter", "inputParameter")]
        for form in extension.all(CAMUNDA, "formData"):
            node.fields += tuple(_field(entry) for entry in form.all(CAMUNDA, "formField"))
        unused += [(child.name[1], child.line) for child in extension.all(CAMUNDA, "outputParameter", "inputParameter")]
        unused += [(child.name[1], child.line) for child in extension.all(CAMUNDA, "executionListener", "taskListener")]
    node.unused += tuple(unused)


def _parameters(element: Element, kind: str) -> tuple[Parameter, ...]:
    return tuple(Parameter(child.get("name") or "", _value(child), child.line) for child in element.all(CAMUNDA, kind))


def _value(element: Element) -> Value:
    """The value of a parameter or of an entry; depth is bounded by that of the XML."""
    for child in element.children:
        if child.name[0] != CAMUNDA:
            continue
        if child.name[1] == "script":
            return Script((child.get("scriptFormat") or "").strip().lower(), child.text, child.line)
        if child.name[1] == "map":
            return {entry.get("key") or "": _value(entry) for entry in child.all(CAMUNDA, "entry")}
        if child.name[1] == "list":
            return [_item(item) for item in child.all(CAMUNDA, "value", "script", "map", "list")]
    text = text_of(element)
    return text if text.source else None


def _item(element: Element) -> Value:
    """An item of a list: text, or a definition that stands there itself."""
    if element.name[1] == "value":
        return text_of(element)
    shell = Element(element.name, {}, element.line)
    shell.children.append(element)
    return _value(shell)


def _connector(element: Element) -> Connector:
    identifier = element.first(CAMUNDA, "connectorId")
    inputs: tuple[Parameter, ...] = ()
    outputs: tuple[Parameter, ...] = ()
    for mapping in element.all(CAMUNDA, "inputOutput"):
        inputs += _parameters(mapping, "inputParameter")
        outputs += _parameters(mapping, "outputParameter")
    return Connector(identifier.text.strip() if identifier is not None else "", inputs, outputs, element.line)


def _field(element: Element) -> FormField:
    constraints = {
        entry.get("name") or "": entry.get("config")
        for part in element.all(CAMUNDA, "validation")
        for entry in part.all(CAMUNDA, "constraint")
    }
    properties = {
        entry.get("id") or "": entry.get("value") for part in element.all(CAMUNDA, "properties") for entry in part.all(CAMUNDA, "property")
    }
    default = element.get("defaultValue")
    return FormField(
        name=element.get("id") or "",
        label=element.get("label") or "",
        type=element.get("type") or "string",
        default=Text(default, element.line) if default is not None else None,
        required="required" in constraints and constraints["required"] != "false",
        readonly="readonly" in constraints or properties.get("readonly") == "true",
        choices=tuple(entry.get("id") or "" for entry in element.all(CAMUNDA, "value")),
        line=element.line,
    )


def mappings(element: Element) -> tuple[tuple[Mapping, ...], tuple[Mapping, ...]]:
    """camunda:in and camunda:out of a call activity; a business key is no variable and is left out."""
    found: dict[str, list[Mapping]] = {"in": [], "out": []}
    for extension in element.all(BPMN, "extensionElements"):
        for child in extension.all(CAMUNDA, "in", "out"):
            if child.get("businessKey") is not None:
                continue
            expression = child.get("sourceExpression")
            found[child.name[1]].append(
                Mapping(
                    source=child.get("source"),
                    expression=Text(expression, child.line) if expression else None,
                    target=child.get("target"),
                    everything=child.get("variables") == "all",
                    line=child.line,
                )
            )
    return tuple(found["in"]), tuple(found["out"])
