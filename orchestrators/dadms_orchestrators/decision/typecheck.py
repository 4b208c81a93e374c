"""Static types, as far as they are certain: what is null whatever the inputs are.

Rule 1: a type is inferred from constants, declared inputs and operators; whatever is not certain is unknown, and unknown is
never a finding.
Rule 2: what is found is what the engine would say when it ran: an operator without meaning, a call that fits no form, a name
that nobody can see.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dadms_orchestrators.decision.feel import Scope
from dadms_orchestrators.decision.feel import syntax as s
from dadms_orchestrators.decision.feel.arithmetic import ARITHMETIC
from dadms_orchestrators.decision.feel.builtins import find
from dadms_orchestrators.decision.feel.types import Type
from dadms_orchestrators.decision.feel.values import KINDS, kind

Tell = Callable[[str, int, str], None]  # kind of finding, offset, reason
_ORDERED = frozenset((
    "number", "string", "date", "time", "date and time", "days and time duration", "years and months duration",
))  # fmt: skip
_MEANINGS: dict[tuple[str, str, str], str | None] = {("+", "string", "string"): "string"}
for _op in ("+", "-", "*", "/", "**"):
    _MEANINGS[_op, "number", "number"] = "number"
for _op, _left, _right in ARITHMETIC:
    _MEANINGS.setdefault((_op, KINDS[_left], KINDS[_right]), None)


class TypeCheck:
    """Walks one text."""

    def __init__(self, scope: Scope, tell: Tell) -> None:
        """Check what ``scope`` sees, and ``tell`` what is wrong."""
        self.scope = scope
        self.tell = tell
        self.local: list[frozenset[str]] = []  # names that the text itself introduces
        self.in_filter = 0

    def walk(self, node: Any) -> str | None:
        """Return the FEEL type of a node where it is certain."""
        match node:
            case s.Literal():
                return kind(node.value)
            case s.Name():
                return self.name(node)
            case s.Path():
                return self.path(node)
            case s.Arithmetic():
                return self.arithmetic(node)
            case s.Comparison():
                return self.comparison(node)
            case s.Call():
                return self.call(node)
            case s.Logic():
                for item in node.items:
                    found = self.walk(item)
                    if found not in (None, "boolean", "null"):
                        self.tell("type", item.pos, f"{node.op} takes booleans, and this is a {found}")
                return "boolean"
            case s.For() | s.Quantified():
                return self.loop(node)
            case s.Filter():
                self.walk(node.base)
                self.in_filter += 1
                self.walk(node.condition)
                self.in_filter -= 1
                return None
            case s.FunctionNode():
                self.inside([name for name, _ in node.parameters], node.body)
                return "function"
            case s.ContextNode():
                names: list[str] = []
                everything = [name for name, _ in node.entries]
                for name, value in node.entries:
                    # a function runs later than it is made: it sees itself and what follows it
                    self.inside(everything if isinstance(value, s.FunctionNode) else names, value)
                    names.append(name)
                return "context"
        return self.rest(node)

    def rest(self, node: Any) -> str | None:
        """Walk a node whose parts need no more than being walked."""
        for field in node.__struct_fields__:
            value = getattr(node, field)
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, s.Node):
                    self.walk(part)
        match node:
            case s.ListNode():
                return "list"
            case s.RangeNode() | s.UnaryComparison():
                return "range"
            case s.InstanceOf() | s.In() | s.Between():
                return "boolean"
        return None

    def inside(self, names: list[str], node: Any) -> None:
        """Walk a node that sees more names."""
        self.local.append(frozenset(names))
        self.walk(node)
        self.local.pop()

    def loop(self, node: s.For | s.Quantified) -> str | None:
        """Walk a loop: each domain sees the variables before it."""
        names: list[str] = ["partial"] if isinstance(node, s.For) else []
        for step in node.iterations:
            self.inside(names, step.domain)
            if step.end is not None:
                self.inside(names, step.end)
            names.append(step.name)
        self.inside(names, node.body if isinstance(node, s.For) else node.condition)
        return "list" if isinstance(node, s.For) else "boolean"

    def name(self, node: s.Name) -> str | None:
        """Look a name up."""
        if self.in_filter or node.name == "?" or any(node.name in names for names in self.local):
            return None
        if not self.scope.knows(node.name):
            self.tell("name", node.pos, f'"{node.name}" is not known here')
            return None
        return _certain(self.scope.type_of(node.name))

    def path(self, node: s.Path) -> str | None:
        """Follow a path through declared components."""
        self.walk(node.base)
        steps = [node.name]
        base = node.base
        while isinstance(base, s.Path):
            steps.append(base.name)
            base = base.base
        if not isinstance(base, s.Name) or self.in_filter or any(base.name in names for names in self.local):
            return None
        found: Type | None = self.scope.type_of(base.name)
        for name in reversed(steps):
            if found is None or found.kind != "context" or found.fields is None:
                return None
            if name not in found.fields:
                self.tell("name", node.pos, f'{found} has no component "{name}"')
                return None
            found = found.fields[name]
        return _certain(found)

    def arithmetic(self, node: s.Arithmetic) -> str | None:
        """Check a chain of operators along its spine."""
        chain: list[s.Arithmetic] = []
        spine: s.Node = node
        while isinstance(spine, s.Arithmetic):
            chain.append(spine)
            spine = spine.left
        left = self.walk(spine)
        for step in reversed(chain):
            right = self.walk(step.right)
            if left is None or right is None:
                left = None
                continue
            if (step.op, left, right) not in _MEANINGS:
                self.tell("type", step.pos, f"{left} {step.op} {right} has no meaning")
                return None
            left = _MEANINGS[step.op, left, right]
        return left

    def comparison(self, node: s.Comparison) -> str:
        """Check that two sides can be compared."""
        left, right = self.walk(node.left), self.walk(node.right)
        if left is None or right is None or "null" in (left, right):
            return "boolean"
        if left != right:
            self.tell("type", node.pos, f"a {left} and a {right} cannot be compared")
        elif node.op not in ("=", "!=") and left not in _ORDERED:
            self.tell("type", node.pos, f"values of type {left} have no order")
        return "boolean"

    def call(self, node: s.Call) -> str | None:
        """Check a call of a built-in function against its forms."""
        given = [self.walk(argument) for argument in node.arguments]
        if not isinstance(node.function, s.Name):
            self.walk(node.function)
            return None
        name = node.function.name
        builtin = find(name)
        if builtin is None or any(name in names for names in self.local) or self.scope.type_of(name) is not None:
            self.name(node.function)
            return None
        reasons = [form.refuses(given, node.names) for form in builtin.forms]
        if all(reasons):
            self.tell("type", node.pos, f"{name}: {reasons[0]}")
        return None


def _certain(found: Type | None) -> str | None:
    return None if found is None or found.kind in ("Any", "Null", "function") else found.kind
