"""The expression language: what it is worth, what it refuses, and that nothing breaks it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dadms_orchestrators.bpmn.juel import MAX_DEPTH, JuelError, Undefined, parse_condition, parse_template
from dadms_orchestrators.bpmn.juel_eval import Execution, truth_of, value_of

VARIABLES: dict[str, Any] = {
    "x": "v",
    "n": 5,
    "f": 2.5,
    "yes": True,
    "no": False,
    "nothing": None,
    "list": [1, {"b": 2}, "c"],
    "map": {"a": [10, 20], "key with space": 1, "empty": ""},
    "número": 7,
}
VARIABLES["execution"] = Execution("1001", "key-7", "P", "T1", "Task one", VARIABLES.get)

WORTH: list[tuple[str, Any]] = [
    ("plain text", "plain text"),
    ("", ""),
    ("${x == 'v'}", True),
    ('${x != "v"}', False),
    ("#{n}", 5),
    ("${ n }", 5),
    ("a ${n} b ${x} ${nothing}.", "a 5 b v ."),
    ("${yes} ${f}", "true 2.5"),
    ("is ${map.a}", "is [10,20]"),
    (r"\${n}", "${n}"),
    (r"cost \${n}: ${n}$", "cost ${n}: 5$"),
    ("${'}'}", "}"),
    (r"${'it\'s'}", "it's"),
    ("${1 + 2 * 3}", 7),
    ("${(1 + 2) * 3}", 9),
    ("${10 - 3 - 2}", 5),
    ("${7 / 2}", 3.5),
    ("${7 div 2}", 3.5),
    ("${-7 mod 3}", -1),
    ("${7.5 % 2}", 1.5),
    ("${'2' + '3'}", 5),
    ("${nothing + 1}", 1),
    ("${1e3}", 1000.0),
    ("${.5 + n}", 5.5),
    ("${- n}", -5),
    ("${n > 3 && f < 3}", True),
    ("${n gt 3 and not (f ge 3)}", True),
    ("${n lt 3 or n le 5}", True),
    ("${!no || no}", True),
    ("${n eq '5'}", True),
    ("${n ne 5.0}", False),
    ("${'abc' < 'abd'}", True),
    ("${yes == 'TRUE'}", True),
    ("${nothing == null}", True),
    ("${nothing == 0}", False),
    ("${nothing < 1}", False),
    ("${nothing <= nothing}", True),
    ("${nothing.deep.deeper == null}", True),
    ("${no && missing}", False),
    ("${yes || missing}", True),
    ("${yes ? x : missing}", "v"),
    ("${no ? 1 : yes ? 2 : 3}", 2),
    ("${empty nothing && empty map.empty && empty '' && !empty list}", True),
    ("${not empty list}", True),
    ("${list[1].b}", 2),
    ("${list[9]}", None),
    ("${map['key with space']}", 1),
    ("${map.absent}", None),
    ("${map.a[1] + list[0]}", 21),
    ("${número}", 7),
    ("${list.size()}", 3),
    ("${list.contains('c')}", True),
    ("${map.containsKey('a')}", True),
    ("${x.length() + x.toUpperCase().length()}", 2),
    ("${' v '.trim().equals(x)}", True),
    ("${x.startsWith('v')}", True),
    ("${nothing.size()}", None),
    ("${execution.getProcessInstanceId()}", "1001"),
    ("${execution.processBusinessKey}", "key-7"),
    ("${execution.getVariable('n') == 5}", True),
    ("${execution.hasVariable('zzz')}", False),
    ("${execution.currentActivityId}", "T1"),
]


@pytest.mark.parametrize(("text", "worth"), WORTH, ids=[text for text, _ in WORTH])
def test_worth(text: str, worth: Any) -> None:
    value = value_of(parse_template(text), VARIABLES.__getitem__)
    assert value == worth
    assert type(value) is type(worth)


WRONG: list[tuple[str, str, int]] = [
    ("${missing}", 'variable "missing" is not defined', 2),
    ("${n + missing}", 'variable "missing" is not defined', 6),
    ("${}", "empty", 0),
    ("${n", "no closing }", 0),
    ("ab ${n", "no closing }", 3),
    ("${n n}", "not expected here", 4),
    ("${n +}", "ends too early", 5),
    ("${(n}", "')' is missing", 4),
    ("${list[1}", "']' is missing", 8),
    ("${yes ? 1}", "':' is missing", 9),
    ("${'open}", "no closing quote", 2),
    ("${n @ 1}", "no part of an expression", 4),
    ("${a..b}", "name is missing", 4),
    ("${sum(1)}", "function sum() does not exist", 2),
    ("${1 / 0}", "division by zero", 4),
    ("${n % 0}", "division by zero", 4),
    ("${x + 1}", 'the text "v" is not a number', 4),
    ("${x == 5}", 'the text "v" is not a number', 4),
    ("${list < 5}", "is not a number", 7),
    ("${yes < no}", "have no order", 6),
    ("${list && yes}", "neither true nor false", 7),
    ("${x.__class__}", "has no property", 3),
    ("${x.format(1)}", "cannot be called", 3),
    ("${n.__add__(1)}", "cannot be called", 3),
    ("${execution.__dict__}", "execution has no property", 11),
    ("${execution.setVariable('a', 1)}", "cannot be called", 11),
    ("${execution}", "execution itself is not a value", 2),
    ("${x.contains(5)}", "not the kind of argument", 3),
    ("${x.trim(1)}", "takes 0 arguments", 3),
    ("${list[0.5]}", "no index of a list", 6),
    ("${1e999}", "too large", 2),
    ("${1e308 * 10}", "not a finite number", 8),
    (f"${{{'9' * 41}}}", "41 characters", 2),
    (f"${{{'(' * 60}1{')' * 60}}}", f"deeper than {MAX_DEPTH}", 2 + MAX_DEPTH),
    (f"${{1{'+1' * 60}}}", "deeper than", 3 + 2 * MAX_DEPTH - 2),
    (f"${{x{'.a' * 60}}}", "deeper than", 0),
    (f"${{{'!' * 60}yes}}", "deeper than", 0),
    (f"${{'{'a' * 10_001}'}}", "longer than", 0),
]


@pytest.mark.parametrize(("text", "reason", "offset"), WRONG, ids=[text[:30] for text, _, _ in WRONG])
def test_errors_say_what_and_where(text: str, reason: str, offset: int) -> None:
    with pytest.raises(JuelError) as caught:
        value_of(parse_template(text), VARIABLES.__getitem__)
    assert reason in caught.value.message
    if offset:
        assert caught.value.offset == offset


def test_an_undefined_name_is_told_from_other_errors() -> None:
    with pytest.raises(Undefined) as caught:
        truth_of(parse_condition("${approved == true}"), VARIABLES.__getitem__)
    assert caught.value.name == "approved"


@pytest.mark.parametrize("text", ["", "true", "a ${x}", "${x} ${x}"])
def test_a_condition_is_one_expression(text: str) -> None:
    with pytest.raises(JuelError, match="one expression"):
        parse_condition(text)


@pytest.mark.parametrize("text", ["${n}", "${x}", "${nothing}", "${'true'}"])
def test_a_condition_is_worth_a_boolean(text: str) -> None:
    with pytest.raises(JuelError, match="true or false"):
        truth_of(parse_condition(text), VARIABLES.__getitem__)


def test_names_are_the_variables_that_are_read() -> None:
    assert parse_template("${a.b[c] == d.e(f) ? g : 'h'} and ${a}").names == ("a", "c", "d", "f", "g")


def test_many_multiplications_stay_small() -> None:
    variables = {"big": 2**63}
    with pytest.raises(JuelError, match="bits"):
        value_of(parse_template("${" + "(" * 8 + "big" + "*big" * 40 + ")" * 8 + " * " + "big" + "*big" * 40 + "}"), variables.__getitem__)


def worth_of(text: str) -> tuple[Any, JuelError | None]:
    """The value of a text, or why it has none."""
    try:
        return value_of(parse_template(text), VARIABLES.__getitem__), None
    except JuelError as error:
        return None, error


_LEAVES = st.sampled_from(["x", "n", "f", "yes", "nothing", "list", "map", "missing", "1", "2.5", "'s'", "null", "true", "execution"])
_EXPRESSIONS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "%", "==", "!=", "<", ">=", "&&", "||", "eq", "and"]), inner).map(" ".join),
        st.tuples(st.sampled_from(["!", "-", "empty ", "not "]), inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"{pair[0]}[{pair[1]}]"),
        st.tuples(inner, inner, inner).map(lambda three: f"({three[0]} ? {three[1]} : {three[2]})"),
        st.tuples(inner, st.sampled_from(["size", "length", "get", "equals", "toString", "getVariable"]), inner).map(
            lambda three: f"{three[0]}.{three[1]}({three[2]})"
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(_EXPRESSIONS)
def test_every_expression_has_a_json_value_or_a_juel_error(text: str) -> None:
    value, error = worth_of(f"${{{text}}}")
    assert error is None or (error.message and 0 <= error.offset <= len(text) + 3)
    assert value is None or isinstance(value, bool | int | float | str | list | dict)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="${}#\\'\"()[].,?:!&|=<>+-*/% \nabn019", max_size=60))
def test_any_text_is_a_template_or_a_juel_error(text: str) -> None:
    _, error = worth_of(text)
    assert error is None or 0 <= error.offset <= len(text)
