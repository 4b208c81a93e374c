"""Decision tables to closures.

Rule 1: an input is evaluated once a run; a rule is left at its first test that does not hold.
Rule 2: cells that always match cost nothing: they are not there when the table runs.
Rule 3: outputs are evaluated for matching rules only.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import DecimalException
from typing import Any

import msgspec

from dadms_orchestrators.decision.feel import Env, Evaluate, Source
from dadms_orchestrators.decision.feel.runtime import Null, current, fail
from dadms_orchestrators.decision.feel.types import Mismatch, Type, coerce
from dadms_orchestrators.decision.feel.unary import Test
from dadms_orchestrators.decision.feel.values import show
from dadms_orchestrators.decision.hits import AGGREGATION, MANY, POLICY
from dadms_orchestrators.decision.trace import TableHead, TableTrace


class Column(msgspec.Struct):
    """One input or output, compiled."""

    name: str
    value: Evaluate | None = None  # of an input
    allowed: Test | None = None  # input values or output values
    allowed_text: str = ""
    type: Type | None = None
    order: list[Any] | None = None  # of an output: its values by priority
    default: Evaluate | None = None  # of an output


class Rule(msgspec.Struct):
    """One rule, compiled: the tests that can fail, with the index of their input, and the outputs."""

    tests: list[tuple[int, Test]]
    outputs: list[Evaluate]


class Table(msgspec.Struct):
    """A decision table, compiled."""

    head: TableHead
    source: Source
    inputs: list[Column]
    outputs: list[Column]
    rules: list[Rule]
    aggregation: str = ""


def runner(table: Table) -> Evaluate:
    """Return the closure of a table."""
    head, source = table.head, table.source
    inputs = [column.value for column in table.inputs if column.value is not None]
    checked = [(at, column) for at, column in enumerate(table.inputs) if column.allowed is not None]
    finish = _finisher(table)
    rules = _flat(table.rules)

    def run(env: Env) -> Any:
        values = [value(env) for value in inputs] or [None]
        for at, column in checked:
            if values[at] is not None and column.allowed is not None and column.allowed(values[at], env) is not True:
                fail(source, 0, f"{column.name} is {show(values[at])}, not among {column.allowed_text}")
                return None
        matched = []
        for index, at, test, more in rules:
            if test(values[at], env) is not True:
                continue
            for other, second in more:
                if second(values[other], env) is not True:
                    break
            else:
                matched.append(index)
        notes = current.get()
        if notes is not None:
            notes.tables.append(TableTrace(head, values, matched))
        return finish(matched, env)

    return run


def _always(_: Any, __: Env) -> bool:
    return True


def _flat(rules: list[Rule]) -> list[tuple[int, int, Test, list[tuple[int, Test]]]]:
    """Return each rule as its index, its first test, and the rest of its tests."""
    flat = []
    for index, rule in enumerate(rules):
        (at, test), *more = rule.tests or [(-1, _always)]
        flat.append((index, at, test, more))
    return flat


def _finisher(table: Table) -> Callable[[list[int], Env], Any]:
    """Return what turns the indexes of matching rules into the table's value."""
    head, source, rules, outputs = table.head, table.source, table.rules, table.outputs
    policy = POLICY[head.hit_policy]
    ranks = [column.order for column in outputs]
    is_single = len(outputs) == 1
    gives_list = head.hit_policy in MANY and not table.aggregation
    aggregate = AGGREGATION.get(table.aggregation)
    defaults = [column.default for column in outputs]
    names = [column.name for column in outputs]

    def shape(row: list[Any]) -> Any:
        return row[0] if is_single else dict(zip(names, row, strict=True))

    def output(index: int, env: Env) -> list[Any]:
        row = []
        for column, cell in zip(outputs, rules[index].outputs, strict=True):
            value = coerce(cell(env), column.type)
            if column.allowed is not None and value is not None and column.allowed(value, env) is not True:
                raise Null(f"{column.name} is {show(value)}, not among {column.allowed_text}")
            row.append(value)
        return row

    def unmatched(env: Env) -> Any:
        if any(default is not None for default in defaults):
            return shape([None if default is None else default(env) for default in defaults])
        if table.aggregation == "COUNT":
            return AGGREGATION["COUNT"]([])
        if head.hit_policy == "COLLECT" and gives_list:
            return []
        raise Null("no rule matches, and there is no default")

    def finish(matched: list[int], env: Env) -> Any:
        try:
            if not matched:
                return unmatched(env)
            rows = policy([output(index, env) for index in matched], [index + 1 for index in matched], ranks)
            if aggregate is not None:
                return shape([aggregate(list(column)) for column in zip(*rows, strict=True)])
            if gives_list:
                return [shape(row) for row in rows]
            return shape(rows[0])
        except (Null, Mismatch) as why:
            fail(source, 0, str(why))
        except DecimalException:
            fail(source, 0, "the aggregate is out of range")
        return None

    return finish
