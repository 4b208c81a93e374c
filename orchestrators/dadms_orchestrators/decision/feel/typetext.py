"""The place of a reader among tokens, and the reading of types as FEEL writes them.

Rule 1: ``list``, ``range``, ``context`` and ``function`` take their arguments in angle brackets; every other type is a name.
"""

from __future__ import annotations

from dadms_orchestrators.decision.errors import LimitExceeded, SyntaxRefused
from dadms_orchestrators.decision.feel.names import Names
from dadms_orchestrators.decision.feel.syntax import TypeNode
from dadms_orchestrators.decision.feel.tokens import Token, tokenize

MAX_TYPE_DEPTH = 32  # of types in types
_LONG = Names(("date and time", "days and time duration", "years and months duration", "day time duration",
               "year month duration"))  # fmt: skip
_STOP = frozenset(["and", "or", "in", "between", "then", "else", "return", "satisfies", "instance"])


def parse_type(text: str) -> TypeNode:
    """Return the type that a text names; raise ``SyntaxRefused`` if it is none."""
    reader = TypeReader(text, tokenize(text))
    found = reader.read_type()
    reader.expect_end()
    return found


class TypeReader:
    """A place in the tokens of one text."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        """Stand before the first token."""
        self.text = text
        self.tokens = tokens
        self.at = 0
        self.in_range = False  # inside a range's second half, where "[" may close it
        self.type_depth = 0

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.at]

    def advance(self) -> Token:
        """Take the next token."""
        token = self.tokens[self.at]
        if token.kind == "end":
            raise self.refuse("the text ends too early")
        self.at += 1
        return token

    def accept(self, text: str) -> bool:
        """Take the next token if it is this sign or keyword."""
        token = self.tokens[self.at]
        if token.text == text and token.kind in ("op", "name"):
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        """Take the next token, which must be this sign or keyword."""
        if not self.accept(text):
            found = f'"{self.token.text}"' if self.token.kind != "end" else "the end"
            raise self.refuse(f'"{text}" expected, {found} found')

    def expect_end(self) -> None:
        """Raise unless everything was read."""
        if self.token.kind != "end":
            raise self.refuse(f'"{self.token.text}" cannot follow here')

    def refuse(self, reason: str) -> SyntaxRefused:
        """Return the refusal of this place."""
        return SyntaxRefused(reason, self.text, self.token.pos)

    def read_type(self) -> TypeNode:
        """Read a type."""
        self.type_depth += 1
        if self.type_depth > MAX_TYPE_DEPTH:
            raise LimitExceeded("cannot read expression", f"types nested deeper than {MAX_TYPE_DEPTH}")
        if self.token.kind != "name":
            raise self.refuse("a type must stand here")
        node = self._generic() if self.tokens[self.at + 1].text == "<" else TypeNode(self._type_name(), [], [], None)
        self.type_depth -= 1
        return node

    def _generic(self) -> TypeNode:
        name = self.advance().text
        self.expect("<")
        arguments: list[TypeNode] = []
        fields: list[str] = []
        if not self.accept(">"):
            while True:
                if name == "context":
                    first = self.at
                    while self.token.text != ":" and self.token.kind != "end":
                        self.advance()
                    fields.append(" ".join(token.text for token in self.tokens[first : self.at]))
                    self.expect(":")
                arguments.append(self.read_type())
                if not self.accept(","):
                    break
            self.expect(">")
        result = self.read_type() if name == "function" and self.accept("->") else None
        return TypeNode(name, arguments, fields, result)

    def _type_name(self) -> str:
        found = _LONG.match(self.tokens, self.at)
        if found is not None:
            self.at += found[0]
            return found[1]
        parts = [self.advance().text]
        while True:
            token = self.token
            if token.kind in ("name", "number") and token.text not in _STOP:
                parts.append(" " + self.advance().text)
            elif token.text == "." and self.tokens[self.at + 1].kind == "name":
                self.advance()
                parts.append("." + self.advance().text)
            else:
                return "".join(parts)
