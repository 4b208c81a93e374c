"""The journal: the kernel's records as rows of one SQLite file, and the newest turns in front of it.

1. State is rows, not replay: a table a kind of record, its key as columns, the record as a msgpack map (new fields have defaults, so a newer kernel reads an
   older one's rows). ``PRAGMA user_version`` is the version of the schema; a file of a newer one is refused, not guessed at.
2. A turn is committed by appending its rows to the tail (tail.py), which takes one system call. They are folded into the file of rows when nothing else is to be
   done, a slice at a time, or when the tail gets long; what was made and removed in between never gets there. A row of the tail stands for the one of the file.
3. A commit survives the death of any process, at any instant. Against power loss the newest ones may be missing, but what is there is consistent: SQLite sees to
   that for its file (WAL with synchronous=NORMAL, sqlite.org/wal.html), and the tail follows without a gap or is not read.
4. The files hold the instance key, from which secrets are derived, and business data: mode 0600.
5. A disk that takes nothing (full, or failing) ends nothing: ``trouble`` says why before a turn is decided, so that nothing new is promised; turns that find no room even in what the tail keeps for
   them are held in memory, up to HELD_MOST bytes, and written as one when there is room.
6. A tail that is damaged in its middle (tail.py) is told (``damages``), and kept aside. What is missing there is not made up for: rows go on at the last whole turn before it, but for numbers that only
   grow and for history; and nothing that lives is taken for what these rows know (``interruption``).
7. The kernel has them to itself for all its life; who wants to look at them asks the kernel, or waits for its end: a kernel that stops folds everything.
"""

import contextlib
import math
import os
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from dadms_ipc.errors import HostFailure
from dadmsd.kernel.core.records import Child, Counters, Record
from dadmsd.kernel.core.state import EVENTS_KEPT
from dadmsd.kernel.core.tables import TABLES, columns_of
from dadmsd.kernel.salvage import salvage
from dadmsd.kernel.tail import ASIDE, Damage, Reading, Tail
from dadmsd.space import shortage
from dadmsd.stderr import say

SCHEMA_VERSION = 8  # 2: table "life"; 3: tables of shared context; 4: the tail, and threads in columns; 5: table "checkpoint"; 6: tables "tries" and "kept"; 7: table "grouped"; 8: table "talk"
FOLD_SECONDS = 1.0  # without a turn, after which the tail is folded: a kernel that waits for its next turn is not idle, and a row that each turn writes is folded once
FOLD_BYTES = 16 << 20  # of the tail, beyond which folding does not wait for that
SLICE_SECONDS = 0.0005  # of folding between two looks at who has come meanwhile
IN_PLACE_LEAST = 8 << 20  # bytes of a tail that is folded where it is, when the disk has no room for a new file
FOLD_RETRY_SECONDS = 5.0  # after a fold that failed: the disk may be full
HELD_MOST = 64 << 20  # bytes of rows that wait in memory for room; beyond it the kernel ends, and its successors wait for room
LOOK_SECONDS = 0.25  # between looks at a disk that takes nothing: nobody tells when there is room again
PAGE_SIZE = 1024  # bytes: a turn changes a row or two of each table, and pays for whole pages

Key = tuple[str, tuple[object, ...]]  # of a row: table and key columns
_turns = msgspec.msgpack.Decoder(list[tuple[str, list[Any], bytes | None]])
# Primary codes (sqlite.org/rescode.html) that no other start of the kernel will not meet again; SQLITE_ERROR is a table or a column that is not there.
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
DAEMON_RESTARTED = "the daemon was restarted"
JOURNAL_DAMAGED = "the journal was damaged"
_WAY_OUT = "; move it away to start anew (what it knew is lost)"
_META = "CREATE TABLE meta (boot_id TEXT NOT NULL, daemon TEXT NOT NULL, instance_key BLOB NOT NULL, folded INTEGER NOT NULL DEFAULT 0)"


def _way_out(error: Exception) -> str:
    """Say what to do about a file that is damaged; "" for an error of the machine, such as a full disk."""
    return _WAY_OUT if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _DAMAGED else ""


def _interruption(is_same_boot: bool, is_same_daemon: bool) -> str:
    """Say what ended everything since the journal was written; "" when a kernel of this very daemon wrote it."""
    if not is_same_boot:
        return "the machine was restarted"
    return "" if is_same_daemon else DAEMON_RESTARTED


def _create(table: str) -> str:
    columns, key = TABLES[table][1], columns_of(table)
    if len(key) == 1:
        return f"CREATE TABLE {table} ({columns} PRIMARY KEY, record BLOB NOT NULL)"
    return f"CREATE TABLE {table} ({columns}, record BLOB NOT NULL, PRIMARY KEY ({', '.join(key)})) WITHOUT ROWID"


def _upsert(table: str) -> str:
    return f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * (len(columns_of(table)) + 1))})"  # noqa: S608  # a name of ours


def _delete(table: str) -> str:
    return f"DELETE FROM {table} WHERE {' AND '.join(f'{column} = ?' for column in columns_of(table))}"  # noqa: S608  # names of ours


class Journal:
    """The file, opened for good."""

    def __init__(self, path: Path, *, boot_id: str, daemon: str) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._path = path
        self._tail = Tail(path)
        self._newest: dict[Key, bytes | None] = {}  # encoded rows of the tail that nobody folds yet; None: it was deleted
        self._written: list[tuple[str, tuple[object, ...], bytes | None]] = []  # rows of the newest turn, that are not among these yet
        self._folding: dict[Key, bytes | None] = {}  # those that are being folded
        self._left: Iterator[tuple[Key, bytes | None]] | None = None  # what is still to be done of them
        self._fold_at: float | None = None  # monotonic: when there is something to fold
        self._held: dict[Key, bytes | None] = {}  # rows that found no room
        self._held_bytes = 0
        self._trouble = ""  # why nothing new can be kept
        self._look_at = 0.0  # monotonic: when the disk is looked at again
        self._is_in_place = False  # no new file could be begun for what comes meanwhile
        self._folded_through = 0  # sequence of the last turn that is being folded
        self.damages: list[Damage] = []  # that were found
        self.strays: list[Child] = []  # children in what was left out: they may live
        self._upserts = {table: _upsert(table) for table in TABLES}
        self._deletes = {table: _delete(table) for table in TABLES}
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # rule 7: no lock is taken or given back at a commit, no shared index
            self._connection.execute(f"PRAGMA page_size={PAGE_SIZE}")  # of a new file; another keeps its own
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise HostFailure(f'cannot read the journal "{path}": its schema is version {version}, this kernel knows {SCHEMA_VERSION}')
            if version == 0:
                self._make()
            elif version < SCHEMA_VERSION:
                self._migrate(version)
            meta = self._connection.execute("SELECT boot_id, daemon, instance_key, folded FROM meta").fetchone()
            if meta is None:
                raise HostFailure(f'cannot open the journal "{path}": it does not say whose it is{_WAY_OUT}')
            last_boot, last_daemon, self.instance_key, self._sequence = meta
            if (last_boot, last_daemon) != (boot_id, daemon):  # else there may be no room for it, and no need
                self._connection.execute("UPDATE meta SET boot_id = ?, daemon = ?", (boot_id, daemon))
            self.interruption = _interruption(last_boot == boot_id, last_daemon == daemon)
            self._take_tail()
        except (sqlite3.Error, OSError) as error:
            raise HostFailure(f'cannot open the journal "{path}": {error}{_way_out(error)}') from error

    def _make(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(_META)
        self._connection.execute("INSERT INTO meta VALUES ('', '', ?, 0)", (secrets.token_bytes(32),))
        for table in TABLES:
            self._connection.execute(_create(table))
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._connection.execute("COMMIT")

    def _migrate(self, version: int) -> None:
        """Make what an older kernel did not have; its rows stay as they are, since new fields have defaults.

        Rows of threads had another form before version 4: no kernel can go on with those of another version, whose workers are gone.
        """
        self._connection.execute("BEGIN IMMEDIATE")
        known = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in TABLES.keys() - known:
            self._connection.execute(_create(table))
        if "folded" not in {column for _, column, *_ in self._connection.execute("PRAGMA table_info(meta)")}:
            self._connection.execute("ALTER TABLE meta ADD COLUMN folded INTEGER NOT NULL DEFAULT 0")
        for table in ("chunk", "batch", "results") if version < 4 else ():
            self._connection.execute(f"DELETE FROM {table}")  # noqa: S608  # a name of ours
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._connection.execute("COMMIT")

    def _take_tail(self) -> None:
        """Read the turns that follow the file of rows, and go on after them."""
        reading = self._tail.read(self._sequence)
        for sequence, payload in reading.turns:
            self._sequence = sequence
            for table, columns, record in self._decoded(sequence, payload):
                self._newest[(table, tuple(columns))] = record
        if reading.unfinished:
            say(
                f'kernel: the tail of the journal "{self._path}" ends in {reading.unfinished} bytes of a turn that was being written; they are left out'
            )
        if reading.damages:
            self._take_over(reading)
        elif self._newest:
            self._fold_at = time.monotonic() + FOLD_SECONDS

    def _decoded(self, sequence: int, payload: bytes) -> list[tuple[str, list[Any], bytes | None]]:
        try:
            return _turns.decode(payload)
        except msgspec.MsgspecError as error:
            raise HostFailure(f'cannot read the journal "{self._path}": turn {sequence} is damaged: {error}{_WAY_OUT}') from error

    def _take_over(self, reading: Reading) -> None:
        """Make rows of a damaged tail at once, and begin another: it is not gone on with."""
        self.damages = reading.damages
        left_out = [row for sequence, payload in reading.left_out for row in self._decoded(sequence, payload)]
        self._connection.execute("BEGIN IMMEDIATE")
        for (table, columns), record in self._newest.items():
            self._put(table, columns, record)
        self._newest = {}
        if reading.missing_through > self._sequence and not left_out:
            self._sequence = reading.missing_through
            self.interruption = self.interruption or JOURNAL_DAMAGED
        if left_out:
            self._sequence = reading.left_out[-1][0]
            self.interruption = self.interruption or JOURNAL_DAMAGED
            [counters] = [
                msgspec.msgpack.decode(row[0], type=Counters) for row in self._connection.execute("SELECT record FROM counters")
            ] or [Counters()]
            kept, self.strays = salvage(counters, left_out)
            for table, key, record in kept:
                self._put(table, tuple(key), record)
        self._connection.execute("UPDATE meta SET folded = ?", (self._sequence,))
        self._connection.execute("COMMIT")
        self._tail.set_aside(self.damages)

    def damage_words(self) -> list[str]:
        """Say of each damage where it is, and what it cost."""
        return [
            f'the journal is damaged: "{each.path}" at byte {each.place}: '
            + (
                f"turns {each.first} to {each.through} are missing, and so are their rows; what they knew is lost"
                if each.through
                else f"{each.left_out} bytes are left out, from turn {each.first} on; what they knew is lost"
                if each.left_out
                else "one bit was wrong and is put right; nothing is lost"
            )
            + f' (the file is kept as "{ASIDE}{each.path.name}")'
            for each in self.damages
        ]

    def rows(self) -> Iterator[Record]:
        """Read every record, table by table; raises HostFailure."""
        self.settle()
        for table, (kind, _) in TABLES.items():
            decoder = msgspec.msgpack.Decoder(kind)
            columns = ", ".join(columns_of(table))
            try:
                for *key, record in self._connection.execute(f"SELECT {columns}, record FROM {table}"):  # noqa: S608  # names of ours
                    if (table, tuple(key)) not in self._newest:
                        yield decoder.decode(record)
            except sqlite3.Error as error:
                raise HostFailure(f'cannot read the journal "{self._path}": {error}{_way_out(error)}') from error
            except (msgspec.MsgspecError, TypeError) as error:  # TypeError: no bytes at all
                raise HostFailure(f'cannot read the journal "{self._path}": a record of "{table}" is damaged: {error}{_WAY_OUT}') from error
        for (table, _), newest in self._newest.items():
            if newest is not None:
                yield msgspec.msgpack.decode(newest, type=TABLES[table][0])

    def commit(self, rows: dict[tuple[str, object], Record | None]) -> None:
        """Write the rows of one turn, all or none."""
        if not rows:
            return
        self.settle()
        encode = self._encoder.encode
        turn: list[tuple[str, tuple[object, ...], bytes | None]] = [
            (table, key if type(key) is tuple else (key,), None if record is None else encode(record))
            for (table, key), record in rows.items()
        ]
        if self._held:
            self._hold(turn, None)
            return
        try:
            self._append(turn)
        except OSError as error:
            self._hold(turn, error)

    def _append(self, turn: list[tuple[str, tuple[object, ...], bytes | None]]) -> None:
        self._tail.append(self._sequence + 1, self._encoder.encode(turn))
        self._sequence += 1
        self._written = turn

    def settle(self) -> None:
        """Note what the newest turn wrote, for whoever folds it; called when nobody waits for that turn any more."""
        if not self._written:
            return
        newest = self._newest
        for table, columns, record in self._written:
            newest[(table, columns)] = record
        self._written = []
        if self._left is None and not self.is_long:
            self._fold_at = time.monotonic() + FOLD_SECONDS

    # a disk that takes nothing

    def trouble(self) -> str:
        """Say why nothing new can be kept, "" when it can; looks for room, and writes what is held when there is some."""
        now = time.monotonic()
        if self._trouble and now < self._look_at:
            return self._trouble
        try:
            self._tail.secure(self._sequence + 1)
            if self._held:
                self._append([(table, columns, record) for (table, columns), record in self._held.items()])
                self._held, self._held_bytes = {}, 0
            self._trouble = ""
        except OSError as error:
            self._trouble = shortage(self._path.parent, error)
            self._look_at = now + LOOK_SECONDS
        return self._trouble

    @property
    def look_at(self) -> float | None:
        """Give the monotonic time at which ``trouble`` may have gone away, None while there is none."""
        return self._look_at if self._trouble else None

    @property
    def is_strained(self) -> bool:
        """Tell whether so much is held that nothing more should be begun."""
        return self._held_bytes > HELD_MOST // 2

    def _hold(self, turn: list[tuple[str, tuple[object, ...], bytes | None]], error: OSError | None) -> None:
        """Keep the rows of a turn in memory; raises HostFailure beyond the bound."""
        if error is not None:
            self._trouble = shortage(self._path.parent, error)
            self._look_at = time.monotonic() + LOOK_SECONDS
        for table, columns, record in turn:
            self._held_bytes += len(record or b"") - len(self._held.get((table, columns)) or b"")
            self._held[(table, columns)] = record
        if self._held_bytes > HELD_MOST:
            raise HostFailure(
                f'cannot write the journal "{self._path}": {self._trouble}; {self._held_bytes} bytes wait in memory, at most {HELD_MOST} may'
            )

    # folding

    def next_fold(self) -> float | None:
        """Give the monotonic time from which on there is something to fold, or None; a disk that takes nothing takes no rows either, unless the tail is what fills it."""
        self.settle()
        return self._fold_at if not self._trouble or self._tail.size > IN_PLACE_LEAST else None

    @property
    def is_long(self) -> bool:
        """Tell whether the tail is so long that folding does not wait for a quiet moment."""
        return self._tail.size > FOLD_BYTES

    def fold(self, seconds: float = SLICE_SECONDS) -> None:
        """Take a slice of the tail into the file of rows. What fails is tried again later: the tail has it."""
        end = time.monotonic() + seconds
        self.settle()
        try:
            if self._left is None:
                self._begin_fold()
            assert self._left is not None, "a fold without rows"
            for (table, columns), record in self._left:
                self._put(table, columns, record)
                if time.monotonic() >= end and not self._is_in_place:
                    return
            self._end_fold()
        except (sqlite3.Error, OSError) as error:
            with contextlib.suppress(sqlite3.Error):  # SQLite may have done it by itself
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            self._newest = {**self._folding, **self._newest}
            self._folding, self._left, self._is_in_place = {}, None, False
            self._fold_at = time.monotonic() + FOLD_RETRY_SECONDS
            say(f'kernel: cannot fold the journal "{self._path}": {error}; it is tried again')

    def _begin_fold(self) -> None:
        self._connection.execute("BEGIN")
        try:
            self._tail.rotate(self._sequence + 1)
        except OSError:
            if self._tail.size <= IN_PLACE_LEAST:
                raise
            self._is_in_place = True  # the tail itself may be what fills the disk: all of it at once, so that nothing is added meanwhile
        self._folding, self._newest = self._newest, {}
        self._left = iter(self._folding.items())
        self._folded_through = self._sequence

    def _put(self, table: str, columns: tuple[object, ...], record: bytes | None) -> None:
        if record is None:
            self._connection.execute(self._deletes[table], columns)
            return
        self._connection.execute(self._upserts[table], (*columns, record))
        if table == "event" and isinstance(number := columns[0], int) and number % 1000 == 0:
            self._connection.execute("DELETE FROM event WHERE number <= ?", (number - EVENTS_KEPT,))

    def _end_fold(self) -> None:
        self._connection.execute("UPDATE meta SET folded = ?", (self._folded_through,))
        self._connection.execute("COMMIT")
        self._folding, self._left = {}, None
        self._fold_at = time.monotonic() + FOLD_SECONDS if self._newest else None
        if self._is_in_place:
            self._is_in_place = False
            self._tail.empty()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # its log takes room as well
            self._look_at = 0.0
        else:
            self._tail.drop()

    def last_look(self) -> str:
        """Look for room once more; say what finds none and goes with this kernel, "" when everything is kept."""
        if self._held:
            self._look_at = 0.0
            self.trouble()
        if not self._held:
            return ""
        counts = Counter(table for table, _ in self._held)
        words = ", ".join(f"{count} of {table}" for table, count in sorted(counts.items()))
        return f"{len(self._held)} rows of the journal ({words}) found no room and are lost: {self._trouble}"

    def close(self) -> None:
        """Close the files, with the tail and SQLite's write-ahead log folded in."""
        self.last_look()
        self.settle()
        for _ in range(2):  # what is being folded, and what came meanwhile
            if self._left is not None or self._newest:
                self.fold(math.inf)
        self._tail.close()
        self._connection.close()
