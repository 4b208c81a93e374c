"""Pages that tell a newcomer what to write and to type come out as they say when that is pasted."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli.conftest import PATIENCE

DOCS = Path(__file__).parents[3] / "docs"
FILE = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TYPED = re.compile(r"<!-- run -->\n```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SAID = re.compile(r"<!-- said -->\n```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [
    "how-to/go-on-after-a-restart.md",
    "how-to/write-an-orchestrator.md",
    "how-to/share-state.md",
    "how-to/talk-to-the-bus.md",
    "how-to/services-on-the-bus.md",
]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_comes_out_as_it_says(name: str, short_path: Path, environment: dict[str, str]) -> None:
    page = (DOCS / name).read_text()
    for file, content in FILE.findall(page):
        (short_path / file).write_text(content)
    bin_of_this = str(Path(sys.executable).parent)
    environment |= {"PATH": f"{bin_of_this}:{environment['PATH']}", "DADMS_STATE_DIR": str(short_path / "state")}
    script = "".join(TYPED.findall(page))
    with subprocess.Popen(
        ["bash", "-c", script], cwd=short_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as shell:  # fmt: skip
        try:
            output, _ = shell.communicate(timeout=PATIENCE)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGTERM)
    shown = re.sub(r"[ \t]+$", "", output, flags=re.MULTILINE)
    said = SAID.findall(page)
    assert said
    for lines in said:
        for line in lines.splitlines():
            assert line.strip() in shown, shown


def test_the_contracts_example_is_the_one_that_is_run_here() -> None:
    code = re.findall(r"```python\n(.*?)^```$", (DOCS / "reference" / "contract.md").read_text(), re.DOTALL | re.MULTILINE)[0]
    files = dict(FILE.findall((DOCS / "how-to" / "write-an-orchestrator.md").read_text()))
    assert files["squares.py"] == code
