"""What ``validate`` claims of a table is what evaluating it over a grid of inputs shows, in both directions."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from dadms_orchestrators.decision import evaluate, load_model, validate

seeded = settings(max_examples=150, derandomize=True, deadline=None)

bounds = st.integers(0, 6)
number_cells = st.one_of(
    st.just("-"),
    bounds.map(str),
    st.tuples(st.sampled_from(["<", "<=", ">", ">="]), bounds).map(lambda cell: f"{cell[0]} {cell[1]}"),
    st.tuples(st.sampled_from("[("), bounds, bounds, st.sampled_from("])")).map(
        lambda cell: f"{cell[0]}{min(cell[1], cell[2])}..{max(cell[1], cell[2]) + 1}{cell[3]}"
    ),
    st.tuples(bounds, bounds).map(lambda cell: f"not({cell[0]}, {cell[1]})"),
)
string_cells = st.one_of(
    st.just("-"),
    st.lists(st.sampled_from(['"a"', '"b"', '"c"']), min_size=1, max_size=2).map(",".join),
    st.sampled_from(['"a"', '"b"', '"c"']).map(lambda cell: f"not({cell})"),
)
rules = st.lists(st.tuples(number_cells, string_cells), min_size=1, max_size=6)
GRID = [(Decimal(number) / 2, string) for number in range(-2, 18) for string in ("a", "b", "c", "d")]


def table(cells: list[tuple[str, str]], policy: str) -> str:
    def escape(text: str) -> str:
        return text.replace("<", "&lt;")

    rows = "".join(
        f"<rule><inputEntry><text>{escape(number)}</text></inputEntry><inputEntry><text>{string}</text></inputEntry>"
        f"<outputEntry><text>{at}</text></outputEntry></rule>"
        for at, (number, string) in enumerate(cells, start=1)
    )
    names = ("n", "s")
    data = "".join(f'<inputData id="{name}" name="{name}"/>' for name in names)
    needs = "".join(f'<informationRequirement><requiredInput href="#{name}"/></informationRequirement>' for name in names)
    inputs = "".join(f"<input><inputExpression><text>{name}</text></inputExpression></input>" for name in names)
    return (
        f'<definitions xmlns="https://www.omg.org/spec/DMN/20230324/MODEL/" name="m">{data}<decision id="d" name="d">{needs}'
        f'<decisionTable hitPolicy="{policy}">{inputs}<output name="o"/>{rows}</decisionTable></decision></definitions>'
    )


@seeded
@given(rules)
def test_overlaps_and_gaps_are_those_that_evaluation_shows(cells: list[tuple[str, str]]) -> None:
    collect = load_model(table(cells, "COLLECT"))
    hits = [[int(rule) for rule in evaluate(collect, "d", {"n": n, "s": s}).value] for n, s in GRID]
    seen = {(first, second) for found in hits for first in found for second in found if first < second}
    findings = validate(load_model(table(cells, "UNIQUE")))
    assert {finding.rules for finding in findings if finding.kind == "overlap"} == seen
    assert any(finding.kind == "gap" for finding in findings) is any(not found for found in hits)


@seeded
@given(rules)
def test_a_rule_is_unreachable_exactly_if_it_never_decides(cells: list[tuple[str, str]]) -> None:
    model = load_model(table(cells, "FIRST"))
    decided = {evaluate(model, "d", {"n": n, "s": s}).value for n, s in GRID}
    never = {number for number in range(1, len(cells) + 1) if number not in decided}
    told = {finding.rules[0] for finding in validate(model) if finding.kind in ("unreachable", "empty")}
    assert told == never
