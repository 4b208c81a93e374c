"""What reaches a terminal or a pipe: text without control characters, JSON, and tables that are never cut on a pipe.

Labels, messages and log lines come from models and handlers; what they hold must not move a cursor, ring a bell or turn text around.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from typing import IO, TYPE_CHECKING, Any, cast

import click
import msgspec

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 1000  # columns: on a pipe a row is as long as it is, so that grep and less see all of it

# C0 without tab and newline, DEL, C1, lone surrogates, and the marks that reorder text (Unicode TR 9).
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]")

_FILLING = re.compile(r"[ \t]+(?=\n)")


def printable(text: str) -> str:
    """Show control characters as escapes instead of sending them."""
    return _UNPRINTABLE.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Show newlines as escapes, too: for what ends a program and is read line by line."""
    return printable(text).replace("\n", "\\n")


def write_json(value: object) -> None:
    """Write one JSON document to stdout, indented, as a whole."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def write_json_line(value: object) -> None:
    """Write one JSON document on one line and hand it on at once: for streams."""
    click.echo(msgspec.json.encode(value))
    sys.stdout.flush()


class _Trimmed:
    """A stream whose lines have no spaces at their ends, which fill the columns of a screen."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write lines; rich hands over what it prints at once as a whole."""
        self._stream.write(_FILLING.sub("", text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def console(*, stderr: bool = False, pipe_width: int = PIPE_WIDTH) -> "Console":
    """Give a rich console; rich is imported here only, as it takes longer to import than everything else together."""
    from rich.console import Console

    wide = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not wide.is_terminal:
        wide.width = pipe_width
        wide.file = cast("IO[str]", _Trimmed(wide.file))
    return wide


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
    """Lay out rows below a head, without lines; columns whose name begins with ``>`` are numbers and stand on the right."""
    from rich.table import Table
    from rich.text import Text

    laid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        laid.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
    for row in rows:
        laid.add_row(*(Text(printable(cell)) for cell in row))
    return laid
