"""What a daemon is configured with: config check, show, diff; reload."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

from dadms_ipc import requests
from dadms_ipc.errors import RequestRefused
from dadms_ipc.requests import ReloadReport
from dadmsctl.door import Door
from dadmsctl.exits import Exit, Finished
from dadmsctl.options import FILE, as_json, pass_door
from dadmsctl.siblings import ask
from dadmsctl.terminal import printable, write_json

# Asked as programs, as only the daemon's own code knows its keys. The first prints a configuration with its defaults, and one line for each warning or mistake; the second what a
# directory of definitions, or one file of it, holds.
_CHECK = """
import sys, msgspec
from dadms_ipc.errors import DadmsError
from dadmsd import addresses, roles
from dadmsd.config import Network, parse, read, warnings
try:
    text = read(sys.argv[1])
    config = parse(text, sys.argv[1])
    roles.check(config, sys.argv[1])
    addresses.check(config, text, sys.argv[1])
    if len(sys.argv) > 2:
        held = msgspec.json.decode(sys.argv[2], type=Network)
        addresses.check_ports(config.network, held, text, sys.argv[1], is_bystander=True)
    for line in warnings(config, text):
        print(f"warning: {sys.argv[1]}:{line.removeprefix('line ')}", file=sys.stderr)
    sys.stdout.buffer.write(msgspec.json.encode(config))
except DadmsError as error:
    sys.exit(str(error))
"""
_CHECK_DEFINITIONS = """
import sys, msgspec
from pathlib import Path
from dadmsd.dependence import check
found = check(Path(sys.argv[1]))
for line in [*found.mistakes, *(f"warning: {each}" for each in found.warnings)]:
    print(line, file=sys.stderr)
sys.stdout.buffer.write(msgspec.json.encode(found.names))
sys.exit(1 if found.mistakes else 0)
"""
_IS_DEFINITION = """
import sys
from pathlib import Path
from dadmsd.dependence import is_definition
sys.exit(0 if is_definition(Path(sys.argv[1])) else 1)
"""
_READERS = """
import sys, msgspec
from dadmsd.keeper.reloading import readers
sys.stdout.buffer.write(msgspec.json.encode([readers(*each.split(".", 1)) for each in sys.argv[1:]]))
"""
_PLACED = re.compile(r'(?:cannot use the configuration ".*": | +)line (\d+): (.*)')  # a mistake of a configuration, as the daemon tells it
WARNING = "warning: "
SIGNS = {"start": "+", "end": "-", "restart": "!", "change": "~"}


@click.group()
def config() -> None:
    """Look after the daemon's configuration and the processes that are defined in files."""


@config.command("check")
@click.argument("file", type=FILE)
@as_json
def check(file: Path, as_json: bool) -> None:
    """Check a configuration file, or a directory of definitions or one file of it, without a daemon: every mistake with its line, and what is not in force yet."""
    defines = file.is_dir() or ask(f'check "{file}"', ["-c", _IS_DEFINITION, str(file.absolute())]).is_yes
    answer = ask(f'check "{file}"', ["-c", _CHECK_DEFINITIONS if defines else _CHECK, str(file.absolute() if defines else file)])
    if answer.is_yes:
        _tell(answer.complaints)
    elif defines:
        _refuse(f'all of "{file}"', answer.complaints)
    else:
        _refuse_configuration(file, answer.complaints)
    if as_json:
        write_json(msgspec.json.decode(answer.output))
    elif defines:
        names = ", ".join(each["name"] for each in msgspec.json.decode(answer.output))
        click.echo(printable(f"{file} is in order: {names or 'it defines nothing'}"))
    else:
        click.echo(f"{file} is in order")


@config.command("show")
@as_json
@pass_door
def show(door: Door, as_json: bool) -> None:
    """Show the configuration that the running daemon has, defaults included."""
    with door.connect() as client:
        found = client.call(requests.Configuration())
    if as_json:
        write_json(found)
        return
    click.echo(printable(f"# {found.source or 'no file: every value is the default'}"))
    if found.definitions:
        click.echo(printable(f"# definitions in {found.definitions}"))
    for table, values in found.values.items():
        click.echo(f"[{table}]")
        for key, value in values.items():
            click.echo(printable(f"{key} = {msgspec.json.encode(value).decode()}"))


@config.command("diff")
@as_json
@pass_door
def diff(door: Door, as_json: bool) -> None:
    """Show what a reload would change: keys of the configuration, and processes by their definitions. Exits with 1 when there is something."""
    with door.connect() as client:
        held = client.call(requests.Configuration())
        report = client.call(requests.Compare())
    keys = _changed_keys(held)
    if as_json:
        write_json({"keys": keys, "definitions": msgspec.to_builtins(report)})
    else:
        _show_keys(keys)
        _show(report)
        _say_undefined(report)
    _finish(report, Exit.FAILED if keys or report.changes else Exit.DONE)


def _changed_keys(held: requests.ConfigurationInfo) -> list[dict[str, Any]]:
    """Compare the file with what the daemon has; a file that is wrong is refused with its mistakes."""
    if not held.source or not os.path.exists(held.source):  # noqa: PTH110 - a name from another program, compared and nothing else
        return []
    network = msgspec.json.encode(held.values.get("network", {})).decode()  # ports that are taken are told before anything is done, too
    answer = ask(f'check "{held.source}"', ["-c", _CHECK, held.source, network])
    if not answer.is_yes:
        _refuse_configuration(held.source, answer.complaints)
    fresh = msgspec.json.decode(answer.output)
    found = [
        {"table": table, "key": key, "now": held.values.get(table, {}).get(key), "then": value}
        for table, values in fresh.items()
        for key, value in values.items()
        if held.values.get(table, {}).get(key) != value
    ]
    if found:
        asked = ask("compare the configuration", ["-c", _READERS, *(f"{each['table']}.{each['key']}" for each in found)])
        for each, servers in zip(found, msgspec.json.decode(asked.output), strict=True):
            each["servers"] = servers
    return found


def _show_keys(keys: list[dict[str, Any]]) -> None:
    """Show what was or would be changed in the configuration, and who is started again for it; what runs runs on."""
    for each in keys:
        now, then = (msgspec.json.encode(each[when]).decode() for when in ("now", "then"))
        again = f"{' and '.join(each['servers'])} started again" if each["servers"] else "nobody started again"
        click.echo(printable(f"~ [{each['table']}] {each['key']} = {now} → {then} ({again})"))


@click.command()
@as_json
@pass_door
def reload(door: Door, as_json: bool) -> None:
    """Read the definitions and the configuration again: what is defined anew starts, what is no more ends, and only what must restarts.

    Says which keys changed, from what to what, and which servers are started again for it; what runs runs on. A file with a mistake is told, and changes nothing; the others count. Exits
    with 4 when there was one.
    """
    with door.connect() as client:
        held = client.call(requests.Configuration())
        keys = _changed_keys(held)  # a configuration that is wrong is refused before anything is done
        report = client.call(requests.Reload())
    if as_json:
        write_json({**msgspec.to_builtins(report), "keys": keys})
    else:
        _show_keys(keys)
        _show(report)
        if not keys and not report.changes and not report.mistakes:
            click.echo("nothing has changed")
        _say_undefined(report)
    _finish(report, Exit.DONE)


def _show(report: ReloadReport) -> None:
    for change in report.changes:
        fields = f": {', '.join(change.fields)}" if change.fields else ""
        pid = f" ({change.pid})" if change.pid else ""
        click.echo(printable(f'{SIGNS[change.action]} {change.action} "{change.name}"{pid}{fields}'))


def _say_undefined(report: ReloadReport) -> None:
    """Tell whoever looks for the effect of a definition that none is read."""
    if not report.directory:
        click.echo("this daemon reads no definitions: dadmsd --config FILE reads those in processes.d beside FILE")


def _finish(report: ReloadReport, code: Exit) -> None:
    warnings = [f"{WARNING}{each}" for each in report.warnings]
    if report.mistakes:
        _refuse(f'all of "{report.directory}"', [*report.mistakes, *warnings])
    _tell(warnings)
    raise Finished(code)


def _tell(lines: Sequence[str]) -> None:
    """Show mistakes as details of a refusal that follows, FILE:LINE: REASON, and warnings as such."""
    for line in lines:
        click.echo(printable(f"dadmsctl: {line}" if line.startswith(WARNING) else line), err=True)


def _refuse(what: str, lines: Sequence[str]) -> NoReturn:
    """Show mistakes, and end with how many there were."""
    _tell(lines)
    count = sum(not line.startswith(WARNING) for line in lines)
    raise RequestRefused(f"cannot use {what}: {count} mistake{'s' * (count != 1)}")


def _refuse_configuration(path: Path | str, complaints: Sequence[str]) -> NoReturn:
    """Show mistakes of a configuration where they stand, if that is known."""
    placed = [f"{path}:{found[1]}: {found[2]}" for line in complaints if (found := _PLACED.fullmatch(line))]
    if not placed:
        raise RequestRefused(complaints[-1])
    _refuse(f'the configuration "{path}"', placed)
