"""The XML of a decision table to a ``Table``.

Rule 1: a cell sees the names of the table's place, and ``?`` for the input's value.
Rule 2: priorities are the order of the output values; without them, of the allowed values of the output's type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dadms_orchestrators.decision.errors import DecisionError
from dadms_orchestrators.decision.feel import BUILTIN_SCOPE, Scope, syntax
from dadms_orchestrators.decision.feel.compiler import MISSING, constant_of
from dadms_orchestrators.decision.feel.parser import parse_unary_tests
from dadms_orchestrators.decision.feel.temporaltext import parse_temporal
from dadms_orchestrators.decision.hits import AGGREGATION, POLICIES, POLICY
from dadms_orchestrators.decision.tables import Column, Rule, Table
from dadms_orchestrators.decision.trace import RuleCells, TableHead
from dadms_orchestrators.decision.xmltree import Element

if TYPE_CHECKING:
    from dadms_orchestrators.decision.boxed import Writer


def build_table(writer: Writer, element: Element, scope: Scope) -> Table | DecisionError:
    """Return the table, or why it is none."""
    written = element.get("hitPolicy", "UNIQUE").strip()
    policy = POLICIES.get(written, written)
    aggregation = element.get("aggregation").strip()
    if policy not in POLICY:
        return DecisionError("cannot compile", f'"{written}" is no hit policy')
    if aggregation and aggregation not in AGGREGATION:
        return DecisionError("cannot compile", f'"{aggregation}" is no aggregation')
    inputs = [_input(writer, column, scope) for column in element.all("input")]
    outputs = [_output(writer, column, scope) for column in element.all("output")]
    if not outputs:
        return DecisionError("cannot compile", "the table has no output")
    rules, cells = [], []
    for number, rule in enumerate(element.all("rule"), start=1):
        tests, results = list(rule.all("inputEntry")), list(rule.all("outputEntry"))
        if len(tests) != len(inputs) or len(results) != len(outputs):
            given = f"{len(tests)} inputs and {len(results)} outputs"
            return DecisionError("cannot compile", f"rule {number} has {given}, the table {len(inputs)} and {len(outputs)}")
        rules.append(_rule(writer, tests, results, scope))
        cells.append(
            RuleCells(
                number,
                tuple(test.text_of("text") for test in tests),
                tuple(result.text_of("text") for result in results),
                "; ".join(note.text_of("text") for note in rule.all("annotationEntry")) or rule.text_of("description"),
                rule.get("id"),
            )
        )
    head = TableHead(
        writer.node,
        element.get("outputLabel") or element.get("id"),
        policy,
        tuple(column.name for column in inputs),
        tuple(column.name for column in outputs),
        tuple(cells),
    )
    return Table(head, writer.source(element), inputs, outputs, rules, aggregation)


def _rule(writer: Writer, tests: list[Element], results: list[Element], scope: Scope) -> Rule:
    compiled = ((at, writer.tests(test.child("text"), scope)) for at, test in enumerate(tests))
    outputs = [writer.text(result.child("text"), scope) or (lambda _: None) for result in results]
    return Rule([(at, test) for at, test in compiled if test is not None], outputs)


def _input(writer: Writer, element: Element, scope: Scope) -> Column:
    expression = element.child("inputExpression")
    text = expression.child("text") if expression is not None else None
    value = writer.text(text, scope) or (lambda _: None)
    name = element.get("label") or (text.text.strip() if text is not None else "")
    wanted = writer.type_of(expression.get("typeRef"), expression) if expression is not None else None
    allowed = element.child("inputValues")
    allowed_text = allowed.child("text") if allowed is not None else None
    return Column(
        name,
        value,
        writer.tests(allowed_text, scope),
        allowed_text.text.strip() if allowed_text is not None else "",
        wanted,
    )


def _output(writer: Writer, element: Element, scope: Scope) -> Column:
    allowed = element.child("outputValues")
    text = allowed.child("text") if allowed is not None else None
    default = element.child("defaultOutputEntry")
    name = element.get("name") or element.get("label")
    if name:
        writer.members.add(name)
    wanted = writer.type_of(element.get("typeRef"), element)
    order_text = text.text if text is not None else (wanted.allowed_text if wanted is not None else "")
    return Column(
        name or "output",
        None,
        writer.tests(text, scope),
        text.text.strip() if text is not None else "",
        wanted,
        _order(order_text),
        writer.text(default.child("text"), scope) if default is not None else None,
    )


def _order(text: str) -> list[Any] | None:
    if not text.strip():
        return None
    try:
        tests = parse_unary_tests(text, BUILTIN_SCOPE, parse_temporal)
    except DecisionError:
        return None  # reported where the values are compiled
    nodes = tests.tests or []
    if len(nodes) == 1 and isinstance(nodes[0], syntax.ListNode):
        nodes = nodes[0].items
    constants = [constant_of(node) for node in nodes]
    return None if any(constant is MISSING for constant in constants) else constants
