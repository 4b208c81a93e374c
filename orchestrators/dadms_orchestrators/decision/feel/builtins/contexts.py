"""Functions of contexts, and of any two values."""

from __future__ import annotations

from typing import Any

from dadms_orchestrators.decision.feel.builtins.registry import builtin
from dadms_orchestrators.decision.feel.properties import NO_PROPERTY, property_of
from dadms_orchestrators.decision.feel.runtime import Null
from dadms_orchestrators.decision.feel.temporal import DateTime, Time
from dadms_orchestrators.decision.feel.values import same


@builtin("get value", "m: context, key: string", "context: context, keys: list")
def get_value(context: Any, key: str | list[Any]) -> Any:
    """Return the value of a key, or of a path of keys."""
    found = context
    for step in [key] if isinstance(key, str) else key:
        if not isinstance(step, str):
            raise Null("a key is not a string")
        found = property_of(found, step)
        if found is NO_PROPERTY:
            raise Null(f'there is no "{step}"')
    return found


@builtin("get entries", "m: context")
def get_entries(context: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the keys and values of a context."""
    return [{"key": key, "value": value} for key, value in context.items()]


@builtin("context", "entries: list")
def context(entries: list[Any]) -> dict[str, Any]:
    """Return the context of some keys and values."""
    made: dict[str, Any] = {}
    for entry in entries:
        if not isinstance(entry, dict) or "key" not in entry or "value" not in entry:
            raise Null('an entry has a "key" and a "value"')
        if not isinstance(entry["key"], str):
            raise Null("a key is not a string")
        if entry["key"] in made:
            raise Null(f'the key "{entry["key"]}" is given twice')
        made[entry["key"]] = entry["value"]
    return made


@builtin("context put", "context: context, key: string, value: any", "context: context, keys: list, value: any")
def context_put(base: dict[str, Any], key: str | list[Any], value: Any) -> dict[str, Any]:
    """Return a context with a key, or a path of keys, set."""
    if isinstance(key, str):
        return {**base, key: value}
    if not key or not all(isinstance(step, str) for step in key):
        raise Null("the keys are not one or more strings")
    if len(key) == 1:
        return {**base, key[0]: value}
    inner = base.get(key[0])
    if not isinstance(inner, dict):
        raise Null(f'"{key[0]}" is no context')
    return {**base, key[0]: context_put(inner, key[1:], value)}


@builtin("context merge", "contexts: list")
def context_merge(contexts: list[Any]) -> dict[str, Any]:
    """Return contexts in one, later keys over earlier."""
    made: dict[str, Any] = {}
    for found in contexts:
        if not isinstance(found, dict):
            raise Null("the list holds something else than contexts")
        made.update(found)
    return made


@builtin("is", "value1: any, value2: any")
def is_same(left: Any, right: Any) -> bool:
    """Say whether two values are the very same: of one type, and for times in one zone."""
    if left.__class__ is not right.__class__:
        return False
    if isinstance(left, DateTime):
        return left.date == right.date and _same_clock(left.time, right.time)
    if isinstance(left, Time):
        return _same_clock(left, right)
    return same(left, right)


def _same_clock(left: Time, right: Time) -> bool:
    return left.nanos() == right.nanos() and left.zone == right.zone


@builtin("not", "negand: boolean")
def negation(negand: bool) -> bool:
    """Return the opposite of a boolean."""
    return not negand
