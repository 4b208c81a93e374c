"""What the tests of the decision engine share: a few lines of XML around the one that matters."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dadms_orchestrators.decision import Model, load_model

Dmn = Callable[..., Model]
HEAD = '<definitions xmlns="https://www.omg.org/spec/DMN/20230324/MODEL/" name="m" namespace="urn:m">'


@pytest.fixture
def dmn() -> Dmn:
    """Return what loads a model given the inside of its definitions."""

    def load(body: str, *, strict: bool = True) -> Model:
        return load_model(f"{HEAD}{body}</definitions>", name="m.dmn", strict=strict)

    return load


@pytest.fixture
def table(dmn: Dmn) -> Dmn:
    """Return what loads a decision "d" made of one table; inputs and outputs as names, rules as lists of cells."""

    def load(
        attributes: str, inputs: list[str], outputs: list[str], rules: list[list[str]], *, extra: str = "", strict: bool = True
    ) -> Model:
        def escape(text: str) -> str:
            return text.replace("&", "&amp;").replace("<", "&lt;")

        data = "".join(f'<inputData id="i{name}" name="{name}"><variable name="{name}"/></inputData>' for name in inputs)
        needs = "".join(f'<informationRequirement><requiredInput href="#i{name}"/></informationRequirement>' for name in inputs)
        columns = "".join(f"<input><inputExpression><text>{name}</text></inputExpression></input>" for name in inputs)
        columns += "".join(f"<output {output}</output>" if ">" in output else f"<output {output}/>" for output in outputs)
        rows = ""
        for rule in rules:
            cells = [f"<text>{escape(cell)}</text>" for cell in rule]
            tests = "".join(f"<inputEntry>{cell}</inputEntry>" for cell in cells[: len(inputs)])
            results = "".join(f"<outputEntry>{cell}</outputEntry>" for cell in cells[len(inputs) :])
            rows += f"<rule>{tests}{results}</rule>"
        decision = (
            f'<decision id="d" name="d"><variable name="d"/>{needs}<decisionTable {attributes}>{columns}{rows}</decisionTable></decision>'
        )
        return dmn(extra + data + decision, strict=strict)

    return load
