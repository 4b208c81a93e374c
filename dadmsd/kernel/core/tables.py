"""The tables of the journal: a kind of record each, and the columns of its key, which are fields of the record.

A new kind of record is a row here, and a version of the schema in ``journal``.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

from dadmsd.kernel.core import records
from dadmsd.kernel.core.records import Record

TABLES: Final[dict[str, tuple[type[Record], str]]] = {  # in the order in which they are read
    "counters": (records.Counters, "id INTEGER"),  # one row, whose id is 0
    "process": (records.Process, "pid INTEGER"),
    "talk": (records.Talk, "pid INTEGER"),
    "child": (records.Child, "name TEXT"),
    "chunk": (records.Chunk, "first_tid INTEGER"),
    "tries": (records.Tries, "tid INTEGER"),
    "kept": (records.Kept, "pid INTEGER, key TEXT"),
    "grouped": (records.GroupRow, "pid INTEGER, name TEXT"),
    "batch": (records.Batch, "worker TEXT, first_sequence INTEGER"),
    "results": (records.Results, "pid INTEGER, incarnation INTEGER, first_sequence INTEGER"),
    "answered": (records.Answered, "client BLOB, sequence INTEGER"),
    "event": (records.EventRow, "number INTEGER"),
    "life": (records.Life, "pid INTEGER, incarnation INTEGER"),
    "region": (records.Region, "pid INTEGER, name TEXT"),
    "cell": (records.Cell, "pid INTEGER, region TEXT, key TEXT"),
    "lock": (records.Lock, "pid INTEGER, region TEXT, name TEXT"),
    "caller": (records.Caller, "name TEXT"),
    "checkpoint": (records.Checkpoint, "pid INTEGER"),
}


def columns_of(table: str) -> list[str]:
    """Name the columns of a table's key."""
    return [column.split()[0] for column in TABLES[table][1].split(", ")]


def _key_of(table: str) -> Callable[[Any], object]:
    return (lambda _counters: 0) if table == "counters" else attrgetter(*columns_of(table))


ADDRESSES: Final = {
    kind: (table, _key_of(table)) for table, (kind, _) in TABLES.items()
}  # of a kind of record: its table, and what gives the key
