"""A decision model, compiled: its requirement graph, its types, and what is wrong with it.

Rule 1: loading reads and compiles everything once; a ``Model`` never changes after it, and threads may share it.
Rule 2: a node sees what it requires, under the names of their variables, and nothing else.
Rule 3: a model drawn for Camunda 7 is open: it sees every input that is given, and what it requires also under the names of
its tables' outputs. The standard has no such thing, and such models mean nothing without it.
Rule 4: an import is a context of its nodes under the import's name; one without a name puts them beside the model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from dadms_orchestrators.decision.boxed import EXPRESSIONS, TableRecord, TextRecord, Writer, function_of
from dadms_orchestrators.decision.errors import DecisionError, Place, position
from dadms_orchestrators.decision.feel import BUILTIN_SCOPE, Evaluate, Names, Scope, Source, unary_tests
from dadms_orchestrators.decision.feel.types import Type
from dadms_orchestrators.decision.itemtypes import UNNAMED, ItemTypes
from dadms_orchestrators.decision.xmltree import Element, parse_xml

Resolve = Callable[[str], bytes]
MAX_IMPORTS = 200  # models that one model brings in, each counted once
DMN, BPMN = "/spec/DMN/", "/spec/BPMN/"  # in the namespaces of all their versions
CAMUNDA = "http://camunda.org/schema/1.0/dmn"
NODE_KINDS = {
    "inputData": "input",
    "decision": "decision",
    "businessKnowledgeModel": "knowledge",
    "decisionService": "service",
}


class Requirement(msgspec.Struct):
    """What a node requires, and under which name it sees it."""

    prefix: str  # name of the import, or nothing
    name: str
    node: Node


class Node(msgspec.Struct, eq=False):
    """One node of a requirement graph."""

    id: str
    name: str
    kind: str  # one of NODE_KINDS' values
    element: Element
    model: Model
    variable: str  # the name by which others see it
    type: Type | None = None
    requires: list[Requirement] = []
    logic: Evaluate | None = None
    outputs: list[Node] = []  # of a service
    parameters: list[Node] = []  # of a service: input data, then input decisions
    function: Any = None  # of a knowledge model or service, once made


class Model:
    """A model that can be evaluated."""

    def __init__(self, name: str, root: Element) -> None:
        """Hold the model of a document."""
        self.name = root.get("name") or name
        self.file = name
        self.namespace = root.get("namespace")
        self.root = root
        self.is_open = _is_open(root)
        self.imports: dict[str, Model] = {}
        self.nodes: dict[str, Node] = {}  # by id
        self.by_name: dict[str, Node] = {}
        self.errors: list[DecisionError] = []
        self.tables: list[TableRecord] = []
        self.texts: list[TextRecord] = []
        self.members = Names()
        self.types = ItemTypes(root, {}, lambda _, __: None)

    def find(self, name: str) -> Node | None:
        """Return the node with an id or a name; ``import.name`` looks into an import."""
        found = self.nodes.get(name) or self.by_name.get(name)
        if found is not None:
            return found
        prefix, dot, rest = name.partition(".")
        if dot and prefix in self.imports:
            return self.imports[prefix].find(rest)
        beside = (imported.find(name) for prefix, imported in self.imports.items() if prefix.startswith(UNNAMED))
        return next((node for node in beside if node is not None), None)

    def decisions(self) -> list[str]:
        """Return the names of the model's decisions, in its order."""
        return [node.name for node in self.nodes.values() if node.kind == "decision"]

    def inputs(self) -> dict[str, str]:
        """Return the model's inputs with the names of their types."""
        return {node.variable: str(node.type or "Any") for node in self.nodes.values() if node.kind == "input"}

    def everywhere(self) -> Iterator[Model]:
        """Iterate over this model and what it imports, each once."""
        seen: dict[int, Model] = {}
        waiting = [self]
        while waiting:
            model = waiting.pop()
            if id(model) not in seen:
                seen[id(model)] = model
                yield model
                waiting.extend(model.imports.values())


def _is_open(root: Element) -> bool:
    """Say whether a model was drawn for Camunda 7, whose decisions see every input, and results by the names of outputs."""
    return CAMUNDA in root.prefixes.values() or root.get("executionPlatform") == "Camunda Platform"


def load_model(source: bytes | str, *, name: str = "<model>", resolve: Resolve | None = None, strict: bool = True) -> Model:
    """Read and compile a model; raise ``DecisionError`` with the first thing that is wrong with it.

    ``resolve`` returns the bytes of an imported model, given the import's location; raising KeyError, ValueError or OSError, it is
    asked once more, for the import's namespace.
    With ``strict=False`` expressions that cannot be compiled are null when they run, and stand in ``Model.errors``.
    """
    loader = _Loader(resolve)
    model = loader.load(source, name)
    if strict:
        for found in model.everywhere():
            if found.errors:
                raise found.errors[0]
    return model


class _Loader:
    """Loads a model with its imports."""

    def __init__(self, resolve: Resolve | None) -> None:
        self.resolve = resolve
        self.loaded: dict[str, Model] = {}  # by location
        self.loading: list[str] = []

    def load(self, source: bytes | str, name: str) -> Model:
        root = parse_xml(source, name)
        if root.tag != "definitions":
            raise DecisionError(f'cannot read "{name}"', f"its root is {root.tag}, not definitions", Place(name))
        if root.namespace and DMN not in root.namespace:
            strange = f"its root is in the namespace {root.namespace}, which is none of DMN's"
            raise DecisionError(
                f'cannot read "{name}"', "this is a BPMN model" if BPMN in root.namespace else strange, Place(name, line=root.line)
            )
        model = Model(name, root)
        for element in root.all("import"):
            if "DMN" in element.get("importType") or "dmn" in element.get("importType"):
                key = element.get("name").strip() or f"{UNNAMED}{len(model.imports)}"
                model.imports[key] = self._import(element, model)
        _compile(model)
        return model

    def _found(self, where: str, namespace: str, what: str, place: Place) -> bytes:
        """Ask for a model by its location, then by its namespace."""
        if self.resolve is None:
            raise DecisionError(what, "nothing was given that finds imported models", place)
        try:
            return self.resolve(where)
        except (OSError, KeyError, ValueError) as error:
            if namespace and namespace != where:
                return self._found(namespace, "", what, place)
            raise DecisionError(what, f"it was not found: {error}", place) from error

    def _import(self, element: Element, model: Model) -> Model:
        where = element.get("locationURI") or element.get("namespace")
        what = f'cannot import "{where}" into "{model.name}"'
        place = Place(model.name, line=element.line)
        for key in (element.get("namespace"), where):
            if key in self.loaded:
                return self.loaded[key]
        if where in self.loading:
            raise DecisionError(what, f"the imports go round: {' -> '.join([*self.loading, where])}", place)
        if len(self.loaded) >= MAX_IMPORTS:
            raise DecisionError(what, f"more than {MAX_IMPORTS} models are imported", place)
        data = self._found(where, element.get("namespace"), what, place)
        self.loading.append(where)
        found = self.load(data, where)
        self.loading.pop()
        self.loaded[where] = found
        self.loaded.setdefault(found.namespace, found)
        return found


def _compile(model: Model) -> None:
    """Fill a model from its document."""

    def report(error: DecisionError, source: Source) -> None:
        offset = getattr(error, "offset", 0)
        line, column = position(source.text, offset)
        place = Place(source.model, source.node, source.text.strip(), source.line + line - 1, column)
        model.errors.append(DecisionError(f'cannot compile "{source.node}"', error.reason, place))

    def constraint(text: Element, name: str) -> Any:
        source = Source(text.text, model.name, name, text.text_line or text.line)
        try:
            test = unary_tests(source, BUILTIN_SCOPE, model.types.lookup)
        except DecisionError as error:
            report(error, source)
            return lambda _: None
        return None if test is None else (lambda value: test(value, {}))

    prefixed = {prefix: imported.types for prefix, imported in model.imports.items()}
    for prefix, uri in model.root.prefixes.items():
        found = next((imported for imported in model.imports.values() if imported.namespace == uri), None)
        if found is not None:
            prefixed[prefix] = found.types
    model.types = ItemTypes(model.root, prefixed, constraint)
    _collect_members(model)
    for element in model.root.children:
        if element.tag in NODE_KINDS:
            _add_node(model, element)
    for imported in model.imports.values():
        for name in imported.by_name:
            model.members.add(name)
        model.members.by_words.update(imported.members.by_words)
        model.members.longest = max(model.members.longest, imported.members.longest)
    nodes = list(model.nodes.values())
    for node in nodes:
        _connect(model, node, report)
    for node in nodes:
        writer = Writer(model.name, node.name, model.types.lookup, model.members, report, model.tables, model.texts)
        variable = node.element.child("variable")
        if variable is not None:
            node.type = writer.type_of(variable.get("typeRef"), variable)
    for node in nodes:
        writer = Writer(model.name, node.name, model.types.lookup, model.members, report, model.tables, model.texts)
        _compile_node(writer, node)
    _refuse_cycles(model, report)


def _collect_members(model: Model) -> None:
    """Learn the names of components, which may stand after dots and in filters."""
    waiting = [element for element in model.root.children if element.tag == "itemDefinition"]
    while waiting:
        element = waiting.pop()
        waiting.extend(element.all("itemComponent"))
        if element.tag == "itemComponent":
            model.members.add(element.get("name"))


def _add_node(model: Model, element: Element) -> None:
    variable = element.child("variable")
    name = element.get("name")
    seen_as = (variable.get("name") if variable is not None else "") or name
    node = Node(element.get("id") or name, name, NODE_KINDS[element.tag], element, model, seen_as)
    model.nodes[node.id] = node
    model.by_name.setdefault(name, node)
    model.members.add(seen_as)


def _connect(model: Model, node: Node, report: Callable[[DecisionError, Source], None]) -> None:
    """Find what a node requires."""

    def target(reference: Element) -> Requirement | None:
        namespace, hash_sign, local = reference.get("href").rpartition("#")
        if not hash_sign:
            namespace, local = "", reference.get("href")
        if not namespace or namespace == model.namespace:
            found = model.nodes.get(local)
            return Requirement("", found.variable, found) if found else None
        for prefix, imported in model.imports.items():
            if namespace in (imported.namespace, imported.file) and local in imported.nodes:
                found = imported.nodes[local]
                return Requirement("" if prefix.startswith(UNNAMED) else prefix, found.variable, found)
        return None

    def need(reference: Element | None) -> Requirement | None:
        if reference is None:
            return None
        found = target(reference)
        if found is None:
            source = Source("", model.name, node.name, reference.line)
            report(DecisionError("", f'"{reference.get("href")}" is no node of the model or its imports'), source)
        return found

    for requirement in node.element.all("informationRequirement", "knowledgeRequirement"):
        found = need(requirement.child("requiredInput", "requiredDecision", "requiredKnowledge"))
        if found is not None:
            node.requires.append(found)
    if node.kind == "service":
        for tag, into in (("outputDecision", node.outputs), ("inputData", node.parameters), ("inputDecision", node.parameters)):
            for reference in node.element.all(tag):
                found = need(reference)
                if found is not None:
                    into.append(found.node)


def _is_data(node: Node) -> bool:
    """Say whether a node's declared type is that of its value; that of a function is its result's in older models."""
    return node.kind in ("input", "decision") and node.type is not None


def _compile_node(writer: Writer, node: Node) -> None:
    names = [requirement.prefix or requirement.name for requirement in node.requires]
    types = {found.name: found.node.type for found in node.requires if not found.prefix and _is_data(found.node)}
    scope = Scope(names, types=types, outer=Scope(BUILTIN_SCOPE.names.by_words.values(), members=writer.members), members=writer.members)
    if node.kind == "decision":
        logic = writer.boxed(node.element.child(*EXPRESSIONS), scope)
        if logic is not None:
            node.logic = writer.coerced(logic, node.type, node.element)
    elif node.kind == "knowledge":
        body = node.element.child("encapsulatedLogic")
        if body is not None:
            scope.names.add(node.variable)  # a knowledge model may call itself
            node.logic = function_of(writer, body, scope, node.name)


def _refuse_cycles(model: Model, report: Callable[[DecisionError, Source], None]) -> None:
    """Report every node that requires itself, through others or at once."""
    done: set[int] = set()
    for start in model.nodes.values():
        path: list[Node] = []
        on_path: set[int] = set()
        stack: list[tuple[Node, Iterator[Requirement]]] = []
        if id(start) in done:
            continue
        stack.append((start, iter(start.requires)))
        path.append(start)
        on_path.add(id(start))
        while stack:
            node, rest = stack[-1]
            step = next(rest, None)
            if step is None:
                stack.pop()
                path.pop()
                on_path.discard(id(node))
                done.add(id(node))
            elif id(step.node) in on_path:
                if step.node is not node or node.kind != "knowledge":
                    names = [found.name for found in path[path.index(step.node) :]] + [step.node.name]
                    source = Source("", model.name, step.node.name, step.node.element.line)
                    report(DecisionError("", f"it requires itself: {' -> '.join(names)}"), source)
            elif id(step.node) not in done:
                stack.append((step.node, iter(step.node.requires)))
                path.append(step.node)
                on_path.add(id(step.node))
