"""How processes came to be as they are: history, explain."""

import click

from dadms_ipc import requests
from dadms_ipc.requests import LifeInfo
from dadmsctl.attempts import Several, attempt
from dadmsctl.commands.watching import line_of, time_text
from dadmsctl.door import Door
from dadmsctl.options import as_json, pass_door
from dadmsctl.quantities import ago_text, bytes_text, seconds_text
from dadmsctl.targets import ONE, resolve, target
from dadmsctl.terminal import printable, write_json
from dadmsctl.waiting import ENDED, STANDING, why_of

COLUMNS = (">PID", ">INC", "NAME", "STATUS", ">DURATION", ">ENDED", ">EXIT", ">MEMORY", ">CPU s", "CAUSE")
IMPORTANCE = ("PID", "STATUS", "NAME", "INC", "ENDED", "EXIT", "CAUSE", "DURATION", "MEMORY", "CPU s")


@click.command()
@click.argument("pid", metavar="TARGET", type=ONE, required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="Incarnations, the newest.")
@as_json
@pass_door
def history(door: Door, pid: int | None, limit: int, as_json: bool) -> None:
    """List the incarnations that have ended, oldest first, also of processes that have left the table.

    TARGET is a pid or a name.
    """
    with door.connect() as client, attempt(f"show the history of {pid}"):
        found = client.call(requests.History(pid, limit))
    if as_json:
        write_json(found)
    else:
        from dadmsctl.listing import show

        show(COLUMNS, IMPORTANCE, map(_row, found))


def _row(life: LifeInfo) -> tuple[str, ...]:
    code = (
        "-"
        if life.exit_code is None and life.exit_signal is None
        else str(life.exit_code)
        if life.exit_signal is None
        else f"sig {life.exit_signal}"
    )
    return (
        str(life.pid),
        str(life.incarnation),
        life.name,
        life.status,
        ago_text(life.started_at, life.exited_at or life.ended_at) if life.started_at else "-",
        f"{ago_text(life.ended_at)} ago",
        code,
        bytes_text(life.memory_peak),
        f"{life.cpu_seconds:.2f}",
        why_of(life.cause, life.reason) or "-",
    )


@click.command()
@click.argument("targets", type=target, nargs=-1, required=True, metavar="TARGET...")
@click.option(
    "--verbose", "-v", "is_verbose", is_flag=True, help="Also what the kernel took in and had done about it (its flight recorder)."
)
@as_json
@pass_door
def explain(door: Door, targets: tuple[str, ...], is_verbose: bool, as_json: bool) -> None:
    """Say why processes are as they are: what they wait for, until when, and how they came to this.

    TARGET is a pid, a name, a pattern of names ("etl-*"), or "group:NAME".
    """
    several, found = Several(), []
    with door.connect() as client:
        for pid in resolve(client, targets, "explain", several):
            with several.attempt(f"explain {pid}"):
                found.append(client.call(requests.Explain(pid)))
    if as_json:
        if found:
            write_json(found)
    else:
        for each in found:
            _show(each, is_verbose=is_verbose)
    several.finish()


def say(text: str) -> None:
    """Print one line."""
    click.echo(printable(text.replace("\n", " ")))


def standing(found: requests.Explanation) -> str:
    """Say how a process stands and what is to come of it; one that has ended is to be nothing."""
    if found.status in ENDED:
        return "has ended"
    aim = {"up": "stay up" if found.kind == "service" else "run to its end", "restart": "end and start again", "down": "end"}
    return f"is {STANDING.get(found.status, found.status)}, and is to {aim[found.desired]}"


def _show(found: requests.Explanation, *, is_verbose: bool) -> None:
    say(f'"{found.name}" ({found.pid}) {standing(found)}')
    for sentence in found.sentences:
        say(f"  {sentence}")
    for life in found.lives:
        ran = seconds_text((life.exited_at or life.ended_at) - life.started_at) if life.started_at else "never ran"
        why = life.reason or life.cause
        say(
            f"  incarnation {life.incarnation}: {life.status} {ago_text(life.ended_at)} ago ({ran})"
            + (f": {why}" if why not in ("", life.status) else "")
        )
    for event in found.events:
        click.echo(line_of(event))
    for entry in found.flight if is_verbose else ():
        say(f"        {time_text(entry.at, 'microseconds')}  {entry.kind:<16}  {entry.subject}")
