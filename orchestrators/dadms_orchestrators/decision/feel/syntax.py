"""The shapes of a parsed FEEL text: one Struct a construct, ``pos`` the offset where it begins.

Rule 1: a node holds what was written, resolved no further than names; what it means is the compiler's.
Rule 2: left-nested chains (``a + b + c``) stay left-nested; whoever walks them walks the spine in a loop, not by recursion.
"""

from __future__ import annotations

import msgspec


class Node(msgspec.Struct):
    """Anything that can be evaluated."""

    pos: int


class Literal(Node):
    """A number, string, boolean or null; temporal literals ``@"…"`` too, already read."""

    value: object


class Name(Node):
    """A variable or a built-in function, spelled as its scope knows it; in a filter it may be a member that an item lacks."""

    name: str
    may_lack: bool = False


class Path(Node):
    """``base.name``."""

    base: Node
    name: str


class Filter(Node):
    """``base[condition]``: an index or a predicate, which only its value tells."""

    base: Node
    condition: Node


class Call(Node):
    """``function(arguments)``; ``names`` are given for all of the arguments or for none."""

    function: Node
    arguments: list[Node]
    names: list[str] | None


class Negation(Node):
    """Arithmetic ``-operand``."""

    operand: Node


class Arithmetic(Node):
    """``left op right``, op one of ``+ - * / **``."""

    op: str
    left: Node
    right: Node


class Logic(Node):
    """``and``/``or`` over two or more items."""

    op: str
    items: list[Node]


class Comparison(Node):
    """``left op right``, op one of ``= != < <= > >=``."""

    op: str
    left: Node
    right: Node


class Between(Node):
    """``value between low and high``."""

    value: Node
    low: Node
    high: Node


class In(Node):
    """``value in test`` or ``value in (test, …)``."""

    value: Node
    tests: list[Node]


class UnaryComparison(Node):
    """``< 5`` without its left side: a test in a unary test, a half-open range as a value."""

    op: str
    operand: Node


class RangeNode(Node):
    """``[low..high]`` with either end open or closed."""

    low: Node
    high: Node
    low_closed: bool
    high_closed: bool


class ListNode(Node):
    """``[a, b]``."""

    items: list[Node]


class ContextNode(Node):
    """``{key: value}``; a later entry sees the earlier ones."""

    entries: list[tuple[str, Node]]


class If(Node):
    """``if condition then yes else no``."""

    condition: Node
    yes: Node
    no: Node


class Iteration(msgspec.Struct):
    """``name in domain`` or ``name in domain..end``."""

    name: str
    domain: Node
    end: Node | None


class For(Node):
    """``for … return body``; ``partial`` holds the results so far."""

    iterations: list[Iteration]
    body: Node


class Quantified(Node):
    """``some``/``every`` … ``satisfies condition``."""

    kind: str
    iterations: list[Iteration]
    condition: Node


class TypeNode(msgspec.Struct):
    """A type as written: ``list<number>``, ``tPerson``, ``context<a: string>``, ``function<number> -> string``."""

    name: str  # "list", "range", "context", "function", or a (qualified) name
    arguments: list[TypeNode]
    fields: list[str]  # names of a context's arguments
    result: TypeNode | None  # of a function


class FunctionNode(Node):
    """``function(a: number) body`` or ``… external body``."""

    parameters: list[tuple[str, TypeNode | None]]
    body: Node
    external: bool


class InstanceOf(Node):
    """``value instance of type``."""

    value: Node
    type: TypeNode


class UnaryTests(msgspec.Struct):
    """A cell: ``-`` has no tests; ``not(…)`` is negated."""

    tests: list[Node] | None
    negated: bool
