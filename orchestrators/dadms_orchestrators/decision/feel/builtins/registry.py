"""How a built-in function says what it takes, and how a call finds the form that fits.

Rule 1: a form is written as text, ``"string: string, start position: number, length?: number"``. A type is a name, several
with ``|`` between; ``?`` marks a parameter that may be left out, ``*`` one that takes all the rest.
Rule 2: null fits ``any`` only; a null for anything else makes the call null. A ``?`` after the type lets null in.
Rule 3: the implicit conversions of FEEL (one-item lists, dates) are tried before a form is given up.
Rule 4: a function has one or more forms, tried in their order; names of arguments choose like positions do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from dadms_orchestrators.decision.feel.runtime import Null
from dadms_orchestrators.decision.feel.values import Function, kind, midnight


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a form."""

    name: str
    kinds: frozenset[str]
    is_optional: bool
    takes_rest: bool
    takes_null: bool


class Form(msgspec.Struct, frozen=True):
    """One way to call a function."""

    parameters: tuple[Parameter, ...]
    run: Callable[..., Any]
    required: int

    def refuses(self, kinds: list[str | None], names: list[str] | None) -> str:
        """Return why arguments of some types (None is unknown) can never fit, or nothing."""
        arranged: list[Any] | str = self.arrange(list(kinds), names)
        if isinstance(arranged, str):
            return arranged
        takes_rest = bool(self.parameters) and self.parameters[-1].takes_rest
        if len(arranged) < self.required or (len(arranged) > len(self.parameters) and not takes_rest):
            return f"{len(kinds)} arguments are given, {self.required} to {len(self.parameters)} are taken"
        for at, found in enumerate(arranged):
            parameter = self.parameters[min(at, len(self.parameters) - 1)]
            takes = parameter.kinds | ({"null"} if parameter.takes_null else set())
            if found is None or found is ABSENT or takes & {found, "any"} or found == "list" or "list" in takes:
                continue
            if not (found == "date" and "date and time" in takes):
                return f"{parameter.name} is a {found}, not a {' or a '.join(sorted(parameter.kinds))}"
        return ""

    def arrange(self, values: list[Any], names: list[str] | None) -> list[Any] | str:
        """Return the values in order of the parameters, or why they do not fit."""
        if names is None:
            return values
        if any(parameter.takes_rest for parameter in self.parameters):
            return "this form takes no names"
        given = dict(zip(names, values, strict=True))
        known = [parameter.name for parameter in self.parameters]
        for name in given:
            if name not in known:
                return f'it has no parameter "{name}"'
        if len(given) < len(names):
            return "an argument is given twice"
        arranged: list[Any] = []
        for parameter in self.parameters:
            if parameter.name in given:
                arranged.append(given[parameter.name])
            elif parameter.is_optional:
                arranged.append(ABSENT)
            else:
                return f'"{parameter.name}" is missing'
        return arranged


Body = TypeVar("Body", bound=Callable[..., Any])
ABSENT: Any = object()
TABLE: dict[str, Builtin] = {}  # name -> function
_EVERY_DURATION = ("days and time duration", "years and months duration")


class Builtin(msgspec.Struct):
    """A built-in function with its forms."""

    name: str
    forms: list[Form]
    value: Function | None = None

    def __call__(self, *values: Any) -> Any:
        """Call it with values by position."""
        return self.call(list(values), None)

    def as_function(self) -> Function:
        """Return it as a value."""
        if self.value is None:
            self.value = Function([parameter.name for parameter in self.forms[0].parameters], self, self.name)
        return self.value

    def call(self, values: list[Any], names: list[str] | None) -> Any:
        """Run the first form that the arguments fit; raise ``Null`` if none does."""
        reason = ""
        for form in self.forms:
            arranged = form.arrange(values, names)
            if isinstance(arranged, str):
                reason = reason or arranged
                continue
            fitted = fit(form, arranged)
            if isinstance(fitted, str):
                reason = reason or fitted
                continue
            return form.run(*fitted)
        raise Null(reason)


def fit(form: Form, values: list[Any]) -> list[Any] | str:
    """Return the arguments converted for a form, or why they do not fit."""
    parameters = form.parameters
    takes_rest = bool(parameters) and parameters[-1].takes_rest
    if len(values) < form.required or (len(values) > len(parameters) and not takes_rest):
        return f"{len(values)} arguments are given, {form.required} to {len(parameters)} are taken"
    fitted: list[Any] = []
    for at, value in enumerate(values):
        parameter = parameters[min(at, len(parameters) - 1)]
        if value is ABSENT:
            fitted.append(None)
            continue
        converted = convert(value, parameter)
        if converted is ABSENT:
            return f"{parameter.name} is a {kind(value)}, not a {' or a '.join(sorted(parameter.kinds))}"
        fitted.append(converted)
    return fitted


def convert(value: Any, parameter: Parameter) -> Any:
    """Return an argument as a parameter takes it, or ABSENT."""
    kinds = parameter.kinds
    if value is None:
        return None if parameter.takes_null else ABSENT
    found = kind(value)
    if found in kinds or "any" in kinds:
        return value
    if found == "list" and len(value) == 1 and kind(value[0]) in kinds:
        return value[0]
    if found == "date" and "date and time" in kinds:
        return midnight(value)
    if "list" in kinds:
        return [value]
    return ABSENT


def builtin(name: str, *forms: str) -> Callable[[Body], Body]:
    """Put a function into the table under a name, once for each form."""

    def register(run: Body) -> Body:
        entry = TABLE.setdefault(name, Builtin(name, []))
        for text in forms:
            parameters = tuple(_parameter(part) for part in text.split(",")) if text else ()
            required = sum(not (p.is_optional or p.takes_rest) for p in parameters)
            entry.forms.append(Form(parameters, run, required))
        return run

    return register


def _parameter(text: str) -> Parameter:
    name, _, types = (part.strip() for part in text.partition(":"))
    takes_null = types.endswith("?") or types == "any"
    kinds: set[str] = set()
    for part in types.rstrip("?").split("|"):
        kinds.update(_EVERY_DURATION if part == "duration" else (part.strip(),))
    return Parameter(name.rstrip("?*"), frozenset(kinds), name.endswith("?"), name.endswith("*"), takes_null)


def find(name: str) -> Builtin | None:
    """Return the built-in function of a name."""
    return TABLE.get(name)
