"""The journal: the kernel's records as rows of one SQLite file, committed once a turn.

1. State is rows, not replay: a table a kind of record, its key as columns, the record as a msgpack map (new fields have defaults, so a newer kernel reads an
   older one's rows). ``PRAGMA user_version`` is the version of the schema; a file of a newer one is refused, not guessed at.
2. WAL with synchronous=NORMAL: a commit survives the death of any process, at any instant. Against power loss the last commits before it may be missing, but the
   file is consistent (sqlite.org/wal.html).
3. The file holds the instance key, from which secrets are derived, and business data: mode 0600.
4. The kernel has the file to itself for all its life; who wants to look at it asks the kernel, or waits for its end.
"""

import os
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from dadms_ipc.errors import HostFailure
from dadmsd.kernel.core.records import Answered, Batch, Caller, Cell, Child, Chunk, Counters, Life, Lock, Process, Record, Region, Results
from dadmsd.kernel.core.state import EVENTS_KEPT, EventRow

SCHEMA_VERSION = 3  # 2: table "life"; 3: tables of shared context
PAGE_SIZE = 1024  # bytes: a turn changes a row or two of each table, and pays for whole pages

_TABLES: dict[str, tuple[type[Record], str]] = {
    "counters": (Counters, "id INTEGER PRIMARY KEY"),
    "process": (Process, "pid INTEGER PRIMARY KEY"),
    "child": (Child, "name TEXT PRIMARY KEY"),
    "chunk": (Chunk, "first_tid INTEGER PRIMARY KEY"),
    "batch": (Batch, "worker TEXT, first_sequence INTEGER"),
    "results": (Results, "pid INTEGER, incarnation INTEGER, first_sequence INTEGER"),
    "answered": (Answered, "client BLOB, sequence INTEGER"),
    "event": (EventRow, "number INTEGER PRIMARY KEY"),
    "life": (Life, "pid INTEGER, incarnation INTEGER"),
    "region": (Region, "pid INTEGER, name TEXT"),
    "cell": (Cell, "pid INTEGER, region TEXT, key TEXT"),
    "lock": (Lock, "pid INTEGER, region TEXT, name TEXT"),
    "caller": (Caller, "name TEXT PRIMARY KEY"),
}
# Primary codes (sqlite.org/rescode.html) that no other start of the kernel will not meet again; SQLITE_ERROR is a table or a column that is not there.
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
DAEMON_RESTARTED = "the daemon was restarted"
_WAY_OUT = "; move it away to start anew (what it knew is lost)"
_META = "CREATE TABLE meta (boot_id TEXT NOT NULL, daemon TEXT NOT NULL, instance_key BLOB NOT NULL)"


def _way_out(error: Exception) -> str:
    """Say what to do about a file that is damaged; "" for an error of the machine, such as a full disk."""
    return _WAY_OUT if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _DAMAGED else ""


def _interruption(is_same_boot: bool, is_same_daemon: bool) -> str:
    """Say what ended everything since the journal was written; "" when a kernel of this very daemon wrote it."""
    if not is_same_boot:
        return "the machine was restarted"
    return "" if is_same_daemon else DAEMON_RESTARTED


def _columns(table: str) -> list[str]:
    return [column.split()[0] for column in _TABLES[table][1].split(", ")]


def _create(table: str) -> str:
    columns = _TABLES[table][1]
    key = "" if "PRIMARY KEY" in columns else f", PRIMARY KEY ({', '.join(_columns(table))})"
    without = " WITHOUT ROWID" if key else ""
    return f"CREATE TABLE {table} ({columns}, record BLOB NOT NULL{key}){without}"


def _upsert(table: str) -> str:
    return f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * (len(_columns(table)) + 1))})"  # noqa: S608  # a name of ours


def _delete(table: str) -> str:
    return f"DELETE FROM {table} WHERE {' AND '.join(f'{column} = ?' for column in _columns(table))}"  # noqa: S608  # names of ours


class Journal:
    """The file, opened for good."""

    def __init__(self, path: Path, *, boot_id: str, daemon: str) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._path = path
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # rule 4: no lock is taken or given back at a commit, no shared index
            self._connection.execute(f"PRAGMA page_size={PAGE_SIZE}")  # of a new file; another keeps its own
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise HostFailure(f'cannot read the journal "{path}": its schema is version {version}, this kernel knows {SCHEMA_VERSION}')
            if version == 0:
                self._make()
            elif version < SCHEMA_VERSION:
                self._migrate()
            meta = self._connection.execute("SELECT boot_id, daemon, instance_key FROM meta").fetchone()
            if meta is None:
                raise HostFailure(f'cannot open the journal "{path}": it does not say whose it is{_WAY_OUT}')
            last_boot, last_daemon, self.instance_key = meta
            self._connection.execute("UPDATE meta SET boot_id = ?, daemon = ?", (boot_id, daemon))
            self.interruption = _interruption(last_boot == boot_id, last_daemon == daemon)
        except (sqlite3.Error, OSError) as error:
            raise HostFailure(f'cannot open the journal "{path}": {error}{_way_out(error)}') from error
        self._upserts = {table: _upsert(table) for table in _TABLES}
        self._deletes = {table: _delete(table) for table in _TABLES}

    def _make(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(_META)
        self._connection.execute("INSERT INTO meta VALUES ('', '', ?)", (secrets.token_bytes(32),))
        for table in _TABLES:
            self._connection.execute(_create(table))
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._connection.execute("COMMIT")

    def _migrate(self) -> None:
        """Make what an older kernel did not have; its rows stay as they are, since new fields have defaults."""
        self._connection.execute("BEGIN IMMEDIATE")
        known = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in _TABLES.keys() - known:
            self._connection.execute(_create(table))
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._connection.execute("COMMIT")

    def rows(self) -> Iterator[Record]:
        """Read every record, table by table; raises HostFailure."""
        for table, (kind, _) in _TABLES.items():
            decoder = msgspec.msgpack.Decoder(kind)
            try:
                for (record,) in self._connection.execute(f"SELECT record FROM {table}"):  # noqa: S608  # a name of ours
                    yield decoder.decode(record)
            except sqlite3.Error as error:
                raise HostFailure(f'cannot read the journal "{self._path}": {error}{_way_out(error)}') from error
            except (msgspec.MsgspecError, TypeError) as error:  # TypeError: no bytes at all
                raise HostFailure(f'cannot read the journal "{self._path}": a record of "{table}" is damaged: {error}{_WAY_OUT}') from error

    def commit(self, rows: dict[tuple[str, object], Record | None]) -> None:
        """Write the rows of one turn, all or none."""
        if not rows:
            return
        execute = self._connection.execute
        encode = self._encoder.encode
        try:
            execute("BEGIN")
            for (table, key), record in rows.items():
                columns = key if isinstance(key, tuple) else (key,)
                if record is None:
                    execute(self._deletes[table], columns)
                else:
                    execute(self._upserts[table], (*columns, encode(record)))
                    if table == "event" and isinstance(key, int) and key % 1000 == 0:
                        execute("DELETE FROM event WHERE number <= ?", (key - EVENTS_KEPT,))
            execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise HostFailure(f'cannot write the journal "{self._path}": {error}{_way_out(error)}') from error

    def close(self) -> None:
        """Close the file, with its write-ahead log folded in."""
        self._connection.close()
