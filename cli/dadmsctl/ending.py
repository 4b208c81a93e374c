"""How a run ends on a screen and for a program: the outcome with its reasons, or what failed and why, and where the time went."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

import click

from dadms_ipc.requests import ProcessInfo
from dadmsctl.quantities import bytes_text, seconds_text
from dadmsctl.story import Spent, Story
from dadmsctl.terminal import printable
from dadmsctl.waiting import sentence_of

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from dadmsctl.values import Bounds

REASONS = (
    "reasons",
    "reason",
    "rationale",
    "because",
)  # keys that make a variable a decision with its reasons: it is shown last, in a frame
SLOWEST_SHOWN = 8  # tasks


def as_document(process: ProcessInfo, story: Story, spent: Spent) -> dict[str, Any]:
    """Give the ending for ``--json``."""
    return {
        "pid": process.pid,
        "name": process.name,
        "status": process.status,
        "cause": process.cause,
        "reason": process.reason,
        "outcome": process.outcome,
        "tasks": [
            {
                "tid": task.tid,
                "label": task.label,
                "state": task.state,
                "worker": task.worker,
                "os_pid": task.os_pid,
                "run_seconds": task.run_seconds,
                "cause": task.cause,
                "message": task.message,
            }
            for task in story.tasks.values()
        ],
        "limits": story.limits,
        "limit_values": story.limit_values,
        "warnings": story.warnings,
        "seconds": {name: round(getattr(spent, name), 6) for name in spent.__dataclass_fields__}
        | {"parallelism": round(spent.parallelism, 3)},
        "memory_peak": process.memory_peak,
        "cpu_seconds": process.cpu_seconds,
    }


def show_outcome(console: "Console", process: ProcessInfo, given: Mapping[str, Any], *, is_full: bool = False) -> None:
    """Show a person what the process came to; ``is_full``: every variable whole."""
    from rich.text import Text

    cause = process.cause if process.cause != process.status else ""
    end = process.outcome.get("end_event") if isinstance(process.outcome, dict) else None
    console.print()
    if process.status == "completed":
        console.print(Text(printable("OUTCOME" + (f"  {end}" if end else "")), style="bold green"))
    else:
        console.print(Text(printable(f"{process.status.upper()}  {cause}".rstrip()), style="bold red"), soft_wrap=True)
    for part in _outcome(process, given, is_full=is_full):
        console.print(part)


def _outcome(process: ProcessInfo, given: Mapping[str, Any], *, is_full: bool) -> "Iterator[RenderableType]":
    """Give what a process came to: what led there first, the decision with its reasons last.

    Where there are reasons, everything else is summed up but the last table, which is what was decided upon.
    """
    from rich.text import Text

    from dadmsctl.values import SCREEN, WHOLE, summary, view

    outcome: dict[str, Any] = process.outcome if isinstance(process.outcome, dict) else {"outcome": process.outcome}
    variables: dict[str, Any] = outcome["variables"] if isinstance(outcome.get("variables"), dict) else outcome
    fresh = {name: value for name, value in variables.items() if value is not None and (name not in given or given[name] != value)}
    name, decision = _decision_of(process.name, fresh)
    rest = {key: value for key, value in fresh.items() if key != name and not (value is decision.get(key) and key in decision)}
    tables = [
        key for key, value in rest.items() if isinstance(value, list) and len(value) > 1 and all(isinstance(row, Mapping) for row in value)
    ]
    whole = set(rest) if is_full or not decision else set(tables[-1:])
    bounds = WHOLE if is_full else SCREEN
    if rest:
        ordered = sorted(rest.items(), key=lambda item: item[0] in whole)
        yield _named((key, view(value, 1, bounds) if key in whole else Text(summary(value), style="dim")) for key, value in ordered)
    if unchanged := sum(1 for name, value in variables.items() if name in given and given[name] == value):
        yield Text(f"({unchanged} more as given)", style="dim")
    if decision:
        yield _panel(name, decision, bounds)


def _decision_of(process: str, variables: dict[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Give the decision with its reasons and its name: all brief variables where the reasons are one of them, else the last variable that has some."""
    if _is_decision(variables):
        return process, {key: value for key, value in variables.items() if key in REASONS or not isinstance(value, Mapping | list)}
    for key, value in reversed(variables.items()):
        if _is_decision(value):
            return key, value
    return "", {}


def _is_decision(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping) and any(value.get(key) for key in REASONS)


def _named(pairs: "Iterable[tuple[str, RenderableType]]") -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    laid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    laid.add_column(style="bold", no_wrap=True)
    laid.add_column(overflow="fold")
    for name, shown in pairs:
        laid.add_row(Text(printable(name)), shown)
    return laid


def _panel(name: str, value: Mapping[str, Any], bounds: "Bounds") -> "RenderableType":
    """Show a decision with its reasons, in a frame."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    from dadmsctl.values import view

    facts = {key: item for key, item in value.items() if key not in REASONS}
    given = [value[key] for key in REASONS if value.get(key)]
    reasons = [reason for item in given for reason in (item if isinstance(item, list) else [item])]
    body: list[RenderableType] = [view(facts, 0, bounds)] if facts else []
    body += [Text(f"· {printable(str(reason))}") for reason in reasons]
    return Panel(Group(*body), title=Text(printable(name), style="bold"), title_align="left", border_style="green", expand=False)


def tell_failure(process: ProcessInfo, log: list[str], *, keeps_log: bool) -> None:
    """Say on stderr what failed and why, then where more of it is: the log's path, or its end where a private daemon takes it away."""
    click.echo(f"dadmsctl: {printable(sentence_of(process))}", err=True)
    if keeps_log and process.log:
        click.echo(f"its log: {process.log}", err=True)
    elif log:
        click.echo("the end of its log:", err=True)
        for line in log:
            click.echo(f"  {printable(line)}", err=True)


def show_time(console: "Console", process: ProcessInfo, story: Story, spent: Spent) -> None:
    """Show where the seconds went."""
    from rich.table import Table
    from rich.text import Text

    console.print(Text("\nWHERE THE TIME WENT", style="bold"))
    laid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    laid.add_column(no_wrap=True)
    laid.add_column(justify="right", no_wrap=True)
    laid.add_column(style="dim", overflow="fold")
    done = [task for task in story.tasks.values() if task.ended_at]
    workers = len({task.worker for task in done if task.worker})
    cpu = f", {seconds_text(spent.cpu)} of CPU" if spent.cpu else ""
    rows = [
        ("check of the model", spent.check, ""),
        ("start of a private daemon", spent.daemon, ""),
        ("import of code", spent.importing, ""),
        ("start of the process", spent.starting, "fork, limits, gate, model"),
        (
            f"tasks ({len(done)})",
            spent.tasks,
            f"{seconds_text(spent.work)} of work{cpu} in {workers} worker{'s' if workers != 1 else ''}: {spent.parallelism:.1f} at once"
            if done
            else "",
        ),
        ("between tasks, and overhead", spent.other, ""),
        ("all", spent.total, _used(process, spent)),
    ]
    for name, seconds, remark in rows:
        if seconds:
            laid.add_row(name, seconds_text(seconds), remark, style="bold" if name == "all" else "")
    console.print(laid)
    slowest = sorted(done, key=lambda task: -task.run_seconds)[:SLOWEST_SHOWN]
    if len(slowest) > 1:
        words = ", ".join(f"{task.label} {seconds_text(task.run_seconds)}" for task in slowest[:3])
        console.print(Text(printable(f"longest: {words}"), style="dim"), soft_wrap=True)


def _used(process: ProcessInfo, spent: Spent) -> str:
    """Say what the process used; without groups nobody counted it as a whole, and what the tasks told of their CPU is all that is known."""
    if process.memory_peak:
        return f"process used {process.cpu_seconds:.2f} s of CPU, {bytes_text(process.memory_peak)} of memory at most"
    return f"tasks used {spent.cpu:.2f} s of CPU" if spent.cpu > process.cpu_seconds else f"process used {process.cpu_seconds:.2f} s of CPU"
