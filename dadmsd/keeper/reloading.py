"""A changed configuration file, as a table of who reads what: only the servers that read what differs are started again, and nothing that runs notices.

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
    "logger": (LOGGER,),
}
READERS_OF_KEYS = {
    ("logger", "to"): (LOGGER, KERNEL)
}  # those that others read than the rest of their table: the kernel says where a log is
DEFAULT_READERS = (KERNEL, BUS)  # of a table that is not above; the keeper's own, [daemon], is read by itself


class Change(msgspec.Struct, frozen=True):
    """What a reading found."""

    config: configuration.Config
    tables: tuple[str, ...]  # that differ
    warnings: tuple[str, ...]
    keys: tuple[str, ...] = ()  # that differ, each with its table and both values
    differing: tuple[tuple[str, str], ...] = ()  # the same, as table and key

    @property
    def servers(self) -> tuple[str, ...]:
        """Give the servers to start again, each once."""
        return tuple(dict.fromkeys(name for differs in self.differing for name in readers(*differs)))


def readers(table: str, key: str) -> tuple[str, ...]:
    """Give the servers that read a key, which are started again when it differs."""
    return () if table == "daemon" else READERS_OF_KEYS.get((table, key), READERS.get(table, DEFAULT_READERS))


def read(source: Path, copy: Path) -> Change:
    """Check a file against the servers' copy and put it in its place; raises RequestRefused, OSError."""
    text = configuration.read(source)
    fresh, old = configuration.parse(text, str(source)), configuration.load(copy)
    roles.check(fresh, str(source))
    addresses.check(fresh, text, str(source))
    addresses.check_ports(fresh.network, old.network, text, str(source))
    tables = tuple(name for name in configuration.Config.__struct_fields__ if getattr(fresh, name) != getattr(old, name))
    new = copy.with_name(f"{copy.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(copy)
    found = dict(_differences(old, fresh, tables))
    return Change(fresh, tables, tuple(configuration.warnings(fresh, text)), tuple(found.values()), tuple(found))


def _differences(old: configuration.Config, fresh: configuration.Config, tables: tuple[str, ...]) -> Iterator[tuple[tuple[str, str], str]]:
    """Give each key that differs, and what is said of it."""
    for table in tables:
        was, now = getattr(old, table), getattr(fresh, table)
        for key in was.__struct_fields__:
            if getattr(was, key) != getattr(now, key):
                before, after = (msgspec.json.encode(getattr(each, key)).decode() for each in (was, now))
                yield (table, key), f"[{table}] {key} = {before} → {after}"
