"""The expression language of conditions and parameters: the part of JUEL (the Java Unified Expression Language) that Camunda models use.

This module decides what is an expression and what it reads; `juel_eval` decides what it is worth.

Rule 1: an expression is data. It is parsed into a small tree of tuples, and never handed to Python's `eval`.
Rule 2: text around `${...}` (or `#{...}`) makes a template: its value is a string. A single expression alone keeps the type of its value. `\\${` is the two characters `${`.
Rule 3: every error has the offset in the text at which it was noticed, so that a caller can name the line.
Rule 4: length and nesting are limited, so that a hostile model costs an error and no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

MAX_EXPRESSION_CHARS = 10_000  # a person wrote it; beyond that it is a program or an attack
MAX_DEPTH = 50  # nested operators; each costs about ten Python frames, and the interpreter's limit is 1000
MAX_NUMBER_CHARS = 40  # digits of a literal; int() of very long ones is refused by Python anyway


class JuelError(Exception):
    """An expression that cannot be read or has no value; `offset` counts characters from the start of the text."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


class Undefined(JuelError):
    """A name that no variable has."""

    def __init__(self, name: str, offset: int = 0) -> None:
        super().__init__(f'variable "{name}" is not defined', offset)
        self.name = name


class Expr(NamedTuple):
    """A node of the tree: `op` says which, `args` are its operands, `offset` is where it stands in the text."""

    op: str
    args: tuple[Any, ...]
    offset: int


class Template(NamedTuple):
    """Text and expressions in the order in which they stand."""

    text: str
    parts: tuple[str | Expr, ...]

    @property
    def is_constant(self) -> bool:
        """Whether no part is an expression."""
        return all(isinstance(part, str) for part in self.parts)

    @property
    def names(self) -> tuple[str, ...]:
        """The variables that it reads, each once, in order."""
        return tuple(dict.fromkeys(name for part in self.parts if isinstance(part, Expr) for name in _names(part)))


class _Token(NamedTuple):
    kind: str
    text: str
    offset: int
    word: str = ""  # as it stands in the text, when it is one: a word for an operator is a name after a dot


# Words that stand for operators (JSR 341, 1.17 "Reserved words"), by the sign that they stand for.
WORDS = {
    "and": "&&",
    "or": "||",
    "not": "!",
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "div": "/",
    "mod": "%",
    "empty": "empty",
}
LITERALS: dict[str, Any] = {"true": True, "false": False, "null": None}

# From loose to tight; operators of one row have the same rank and associate to the left.
BINARY = (("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="), ("+", "-"), ("*", "/", "%"))

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)
      | (?P<name>[^\W\d][\w$]*)
      | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]}])""",
    re.VERBOSE | re.DOTALL,
)
_OPENING = re.compile(r"\\?[$#]\{")


def parse_template(text: str) -> Template:
    """The parts of a text; raises JuelError."""
    parts: list[str | Expr] = []
    literal: list[str] = []
    position = 0
    while match := _OPENING.search(text, position):
        literal.append(text[position : match.start()])
        if match.group().startswith("\\"):
            literal.append(match.group()[1:])
            position = match.end()
            continue
        if before := "".join(literal):
            parts.append(before)
        literal = []
        expression, position = _Parser(text, match.end()).whole()
        parts.append(expression)
    literal.append(text[position:])
    if rest := "".join(literal):
        parts.append(rest)
    return Template(text, tuple(parts))


def parse_condition(text: str) -> Template:
    """The one expression of a condition; raises JuelError when there is text around it, since text has no truth."""
    template = parse_template(text.strip())
    if len(template.parts) != 1 or isinstance(template.parts[0], str):
        raise JuelError(f"a condition is one expression of the form ${{...}}, and this is {text.strip()[:80]!r}")
    return template


class _Parser:
    """Recursive descent over the tokens from `start` to the closing brace."""

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.start = start
        self.depth = 0
        self.tokens = self._lex()
        self.token = next(self.tokens)

    def _lex(self) -> Iterator[_Token]:
        position = self.start
        while True:
            if position >= len(self.text):
                raise JuelError("the expression has no closing }", self.start - 2)
            if position - self.start > MAX_EXPRESSION_CHARS:
                raise JuelError(f"the expression is longer than {MAX_EXPRESSION_CHARS} characters", self.start - 2)
            match = _TOKEN.match(self.text, position)
            if match is None:
                what = (
                    "a string has no closing quote"
                    if self.text[position] in "'\""
                    else f"{self.text[position]!r} is no part of an expression"
                )
                raise JuelError(what, position)
            kind, found = str(match.lastgroup), match.group()
            word = found if kind == "name" else ""
            if kind == "name" and found in WORDS:
                kind, found = "sign", WORDS[found]
            if kind != "space":
                yield _Token(kind, found, position, word)
            position = match.end()

    def whole(self) -> tuple[Expr, int]:
        if self._is("}"):
            raise JuelError("the expression is empty", self.start - 2)
        expression = self._ternary()
        if not self._is("}"):
            raise JuelError(f"{self.token.text!r} is not expected here", self.token.offset)
        return expression, self.token.offset + 1

    def _is(self, *signs: str) -> bool:
        return self.token.kind == "sign" and self.token.text in signs

    def _take(self) -> _Token:
        token = self.token
        self.token = next(self.tokens)
        return token

    def _expect(self, sign: str) -> None:
        if not self._is(sign):
            raise JuelError(f"{sign!r} is missing before {self.token.text!r}", self.token.offset)
        self._take()

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise JuelError(f"the expression is nested deeper than {MAX_DEPTH} levels", self.token.offset)

    def _ternary(self) -> Expr:
        self._deeper()
        condition = self._binary(0)
        if self._is("?"):
            offset = self._take().offset
            then = self._ternary()
            self._expect(":")
            condition = Expr("?", (condition, then, self._ternary()), offset)
        self.depth -= 1
        return condition

    def _binary(self, rank: int) -> Expr:
        if rank == len(BINARY):
            return self._unary()
        left = self._binary(rank + 1)
        chained = 0
        while self._is(*BINARY[rank]):
            chained += 1  # a chain to the left is a deep tree, too
            self._deeper()
            operator = self._take()
            left = Expr(operator.text, (left, self._binary(rank + 1)), operator.offset)
        self.depth -= chained
        return left

    def _unary(self) -> Expr:
        if self._is("!", "-", "empty"):
            self._deeper()
            operator = self._take()
            operand = self._unary()
            self.depth -= 1
            return Expr({"-": "neg"}.get(operator.text, operator.text), (operand,), operator.offset)
        return self._value()

    def _value(self) -> Expr:
        value = self._primary()
        chained = 0
        while self._is(".", "["):
            chained += 1
            self._deeper()
            opening = self._take()
            if opening.text == "[":
                value = Expr("[]", (value, self._ternary()), opening.offset)
                self._expect("]")
                continue
            if not self.token.word:
                raise JuelError(f"a name is missing after the dot, before {self.token.text!r}", self.token.offset)
            name = self._take().word
            if self._is("("):
                value = Expr("call", (value, name, self._arguments()), opening.offset)
            else:
                value = Expr("[]", (value, Expr("literal", (name,), opening.offset)), opening.offset)
        self.depth -= chained
        return value

    def _arguments(self) -> tuple[Expr, ...]:
        self._expect("(")
        arguments: list[Expr] = []
        while not self._is(")"):
            if arguments:
                self._expect(",")
            arguments.append(self._ternary())
        self._take()
        return tuple(arguments)

    def _primary(self) -> Expr:
        if self._is("("):
            self._take()
            inner = self._ternary()
            self._expect(")")
            return inner
        kind, text, offset, _ = self.token
        if kind == "sign":
            raise JuelError("the expression ends too early" if text == "}" else f"{text!r} is not expected here", offset)
        self._take()
        if kind == "number":
            return Expr("literal", (_number(text, offset),), offset)
        if kind == "string":
            return Expr("literal", (re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL),), offset)
        if text in LITERALS:
            return Expr("literal", (LITERALS[text],), offset)
        if self._is("("):
            raise JuelError(f"function {text}() does not exist here", offset)
        return Expr("name", (text,), offset)


def _number(text: str, offset: int) -> int | float:
    if len(text) > MAX_NUMBER_CHARS:
        raise JuelError(f"a number of {len(text)} characters is longer than {MAX_NUMBER_CHARS}", offset)
    if text.isdigit():
        return int(text)
    value = float(text)
    if value == float("inf"):
        raise JuelError(f"the number {text} is too large", offset)
    return value


def _names(expression: Expr) -> Iterator[str]:
    if expression.op == "name":
        yield expression.args[0]
        return
    for argument in expression.args:
        if isinstance(argument, Expr):
            yield from _names(argument)
        elif isinstance(argument, tuple):
            for inner in argument:
                yield from _names(inner)
