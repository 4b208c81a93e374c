"""The types of FEEL: what a value belongs to, and what it may be turned into where another is wanted.

Rule 1: ``Any`` has every value; null belongs to every type where it is passed, but is an instance of ``Null`` only.
Rule 2: implicit conversions are three (DMN 1.5, 10.3.2.9.4): a one-item list to its item, an item to a one-item list, and
a date to a date and time. Whatever does not conform after them becomes null.
Rule 3: a constraint (allowed values) is part of the type; a collection's constraint holds for each of its items.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from dadms_orchestrators.decision.feel.runtime import Exceeded
from dadms_orchestrators.decision.feel.syntax import TypeNode
from dadms_orchestrators.decision.feel.temporal import Date, DateTime
from dadms_orchestrators.decision.feel.values import Function, Range, kind, midnight, show

SIMPLE = frozenset((
    "number", "string", "boolean", "date", "time", "date and time", "days and time duration", "years and months duration",
))  # fmt: skip
# Spellings that models use for the same types: those of the XML schema of DMN 1.1 and of common editors.
ALIASES = {
    "dateTime": "date and time",
    "dayTimeDuration": "days and time duration",
    "yearMonthDuration": "years and months duration",
    "day time duration": "days and time duration",
    "year month duration": "years and months duration",
    "dateAndTime": "date and time",
    "any": "Any",
    # not types of FEEL, but what widely used editors write for numbers
    "integer": "number",
    "long": "number",
    "double": "number",
}
MAX_DEPTH = 64  # of item definitions inside each other; deeper is a cycle


class Type(msgspec.Struct):
    """One type; which fields count depends on ``kind``."""

    kind: str  # one of SIMPLE, or Any, Null, list, context, range, function
    name: str = ""  # as the model calls it
    item: Type | None = None  # of a list or range
    fields: dict[str, Type] | None = None  # of a context; None is any context
    parameters: list[Type] | None = None  # of a function; None is any function
    result: Type | None = None  # of a function
    allows: Callable[[Any], bool | None] | None = None  # the constraint
    allowed_text: str = ""  # the constraint as written

    def __str__(self) -> str:
        """Return its name, or how FEEL writes it."""
        if self.name:
            return self.name
        if self.kind in ("list", "range") and self.item is not None:
            return f"{self.kind}<{self.item}>"
        return self.kind


ANY = Type("Any")
Lookup = Callable[[str], Type | None]


def simple(name: str) -> Type | None:
    """Return a type that every model has."""
    name = ALIASES.get(name, name)
    if name in SIMPLE or name in ("Any", "Null"):
        return Type(name)
    return Type(name) if name in ("list", "context", "function", "range") else None


def from_syntax(node: TypeNode, lookup: Lookup) -> Type | None:
    """Return the type that a text means, None where a name in it is unknown."""
    arguments = [from_syntax(argument, lookup) for argument in node.arguments]
    known = [argument for argument in arguments if argument is not None]
    if len(known) < len(arguments):
        return None
    if node.name in ("list", "range") and node.arguments:
        return Type(node.name, item=known[0]) if len(known) == 1 else None
    if node.name == "context" and node.arguments:
        return Type("context", fields=dict(zip(node.fields, known, strict=True)))
    if node.name == "function" and (node.arguments or node.result):
        result = from_syntax(node.result, lookup) if node.result else ANY
        return Type("function", parameters=known, result=result) if result else None
    return None if node.arguments else lookup(node.name)


def conforms(value: Any, wanted: Type, depth: int = 0) -> bool:
    """Say whether a value that is not null belongs to a type, its constraint included."""
    if wanted.kind == "Any":
        return wanted.allows is None or wanted.allows(value) is True
    if depth > MAX_DEPTH:
        raise Exceeded(f"the value is nested deeper than {MAX_DEPTH} levels of its type")
    depth += 1
    match wanted.kind:
        case "list":
            fits = isinstance(value, list) and (
                wanted.item is None or all(item is None or conforms(item, wanted.item, depth) for item in value)
            )
        case "context":
            fits = isinstance(value, dict) and all(
                name in value and (value[name] is None or conforms(value[name], field, depth))
                for name, field in (wanted.fields or {}).items()
            )
        case "range":
            fits = isinstance(value, Range) and (
                wanted.item is None or all(end is None or conforms(end, wanted.item, depth) for end in (value.low, value.high))
            )
        case "function":
            fits = isinstance(value, Function) and _function_fits(value, wanted)
        case _:
            fits = kind(value) == wanted.kind
    return fits and (wanted.allows is None or wanted.allows(value) is True)


def _function_fits(value: Function, wanted: Type) -> bool:
    if wanted.parameters is None:
        return True
    if len(value.parameters) != len(wanted.parameters):
        return False
    given = value.types or [ANY] * len(value.parameters)
    takes = all(subsumes(have or ANY, want) for have, want in zip(given, wanted.parameters, strict=True))
    return takes and subsumes(wanted.result or ANY, value.result or ANY, unknown=True)


def subsumes(wide: Type, narrow: Type, *, unknown: bool = False, depth: int = 0) -> bool:
    """Say whether every value of ``narrow`` is one of ``wide``; ``unknown`` lets an untyped ``narrow`` pass."""
    if wide.kind == "Any" or narrow.kind == "Null" or (unknown and narrow.kind == "Any"):
        return True
    if wide.kind != narrow.kind or depth > MAX_DEPTH:
        return False
    if wide.item is not None:
        return narrow.item is not None and subsumes(wide.item, narrow.item, depth=depth + 1)
    if wide.fields is not None:
        have = narrow.fields or {}
        return all(name in have and subsumes(field, have[name], depth=depth + 1) for name, field in wide.fields.items())
    if wide.parameters is not None:
        if narrow.parameters is None or len(narrow.parameters) != len(wide.parameters):
            return False
        pairs = zip(narrow.parameters, wide.parameters, strict=True)
        return all(subsumes(a, b, depth=depth + 1) for a, b in pairs) and subsumes(
            wide.result or ANY, narrow.result or ANY, depth=depth + 1
        )
    return True


def is_instance(value: Any, wanted: Type) -> bool:
    """Answer ``instance of``."""
    if value is None:
        return wanted.kind == "Null"
    return wanted.kind != "Null" and conforms(value, wanted)


class Mismatch(Exception):
    """The value does not belong to the type, not even after a conversion."""


def coerce(value: Any, wanted: Type | None) -> Any:
    """Return the value as the type wants it; raise ``Mismatch`` with the reason where that cannot be."""
    if value is None or wanted is None:
        return value
    if wanted.kind == "Any" and wanted.allows is None:
        return value
    if conforms(value, wanted):
        return value
    converted = _convert(value, wanted)
    if converted is not None:
        return converted
    reason = f"{_brief(value)} is no {wanted}"
    if wanted.allows is not None and conforms(value, msgspec.structs.replace(wanted, allows=None)):
        reason = f"{_brief(value)} is not among the allowed values {wanted.allowed_text}"
    raise Mismatch(reason)


def _convert(value: Any, wanted: Type) -> Any:
    if isinstance(value, Date) and wanted.kind == "date and time":
        moment: DateTime = midnight(value)
        return moment if conforms(moment, wanted) else None
    if isinstance(value, list) and wanted.kind != "list" and len(value) == 1 and value[0] is not None:
        if conforms(value[0], wanted):
            return value[0]
        return _convert(value[0], wanted) if isinstance(value[0], Date) else None
    if wanted.kind == "list" and not isinstance(value, list):
        return [value] if conforms([value], wanted) else None
    return None


def _brief(value: Any) -> str:
    text = show(value)
    return f"the {kind(value)} {text if len(text) <= 60 else text[:59] + '…'}"
