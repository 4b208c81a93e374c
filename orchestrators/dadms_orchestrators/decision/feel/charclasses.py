"""Character classes of XML Schema, as the insides of Python's brackets.

Rule 1: a category, block or set becomes ranges of code points, computed once from Python's Unicode tables when first asked.
Rule 2: subtraction ``[a-z-[aeiou]]`` becomes a class behind a look-ahead that excludes.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata

from dadms_orchestrators.decision.feel.runtime import Null
from dadms_orchestrators.decision.feel.unicodeblocks import BLOCKS

_SINGLE = {"n": "\n", "r": "\r", "t": "\t"}
_META = frozenset("\\|.-^?*+{}()[]$")
_NAME_START = (
    ":A-Z_a-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c-\u200d\u2070-\u218f\u2c00-\u2fef"
    "\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
_NAME_PART = _NAME_START + r"\-.0-9" + "\u00b7\u0300-\u036f\u203f-\u2040"


@functools.lru_cache(maxsize=1)
def _categories() -> dict[str, str]:
    """Return for each category of Unicode, of one letter or two, its code points as ranges."""
    runs: dict[str, list[tuple[int, int]]] = {}
    category = unicodedata.category
    begin, current = 0, category("\0")
    for code in range(1, sys.maxunicode + 2):
        found = category(chr(code)) if code <= sys.maxunicode else ""
        if found != current:
            runs.setdefault(current, []).append((begin, code - 1))
            begin, current = code, found
    made: dict[str, list[tuple[int, int]]] = dict(runs)
    for name, found_runs in runs.items():
        made.setdefault(name[0], []).extend(found_runs)
    return {name: "".join(_range(*run) for run in sorted(found_runs)) for name, found_runs in made.items()}


def _range(first: int, last: int) -> str:
    return f"\\U{first:08x}-\\U{last:08x}"


class CharClasses:
    """A place in a pattern, and how classes are read there."""

    def __init__(self, pattern: str, *, ignores_case: bool = False) -> None:
        """Stand at the beginning."""
        self.pattern = pattern
        self.ignores_case = ignores_case  # which categories and blocks do not (XPath 3.1 functions, 5.6.2)
        self.at = 0

    def set_escape(self) -> str:
        """Read an escape that stands for a set; return it as a pattern of its own."""
        is_exact = self.ignores_case and self.pattern[self.at + 1 : self.at + 2] in ("p", "P")
        inside, is_negated = self.class_escape()
        found = f"[{'^' if is_negated else ''}{inside}]"
        return f"(?-i:{found})" if is_exact else found

    def class_escape(self) -> tuple[str, bool]:
        """Read an escape; return the inside of brackets, and whether it is what they must not match."""
        char = self.pattern[self.at + 1 : self.at + 2]
        self.at += 2
        match char:
            case "s" | "S":
                return r" \t\n\r", char == "S"
            case "d" | "D":
                return r"\d", char == "D"
            case "w" | "W":
                found = _categories()
                return found["P"] + found["Z"] + found["C"], char == "w"
            case "i" | "I":
                return _NAME_START, char == "I"
            case "c" | "C":
                return _NAME_PART, char == "C"
            case "p" | "P":
                return self._property(), char == "P"
        if char in _SINGLE:
            return re.escape(_SINGLE[char]), False
        if char in _META and char:
            return "\\" + char, False
        raise Null(f"the pattern is wrong: \\{char} means nothing")

    def _property(self) -> str:
        found = re.compile(r"\{(Is)?([A-Za-z0-9-]+)\}").match(self.pattern, self.at)
        if found is None:
            raise Null("the pattern is wrong: \\p needs a name in braces")
        self.at = found.end()
        is_block, name = found.groups()
        if is_block:
            if name not in BLOCKS:
                raise Null(f'the pattern is wrong: there is no block "{name}"')
            return "".join(_range(*run) for run in BLOCKS[name])
        if name not in _categories():
            raise Null(f'the pattern is wrong: there is no category "{name}"')
        return _categories()[name]

    def char_class(self) -> str:
        """Read ``[…]``."""
        self.at += 1
        is_negated = self.pattern.startswith("^", self.at)
        self.at += is_negated
        inside: list[str] = []
        outside: list[str] = []  # sets that cannot stand inside brackets beside others: negated ones, and those that mind case
        first = True
        while True:
            char = self.pattern[self.at : self.at + 1]
            if not char:
                raise Null('the pattern is wrong: "[" is not closed')
            if char == "]" and not first:
                self.at += 1
                return _joined(inside, outside, is_negated=is_negated)
            if char == "-" and self.pattern.startswith("-[", self.at) and not first:
                self.at += 1
                minus = self.char_class()
                if not self.pattern.startswith("]", self.at):
                    raise Null("the pattern is wrong: something follows a subtraction")
                self.at += 1
                return f"(?:(?!{minus}){_joined(inside, outside, is_negated=is_negated)})"
            first = False
            self._member(char, inside, outside)

    def _member(self, char: str, inside: list[str], outside: list[str]) -> None:
        if char == "[" or char == "]":
            raise Null(f'the pattern is wrong: "{char}" stands in a class')
        low: str | None = char
        if char == "\\":
            low = self._escaped_char(inside, outside)
        else:
            self.at += 1
        if low is None:
            return
        if self.pattern.startswith("-", self.at) and self.pattern[self.at + 1 : self.at + 2] not in ("]", "[", ""):
            self.at += 1
            high: str | None = self.pattern[self.at]
            if high == "\\":
                high = self._escaped_char([], [])
            else:
                self.at += 1
            if high is None or ord(high) < ord(low):
                raise Null("the pattern is wrong: a range in a class goes backwards")
            inside.append(_range(ord(low), ord(high)))
        else:
            inside.append(re.escape(low) if low != "^" else r"\^")

    def _escaped_char(self, inside: list[str], outside: list[str]) -> str | None:
        """Read an escape in a class; return the character that it is, None for a set, which was added."""
        char = self.pattern[self.at + 1 : self.at + 2]
        if char in _SINGLE or (char in _META and char):
            self.at += 2
            return _SINGLE.get(char, char)
        if char in "pP" and self.ignores_case:
            outside.append(self.set_escape())
            return None
        found, is_negated = self.class_escape()
        if is_negated:
            outside.append(f"[^{found}]")
        else:
            inside.append(found)
        return None


def _joined(inside: list[str], outside: list[str], *, is_negated: bool) -> str:
    if not outside:
        return f"[{'^' if is_negated else ''}{''.join(inside)}]"
    choices = outside + ([f"[{''.join(inside)}]"] if inside else [])
    union = f"(?:{'|'.join(choices)})"
    return rf"(?:(?!{union})[\s\S])" if is_negated else union
