"""Variables: JSON values in scopes.

Rule 1: a variable is JSON: null, boolean, number, text, list or map with text keys. What is not (a set, bytes, NaN, an integer of more than 64 bits) is refused where it comes in,
  with its place, since it could neither travel nor be written down.
Rule 2: a process instance has one scope for all its branches, as in Camunda. A called process has its own. Input parameters make a scope around one task or sub-process.
Rule 3: a name is set in the nearest scope that already has it, or else in the outermost.
Rule 4: values are never changed in place, so that a step may hold them.
"""

from __future__ import annotations

import math
from typing import Any

MAX_DEPTH = 64  # lists and maps within each other, of one variable: what the kernel keeps of an outcome
INT_BITS = 64  # what msgpack and most JSON readers can hold


class NotJson(ValueError):
    """A value that cannot be a variable; the text says where in it and what was found."""


def json_copy(value: Any, place: str, depth: int = 0) -> Any:
    """The value, copied, with tuples as lists; raises NotJson."""
    if value is None or isinstance(value, bool):
        return value
    kind = type(value)
    if kind is str:
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise NotJson(f"{place} is a text with half a surrogate pair, which is no character") from None
        return value
    if kind is int:
        if not -(2 ** (INT_BITS - 1)) <= value < 2**INT_BITS:
            raise NotJson(f"{place} is a whole number of {value.bit_length()} bits, and {INT_BITS} can be kept")
        return value
    if kind is float:
        if not math.isfinite(value):
            raise NotJson(f"{place} is {value}, which JSON cannot say")
        return value
    if depth >= MAX_DEPTH:
        raise NotJson(f"{place} is nested deeper than {MAX_DEPTH} levels")
    if kind in (list, tuple):
        return [json_copy(item, f"{place}[{index}]", depth + 1) for index, item in enumerate(value)]
    if kind is dict:
        copy = {}
        for key, item in value.items():
            if type(key) is not str:
                raise NotJson(f"{place} has the key {key!r}, and a key is a text")
            copy[json_copy(key, f"a key of {place}")] = json_copy(item, f"{place}.{key}", depth + 1)
        return copy
    raise NotJson(f"{place} is of the Python type {kind.__name__}, which JSON does not have")


class Scope:
    """Variables, and the scope around them."""

    __slots__ = ("around", "values")

    def __init__(self, values: dict[str, Any] | None = None, around: Scope | None = None) -> None:
        self.values = values if values is not None else {}
        self.around = around

    def __getitem__(self, name: str) -> Any:
        """The value of the nearest variable of this name; raises KeyError."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.around
        raise KeyError(name)

    def get(self, name: str) -> Any:
        """The value of a variable, None when there is none."""
        try:
            return self[name]
        except KeyError:
            return None

    def __contains__(self, name: object) -> bool:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return True
            scope = scope.around
        return False

    def set(self, name: str, value: Any) -> None:
        """Set a variable where it is, or else outermost."""
        scope = self
        while name not in scope.values and scope.around is not None:
            scope = scope.around
        scope.values[name] = value

    def all(self) -> dict[str, Any]:
        """Every variable that can be seen from here."""
        return {**self.around.all(), **self.values} if self.around is not None else dict(self.values)
