"""FEEL, the expression language of DMN: text in, closure out.

Rule 1: ``expression`` and ``unary_tests`` read and compile a text once; what they return is called for each evaluation.
Rule 2: names are resolved while reading, against the scope that is given.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dadms_orchestrators.decision.feel import calls, compiler, loops, operators, unary  # noqa: F401 - fill the table
from dadms_orchestrators.decision.feel.builtins import TABLE
from dadms_orchestrators.decision.feel.compiler import Compiler
from dadms_orchestrators.decision.feel.names import Names, Scope
from dadms_orchestrators.decision.feel.parser import parse_expression, parse_unary_tests
from dadms_orchestrators.decision.feel.runtime import Exceeded, Notes, Source, current
from dadms_orchestrators.decision.feel.temporaltext import parse_temporal
from dadms_orchestrators.decision.feel.types import Lookup, simple
from dadms_orchestrators.decision.feel.unary import Test, compile_tests
from dadms_orchestrators.decision.feel.values import Env, Evaluate

BUILTIN_SCOPE = Scope(TABLE)

__all__ = ["BUILTIN_SCOPE", "Env", "Evaluate", "Names", "Notes", "Scope", "Source", "current", "evaluate_text",
           "expression", "unary_tests"]  # fmt: skip


def expression(source: Source, scope: Scope = BUILTIN_SCOPE, lookup: Lookup = simple) -> Evaluate:
    """Compile an expression; raise ``SyntaxRefused`` where it is none."""
    return Compiler(source, lookup).compile_whole(parse_expression(source.text, scope, parse_temporal))


def unary_tests(source: Source, scope: Scope = BUILTIN_SCOPE, lookup: Lookup = simple) -> Test | None:
    """Compile a cell, None for one that always matches; raise ``SyntaxRefused`` where it is none."""
    return compile_tests(Compiler(source, lookup), parse_unary_tests(source.text, scope, parse_temporal))


def evaluate_text(text: str, env: dict[str, Any] | None = None, names: Iterable[str] = ()) -> Any:
    """Read, compile and run a text once, for tests and for looking around; raise ``DecisionError`` where it is none, or reaches a limit."""
    env = env or {}
    scope = Scope((*env, *names), outer=BUILTIN_SCOPE)
    try:
        return expression(Source(text), scope)(env)
    except Exceeded as limit:
        raise limit.refusal("cannot evaluate expression") from None
