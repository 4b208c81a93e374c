"""Decision tables: hit policies, aggregations, defaults, allowed values and the trace."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from dadms_orchestrators.decision import Model, evaluate

Table = Callable[..., Model]
ORDERED = 'name="o"><outputValues><text>"high","middle","low"</text></outputValues>'
RULES = [["< 10", '"low"'], ["< 20", '"high"'], ["< 30", '"middle"'], ["> 100", '"low"']]


@pytest.mark.parametrize(
    ("attributes", "x", "expected"),
    [
        ("", 25, "middle"),
        ("", 5, None),  # three rules match and the policy is UNIQUE
        ("", 50, None),  # none does
        ('hitPolicy="FIRST"', 5, "low"),
        ('hitPolicy="F"', 15, "high"),
        ('hitPolicy="ANY"', 25, "middle"),
        ('hitPolicy="ANY"', 5, None),
        ('hitPolicy="PRIORITY"', 5, "high"),
        ('hitPolicy="OUTPUT ORDER"', 5, ["high", "middle", "low"]),
        ('hitPolicy="RULE ORDER"', 5, ["low", "high", "middle"]),
        ('hitPolicy="COLLECT"', 5, ["low", "high", "middle"]),
        ('hitPolicy="COLLECT"', 50, []),
        ('hitPolicy="COLLECT" aggregation="COUNT"', 5, Decimal(3)),
        ('hitPolicy="COLLECT" aggregation="COUNT"', 50, Decimal(0)),
        ('hitPolicy="COLLECT" aggregation="MIN"', 5, "high"),
        ('hitPolicy="COLLECT" aggregation="MAX"', 5, "middle"),
        ('hitPolicy="COLLECT" aggregation="SUM"', 5, None),  # strings have no sum
    ],
)
def test_hit_policy(table: Table, attributes: str, x: int, expected: object) -> None:
    assert evaluate(table(attributes, ["x"], [ORDERED], RULES), "d", {"x": x}).value == expected


def test_aggregation_sums_decimals_exactly(table: Table) -> None:
    model = table('hitPolicy="COLLECT" aggregation="SUM"', ["x"], ['name="o"'], [["-", "0.1"], ["-", "0.2"]])
    assert evaluate(model, "d", {"x": 1}).value == Decimal("0.3")


def test_several_outputs_make_a_context(table: Table) -> None:
    model = table("", ["x"], ['name="a"', 'name="b"'], [["1", "x + 1", '"one"'], ["2", "x", '"two"']])
    assert evaluate(model, "d", {"x": 1}).value == {"a": Decimal(2), "b": "one"}


def test_a_default_stands_in_where_nothing_matches(table: Table) -> None:
    output = 'name="o"><defaultOutputEntry><text>"none of them"</text></defaultOutputEntry>'
    assert evaluate(table("", ["x"], [output], RULES), "d", {"x": 50}).value == "none of them"


def test_an_output_that_is_not_allowed_is_null_and_says_so(table: Table) -> None:
    evaluation = evaluate(table("", ["x"], [ORDERED], [["-", '"huge"']]), "d", {"x": 1})
    assert evaluation.value is None
    assert [error.reason for error in evaluation.errors] == ['o is "huge", not among "high","middle","low"']


@pytest.mark.parametrize(
    ("cell", "value", "matches"),
    [
        ("-", None, True),
        ("", 1, True),
        ("5", 5, True),
        ("5", 5.0, True),
        ("5", "5", False),
        ("null", None, True),
        ("null", 1, False),
        ("[1..5)", 5, False),
        ("]1..5]", 5, True),
        ("(1..5[", 1, False),
        ("< 1, > 5", 6, True),
        ("not(1, 2)", 3, True),
        ("not(1, 2)", 2, False),
        ('"a", "b"', "b", True),
        ('not("a", "b")', "c", True),
        ('not("a", "b")', None, True),
        ("true", True, True),
        ("true", False, False),
        ("false", False, True),
        ("? > 3 and ? < 5", 4, True),
        ("even(?)", 4, True),
        ("even(?)", 3, False),
        ('contains(?, "b")', "abc", True),
        ("[1, 2, 3]", 2, True),
        ("x + 1 - 1", 7, True),
        ('date("2020-01-01")', "2020-01-01", False),  # a string is no date where no type says so
        ("< 5", None, False),
        ("< 5", "4", False),
        ("true", None, False),
        ("!= 5", 4, True),
        ("= 5", 5, True),
    ],
)
def test_cell(table: Table, cell: str, value: object, matches: bool) -> None:
    model = table("", ["x"], ['name="o"'], [[cell, '"yes"']])
    assert (evaluate(model, "d", {"x": value}).value == "yes") is matches


def test_an_input_value_that_is_not_allowed_is_an_error(dmn: Callable[[str], Model]) -> None:
    model = dmn(
        '<inputData id="i" name="x"/><decision id="d" name="d"><informationRequirement><requiredInput href="#i"/>'
        "</informationRequirement><decisionTable><input><inputExpression><text>x</text></inputExpression><inputValues>"
        '<text>"a","b"</text></inputValues></input><output/><rule><inputEntry><text>-</text></inputEntry>'
        "<outputEntry><text>1</text></outputEntry></rule></decisionTable></decision>"
    )
    assert evaluate(model, "d", {"x": "a"}).value == 1
    evaluation = evaluate(model, "d", {"x": "c"})
    assert evaluation.value is None
    assert evaluation.errors[0].reason == 'x is "c", not among "a","b"'


def test_the_trace_says_which_rules_matched_on_what(table: Table) -> None:
    rows: list[dict[str, Any]] = evaluate(table('hitPolicy="COLLECT"', ["x"], ['name="o"'], RULES), "d", {"x": 15}).trace.rows()
    assert rows == [
        {"decision": "d", "rule": 2, "because": {"x": "15 matches < 20"}, "outputs": {"o": '"high"'}, "annotation": ""},
        {"decision": "d", "rule": 3, "because": {"x": "15 matches < 30"}, "outputs": {"o": '"middle"'}, "annotation": ""},
    ]


def test_unique_names_the_rules_that_clash(table: Table) -> None:
    evaluation = evaluate(table("", ["x"], ['name="o"'], RULES), "d", {"x": 15})
    assert evaluation.errors[0].reason == "rules 2, 3 match at once, and the hit policy is UNIQUE"


def test_a_table_without_inputs_has_rules_that_always_match(table: Table) -> None:
    assert evaluate(table("", [], ['name="o"'], [["1 + 1"]]), "d", {}).value == 2
