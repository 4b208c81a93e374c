"""Messages: send, request, broadcast, publish, subscribe."""

import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dadms_ipc.envelope import COORDINATION_SIGNAL, MESSAGE_TYPES, PRIORITIES, TASK_REQUEST
from dadms_ipc.errors import DeadlinePassed
from dadmsctl import bodies
from dadmsctl.attempts import attempt
from dadmsctl.door import Door
from dadmsctl.exits import Exit, Finished
from dadmsctl.options import as_json, pass_door
from dadmsctl.quantities import seconds
from dadmsctl.receivers import group_exists, reaching
from dadmsctl.targets import GROUP
from dadmsctl.terminal import printable, write_json, write_json_line

if TYPE_CHECKING:
    from dadms_ipc.client import Client
    from dadms_ipc.inbox import Message

Command = TypeVar("Command", bound=Callable[..., Any])

LOOK = 1.0  # seconds of silence after which it is looked whether anybody keeps the daemon
GONE = 2.0  # seconds without that, after which nobody is believed to come: a service manager takes less to start it again
_GROUP_SCOPE = "group/"  # of a scope, as the bus has it
_TYPES = f"{', '.join(MESSAGE_TYPES)}, or a word of your own"


def _body(command: Command) -> Command:
    """Add what a message says."""
    for option in (
        click.option("--raw", "is_raw", is_flag=True, help="Send BODY as it is, and not as MessagePack."),
        click.option("--file", type=click.Path(path_type=Path), help="Send the bytes of this file, - for stdin, as they are."),
        click.argument("body", required=False),
    ):
        command = option(command)
    return command


_priority = click.option(
    "--priority", type=click.Choice(list(PRIORITIES)), default="normal", show_default=True, help="Before or behind others."
)
_expiry = click.option("--expiry", type=seconds, help="Seconds that it may wait on disk for its receiver. [an hour]")
_patience = click.option("--timeout", "patience", type=seconds, help="Seconds to wait for its receiver. [--timeout of dadmsctl]")


@click.command()
@click.argument("to")
@_body
@click.option("--type", "kind", default=TASK_REQUEST, show_default=True, help=f"What it is about: {_TYPES}.")
@_priority
@_expiry
@_patience
@as_json
@pass_door
def send(
    door: Door,
    to: str,
    body: str | None,
    file: Path | None,
    is_raw: bool,
    kind: str,
    priority: str,
    expiry: float | None,
    patience: float | None,
    as_json: bool,
) -> None:
    """Send a message to a process (1001, or its name), a thread of it (1001/17) or a client; BODY is JSON or a text.

    Says "handled" when its receiver has handled it, "stored" when it waits on disk for a receiver that is not there.
    """
    content = bodies.written(body, file, is_raw=is_raw)
    with door.connect() as client, attempt(f'send to "{to}"'), reaching(client, to):
        outcome = client.send(to, kind, content, timeout=patience, expiry=expiry, priority=priority)
    if as_json:
        write_json({"outcome": outcome})
    else:
        click.echo(outcome)


@click.command()
@click.argument("to")
@_body
@click.option("--type", "kind", default=TASK_REQUEST, show_default=True, help=f"What it is about: {_TYPES}.")
@_priority
@_patience
@as_json
@pass_door
def request(
    door: Door, to: str, body: str | None, file: Path | None, is_raw: bool, kind: str, priority: str, patience: float | None, as_json: bool
) -> None:
    """Ask a process, a thread of it or a client something, and print the answer."""
    content = bodies.written(body, file, is_raw=is_raw)
    with door.connect() as client, attempt(f'ask "{to}"'), reaching(client, to):
        answer = client.request(to, content, topic=kind, timeout=patience, priority=priority)
    if as_json:
        write_json(bodies.fields(answer))
    else:
        click.echo(printable(bodies.shown(answer)))


@click.command()
@click.argument("scope")
@_body
@click.option("--type", "kind", default=COORDINATION_SIGNAL, show_default=True, help=f"What it is about: {_TYPES}.")
@_priority
@_expiry
@_patience
@as_json
@pass_door
def broadcast(
    door: Door,
    scope: str,
    body: str | None,
    file: Path | None,
    is_raw: bool,
    kind: str,
    priority: str,
    expiry: float | None,
    patience: float | None,
    as_json: bool,
) -> None:
    """Send a message to each process of SCOPE: all, children/PID, type/TYPE, group/NAME or group:NAME.

    Exits with 1 when it could not be given to one of them.
    """
    content = bodies.written(body, file, is_raw=is_raw)
    if scope.startswith(GROUP):  # as every other command has it
        scope = _GROUP_SCOPE + scope.removeprefix(GROUP)
    with door.connect() as client, attempt(f'broadcast to "{scope}"'):
        reached = client.broadcast(scope, kind, content, timeout=patience, expiry=expiry, priority=priority)
        if scope.startswith(_GROUP_SCOPE) and not (reached.handled or reached.stored or reached.failures):
            group_exists(client, scope.removeprefix(_GROUP_SCOPE))
    if as_json:
        write_json(reached)
    else:
        click.echo(f"{reached.handled} handled, {reached.stored} stored, {reached.failures} failed")
        for address, reason in reached.failed.items():
            click.echo(printable(f"dadmsctl: {address}: {reason}"), err=True)
    if reached.failures:
        raise Finished(Exit.FAILED)


@click.command()
@click.argument("topic")
@_body
@_patience
@pass_door
def publish(door: Door, topic: str, body: str | None, file: Path | None, is_raw: bool, patience: float | None) -> None:
    """Tell whoever subscribes to a topic such as process/1001/task, at most once; dots and slashes are alike."""
    content = bodies.written(body, file, is_raw=is_raw)
    with door.connect() as client, attempt(f'publish to "{topic}"'):
        client.publish(topic, content, timeout=patience)
        client.confirm(timeout=patience)


@click.command()
@click.argument("patterns", nargs=-1, required=True, metavar="PATTERN...")
@click.option("--count", "-n", type=click.IntRange(1), help="End after so many messages.")
@click.option("--for", "duration", type=seconds, help="End after so many seconds; with --count that is too late, and exits with 5.")
@as_json
@pass_door
def subscribe(door: Door, patterns: tuple[str, ...], count: int | None, duration: float | None, as_json: bool) -> None:
    """Print what is published under topics as it comes: in a PATTERN * is one segment, and # at the end is the rest.

    With --json, one object a line. Says on stderr how many were dropped, when this did not keep up. A daemon that is started again meanwhile is listened to again; one that has ended is the end.
    """
    end = None if duration is None else time.monotonic() + duration
    taken = lost = 0
    gone_since: float | None = None  # that nobody keeps the daemon, as far as was seen
    with door.connect() as client:
        for pattern in patterns:
            with attempt(f'subscribe to "{pattern}"'):
                client.subscribe(pattern)
        click.echo(f"dadmsctl: listening to {', '.join(patterns)}", err=True)
        while count is None or taken < count:
            left = LOOK if end is None else end - time.monotonic()
            if left <= 0.0:
                break
            try:
                message = client.receive(timeout=min(left, LOOK))
            except DeadlinePassed:
                gone_since = _gone_since(door, client, gone_since)
                continue
            gone_since = None
            taken += 1
            _show(message, as_json=as_json)
            if client.lost > lost:
                click.echo(f"dadmsctl: {client.lost - lost} messages were dropped: this did not keep up", err=True)
                lost = client.lost
    if count is not None and taken < count:
        raise DeadlinePassed(f"cannot wait longer: {taken} of {count} messages came in {duration:g} s")


def _gone_since(door: Door, client: "Client", since: float | None) -> float | None:
    """Give since when nobody keeps the daemon, None where somebody does; raises Unreachable once that is long enough. Nothing is asked of it, so nobody else would notice."""
    if door.keeper_pid() is not None or not client.target.is_gone():
        return None
    now = time.monotonic()
    if since is not None and now - since >= GONE:
        raise client.target.gone()
    return now if since is None else since


def _show(message: "Message", *, as_json: bool) -> None:
    if as_json:
        found = bodies.fields(message.body) if message.body else {}
        write_json_line({"at": time.time(), "topic": message.topic, "from": message.sender, "number": message.number, **found})
        return
    moment = datetime.now().astimezone().isoformat(timespec="milliseconds")
    click.echo(printable(f"{moment}  {message.topic}  {message.sender}  {bodies.shown(message.body)}".rstrip().replace("\n", " ")))
    sys.stdout.flush()
