"""Lists of processes and of threads on a screen: which columns it has room for.

1. No cell is ever cut. What is too wide for a terminal loses whole columns, the least important first; the order is fixed, so that a column is where one expects it.
2. The first ALWAYS columns by importance stay, whatever the width: which one it is, and how it stands. Where even they are too wide, the terminal wraps the line.
3. On a pipe every column is there.
"""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len

from dadmsctl.terminal import console, printable, table

ALWAYS = 3  # columns
GAP = 2  # spaces between columns


def show(columns: Sequence[str], importance: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows below a head; ``importance`` names all columns, the most important first, and ``columns`` is their order on the screen."""
    screen = console()
    written = [[printable(cell).replace("\n", " ") for cell in row] for row in rows]
    widths = [max(map(cell_len, (head.removeprefix(">"), *cells))) for head, cells in zip(columns, _turned(written, columns), strict=True)]
    kept = fitting(columns, importance, widths, screen.width if screen.is_terminal else None)
    screen.width = max(screen.width, _needed([widths[index] for index in kept]))
    screen.print(table([columns[index] for index in kept], ([row[index] for index in kept] for row in written)))


def fitting(columns: Sequence[str], importance: Sequence[str], widths: Sequence[int], room: int | None) -> list[int]:
    """Give the indices of the columns that fit into so many columns of a terminal; None is room for everything."""
    place = {column.removeprefix(">"): index for index, column in enumerate(columns)}
    kept = [place[name] for name in importance]
    while room is not None and len(kept) > ALWAYS and _needed([widths[index] for index in kept]) > room:
        kept.pop()
    return sorted(kept)


def _needed(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _turned(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*rows, strict=True)) or [()] * len(columns)
