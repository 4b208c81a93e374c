"""How a variable of a process looks on a screen: scalars as they are, lists of alike records as a table, what is nested as an outline.

A screen shows the beginning of what is long and says how much it left out; ``--json`` has all of it.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dadmsctl.terminal import printable


class Bounds(NamedTuple):
    """How much of a value is shown."""

    rows: int  # of a list or a mapping
    columns: int  # of a table
    line: int  # characters of a text


SCREEN = Bounds(12, 8, 400)
WHOLE = Bounds(sys.maxsize, sys.maxsize, sys.maxsize)
SUMMARY_SHOWN = 100  # characters of a summary
DEPTH_SHOWN = 4  # levels of nesting; deeper is shown as JSON on one line


def view(value: Any, depth: int = 0, bounds: Bounds = SCREEN) -> RenderableType:
    """Show a value; ``depth`` is how deep it is nested already."""
    if isinstance(value, Mapping) and value and depth < DEPTH_SHOWN:
        if _is_table(value):
            return _records([{"": name} | dict(row) for name, row in value.items()], bounds)
        return _outline(value, depth, bounds)
    if isinstance(value, list) and value and depth < DEPTH_SHOWN:
        if len(value) > 1 and all(isinstance(row, Mapping) and row for row in value):
            return _records(value, bounds)
        if any(isinstance(item, Mapping | list) or len(str(item)) > 40 for item in value):
            return _items(value, depth, bounds)
    return Text(line(value, bounds))


def line(value: Any, bounds: Bounds = SCREEN) -> str:
    """Show a value on one line."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, float):
        text = number(value)
    elif isinstance(value, bool) or value is None:
        text = {True: "yes", False: "no", None: "-"}[value]
    elif isinstance(value, int):
        text = f"{value:,}" if abs(value) >= 10_000 else str(value)
    elif isinstance(value, list) and all(isinstance(item, str | int | float | bool | None) for item in value):
        text = ", ".join(line(item, bounds) for item in value) or "none"
    else:
        text = msgspec.json.encode(value).decode()
    text = printable(text)
    return text if len(text) <= bounds.line else f"{text[: bounds.line]}… ({len(text):,} characters)"


def number(value: float) -> str:
    """Show a fraction with four digits that mean something, and large amounts without any."""
    if value.is_integer() and abs(value) < 1e15:
        return f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e15 else f"{value:.4g}"


def summary(value: Any) -> str:
    """Show what a value is about on one short line: how many of what it holds, or its beginning."""
    rows = value if isinstance(value, list) else list(value.values()) if isinstance(value, Mapping) else []
    if rows and all(isinstance(row, Mapping) and row for row in rows):
        return _cut(f"{len(rows)} of ({', '.join(dict.fromkeys(str(name) for row in rows for name in row))})")
    if isinstance(value, Mapping):
        return _cut(", ".join(f"{name} {line(item) if _is_scalar(item) else '…'}" for name, item in value.items()) or "none")
    return _cut(line(value))


def _cut(text: str) -> str:
    text = printable(text).replace("\n", " ")
    return text if len(text) <= SUMMARY_SHOWN else f"{text[: SUMMARY_SHOWN - 1]}…"


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, Mapping | list)


def _is_table(value: Mapping[str, Any]) -> bool:
    """Tell whether a mapping holds alike records of scalars."""
    rows = list(value.values())
    return len(rows) > 1 and all(
        isinstance(row, Mapping) and row.keys() == rows[0].keys() and all(map(_is_scalar, row.values())) for row in rows
    )


def _outline(value: Mapping[str, Any], depth: int, bounds: Bounds) -> RenderableType:
    laid = Table.grid(padding=(0, 2))
    laid.add_column(style="bold" if depth == 0 else "", no_wrap=True)
    laid.add_column(overflow="fold")
    for name, item in list(value.items())[: bounds.rows]:
        laid.add_row(Text(printable(str(name))), view(item, depth + 1, bounds))
    return _with_rest(laid, len(value), bounds)


def _items(value: Sequence[Any], depth: int, bounds: Bounds) -> RenderableType:
    laid = Table.grid(padding=(0, 1))
    laid.add_column(no_wrap=True)
    laid.add_column(overflow="fold")
    for item in value[: bounds.rows]:
        laid.add_row("·", view(item, depth + 1, bounds))
    return _with_rest(laid, len(value), bounds)


def _records(value: Sequence[Mapping[str, Any]], bounds: Bounds) -> RenderableType:
    names = list(dict.fromkeys(name for row in value for name in row))
    laid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in names[: bounds.columns]:
        cells = [row[name] for row in value if name in row]
        is_number = all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells)
        laid.add_column(Text(printable(str(name))), justify="right" if is_number else "left", overflow="fold")
    for row in value[: bounds.rows]:
        laid.add_row(*(Text(line(row[name], bounds) if name in row else "") for name in names[: bounds.columns]))
    rest = _with_rest(laid, len(value), bounds)
    hidden = names[bounds.columns :]
    return Group(rest, Text(printable(f"(and {', '.join(map(str, hidden))})"), style="dim")) if hidden else rest


def _with_rest(laid: RenderableType, count: int, bounds: Bounds) -> RenderableType:
    return Group(laid, Text(f"… {count - bounds.rows} more", style="dim")) if count > bounds.rows else laid
