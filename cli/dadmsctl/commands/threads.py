"""Threads: ls, kill."""

import click

from dadms_ipc import requests
from dadmsctl.attempts import Several, attempt
from dadmsctl.door import Door
from dadmsctl.options import as_json, pass_door
from dadmsctl.quantities import NUMBER, seconds_text
from dadmsctl.terminal import write_json

LS_COLUMNS = (">TID", ">PID", "LABEL", "ENTRY", "STATE", "WORKER", ">RAN", "CAUSE", "MESSAGE")
LS_IMPORTANCE = ("TID", "LABEL", "STATE", "PID", "RAN", "CAUSE", "WORKER", "ENTRY", "MESSAGE")


@click.group()
def thread() -> None:
    """Look at the threads of processes, and end them."""


@thread.command("ls")
@click.argument("pid", type=NUMBER, required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=200, show_default=True, help="The newest so many.")
@as_json
@pass_door
def ls(door: Door, pid: int | None, limit: int, as_json: bool) -> None:
    """List the newest threads, of one process or of all."""
    with door.connect() as client, attempt(f"list the threads of {pid}"):
        found = client.call(requests.Threads(pid, limit=limit))
    if as_json:
        write_json(found)
    else:
        from dadmsctl.listing import show

        show(LS_COLUMNS, LS_IMPORTANCE, map(_row, found))


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


@thread.command("kill")
@click.argument("tids", type=NUMBER, nargs=-1, required=True, metavar="TID...")
@pass_door
def kill(door: Door, tids: tuple[int, ...]) -> None:
    """Terminate threads, whatever they are doing; their processes are told, and go on.

    Of several, all are tried; exits with 4 when one of them has ended or never was.
    """
    several = Several()
    with door.connect() as client:
        for tid in dict.fromkeys(tids):
            with several.attempt(f"kill thread {tid}"):
                client.call(requests.KillThread(tid))
    several.finish()
