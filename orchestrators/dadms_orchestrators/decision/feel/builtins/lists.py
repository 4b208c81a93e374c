"""Functions of lists. Positions count from 1, or from -1 at the end."""

from __future__ import annotations

import functools
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from dadms_orchestrators.decision.feel.builtins.registry import builtin
from dadms_orchestrators.decision.feel.runtime import Exceeded, Null
from dadms_orchestrators.decision.feel.values import MAX_ITEMS, NUMBERS, Function, compare, kind, same


def aggregate(name: str) -> Callable[[Callable[[list[Any]], Any]], Callable[[list[Any]], Any]]:
    """Put a function of a list into the table, callable with the items as arguments too."""

    def register(run: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
        builtin(name, "list: list")(run)

        def spread(*values: Any) -> Any:
            if not values or values == (None,):
                raise Null("a list, or at least one item, must be given")
            return run(list(values))

        builtin(name, "n*: any")(spread)
        return run

    return register


def numbers_of(items: list[Any]) -> list[Decimal]:
    """Return the items if all are numbers."""
    for item in items:
        if not isinstance(item, Decimal):
            raise Null(f"the list holds a {kind(item)}")
    return items


def place(items: list[Any], position: Decimal, *, room: int = 0) -> int:
    """Return the index of a position."""
    at = int(position)  # a fraction is dropped
    if at == 0 or not -len(items) <= at <= len(items) + room:
        raise Null(f"a list of {len(items)} has no position {position}")
    return at - 1 if at > 0 else len(items) + at


@builtin("list contains", "list: list, element: any")
def list_contains(items: list[Any], element: Any) -> bool:
    """Say whether an item equals a value."""
    return any(same(item, element) for item in items)


@builtin("count", "list: list")
def count(items: list[Any]) -> Decimal:
    """Return the number of items."""
    return Decimal(len(items))


@aggregate("min")
def least(items: list[Any]) -> Any:
    """Return the smallest item."""
    return _extreme(items, -1)


@aggregate("max")
def greatest(items: list[Any]) -> Any:
    """Return the largest item."""
    return _extreme(items, 1)


def _extreme(items: list[Any], sign: int) -> Any:
    if not items:
        raise Null("the list is empty")
    best = items[0]
    for item in items:
        found = compare(item, best)
        if found is None:
            raise Null(f"a {kind(item)} and a {kind(best)} cannot be ordered")
        best = item if found == sign else best
    return best


@aggregate("sum")
def total(items: list[Any]) -> Decimal:
    """Return the sum."""
    if not items:
        raise Null("the list is empty")
    return functools.reduce(NUMBERS.add, numbers_of(items))


@aggregate("product")
def product(items: list[Any]) -> Decimal:
    """Return the product."""
    if not items:
        raise Null("the list is empty")
    return functools.reduce(NUMBERS.multiply, numbers_of(items))


@aggregate("mean")
def mean(items: list[Any]) -> Decimal:
    """Return the average."""
    return NUMBERS.divide(total(items), Decimal(len(items)))


@aggregate("median")
def median(items: list[Any]) -> Decimal:
    """Return the middle, or the average of the two in the middle."""
    if not items:
        raise Null("the list is empty")
    ordered = sorted(numbers_of(items))
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return NUMBERS.divide(NUMBERS.add(ordered[middle - 1], ordered[middle]), Decimal(2))


@aggregate("stddev")
def stddev(items: list[Any]) -> Decimal:
    """Return the standard deviation of a sample."""
    if len(items) < 2:
        raise Null("fewer than two items have no deviation")
    middle = mean(items)
    squares = [NUMBERS.power(NUMBERS.subtract(item, middle), Decimal(2)) for item in items]
    return NUMBERS.sqrt(NUMBERS.divide(functools.reduce(NUMBERS.add, squares), Decimal(len(items) - 1)))


@aggregate("mode")
def mode(items: list[Any]) -> list[Decimal]:
    """Return the most frequent numbers, in order."""
    counts: dict[Decimal, int] = {}
    for item in numbers_of(items):
        counts[item] = counts.get(item, 0) + 1
    most = max(counts.values(), default=0)
    return sorted(item for item, found in counts.items() if found == most)


@aggregate("all")
def all_of(items: list[Any]) -> bool | None:
    """Return the conjunction of booleans."""
    return _junction(items, decisive=False)


@aggregate("any")
def any_of(items: list[Any]) -> bool | None:
    """Return the disjunction of booleans."""
    return _junction(items, decisive=True)


builtin("and", "list: list")(all_of)
builtin("or", "list: list")(any_of)


def _junction(items: list[Any], *, decisive: bool) -> bool | None:
    if any(item is decisive for item in items):
        return decisive
    if any(item.__class__ is not bool for item in items):
        raise Null("the list holds something else than booleans")
    return not decisive


@builtin("sublist", "list: list, start position: number, length?: number")
def sublist(items: list[Any], start: Decimal, length: Decimal | None = None) -> list[Any]:
    """Return a part of a list."""
    begin = place(items, start)
    if length is None:
        return items[begin:]
    size = int(length)
    if size < 0 or begin + size > len(items):
        raise Null(f"{size} items from position {start} are more than the list of {len(items)} has")
    return items[begin : begin + size]


@builtin("append", "list: list, item*: any")
def append(items: list[Any], *more: Any) -> list[Any]:
    """Return a list with items at its end."""
    return [*items, *more]


@builtin("concatenate", "list*: list")
def concatenate(*lists: list[Any]) -> list[Any]:
    """Return lists one after the other."""
    return _bounded([item for items in lists for item in items])


@builtin("insert before", "list: list, position: number, newItem: any")
def insert_before(items: list[Any], position: Decimal, new: Any) -> list[Any]:
    """Return a list with an item put in."""
    at = place(items, position, room=1 if not items else 0)
    return [*items[:at], new, *items[at:]]


@builtin("remove", "list: list, position: number")
def remove(items: list[Any], position: Decimal) -> list[Any]:
    """Return a list without one of its items."""
    at = place(items, position)
    return items[:at] + items[at + 1 :]


@builtin("list replace", "list: list, position: number, newItem: any", "list: list, match: function, newItem: any")
def list_replace(items: list[Any], which: Decimal | Function, new: Any) -> list[Any]:
    """Return a list with one item, or every item that a function says yes to, replaced."""
    if isinstance(which, Decimal):
        at = place(items, which)
        return [*items[:at], new, *items[at + 1 :]]
    if len(which.parameters) != 2:
        raise Null("the match takes an item and the new item")
    answers = [invoked(which, item, new) for item in items]
    if any(answer.__class__ is not bool for answer in answers):
        raise Null("the match gives something else than a boolean")
    return [new if answer else item for item, answer in zip(items, answers, strict=True)]


def invoked(function: Function, *values: Any) -> Any:
    """Call a function that a model passed."""
    from dadms_orchestrators.decision.feel.calls import call
    from dadms_orchestrators.decision.feel.types import Mismatch

    try:
        return call(function, list(values))
    except Mismatch as why:
        raise Null(str(why)) from None


@builtin("reverse", "list: list")
def reverse(items: list[Any]) -> list[Any]:
    """Return a list backwards."""
    return items[::-1]


@builtin("index of", "list: list, match: any")
def index_of(items: list[Any], match: Any) -> list[Decimal]:
    """Return the positions of a value."""
    return [Decimal(at) for at, item in enumerate(items, start=1) if same(item, match)]


@builtin("union", "list*: list")
def union(*lists: list[Any]) -> list[Any]:
    """Return lists one after the other, without repetitions."""
    return distinct_values([item for items in lists for item in items])


@builtin("distinct values", "list: list")
def distinct_values(items: list[Any]) -> list[Any]:
    """Return a list without repetitions."""
    kept: list[Any] = []
    seen: set[Any] = set()
    for item in items:
        if isinstance(item, (list, dict)):
            if not any(same(item, other) for other in kept):
                kept.append(item)
            continue
        key = (item.__class__, item)
        if key not in seen:
            seen.add(key)
            kept.append(item)
    return kept


@builtin("flatten", "list: list")
def flatten(items: list[Any]) -> list[Any]:
    """Return a list without lists inside."""
    flat: list[Any] = []
    waiting = list(reversed(items))
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(reversed(item))
        else:
            flat.append(item)
    return flat


@builtin("sort", "list: list, precedes?: function")
def sort(items: list[Any], precedes: Function | None = None) -> list[Any]:
    """Return a list in the order of a function that says which of two comes first, or in its own."""

    def order(left: Any, right: Any) -> int:
        if precedes is None:
            found = compare(left, right)
            if found is None:
                raise Null(f"a {kind(left)} and a {kind(right)} cannot be ordered")
            return found
        if invoked(precedes, left, right) is True:
            return -1
        return 1 if invoked(precedes, right, left) is True else 0

    return sorted(items, key=functools.cmp_to_key(order))


def _bounded(items: list[Any]) -> list[Any]:
    if len(items) > MAX_ITEMS:
        raise Exceeded(f"the list has more than {MAX_ITEMS} items")
    return items
