"""Arithmetic, comparison and three-valued logic.

Rule 1: an operator answers for the types that its table names; anything else is null, with the reason noted.
Rule 2: two decimals never leave the fast path; the table is for the rest.
Rule 3: ``and`` and ``or`` treat whatever is not a boolean as unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, DecimalException
from typing import Any

from dadms_orchestrators.decision.feel import syntax as s
from dadms_orchestrators.decision.feel.arithmetic import ARITHMETIC, negate
from dadms_orchestrators.decision.feel.compiler import Compiler, constant_of, handles
from dadms_orchestrators.decision.feel.runtime import Null
from dadms_orchestrators.decision.feel.values import NUMBERS, Env, Evaluate, Range, compare, equal, kind


def power(base: Decimal, exponent: Decimal) -> Decimal:
    """Return a power; anything to the power of zero is one, zero too."""
    return NUMBERS.power(base, exponent) if exponent else ONE


ONE = Decimal(1)
_FAST: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
    "+": NUMBERS.add,
    "-": NUMBERS.subtract,
    "*": NUMBERS.multiply,
    "/": NUMBERS.divide,
    "**": power,
}
_ORDER: dict[str, Callable[[int], bool]] = {
    "<": lambda found: found < 0,
    "<=": lambda found: found <= 0,
    ">": lambda found: found > 0,
    ">=": lambda found: found >= 0,
}


@handles(s.Arithmetic)
def _arithmetic(compiler: Compiler, node: s.Arithmetic) -> Evaluate:
    steps: list[tuple[Callable[[Decimal, Decimal], Decimal], str, int, Evaluate]] = []
    spine: s.Node = node
    while isinstance(spine, s.Arithmetic):
        steps.append((_FAST[spine.op], spine.op, spine.pos, compiler.compile(spine.right)))
        spine = spine.left
    steps.reverse()
    first = compiler.compile(spine)

    def slow(op: str, pos: int, left: Any, right: Any) -> Any:
        found = ARITHMETIC.get((op, left.__class__, right.__class__))
        if found is None:
            compiler.null(pos, f"{kind(left)} {op} {kind(right)} has no meaning")
            return None
        try:
            return found(left, right)
        except Null as why:
            compiler.null(pos, str(why))
        except (DecimalException, OverflowError):
            compiler.null(pos, f"{kind(left)} {op} {kind(right)} is out of range")
        return None

    if len(steps) == 1:
        fast, op, pos, right_of = steps[0]

        def once(env: Env) -> Any:
            left, right = first(env), right_of(env)
            if left.__class__ is Decimal and right.__class__ is Decimal:
                try:
                    return fast(left, right)
                except DecimalException:
                    compiler.null(pos, f"{left} {op} {right} is not a number of 34 digits")
                    return None
            return slow(op, pos, left, right)

        return once

    def chain(env: Env) -> Any:
        left = first(env)
        for fast, op, pos, right_of in steps:
            right = right_of(env)
            if left.__class__ is Decimal and right.__class__ is Decimal:
                try:
                    left = fast(left, right)
                except DecimalException:
                    compiler.null(pos, f"{left} {op} {right} is not a number of 34 digits")
                    left = None
            else:
                left = slow(op, pos, left, right)
        return left

    return chain


@handles(s.Negation)
def _negation(compiler: Compiler, node: s.Negation) -> Evaluate:
    operand, pos = compiler.compile(node.operand), node.pos

    def run(env: Env) -> Any:
        value = operand(env)
        try:
            return negate(value)
        except Null as why:
            compiler.null(pos, str(why))
            return None

    return run


@handles(s.Logic)
def _logic(compiler: Compiler, node: s.Logic) -> Evaluate:
    items = [compiler.compile(item) for item in node.items]
    decisive = node.op == "or"

    def run(env: Env) -> bool | None:
        answer: bool | None = not decisive
        for item in items:
            value = item(env)
            if value is decisive:
                return bool(decisive)
            if value.__class__ is not bool:
                answer = None
        return answer

    return run


@handles(s.Comparison)
def _comparison(compiler: Compiler, node: s.Comparison) -> Evaluate:
    left_of, right_of, op, pos = compiler.compile(node.left), compiler.compile(node.right), node.op, node.pos
    if op in ("=", "!="):
        wanted = op == "="

        def equality(env: Env) -> bool | None:
            left, right = left_of(env), right_of(env)
            answer = equal(left, right)
            if answer is None:
                compiler.null(pos, f"a {kind(left)} and a {kind(right)} cannot be compared")
                return None
            return answer is wanted

        return equality
    holds = _ORDER[op]
    constant = constant_of(node.right)
    if constant.__class__ is Decimal:
        return _against_number(compiler, left_of, op, constant, pos)

    def ordering(env: Env) -> bool | None:
        left, right = left_of(env), right_of(env)
        found = compare(left, right)
        if found is None:
            compiler.null(pos, f"a {kind(left)} and a {kind(right)} cannot be ordered")
            return None
        return holds(found)

    return ordering


def _against_number(compiler: Compiler, left_of: Evaluate, op: str, bound: Decimal, pos: int) -> Evaluate:
    test = number_test(op, bound)

    def ordering(env: Env) -> bool | None:
        left = left_of(env)
        if left.__class__ is Decimal:
            return test(left)
        compiler.null(pos, f"a {kind(left)} and a number cannot be ordered")
        return None

    return ordering


def number_test(op: str, bound: Decimal) -> Callable[[Decimal], bool]:
    """Return the comparison of a decimal with a known one."""
    match op:
        case "<":
            return lambda value: value < bound
        case "<=":
            return lambda value: value <= bound
        case ">":
            return lambda value: value > bound
        case ">=":
            return lambda value: value >= bound
        case "=":
            return lambda value: value == bound
    return lambda value: value != bound


@handles(s.Between)
def _between(compiler: Compiler, node: s.Between) -> Evaluate:
    value_of, low_of, high_of = compiler.compile(node.value), compiler.compile(node.low), compiler.compile(node.high)
    pos = node.pos

    def run(env: Env) -> bool | None:
        value = value_of(env)
        low, high = compare(value, low_of(env)), compare(value, high_of(env))
        if low is None or high is None:
            compiler.null(pos, f"a {kind(value)} cannot be ordered between these ends")
            return None
        return low >= 0 and high <= 0

    return run


@handles(s.UnaryComparison)
def _half_open(compiler: Compiler, node: s.UnaryComparison) -> Evaluate:
    operand, op, pos = compiler.compile(node.operand), node.op, node.pos

    def build(env: Env) -> Range | None:
        end = operand(env)
        if end is None or compare(end, end) is None or op == "!=":
            compiler.null(pos, f"{op} {kind(end)} is no range")
            return None
        match op:
            case "<" | "<=":
                return Range(None, end, low_closed=False, high_closed=op == "<=")
            case ">" | ">=":
                return Range(end, None, low_closed=op == ">=", high_closed=False)
        return Range(end, end, low_closed=True, high_closed=True)

    return build
