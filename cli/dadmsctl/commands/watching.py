"""Watching: logs and events, once or as they come."""

import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import click

from dadms_ipc import requests
from dadms_ipc.requests import EventInfo
from dadmsctl import loglines, places
from dadmsctl.attempts import attempt
from dadmsctl.door import Door
from dadmsctl.moments import moment
from dadmsctl.options import as_json, pass_door
from dadmsctl.quantities import NUMBER
from dadmsctl.targets import ONE
from dadmsctl.terminal import printable, write_json_line
from dadmsctl.waiting import ENDED, PARKED

if TYPE_CHECKING:
    from dadms_ipc.client import Client

LOOK = 0.5  # seconds between looks at a log that is followed; a file says nothing when it grows, and a Wait for the process's end fills the time


@click.command()
@click.argument("pid", metavar="TARGET", type=ONE)
@click.option("--follow", "-f", "is_followed", is_flag=True, help="Go on until the process has ended.")
@click.option("--lines", "-n", type=NUMBER, help="Only the last so many lines of what there is.")
@click.option("--since", type=moment, help="Only what was written since then: 10m, 2h, 1d ago, or 2026-11-22T10:00, in UTC with a Z.")
@as_json
@pass_door
def logs(door: Door, pid: int, is_followed: bool, lines: int | None, since: float | None, as_json: bool) -> None:
    """Print what a process and its workers wrote to stdout and stderr; with --json, one object a line.

    TARGET is a pid, or a name or pattern of names that means one process.
    """
    reader = loglines.LineReader()

    def show(lines: Iterable[str]) -> None:
        for line in lines:
            if as_json:
                write_json_line(loglines.read(line))
            else:
                click.echo(printable(line))

    with door.connect() as client, attempt(f"read the log of {pid}"):
        log = places.Log(client, pid)
        offset = 0 if since is None else places.first_since(log, since)
        if lines is not None:
            offset = max(offset, places.last_lines(log, lines))
        while True:
            is_over = not is_followed or client.call(requests.Wait(pid, timeout=LOOK)).status in ENDED
            while (piece := log.piece(offset)).data:
                if piece.offset > offset:
                    click.echo(f"dadmsctl: bytes {offset} to {piece.offset - 1} of the log of {pid} are removed", err=True)
                show(reader.take(piece.data))
                offset = piece.offset + len(piece.data)
            sys.stdout.flush()
            if is_over:
                show(reader.end())
                return


@click.command()
@click.option("--follow", "-f", "is_followed", is_flag=True, help="Go on as events come.")
@click.option("--pid", metavar="TARGET", type=ONE, help="Only those of one process: a pid or a name.")
@click.option("--after", type=NUMBER, default=0, help="Only those with higher numbers.")
@as_json
@pass_door
def events(door: Door, is_followed: bool, pid: int | None, after: int, as_json: bool) -> None:
    """Print what has happened; with --json, one object a line."""
    with door.connect() as client:
        for event in stream(client, after=after, pid=pid, is_followed=is_followed):
            if as_json:
                write_json_line(event)
            else:
                click.echo(line_of(event))
                sys.stdout.flush()


def stream(client: "Client", *, after: int, pid: int | None, is_followed: bool) -> Iterator[EventInfo]:
    """Give events oldest first, and for ever where they are followed; says so when some are gone."""
    wait, began = PARKED if is_followed else 0.0, 0.0
    while True:
        page = client.call(requests.Events(after, pid=pid, wait=wait, began=began))
        if began and page.began != began:
            click.echo(
                f"dadmsctl: the daemon has lost its journal: events after {after} may be gone, and are numbered from 1 on again", err=True
            )
            after = 0
        began = page.began
        if after and page.after > after:
            click.echo(f"dadmsctl: events {after + 1} to {page.after} are gone: the newest 10 000 are kept", err=True)
        yield from page.events
        if not page.events and not is_followed:
            return
        after = max(after, page.last)


def time_text(at: float, timespec: str) -> str:
    """Show a moment in local time, with its offset."""
    return datetime.fromtimestamp(at).astimezone().isoformat(timespec=timespec)


def line_of(event: EventInfo) -> str:
    """Show an event in one line."""
    moment = time_text(event.at, "milliseconds")
    whose = str(event.pid) if event.pid else "dadmsd"
    return printable(f"{event.number:>6}  {moment}  {whose:>6}  {event.kind:<18}  {event.text}".replace("\n", " "))
