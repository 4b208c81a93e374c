"""The daemon: shutdown."""

import os
import select
import time
from typing import TYPE_CHECKING

import click

from dadms_ipc import requests
from dadms_ipc.errors import DadmsError, DeadlinePassed, Unreachable
from dadmsctl.door import Door
from dadmsctl.options import pass_door
from dadmsctl.quantities import seconds
from dadmsctl.terminal import printable

if TYPE_CHECKING:
    from dadms_ipc.client import Client

SAY_EVERY = 1.0  # seconds between looks at whom a shutdown waits for


@click.command()
@click.option("--no-wait", is_flag=True, help="Return when the end has begun, not when the daemon is gone.")
@click.option("--timeout", type=seconds, default=60.0, show_default=True, help="Seconds that it has to end.")
@pass_door
def shutdown(door: Door, no_wait: bool, timeout: float) -> None:
    """End every process, then the daemon."""
    with door.connect() as client:
        keeper = door.keeper_pid()  # before it is told: afterwards the lock may be gone already
        watch = os.pidfd_open(keeper) if keeper else None
        try:
            client.call(requests.Shutdown())
        except Unreachable:
            if watch is None or not select.select([watch], [], [], 0)[0]:
                raise
            return  # it has ended, quicker than its answer came
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
