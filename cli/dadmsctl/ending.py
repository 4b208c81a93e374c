"""How a run ends on a screen and for a program: the outcome with its reasons, or what failed and why, and where the time went."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from dadms_ipc.requests import ProcessInfo
from dadmsctl.quantities import bytes_text, seconds_text
from dadmsctl.story import Spent, Story
from dadmsctl.terminal import printable
from dadmsctl.waiting import sentence_of

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

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
        "warnings": story.warnings,
        "seconds": {name: round(getattr(spent, name), 6) for name in spent.__dataclass_fields__}
        | {"parallelism": round(spent.parallelism, 3)},
        "memory_peak": process.memory_peak,
        "cpu_seconds": process.cpu_seconds,
    }


def show(console: "Console", process: ProcessInfo, story: Story, spent: Spent, given: Mapping[str, Any]) -> None:
    """Show the ending to a person."""
    console.print()
    _show_outcome(console, process, given)
    console.print()
    _show_time(console, process, story, spent)


def _show_outcome(console: "Console", process: ProcessInfo, given: Mapping[str, Any]) -> None:
    from rich.text import Text

    outcome: dict[str, Any] = process.outcome if isinstance(process.outcome, dict) else {"outcome": process.outcome}
    is_bpmn = isinstance(outcome.get("variables"), dict)
    variables: dict[str, Any] = outcome["variables"] if is_bpmn else {name: value for name, value in outcome.items() if value is not None}
    fresh = {name: value for name, value in variables.items() if name not in given or given[name] != value}
    decisions = {name: value for name, value in fresh.items() if _is_decision(value)}
    end = outcome.get("end_event") if is_bpmn else None
    if process.status == "completed":
        console.print(Text(printable("OUTCOME" + (f"  {_end_name(end)}" if end else "")), style="bold green"))
    else:
        console.print(Text(printable(f"{process.status.upper()}  {process.cause}"), style="bold red"), soft_wrap=True)
    rest = {name: value for name, value in fresh.items() if name not in decisions}
    if rest:
        console.print(variables_table(rest))
    unchanged = len(variables) - len(fresh)
    if unchanged:
        console.print(Text(f"({unchanged} more as given)", style="dim"))
    for name, value in decisions.items():
        console.print(decision_panel(name, value))


def tell_failure(process: ProcessInfo, log: list[str], *, keeps_log: bool) -> None:
    """Say on stderr what failed and why, and where more of it is: the log's path, or its last lines where a private daemon takes it away."""
    if keeps_log and process.log:
        click.echo(f"its log: {process.log}", err=True)
    elif log:
        click.echo("the end of its log:", err=True)
        for line in log:
            click.echo(f"  {printable(line)}", err=True)
    click.echo(f"dadmsctl: {printable(sentence_of(process))}", err=True)


def _end_name(end: Any) -> str:
    if isinstance(end, Mapping):
        return str(end.get("name") or end.get("element") or end.get("id") or "")
    return str(end)


def _is_decision(value: Any) -> bool:
    return isinstance(value, Mapping) and any(value.get(key) for key in REASONS)


def variables_table(variables: Mapping[str, Any]) -> "RenderableType":
    """Show variables, each with its value laid out."""
    from rich.table import Table
    from rich.text import Text

    from dadmsctl.values import view

    laid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    laid.add_column(style="bold", no_wrap=True)
    laid.add_column(overflow="fold")
    for name, value in variables.items():
        laid.add_row(Text(printable(name)), view(value, 1))
    return laid


def decision_panel(name: str, value: Mapping[str, Any]) -> "RenderableType":
    """Show a decision with its reasons, in a frame."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    from dadmsctl.values import view

    facts = {key: item for key, item in value.items() if key not in REASONS}
    reasons = [item for key in REASONS for item in (value.get(key) if isinstance(value.get(key), list) else [value.get(key)]) if item]  # type: ignore[union-attr] # a list, says the line itself
    body: list[RenderableType] = [view(facts, 0)] if facts else []
    body += [Text(f"· {printable(str(reason))}") for reason in reasons]
    return Panel(Group(*body), title=Text(printable(name), style="bold"), title_align="left", border_style="green", expand=False)


def _show_time(console: "Console", process: ProcessInfo, story: Story, spent: Spent) -> None:
    from rich.table import Table
    from rich.text import Text

    laid = Table(
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        title=Text("WHERE THE TIME WENT", style="bold"),
        title_justify="left",
        show_header=False,
    )
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
            f"{seconds_text(spent.work)} of work{cpu} in {workers} workers: {spent.parallelism:.1f} at once" if done else "",
        ),
        ("between tasks, and overhead", spent.other, ""),
        ("all", spent.total, f"process used {process.cpu_seconds:.2f} s of CPU, {bytes_text(process.memory_peak)} of memory at most"),
    ]
    for name, seconds, remark in rows:
        if seconds:
            laid.add_row(name, seconds_text(seconds), remark, style="bold" if name == "all" else "")
    console.print(laid)
    slowest = sorted(done, key=lambda task: -task.run_seconds)[:SLOWEST_SHOWN]
    if len(slowest) > 1:
        words = ", ".join(f"{task.label} {seconds_text(task.run_seconds)}" for task in slowest[:3])
        console.print(Text(printable(f"longest: {words}"), style="dim"), soft_wrap=True)
