"""Syntax to closures: every expression is compiled once, to a function of the names that it sees.

Rule 1: a closure takes an environment, a dict of names, and returns a value; it never raises for what a model did.
Rule 2: an inner scope is a new dict, so a function that closed over one keeps what it saw.
Rule 3: what a node compiles to stands in one table, filled by the modules that know the constructs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dadms_orchestrators.decision.errors import LimitExceeded, SyntaxRefused
from dadms_orchestrators.decision.feel import syntax as s
from dadms_orchestrators.decision.feel.runtime import Source, fail, note
from dadms_orchestrators.decision.feel.types import ANY, Lookup, Type, from_syntax, is_instance, simple
from dadms_orchestrators.decision.feel.values import Env, Evaluate, Range, compare, kind

MISSING: Any = object()
Handler = Callable[["Compiler", Any], Evaluate]
HANDLERS: dict[type, Handler] = {}  # syntax class -> what compiles it


def handles(node_type: type) -> Callable[[Handler], Handler]:
    """Put a function into the table of what compiles what."""

    def register(handler: Handler) -> Handler:
        HANDLERS[node_type] = handler
        return handler

    return register


class Compiler:
    """Compiles the nodes of one text."""

    def __init__(self, source: Source, lookup: Lookup = simple) -> None:
        """Compile for ``source``, whose type names ``lookup`` knows."""
        self.source = source
        self.lookup = lookup

    def compile(self, node: s.Node) -> Evaluate:
        """Return the closure of a node."""
        return HANDLERS[type(node)](self, node)

    def compile_whole(self, node: s.Node) -> Evaluate:
        """Return the closure of a whole text."""
        try:
            return self.compile(node)
        except RecursionError:
            raise LimitExceeded("cannot compile expression", "it is nested too deep", self.source.place(0)) from None

    def type_of(self, node: s.TypeNode | None, pos: int) -> Type:
        """Return the type that a text names; raise ``SyntaxRefused`` for one that nobody defined."""
        if node is None:
            return ANY
        found = from_syntax(node, self.lookup)
        if found is None:
            raise SyntaxRefused(f'"{node.name}" is no type that is known here', self.source.text, pos)
        return found

    def null(self, pos: int, reason: str) -> None:
        """Note why something is null."""
        note(self.source, pos, reason)


def constant_of(node: s.Node) -> Any:
    """Return the value of a literal, or MISSING for anything else."""
    return node.value if isinstance(node, s.Literal) else MISSING


@handles(s.Literal)
def _literal(_: Compiler, node: s.Literal) -> Evaluate:
    value = node.value
    return lambda _: value


@handles(s.Name)
def _name(compiler: Compiler, node: s.Name) -> Evaluate:
    from dadms_orchestrators.decision.feel.builtins import find

    name, pos = node.name, node.pos
    builtin = find(name)
    tell = note if node.may_lack else fail

    def get(env: Env) -> Any:
        value = env.get(name, MISSING)
        if value is not MISSING:
            return value
        if builtin is not None:
            return builtin.as_function()
        tell(compiler.source, pos, f'"{name}" is not known here')
        return None

    return get


@handles(s.ListNode)
def _list(compiler: Compiler, node: s.ListNode) -> Evaluate:
    items = [compiler.compile(item) for item in node.items]
    return lambda env: [item(env) for item in items]


@handles(s.ContextNode)
def _context(compiler: Compiler, node: s.ContextNode) -> Evaluate:
    names = [name for name, _ in node.entries]
    if len(set(names)) < len(names):
        pos = node.pos

        def refuse(_: Env) -> None:
            compiler.null(pos, "a context has one of its keys twice")

        return refuse
    entries = [(name, compiler.compile(value)) for name, value in node.entries]

    def build(env: Env) -> dict[str, Any]:
        inner = dict(env)
        made: dict[str, Any] = {}
        for name, value in entries:
            made[name] = inner[name] = value(inner)
        return made

    return build


@handles(s.RangeNode)
def _range(compiler: Compiler, node: s.RangeNode) -> Evaluate:
    low, high, pos = compiler.compile(node.low), compiler.compile(node.high), node.pos
    low_closed, high_closed = node.low_closed, node.high_closed

    def build(env: Env) -> Range | None:
        first, last = low(env), high(env)
        if first is not None and last is not None and compare(first, last) is None:
            compiler.null(pos, f"a range cannot go from a {kind(first)} to a {kind(last)}")
            return None
        # an end that is null is unknown, which a closed side without a value says; see Range.contains
        return Range(first, last, low_closed or first is None, high_closed or last is None)

    return build


@handles(s.If)
def _if(compiler: Compiler, node: s.If) -> Evaluate:
    condition, yes, no = compiler.compile(node.condition), compiler.compile(node.yes), compiler.compile(node.no)
    return choice(compiler, condition, yes, no, node.pos)


def choice(compiler: Compiler, condition: Evaluate, yes: Evaluate, no: Evaluate, pos: int) -> Evaluate:
    """Return the closure of a conditional: null chooses like false, any other value is no condition."""

    def run(env: Env) -> Any:
        chosen = condition(env)
        if chosen is True:
            return yes(env)
        if chosen is False or chosen is None:
            return no(env)
        compiler.null(pos, f"the condition is a {kind(chosen)}, not a boolean")
        return None

    return run


@handles(s.InstanceOf)
def _instance_of(compiler: Compiler, node: s.InstanceOf) -> Evaluate:
    value, wanted = compiler.compile(node.value), compiler.type_of(node.type, node.pos)
    return lambda env: is_instance(value(env), wanted)
