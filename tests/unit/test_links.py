"""Every page of the repository: its relative links lead to files that exist, and their anchors to headings of them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path for path in ROOT.rglob("*.md") if not any(part.startswith(".") or part == "node_modules" for part in path.relative_to(ROOT).parts)
)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
CODE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)


def links_of(page: str) -> list[str]:
    """Give the targets of links, images included, outside of code."""
    text = re.sub(r"`[^`\n]*`", "", CODE.sub("", page))
    return [link for link in LINK.findall(text) if not re.match(r"[a-z][a-z0-9+.-]*:", link)]


def anchors_of(page: str) -> set[str]:
    """Give the anchors of a page's headings, as they are made on GitHub."""
    headings = re.findall(r"^#+\s+(.*?)\s*$", CODE.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_and_anchors_are_found() -> None:
    page = "# A [b](c.md) `d`\n```\n[no](e.md)\n```\n`[no](f.md)` ![i](g.png) [h](https://x.y/z) [i](#j-k)\n## J, k\n"
    assert links_of(page) == ["c.md", "g.png", "#j-k"]
    assert "j-k" in anchors_of(page)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_what_exists(path: Path) -> None:
    dead = []
    for link in links_of(path.read_text()):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors_of(target.read_text())):
            dead.append(link)
    assert dead == []
