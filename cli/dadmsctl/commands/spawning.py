"""Processes that are not there yet: spawn."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from dadms_ipc import requests
from dadms_ipc.errors import RequestRefused
from dadmsctl.door import Door
from dadmsctl.exits import Exit, Finished
from dadmsctl.limits import limits_from, requests_from
from dadmsctl.options import FILE, as_json, limits, pass_door
from dadmsctl.reading import read_config, read_environment
from dadmsctl.supervision import fields_of, supervision
from dadmsctl.terminal import write_json
from dadmsctl.waiting import await_end, sentence_of, stuck_warning

if TYPE_CHECKING:
    from dadms_ipc.client import Client

START_PATIENCE = 10.0  # seconds that a command has to become its program before spawn returns all the same


@click.command()
@click.argument("what", metavar="ORCHESTRATOR|NAME")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@click.option("--name", help="What people call it. [the orchestrator's name]")
@click.option("--config", metavar="JSON|FILE", default="{}", help="What it is started with: a JSON object, or a file that holds one.")
@click.option("--handlers", type=FILE, help="A Python module whose functions its threads call.")
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="An environment variable, beside a minimal set.")
@limits
@supervision
@click.option("--wait", "is_awaited", is_flag=True, help="Return when it is ready, not when it is admitted, or its program runs.")
@as_json
@pass_door
def spawn(
    door: Door,
    /,
    what: str,
    command: tuple[str, ...],
    name: str | None,
    config: str,
    handlers: Path | None,
    variables: tuple[str, ...],
    is_awaited: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Start a process and print its pid.

    ORCHESTRATOR is "bpmn", "decision" or "module:attribute". With a COMMAND behind "--", the process runs that program under NAME: as a tool, which ends, or with --service as a
    service, which is to run and is started again when it ends.
    """
    if given["directory"] is not None:
        door.is_here(given["directory"], "the directory")
    if handlers is not None and door.is_here(handlers, "the handlers module"):
        if not handlers.is_file():
            raise click.BadParameter(f"File '{handlers}' does not exist.", param_hint="'--handlers'")
        handlers = handlers.resolve()
    spec = requests.Spec(
        name=name or what,
        orchestrator="" if command else what,
        config=msgspec.Raw(msgspec.msgpack.encode(read_config(config))),
        handlers=str(handlers) if handlers else None,
        limits=limits_from(given),
        **requests_from(given),
        thread_timeout=given["thread_timeout"],
        ready_timeout=given["ready_timeout"],
        environment=read_environment(variables),
        enforcement="best-effort" if given["best_effort"] else "strict",
        command=list(command),
        **fields_of(given, is_command=bool(command)),
    )
    if spec.parent is None and os.environ.get("DADMS_PID", "").isdecimal() and os.environ.get("DADMS_RUNTIME_DIR") == str(door.runtime_dir):
        spec = msgspec.structs.replace(spec, parent=int(os.environ["DADMS_PID"]))
    with door.connect() as client:
        pid = _spawned(client, spec)
        asked: requests.Request = requests.Wait(pid, until="started", timeout=START_PATIENCE) if command else requests.Status(pid)
        answer = client.call(asked)
        if warning := stuck_warning(answer):
            click.echo(f"dadmsctl: {warning}", err=True)
        if is_awaited:
            answer = await_end(client, pid, until="ready")
    if answer.cause == "start failed":
        raise RequestRefused(f'cannot start "{answer.name}" ({pid}): {answer.reason}')
    if as_json:
        write_json(answer)
    else:
        click.echo(pid)
    if is_awaited and answer.status in ("failed", "killed", "stopped", "backoff"):
        click.echo(f"dadmsctl: {sentence_of(answer)}", err=True)
        raise Finished(Exit.FAILED)


def _spawned(client: "Client", spec: requests.Spec) -> int:
    """Have a process admitted; who named no orchestrator may have meant a program."""
    try:
        return int(client.call(requests.Spawn(spec))["pid"])
    except RequestRefused as error:
        if f'no orchestrator "{spec.orchestrator}"' not in str(error):
            raise
        raise RequestRefused(f"{error}; a program is started by: dadmsctl spawn NAME -- COMMAND") from error
