"""What processes may use, while they live: limits."""

import difflib
import re
from typing import Any

import click

from dadms_ipc import requests
from dadms_ipc.requests import Limits
from dadmsctl.attempts import Several
from dadmsctl.door import Door
from dadmsctl.options import as_json, pass_door
from dadmsctl.quantities import cores, rates, size_or_zero
from dadmsctl.targets import resolve, target
from dadmsctl.terminal import printable, write_json

SIZES = {"memory", "worker_memory", "core", "memory_high", "swap", "memory_request"}
CORES = {"cpu", "cpu_request"}
NAMES = (*Limits.__struct_fields__, "memory_request", "cpu_request", "nice")
NONE = ("none", "null", "max", "unlimited")


def read_change(text: str) -> tuple[str, Any]:
    """Read ``memory=2G``; ``none`` lifts a limit."""
    name, sign, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not sign or not name or not value.strip():
        raise click.UsageError(f'a limit is written NAME=VALUE, such as memory=2G, not "{text}"')
    if name == "io":
        return name, {} if value.strip().lower() in NONE else dict([rates(value.strip())])
    if value.strip().lower() in NONE:
        return name, None
    if name in SIZES:
        return name, size_or_zero(value)
    if name in CORES:
        return name, cores(value)
    if name == "nice" and re.fullmatch(r"[+-]?\d{1,3}", value.strip()):
        return name, int(value)
    if not value.strip().isdecimal():
        if name not in NAMES:  # the daemon says so of a number, which it alone can judge
            near = difflib.get_close_matches(name, NAMES, 1)
            raise click.UsageError(
                f'unknown limit "{name}"; ' + (f'did you mean "{near[0]}"?' if near else f"there are {', '.join(NAMES)}")
            )
        raise click.UsageError(f'{name} is a whole number, not "{value.strip()}"')
    return name, int(value)


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="TARGET... [NAME=VALUE...]")
@as_json
@pass_door
def limits(door: Door, words: tuple[str, ...], as_json: bool) -> None:
    """Show the limits of processes as they were read back, or change them while the processes live.

    TARGET is a pid, a name, a pattern of names ("etl-*"), or "group:NAME". NAME is memory, cpu, pids, files, core, worker-memory, workers, memory-high, swap, cpu-weight, io=DEVICE:read_bytes=10M,…, nice, or memory-request
    and cpu-request for what is reserved; "none" lifts a limit. All changes of a process are put in force, or none.
    """
    changes: dict[str, Any] = {}
    for word in words:
        if "=" in word:
            name, value = read_change(word)
            changes[name] = {**changes.get(name, {}), **value} if isinstance(value, dict) else value  # one rate after the other
    names = [target(word) for word in words if "=" not in word]
    if not names:
        raise click.UsageError("Missing argument 'TARGET...'.")
    _change(door, names, changes, as_json=as_json)


@click.command(context_settings={"ignore_unknown_options": True})  # -5 is no option
@click.argument("words", nargs=-1, required=True, metavar="TARGET... [PRIORITY]")
@as_json
@pass_door
def priority(door: Door, words: tuple[str, ...], as_json: bool) -> None:
    """Show or set the priority of processes against each other: their niceness, 19 (last) to -20 (first), of all that they started.

    TARGET is a pid, a name, a pattern of names ("etl-*"), or "group:NAME". The last word is the priority where it is a number from -20 to 19 and not the only one.
    Below what it is takes the right to (CAP_SYS_NICE).
    """
    value = int(words[-1]) if len(words) > 1 and re.fullmatch(r"[+-]?\d{1,2}", words[-1]) else None
    names = [target(word) for word in (words if value is None else words[:-1])]
    _change(door, names, {} if value is None else {"nice": value}, as_json=as_json, only="nice")


def _change(door: Door, names: list[str], changes: dict[str, Any], *, as_json: bool, only: str = "") -> None:
    several, answers = Several(), []
    with door.connect() as client:
        for pid in resolve(client, names, "change the limits of", several):
            with several.attempt(f"change the limits of {pid}"):
                answers.append(client.call(requests.ChangeLimits(pid, changes)))
    if as_json:
        if answers:
            write_json(answers)
    else:
        for answer in answers:
            for name, text in answer["limits"].items() if not only else [(only, answer["limits"].get(only, "0"))]:
                click.echo(printable(f"{answer['pid']}  {name:<14}  {text}"))
            for warning in answer["warnings"]:
                click.echo(printable(f"dadmsctl: warning: {answer['pid']}: {warning}"), err=True)
    several.finish()
