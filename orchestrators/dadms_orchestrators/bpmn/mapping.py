"""How results become variables: outputs of work, results of decisions, answers of people.

Rule 1: what a task gives are variables of its process, except under the name of one of its own input parameters, which stays in the task (as in Camunda).
Rule 2: a decision gives a list of matched rules, each a map; `mapDecisionResult` says what of it is kept (Camunda 7, "Mapping the decision result"), resultList when the model says nothing.
  Without a result variable the one matched rule becomes variables.
Rule 3: a text that a person typed for a number or a boolean becomes one, or is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dadms_orchestrators.bpmn.model import FormField


class Unfit(ValueError):
    """A result or an answer that cannot become variables; the text says why."""


def decision_rules(decision: str, outputs: Any) -> list[Any]:
    """The matched rules in what a decision gave: a list, one rule, one value, or nothing."""
    if outputs is None:
        return []
    found = outputs if isinstance(outputs, list) else [outputs]
    return [rule if isinstance(rule, dict) else {decision: rule} for rule in found]


def _single(rules: list[Any]) -> Any:
    if len(rules) > 1:
        raise Unfit(f"{len(rules)} rules matched, and one at most is expected")
    return rules[0] if rules else None


def _entry(rule: Any) -> Any:
    if rule is None:
        return None
    if len(rule) != 1:
        raise Unfit(f"the matched rule has {len(rule)} outputs ({', '.join(rule)}), and one is expected")
    return next(iter(rule.values()))


MAP_RESULT: dict[str, Callable[[list[Any]], Any]] = {
    "singleEntry": lambda rules: _entry(_single(rules)),
    "singleResult": _single,
    "collectEntries": lambda rules: [_entry(rule) for rule in rules],
    "resultList": lambda rules: rules,
}


def decision_variables(decision: str, how: str, result_variable: str, outputs: Any) -> dict[str, Any]:
    """The variables that a decision sets; raises Unfit."""
    rules = decision_rules(decision, outputs)
    if result_variable:
        return {result_variable: MAP_RESULT[how](rules)}
    if len(rules) > 1:
        raise Unfit(f"{len(rules)} rules matched, and without a camunda:resultVariable there is no place for more than one")
    return dict(rules[0]) if rules else {}


def _whole(text: str) -> int:
    return int(text)


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


# What a typed text becomes, by the type of its field; other types keep the text.
TYPED: dict[str, tuple[Callable[[str], Any], type | tuple[type, ...], str]] = {
    "long": (_whole, int, "a whole number"),
    "integer": (_whole, int, "a whole number"),
    "double": (float, (int, float), "a number"),
    "boolean": (_boolean, bool, "true or false"),
}


def field_value(field: FormField, value: Any) -> Any:
    """The value of a field as its type wants it; raises Unfit."""
    if value is None:
        return None
    if field.choices and value not in field.choices:
        raise Unfit(f'field "{field.name}" is {value!r}, and can be {", ".join(field.choices)}')
    if field.type not in TYPED:
        return value
    convert, kinds, called = TYPED[field.type]
    if isinstance(value, str):
        try:
            return convert(value.strip())
        except (KeyError, ValueError):
            raise Unfit(f'field "{field.name}" is {value!r}, and is {called}') from None
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
        raise Unfit(f'field "{field.name}" is {value!r}, and is {called}')
    return value


def is_missing(value: Any) -> bool:
    """Whether nobody filled in a field."""
    return value is None or value == ""
