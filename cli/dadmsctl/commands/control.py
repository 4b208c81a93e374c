"""What is done to processes that are there: start, stop, restart, suspend, resume, kill, wait. All take pids, names, patterns and groups (targets.py)."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from dadms_ipc import requests
from dadmsctl.attempts import Several, given
from dadmsctl.door import Door
from dadmsctl.exits import Exit
from dadmsctl.family import children, left, left_warning
from dadmsctl.options import as_json, pass_door
from dadmsctl.quantities import seconds
from dadmsctl.targets import resolve, target
from dadmsctl.terminal import printable, write_json
from dadmsctl.waiting import Teller, await_all, exit_of, sentence_of, stuck_warning

if TYPE_CHECKING:
    from dadms_ipc.client import Client

targets = click.argument("targets", type=target, nargs=-1, required=True, metavar="TARGET...")
reason_option = click.option("--reason", default="", help="One sentence for the record.")
tree_option = click.option("--tree", "is_tree", is_flag=True, help="Also what they spawned, and what that spawned.")
no_wait_option = click.option("--no-wait", is_flag=True, help="Return when the demand is recorded, not when it is done.")


def _timeout(most: float) -> Callable[[Any], Any]:
    return click.option("--timeout", type=seconds, default=most, show_default=True, help="Seconds that they have for it.")


def _do(door: Door, words: tuple[str, ...], verb: str, ask: Callable[[int], Any], *, until: str, timeout: float | None) -> None:
    """Ask the same for each target, of all at once, then wait for all; ``timeout`` None does not wait."""
    several = Several()
    with door.connect() as client:
        _ask_all(client, resolve(client, words, verb, several), several, verb, ask, until=until, timeout=timeout)
    several.finish()


def _end(door: Door, words: tuple[str, ...], verb: str, ask: Callable[[int], Any], *, timeout: float | None, is_tree: bool) -> None:
    """End each target, and what belongs to it (``is_tree``) or say that it runs on."""
    several = Several()
    with door.connect() as client:
        pids = resolve(client, words, verb, several)
        told = _ask_all(client, pids, several, verb, ask, until="ended", timeout=timeout)
        asked = set(told)
        while is_tree and (below := [each.pid for each in children(client.call(requests.List()), asked)]):
            _ask_all(client, below, several, verb, ask, until="ended", timeout=timeout)
            asked.update(below)
        if not is_tree and told and (others := left(client.call(requests.List()), told)):
            click.echo(printable(f"dadmsctl: {left_warning(others)}"), err=True)
    several.finish()


def _ask_all(
    client: "Client", pids: list[int], several: Several, verb: str, ask: Callable[[int], Any], *, until: str, timeout: float | None
) -> list[int]:
    """Ask the same for each process, and wait for those that it was not refused for; gives these."""
    told = []
    for pid, answer in zip(pids, client.call_many(map(ask, pids)), strict=True):
        with several.attempt(f"{verb} {pid}"):
            given(answer)
            told.append(pid)
    for shown in client.call_many(map(requests.Status, told)) if until == "ready" else ():
        if isinstance(shown, requests.ProcessInfo) and (warning := stuck_warning(shown)):
            click.echo(f"dadmsctl: {warning}", err=True)
    for pid, came in await_all(client, told, until=until, timeout=timeout) if timeout is not None else ():
        with several.attempt(f"wait for {pid}"):
            found: requests.ProcessInfo = given(came)
            if until != "ended" and (found.ended_at or found.status == "backoff"):
                several.fail(sentence_of(found), Exit.FAILED)
    return told


@click.command()
@targets
@no_wait_option
@_timeout(300.0)
@pass_door
def start(door: Door, targets: tuple[str, ...], no_wait: bool, timeout: float) -> None:
    """Start processes that have ended, under their pids; returns when they are ready.

    TARGET is a pid, a name, a pattern of names ("etl-*"), or "group:NAME". One that runs is left as it is.
    """
    _do(door, targets, "start", requests.Start, until="ready", timeout=None if no_wait else timeout)


@click.command()
@targets
@reason_option
@no_wait_option
@_timeout(60.0)
@tree_option
@pass_door
def stop(door: Door, targets: tuple[str, ...], reason: str, no_wait: bool, timeout: float, is_tree: bool) -> None:
    """End processes, each with everything that runs in it, and keep them ended until they are started. What they spawned runs on, and is told.

    TARGET is a pid, a name, a pattern of names ("etl-*"), or "group:NAME".
    """
    _end(door, targets, "stop", lambda pid: requests.Stop(pid, reason=reason), timeout=None if no_wait else timeout, is_tree=is_tree)


@click.command()
@targets
@reason_option
@no_wait_option
@_timeout(300.0)
@pass_door
def restart(door: Door, targets: tuple[str, ...], reason: str, no_wait: bool, timeout: float) -> None:
    """End processes and start them again; returns when they are ready.

    TARGET is a pid, a name, a pattern of names ("etl-*"), or "group:NAME".
    """
    _do(door, targets, "restart", lambda pid: requests.Restart(pid, reason=reason), until="ready", timeout=None if no_wait else timeout)


@click.command()
@targets
@no_wait_option
@_timeout(30.0)
@pass_door
def suspend(door: Door, targets: tuple[str, ...], no_wait: bool, timeout: float) -> None:
    """Have processes stand still, with everything that they started; their time-outs stand still as well.

    TARGET is a pid, a name, a pattern of names ("etl-*"), or "group:NAME".
    """
    _do(door, targets, "suspend", requests.Suspend, until="suspended", timeout=None if no_wait else timeout)


@click.command()
@targets
@pass_door
def resume(door: Door, targets: tuple[str, ...]) -> None:
    """Have suspended processes go on where they stood.

    TARGET is a pid, a name, a pattern of names ("etl-*"), or "group:NAME".
    """
    _do(door, targets, "resume", requests.Resume, until="ready", timeout=None)


@click.command()
@targets
@click.option("--force", is_flag=True, help="SIGKILL at once, without the chance to end well.")
@reason_option
@no_wait_option
@_timeout(30.0)
@tree_option
@pass_door
def kill(door: Door, targets: tuple[str, ...], force: bool, reason: str, no_wait: bool, timeout: float, is_tree: bool) -> None:
    """End processes for good, each with everything that runs in it. What they spawned runs on, and is told.

    TARGET is a pid, a name, a pattern of names ("etl-*"), or "group:NAME". Of several, all are tried; exits with 4 when one of them cannot be killed.
    """
    _end(
        door,
        targets,
        "kill",
        lambda pid: requests.Kill(pid, force=force, reason=reason),
        timeout=None if no_wait else timeout,
        is_tree=is_tree,
    )


@click.command()
@targets
@click.option("--until", type=click.Choice(["started", "ready", "suspended", "ended"]), default="ended", show_default=True)
@click.option("--timeout", type=seconds, help="Seconds to wait in all. [for ever]")
@click.option("--exit-code", "is_passed_on", is_flag=True, help="Exit as the process did: with its exit code, or 128 and its signal.")
@as_json
@pass_door
def wait(door: Door, targets: tuple[str, ...], until: str, timeout: float | None, is_passed_on: bool, as_json: bool) -> None:
    """Wait until processes have ended; exits with 1 when one of them failed. A terminal is told what is waited for.

    TARGET is a pid, a name, a pattern of names ("etl-*"), or "group:NAME".
    """
    several, answers = Several(), []
    with door.connect() as client:
        pids = resolve(client, targets, "wait for", several)
        if is_passed_on and len(pids) > 1:
            raise click.UsageError(f"--exit-code is for one process, not for {len(pids)}")
        teller = Teller(until) if sys.stderr.isatty() else None
        for pid, came in await_all(client, pids, until=until, timeout=timeout, teller=teller, is_patient=True):
            with several.attempt(f"wait for {pid}"):
                answers.append(given(came))
    if as_json:
        if answers:
            write_json(answers)
    else:
        for answer in answers:
            click.echo(sentence_of(answer))
    if is_passed_on and answers and until == "ended":
        several.finish(_code_of(answers[0]))
    several.finish(max(map(exit_of, answers), default=Exit.DONE))


def _code_of(process: requests.ProcessInfo) -> int:
    """Give the exit code of a process as a shell would show it; one that never ran has none, and failed."""
    if process.exit_code is not None:
        return process.exit_code
    return int(exit_of(process)) if process.exit_signal is None else 128 + process.exit_signal
