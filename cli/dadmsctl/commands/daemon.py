"""The daemon: shutdown, and the check of its configuration."""

import os
import select
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from dadms_ipc import requests
from dadms_ipc.errors import DadmsError, DeadlinePassed
from dadmsctl.door import Door
from dadmsctl.exits import Exit, Finished
from dadmsctl.options import as_json, pass_door
from dadmsctl.quantities import seconds
from dadmsctl.siblings import ask
from dadmsctl.terminal import printable, write_json

if TYPE_CHECKING:
    from dadms_ipc.client import Client

SAY_EVERY = 1.0  # seconds between looks at whom a shutdown waits for

# Asked as a program, as only the daemon's own code knows its keys: prints the configuration with its defaults, and one line for each warning or mistake.
_CHECK = """
import sys, msgspec
from dadms_ipc.errors import DadmsError
from dadmsd.config import parse, read, warnings
try:
    text = read(sys.argv[1])
    config = parse(text, sys.argv[1])
    for line in warnings(config, text):
        print(f"warning: {sys.argv[1]} {line}", file=sys.stderr)
    sys.stdout.buffer.write(msgspec.json.encode(config))
except DadmsError as error:
    sys.exit(str(error))
"""


@click.command()
@click.option("--no-wait", is_flag=True, help="Return when the end has begun, not when the daemon is gone.")
@click.option("--timeout", type=seconds, default=60.0, show_default=True, help="Seconds that it has to end.")
@pass_door
def shutdown(door: Door, no_wait: bool, timeout: float) -> None:
    """End every process, then the daemon."""
    with door.connect() as client:
        keeper = door.keeper_pid()  # before it is told: afterwards the lock may be gone already
        watch = os.pidfd_open(keeper) if keeper else None
        client.call(requests.Shutdown())
        if watch is None or no_wait:
            return
        is_gone = _await_end(client, watch, timeout)
    if not is_gone:
        raise DeadlinePassed(
            f"cannot wait longer for the daemon on {door.runtime_dir}: process {keeper} is still there after {timeout:g} s"
        )


def _await_end(client: "Client", watch: int, timeout: float) -> bool:
    """Wait for the daemon's end, and say from time to time whom it waits for; False when it is still there."""
    deadline = time.monotonic() + timeout
    said: set[str] = set()
    while (left := deadline - time.monotonic()) > 0:
        if select.select([watch], [], [], min(left, SAY_EVERY))[0]:  # poll(2) counts milliseconds, up to 24 days of them
            return True
        try:
            living = client.call(requests.List(include_ended=False), timeout=SAY_EVERY)
        except DadmsError:  # its processes have ended, and so has its bus
            continue
        for process in living:
            for sentence in process.waits_for:
                line = f'waiting for "{process.name}" ({process.pid}): {sentence}'
                who = f"{process.pid} {sentence.partition(' was sent ')[2][:7]}"
                if who not in said:
                    click.echo(printable(line), err=True)
                said.add(who)
    return bool(select.select([watch], [], [], 0)[0])


@click.group()
def config() -> None:
    """Look after the daemon's configuration."""


@config.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@as_json
def check(file: Path, as_json: bool) -> None:
    """Check a configuration file without a daemon: every mistake with its line, and what is not in force yet."""
    answer = ask(f'check "{file}"', ["-c", _CHECK, str(file)])
    for line in answer.complaints:
        click.echo(printable(f"dadmsctl: {line}"), err=True)
    if not answer.is_yes:
        raise Finished(Exit.REFUSED)
    if as_json:
        write_json(msgspec.json.decode(answer.output))
    else:
        click.echo(f"{file} is in order")
