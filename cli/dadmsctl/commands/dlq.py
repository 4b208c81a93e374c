"""Dead letters: ls, show, replay, drop."""

from typing import TYPE_CHECKING, Any

import click
import msgspec

from dadms_ipc import dead_letters
from dadmsctl import bodies
from dadmsctl.attempts import Several, attempt
from dadmsctl.door import Door
from dadmsctl.options import as_json, pass_door
from dadmsctl.quantities import NUMBER, ago_text, bytes_text, seconds
from dadmsctl.terminal import printable, write_json

if TYPE_CHECKING:
    from dadms_ipc.client import Client

COLUMNS = (">NUMBER", "TO", "TYPE", "FROM", ">SIZE", ">TRIED", ">DIED", "WHY")
IMPORTANCE = ("NUMBER", "TO", "WHY", "DIED", "TYPE", "TRIED", "FROM", "SIZE")
PAGE = 1000


@click.group()
def dlq() -> None:
    """Look after dead letters: messages that were acknowledged and could not be delivered."""


@dlq.command("ls")
@as_json
@pass_door
def ls(door: Door, as_json: bool) -> None:
    """List the dead letters, the oldest first: why, when and how often they were tried."""
    with door.connect() as client:
        found = _all(client)
    if as_json:
        write_json([_fields(letter) for letter in found])
    else:
        from dadmsctl.listing import show

        show(COLUMNS, IMPORTANCE, map(_row, found))


def _all(client: "Client") -> list[dead_letters.DeadLetter]:
    found: list[dead_letters.DeadLetter] = []
    while page := client.call(dead_letters.DeadLetters(found[-1].number if found else 0, PAGE)):
        found += page
        if len(page) < PAGE:
            break
    return found


def _fields(letter: dead_letters.DeadLetter) -> dict[str, Any]:
    return {name: value for name, value in msgspec.to_builtins(letter).items() if name != "body"}


def _row(letter: dead_letters.DeadLetter) -> tuple[str, ...]:
    died = f"{ago_text(letter.died_at)} ago"
    return str(letter.number), letter.to, letter.type, letter.sender, bytes_text(letter.size), str(letter.attempts), died, letter.reason


@dlq.command("show")
@click.argument("number", type=NUMBER)
@as_json
@pass_door
def show(door: Door, number: int, as_json: bool) -> None:
    """Show a dead letter with its body."""
    with door.connect() as client:
        letter = client.call(dead_letters.ShowDeadLetter(number))
    fields = _fields(letter)
    if as_json:
        write_json({**fields, **bodies.fields(letter.body)})
        return
    for name, value in fields.items():
        click.echo(printable(f"{name:<10}  {value}"))
    click.echo(printable(f"{'body':<10}  {bodies.shown(letter.body)}"))


@dlq.command("replay")
@click.argument("numbers", type=NUMBER, nargs=-1, required=True, metavar="NUMBER...")
@click.option("--to", default="", help="Another receiver than the one that it was for.")
@click.option("--expiry", type=seconds, default=None, help="Seconds that it may wait for its receiver. [an hour]")
@pass_door
def replay(door: Door, numbers: tuple[int, ...], to: str, expiry: float | None) -> None:
    """Send dead letters again, as new messages; says each one's new number.

    Of several, all are tried; exits with 4 when one of them cannot be sent.
    """
    several = Several()
    with door.connect() as client:
        for number in dict.fromkeys(numbers):
            with several.attempt(f"replay dead letter {number}"):
                answer = client.call(dead_letters.ReplayDeadLetter(number, to, expiry or 0.0))
                click.echo(f"{number} is message {answer['number']}")
    several.finish()


@dlq.command("drop")
@click.argument("numbers", type=NUMBER, nargs=-1, metavar="[NUMBER...]")
@click.option("--all", "is_all", is_flag=True, help="All that there are.")
@pass_door
def drop(door: Door, numbers: tuple[int, ...], is_all: bool) -> None:
    """Remove dead letters for good: all that are named, or none."""
    if bool(numbers) == is_all:
        raise click.UsageError("name the dead letters, or say --all")
    with door.connect() as client, attempt("drop dead letters"):
        chosen = [letter.number for letter in _all(client)] if is_all else list(numbers)
        answer = client.call(dead_letters.DropDeadLetters(chosen))
    click.echo(f"{answer['dropped']} dropped")
