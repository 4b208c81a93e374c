"""``for``, ``some``, ``every`` and filters: one construct, four ways to end it.

Rule 1: domains are evaluated from left to right, a later one seeing the variables before it.
Rule 2: a domain is a list, a range of whole numbers or dates, or any other value as a list of one; null is no domain.
Rule 3: no loop makes more than ``MAX_ITEMS`` rounds, and no evaluation more than ``MAX_ROUNDS``; more ends the evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from dadms_orchestrators.decision.feel import syntax as s
from dadms_orchestrators.decision.feel.compiler import Compiler, constant_of, handles
from dadms_orchestrators.decision.feel.runtime import MAX_ROUNDS, Exceeded, Notes, Null, current
from dadms_orchestrators.decision.feel.temporal import Date
from dadms_orchestrators.decision.feel.values import MAX_ITEMS, Env, Evaluate, Range, kind

TOO_MANY_ROUNDS = f"a loop makes more than {MAX_ITEMS} rounds"

Domain = tuple[str, Evaluate, Evaluate | None]


def _domains(compiler: Compiler, iterations: list[s.Iteration]) -> list[Domain]:
    return [(step.name, compiler.compile(step.domain), compiler.compile(step.end) if step.end else None) for step in iterations]


def rounds(domains: list[Domain], env: Env) -> Iterator[Env]:
    """Return the environment of each round, nested loops flattened; raise ``Null`` for what is no domain."""
    made = 0
    notes = current.get() or Notes()

    def nest(at: int, outer: Env) -> Iterator[Env]:
        nonlocal made
        if at == len(domains):
            yield outer
            return
        name, domain, end = domains[at]
        items = items_of(domain(outer)) if end is None else span(domain(outer), end(outer))
        for item in items:
            made += 1
            notes.rounds += 1
            if made > MAX_ITEMS or notes.rounds > MAX_ROUNDS:
                raise Exceeded(TOO_MANY_ROUNDS if made > MAX_ITEMS else f"the loops of one evaluation make more than {MAX_ROUNDS} rounds")
            yield from nest(at + 1, {**outer, name: item})

    return nest(0, env)


def items_of(value: Any) -> Iterable[Any]:
    """Return what a loop runs over."""
    if value.__class__ is list:
        return value
    if value is None:
        raise Null("null is nothing to iterate over")
    if value.__class__ is Range:
        if value.low is None or value.high is None:
            raise Null("a range without both ends is nothing to iterate over")
        low, high = _whole(value.low), _whole(value.high)
        if low > high:
            raise Null(f"the range {value} goes backwards")
        return _steps(value.low, low + (not value.low_closed), high - (not value.high_closed), 1)
    return [value]


def span(first: Any, last: Any) -> Iterable[Any]:
    """Return the values of ``first..last``, downwards if that is the way."""
    if first.__class__ is not last.__class__:
        raise Null(f"a {kind(first)} and a {kind(last)} are no ends of an iteration")
    low, high = _whole(first), _whole(last)
    return _steps(first, low, high, 1 if low <= high else -1)


def _whole(value: Any) -> int:
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    if isinstance(value, Date):
        return value.days()
    raise Null(f"a {kind(value)} is no end of an iteration")


def _steps(sample: Any, low: int, high: int, step: int) -> Iterable[Any]:
    make: Any = Date.from_days if isinstance(sample, Date) else Decimal
    return (make(number) for number in range(low, high + step, step))


@handles(s.For)
def _for(compiler: Compiler, node: s.For) -> Evaluate:
    domains, body, pos = _domains(compiler, node.iterations), compiler.compile(node.body), node.pos

    def run(env: Env) -> list[Any] | None:
        results: list[Any] = []
        try:
            for inner in rounds(domains, env):
                inner["partial"] = results.copy() if uses_partial else results
                results.append(body(inner))
        except Null as why:
            compiler.null(pos, str(why))
            return None
        except Exceeded as limit:
            raise limit.at(compiler.source, pos) from None
        return results

    uses_partial = "partial" in compiler.source.text
    return run


@handles(s.Quantified)
def _quantified(compiler: Compiler, node: s.Quantified) -> Evaluate:
    domains, condition, pos = _domains(compiler, node.iterations), compiler.compile(node.condition), node.pos
    decisive = node.kind == "some"

    def run(env: Env) -> bool | None:
        answer: bool | None = not decisive
        try:
            for inner in rounds(domains, env):
                found = condition(inner)
                if found is decisive:
                    return bool(decisive)
                if found.__class__ is not bool:
                    answer = None
        except Null as why:
            compiler.null(pos, str(why))
            return None
        except Exceeded as limit:
            raise limit.at(compiler.source, pos) from None
        return answer

    return run


@handles(s.Filter)
def _filter(compiler: Compiler, node: s.Filter) -> Evaluate:
    base_of, condition, pos = compiler.compile(node.base), compiler.compile(node.condition), node.pos
    constant = constant_of(node.condition)

    def run(env: Env) -> Any:
        base = base_of(env)
        if constant.__class__ is Decimal:
            return at_index(compiler, base, constant, pos)
        return filtered(compiler, base, condition, env, pos)

    return run


def filtered(compiler: Compiler, base: Any, condition: Evaluate, env: Env, pos: int) -> Any:
    """Return the items of ``base`` for which a condition holds, or the one at the index that it gives."""
    if base is None:
        return None
    items = base if base.__class__ is list else [base]
    if not items:
        outside = condition(env)
        return at_index(compiler, items, outside, pos) if outside.__class__ is Decimal else []
    kept = []
    for number, item in enumerate(items):
        inner = {**env, "item": item, **item} if item.__class__ is dict else {**env, "item": item}
        found = condition(inner)
        if found is True:
            kept.append(item)
        elif number == 0 and found.__class__ is Decimal:
            return at_index(compiler, items, found, pos)
        elif found is not None and found.__class__ is not bool:
            compiler.null(pos, f"a filter's condition is a {kind(found)}, neither a boolean nor a number")
            return None
    return kept


def at_index(compiler: Compiler, base: Any, index: Decimal, pos: int) -> Any:
    """Return the item at an index, counted from 1, or from -1 at the end."""
    items = base if base.__class__ is list else ([] if base is None else [base])
    at = int(index)
    if at == index and 0 < at <= len(items):
        return items[at - 1]
    if at == index and 0 > at >= -len(items):
        return items[at]
    compiler.null(pos, f"a list of {len(items)} has no item {index}")
    return None
