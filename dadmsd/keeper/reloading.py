"""A changed configuration file, as a table of who reads what: only the servers that read a table that differs are started again, and nothing that runs notices.

1. The new file is checked whole before anything happens. One that is wrong changes nothing, and each of its mistakes is told.
2. The servers' copy is replaced by rename; a server that dies meanwhile reads the old one or the new one.
3. A server is started again as if it had died: the work outlives it (docs/explanation/failure-model.md).
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from dadmsd import addresses, roles
from dadmsd import config as configuration
from dadmsd.keeper.servers import BUS, KERNEL, LOGGER

READERS = {
    "process_kernel": (KERNEL,),
    "thread_scheduler": (KERNEL,),
    "message_bus": (BUS,),
    "resource_manager": (KERNEL,),
    "access": (BUS,),
    "network": (BUS,),
    "logger": (LOGGER, KERNEL),  # the kernel reads logs
}
DEFAULT_READERS = (KERNEL, BUS)  # of a table that is not above; the keeper's own, [daemon], is read by itself


class Change(msgspec.Struct, frozen=True):
    """What a reading found."""

    config: configuration.Config
    tables: tuple[str, ...]  # that differ
    warnings: tuple[str, ...]
    keys: tuple[str, ...] = ()  # that differ, each with its table and both values

    @property
    def servers(self) -> tuple[str, ...]:
        """Give the servers to start again, each once."""
        return tuple(dict.fromkeys(name for table in self.tables for name in readers(table)))


def readers(table: str) -> tuple[str, ...]:
    """Give the servers that read a table, which are started again when it differs."""
    return () if table == "daemon" else READERS.get(table, DEFAULT_READERS)


def read(source: Path, copy: Path) -> Change:
    """Check a file against the servers' copy and put it in its place; raises RequestRefused, OSError."""
    text = configuration.read(source)
    fresh, old = configuration.parse(text, str(source)), configuration.load(copy)
    roles.check(fresh, str(source))
    addresses.check(fresh, text, str(source))
    tables = tuple(name for name in configuration.Config.__struct_fields__ if getattr(fresh, name) != getattr(old, name))
    new = copy.with_name(f"{copy.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(copy)
    return Change(fresh, tables, tuple(configuration.warnings(fresh, text)), tuple(_differences(old, fresh, tables)))


def _differences(old: configuration.Config, fresh: configuration.Config, tables: tuple[str, ...]) -> Iterator[str]:
    for table in tables:
        was, now = getattr(old, table), getattr(fresh, table)
        for key in was.__struct_fields__:
            if getattr(was, key) != getattr(now, key):
                before, after = (msgspec.json.encode(getattr(each, key)).decode() for each in (was, now))
                yield f"[{table}] {key} = {before} → {after}"
