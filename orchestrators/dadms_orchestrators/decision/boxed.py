"""Boxed expressions to closures: everything that can stand where a literal expression can.

Rule 1: a boxed expression compiles to the same kind of closure as a text, so neither knows where it stands.
Rule 2: an expression that cannot be read is a finding of the model; its closure is null and says why each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from dadms_orchestrators.decision.errors import DecisionError, LimitExceeded
from dadms_orchestrators.decision.feel import Env, Evaluate, Names, Scope, Source, expression, unary_tests
from dadms_orchestrators.decision.feel.calls import call
from dadms_orchestrators.decision.feel.compiler import Compiler, choice
from dadms_orchestrators.decision.feel.java import java_function
from dadms_orchestrators.decision.feel.loops import TOO_MANY_ROUNDS, filtered, items_of
from dadms_orchestrators.decision.feel.runtime import Exceeded, Null, fail, note
from dadms_orchestrators.decision.feel.types import ANY, Lookup, Mismatch, Type, coerce
from dadms_orchestrators.decision.feel.unary import Test
from dadms_orchestrators.decision.feel.values import MAX_ITEMS, Function, kind
from dadms_orchestrators.decision.tablereader import build_table
from dadms_orchestrators.decision.tables import Table, runner
from dadms_orchestrators.decision.xmltree import Element

EXPRESSIONS = (
    "literalExpression", "decisionTable", "context", "relation", "list", "invocation", "functionDefinition",
    "conditional", "filter", "for", "every", "some",
)  # fmt: skip


class TextRecord(msgspec.Struct, frozen=True):
    """A FEEL text of a model and what it sees."""

    source: Source
    scope: Scope
    is_cell: bool


class TableRecord(msgspec.Struct, frozen=True):
    """A decision table of a model, where it stands and what it sees."""

    table: Table
    element: Element
    scope: Scope


class Writer(msgspec.Struct):
    """What compiling one node of a model needs: where it is, what types there are, and whom to tell of errors."""

    model: str
    node: str
    lookup: Lookup
    members: Names
    report: Callable[[DecisionError, Source], None]
    tables: list[TableRecord] = []  # kept for ``validate``
    texts: list[TextRecord] = []  # likewise

    def source(self, element: Element) -> Source:
        """Return the FEEL text of an element."""
        return Source(element.text, self.model, self.node, element.text_line or element.line)

    def broken(self, error: DecisionError, source: Source) -> Evaluate:
        """Report an error and return the closure that stands for it."""
        self.report(error, source)
        offset = getattr(error, "offset", 0)

        def run(_: Env) -> None:
            fail(source, offset, error.reason)

        return run

    def text(self, element: Element | None, scope: Scope) -> Evaluate | None:
        """Compile the FEEL text of an element, None where there is none."""
        if element is None or not element.text.strip():
            return None
        source = self.source(element)
        self.texts.append(TextRecord(source, scope, is_cell=False))
        try:
            return expression(source, scope, self.lookup)
        except DecisionError as error:
            return self.broken(error, source)

    def tests(self, element: Element | None, scope: Scope) -> Test | None:
        """Compile a cell, None for one that always matches."""
        if element is None or not element.text.strip():
            return None
        source = self.source(element)
        self.texts.append(TextRecord(source, scope, is_cell=True))
        try:
            return unary_tests(source, scope, self.lookup)
        except DecisionError as error:
            null = self.broken(error, source)
            return lambda _, env: null(env)

    def type_of(self, reference: str, element: Element) -> Type | None:
        """Return the type that an attribute names, None where it names none; an unknown one is reported."""
        if not reference:
            return None
        found = self.lookup(reference)
        if found is None:
            source = Source(reference, self.model, self.node, element.line)
            self.report(DecisionError("cannot compile", f'"{reference}" is no type that is known here'), source)
        return found

    def coerced(self, value_of: Evaluate, wanted: Type | None, element: Element) -> Evaluate:
        """Return a closure whose value has a type."""
        if wanted is None or (wanted.kind == "Any" and wanted.allows is None):
            return value_of
        source = Source("", self.model, self.node, element.line)

        def run(env: Env) -> Any:
            value = value_of(env)
            if value is None:
                return None
            try:
                return coerce(value, wanted)
            except Mismatch as why:
                fail(source, 0, str(why))
                return None

        return run

    def boxed(self, element: Element | None, scope: Scope) -> Evaluate | None:
        """Compile a boxed expression, None where there is none."""
        if element is None:
            return None
        try:
            compiled = _COMPILERS[element.tag](self, element, scope)
        except RecursionError:
            raise LimitExceeded("cannot compile", f"{element.tag} is nested too deep", self.source(element).place(0)) from None
        if compiled is None or not element.get("typeRef") or element.tag in ("functionDefinition", "decisionTable"):
            return compiled
        return self.coerced(compiled, self.type_of(element.get("typeRef"), element), element)

    def below(self, element: Element | None, scope: Scope) -> Evaluate:
        """Compile the boxed expression inside an element; nothing there is null."""
        found = self.boxed(element.child(*EXPRESSIONS), scope) if element is not None else None
        return found or (lambda _: None)

    def inner(self, scope: Scope, names: Iterable[str], types: Iterable[Type] = ()) -> Scope:
        """Open a scope with more names."""
        listed = list(names)
        return Scope(listed, outer=scope, types=dict(zip(listed, types, strict=False)))


def _literal(writer: Writer, element: Element, scope: Scope) -> Evaluate | None:
    language = element.get("expressionLanguage")
    if language and "feel" not in language.lower():
        source = writer.source(element)
        return writer.broken(DecisionError("cannot compile", f"expressions in {language} are not evaluated"), source)
    return writer.text(element.child("text"), scope)


def _context(writer: Writer, element: Element, scope: Scope) -> Evaluate:
    inner = writer.inner(scope, ())
    entries: list[tuple[str, Evaluate]] = []
    result: Evaluate | None = None
    for entry in element.all("contextEntry"):
        variable = entry.child("variable")
        value = writer.below(entry, inner)
        if variable is None:
            result = value
            continue
        name = variable.get("name")
        value = writer.coerced(value, writer.type_of(variable.get("typeRef"), variable), variable)
        entries.append((name, value))
        inner.names.add(name)
        inner.members.add(name)

    def run(env: Env) -> Any:
        local = dict(env)
        made = {}
        for name, value in entries:
            made[name] = local[name] = value(local)
        return made if result is None else result(local)

    return run


def _list(writer: Writer, element: Element, scope: Scope) -> Evaluate:
    items = [writer.boxed(child, scope) for child in element.all(*EXPRESSIONS)]
    return lambda env: [None if item is None else item(env) for item in items]


def _relation(writer: Writer, element: Element, scope: Scope) -> Evaluate:
    columns = [column.get("name") for column in element.all("column")]
    types = [writer.type_of(column.get("typeRef"), column) for column in element.all("column")]
    for name in columns:
        writer.members.add(name)
    rows = []
    for row in element.all("row"):
        cells = [writer.boxed(cell, scope) for cell in row.all(*EXPRESSIONS)]
        rows.append([writer.coerced(cell or (lambda _: None), wanted, row) for cell, wanted in zip(cells, types, strict=False)])
    return lambda env: [dict(zip(columns, (cell(env) for cell in row), strict=False)) for row in rows]


def _invocation(writer: Writer, element: Element, scope: Scope) -> Evaluate:
    function_of = writer.below(element, scope)
    bindings: list[tuple[str, Evaluate]] = []
    for binding in element.all("binding"):
        parameter = binding.child("parameter")
        if parameter is not None:
            value = writer.below(binding, scope)
            bindings.append((parameter.get("name"), writer.coerced(value, writer.type_of(parameter.get("typeRef"), parameter), parameter)))
    source = writer.source(element)
    names = [name for name, _ in bindings]

    def run(env: Env) -> Any:
        function = function_of(env)
        if function.__class__ is not Function:
            fail(source, 0, f"a {kind(function)} cannot be invoked")
            return None
        values = [value(env) for _, value in bindings]
        try:
            return call(function, values, names or None)
        except (Null, Mismatch, ArithmeticError) as why:
            fail(source, 0, f"{function.name}: {why}")
            return None
        except Exceeded as limit:
            raise limit.at(source, 0) from None

    return run


def parameters_of(writer: Writer, element: Element) -> tuple[list[str], list[Type]]:
    """Return names and types of formal parameters."""
    found = list(element.all("formalParameter"))
    types = [writer.type_of(parameter.get("typeRef"), parameter) or ANY for parameter in found]
    return [parameter.get("name") for parameter in found], types


def function_of(writer: Writer, element: Element, scope: Scope, name: str = "function") -> Evaluate:
    """Compile a function definition or the encapsulated logic of a business knowledge model."""
    names, types = parameters_of(writer, element)
    body = writer.below(element, writer.inner(scope, names, types))
    result = writer.type_of(element.get("typeRef"), element) if element.get("typeRef") else None
    if result is not None and result.kind == "function":
        result = None  # the type of the function itself, not of what it returns
    source = writer.source(element)
    match element.get("kind", "FEEL").upper():
        case "JAVA":
            compiler = Compiler(source, writer.lookup)
            return lambda env: java_function(compiler, {"java": body(env)}, names, types, 0)
        case "PMML":
            return writer.broken(DecisionError("cannot compile", "functions in PMML are not evaluated"), source)

    def build(env: Env) -> Function:
        def run(*values: Any) -> Any:
            return body({**env, **dict(zip(names, values, strict=True))})

        return Function(names, run, name, types, result)

    return build


def _conditional(writer: Writer, element: Element, scope: Scope) -> Evaluate:
    condition, yes, no = (writer.below(element.child(tag), scope) for tag in ("if", "then", "else"))
    return choice(Compiler(writer.source(element), writer.lookup), condition, yes, no, 0)


def _filter(writer: Writer, element: Element, scope: Scope) -> Evaluate:
    base_of = writer.below(element.child("in"), scope)
    condition = writer.below(element.child("match"), Scope(("item",), outer=scope, is_filter=True))
    compiler = Compiler(writer.source(element), writer.lookup)
    return lambda env: filtered(compiler, base_of(env), condition, env, 0)


def _iterator(writer: Writer, element: Element, scope: Scope) -> Evaluate:
    variable = element.get("iteratorVariable")
    domain = writer.below(element.child("in"), scope)
    names = (variable, "partial") if element.tag == "for" else (variable,)
    body = writer.below(element.child("return", "satisfies"), writer.inner(scope, names))
    source, tag = writer.source(element), element.tag
    uses_partial = tag == "for" and _mentions(element, "partial")  # a copy each round is quadratic

    def run(env: Env) -> Any:
        results: list[Any] = []
        try:
            for item in items_of(domain(env)):
                if len(results) >= MAX_ITEMS:
                    raise Exceeded(TOO_MANY_ROUNDS)
                results.append(body({**env, variable: item, "partial": results.copy() if uses_partial else results}))
        except Null as why:
            note(source, 0, str(why))
            return None
        except Exceeded as limit:
            raise limit.at(source, 0) from None
        if tag == "for":
            return results
        decisive = tag == "some"
        if any(result is decisive for result in results):
            return decisive
        return (not decisive) if all(result.__class__ is bool for result in results) else None

    return run


def _mentions(element: Element, word: str) -> bool:
    """Say whether a word stands in a text of an element."""
    return word in element.text or any(_mentions(child, word) for child in element.children)


def _table(writer: Writer, element: Element, scope: Scope) -> Evaluate:
    table = build_table(writer, element, scope)
    if isinstance(table, DecisionError):
        return writer.broken(table, writer.source(element))
    writer.tables.append(TableRecord(table, element, scope))
    return runner(table)


_COMPILERS: dict[str, Callable[[Writer, Element, Scope], Evaluate | None]] = {
    "literalExpression": _literal,
    "decisionTable": _table,
    "context": _context,
    "relation": _relation,
    "list": _list,
    "invocation": _invocation,
    "functionDefinition": function_of,
    "conditional": _conditional,
    "filter": _filter,
    "for": _iterator,
    "every": _iterator,
    "some": _iterator,
}
