"""Decisions, for whoever writes their models: eval, validate, batch."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from dadmsctl.decisions import Checked, check, choose, model_config, prepared, warnings_of
from dadmsctl.door import Door
from dadmsctl.exits import Exit, Finished
from dadmsctl.job import Job, ModelUnfit, name_of, packed
from dadmsctl.options import FILE, as_json, pass_door
from dadmsctl.quantities import seconds, size
from dadmsctl.reading import read_variables
from dadmsctl.terminal import printable, write_json

SEVERITIES = ("error", "warning")  # as they are shown, the worst first
# The process of a batch: for rows that come, and gone when for so many seconds none do; whoever reads the output may be slow (batchrun.py).
SERVES = {"serves": True, "idle_timeout": 900.0}

Command = TypeVar("Command", bound=Callable[..., Any])

which = click.option("--decision", metavar="NAME", help="The decision, by name or id. [the one that no other needs]")
imports = click.option("--import", "others", type=FILE, multiple=True, help="A model that MODEL imports; those beside it are found.")


def place(command: Command) -> Command:
    """Add the options that say where an evaluation runs, and how much it may use."""
    for option in reversed(
        (
            click.option(
                "--private/--no-private", "is_private", default=None, help="Always on a daemon of its own, or never. [only when none runs]"
            ),
            click.option("--memory", type=size, help="Bytes that the evaluation may use, with all its workers; a hard cap. [2G]"),
            click.option("--worker-memory", type=size, help="Bytes that each worker may use; a hard cap. [1G]"),
            click.option("--best-effort", is_flag=True, help="A limit that cannot be enforced is a warning and no error."),
            click.option("--thread-timeout", type=seconds, help="Seconds that an evaluation may take. [the daemon's configuration]"),
        )
    ):
        command = option(command)
    return command


@click.group()
def decision() -> None:
    """Evaluate and check decision models: DMN (.dmn), and JDM (.json) where zen-engine is installed."""


@decision.command("eval")
@click.argument("model", type=FILE)
@which
@click.option(
    "--set", "-s", "settings", multiple=True, metavar="NAME=VALUE", help="An input; VALUE is JSON if it reads as JSON, else text."
)
@click.option("--input", "-i", "inputs", type=FILE, multiple=True, help="A JSON object of inputs; later ones win, and --set wins over all.")
@imports
@place
@as_json
@pass_door
def evaluate(
    door: Door,
    /,
    model: Path,
    decision: str | None,
    settings: tuple[str, ...],
    inputs: tuple[Path, ...],
    others: tuple[Path, ...],
    is_private: bool | None,
    as_json: bool,
    **caps: Any,
) -> None:
    """Evaluate a decision of MODEL, and show its value, which rules matched and why, and why it is null if it is.

    Exits with 1 when something went wrong on the way, with 4 when the model does not load.
    """
    began = time.time()
    given = read_variables(inputs, settings)
    with _told():
        job, checked, chosen = prepared(model, given, others, decision)
    _warn(job.warnings)
    from dadmsctl import deciding, running  # brings rich, which a refusal need not wait for

    asked = running.Asked(job, given, None, {"ready_timeout": None, **caps}, is_private, True, False, as_json, began, time.time())
    raise Finished(deciding.run(door, asked, checked, chosen))


@decision.command()
@click.argument("model", type=FILE)
@imports
@as_json
def validate(model: Path, others: tuple[Path, ...], as_json: bool) -> None:
    """Say what is wrong with MODEL, without evaluating anything: overlaps, gaps, unreachable rules, types, names, cycles.

    Exits with 1 when a finding is an error, with 4 when the model does not load.
    """
    with _told():
        checked = check(model, others, validates=True)
    if as_json:
        write_json({"file": checked.file, "findings": checked.findings})
    else:
        _show_findings(checked)
    if any(finding.severity == "error" for finding in checked.findings):
        raise Finished(Exit.FAILED)


@decision.command()
@click.argument("model", type=FILE)
@click.option("--rows", type=FILE, required=True, help="A CSV file whose first line names the inputs, or JSON lines (.jsonl, .ndjson).")
@which
@click.option("--output", "-o", type=FILE, help="A .csv or .jsonl file. [stdout, in the form of the rows]")
@click.option("--workers", type=click.IntRange(1, 256), help="OS processes that evaluate, at most. [one a core]")
@imports
@place
@pass_door
def batch(
    door: Door,
    /,
    model: Path,
    rows: Path,
    decision: str | None,
    output: Path | None,
    workers: int | None,
    others: tuple[Path, ...],
    is_private: bool | None,
    **caps: Any,
) -> None:
    """Evaluate a decision of MODEL for every row of a file; the results keep the order of the rows.

    A row that cannot be read or evaluated is a row with an error; when there was one, the exit code is 1.
    """
    began = time.time()
    from dadmsctl.rows import RowFile, form_of

    if output is not None:
        form_of(output)
    with _told():
        checked = check(model, others)
        chosen = choose(checked, decision)
        config = packed({**model_config(model, others), "decision": decision or chosen.name, **SERVES})
    with contextlib.closing(RowFile(rows)) as file:
        if file.first_names:
            _warn(warnings_of(checked, chosen, file.first_names))
        from dadmsctl import batchrun, running  # brings rich, which a refusal need not wait for

        caps = {"ready_timeout": None, **caps, "workers": workers or len(os.sched_getaffinity(0))}
        job = Job(name_of(model), "decision", config, "", [])
        asked = running.Asked(job, {}, None, caps, is_private, True, False, False, began, time.time())
        with batchrun.output_of(output, rows) as text:
            raise Finished(batchrun.run(door, asked, file, batchrun.writer_of(text, output, file, chosen)))


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Show all reasons of a refusal before its sentence."""
    try:
        yield
    except ModelUnfit as unfit:
        for line in unfit.lines:
            click.echo(printable(line), err=True)
        raise


def _warn(lines: Sequence[str]) -> None:
    for line in lines:
        click.echo(printable(f"dadmsctl: warning: {line}"), err=True)


def _show_findings(checked: Checked) -> None:
    """Show findings by severity, each as ``file:line: node: reason (rules …)``."""
    for severity in SEVERITIES:
        found = [finding for finding in checked.findings if finding.severity == severity]
        if found:
            click.echo(f"{len(found)} {severity}{'s' if len(found) > 1 else ''}")
            for finding in found:
                click.echo(f"  {printable(str(finding))}")
    if not checked.findings:
        what = "it loads; what its rules mean, only zen-engine knows" if checked.format == "jdm" else "nothing was found"
        click.echo(printable(f"{checked.file}: {what}"))
