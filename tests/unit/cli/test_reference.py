"""The pages name every command and option that there is, and no command that there is not."""

import re
from pathlib import Path

import click
import pytest

from dadmsctl.cli import cli

ROOT = Path(__file__).parents[3]
REFERENCE = (ROOT / "docs" / "reference" / "cli.md").read_text()
PAGES = sorted(path for folder in (".", "docs", "examples") for path in (ROOT / folder).glob("*.md" if folder == "." else "**/*.md"))


def commands(group: click.Group, name: str = "") -> dict[str, click.Command]:
    """Give every command by what is typed for it."""
    found: dict[str, click.Command] = {}
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        assert command is not None
        path = f"{name} {word}".strip()
        found |= commands(command, path) if isinstance(command, click.Group) else {path: command}
    return found


COMMANDS = commands(cli)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_has_every_command_and_every_option_of_it(name: str) -> None:
    assert re.search(rf"`(dadmsctl )?{name}\b", REFERENCE)
    for parameter in (*COMMANDS[name].params, *cli.params):
        for option in (*parameter.opts, *parameter.secondary_opts):
            if isinstance(parameter, click.Option) and (option.startswith("--") or len(parameter.opts) == 1):
                assert re.search(rf"[`\[ ,]{option}\b", REFERENCE), f"{name} {option}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_names_no_command_that_does_not_exist(path: Path) -> None:
    groups = {name.split()[0] for name in COMMANDS if " " in name}
    known = set(COMMANDS) | {name.split()[0] for name in COMMANDS}
    for typed in re.findall(r"(?:^|`|\$ |\| |; do |\()dadmsctl((?: [^`\n|#]*)?)", path.read_text(), re.MULTILINE):
        words = re.sub(r"--(?:runtime-dir|timeout) \S+", "", typed).split()
        while words and words[0].startswith("-"):
            words.pop(0)
        if words and re.fullmatch(r"[a-z]+", words[0]):
            name = " ".join(words[:2]) if words[0] in groups and len(words) > 1 and re.match(r"[a-z]", words[1]) else words[0]
            assert name in known, typed
