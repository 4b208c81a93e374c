"""What starts with a keyword: conditionals, loops, quantifiers and functions, and the scopes that they open.

Rule 1: a variable is in scope for what follows it in its construct, and for nothing outside.
Rule 2: the body of each reaches as far to the right as it can.
"""

from __future__ import annotations

import abc
from collections.abc import Callable

from dadms_orchestrators.decision.errors import LimitExceeded
from dadms_orchestrators.decision.feel import syntax as s
from dadms_orchestrators.decision.feel.namereader import NameReader
from dadms_orchestrators.decision.feel.names import Scope
from dadms_orchestrators.decision.feel.tokens import Token

MAX_CHAIN = 100  # paths, filters and calls in a row


class Constructs(NameReader, abc.ABC):
    """A place in the tokens of one text, where constructs can be read."""

    @abc.abstractmethod
    def any_expression(self) -> s.Node:
        """Read an expression, or a comparison without its left side."""

    @abc.abstractmethod
    def expression(self, floor: int) -> s.Node:
        """Read an expression whose operators bind tighter than ``floor``."""

    def in_brackets(self, read: Callable[[], s.Node]) -> s.Node:
        """Read inside brackets of its own, where ``[`` closes no outer range."""
        before, self.in_range = self.in_range, False
        node = read()
        self.in_range = before
        return node

    def conditional(self) -> s.Node:
        """Read ``if``."""
        where = self.advance().pos
        condition = self.in_brackets(self.any_expression)
        self.expect("then")
        yes = self.in_brackets(self.any_expression)
        self.expect("else")
        return s.If(where, condition, yes, self.expression(0))

    def iterations(self, last: str) -> list[s.Iteration]:
        """Read ``name in domain, …`` up to the keyword ``last``; the scope grows with each."""
        found: list[s.Iteration] = []
        while True:
            first = self.at
            while self.token.text != "in":
                if self.token.kind == "end":
                    raise self.refuse('"in" is missing')
                self.advance()
            if first == self.at:
                raise self.refuse("a name must stand before in")
            name = self.spelled(first, self.at)
            self.advance()
            domain = self.in_brackets(self.any_expression)
            end = self.in_brackets(lambda: self.expression(3)) if self.accept("..") else None
            found.append(s.Iteration(name, domain, end))
            if len(found) > MAX_CHAIN:
                raise LimitExceeded("cannot read expression", f"more than {MAX_CHAIN} iterations in one loop")
            self.scope = Scope((name,), outer=self.scope)
            if not self.accept(","):
                self.expect(last)
                return found

    def loop(self) -> s.Node:
        """Read ``for``."""
        where = self.advance().pos
        before = self.scope
        iterations = self.iterations("return")
        self.scope = Scope(("partial",), outer=self.scope)
        body = self.expression(0)
        self.scope = before
        return s.For(where, iterations, body)

    def quantified(self, token: Token) -> s.Node:
        """Read ``some`` or ``every``."""
        self.advance()
        before = self.scope
        iterations = self.iterations("satisfies")
        condition = self.expression(0)
        self.scope = before
        return s.Quantified(token.pos, token.text, iterations, condition)

    def function(self, token: Token) -> s.Node:
        """Read ``function(…) body``."""
        self.advance()
        self.expect("(")
        parameters: list[tuple[str, s.TypeNode | None]] = []
        if not self.accept(")"):
            while True:
                first = self.at
                while self.token.text not in (":", ",", ")") and self.token.kind != "end":
                    self.advance()
                if first == self.at:
                    raise self.refuse("the name of a parameter must stand here")
                name = self.spelled(first, self.at)
                parameters.append((name, self.read_type() if self.accept(":") else None))
                if not self.accept(","):
                    break
            self.expect(")")
        is_external = self.token.text == "external" and self.token.kind == "name"
        if is_external:
            self.advance()
        self.scope = Scope((name for name, _ in parameters), outer=self.scope)
        body = self.expression(0)
        self.scope = self.scope.outer or self.scope
        return s.FunctionNode(token.pos, parameters, body, is_external)
