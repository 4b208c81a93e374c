"""Regular expressions of XPath 3.1 on top of Python's.

Rule 1: what XPath does not have is refused (look-around, possessive quantifiers, named groups), even though Python would
take it; what Python does not have (categories, blocks, subtraction, ``\\i`` and ``\\c``) is written out as classes.
Rule 2: a pattern on which backtracking could take exponential time runs on a machine of ours (``linear.py``).
Rule 3: a pattern is translated once; the last ``CACHED`` are kept.
"""

from __future__ import annotations

import functools
import re

from dadms_orchestrators.decision.feel.charclasses import CharClasses
from dadms_orchestrators.decision.feel.linear import Builder, Linear, may_explode
from dadms_orchestrators.decision.feel.runtime import Exceeded, Null

CACHED = 512  # patterns
MAX_PATTERN = 5_000  # characters
MAX_REPEAT = 10_000  # in {n,m}
MAX_QUANTIFIER = 100  # characters of {n,m}; Python reads no number of thousands of digits
MAX_NESTING = 100  # of groups
_TIMES: dict[str, tuple[int, int | None]] = {"?": (0, 1), "*": (0, None), "+": (1, None)}
_FLAGS = frozenset("smixq")
_QUANTIFIER = re.compile(r"\{(\d+)(?:,(\d*))?\}")


@functools.lru_cache(maxsize=CACHED)
def compile_pattern(pattern: str, flags: str = "") -> re.Pattern[str] | Linear:
    """Return a pattern of XPath as one of Python, or of ours where Python's could take for ever; raise ``Null`` where it is none."""
    if len(pattern) > MAX_PATTERN:
        raise Exceeded(f"the pattern has {len(pattern)} characters, at most {MAX_PATTERN} are taken")
    for flag in flags:
        if flag not in _FLAGS:
            raise Null(f'"{flag}" is no flag of a pattern')
    options = (re.IGNORECASE if "i" in flags else 0) | (re.MULTILINE if "m" in flags else 0)
    if "q" in flags:
        return re.compile(re.escape(pattern), options)
    translator = _Translator(pattern, flags)
    text = translator.translate()
    whole = translator.built.whole()
    try:
        return Linear(whole, translator.groups, options) if may_explode(whole) else re.compile(text, options)
    except re.error as error:
        raise Null(f"the pattern is wrong: {error}") from None
    except OverflowError as error:
        raise Exceeded(f"the pattern is too large: {error}") from None


def replace_all(text: str, pattern: str, replacement: str, flags: str) -> str:
    """Return a text with every match replaced; ``$1`` in the replacement is a group."""
    compiled = compile_pattern(pattern, flags)
    if compiled.search("") is not None:
        raise Null("the pattern matches nothing at all, which cannot be replaced")
    parts = [replacement] if "q" in flags else _replacement(replacement, compiled.groups)
    made, last = [], 0
    for found in compiled.finditer(text):
        made.append(text[last : found.start()])
        made.extend(part if isinstance(part, str) else (found.group(part) or "") for part in parts)
        last = found.end()
    return "".join((*made, text[last:]))


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
        self.built = Builder()

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
                self.built.leave()
                return ")", True
            case "[":
                return self.atom(self.char_class()), True
            case "]" | "}":
                raise Null(f'the pattern is wrong: "{char}" stands alone')
            case "|":
                self.at += 1
                self.built.otherwise()
                return "|", False
            case "^":
                return self.anchor("^"), True
            case "$":
                return self.anchor("$" if "m" in self.flags else r"\Z"), True
            case ".":
                self.at += 1
                return self.atom("(?s:.)" if "s" in self.flags else r"[^\n\r]"), True
            case "\\":
                return self.escape(), True
        self.at += 1
        return self.atom(re.escape(char)), True

    def atom(self, text: str) -> str:
        """Note what matches one character."""
        self.built.add("atom", text)
        return text

    def anchor(self, text: str) -> str:
        """Take an anchor."""
        self.at += 1
        self.built.add("anchor", text)
        return text

    def open_group(self) -> str:
        self.at += 1
        if len(self.stack) >= MAX_NESTING:
            raise Exceeded(f"the groups of the pattern are nested deeper than {MAX_NESTING}")
        if self.pattern.startswith("?:", self.at):
            self.at += 2
            self.stack.append(0)
            self.built.enter(0)
            return "(?:"
        self.groups += 1
        self.stack.append(self.groups)
        self.built.enter(self.groups)
        return "("

    def quantifier(self, *, can_repeat: bool) -> str:
        if not can_repeat:
            raise Null("the pattern is wrong: a quantifier has nothing to repeat")
        char = self.pattern[self.at]
        if char == "{":
            found = _QUANTIFIER.match(self.pattern, self.at)
            if found is None:
                raise Null('the pattern is wrong: "{" opens no quantifier')
            if len(found.group()) > MAX_QUANTIFIER:
                raise Exceeded(f"a quantifier of the pattern has {len(found.group())} characters, at most {MAX_QUANTIFIER} are taken")
            low, high = int(found.group(1)), found.group(2)
            if high and int(high) < low:
                raise Null("the pattern is wrong: the numbers of a quantifier")
            if max(low, int(high or 0)) > MAX_REPEAT:
                raise Exceeded(f"a quantifier of the pattern repeats more than {MAX_REPEAT} times")
            text = found.group()
            most = low if high is None else (int(high) if high else None)
            self.at = found.end()
        else:
            text, low, most = char, *_TIMES[char]
            self.at += 1
        is_lazy = self.pattern.startswith("?", self.at)
        self.at += is_lazy
        self.built.repeat(low, most, is_lazy=is_lazy)
        return text + "?" * is_lazy

    def escape(self) -> str:
        following = self.pattern[self.at + 1 : self.at + 2]
        if following.isdigit():
            self.built.add("back")
            return self.back_reference()
        return self.atom(self.set_escape())

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
