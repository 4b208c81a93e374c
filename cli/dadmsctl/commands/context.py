"""Shared context: ls, get, set, update, cas, increment, delete, watch, share, break."""

import time
from typing import TYPE_CHECKING, Any

import click
import msgspec

from dadms_ipc import context as words
from dadms_ipc import requests
from dadms_ipc.errors import DeadlinePassed, RequestRefused
from dadmsctl.attempts import attempt
from dadmsctl.door import Door
from dadmsctl.options import as_json, pass_door
from dadmsctl.quantities import NUMBER, bytes_text, seconds
from dadmsctl.targets import ONE
from dadmsctl.terminal import console, write_json, write_json_line
from dadmsctl.waiting import PARKED

if TYPE_CHECKING:
    from dadms_ipc.client import Client

COLUMNS = ("REGION", "OWNER", ">VERSION", ">KEYS", ">SIZE", "READERS", "WRITERS", "LOCKS")
IMPORTANCE = ("REGION", "VERSION", "KEYS", "LOCKS", "SIZE", "OWNER", "READERS", "WRITERS")


@click.group()
def context() -> None:
    """Look at what processes and their threads share, and change it."""


@context.command("ls")
@click.argument("pid", metavar="TARGET", type=ONE)
@as_json
@pass_door
def ls(door: Door, pid: int, as_json: bool) -> None:
    """List the regions of a process."""
    found = _ask(door, requests.ReadContext(pid, words.Regions()), f"list the context of {pid}")
    if as_json:
        write_json(found)
    else:
        from dadmsctl.listing import show

        show(COLUMNS, IMPORTANCE, map(_row, found))


def _row(region: words.RegionInfo) -> tuple[str, ...]:
    locks = ", ".join(f"{name}: {holder}" for name, holder in region.locks.items())
    lists = (", ".join(region.readers) or "-", ", ".join(region.writers) or "-")
    return (region.name, region.owner, str(region.version), str(region.keys), bytes_text(region.bytes), *lists, locks or "-")


@context.command("get")
@click.argument("pid", metavar="TARGET", type=ONE)
@click.argument("region")
@click.argument("key", required=False)
@as_json
@pass_door
def get(door: Door, pid: int, region: str, key: str | None, as_json: bool) -> None:
    """Print a value, or all values of a region; exits with 4 when there is none."""
    what = f"get {_named(region, key)} of {pid}"
    answer = _ask(door, requests.ReadContext(pid, words.Get(region, key)), what)
    if not answer.version:
        raise RequestRefused(f"cannot {what}: there is none")
    _show(answer, as_json=as_json)


@context.command("set")
@click.argument("pid", metavar="TARGET", type=ONE)
@click.argument("region")
@click.argument("key")
@click.argument("value")
@as_json
@pass_door
def set_value(door: Door, pid: int, region: str, key: str, value: str, as_json: bool) -> None:
    """Put a value: JSON if it reads as JSON, else the text itself."""
    _change(door, pid, words.Set(region, key, _raw(key, value)), as_json=as_json)


@context.command("update")
@click.argument("pid", metavar="TARGET", type=ONE)
@click.argument("region")
@click.argument("key")
@click.argument("values")
@as_json
@pass_door
def update(door: Door, pid: int, region: str, key: str, values: str, as_json: bool) -> None:
    """Merge a JSON object into the one that is there."""
    _change(door, pid, words.Update(region, key, _raw(key, values)), as_json=as_json)


@context.command("cas")
@click.argument("pid", metavar="TARGET", type=ONE)
@click.argument("region")
@click.argument("key")
@click.argument("value")
@click.option("--expected", type=NUMBER, required=True, help="The version that it must have; 0: it must not be there.")
@as_json
@pass_door
def cas(door: Door, pid: int, region: str, key: str, value: str, expected: int, as_json: bool) -> None:
    """Put a value if its version is the expected one; exits with 4 when it is another."""
    changed = _change(door, pid, words.Cas(region, key, _raw(key, value), expected), as_json=as_json)
    if not changed.applied:
        raise RequestRefused(f"cannot cas {_named(region, key)} of {pid}: its version is {changed.version}, not {expected}")


@context.command("increment")
@click.argument("pid", metavar="TARGET", type=ONE)
@click.argument("region")
@click.argument("key")
@click.option("--by", type=float, default=1, show_default=True, help="Whole numbers are added as such.")
@as_json
@pass_door
def increment(door: Door, pid: int, region: str, key: str, by: float, as_json: bool) -> None:
    """Add to a number, from 0; prints the new one."""
    _change(door, pid, words.Increment(region, key, int(by) if by.is_integer() else by), as_json=as_json)


@context.command("delete")
@click.argument("pid", metavar="TARGET", type=ONE)
@click.argument("region")
@click.argument("key", required=False)
@pass_door
def delete(door: Door, pid: int, region: str, key: str | None) -> None:
    """Remove a value, or a region with all that is in it; exits with 4 when it is not there."""
    what = f"delete {_named(region, key)} of {pid}"
    if not _ask(door, requests.ChangeContext(pid, words.Delete(region, key)), what).applied:
        raise RequestRefused(f"cannot {what}: there is none")


@context.command("watch")
@click.argument("pid", metavar="TARGET", type=ONE)
@click.argument("region")
@click.argument("key", required=False)
@click.option("--after", type=NUMBER, help="The version that is known; 0: whatever there is.  [the one of now]")
@click.option("--follow", "-f", "is_followed", is_flag=True, help="Go on with each change.")
@click.option("--timeout", type=seconds, help="Seconds to wait in all; then it exits with 5.  [for ever]")
@as_json
@pass_door
def watch(
    door: Door, pid: int, region: str, key: str | None, after: int | None, is_followed: bool, timeout: float | None, as_json: bool
) -> None:
    """Print a value when it changes, or what changes in a region; with --json, one object a line."""
    deadline = None if timeout is None else time.monotonic() + timeout
    with door.connect() as client, attempt(f"watch {_named(region, key)} of {pid}"):
        known = client.call(requests.ReadContext(pid, words.Get(region, key))).version if after is None else after
        while True:
            answer = _newer(client, pid, words.Watch(region, key, known, PARKED), deadline)
            if as_json:
                write_json_line(answer)
            else:
                _show(answer, as_json=False)
            known = answer.version
            if not is_followed:
                return


def _newer(client: "Client", pid: int, operation: words.Watch, deadline: float | None) -> Any:
    """Wait for a version that is not known, request by request."""
    while True:
        left = operation.timeout if deadline is None else min(operation.timeout, deadline - time.monotonic())
        if left <= 0:
            raise DeadlinePassed(f"nothing newer than version {operation.after} in {_named(operation.region, operation.key)} of {pid}")
        answer = client.call(requests.ReadContext(pid, msgspec.structs.replace(operation, timeout=left)))
        if answer.version != operation.after:
            return answer


@context.command("share")
@click.argument("pid", metavar="TARGET", type=ONE)
@click.argument("region")
@click.option(
    "--reader", "readers", multiple=True, help='Who may read: "*", "main", "1001/17", "1002"; several times, or "" for nobody else.'
)
@click.option("--writer", "writers", multiple=True, help="Who may read and write.")
@pass_door
def share(door: Door, pid: int, region: str, readers: tuple[str, ...], writers: tuple[str, ...]) -> None:
    """Say who may use a region, and make it if need be."""
    lists = [[each for each in listed if each] if listed else None for listed in (readers, writers)]
    _ask(door, requests.ChangeContext(pid, words.Share(region, *lists)), f"share region {region} of {pid}")


@context.command("break")
@click.argument("pid", metavar="TARGET", type=ONE)
@click.argument("region")
@click.argument("lock")
@pass_door
def break_lock(door: Door, pid: int, region: str, lock: str) -> None:
    """Take a lock from its holder, whose later writes under it are refused; exits with 4 when nobody has it."""
    what = f'break lock "{lock}" of region "{region}" of {pid}'
    if not _ask(door, requests.ChangeContext(pid, words.Break(region, lock)), what).applied:
        raise RequestRefused(f"cannot {what}: nobody has it")


def _named(region: str, key: str | None) -> str:
    return f'region "{region}"' if key is None else f'"{key}" of region "{region}"'


def _raw(key: str, text: str) -> msgspec.Raw:
    from dadmsctl.reading import read_setting

    return msgspec.Raw(msgspec.msgpack.encode(read_setting(f"{key.strip() or 'value'}={text}" if "=" not in key else f"value={text}")[1]))


def _ask(door: Door, request: requests.Request, what: str) -> Any:
    with door.connect() as client, attempt(what):
        return client.call(request)


def _change(door: Door, pid: int, operation: words.Change, *, as_json: bool) -> words.Changed:
    """Make a change and print what it came to; of one that was not applied, only where a program reads it."""
    verb = operation.__struct_config__.tag
    changed: words.Changed = _ask(door, requests.ChangeContext(pid, operation), f"{verb} in the context of {pid}")
    if as_json:
        write_json(changed)
    elif changed.applied:
        from dadmsctl.values import line

        click.echo(f"version {changed.version}" if changed.value is None else line(changed.value))
    return changed


def _show(answer: words.Cell | words.RegionView, *, as_json: bool) -> None:
    if as_json:
        write_json(answer)
        return
    from dadmsctl.values import view

    console().print(view(answer.value if isinstance(answer, words.Cell) else {key: cell.value for key, cell in answer.cells.items()}))
