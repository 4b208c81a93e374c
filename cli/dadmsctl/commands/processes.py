"""Processes: ps, status, spawn, kill, wait."""

import time
from pathlib import Path
from typing import Any

import click
import msgspec

from dadms_ipc import requests
from dadmsctl.attempts import Several, attempt
from dadmsctl.door import Door
from dadmsctl.exits import Exit, Finished
from dadmsctl.limits import limits_from
from dadmsctl.options import as_json, limits, pass_door
from dadmsctl.quantities import NUMBER, ago_text, bytes_text, seconds
from dadmsctl.reading import read_config, read_environment
from dadmsctl.terminal import console, write_json
from dadmsctl.waiting import await_end, exit_of, sentence_of

PS_COLUMNS = (">PID", "NAME", "ORCHESTRATOR", "STATUS", ">OS PID", ">LIVED", ">MEMORY", ">CPU s", ">WORKERS", "THREADS", "CAUSE")
PS_IMPORTANCE = ("PID", "NAME", "STATUS", "LIVED", "MEMORY", "CPU s", "CAUSE", "WORKERS", "OS PID", "ORCHESTRATOR", "THREADS")


@click.command()
@click.option("--all", "-a", "include_ended", is_flag=True, help="Those that ended, too.")
@as_json
@pass_door
def ps(door: Door, include_ended: bool, as_json: bool) -> None:
    """List the processes."""
    with door.connect() as client:
        found = client.call(requests.List(include_ended=include_ended))
    if as_json:
        write_json(found)
    else:
        from dadmsctl.listing import show

        show(PS_COLUMNS, PS_IMPORTANCE, map(_row, found))


def _row(process: requests.ProcessInfo) -> tuple[str, ...]:
    threads = f"{process.threads_running}+{process.threads_waiting} now, {process.threads_done} done, {process.threads_failed} failed"
    return (
        str(process.pid),
        process.name,
        process.orchestrator,
        process.status,
        str(process.os_pid or "-"),
        ago_text(process.created_at, process.ended_at or None),
        bytes_text(process.memory or process.memory_peak),
        f"{process.cpu_seconds:.2f}",
        str(process.workers),
        threads,
        process.cause or "-",
    )


@click.command()
@click.argument("pid", type=NUMBER, required=False)
@as_json
@pass_door
def status(door: Door, pid: int | None, as_json: bool) -> None:
    """Show a process with its limits, or the daemon with its servers."""
    from dadmsctl.status import of_daemon, of_process

    with door.connect() as client, attempt(f"show {pid}"):
        answer = client.call(requests.Status(pid))
    if as_json:
        write_json(answer)
    else:
        console().print(of_process(answer) if isinstance(answer, requests.ProcessInfo) else of_daemon(answer))


@click.command()
@click.argument("orchestrator")
@click.option("--name", help="What people call it. [the orchestrator's name]")
@click.option("--config", metavar="JSON|FILE", default="{}", help="What it is started with: a JSON object, or a file that holds one.")
@click.option(
    "--handlers", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A Python module whose functions its threads call."
)
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="An environment variable, beside a minimal set.")
@limits
@click.option("--wait", "is_awaited", is_flag=True, help="Return when it is ready, not when it is admitted.")
@as_json
@pass_door
def spawn(
    door: Door,
    /,
    orchestrator: str,
    name: str | None,
    config: str,
    handlers: Path | None,
    variables: tuple[str, ...],
    is_awaited: bool,
    as_json: bool,
    **caps: Any,
) -> None:
    """Start a process of ORCHESTRATOR ("bpmn", "decision" or "module:attribute") and print its pid."""
    spec = requests.Spec(
        name=name or orchestrator,
        orchestrator=orchestrator,
        config=msgspec.Raw(msgspec.msgpack.encode(read_config(config))),
        handlers=str(handlers.resolve()) if handlers else None,
        limits=limits_from(caps),
        thread_timeout=caps["thread_timeout"],
        ready_timeout=caps["ready_timeout"],
        environment=read_environment(variables),
        enforcement="best-effort" if caps["best_effort"] else "strict",
    )
    with door.connect() as client:
        pid = client.call(requests.Spawn(spec))["pid"]
        answer = await_end(client, pid, until="ready", timeout=None) if is_awaited else client.call(requests.Status(pid))
    if as_json:
        write_json(answer)
    else:
        click.echo(pid)
    if is_awaited and answer.ended_at:
        click.echo(f"dadmsctl: {sentence_of(answer)}", err=True)
        raise Finished(Exit.FAILED)


@click.command()
@click.argument("pids", type=NUMBER, nargs=-1, required=True, metavar="PID...")
@click.option("--force", is_flag=True, help="SIGKILL at once, without the chance to end well.")
@click.option("--reason", default="", help="One sentence for the record.")
@click.option("--no-wait", is_flag=True, help="Return when the demand is recorded, not when all is ended.")
@click.option("--timeout", type=seconds, default=30.0, show_default=True, help="Seconds that they have to end.")
@pass_door
def kill(door: Door, pids: tuple[int, ...], force: bool, reason: str, no_wait: bool, timeout: float) -> None:
    """End processes, each with everything that it started.

    Of several, all are tried; exits with 4 when one of them cannot be killed.
    """
    several, told = Several(), []
    with door.connect() as client:
        for pid in dict.fromkeys(pids):
            with several.attempt(f"kill {pid}"):
                client.call(requests.Kill(pid, force=force, reason=reason))
                told.append(pid)
        deadline = time.monotonic() + timeout
        for pid in () if no_wait else told:
            with several.attempt(f"wait for {pid}"):
                await_end(client, pid, timeout=max(0.0, deadline - time.monotonic()))
    several.finish()


@click.command()
@click.argument("pids", type=NUMBER, nargs=-1, required=True, metavar="PID...")
@click.option("--until", type=click.Choice(["ready", "ended"]), default="ended", show_default=True)
@click.option("--timeout", type=seconds, help="Seconds to wait in all. [for ever]")
@as_json
@pass_door
def wait(door: Door, pids: tuple[int, ...], until: str, timeout: float | None, as_json: bool) -> None:
    """Wait until processes have ended; exits with 1 when one of them failed."""
    deadline = None if timeout is None else time.monotonic() + timeout
    several, answers = Several(), []
    with door.connect() as client:
        for pid in pids:
            with several.attempt(f"wait for {pid}"):
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                answers.append(await_end(client, pid, until=until, timeout=left))
    if as_json:
        if answers:
            write_json(answers)
    else:
        for answer in answers:
            click.echo(sentence_of(answer))
    several.finish(max(map(exit_of, answers), default=Exit.DONE))
