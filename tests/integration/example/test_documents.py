"""What the tutorial tells a newcomer to write runs, and comes out as it says."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.example.port_kernel import PortKernel

ROOT = Path(__file__).parents[3]
TUTORIAL = ROOT / "docs" / "tutorial" / "first-decision-process.md"
FILE = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The files of the tutorial, as a reader would have written them."""
    files = dict(FILE.findall(TUTORIAL.read_text()))
    assert set(files) == {"handlers.py", "van.dmn", "van.bpmn"}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.mark.parametrize(("price", "choice", "saving"), [(44000, "lease", 1622), (38000, "buy", 5165)])
def test_tutorial_comes_out_as_it_says(written: Path, run_model: Callable[..., PortKernel], price: int, choice: str, saving: int) -> None:
    kernel = run_model(written / "van.bpmn", written / "handlers.py", variables={"price": price})
    variables = kernel.outcome["variables"]
    assert (kernel.status, kernel.reason) == ("completed", "")
    assert (variables["decision"]["choice"], variables["saving"]) == (choice, saving)
    assert f"{saving:,}" in TUTORIAL.read_text()


def test_tutorial_without_a_price_says_what_is_missing(written: Path, run_model: Callable[..., PortKernel]) -> None:
    assert '"price" is required' in run_model(written / "van.bpmn", written / "handlers.py").reason


@pytest.mark.parametrize(
    "page",
    ["tutorial/first-decision-process.md", "how-to/write-handlers.md", "reference/contract.md", "../examples/uas_selection/README.md"],
)
def test_links_lead_somewhere(page: str) -> None:
    path = (ROOT / "docs" / page).resolve()
    links = [link for link in re.findall(r"\]\(([^)#]+)", path.read_text()) if "://" not in link]
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []
