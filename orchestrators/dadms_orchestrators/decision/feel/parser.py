"""Tokens to syntax: operator precedence, one token ahead, never back.

Rule 1: the scope decides how many words a name has (``names.py``); everything else is decided by the next token.
Rule 2: no text is read twice, so the time is linear in its length; nesting is limited to ``MAX_DEPTH``.
Rule 3: precedence, loosest first: or, and, comparison, + -, * /, **, unary -, instance of, path and filter and call.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, DecimalException

from dadms_orchestrators.decision.errors import LimitExceeded, SyntaxRefused
from dadms_orchestrators.decision.feel import syntax as s
from dadms_orchestrators.decision.feel.constructs import MAX_CHAIN, Constructs
from dadms_orchestrators.decision.feel.namereader import KEYWORDS
from dadms_orchestrators.decision.feel.names import Scope
from dadms_orchestrators.decision.feel.tokens import Token, tokenize, unescape
from dadms_orchestrators.decision.feel.values import NUMBERS

MAX_DEPTH = 64  # of brackets and keywords inside each other; the conformance kit needs 12

_BINARY = {"or": 1, "and": 2, "+": 4, "-": 4, "*": 5, "/": 5, "**": 6}
_COMPARISON = frozenset(("=", "!=", "<", "<=", ">", ">="))
_CONSTANTS: dict[str, object] = {"true": True, "false": False, "null": None}


def parse_expression(text: str, scope: Scope, temporal: Callable[[str], object]) -> s.Node:
    """Return the syntax of an expression; ``temporal`` reads what stands in ``@"…"``."""
    parser = Parser(text, scope, temporal)
    node = parser.any_expression()
    parser.expect_end()
    return node


def parse_unary_tests(text: str, scope: Scope, temporal: Callable[[str], object]) -> s.UnaryTests:
    """Return the syntax of a decision table's cell or of allowed values."""
    parser = Parser(text, Scope(("?",), outer=scope), temporal)
    tests = parser.unary_tests()
    parser.expect_end()
    return tests


class Parser(Constructs):
    """A place in the tokens of one text."""

    def __init__(self, text: str, scope: Scope, temporal: Callable[[str], object]) -> None:
        """Stand before the first token."""
        super().__init__(text, tokenize(text), scope)
        self.temporal = temporal
        self.depth = 0
        self.brackets: dict[int, int] | None = None  # "[" to its "]", made when first asked for

    def any_expression(self) -> s.Node:
        """Read an expression, or a comparison without its left side."""
        if self.token.text in _COMPARISON and self.token.kind == "op":
            return self.unary_comparison()
        return self.expression(0)

    def expression(self, floor: int) -> s.Node:
        """Read an expression whose operators bind tighter than ``floor``."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise LimitExceeded("cannot read expression", f"nested deeper than {MAX_DEPTH}")
        left = self.rest(self.prefix(), floor)
        self.depth -= 1
        return left

    def rest(self, left: s.Node, floor: int) -> s.Node:
        """Read the operators that follow an operand."""
        links = 0
        while True:
            token = self.token
            text = token.text
            if token.kind not in ("op", "name"):
                return left
            if text in _COMPARISON or text in ("in", "between"):
                if floor >= 3:
                    return left
                links += 1
                if links > MAX_CHAIN:
                    raise LimitExceeded("cannot read expression", f"more than {MAX_CHAIN} comparisons in a row")
                left = self.comparison(left, token)
                continue
            power = _BINARY.get(text)
            if power is None or power <= floor:
                return left
            self.advance()
            if power > 2:
                left = s.Arithmetic(token.pos, text, left, self.expression(power))
                continue
            items = [left, self.expression(power)]
            while self.token.text == text and self.token.kind == "name":
                self.advance()
                items.append(self.expression(power))
            left = s.Logic(token.pos, text, items)

    def comparison(self, left: s.Node, token: Token) -> s.Node:
        """Read what follows ``left`` when it is compared."""
        self.advance()
        if token.text == "between":
            low = self.expression(3)
            self.expect("and")
            return s.Between(token.pos, left, low, self.expression(3))
        if token.text == "in":
            return s.In(token.pos, left, self.in_tests())
        return s.Comparison(token.pos, token.text, left, self.expression(3))

    def in_tests(self) -> list[s.Node]:
        """Read one test, or several in parentheses."""
        token = self.token
        if token.text in _COMPARISON:
            return [self.unary_comparison()]
        if token.text != "(" or token.kind != "op":
            return [self.expression(3)]
        self.advance()
        first = self.any_expression()
        if self.token.text == "..":
            return [self.rest(self.range_end(first, token, closed=False), 3)]
        tests = [first]
        while self.accept(","):
            tests.append(self.any_expression())
        self.expect(")")
        if len(tests) == 1:
            return [self.rest(self.postfix(first), 3)]
        return tests

    def unary_comparison(self) -> s.Node:
        """Read ``< 5``."""
        token = self.advance()
        return s.UnaryComparison(token.pos, token.text, self.expression(3))

    def prefix(self) -> s.Node:
        """Read an operand with what binds tighter than any operator."""
        token = self.token
        if token.kind == "op" and token.text == "-":
            self.advance()
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise LimitExceeded("cannot read expression", f"nested deeper than {MAX_DEPTH}")
            operand = self.prefix()
            self.depth -= 1
            if isinstance(operand, s.Literal) and isinstance(operand.value, Decimal):
                return s.Literal(token.pos, operand.value.copy_negate())
            return s.Negation(token.pos, operand)
        node = self.postfix(self.primary())
        while self.token.text == "instance" and self.token.kind == "name":
            where = self.advance().pos
            self.expect("of")
            node = s.InstanceOf(where, node, self.read_type())
        return node

    def postfix(self, node: s.Node) -> s.Node:
        """Read the paths, filters and calls after an operand."""
        for _ in range(MAX_CHAIN):
            token = self.token
            if token.kind != "op":
                return node
            if token.text == ".":
                self.advance()
                node = s.Path(token.pos, node, self.member())
            elif token.text == "[" and not self.closes_range():
                self.advance()
                node = s.Filter(token.pos, node, self.filter_condition())
            elif token.text == "(":
                self.advance()
                node = self.call(node, token)
            else:
                return node
        raise LimitExceeded("cannot read expression", f"more than {MAX_CHAIN} paths, filters and calls in a row")

    def filter_condition(self) -> s.Node:
        """Read what stands in the brackets of a filter."""
        self.scope = Scope(("item",), outer=self.scope, is_filter=True)
        condition = self.in_brackets(self.any_expression)
        self.scope = self.scope.outer or self.scope
        self.expect("]")
        return condition

    def call(self, function: s.Node, token: Token) -> s.Node:
        """Read the arguments of a call after its parenthesis."""
        arguments: list[s.Node] = []
        names: list[str] = []
        if not self.accept(")"):
            is_named = self.at_key()
            while True:
                if is_named:
                    names.append(self.key())
                arguments.append(self.in_brackets(self.any_expression))
                if not self.accept(","):
                    break
            self.expect(")")
            return s.Call(token.pos, function, arguments, names if is_named else None)
        return s.Call(token.pos, function, arguments, None)

    def primary(self) -> s.Node:
        """Read one operand."""
        token = self.token
        if token.kind == "number":
            self.advance()
            return s.Literal(token.pos, self.number(token))
        if token.kind == "string":
            self.advance()
            return s.Literal(token.pos, unescape(token.text))
        if token.kind == "op":
            return self.bracket(token)
        if token.kind == "end":
            raise self.refuse("an expression is missing here")
        return self.word(token)

    def number(self, token: Token) -> Decimal:
        """Return the value of a number, rounded to 34 digits."""
        try:
            return NUMBERS.create_decimal(token.text)
        except DecimalException:
            raise SyntaxRefused("the number is out of range", self.text, token.pos) from None

    def bracket(self, token: Token) -> s.Node:
        """Read an operand that starts with a sign."""
        self.advance()
        match token.text:
            case "(":
                inner = self.in_brackets(self.any_expression)
                if self.token.text == "..":
                    return self.range_end(inner, token, closed=False)
                self.expect(")")
                return inner
            case "[":
                return self.list_or_range(token)
            case "]":
                return self.range_end(self.in_brackets(lambda: self.expression(3)), token, closed=False)
            case "{":
                return self.context(token)
            case "@":
                text = self.token
                if text.kind != "string":
                    raise self.refuse("a string must follow @")
                self.advance()
                value = self.temporal(unescape(text.text))
                if value is None:
                    raise SyntaxRefused(f"{text.text} is no date, time or duration", self.text, text.pos)
                return s.Literal(token.pos, value)
        raise SyntaxRefused(f"an expression cannot start with {token.text!r}", self.text, token.pos)

    def list_or_range(self, token: Token) -> s.Node:
        """Read what follows ``[``."""
        if self.accept("]"):
            return s.ListNode(token.pos, [])
        items = [self.in_brackets(self.any_expression)]
        if self.token.text == "..":
            return self.range_end(items[0], token, closed=True)
        while self.accept(","):
            items.append(self.in_brackets(self.any_expression))
        self.expect("]")
        return s.ListNode(token.pos, items)

    def range_end(self, low: s.Node, token: Token, *, closed: bool) -> s.Node:
        """Read the second half of a range."""
        self.expect("..")
        before, self.in_range = self.in_range, True
        high = self.expression(3)
        self.in_range = before
        end = self.advance()
        if end.text not in ("]", ")", "["):
            raise SyntaxRefused("a range ends with ], ) or [", self.text, end.pos)
        return s.RangeNode(token.pos, low, high, closed, end.text == "]")

    def closes_range(self) -> bool:
        """Say whether a ``[`` ends the range around it (``[1..5[``) instead of opening a filter."""
        if not self.in_range:
            return False
        if self.brackets is None:
            self.brackets = matching_brackets(self.tokens)
        at = self.brackets.get(self.at)
        return at is None or at == self.at + 1 or self.tokens[at + 1].text not in ("]", ")", "[")

    def context(self, token: Token) -> s.Node:
        """Read what follows ``{``."""
        entries: list[tuple[str, s.Node]] = []
        self.scope = Scope(outer=self.scope)
        if not self.accept("}"):
            while True:
                name = self.key()
                value = self.in_brackets(self.any_expression)
                entries.append((name, value))
                self.scope.names.add(name)
                self.scope.members.add(name)
                if not self.accept(","):
                    break
            self.expect("}")
        self.scope = self.scope.outer or self.scope
        return s.ContextNode(token.pos, entries)

    def word(self, token: Token) -> s.Node:
        """Read an operand that starts with a word: a keyword's construct or a name."""
        found = self.scope.match(self.tokens, self.at)
        if found is None or found[0] == 1:
            if token.text in _CONSTANTS:
                self.advance()
                return s.Literal(token.pos, _CONSTANTS[token.text])
            match token.text:
                case "if":
                    return self.conditional()
                case "for":
                    return self.loop()
                case "some" | "every":
                    return self.quantified(token)
                case "function" if self.tokens[self.at + 1].text == "(":
                    return self.function(token)
            if token.text in KEYWORDS and found is None:
                raise self.refuse(f'"{token.text}" is a keyword and starts no expression')
        return s.Name(token.pos, self.join(found), self.scope.in_filter)

    def unary_tests(self) -> s.UnaryTests:
        """Read a cell."""
        token = self.token
        if token.text == "-" and self.tokens[self.at + 1].kind == "end":
            self.advance()
            return s.UnaryTests(None, negated=False)
        if token.text == "not" and token.kind == "name" and self.tokens[self.at + 1].text == "(":
            depth = 0
            for at in range(self.at + 1, len(self.tokens)):
                if self.tokens[at].kind == "op":
                    depth += (self.tokens[at].text == "(") - (self.tokens[at].text == ")")
                    if depth == 0:
                        break
            if self.tokens[min(at + 1, len(self.tokens) - 1)].kind == "end":
                self.at += 2
                tests = self.test_list()
                self.expect(")")
                return s.UnaryTests(tests, negated=True)
        return s.UnaryTests(self.test_list(), negated=False)

    def test_list(self) -> list[s.Node]:
        """Read tests with commas between."""
        tests = [self.any_expression()]
        while self.accept(","):
            tests.append(self.any_expression())
        return tests


def matching_brackets(tokens: list[Token]) -> dict[int, int]:
    """Return for the index of each ``[`` the one of the ``]`` that closes it, if any does."""
    closed: dict[int, int] = {}
    waiting: list[int] = []
    for at, token in enumerate(tokens):
        if token.kind == "op" and token.text == "[":
            waiting.append(at)
        elif token.kind == "op" and token.text == "]" and waiting:
            closed[waiting.pop()] = at
    return closed
