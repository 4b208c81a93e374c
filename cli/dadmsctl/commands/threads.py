"""Threads: ls, show, suspend, resume, priority, kill."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from dadms_ipc import requests
from dadms_ipc.errors import DeadlinePassed, RequestRefused
from dadmsctl.attempts import Several, attempt
from dadmsctl.door import Door
from dadmsctl.options import as_json, pass_door
from dadmsctl.quantities import NUMBER, seconds_text
from dadmsctl.targets import ONE
from dadmsctl.terminal import write_json

if TYPE_CHECKING:
    from dadms_ipc.client import Client

NEWEST = 1 << 62  # above every event's number: nothing but where to go on
OPEN = ("ready", "sent", "running")
LS_COLUMNS = (">TID", ">PID", "LABEL", "ENTRY", "STATE", "WORKER", ">RAN", "CAUSE", "MESSAGE")
LS_IMPORTANCE = ("TID", "LABEL", "STATE", "PID", "RAN", "CAUSE", "WORKER", "ENTRY", "MESSAGE")


@click.group()
def thread() -> None:
    """Look at the threads of processes, have them stand still, and end them."""


@thread.command("ls")
@click.argument("pid", metavar="TARGET", type=ONE, required=False)
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


@thread.command("show")
@click.argument("tid", type=NUMBER)
@as_json
@pass_door
def show_one(door: Door, tid: int, as_json: bool) -> None:
    """Show one thread."""
    with door.connect() as client, attempt(f"show thread {tid}"):
        found: requests.ThreadInfo = client.call(requests.ShowThread(tid))
    if as_json:
        write_json(found)
        return
    for name, value in zip(LS_COLUMNS, _row(found), strict=True):
        click.echo(f"{name.lstrip('>').lower():8} {value}")
    for line in _attempts(found):
        click.echo(line)


def _attempts(found: requests.ThreadInfo) -> "Iterator[str]":
    """Tell of the attempts of a thread that was tried again, and of the next one."""
    for number, each in enumerate(found.tried, 1):
        where = f" in w{each.worker} ({each.os_pid})" if each.worker else ""
        yield f"attempt  {number}: {each.cause} after {seconds_text(each.run_seconds)}{where}: {each.message.partition(chr(10))[0]}"
    if found.due_at:
        yield f"attempt  {len(found.tried) + 1}: due in {seconds_text(max(0.0, found.due_at - time.time()))}"


@thread.command("suspend")
@click.argument("tids", type=NUMBER, nargs=-1, required=True, metavar="TID...")
@pass_door
def suspend(door: Door, tids: tuple[int, ...]) -> None:
    """Have threads stand still, in the middle of whatever they compute; their slots go to others, and their time stands still.

    Returns when they do. Of several, all are tried; exits with 4 when one of them has ended, never was, or ends before it stands still.
    """
    several = Several()
    with door.connect() as client:
        for tid in dict.fromkeys(tids):
            with several.attempt(f"suspend thread {tid}"):
                _suspend(client, tid, door.timeout)
    several.finish()


def _suspend(client: "Client", tid: int, seconds: float) -> None:
    """Ask, then wait for the event that tells that it stands still, or for its end."""
    deadline = time.monotonic() + seconds
    after = client.call(requests.Events(NEWEST)).last
    client.call(requests.SuspendThread(tid))
    while (info := client.call(requests.ShowThread(tid))).state in OPEN:
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlinePassed(f"it does not stand still after {seconds:g} s: it is in a system call that takes long")
        after = client.call(requests.Events(after, pid=info.pid, wait=left)).last
    if info.state != "suspended":
        raise RequestRefused(f"it has ended ({info.state})")


@thread.command("resume")
@click.argument("tids", type=NUMBER, nargs=-1, required=True, metavar="TID...")
@pass_door
def resume(door: Door, tids: tuple[int, ...]) -> None:
    """Let suspended threads go on, as soon as slots are free for them.

    Of several, all are tried; exits with 4 when one of them is not suspended.
    """
    several = Several()
    with door.connect() as client:
        for tid in dict.fromkeys(tids):
            with several.attempt(f"resume thread {tid}"):
                client.call(requests.ResumeThread(tid))
    several.finish()


@thread.command("priority", context_settings={"ignore_unknown_options": True})
@click.argument("tid", type=NUMBER)
@click.argument("priority", type=click.IntRange(-100, 100))
@pass_door
def set_priority(door: Door, tid: int, priority: int) -> None:
    """Give a thread that waits another priority, -100 to 100; higher is sooner, and waiting ten seconds makes up for one."""
    with door.connect() as client, attempt(f"set the priority of thread {tid}"):
        client.call(requests.SetThreadPriority(tid, priority))
