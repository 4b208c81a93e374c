"""Functions of strings. Positions count code points, from 1."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from dadms_orchestrators.decision.feel.builtins.registry import builtin
from dadms_orchestrators.decision.feel.regex import compile_pattern, replace_all, split_all
from dadms_orchestrators.decision.feel.runtime import Exceeded, Null
from dadms_orchestrators.decision.feel.values import MAX_ITEMS, Range, show


@builtin("substring", "string: string, start position: number, length?: number")
def substring(string: str, start: Decimal, length: Decimal | None = None) -> str:
    """Return a part of a string."""
    first = int(start)
    if first == 0 or abs(first) > len(string):
        raise Null(f"position {first} is outside a string of {len(string)}")
    begin = first - 1 if first > 0 else len(string) + first
    if length is None:
        return string[begin:]
    if int(length) < 1:
        raise Null(f"the length {length} is not above zero")
    return string[begin : begin + int(length)]


@builtin("string length", "string: string")
def string_length(string: str) -> Decimal:
    """Return the number of code points."""
    return Decimal(len(string))


@builtin("upper case", "string: string")
def upper_case(string: str) -> str:
    """Return the string in capitals."""
    return string.upper()


@builtin("lower case", "string: string")
def lower_case(string: str) -> str:
    """Return the string in small letters."""
    return string.lower()


@builtin("substring before", "string: string, match: string")
def substring_before(string: str, match: str) -> str:
    """Return what stands before the first match, nothing if there is none."""
    before, found, _ = string.partition(match) if match else ("", "", "")
    return before if found else ""


@builtin("substring after", "string: string, match: string")
def substring_after(string: str, match: str) -> str:
    """Return what stands after the first match, nothing if there is none."""
    if not match:
        return string
    return string.partition(match)[2]


@builtin("contains", "string: string, match: string")
def contains(string: str, match: str) -> bool:
    """Say whether a string has another one in it."""
    return match in string


@builtin("starts with", "string: string, match: string")
def starts_with(string: str, match: str) -> bool:
    """Say whether a string starts with another one."""
    return string.startswith(match)


@builtin("ends with", "string: string, match: string")
def ends_with(string: str, match: str) -> bool:
    """Say whether a string ends with another one."""
    return string.endswith(match)


@builtin("matches", "input: string, pattern: string, flags?: string?")
def matches(text: str, pattern: str, flags: str | None = None) -> bool:
    """Say whether a pattern of XPath is found in a string."""
    return compile_pattern(pattern, flags or "").search(text) is not None


@builtin("replace", "input: string, pattern: string, replacement: string, flags?: string?")
def replace(text: str, pattern: str, replacement: str, flags: str | None = None) -> str:
    """Return a string with every match of a pattern replaced."""
    return replace_all(text, pattern, replacement, flags or "")


@builtin("split", "string: string, delimiter: string")
def split(string: str, delimiter: str) -> list[str]:
    """Return the parts between the matches of a pattern."""
    return split_all(string, delimiter)


@builtin("string join", "list: list, delimiter?: string?")
def string_join(items: list[Any], delimiter: str | None = None) -> str:
    """Return strings joined, nulls left out."""
    for item in items:
        if item is not None and not isinstance(item, str):
            raise Null("the list holds something else than strings")
    return (delimiter or "").join(item for item in items if item is not None)


@builtin("string", "from: any")
def string(value: Any) -> str:
    """Return a value as text."""
    if value is None:
        raise Null("null has no text")
    if isinstance(value, Range):
        return str(value)
    text = show(value, quoted=False)
    if len(text) > 100 * MAX_ITEMS:
        raise Exceeded(f"the text has {len(text)} characters, at most {100 * MAX_ITEMS} are made")
    return text
