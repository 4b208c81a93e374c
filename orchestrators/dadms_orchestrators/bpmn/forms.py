"""Forms: what a person, or whoever starts a process, fills in.

Rule 1: what is not filled in gets its default; what is required and has none is missing, and the whole form is refused with every problem in it.
Rule 2: a read-only field is shown, and never taken.
"""

from __future__ import annotations

from typing import Any

from dadms_orchestrators.bpmn.definition import Definition
from dadms_orchestrators.bpmn.expressions import Evaluator, Failure
from dadms_orchestrators.bpmn.mapping import Unfit, field_value, is_missing
from dadms_orchestrators.bpmn.model import FormField
from dadms_orchestrators.bpmn.refusal import RunRefused
from dadms_orchestrators.bpmn.variables import NotJson, Scope, json_copy


def start_variables(definition: Definition, variables: dict[str, Any], instance: str, business_key: str | None) -> dict[str, Any]:
    """The variables with which a process starts; raises RunRefused."""
    given: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in variables.items():
        try:
            if not isinstance(name, str):
                raise NotJson(f"a variable is named {name!r}, and a name is a text")
            given[name] = json_copy(value, f'variable "{name}"')
        except NotJson as error:
            problems.append(str(error))
    process = definition.process
    start = process.scope.start()
    if problems:
        raise RunRefused(f"cannot start {process.file}: {'; '.join(problems)}")
    if start is None or not start.fields:
        return given
    defaults: dict[str, Any] = {}
    for field in start.fields:
        if field.default is not None:
            evaluator = Evaluator(Scope(given), start, process, instance, business_key, assumed=[])
            try:
                defaults[field.name] = evaluator.text(f'default of field "{field.name}"', field.default)
            except Failure as failure:
                raise RunRefused(f"cannot start {process.file}: {failure}") from None
    return {**given, **filled(start.fields, given, defaults, f"start {process.file}", at_start=True)}


def filled(
    fields: tuple[FormField, ...], values: dict[str, Any], defaults: dict[str, Any], doing: str, *, at_start: bool = False
) -> dict[str, Any]:
    """The variables that a filled form makes, with its defaults; raises RunRefused."""
    known = {field.name: field for field in fields}
    found: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in values.items():
        try:
            copy = json_copy(value, f'"{name}"')
            if name not in known:
                found[name] = copy
            elif at_start or not known[name].readonly:
                found[name] = field_value(known[name], copy)
        except (NotJson, Unfit) as error:
            problems.append(str(error))
    for field in fields:
        if field.readonly or not is_missing(values.get(field.name)):
            continue
        try:
            found[field.name] = field_value(field, defaults.get(field.name))
        except Unfit as error:
            problems.append(f"the default of {error}")
        if field.required and is_missing(found.get(field.name)):
            problems.append(f'field "{field.name}" is required')
    if problems:
        raise RunRefused(f"cannot {doing}: {'; '.join(problems)}")
    return found
