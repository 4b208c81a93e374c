"""``validate``: each finding from the smallest model that has it, and silence where nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dadms_orchestrators.decision import Finding, Model, validate

Table = Callable[..., Model]
Dmn = Callable[..., Model]


def reasons(model: Model) -> list[tuple[str, str]]:
    return [(finding.kind, finding.reason) for finding in validate(model)]


COMPLETE = [["< 10", '"a"'], ["[10..20)", '"b"'], [">= 20", '"c"']]


@pytest.mark.parametrize(
    ("attributes", "rules", "found"),
    [
        ("", COMPLETE, []),
        ("", [*COMPLETE[:2], ["> 20", '"c"']], [("gap", "no rule matches where x is 20, and there is no default")]),
        (
            "",
            [["<= 10", '"a"'], *COMPLETE[1:]],
            [("overlap", "rules 1 and 2 both match where x is 10, and the hit policy is UNIQUE")],
        ),
        ('hitPolicy="FIRST"', [["<= 10", '"a"'], *COMPLETE[1:]], []),
        ('hitPolicy="ANY"', [["<= 10", '"a"'], ["[10..20)", '"a"'], COMPLETE[2]], []),
        (
            'hitPolicy="ANY"',
            [["<= 10", '"a"'], *COMPLETE[1:]],
            [("overlap", "rules 1 and 2 both match where x is 10, and the hit policy is ANY")],
        ),
        (
            'hitPolicy="FIRST"',
            [["-", '"a"'], ["< 10", '"b"']],
            [("unreachable", "rule 2 never decides: the rules before it match wherever it does")],
        ),
        (
            'hitPolicy="FIRST"',
            [["< 10", '"a"'], [">= 10", '"b"'], ["5", '"c"']],
            [("unreachable", "rule 3 never decides: the rules before it match wherever it does")],
        ),
        ('hitPolicy="COLLECT"', [["< 10", '"a"'], ["< 20", '"b"']], []),
        ("", [["true", "1"], ["false", "2"]], []),
        ("", [["true", "1"]], [("gap", "no rule matches where x is false, and there is no default")]),
        ("", [['"a"', "1"], ['not("a")', "2"]], []),
        ("", [['"a"', "1"]], [("gap", "no rule matches where x is any other string, and there is no default")]),
        (
            "",
            [["[9..1]", "1"], ["-", "2"]],
            [("empty", 'rule 1 can never match: nothing passes "[9..1]"')],
        ),
        ("", [["< x + 1", "1"], ["-", "2"]], []),  # a formula cannot be drawn, so nothing is said of it
        (
            "",
            [["< 10", "1"], ['"a"', "2"]],
            [("type", 'rule 2 tests "x", a number, with the string "a"')],
        ),
    ],
)
def test_table(table: Table, attributes: str, rules: list[list[str]], found: list[tuple[str, str]]) -> None:
    assert reasons(table(attributes, ["x"], ['name="o"'], rules)) == found


def test_gaps_join_over_two_inputs(table: Table) -> None:
    model = table("", ["x", "y"], ['name="o"'], [["< 10", "true", "1"], [">= 10", "-", "2"]])
    assert reasons(model) == [("gap", "no rule matches where x is < 10 and y is false, and there is no default")]


def test_a_default_closes_every_gap(table: Table) -> None:
    output = 'name="o"><defaultOutputEntry><text>0</text></defaultOutputEntry>'
    assert reasons(table("", ["x"], [output], [["1", "1"]])) == []


def test_an_output_outside_its_values_is_a_type_error(table: Table) -> None:
    output = 'name="o"><outputValues><text>"a","b"</text></outputValues>'
    assert reasons(table("", ["x"], [output], [["-", '"c"']])) == [("type", 'rule 1, "o": "c" is not among "a","b"')]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("amount * 2", []),
        ("amount + name", [("type", "number + string has no meaning")]),
        ("amount = name", [("type", "a number and a string cannot be compared")]),
        ("amount > 1 and name", [("type", "and takes booleans, and this is a string")]),
        ("amout * 2", [("name", '"amout" is not known here')]),
        ("substring(name)", [("type", "substring: 1 arguments are given, 2 to 3 are taken")]),
        ("substring(amount, 1)", [("type", "string is a number, not a string")]),
        ("person.age + 1", []),
        ("person.size", [("name", 'tPerson has no component "size"')]),
        ("person.age + name", [("type", "number + string has no meaning")]),
        ("for a in [1] return a + amount", []),
        ("[{b: 1}][b > amount]", []),
        ("{a: 1, b: a + 1}.b", []),
        ("(function(q) q + 1)(amount)", []),
        ("some q in [1] satisfies q = amount", []),
    ],
)
def test_expression(dmn: Dmn, text: str, found: list[tuple[str, str]]) -> None:
    inputs = "".join(
        f'<inputData id="{name}" name="{name}"><variable name="{name}" typeRef="{kind}"/></inputData>'
        for name, kind in (("amount", "number"), ("name", "string"), ("person", "tPerson"))
    )
    needs = "".join(
        f'<informationRequirement><requiredInput href="#{name}"/></informationRequirement>' for name in ("amount", "name", "person")
    )
    types = '<itemDefinition name="tPerson"><itemComponent name="age"><typeRef>number</typeRef></itemComponent></itemDefinition>'
    shown = text.replace("<", "&lt;")
    model = dmn(f'{types}{inputs}<decision id="d" name="d">{needs}<literalExpression><text>{shown}</text></literalExpression></decision>')
    got = [(kind, reason.removeprefix("substring: ") if "is a number" in reason else reason) for kind, reason in reasons(model)]
    assert got == found


def test_what_loading_found_is_an_error_with_its_place(dmn: Dmn) -> None:
    literal = "<literalExpression><text>1 +</text></literalExpression>"
    need = '<informationRequirement><requiredDecision href="#{}"/></informationRequirement>'
    body = (
        f'<decision id="a" name="a">{literal}</decision><decision id="b" name="b">{need.format("c")}</decision>'
        f'<decision id="c" name="c">{need.format("b")}</decision>'
    )
    found: list[Finding] = validate(dmn(body, strict=False))
    assert [(finding.kind, finding.severity, finding.place.node) for finding in found] == [
        ("syntax", "error", "a"),
        ("cycle", "error", "b"),
    ]
    assert found[0].row()["line"] == 1
