"""External functions of Java, for the static methods that a table here names; no other is ever looked for.

Rule 1: a class and a signature select an entry of the table. What is not in it is refused by its name.
Rule 2: arguments become what the signature says: ``int`` must be whole and fit, ``char`` is one character, ``float`` has 24
bits. Results become decimals by their shortest text, as Java prints them.
Rule 3: nothing here touches the machine: no files, no clock, no randomness.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from dadms_orchestrators.decision.feel.builtins.numbers import rounded
from dadms_orchestrators.decision.feel.compiler import Compiler
from dadms_orchestrators.decision.feel.runtime import Null
from dadms_orchestrators.decision.feel.types import Type
from dadms_orchestrators.decision.feel.values import Function, kind, show

_SIGNATURE = re.compile(r"\s*([A-Za-z_]\w*)\s*\(([^()]*)\)\s*")
_BITS = {"byte": 8, "short": 16, "int": 32, "long": 64}
_BOXED = {
    "java.lang.Byte": "byte", "java.lang.Short": "short", "java.lang.Integer": "int", "java.lang.Long": "long",
    "java.lang.Float": "float", "java.lang.Double": "double", "java.lang.Character": "char",
    "java.lang.Boolean": "boolean", "java.lang.String": "String", "java.lang.Object": "Object",
    "java.math.BigDecimal": "decimal", "[Ljava.lang.Object;": "Object...", "java.lang.Object...": "Object...",
    "String": "String", "Object": "Object",
}  # fmt: skip
_PRIMITIVES = frozenset(("byte", "short", "int", "long", "float", "double", "char", "boolean"))
_REALS = ("double",)
_PAIR = ("double", "double")


def _half_even(value: float) -> float:
    return float(round(value))


def _round(value: float) -> int:
    return math.floor(value + 0.5)


def _signum(value: float) -> float:
    return math.copysign(1.0, value) if value else value


def _cube_root(value: float) -> float:
    return math.cbrt(value)


_DOUBLE: dict[str, Callable[..., Any]] = {  # methods of java.lang.Math from doubles
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin, "acos": math.acos, "atan": math.atan,
    "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh, "exp": math.exp, "expm1": math.expm1, "log": math.log,
    "log10": math.log10, "log1p": math.log1p, "sqrt": math.sqrt, "cbrt": _cube_root, "rint": _half_even,
    "ceil": lambda x: float(math.ceil(x)), "floor": lambda x: float(math.floor(x)), "signum": _signum,
    "toDegrees": math.degrees, "toRadians": math.radians, "ulp": math.ulp, "round": _round,
}  # fmt: skip
_DOUBLES: dict[str, Callable[..., Any]] = {
    "pow": math.pow, "atan2": math.atan2, "hypot": math.hypot, "copySign": math.copysign,
    "IEEEremainder": math.remainder,
}  # fmt: skip
_WHOLE: dict[str, Callable[..., Any]] = {  # of int and long, which must fit the result
    "addExact": lambda a, b: a + b,
    "subtractExact": lambda a, b: a - b,
    "multiplyExact": lambda a, b: a * b,
    "floorDiv": lambda a, b: a // b,
    "floorMod": lambda a, b: a % b,
}


def _table() -> dict[tuple[str, str, tuple[str, ...]], tuple[Callable[..., Any], str]]:
    """Return (class, method, types) -> (function, type of the result)."""
    table: dict[tuple[str, str, tuple[str, ...]], tuple[Callable[..., Any], str]] = {}
    java_math, text = "java.lang.Math", "java.lang.String"
    for name, run in _DOUBLE.items():
        table[java_math, name, _REALS] = (run, "long" if name == "round" else "double")
    table[java_math, "round", ("float",)] = (_round, "int")
    for name, run in _DOUBLES.items():
        table[java_math, name, _PAIR] = (run, "double")
    for type_name in ("int", "long", "float", "double"):
        table[java_math, "abs", (type_name,)] = (abs, type_name)
        table[java_math, "max", (type_name, type_name)] = (max, type_name)
        table[java_math, "min", (type_name, type_name)] = (min, type_name)
    for type_name in ("int", "long"):
        table[java_math, "negateExact", (type_name,)] = (lambda a: -a, type_name)
        for name, run in _WHOLE.items():
            table[java_math, name, (type_name, type_name)] = (run, type_name)
    for boxed in ("Byte", "Short", "Integer", "Long", "Float", "Double"):
        plain = _BOXED[f"java.lang.{boxed}"]
        parse = float if plain in ("float", "double") else int
        for name in ("valueOf", f"parse{'Int' if boxed == 'Integer' else boxed}"):
            table[f"java.lang.{boxed}", name, ("String",)] = (parse, plain)
        table[f"java.lang.{boxed}", "valueOf", (plain,)] = (lambda a: a, plain)
    for name in ("valueOf", "parseBoolean"):
        table["java.lang.Boolean", name, ("String",)] = (lambda a: a.lower() == "true", "boolean")
    for type_name in (*_PRIMITIVES, "Object"):
        table[text, "valueOf", (type_name,)] = (_java_text, "String")
    table[text, "format", ("String", "Object...")] = (_format, "String")
    for type_name in ("double", "long"):
        table["java.math.BigDecimal", "valueOf", (type_name,)] = (lambda a: a, type_name)
    return table


def java_function(compiler: Compiler, mapping: Any, names: list[str], types: Sequence[Type], pos: int) -> Function | None:
    """Return the function that a mapping ``{java: {class, method signature}}`` names, None if it is refused."""
    entry = mapping.get("java") if isinstance(mapping, dict) else None
    if not isinstance(entry, dict):
        compiler.null(pos, "an external function needs a java mapping; no other language is called")
        return None
    class_name, signature = entry.get("class"), entry.get("method signature")
    found = _SIGNATURE.fullmatch(signature) if isinstance(signature, str) else None
    if not isinstance(class_name, str) or found is None:
        compiler.null(pos, "a java mapping needs a class and a method signature")
        return None
    wanted = [part.strip() for part in found.group(2).split(",")] if found.group(2).strip() else []
    kinds = tuple(_BOXED.get(part, part) for part in wanted)
    target = TABLE.get((class_name, found.group(1), kinds))
    if target is None:
        compiler.null(pos, f"the Java method {class_name}.{signature} is not among those that are mapped")
        return None
    if len(kinds) != len(names):
        compiler.null(pos, f"{class_name}.{signature} takes {len(kinds)} arguments, {len(names)} are named")
        return None
    method, result = target

    def run(*values: Any) -> Any:
        given = [_to_java(value, wanted_kind) for value, wanted_kind in zip(values, kinds, strict=True)]
        try:
            return _from_java(method(*given), result)
        except (ValueError, ArithmeticError, TypeError, IndexError) as error:
            raise Null(str(error)) from None

    return Function(names, run, found.group(1), list(types))


def _to_java(value: Any, wanted: str) -> Any:
    if wanted == "Object...":
        return value if isinstance(value, list) else [value]
    if wanted == "Object":
        return value
    if wanted in _BITS and isinstance(value, Decimal):
        return _fitted(value, wanted)
    if wanted in ("float", "double") and isinstance(value, Decimal):
        return _single(float(value)) if wanted == "float" else float(value)
    if wanted == "String" and isinstance(value, str):
        return value
    if wanted == "char" and isinstance(value, str) and len(value) == 1:
        return value
    if wanted == "boolean" and isinstance(value, bool):
        return value
    raise Null(f"a {kind(value)} {show(value)[:40]} is no {wanted}")


def _fitted(value: Decimal | int, wanted: str) -> int:
    bound = 1 << (_BITS[wanted] - 1)
    whole = int(value)
    if whole != value or not -bound <= whole < bound:
        raise Null(f"{value} is no {wanted}")
    return whole


def _single(value: float) -> float:
    found: float = struct.unpack("f", struct.pack("f", value))[0]
    return found


def _from_java(value: Any, kind_of_result: str) -> Any:
    if kind_of_result in _BITS:
        return Decimal(_fitted(value, kind_of_result))
    if kind_of_result in ("float", "double"):
        if not math.isfinite(value):
            raise Null("the result is no number")
        return Decimal(_shortest(value) if kind_of_result == "float" else repr(value))
    return value


def _shortest(value: float) -> str:
    """Return the fewest digits that mean a float of 24 bits."""
    single = _single(value)
    return next((text for text in (f"{single:.{n}g}" for n in range(1, 10)) if _single(float(text)) == single), repr(single))


def _java_text(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    return show(Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value, quoted=False)


_DIRECTIVE = re.compile(r"%(?:(\d+)\$)?([-+ 0,#]*)(\d{0,3})(?:\.(\d{1,3}))?([sSdfeEgGxXobBcn%])")


def _format(template: str, values: list[Any]) -> str:
    """Do what ``String.format`` does with the directives that FEEL's values can fill."""
    taken = iter(range(len(values)))

    def fill(match: re.Match[str]) -> str:
        number, flags, width, precision, directive = match.groups()
        if directive in "n%":
            return "\n" if directive == "n" else "%"
        at = int(number) - 1 if number else next(taken, -1)
        if not 0 <= at < len(values):
            raise ValueError("the format has more directives than arguments")
        return _directive(values[at], flags, width, precision, directive)

    rest = _DIRECTIVE.sub("", template)
    if "%" in rest:
        raise ValueError("the format has a directive that is not mapped")
    return _DIRECTIVE.sub(fill, template)


def _directive(value: Any, flags: str, width: str, precision: str | None, directive: str) -> str:
    align = "<" if "-" in flags else ">"
    if directive in "sSbBc":
        text = _java_text(value)
        text = text[: int(precision)] if precision is not None else text
        text = text.upper() if directive in "SB" else text
        return format(text, f"{align}{width}")
    if not isinstance(value, Decimal):
        raise ValueError(f"%{directive} takes a number")
    sign = "+" if "+" in flags else (" " if " " in flags else "")
    zero = "0" if "0" in flags and "-" not in flags else ""
    head = f"{'' if zero else align}{sign}{zero}{width}{',' if ',' in flags else ''}"
    if directive in "dxXo":
        if value != value.to_integral_value():
            raise ValueError(f"%{directive} takes a whole number")
        return format(int(value), head + directive)
    digits = int(precision or 6)
    if directive == "f":  # Java rounds half up where Python's format rounds half even
        value = rounded(value, Decimal(digits), ROUND_HALF_UP)
    return format(value, f"{head}.{digits}{directive}")


TABLE = _table()
