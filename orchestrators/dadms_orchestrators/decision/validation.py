"""``validate``: what can be said of a model before anybody runs it.

Rule 1: whatever loading found (syntax, unknown types and nodes, cycles) is an error.
Rule 2: names and types are checked where they are certain (``typecheck.py``).
Rule 3: a table's rules are drawn (``regions.py``): overlaps matter where the hit policy forbids or hides them, gaps where
there is no default, a rule is unreachable where those before it match wherever it would.
"""

from __future__ import annotations

from collections.abc import Iterator

from dadms_orchestrators.decision.boxed import TableRecord
from dadms_orchestrators.decision.errors import DecisionError, Place
from dadms_orchestrators.decision.feel import Scope, Source, syntax
from dadms_orchestrators.decision.feel.compiler import MISSING, constant_of
from dadms_orchestrators.decision.feel.parser import parse_expression, parse_unary_tests
from dadms_orchestrators.decision.feel.runtime import Exceeded
from dadms_orchestrators.decision.feel.temporaltext import parse_temporal
from dadms_orchestrators.decision.feel.types import Mismatch, coerce
from dadms_orchestrators.decision.feel.values import kind, same, show
from dadms_orchestrators.decision.findings import Finding
from dadms_orchestrators.decision.model import Model
from dadms_orchestrators.decision.regions import (
    MAX_DRAWING,
    MAX_GAPS,
    Box,
    Region,
    constants,
    covers,
    describe,
    overlap,
    passed,
    regions,
    uncovered,
)
from dadms_orchestrators.decision.tables import Column
from dadms_orchestrators.decision.typecheck import TypeCheck
from dadms_orchestrators.decision.xmltree import Element

MAX_OVERLAPS = 50  # that are reported of one table
MAX_FINDINGS = 1_000  # of one model; somebody who has more reads no further


def validate(model: Model) -> list[Finding]:
    """Return what is wrong, or most likely not meant, in a model and what it imports."""
    found: list[Finding] = []
    for part in model.everywhere():
        for finding in _of_model(part):
            found.append(finding)
            if len(found) >= MAX_FINDINGS:
                return found
    return found


def _of_model(model: Model) -> Iterator[Finding]:
    for error in model.errors:
        yield Finding("cycle" if "requires itself" in error.reason else "syntax", "error", error.reason, error.place)
    for text in model.texts:
        for finding in _of_text(text.source, text.scope, is_cell=text.is_cell):
            if finding.kind != "name" or not model.is_open:  # an open model gets names that it does not declare
                yield finding
    for record in model.tables:
        drawn = _Drawn(model, record)
        try:
            yield from drawn.findings()
        except Exceeded as limit:  # in a formula of allowed values, which is evaluated here
            yield Finding("size", "warning", f"{limit}, so that overlaps and gaps cannot be looked for", drawn.place())


def _of_text(source: Source, scope: Scope, *, is_cell: bool) -> Iterator[Finding]:
    found: list[Finding] = []

    def tell(what: str, offset: int, reason: str) -> None:
        found.append(Finding(what, "error", reason, source.place(offset)))

    check = TypeCheck(scope, tell)
    try:
        if is_cell:
            for node in parse_unary_tests(source.text, check.scope, parse_temporal).tests or []:
                check.walk(node)
        else:
            check.walk(parse_expression(source.text, check.scope, parse_temporal))
    except DecisionError:
        return  # reported by loading
    yield from found


class _Drawn:
    """One decision table, drawn."""

    def __init__(self, model: Model, record: TableRecord) -> None:
        self.model = model
        self.table = record.table
        self.element = record.element
        self.scope = record.scope
        self.head = record.table.head
        self.columns: list[list[Region] | None] = []
        self.wrong: list[Finding] = []
        self.boxes: list[Box] = []
        self.effort = 0  # rules times regions, to be tried

    def place(self, element: Element | None = None) -> Place:
        return Place(self.model.name, self.head.node, line=(element or self.element).line)

    def findings(self) -> Iterator[Finding]:
        """Return what is wrong with it."""
        self._draw()
        yield from self.wrong
        yield from self._outputs()
        drawable = [column for column in self.columns if column is not None]
        if self.effort > MAX_DRAWING:
            reason = f"{len(self.head.rules)} rules are too many to look for overlaps and gaps"
            yield Finding("size", "warning", reason, self.place())
            return
        if len(drawable) < len(self.columns) or not self.columns:
            return
        space = [self._allowed(at) for at in range(len(self.columns))]
        yield from self._empty()
        yield from self._overlaps()
        yield from self._unreachable(space)
        yield from self._gaps(space)

    def _cells(self, at: int) -> list[syntax.UnaryTests | None]:
        cells: list[syntax.UnaryTests | None] = []
        for rule in self.head.rules:
            try:
                cells.append(parse_unary_tests(rule.inputs[at] or "-", self.scope, parse_temporal))
            except DecisionError:
                cells.append(None)
        return cells

    def _draw(self) -> None:
        sides: list[list[frozenset[int] | None]] = []
        rule_tests = [dict(rule.tests) for rule in self.table.rules]
        rule_elements = list(self.element.all("rule"))
        for at, column in enumerate(self.table.inputs):
            cells = [constants(cell) if cell is not None else None for cell in self._cells(at)]
            known = [value for cell in cells if cell is not None for value in cell]
            self._column_types(column, cells, rule_elements)
            drawn = regions([*known, *self._limits(column)])
            if drawn is None and not known:
                drawn = [Region("-", None)]
            self.columns.append(drawn)
            self.effort += len(self.head.rules) * len(drawn or ())
            if drawn is None or self.effort > MAX_DRAWING:
                continue
            sides.append([None if cell is None else passed(tests.get(at), drawn) for cell, tests in zip(cells, rule_tests, strict=True)])
        if len(sides) == len(self.columns):
            self.boxes = [tuple(column[number] for column in sides) for number in range(len(self.head.rules))]

    def _limits(self, column: Column) -> list[object]:
        """Return the constants of a column's allowed values."""
        text = column.allowed_text or (column.type.allowed_text if column.type is not None else "")
        if column.type is not None and column.type.kind == "boolean":
            return [True]
        if not text:
            return []
        try:
            return constants(parse_unary_tests(text, self.scope, parse_temporal)) or []
        except DecisionError:
            return []

    def _allowed(self, at: int) -> frozenset[int]:
        column, drawn = self.table.inputs[at], self.columns[at] or []
        everything = frozenset(range(len(drawn)))
        if column.allowed is not None:
            return passed(column.allowed, drawn)
        if column.type is not None and column.type.allows is not None:
            allows = column.type.allows
            return frozenset(number for number in everything if allows(drawn[number].sample) is True)
        return everything

    def _column_types(self, column: Column, cells: list[list[object] | None], elements: list[Element]) -> None:
        wanted = column.type.kind if column.type is not None else None
        first: str | None = wanted if wanted not in (None, "Any", "list", "context", "range", "function") else None
        for number, cell in enumerate(cells):
            for value in cell or []:
                if value is None:
                    continue
                first = first or kind(value)
                if kind(value) != first:
                    reason = f'rule {number + 1} tests "{column.name}", a {first}, with the {kind(value)} {show(value)}'
                    self.wrong.append(Finding("type", "error", reason, self.place(elements[number]), (number + 1,)))

    def _outputs(self) -> Iterator[Finding]:
        elements = list(self.element.all("rule"))
        for number, rule in enumerate(self.head.rules):
            for column, text in zip(self.table.outputs, rule.outputs, strict=True):
                try:
                    value = constant_of(parse_expression(text, self.scope, parse_temporal))
                    if value is MISSING or value is None:
                        continue
                    coerce(value, column.type)
                except Mismatch as why:
                    yield Finding(
                        "type", "error", f'rule {number + 1}, "{column.name}": {why}', self.place(elements[number]), (number + 1,)
                    )
                    continue
                except DecisionError:
                    continue
                if column.allowed is not None and column.allowed(value, {}) is not True:
                    reason = f'rule {number + 1}, "{column.name}": {show(value)} is not among {column.allowed_text}'
                    yield Finding("type", "error", reason, self.place(elements[number]), (number + 1,))

    def _empty(self) -> Iterator[Finding]:
        for number, box in enumerate(self.boxes):
            for at, side in enumerate(box):
                if side is not None and not side:
                    reason = f'rule {number + 1} can never match: nothing passes "{self.head.rules[number].inputs[at]}"'
                    yield Finding("empty", "warning", reason, self._rule(number), (number + 1,))

    def _rule(self, number: int) -> Place:
        return self.place(list(self.element.all("rule"))[number])

    def _overlaps(self) -> Iterator[Finding]:
        policy = self.head.hit_policy
        if policy not in ("UNIQUE", "ANY"):
            return
        told = 0
        for second, box in enumerate(self.boxes):
            for first in range(second):
                if told >= MAX_OVERLAPS or not overlap(self.boxes[first], box):
                    continue
                if policy == "ANY" and self._same_outputs(first, second):
                    continue
                where = self._where(tuple((a or frozenset()) & (b or frozenset()) for a, b in zip(self.boxes[first], box, strict=True)))
                reason = f"rules {first + 1} and {second + 1} both match where {where}, and the hit policy is {policy}"
                told += 1
                yield Finding("overlap", "error", reason, self._rule(second), (first + 1, second + 1))

    def _same_outputs(self, first: int, second: int) -> bool:
        pairs = zip(self.head.rules[first].outputs, self.head.rules[second].outputs, strict=True)
        values = []
        for texts in pairs:
            if texts[0].split() == texts[1].split():
                continue
            try:
                values.append([constant_of(parse_expression(text, self.scope, parse_temporal)) for text in texts])
            except DecisionError:
                return False
        return all(a is MISSING or b is MISSING or same(a, b) for a, b in values)

    def _unreachable(self, space: list[frozenset[int]]) -> Iterator[Finding]:
        if self.head.hit_policy != "FIRST":
            return
        for number, box in enumerate(self.boxes):
            if all(side is not None and side for side in box) and covers(self.boxes[:number], box, space):
                reason = f"rule {number + 1} never decides: the rules before it match wherever it does"
                yield Finding("unreachable", "warning", reason, self._rule(number), (number + 1,))

    def _gaps(self, space: list[frozenset[int]]) -> Iterator[Finding]:
        if any(column.default is not None for column in self.table.outputs) or self.head.hit_policy == "COLLECT":
            return
        for count, gap in enumerate(uncovered(self.boxes, space)):
            if count >= MAX_GAPS:
                return
            yield Finding("gap", "warning", f"no rule matches where {self._where(gap)}, and there is no default", self.place())

    def _where(self, chosen: tuple[frozenset[int], ...]) -> str:
        parts = []
        for at, side in enumerate(chosen):
            drawn = self.columns[at] or []
            words = describe(drawn, side, frozenset(range(len(drawn))))
            if words != "-":
                parts.append(f"{self.table.inputs[at].name} is {words}")
        return " and ".join(parts) or "the inputs are anything"
