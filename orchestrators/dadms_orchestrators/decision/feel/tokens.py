"""Text to tokens: one regular expression, one pass, no way back.

Rule 1: a token never depends on what is in scope; names of several words are joined later, by who knows the scope.
Rule 2: a text longer than ``MAX_TEXT`` is refused before it is looked at.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dadms_orchestrators.decision.errors import LimitExceeded, SyntaxRefused

MAX_TEXT = 200_000  # code points; the longest expression of the conformance kit has 1 500

# DMN 1.5, 10.3.1.2, rules 27-29: the characters that start and continue a name.
_START = (
    "?A-Z_a-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c-\u200d\u2070-\u218f"
    "\u2c00-\u2fef\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
_PART = _START + "0-9\u00b7\u0300-\u036f\u203f-\u2040"
# Rule 61: what counts as white space between tokens.
_SPACE = r"\s\u0085\u180e\u200b\ufeff"

_TOKEN = re.compile(
    rf"""(?P<space>(?:[{_SPACE}]+|//[^\n\r]*|/\*(?:[^*]|\*(?!/))*\*/)+)
    |(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<name>[{_START}][{_PART}]*)
    |(?P<op>\.\.|\*\*|<=|>=|!=|->|[-+*/=<>()\[\]{{}},:.@'])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{6})|(.))", re.DOTALL)
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}


class Token(NamedTuple):
    """One token: kind is ``number``, ``string``, ``name``, ``op`` or ``end``."""

    kind: str
    text: str
    pos: int
    end: int


def tokenize(text: str) -> list[Token]:
    """Return the tokens of a text, the last of kind ``end``; raise ``SyntaxRefused`` where none begins."""
    if len(text) > MAX_TEXT:
        raise LimitExceeded("cannot read expression", f"{len(text)} characters, at most {MAX_TEXT} are read")
    tokens: list[Token] = []
    pos, size = 0, len(text)
    match = _TOKEN.match
    while pos < size:
        found = match(text, pos)
        if found is None:
            if text[pos] == '"':
                raise SyntaxRefused("the string has no end", text, pos)
            if text.startswith("/*", pos):
                raise SyntaxRefused("the comment has no end", text, pos)
            raise SyntaxRefused(f"{text[pos]!r} starts nothing in FEEL", text, pos)
        kind = found.lastgroup or ""
        if kind != "space":
            if kind == "op" and text.startswith("/*", pos):
                raise SyntaxRefused("the comment has no end", text, pos)
            tokens.append(Token(kind, found.group(), pos, found.end()))
        pos = found.end()
    tokens.append(Token("end", "", size, size))
    return tokens


def words(name: str) -> tuple[str, ...]:
    """Return a name as the tokens that it would be written with, the key by which a scope finds it."""
    try:
        return tuple(token.text for token in tokenize(name)[:-1])
    except SyntaxRefused:
        return (name,)  # a key that no text can spell: reachable by path functions only


def unescape(quoted: str) -> str:
    """Return what a string literal with its quotes stands for; an unknown escape keeps its backslash."""
    body = quoted[1:-1]
    if "\\" not in body:
        return body
    plain = _ESCAPE.sub(_replace, body)
    if any("\ud800" <= char <= "\udfff" for char in plain):  # pairs written as two \u escapes
        plain = plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return plain


def _replace(match: re.Match[str]) -> str:
    short, long, char = match.groups()
    code = short or long
    if code is not None:
        value = int(code, 16)
        return chr(value) if value <= 0x10FFFF else match.group()
    return _SIMPLE.get(char, match.group())
