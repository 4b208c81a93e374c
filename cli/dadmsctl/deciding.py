"""One evaluation of a decision on a daemon, and how it is shown: the value, the rules that matched and why, and what made it null.

1. An error of the evaluation fails the command, also where a value came out: a decision that went on with a wrong type is not the decision that was asked for.
2. A null is an answer, unless inputs were missing: then they are the reason, and the command fails.
3. Where there is neither a value nor a story of how it became null, the error alone is shown.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
import msgspec

from dadmsctl import ending, running
from dadmsctl.decisions import Checked, Decision, missing_inputs
from dadmsctl.door import Door
from dadmsctl.exits import Exit
from dadmsctl.narrator import Narrator
from dadmsctl.running import Asked
from dadmsctl.terminal import console, one_line, printable, write_json

if TYPE_CHECKING:
    from rich.console import RenderableType

NULLS_SHOWN = 20  # reasons; the first ones tell the story
OPENING = re.compile(r'^cannot evaluate "[^"]*": ')  # of the engine's own sentence
RULES_SHOWN = 200  # rows of the table; --json has all of them


class Answer(msgspec.Struct, frozen=True):
    """What the decision orchestrator came to."""

    decision: str
    value: Any = None
    rules: list[dict[str, Any]] = []
    errors: list[str] = []
    nulls: list[dict[str, Any]] = []
    left_out: dict[str, int] = {}


def run(door: Door, asked: Asked, checked: Checked, decision: Decision) -> Exit:
    """Evaluate, show what came of it, and give the exit code."""
    with (
        Narrator(console(stderr=True), is_quiet=True, began=asked.began) as narrator,
        running.daemon(door, narrator, asked) as (place, private),
    ):
        _, process, log = running.pursue(place, asked, narrator, is_private=private is not None)
    if not isinstance(process.outcome, dict) or "decision" not in process.outcome:
        if asked.as_json:
            reason = process.reason or process.cause
            write_json({**msgspec.to_builtins(Answer(decision.name, errors=[reason])), "missing": [], "warnings": asked.job.warnings})
        if process.status == "failed" and process.reason and not log:
            click.echo(_sentence(decision.name, process.reason), err=True)
        else:
            ending.tell_failure(process, log, keeps_log=private is None)
        return Exit.FAILED
    answer = msgspec.convert(process.outcome, Answer)
    missing = [known.names[0] for known in missing_inputs(checked, decision, asked.given)]
    if asked.as_json:
        write_json({**msgspec.to_builtins(answer), "decision": decision.name, "missing": missing, "warnings": asked.job.warnings})
    elif answer.value is not None or answer.nulls or answer.rules or not answer.errors:
        show(answer, decision.name)
    return _tell(answer, decision.name, missing)


def show(answer: Answer, name: str) -> None:
    """Show the value and its reasons."""
    from rich.text import Text

    from dadmsctl.values import view

    screen = console(pipe_width=running.PAGE_WIDTH)
    screen.print(Text(printable(name), style="bold"))
    screen.print(Text("null", style="yellow") if answer.value is None else view(exact(answer.value)))
    if answer.rules:
        screen.print(Text("\nRULES THAT MATCHED", style="bold"))
        screen.print(_rules(answer.rules[:RULES_SHOWN]))
    hidden = max(0, len(answer.rules) - RULES_SHOWN) + answer.left_out.get("rules", 0)
    if hidden:
        screen.print(Text(f"… {hidden} more", style="dim"))
    if answer.value is None:
        screen.print(Text("\nWHY IT IS NULL", style="bold"))
        for line in _nulls(answer):
            screen.print(Text(printable(line)), soft_wrap=True)


def exact(value: Any) -> Any:
    """Give a value with its scalars as FEEL writes them: a decision's digits are not for rounding."""
    match value:
        case dict():
            return {name: exact(item) for name, item in value.items()}
        case list():
            return [exact(item) for item in value]
        case str():
            return value
    return msgspec.json.encode(value).decode()


def _rules(rules: list[dict[str, Any]]) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    has_annotations = any(row["annotation"] for row in rules)
    laid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in ("DECISION", "RULE", "BECAUSE", "OUTPUTS", *(["ANNOTATION"] if has_annotations else [])):
        laid.add_column(head, justify="right" if head == "RULE" else "left", overflow="fold")
    for row in rules:
        cells = [row["decision"], str(row["rule"]), _because(row["because"]), _outputs(row["outputs"])]
        laid.add_row(*(Text(printable(cell)) for cell in (*cells, *([row["annotation"]] if has_annotations else []))))
    return laid


def _because(because: Mapping[str, Any]) -> str:
    """Say which inputs the rule looked at, a line each; what it takes whatever it is says nothing."""
    return "\n".join(f"{name}: {text}" for name, text in because.items() if not str(text).endswith(" matches -")) or "always"


def _outputs(outputs: Mapping[str, Any]) -> str:
    if len(outputs) == 1:
        return str(next(iter(outputs.values())))
    return "\n".join(f"{name}: {text}" for name, text in outputs.items())


def _nulls(answer: Answer) -> Iterator[str]:
    """Give the reasons of a null, each once, the first to happen first."""
    lines = list(dict.fromkeys(_null(note) for note in answer.nulls)) or ["the model gives null, and nothing went wrong on the way"]
    yield from lines[:NULLS_SHOWN]
    hidden = max(0, len(lines) - NULLS_SHOWN) + answer.left_out.get("nulls", 0)
    if hidden:
        yield f"… {hidden} more"


def _null(note: Mapping[str, Any]) -> str:
    place = f"line {note['line']}: " if note["line"] else ""
    node = f"{note['node']}: " if note["node"] else ""
    return f"{place}{node}{note['reason']}" + (f" in `{note['expression']}`" if note["expression"] else "")


def _tell(answer: Answer, name: str, missing: list[str]) -> Exit:
    """Say in one sentence on stderr why the evaluation failed, if it did; what else went wrong stands before it."""
    reasons = answer.errors[::-1]  # the first to happen is the cause of the others, and is said last
    if answer.value is None and missing:
        reasons.append(_not_given(missing))
    if not reasons:
        return Exit.DONE
    for line in reasons[:-1]:
        click.echo(printable(line), err=True)
    click.echo(_sentence(name, reasons[-1]), err=True)
    return Exit.FAILED


def _sentence(name: str, reason: str) -> str:
    """Say that a decision was not evaluated, once, also where the engine's reason begins with that."""
    return one_line(f'dadmsctl: cannot evaluate "{name}": {OPENING.sub("", reason, count=1)}')


def _not_given(missing: list[str]) -> str:
    names = ", ".join(f'"{name}"' for name in missing)
    return f"the input {names} was not given" if len(missing) == 1 else f"the inputs {names} were not given"
