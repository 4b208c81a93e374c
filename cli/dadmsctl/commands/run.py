"""``run``: a model to its outcome."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from dadms_ipc.errors import RequestRefused
from dadmsctl.door import Door
from dadmsctl.exits import Finished
from dadmsctl.job import ModelUnfit
from dadmsctl.model import prepare
from dadmsctl.options import FILE, as_json, limits, pass_door
from dadmsctl.reading import read_file, read_variables
from dadmsctl.terminal import printable


@click.command()
@click.argument("model", type=FILE)
@click.option(
    "--set", "-s", "settings", multiple=True, metavar="NAME=VALUE", help="A variable; VALUE is JSON if it reads as JSON, else text."
)
@click.option(
    "--input", "-i", "inputs", type=FILE, multiple=True, help="A JSON object of variables; later ones win, and --set wins over all."
)
@click.option("--handlers", type=FILE, help="A Python module whose functions do the service tasks.")
@click.option("--decisions", type=FILE, multiple=True, help="A .dmn file for business-rule tasks; those beside MODEL are found.")
@click.option("--decision", metavar="NAME", help="Of a .dmn MODEL: the decision to evaluate. [the one that no other needs]")
@click.option("--directory", type=FILE, help="Where handlers work and leave files, which stay. [one that is removed with a private daemon]")
@limits
@click.option("--private/--no-private", "is_private", default=None, help="Always on a daemon of its own, or never. [only when none runs]")
@click.option("--detach", "is_detached", is_flag=True, help="Print the pid and return; the daemon that runs goes on with it.")
@click.option("--quiet", "-q", is_flag=True, help="Only the outcome.")
@click.option("--verbose", "-v", is_flag=True, help="Also what the daemon does before the model begins.")
@click.option("--full", is_flag=True, help="Every variable of the outcome whole, where some would be summed up.")
@as_json
@pass_door
def run(
    door: Door,
    /,
    model: Path,
    settings: tuple[str, ...],
    inputs: tuple[Path, ...],
    handlers: Path | None,
    decisions: tuple[Path, ...],
    decision: str | None,
    directory: Path | None,
    is_private: bool | None,
    quiet: bool,
    verbose: bool,
    full: bool,
    is_detached: bool,
    as_json: bool,
    **caps: Any,
) -> None:
    """Run MODEL (.bpmn or .dmn) to its outcome, and show what happens as it happens.

    Exits with 1 when the process failed, with 4 when the model or what was given with it is refused before anything is started.
    """
    if is_detached and is_private:
        raise click.UsageError("--detach needs a daemon that stays, and a private one ends with its run")
    began = time.time()
    given = read_variables(inputs, settings)
    place = replace(door, host=None) if is_private else door
    if (
        directory is not None
        and place.is_here(directory, "the directory")
        and not (directory.is_dir() and os.access(directory, os.W_OK | os.X_OK))
    ):
        why = "you may not write there" if directory.is_dir() else "it is no directory"
        raise RequestRefused(f'cannot work in "{directory}": {why}')
    is_read = handlers is not None and place.is_here(handlers, "the handlers module")
    module = read_file(handlers, "the handlers module") if handlers is not None and is_read else b""
    try:
        job = prepare(model, given, decisions, decision, module)
    except ModelUnfit as unfit:
        for line in unfit.lines:
            click.echo(printable(line), err=True)
        raise
    for warning in job.warnings:
        click.echo(printable(f"dadmsctl: warning: {warning}"), err=True)
    from dadmsctl import running  # brings rich, which a refusal need not wait for

    asked = running.Asked(
        job, given, handlers, caps, is_private, quiet, full, as_json, began, time.time(), verbose, directory, place.host is not None
    )
    if is_detached:
        click.echo(running.detach(door, asked))
    else:
        raise Finished(running.run(door, asked))
