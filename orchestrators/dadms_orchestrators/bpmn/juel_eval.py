"""What a JUEL expression is worth, over JSON values only.

Rule 1: values are null, booleans, numbers, strings, lists and maps, and the one object `execution`. Nothing of Python can be reached from an expression: a property is a key of
  a map, an index of a list, or a name in a table of this module; a method is a name in such a table.
Rule 2: a name that no variable has is an error (`Undefined`), as in Camunda. A variable that is null is null: it equals only null, compares false, counts as 0 and as false,
  and a property of null is null. A key that a map lacks and an index outside a list are null (JSR 341, 1.6 "Operators [] and .").
Rule 3: if one side of a comparison is a number (or a boolean), the other becomes one, so '5' == 5 and 'true' == true hold; a text that is no number is an error.
Rule 4: whatever goes wrong is a JuelError with an offset.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from dadms_orchestrators.bpmn.juel import Expr, JuelError, Template, Undefined

Lookup = Callable[[str], Any]  # the value of a variable; raises KeyError

MAX_TEXT_CHARS = 1_000_000  # of a string that a template makes
MAX_INT_BITS = 4096  # of a number that arithmetic makes


class Execution(msgspec.Struct, frozen=True):
    """What `execution` answers: the few things about a running instance that models ask for."""

    instance: str
    business_key: str | None
    definition: str
    activity: str
    activity_name: str
    variable: Callable[[str], Any]  # None when not defined


def value_of(template: Template, lookup: Lookup) -> Any:
    """The value of a template; raises JuelError."""
    if len(template.parts) == 1:
        only = template.parts[0]
        return only if isinstance(only, str) else _settled(_value(only, lookup), only.offset)
    text = "".join(part if isinstance(part, str) else _text(_settled(_value(part, lookup), part.offset)) for part in template.parts)
    if len(text) > MAX_TEXT_CHARS:
        raise JuelError(f"the text is longer than {MAX_TEXT_CHARS} characters")
    return text


def truth_of(condition: Template, lookup: Lookup) -> bool:
    """Whether a condition holds; raises JuelError when its value is not a boolean."""
    value = value_of(condition, lookup)
    if not isinstance(value, bool):
        raise JuelError(f"a condition is true or false, and this is {_shown(value)}")
    return value


def _settled(value: Any, offset: int) -> Any:
    if isinstance(value, Execution):
        raise JuelError("execution itself is not a value; ask it for a variable or an id", offset)
    return value


def _value(expression: Expr, lookup: Lookup) -> Any:
    op, args, offset = expression
    if op == "literal":
        return args[0]
    if op == "name":
        try:
            return lookup(args[0])
        except KeyError:
            raise Undefined(args[0], offset) from None
    try:
        if op == "&&":
            return _truth(_value(args[0], lookup)) and _truth(_value(args[1], lookup))
        if op == "||":
            return _truth(_value(args[0], lookup)) or _truth(_value(args[1], lookup))
        if op == "?":
            return _value(args[1] if _truth(_value(args[0], lookup)) else args[2], lookup)
        if op == "call":
            return _call(_value(args[0], lookup), args[1], [_value(argument, lookup) for argument in args[2]])
        return OPERATORS[op](*(_value(argument, lookup) for argument in args))
    except JuelError as error:
        error.offset = error.offset or offset  # the innermost place that is known wins
        raise
    except (OverflowError, ValueError) as error:
        raise JuelError(f"cannot compute: {error}", offset) from None


def _shown(value: Any) -> str:
    text = f'the text "{value}"' if isinstance(value, str) else _text(value) or "null"
    return text if len(text) <= 80 else text[:77] + "..."


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Execution):
        return "execution"
    return msgspec.json.encode(value).decode() if not isinstance(value, int) or isinstance(value, bool) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> int | float:
    if value is None or value == "":
        return 0
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) <= 400:
        for kind in (int, float):
            try:
                number = kind(value)
            except ValueError:
                continue
            if math.isfinite(number):
                return number
    raise JuelError(f"{_shown(value)} is not a number")


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value is None or isinstance(value, str):
        return value is not None and value.lower() == "true"
    raise JuelError(f"{_shown(value)} is neither true nor false")


def _equal(left: Any, right: Any) -> bool:
    if left is None or right is None:
        return left is right
    if _is_number(left) or _is_number(right):
        return _number(left) == _number(right)
    if isinstance(left, bool) or isinstance(right, bool):
        return _truth(left) == _truth(right)
    return bool(left == right)


def _ordered(holds: Callable[[Any, Any], bool], *, when_same: bool) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        if left is None or right is None:
            return when_same and left is right
        if _is_number(left) or _is_number(right):
            return holds(_number(left), _number(right))
        if isinstance(left, str) and isinstance(right, str):
            return holds(left, right)
        raise JuelError(f"{_shown(left)} and {_shown(right)} have no order")

    return compare


def _arithmetic(compute: Callable[[Any, Any], int | float]) -> Callable[[Any, Any], int | float]:
    def apply(left: Any, right: Any) -> int | float:
        result = compute(_number(left), _number(right))
        if isinstance(result, float) and not math.isfinite(result):
            raise JuelError("the result is not a finite number")
        if isinstance(result, int) and result.bit_length() > MAX_INT_BITS:
            raise JuelError(f"the result has more than {MAX_INT_BITS} bits")
        return result

    return apply


def _divided(left: float, right: float) -> float:
    if right == 0:
        raise JuelError("division by zero")
    return left / right


def _remainder(left: float, right: float) -> float:
    if right == 0:
        raise JuelError("division by zero")
    if isinstance(left, int) and isinstance(right, int):
        return abs(left) % abs(right) * (1 if left >= 0 else -1)  # Java's sign: that of the dividend
    return math.fmod(left, right)


def _member(base: Any, key: Any) -> Any:
    if base is None or key is None:
        return None
    if isinstance(base, dict):
        return base.get(key if isinstance(key, str) else _text(key))
    if isinstance(base, list):
        index = _number(key)
        if index != int(index):
            raise JuelError(f"{_shown(key)} is no index of a list")
        return base[int(index)] if 0 <= index < len(base) else None
    if isinstance(base, Execution):
        if isinstance(key, str) and key in EXECUTION_PROPERTIES:
            return EXECUTION_PROPERTIES[key](base)
        raise JuelError(f"execution has no property {_shown(key)} here; it has {', '.join(EXECUTION_PROPERTIES)}")
    raise JuelError(f"{_shown(base)} has no property {_shown(key)}")


OPERATORS: dict[str, Callable[..., Any]] = {
    "==": _equal,
    "!=": lambda left, right: not _equal(left, right),
    "<": _ordered(lambda left, right: bool(left < right), when_same=False),
    ">": _ordered(lambda left, right: bool(left > right), when_same=False),
    "<=": _ordered(lambda left, right: bool(left <= right), when_same=True),
    ">=": _ordered(lambda left, right: bool(left >= right), when_same=True),
    "+": _arithmetic(lambda left, right: left + right),
    "-": _arithmetic(lambda left, right: left - right),
    "*": _arithmetic(lambda left, right: left * right),
    "/": _arithmetic(_divided),
    "%": _arithmetic(_remainder),
    "neg": lambda operand: -_number(operand),
    "!": lambda operand: not _truth(operand),
    "empty": lambda operand: operand is None or operand in ("", [], {}),
    "[]": _member,
}

EXECUTION_PROPERTIES: dict[str, Callable[[Execution], Any]] = {
    "processInstanceId": lambda execution: execution.instance,
    "id": lambda execution: execution.instance,
    "processBusinessKey": lambda execution: execution.business_key,
    "businessKey": lambda execution: execution.business_key,
    "processDefinitionId": lambda execution: execution.definition,
    "currentActivityId": lambda execution: execution.activity,
    "currentActivityName": lambda execution: execution.activity_name,
}


def _required(*kinds: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kinds):
            raise JuelError(f"{_shown(value)} is not the kind of argument that the method takes")
        return value

    return check


_string = _required(str)

# Methods that an expression may call, by the kind of the value: name -> (number of arguments, function).
METHODS: dict[type, dict[str, tuple[int, Callable[..., Any]]]] = {
    str: {
        "length": (0, len),
        "isEmpty": (0, lambda text: text == ""),
        "equals": (1, lambda text, other: text == other),
        "equalsIgnoreCase": (1, lambda text, other: isinstance(other, str) and text.casefold() == other.casefold()),
        "contains": (1, lambda text, other: _string(other) in text),
        "startsWith": (1, lambda text, other: text.startswith(_string(other))),
        "endsWith": (1, lambda text, other: text.endswith(_string(other))),
        "toLowerCase": (0, str.lower),
        "toUpperCase": (0, str.upper),
        "trim": (0, str.strip),
        "toString": (0, str),
    },
    list: {
        "size": (0, len),
        "isEmpty": (0, lambda items: not items),
        "contains": (1, lambda items, item: item in items),
        "get": (1, _member),
    },
    dict: {
        "size": (0, len),
        "isEmpty": (0, lambda entries: not entries),
        "containsKey": (1, lambda entries, key: _string(key) in entries),
        "get": (1, _member),
    },
    bool: {"toString": (0, _text), "equals": (1, lambda left, right: left is right)},
    int: {"toString": (0, _text), "equals": (1, _equal), "intValue": (0, int), "doubleValue": (0, float)},
    float: {"toString": (0, _text), "equals": (1, _equal), "intValue": (0, int), "doubleValue": (0, float)},
    Execution: {
        "getProcessInstanceId": (0, lambda execution: execution.instance),
        "getId": (0, lambda execution: execution.instance),
        "getProcessBusinessKey": (0, lambda execution: execution.business_key),
        "getBusinessKey": (0, lambda execution: execution.business_key),
        "getProcessDefinitionId": (0, lambda execution: execution.definition),
        "getCurrentActivityId": (0, lambda execution: execution.activity),
        "getCurrentActivityName": (0, lambda execution: execution.activity_name),
        "getVariable": (1, lambda execution, name: execution.variable(_string(name))),
        "hasVariable": (1, lambda execution, name: execution.variable(_string(name)) is not None),
    },
}


def _call(base: Any, name: str, arguments: list[Any]) -> Any:
    if base is None:
        return None  # as a property of null is null
    table = METHODS[type(base)]
    if name not in table:
        raise JuelError(f"{name}() cannot be called on {_shown(base)}; {', '.join(f'{known}()' for known in table)} can")
    count, method = table[name]
    if len(arguments) != count:
        raise JuelError(f"{name}() takes {count} arguments, and {len(arguments)} are given")
    return method(base, *arguments)
