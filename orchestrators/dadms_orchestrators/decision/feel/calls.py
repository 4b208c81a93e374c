"""Calls, user functions and paths.

Rule 1: arguments go by position or all by name; a number or a name that does not fit is null, with the reason.
Rule 2: a name that a model uses for a value still calls the built-in function of that name.
Rule 3: functions call each other at most ``MAX_CALLS`` deep; deeper ends the evaluation.
"""

from __future__ import annotations

from decimal import DecimalException
from typing import Any

from dadms_orchestrators.decision.feel import syntax as s
from dadms_orchestrators.decision.feel.builtins import Builtin, find
from dadms_orchestrators.decision.feel.compiler import Compiler, handles
from dadms_orchestrators.decision.feel.java import java_function
from dadms_orchestrators.decision.feel.properties import NO_PROPERTY, property_of
from dadms_orchestrators.decision.feel.runtime import TOO_DEEP, Exceeded, Null, current
from dadms_orchestrators.decision.feel.types import ANY, Mismatch, coerce
from dadms_orchestrators.decision.feel.values import Env, Evaluate, Function, kind

MAX_CALLS = 120  # of user functions inside each other; each takes some seven frames of Python's thousand


@handles(s.Call)
def _call(compiler: Compiler, node: s.Call) -> Evaluate:
    arguments = [compiler.compile(argument) for argument in node.arguments]
    names, pos = node.names, node.pos
    builtin = find(node.function.name) if isinstance(node.function, s.Name) else None
    function_of = compiler.compile(node.function)
    if builtin is not None and isinstance(node.function, s.Name):
        return _builtin_call(compiler, builtin, node.function.name, arguments, names, pos)

    def run(env: Env) -> Any:
        function = function_of(env)
        return invoke(compiler, function, [argument(env) for argument in arguments], names, pos)

    return run


def _builtin_call(
    compiler: Compiler, builtin: Builtin, name: str, arguments: list[Evaluate], names: list[str] | None, pos: int
) -> Evaluate:
    def run(env: Env) -> Any:
        values = [argument(env) for argument in arguments]
        shadow = env.get(name)
        if shadow.__class__ is Function:
            return invoke(compiler, shadow, values, names, pos)
        try:
            return builtin.call(values, names)
        except Null as why:
            compiler.null(pos, f"{name}: {why}")
        except Exceeded as limit:
            raise limit.at(compiler.source, pos) from None
        except (DecimalException, OverflowError):
            compiler.null(pos, f"{name}: the result is out of range")
        return None

    return run


def invoke(compiler: Compiler, function: Any, values: list[Any], names: list[str] | None, pos: int) -> Any:
    """Call a function value; whatever does not fit is null, with the reason noted."""
    if function.__class__ is not Function:
        compiler.null(pos, f"a {kind(function)} cannot be called")
        return None
    try:
        return call(function, values, names)
    except (Null, Mismatch) as why:
        compiler.null(pos, f"{function.name}: {why}")
    except (DecimalException, OverflowError):
        compiler.null(pos, f"{function.name}: the result is out of range")
    except Exceeded as limit:
        raise limit.at(compiler.source, pos) from None
    except RecursionError:
        raise Exceeded(TOO_DEEP).at(compiler.source, pos) from None
    return None


def call(function: Function, values: list[Any], names: list[str] | None = None) -> Any:
    """Call a function value; raise ``Null`` or ``Mismatch`` where the arguments do not fit."""
    if isinstance(function.run, Builtin):
        return function.run.call(values, names)
    parameters = function.parameters
    if names is not None:
        if sorted(names) != sorted(parameters):
            raise Null(f"it takes {', '.join(parameters) or 'nothing'}, not {', '.join(names)}")
        given = dict(zip(names, values, strict=True))
        values = [given[name] for name in parameters]
    elif len(values) != len(parameters):
        raise Null(f"it takes {len(parameters)} arguments, not {len(values)}")
    if function.types is not None:
        values = [coerce(value, wanted) for value, wanted in zip(values, function.types, strict=True)]
    notes = current.get()
    if notes is None:
        return coerce(function.run(*values), function.result)
    if notes.calls >= MAX_CALLS:
        raise Exceeded(f"functions call each other more than {MAX_CALLS} deep")
    notes.calls += 1
    try:
        result = function.run(*values)
    finally:
        notes.calls -= 1
    return coerce(result, function.result)


@handles(s.FunctionNode)
def _function(compiler: Compiler, node: s.FunctionNode) -> Evaluate:
    names = [name for name, _ in node.parameters]
    types = [compiler.type_of(written, node.pos) if written else ANY for _, written in node.parameters]
    body = compiler.compile(node.body)
    if node.external:
        return lambda env: java_function(compiler, body(env), names, types, node.pos)

    def build(env: Env) -> Function:
        def run(*values: Any) -> Any:
            return body({**env, **dict(zip(names, values, strict=True))})

        return Function(names, run, "function", types)

    return build


@handles(s.Path)
def _path(compiler: Compiler, node: s.Path) -> Evaluate:
    base_of, name, pos = compiler.compile(node.base), node.name, node.pos

    def run(env: Env) -> Any:
        base = base_of(env)
        if base.__class__ is dict and name in base:
            return base[name]
        if base.__class__ is list:
            return [step(item) for item in base]
        return step(base)

    def step(base: Any) -> Any:
        if base.__class__ is list:
            return [step(item) for item in base]
        found = property_of(base, name)
        if found is NO_PROPERTY:
            compiler.null(pos, f'a {kind(base)} has no "{name}"')
            return None
        return found

    return run
