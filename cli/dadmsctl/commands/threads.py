"""Threads: ls."""

import click

from dadms_ipc import requests
from dadmsctl.door import Door
from dadmsctl.options import as_json, pass_door
from dadmsctl.quantities import seconds_text
from dadmsctl.terminal import console, table, write_json

LS_COLUMNS = (">TID", ">PID", "LABEL", "ENTRY", "STATE", "WORKER", ">RAN", "CAUSE", "MESSAGE")


@click.group()
def thread() -> None:
    """Look at the threads of processes."""


@thread.command("ls")
@click.argument("pid", type=int, required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=200, show_default=True, help="The newest so many.")
@as_json
@pass_door
def ls(door: Door, pid: int | None, limit: int, as_json: bool) -> None:
    """List the newest threads, of one process or of all."""
    with door.connect() as client:
        found = client.call(requests.Threads(pid, limit=limit))
    if as_json:
        write_json(found)
    else:
        console().print(table(LS_COLUMNS, (_row(thread) for thread in found)))


def _row(thread: requests.ThreadInfo) -> tuple[str, ...]:
    return (
        str(thread.tid),
        str(thread.pid),
        thread.label or "-",
        thread.entry,
        thread.state,
        f"w{thread.worker} ({thread.os_pid})" if thread.worker else "-",
        seconds_text(thread.run_seconds) if thread.run_seconds else "-",
        thread.cause or "-",
        thread.message.partition("\n")[0] or "-",
    )
