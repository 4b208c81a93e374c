"""Threads: ls, show, groups, wait, suspend, resume, priority, kill; one by one, or those of a group together."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import msgspec

from dadms_ipc import requests
from dadms_ipc.errors import DeadlinePassed, RequestRefused
from dadmsctl.attempts import Several, attempt
from dadmsctl.door import Door
from dadmsctl.exits import Exit, Finished
from dadmsctl.options import as_json, pass_door
from dadmsctl.quantities import NUMBER, seconds, seconds_text
from dadmsctl.targets import ONE
from dadmsctl.terminal import write_json
from dadmsctl.waiting import PARKED

if TYPE_CHECKING:
    from dadms_ipc.client import Client

NEWEST = 1 << 62  # above every event's number: nothing but where to go on
OPEN = ("ready", "sent", "running", "waiting")
LS_COLUMNS = (">TID", ">PID", "LABEL", "ENTRY", "STATE", "WORKER", ">RAN", "CAUSE", "MESSAGE")
LS_IMPORTANCE = ("TID", "LABEL", "STATE", "PID", "RAN", "CAUSE", "WORKER", "ENTRY", "MESSAGE")


def _named(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str:
    """Refuse an empty name, as of a shell's variable that is not set: without a group, the PID would be taken for a thread."""
    if value == "":
        raise click.BadParameter("a group has a name, this is empty")
    return value or ""


of_group = click.option("--group", default=None, callback=_named, help="All open threads of this group, of the process with that PID.")


def _steer(door: Door, pids: tuple[int, ...], group: str, action: str, priority: int = 0) -> None:
    if len(pids) != 1:
        raise click.UsageError("--group is a group of one process: name its PID alone")
    with door.connect() as client, attempt(f'{action} group "{group}" of {pids[0]}'):
        client.call(requests.SteerGroup(pids[0], group, action, priority))


@click.group()
def thread() -> None:
    """Look at the threads of processes, have them stand still, and end them."""


@thread.command("ls")
@click.argument("pid", metavar="TARGET", type=ONE, required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=200, show_default=True, help="The newest so many.")
@click.option("--group", default=None, callback=_named, help="Only those of this group of the process.")
@click.option("--state", type=click.Choice(requests.THREAD_STATES), default=None, help="Only those in this state.")
@as_json
@pass_door
def ls(door: Door, pid: int | None, limit: int, group: str, state: str | None, as_json: bool) -> None:
    """List the newest threads, of one process or of all."""
    if group and pid is None:
        raise click.UsageError("--group is a group of one process: name its PID")
    with door.connect() as client, attempt(f"list the threads of {pid}"):
        found = client.call(requests.Threads(pid, limit=limit, group=group, state=state or ""))
    if as_json:
        write_json(found)
    else:
        from dadmsctl.listing import show

        show(LS_COLUMNS, LS_IMPORTANCE, map(_row, found))


def _state(thread: requests.ThreadInfo) -> str:
    """Say how a thread stands, and what it waits for."""
    if thread.due_at:
        return f"waiting: attempt {len(thread.tried) + 1} in {seconds_text(max(0.0, thread.due_at - time.time()))}"
    if thread.repeats and thread.state == "waiting":
        return f"waiting: for {thread.repeats}"
    return thread.state


def _row(thread: requests.ThreadInfo) -> tuple[str, ...]:
    return (
        str(thread.tid),
        str(thread.pid),
        thread.label or "-",
        thread.entry,
        _state(thread),
        f"w{thread.worker} ({thread.os_pid})" if thread.worker else "-",
        seconds_text(thread.run_seconds) if thread.run_seconds else "-",
        thread.cause or "-",
        thread.message.partition("\n")[0] or "-",
    )


@thread.command("kill")
@click.argument("tids", type=NUMBER, nargs=-1, required=True, metavar="TID... | PID")
@of_group
@pass_door
def kill(door: Door, tids: tuple[int, ...], group: str) -> None:
    """Terminate threads, whatever they are doing; their processes are told, and go on.

    Of several, all are tried; exits with 4 when one of them has ended or never was.
    """
    if group:
        _steer(door, tids, group, "kill")
        return
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
@click.argument("tids", type=NUMBER, nargs=-1, required=True, metavar="TID... | PID")
@of_group
@pass_door
def suspend(door: Door, tids: tuple[int, ...], group: str) -> None:
    """Have threads stand still, in the middle of whatever they compute; their slots go to others, and their time stands still.

    Returns when they do; those of an async entry stand still from their next wait on, which is said. Of several, all are tried; exits with 4 when one of them has ended, never was, or ends before it stands still.
    """
    if group:
        _steer(door, tids, group, "suspend")
        return
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
    answer = client.call(requests.SuspendThread(tid))
    if isinstance(answer, dict) and answer.get("cooperative"):
        click.echo(f"thread {tid} is async: its suspension is cooperative, it is not stepped from its next wait on", err=True)
    while (info := client.call(requests.ShowThread(tid))).state in OPEN:
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlinePassed(f"it does not stand still after {seconds:g} s: it is in a system call that takes long")
        after = client.call(requests.Events(after, pid=info.pid, wait=left)).last
    if info.state != "suspended":
        raise RequestRefused(f"it has ended ({info.state})")


@thread.command("resume")
@click.argument("tids", type=NUMBER, nargs=-1, required=True, metavar="TID... | PID")
@of_group
@pass_door
def resume(door: Door, tids: tuple[int, ...], group: str) -> None:
    """Let suspended threads go on, as soon as slots are free for them.

    Of several, all are tried; exits with 4 when one of them is not suspended.
    """
    if group:
        _steer(door, tids, group, "resume")
        return
    several = Several()
    with door.connect() as client:
        for tid in dict.fromkeys(tids):
            with several.attempt(f"resume thread {tid}"):
                client.call(requests.ResumeThread(tid))
    several.finish()


@thread.command("priority", context_settings={"ignore_unknown_options": True})
@click.argument("tid", type=NUMBER, metavar="TID | PID")
@click.argument("priority", type=click.IntRange(-100, 100))
@of_group
@pass_door
def set_priority(door: Door, tid: int, priority: int, group: str) -> None:
    """Give a thread that waits, or a group of a process, another priority, -100 to 100; higher is sooner, and waiting ten seconds makes up for one."""
    if group:
        _steer(door, (tid,), group, "priority", priority)
        return
    with door.connect() as client, attempt(f"set the priority of thread {tid}"):
        client.call(requests.SetThreadPriority(tid, priority))


GROUP_COLUMNS = (
    "GROUP",
    ">OPEN",
    ">READY",
    ">RUNNING",
    ">WAITING",
    ">SUSPENDED",
    ">COMPLETED",
    ">FAILED",
    ">TERMINATED",
    ">PRIORITY",
    "STATE",
)
GROUP_IMPORTANCE = ("GROUP", "OPEN", "COMPLETED", "FAILED", "STATE", "RUNNING", "READY", "WAITING", "SUSPENDED", "TERMINATED", "PRIORITY")


@thread.command("groups")
@click.argument("pid", metavar="TARGET", type=ONE)
@as_json
@pass_door
def groups(door: Door, pid: int, as_json: bool) -> None:
    """List the groups of threads of a process, and how far each is."""
    with door.connect() as client, attempt(f"list the groups of {pid}"):
        found: list[requests.GroupInfo] = client.call(requests.Groups(pid))
    if as_json:
        write_json(found)
    else:
        from dadmsctl.listing import show

        show(GROUP_COLUMNS, GROUP_IMPORTANCE, map(_group_row, found))


def _group_row(group: requests.GroupInfo) -> tuple[str, ...]:
    counts = (group.ready, group.running, group.waiting, group.suspended)
    ended = (group.completed, group.error + group.timed_out, group.terminated)
    priority = "-" if group.priority is None else str(group.priority)
    state = f"failed by {group.failed_by}" if group.failed_by else "suspended" if group.is_suspended else "-"
    return (group.name, *map(str, (sum(counts), *counts, *ended)), priority, state)


@thread.command("wait")
@click.argument("pid", metavar="TARGET", type=ONE)
@click.argument("tids", type=NUMBER, nargs=-1, metavar="[TID]...")
@click.option("--group", default=None, callback=_named, help="The threads of this group instead.")
@click.option("--any", "is_any", is_flag=True, help="Until one of them has ended, instead of all.")
@click.option("--timeout", type=seconds, help="Seconds to wait in all; then it exits with 5.  [for ever]")
@as_json
@pass_door
def wait(door: Door, pid: int, tids: tuple[int, ...], group: str, is_any: bool, timeout: float | None, as_json: bool) -> None:
    """Wait until threads of a process have ended.

    Exits with 0 when all that have ended completed, with 1 when one did not, with 5 when the time was up.
    """
    if bool(tids) == bool(group):
        raise click.UsageError("name threads, or a --group")
    with door.connect() as client, attempt(f"wait for threads of {pid}"):
        found = _wait(client, requests.WaitThreads(pid, list(tids), group, 1 if is_any else None), timeout)
    if as_json:
        write_json(found)
    else:
        click.echo(", ".join(f"{count} {status}" for status, count in [*found.statuses.items(), ("open", found.open)] if count) or "none")
    if set(found.statuses) - {"completed"}:
        raise Finished(Exit.FAILED)


def _wait(client: "Client", request: requests.WaitThreads, seconds: float | None) -> requests.WaitedInfo:
    """Ask again until it is over, as the daemon parks a request for a minute at most."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        left = PARKED if deadline is None else min(PARKED, max(0.0, deadline - time.monotonic()))
        found: requests.WaitedInfo = client.call(msgspec.structs.replace(request, timeout=left))
        if found.is_over:
            return found
        if deadline is not None and time.monotonic() >= deadline:
            raise DeadlinePassed(f"cannot wait longer for threads of {request.pid}: {found.open} are open after {seconds:g} s")
