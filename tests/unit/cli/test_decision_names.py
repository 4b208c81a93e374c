"""Which decision is meant, and which inputs are unknown or missing: names, with the nearest one."""

import pytest

from dadms_ipc.errors import RequestRefused
from dadmsctl.decisions import Checked, Decision, Input, Told, choose, missing_inputs, warnings_of

FEE = Decision("fee", "Fee", "decision", ["Age", "vip"])
BASE = Decision("base", "Base", "decision", ["Age"])
INPUTS = [Input(["Age", "age data", "x.Age", "x"], "number"), Input(["vip"], "boolean"), Input(["unused"], "Any")]


def model(top: list[str], *, is_open: bool = False, kind: str = "dmn") -> Checked:
    return Checked("a/m.dmn", "m", kind, top, [FEE, BASE], INPUTS, is_open)


def test_the_decision_that_no_other_needs_is_meant() -> None:
    assert choose(model(["Fee"]), None) is FEE


@pytest.mark.parametrize(("name", "found"), [("Fee", FEE), ("fee", FEE), ("base", BASE)])
def test_a_decision_has_a_name_and_an_id(name: str, found: Decision) -> None:
    assert choose(model(["Fee", "Base"]), name) is found


@pytest.mark.parametrize(
    ("top", "name", "reason"),
    [
        (["Fee", "Base"], None, '"m.dmn": --decision NAME takes one of "Fee", "Base"$'),
        ([], None, "it has none that no other requires"),
        (["Fee"], "Bsae", 'cannot evaluate "Bsae": did you mean "Base"\\?'),
        (["Fee"], "Approval", 'cannot evaluate "Approval": its decisions are "Fee", "Base"'),
    ],
)
def test_a_decision_that_is_not_clear_is_refused_with_the_names(top: list[str], name: str | None, reason: str) -> None:
    with pytest.raises(RequestRefused, match=reason):
        choose(model(top), name)


def test_a_jdm_model_is_one_decision() -> None:
    jdm = Checked("m.json", "m", "jdm", ["m"], [], [], is_open=True)
    assert choose(jdm, None).name == choose(jdm, "m").name == "m"
    with pytest.raises(RequestRefused, match='one decision, "m"'):
        choose(jdm, "n")
    assert warnings_of(jdm, choose(jdm, None), ["anything"]) == []


def test_a_misspelled_input_is_both_unknown_and_missing() -> None:
    assert warnings_of(model(["Fee"]), FEE, ["age", "vip"]) == [
        'the model knows no input "age": did you mean "Age"?',
        'the input "Age" (number) was not given, and is null',
    ]


@pytest.mark.parametrize("name", ["Age", "age data", "x.Age", "x"])
def test_an_input_may_be_given_under_any_of_its_names(name: str) -> None:
    assert warnings_of(model(["Fee"]), FEE, [name, "vip", "unused"]) == []


def test_an_input_that_the_decision_does_not_reach_is_not_missed() -> None:
    assert missing_inputs(model(["Fee"]), BASE, []) == [INPUTS[0]]


def test_an_open_model_takes_any_name_and_misses_what_it_declares() -> None:
    assert warnings_of(model(["Fee"], is_open=True), FEE, ["else", "vip"]) == ['the input "Age" (number) was not given, and is null']


def test_an_unknown_input_far_from_all_is_told_with_those_that_there_are() -> None:
    [line] = warnings_of(model(["Fee"]), FEE, ["Age", "vip", "zzz"])
    assert line == 'the model knows no input "zzz": its inputs are "Age", "vip", "unused"'


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (Told("m.dmn", 4, 7, "Fee", "no"), "m.dmn:4:7: Fee: no"),
        (Told("m.dmn", 4, 0, "Fee", "no", rules=[1, 3]), "m.dmn:4: Fee: no (rules 1, 3)"),
        (Told("m.dmn", 0, 0, "", "no", rules=[2]), "m.dmn: no (rule 2)"),
    ],
)
def test_a_finding_is_a_line_with_its_place(told: Told, expected: str) -> None:
    assert str(told) == expected


def test_thousands_of_unknown_inputs_are_one_line() -> None:
    [line] = warnings_of(model(["Fee"]), FEE, ["Age", "vip", *(f"c{number}" for number in range(5_000))])
    assert line.startswith('the model knows none of the 5000 inputs "c0", "c1", ')
    assert line.endswith('"c11" and 4988 more')
