"""Names among tokens: how many words belong to one, and where a key ends.

Rule 1: the longest name that the scope knows is taken; a longer run of words is taken whole, since two words beside each
other mean nothing else in FEEL. It is then unknown when it runs.
Rule 2: keywords end a run; a name that the scope knows may contain them.
"""

from __future__ import annotations

from dadms_orchestrators.decision.feel.names import Scope
from dadms_orchestrators.decision.feel.tokens import Token, unescape
from dadms_orchestrators.decision.feel.typetext import TypeReader

KEYWORDS = frozenset(
    [
        "if",
        "then",
        "else",
        "for",
        "in",
        "return",
        "some",
        "every",
        "satisfies",
        "function",
        "external",
        "instance",
        "of",
        "between",
        "and",
        "or",
        "true",
        "false",
        "null",
    ]
)
_NAME_GLUE = frozenset(("+", "-", "*", "/", ".", "'", "**"))


class NameReader(TypeReader):
    """A place in the tokens of one text, and the scope there."""

    def __init__(self, text: str, tokens: list[Token], scope: Scope) -> None:
        """Stand before the first token."""
        super().__init__(text, tokens)
        self.scope = scope

    def member(self) -> str:
        """Read the name after a dot."""
        if self.token.kind != "name":
            raise self.refuse("a name must follow the dot")
        return self.join(self.scope.members.match(self.tokens, self.at))

    def join(self, found: tuple[int, str] | None) -> str:
        """Take the known name, or the whole run of words where that is longer."""
        size = 0
        while True:
            token = self.tokens[self.at + size]
            if (token.kind != "name" and not (size and token.kind == "number" and token.text[0] != ".")) or (
                size and token.text in KEYWORDS
            ):
                break
            size += 1
        if found is not None and found[0] >= size:
            self.at += found[0]
            return found[1]
        first = self.at
        self.at += size
        return self.spelled(first, self.at)

    def spelled(self, first: int, last: int) -> str:
        """Return the name written by some tokens, its white space made single."""
        return " ".join(self.text[self.tokens[first].pos : self.tokens[last - 1].end].split())

    def at_key(self) -> bool:
        """Say whether a name and a colon come next."""
        at = self.at
        while self.tokens[at].kind in ("name", "number") or self.tokens[at].text in _NAME_GLUE:
            at += 1
        return at > self.at and self.tokens[at].text == ":"

    def key(self) -> str:
        """Read a name or string and its colon."""
        token = self.token
        if token.kind == "string":
            self.advance()
            self.expect(":")
            return unescape(token.text)
        if not self.at_key():
            raise self.refuse("a name and a colon must stand here")
        first = self.at
        while self.token.text != ":":
            self.advance()
        name = self.spelled(first, self.at)
        self.advance()
        return name
