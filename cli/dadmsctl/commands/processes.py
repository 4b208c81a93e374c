"""Processes as they are: ps, status."""

from collections.abc import Iterator, Sequence

import click

from dadms_ipc import requests
from dadmsctl.attempts import Several
from dadmsctl.door import Door
from dadmsctl.options import as_json, pass_door
from dadmsctl.quantities import ago_text, bytes_text
from dadmsctl.targets import resolve, target
from dadmsctl.terminal import console, write_json

PS_COLUMNS = (
    ">PID",
    "NAME",
    "ORCHESTRATOR",
    "STATUS",
    ">OS PID",
    ">LIVED",
    ">RESTARTS",
    ">MEMORY",
    ">CPU s",
    ">WORKERS",
    "THREADS",
    "CAUSE",
)
NOT_BEGUN = ("waiting", "admitted", "backoff")  # statuses in which no incarnation lives
PS_IMPORTANCE = ("PID", "NAME", "STATUS", "LIVED", "MEMORY", "CPU s", "CAUSE", "WORKERS", "RESTARTS", "OS PID", "ORCHESTRATOR", "THREADS")


@click.command()
@click.option("--all", "-a", "include_ended", is_flag=True, help="Those that ended, too.")
@click.option("--tree", "as_tree", is_flag=True, help="Each below the process that it belongs to.")
@as_json
@pass_door
def ps(door: Door, include_ended: bool, as_tree: bool, as_json: bool) -> None:
    """List the processes."""
    with door.connect() as client:
        found = client.call(requests.List(include_ended=include_ended))
    if as_json:
        write_json(found)
    else:
        from dadmsctl.listing import show

        rows = [(0, each) for each in found] if not as_tree else list(_tree(found))
        show(PS_COLUMNS, PS_IMPORTANCE, (_row(each, depth) for depth, each in rows))


def _tree(found: Sequence[requests.ProcessInfo]) -> Iterator[tuple[int, requests.ProcessInfo]]:
    """Give each process with its depth, behind the one that it belongs to; one whose parent is not shown stands for itself."""
    below: dict[int, list[requests.ProcessInfo]] = {}
    shown = {each.pid for each in found}
    for each in found:
        below.setdefault(each.parent if each.parent in shown else 0, []).append(each)
    waiting = [(0, each) for each in reversed(below.get(0, []))]
    while waiting:
        depth, each = waiting.pop()
        yield depth, each
        waiting += [(depth + 1, child) for child in reversed(below.get(each.pid, []))]


def _row(process: requests.ProcessInfo, depth: int = 0) -> tuple[str, ...]:
    done = process.threads_done - process.threads_failed
    threads = f"{process.threads_running}+{process.threads_waiting} now, {done} done, {process.threads_failed} failed"
    return (
        str(process.pid),
        "  " * depth + process.name,
        process.orchestrator or f"{process.kind}: {process.command[0] if process.command else '-'}",
        process.suspension or process.status,
        str(process.os_pid or "-"),
        ago_text(process.started_at, process.ended_at or None) if process.status not in NOT_BEGUN else "-",
        str(process.incarnation - 1),
        bytes_text(process.memory or process.memory_peak),
        f"{process.cpu_seconds:.2f}",
        str(process.workers),
        threads,
        process.cause or "; ".join(process.waits_for) or "-",
    )


@click.command()
@click.argument("targets", type=target, nargs=-1, metavar="[TARGET]...")
@as_json
@pass_door
def status(door: Door, targets: tuple[str, ...], as_json: bool) -> None:
    """Show processes with their limits, or the daemon with its servers.

    TARGET is a pid, a name, a pattern of names ("etl-*"), or "group:NAME".
    """
    from dadmsctl.status import of_daemon, of_process

    several, found = Several(), []
    with door.connect() as client:
        if not targets:
            answer = client.call(requests.Status())
            if as_json:
                write_json(answer)
            else:
                console().print(of_daemon(answer))
            return
        for pid in resolve(client, targets, "show", several):
            with several.attempt(f"show {pid}"):
                found.append(client.call(requests.Status(pid)))
    if as_json and found:
        write_json(found[0] if len(targets) == 1 and len(found) == 1 else found)
    for number, each in enumerate(found if not as_json else ()):
        if number:
            console().print()
        console().print(of_process(each))
    several.finish()
