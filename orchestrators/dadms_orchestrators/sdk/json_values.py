"""What may be a variable: JSON, and only what survives the way through msgpack unchanged.

A value that is not JSON is refused where it was made, with the way to it and its type, instead of failing later in another process. Tuples become lists;
subclasses of the JSON types (enumerations, floats of numerical libraries) become the plain type.
"""

import math
from collections.abc import Mapping
from typing import Any

INTEGER_BITS = 64  # msgpack carries -2**63 .. 2**64 - 1
DEPTH_LIMIT = 64  # lists and mappings within each other, of one variable: what the kernel keeps of an outcome (docs/reference/bpmn.md)


class NotJson(TypeError):
    """A value that cannot be a variable; the text names the way to it and its type."""


def as_json(value: object, way: str, depth: int = 0) -> Any:
    """Give a plain copy of a JSON value; ``way`` names it in the error, as in ``scores.alpha[2]``; a map of variables has ``depth`` -1."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        if not -(2 ** (INTEGER_BITS - 1)) <= value < 2**INTEGER_BITS:
            raise NotJson(f'"{way}" is an integer of {value.bit_length()} bits, at most {INTEGER_BITS} are carried')
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotJson(f'"{way}" is {float(value)}, which JSON does not have')
        return float(value)
    if depth >= DEPTH_LIMIT:
        raise NotJson(f'"{way}" is nested more than {DEPTH_LIMIT} levels deep, or contains itself')
    if isinstance(value, Mapping):
        return {_key(key, way): as_json(item, f"{way}.{key}" if way else str(key), depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item, f"{way}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise NotJson(f'"{way}" is of type {_type_name(value)}, which is not JSON')


def _key(key: object, way: str) -> str:
    if not isinstance(key, str):
        at = f'in "{way}" ' if way else ""
        raise NotJson(f"the key {key!r} {at}is of type {_type_name(key)}, and keys are strings in JSON")
    return str(key)


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
