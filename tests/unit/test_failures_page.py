"""The page of failures names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "supervisor-failures.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "line", [line for line in PAGE.splitlines() if re.match(r"\| \d+ \|", line)], ids=lambda line: line.split("|")[1].strip()
)
def test_each_failure_names_a_test_that_exists(line: str) -> None:
    """``path.py::test`` or ``path.py``; ``::test`` alone is in the file that was named before it."""
    names = [name for name in re.findall(r"`([^`]*)`", line) if ".py" in name or name.startswith("::")]
    current = ""
    for name in names:
        path, _, test = name.partition("::")
        current = path or current
        content = (ROOT / "tests" / current).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in content, name
    assert any("::" in name for name in names) or "the same test" in line, "a file is not a fact"


def test_all_of_them_are_there() -> None:
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)] == list(range(1, 33))
