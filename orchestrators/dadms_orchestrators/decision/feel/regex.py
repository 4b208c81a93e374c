"""Regular expressions of XPath 3.1 on top of Python's.

Rule 1: what XPath does not have is refused (look-around, possessive quantifiers, named groups), even though Python would
take it; what Python does not have (categories, blocks, subtraction, ``\\i`` and ``\\c``) is written out as classes.
Rule 2: a pattern is translated once; the last ``CACHED`` are kept.
"""

from __future__ import annotations

import functools
import re

from dadms_orchestrators.decision.feel.charclasses import CharClasses
from dadms_orchestrators.decision.feel.runtime import Null

CACHED = 512  # patterns
MAX_PATTERN = 5_000  # characters
MAX_REPEAT = 10_000  # in {n,m}
_FLAGS = frozenset("smixq")
_QUANTIFIER = re.compile(r"\{(\d+)(?:,(\d*))?\}")


@functools.lru_cache(maxsize=CACHED)
def compile_pattern(pattern: str, flags: str = "") -> re.Pattern[str]:
    """Return a pattern of XPath as one of Python; raise ``Null`` where it is none."""
    if len(pattern) > MAX_PATTERN:
        raise Null(f"the pattern has {len(pattern)} characters, at most {MAX_PATTERN} are taken")
    for flag in flags:
        if flag not in _FLAGS:
            raise Null(f'"{flag}" is no flag of a pattern')
    options = (re.IGNORECASE if "i" in flags else 0) | (re.MULTILINE if "m" in flags else 0)
    if "q" in flags:
        return re.compile(re.escape(pattern), options)
    text = _Translator(pattern, flags).translate()
    try:
        return re.compile(text, options)
    except (re.error, RecursionError, OverflowError) as error:
        raise Null(f"the pattern is wrong: {error}") from None


def replace_all(text: str, pattern: str, replacement: str, flags: str) -> str:
    """Return a text with every match replaced; ``$1`` in the replacement is a group."""
    compiled = compile_pattern(pattern, flags)
    if compiled.search("") is not None:
        raise Null("the pattern matches nothing at all, which cannot be replaced")
    if "q" in flags:
        return compiled.sub(lambda _: replacement, text)
    parts = _replacement(replacement, compiled.groups)
    return compiled.sub(lambda m: "".join(p if isinstance(p, str) else (m.group(p) or "") for p in parts), text)


def split_all(text: str, pattern: str) -> list[str]:
    """Return the parts of a text between matches."""
    compiled = compile_pattern(pattern)
    if compiled.search("") is not None:
        raise Null("the delimiter matches nothing at all")
    parts, last = [], 0
    for found in compiled.finditer(text):
        parts.append(text[last : found.start()])
        last = found.end()
    return [*parts, text[last:]]


def _replacement(text: str, groups: int) -> list[str | int]:
    parts: list[str | int] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\":
            if text[at + 1 : at + 2] not in ("\\", "$"):
                raise Null("in a replacement, a backslash stands before \\ or $ only")
            parts.append(text[at + 1])
            at += 2
        elif char == "$":
            digits = re.match(r"\d+", text[at + 1 :], re.ASCII)
            if digits is None:
                raise Null("in a replacement, $ stands before a group's number only")
            number = digits.group()
            while len(number) > 1 and int(number) > groups:
                number = number[:-1]
            parts.append(int(number) if int(number) <= groups else "")
            at += 1 + len(number)
        else:
            parts.append(char)
            at += 1
    return parts


def _without_space(pattern: str) -> str:
    """Return a pattern as the flag x reads it: without white space, except in classes."""
    kept, depth = [], 0
    is_escaped = False
    for char in pattern:
        if char in " \t\n\r" and not depth:
            continue
        if not is_escaped:
            depth += (char == "[") - (char == "]" and depth > 0)
        is_escaped = char == "\\" and not is_escaped
        kept.append(char)
    return "".join(kept)


class _Translator(CharClasses):
    """Walks a pattern once, from left to right."""

    def __init__(self, pattern: str, flags: str) -> None:
        super().__init__(_without_space(pattern) if "x" in flags else pattern, ignores_case="i" in flags)
        self.flags = flags
        self.groups = 0  # opened so far
        self.closed: set[int] = set()  # groups that a back-reference may name
        self.stack: list[int] = []  # open groups, 0 for those that do not count

    def translate(self) -> str:
        out: list[str] = []
        can_repeat = False
        while self.at < len(self.pattern):
            char = self.pattern[self.at]
            if char in "?*+{":
                out.append(self.quantifier(can_repeat=can_repeat))
                can_repeat = False
                continue
            piece, can_repeat = self.piece(char)
            out.append(piece)
        if self.stack:
            raise Null("the pattern is wrong: a group is not closed")
        return "".join(out)

    def piece(self, char: str) -> tuple[str, bool]:
        """Return the translation of what comes next, and whether a quantifier may follow."""
        match char:
            case "(":
                return self.open_group(), False
            case ")":
                if not self.stack:
                    raise Null("the pattern is wrong: a group is closed that was not opened")
                number = self.stack.pop()
                if number:
                    self.closed.add(number)
                self.at += 1
                return ")", True
            case "[":
                return self.char_class(), True
            case "]" | "}":
                raise Null(f'the pattern is wrong: "{char}" stands alone')
            case "|":
                self.at += 1
                return "|", False
            case "^":
                self.at += 1
                return "^", True
            case "$":
                self.at += 1
                return ("$" if "m" in self.flags else r"\Z"), True
            case ".":
                self.at += 1
                return ("(?s:.)" if "s" in self.flags else r"[^\n\r]"), True
            case "\\":
                return self.escape(), True
        self.at += 1
        return re.escape(char), True

    def open_group(self) -> str:
        self.at += 1
        if self.pattern.startswith("?:", self.at):
            self.at += 2
            self.stack.append(0)
            return "(?:"
        self.groups += 1
        self.stack.append(self.groups)
        return "("

    def quantifier(self, *, can_repeat: bool) -> str:
        if not can_repeat:
            raise Null("the pattern is wrong: a quantifier has nothing to repeat")
        char = self.pattern[self.at]
        if char == "{":
            found = _QUANTIFIER.match(self.pattern, self.at)
            if found is None:
                raise Null('the pattern is wrong: "{" opens no quantifier')
            low, high = int(found.group(1)), found.group(2)
            if max(low, int(high or 0)) > MAX_REPEAT or (high and int(high) < low):
                raise Null("the pattern is wrong: the numbers of a quantifier")
            text = found.group()
            self.at = found.end()
        else:
            text = char
            self.at += 1
        if self.pattern.startswith("?", self.at):
            self.at += 1
            text += "?"
        return text

    def escape(self) -> str:
        following = self.pattern[self.at + 1 : self.at + 2]
        if following.isdigit():
            return self.back_reference()
        return self.set_escape()

    def back_reference(self) -> str:
        digits = re.match(r"[1-9]\d*", self.pattern[self.at + 1 :], re.ASCII)
        if digits is None:
            raise Null("the pattern is wrong: \\0 names no group")
        number = digits.group()
        while len(number) > 1 and int(number) > self.groups:
            number = number[:-1]
        if int(number) not in self.closed:
            raise Null(f"the pattern is wrong: there is no group {number} before this place")
        self.at += 1 + len(number)
        return f"(?:\\{number})"
