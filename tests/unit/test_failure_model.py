"""The page of the failure model names a test for each cell, and each name is a test."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "explanation" / "failure-model.md").read_text()
NAMES = sorted(set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)(?:::(\w+)(?:\[([\w-]+)\])?)?`", PAGE)))
WHO = ["kernel", "bus", "logger", "base zygote", "version zygote", "worker", "process", "keeper"]
HOW = ["killed", "stopped for a while", "slow", "out of memory", "disk full"]


def rows() -> dict[str, list[str]]:
    found = {}
    for line in PAGE.splitlines():
        if match := re.match(r"\| \*\*([a-z ]+)\*\* \|", line):
            found[match[1]] = [cell.strip() for cell in line.strip("| ").split(" | ")][1:]
    return found


def test_everybody_has_a_cell_for_everything_and_each_cell_a_test() -> None:
    assert list(rows()) == WHO
    assert f"| who | {' | '.join(HOW)} |" in PAGE
    for who, cells in rows().items():
        assert len(cells) == len(HOW), who
        for cell in cells:
            assert re.search(r"`[\w/]+\.py::\w+", cell), f"{who}: {cell}"


@pytest.mark.parametrize(("file", "function", "cell"), NAMES)
def test_a_name_on_the_page_is_a_test(file: str, function: str, cell: str) -> None:
    tree = ast.parse((TESTS / file).read_text())
    if function:
        assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    if cell:
        from tests.fault.test_table import IDS

        assert cell in IDS


def test_every_cell_that_is_tested_is_on_the_page() -> None:
    from tests.fault.test_table import IDS

    assert {cell for _, _, cell in NAMES if cell} == set(IDS)
