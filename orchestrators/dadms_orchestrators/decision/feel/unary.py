"""Cells to closures: what a unary test says of one value (DMN 1.5, 7.3.3 and table 56).

Rule 1: a test that mentions ``?`` is true when it evaluates to true. Any other test is compared with the value: a range
contains it, a list has it (or a range that does), anything else equals it, or is itself true.
Rule 2: constants are looked at once, when the cell is compiled; this is what makes a decision table fast.
Rule 3: the outcome is three-valued; only True matches.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from dadms_orchestrators.decision.feel import syntax as s
from dadms_orchestrators.decision.feel.compiler import MISSING, Compiler, constant_of, handles
from dadms_orchestrators.decision.feel.operators import number_test
from dadms_orchestrators.decision.feel.values import Env, Evaluate, Range, compare, equal, kind

Test = Callable[[Any, Env], bool | None]
_HOLDS: dict[str, Callable[[int], bool]] = {
    "<": lambda found: found < 0,
    "<=": lambda found: found <= 0,
    ">": lambda found: found > 0,
    ">=": lambda found: found >= 0,
}


def compile_tests(compiler: Compiler, tests: s.UnaryTests) -> Test | None:
    """Return the closure of a cell, None for the one that always matches."""
    if tests.tests is None:
        return None
    test = _any(compiler, tests.tests)
    if not tests.negated:
        return test

    def negated(value: Any, env: Env) -> bool | None:
        answer = test(value, env)
        return None if answer is None else not answer

    return negated


def _any(compiler: Compiler, nodes: list[s.Node]) -> Test:
    constants = [constant_of(node) for node in nodes]
    if len(nodes) > 1 and all(value.__class__ is str for value in constants):
        known = frozenset(constants)
        return lambda value, _: value in known if value.__class__ is str else (False if value is None else None)
    tests = [one(compiler, node) for node in nodes]
    if len(tests) == 1:
        return tests[0]

    def any_of(value: Any, env: Env) -> bool | None:
        answer: bool | None = False
        for test in tests:
            found = test(value, env)
            if found is True:
                return True
            if found is None:
                answer = None
        return answer

    return any_of


def one(compiler: Compiler, node: s.Node) -> Test:
    """Return the closure of a single test."""
    if isinstance(node, s.UnaryComparison):
        return _comparison(compiler, node)
    if isinstance(node, s.RangeNode):
        low, high = constant_of(node.low), constant_of(node.high)
        if low.__class__ is Decimal and high.__class__ is Decimal:
            return _number_range(low, high, low_closed=node.low_closed, high_closed=node.high_closed)
    constant = constant_of(node)
    if constant is not MISSING:
        return _equals(constant)
    run = compiler.compile(node)
    if mentions_input(node):

        def predicate(value: Any, env: Env) -> bool | None:
            answer = run({**env, "?": value})
            return answer if answer.__class__ is bool else matches(value, answer)

        return predicate
    return lambda value, env: matches(value, run({**env, "?": value}))


def _equals(constant: Any) -> Test:
    if constant is True or constant is False or constant is None:
        return lambda value, _: value is constant if value is None or value.__class__ is bool else equal(value, constant)
    wanted = constant.__class__
    if wanted is str or wanted is Decimal:
        return lambda value, _: value == constant if value.__class__ is wanted else matches(value, constant)
    return lambda value, _: matches(value, constant)


def _number_range(low: Decimal, high: Decimal, *, low_closed: bool, high_closed: bool) -> Test:
    match low_closed, high_closed:
        case True, True:
            return lambda value, _: low <= value <= high if value.__class__ is Decimal else None
        case True, False:
            return lambda value, _: low <= value < high if value.__class__ is Decimal else None
        case False, True:
            return lambda value, _: low < value <= high if value.__class__ is Decimal else None
    return lambda value, _: low < value < high if value.__class__ is Decimal else None


def _comparison(compiler: Compiler, node: s.UnaryComparison) -> Test:
    bound, op = constant_of(node.operand), node.op
    if bound.__class__ is Decimal:
        holds_number = number_test(op, bound)
        if op in _HOLDS:
            return lambda value, _: holds_number(value) if value.__class__ is Decimal else None
    run = compiler.compile(node.operand)
    if op in ("=", "!="):
        wanted = op == "="

        def equality(value: Any, env: Env) -> bool | None:
            answer = equal(value, run({**env, "?": value}))
            return None if answer is None else answer is wanted

        return equality
    holds = _HOLDS[op]

    def ordering(value: Any, env: Env) -> bool | None:
        end = run({**env, "?": value})
        found = compare(value, end)
        if found is None:
            compiler.null(node.pos, f"a {kind(value)} and a {kind(end)} cannot be ordered")
            return None
        return holds(found)

    return ordering


def matches(value: Any, found: Any) -> bool | None:
    """Say whether a value passes a test that evaluated to ``found``."""
    if found is True and value.__class__ is not bool:
        return True if value.__class__ is not list else _in_list([True], value)
    if found.__class__ is Range and value.__class__ is not Range:
        answer: bool | None = found.contains(value)
        return answer
    if found.__class__ is list:
        if value.__class__ is list:
            whole = equal(value, found)
            return True if whole is True else _in_list(found, value)
        return _in_list(found, value)
    return equal(value, found)


def _in_list(items: list[Any], value: Any) -> bool | None:
    answer: bool | None = False
    for item in items:
        is_inside = item.__class__ is Range and value.__class__ is not Range
        found = item.contains(value) if is_inside else equal(value, item)
        if found is True:
            return True
        if found is None and item.__class__ is Range:
            answer = None
    return answer


def mentions_input(node: Any) -> bool:
    """Say whether ``?`` occurs in a node."""
    waiting: list[Any] = [node]
    while waiting:
        found = waiting.pop()
        if isinstance(found, s.Name) and found.name == "?":
            return True
        if isinstance(found, msgspec.Struct):
            waiting.extend(getattr(found, field) for field in found.__struct_fields__)
        elif isinstance(found, (list, tuple)):
            waiting.extend(found)
    return False


@handles(s.In)
def _in(compiler: Compiler, node: s.In) -> Evaluate:
    value_of, test, pos = compiler.compile(node.value), _any(compiler, node.tests), node.pos

    def run(env: Env) -> bool | None:
        value = value_of(env)
        answer = test(value, env)
        if answer is None:
            compiler.null(pos, f"a {kind(value)} cannot be compared with what follows in")
        return answer

    return run
