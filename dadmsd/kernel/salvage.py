"""What is taken from the turns behind a place where the journal is damaged.

Rows that depend on others are not: what they depend on may be in the turn that is missing. Taken are numbers that only grow, so that none is given twice, and history, which stands for itself.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from dadmsd.kernel.core.records import Child, Counters

HISTORY: Final = ("event", "life")

Row = tuple[str, list[Any], bytes | None]  # table, key columns, encoded record


def salvage(counters: Counters, left_out: Iterable[Row]) -> tuple[list[Row], list[Child]]:
    """Give the rows to be kept, and the children that these turns knew: some may live, and nobody else knows them."""
    kept: list[Row] = []
    children: dict[str, Child] = {}
    for table, columns, record in left_out:
        if record is None:
            continue
        if table in HISTORY:
            kept.append((table, columns, record))
        elif table == "counters":
            counters = _later(counters, msgspec.msgpack.decode(record, type=Counters))
        elif table == "child":
            child = msgspec.msgpack.decode(record, type=Child)
            children[child.name] = child
    return [*kept, ("counters", [0], msgspec.msgpack.encode(counters))], list(children.values())


def _later(one: Counters, other: Counters) -> Counters:
    return Counters(**{name: max(getattr(one, name), getattr(other, name)) for name in Counters.__struct_fields__})
