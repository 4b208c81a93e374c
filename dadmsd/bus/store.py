"""The bus's journal: messages on disk, dead letters, what became of ids, and the tallies, as rows of one SQLite file, ``bus.db`` of the state directory.

1. The bus alone opens it. One thread writes: it takes all that waits, commits that together with fsync (WAL, synchronous=FULL), and only then says ``Kept``. So
   what was acknowledged survives the death of any process and the loss of power, and routing never waits for the disk.
2. An outcome is counted in the transaction that takes its row away. What cannot be written is tried again; a message that cannot be is ``NotKept``.
3. ``PRAGMA user_version`` is the version of the schema. A file that is damaged is set aside under another name, and said aloud; with one of a newer version, or
   without any, the bus goes on and refuses what it would have to put on disk.
4. The file holds business data: mode 0600.
5. A clock that is set moves nobody's expiry (dates.py).
"""

import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from dadms_ipc.envelope import VERSION, Flag, Header, Kind
from dadms_ipc.errors import HostFailure
from dadmsd.bus.core.disk import Await, Bury, Durable, Keep, Kept, Letter, NotKept, Replay, Restored, Row, Settle, Tried
from dadmsd.bus.core.keeping import DEAD, DECLINED
from dadmsd.bus.core.letters import ENDS
from dadmsd.bus.dates import Clock, hold
from dadmsd.space import shortage

SCHEMA_VERSION = 1
FILE = "bus.db"
RETRY_PAUSE = 1.0  # seconds before what could not be written is tried again
SETTLED_KEPT = 600.0  # seconds that the outcome of an id is remembered: as long as the kernel remembers its answers
LAST_NUMBER = "last number"  # among the tallies: a number is never used again
PRUNE_INTERVAL = 60.0  # seconds between two looks for older ones
CLOSE_TIMEOUT = 5.0  # seconds for the last commit

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)  # SQLITE_ERROR: a table or a column that is not there
_SCHEMA = (
    """CREATE TABLE message (number INTEGER PRIMARY KEY, id BLOB NOT NULL, address TEXT NOT NULL, sender TEXT NOT NULL, receiver TEXT NOT NULL, topic TEXT NOT NULL,
    flags INTEGER NOT NULL, expires_at REAL NOT NULL, stored_at REAL NOT NULL, attempts INTEGER NOT NULL, died_at REAL, reason TEXT, body BLOB NOT NULL)""",
    "CREATE TABLE settled (id BLOB PRIMARY KEY, outcome TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX settled_at ON settled (at)",
    "CREATE TABLE tally (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID",
)
_INSERT = "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, ?)"
_COPY = "INSERT INTO message SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, body FROM message WHERE number = ?"
_COUNT = "INSERT INTO tally VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET count = count + excluded.count"
_REMEMBER = "INSERT OR REPLACE INTO settled VALUES (?, ?, ?)"


class Store:
    """The file, open for good, and the thread that writes it."""

    def __init__(self, path: Path, *, settled_most: int, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._events: deque[Kept | NotKept] = deque()
        self._work: queue.SimpleQueue[Sequence[Durable] | None] = queue.SimpleQueue()
        self._backlog: list[Durable] = []  # of the thread: what failed and must not be lost
        self._tallies: dict[str, int] = {}
        self._highest = 0  # number of any message so far
        self._pruned = time.monotonic()
        self._directory = path.parent
        self._connection = _open(path)
        hold(self._connection, clock)
        self._reader = sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True, isolation_level=None)
        self.restored = self._restore(settled_most)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="bus store", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Give the descriptor that is readable when `events` has something."""
        return self._wake

    def write(self, effects: Sequence[Durable]) -> None:
        """Have this written, in order, soon."""
        self._work.put(effects)

    def events(self) -> list[Kept | NotKept]:
        """Give what has been written, or could not be."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        taken = []
        while self._events:
            taken.append(self._events.popleft())
        return taken

    def body(self, number: int) -> bytes | None:
        """Read the body of a message or a letter; None when it cannot be read."""
        try:
            row = self._reader.execute("SELECT body FROM message WHERE number = ?", (number,)).fetchone()
        except sqlite3.Error:
            return None
        return None if row is None else row[0]

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._work.put(None)
        self._thread.join(CLOSE_TIMEOUT)
        self._reader.close()
        if not self._thread.is_alive():
            self._connection.close()
            os.close(self._wake)

    # at the start

    def _restore(self, settled_most: int) -> Restored:
        execute = self._connection.execute
        rows, letters = [], []
        columns = "number, id, address, sender, receiver, topic, flags, expires_at, stored_at, attempts, died_at, reason, length(body)"
        for row in execute(f"SELECT {columns} FROM message ORDER BY number"):  # noqa: S608  # names of ours
            number, identifier, address, sender, receiver, topic, flags, expires_at, stored_at, attempts, died_at, reason, size = row
            header = Header(VERSION, Kind.SEND, identifier, sender, receiver, topic, b"", 0, flags & ~Flag.RETRY)
            if died_at is None:
                rows.append(Row(number, header, address, size, expires_at, stored_at, attempts))
            else:
                letters.append(Letter(number, header, address, size, stored_at, died_at, attempts, reason))
        settled = list(execute("SELECT id, outcome FROM settled ORDER BY at DESC LIMIT ?", (settled_most,)))
        tallies = dict(execute("SELECT name, count FROM tally"))
        letters.sort(key=lambda letter: letter.died_at)
        last = max([tallies.get(LAST_NUMBER, 0), *(row.number for row in rows), *(letter.number for letter in letters)])
        return Restored(rows, letters, list(reversed(settled)), tallies, last)

    # in the thread

    def _run(self) -> None:
        while True:
            batch = self._gather()
            if batch is None:
                return
            self._commit(batch)

    def _gather(self) -> list[Durable] | None:
        """Wait for something to write, and take all there is."""
        try:
            first = self._work.get(timeout=RETRY_PAUSE if self._backlog else None)
        except queue.Empty:
            return []
        batch: list[Durable] = []
        while True:
            if first is None:
                if batch or self._backlog:
                    self._commit(batch)
                return None
            batch += first
            try:
                first = self._work.get_nowait()
            except queue.Empty:
                return batch

    def _commit(self, batch: list[Durable]) -> None:
        everything = [*self._backlog, *batch]
        reason = self._try(everything)
        if not reason:
            self._backlog = []
            self._say(Kept(_tokens(batch)))
            return
        tokens = _tokens(batch)
        if tokens:
            self._say(NotKept(tokens, reason))
        self._backlog = [one for one in everything if type(one) in (Tried, Settle, Bury)]
        if self._backlog and len(self._backlog) < len(everything) and not self._try(self._backlog):
            self._backlog = []

    def _say(self, event: Kept | NotKept) -> None:
        if event.tokens:
            self._events.append(event)
            os.eventfd_write(self._wake, 1)

    def _try(self, effects: list[Durable]) -> str:
        """Write everything in one transaction, or nothing; gives the reason why not."""
        execute = self._connection.execute
        self._tallies = {}
        try:
            execute("BEGIN IMMEDIATE")
            for effect in effects:
                self._write(effect)
            for name, count in self._tallies.items():
                execute(_COUNT, (name, count))
            if self._highest:
                execute("INSERT OR REPLACE INTO tally VALUES (?, ?)", (LAST_NUMBER, self._highest))
            now = time.monotonic()
            if now - self._pruned >= PRUNE_INTERVAL:
                self._pruned = now
                execute("DELETE FROM settled WHERE at < ?", (self._clock.date() - SETTLED_KEPT,))
            execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            if self._connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    execute("ROLLBACK")
            return f"cannot keep it: {shortage(self._directory, error)}"
        return ""

    def _write(self, effect: Durable) -> None:
        _WRITERS[type(effect)](self, effect)

    def _count(self, name: str, by: int = 1) -> None:
        self._tallies[name] = self._tallies.get(name, 0) + by

    def _keep(self, effect: Keep) -> None:
        self._highest = max(self._highest, effect.row.number)
        self._connection.execute(_INSERT, (*_columns(effect.row), memoryview(effect.body)))  # type: ignore[arg-type]  # bytes or a zmq.Frame: both have a buffer
        self._count("kept")

    def _replay(self, effect: Replay) -> None:
        self._highest = max(self._highest, effect.row.number)
        copied = self._connection.execute(_COPY, (*_columns(effect.row), effect.letter)).rowcount
        if copied != 1:
            raise sqlite3.DataError(f"the body of dead letter {effect.letter} is not there")
        self._connection.execute("DELETE FROM message WHERE number = ?", (effect.letter,))
        self._count("kept")
        self._count("replayed")

    def _tried(self, effect: Tried) -> None:
        self._connection.execute("UPDATE message SET attempts = ? WHERE number = ?", (effect.attempts, effect.number))

    def _settle(self, effect: Settle) -> None:
        if not self._connection.execute("DELETE FROM message WHERE number = ?", (effect.number,)).rowcount:
            return  # it never came to disk
        self._count(effect.outcome)
        if effect.outcome in ENDS:
            return
        if effect.was_letter:
            self._count(DEAD, -1)
        if effect.outcome != DECLINED:
            self._remember(effect.identifier, effect.outcome)

    def _bury(self, effect: Bury) -> None:
        changed = self._connection.execute(
            "UPDATE message SET died_at = ?, attempts = ?, reason = ? WHERE number = ?",
            (effect.died_at, effect.attempts, effect.reason, effect.number),
        ).rowcount
        if changed:
            self._count(DEAD)
            self._remember(effect.identifier, DEAD)

    def _remember(self, identifier: bytes, outcome: str) -> None:
        self._connection.execute(_REMEMBER, (identifier, outcome, self._clock.date()))

    def _nothing(self, _effect: Await) -> None:
        return


_WRITERS: dict[type, Callable[..., None]] = {
    Keep: Store._keep,  # a table of our own methods
    Replay: Store._replay,
    Tried: Store._tried,
    Settle: Store._settle,
    Bury: Store._bury,
    Await: Store._nothing,
}


class NoStore:
    """Stands where there is no file: nothing can be put on disk, and everything else goes on."""

    restored = None

    def __init__(self, reason: str) -> None:
        self._reason = reason
        self._events: deque[Kept | NotKept] = deque()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """Give the descriptor that is readable when `events` has something."""
        return self._wake

    def write(self, effects: Sequence[Durable]) -> None:
        """Refuse it."""
        tokens = _tokens(effects)
        if tokens:
            self._events.append(NotKept(tokens, self._reason))
            os.eventfd_write(self._wake, 1)

    def events(self) -> list[Kept | NotKept]:
        """Give the refusals."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        taken = list(self._events)
        self._events.clear()
        return taken

    def body(self, _number: int) -> bytes | None:
        """Give nothing: nothing was kept."""
        return None

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._wake)


def open_store(directory: Path, *, settled_most: int, clock: Clock) -> tuple[Store | NoStore, str]:
    """Open the store of a state directory; gives a line for the log when there is something to say."""
    path = directory / FILE
    line = ""
    if not path.exists() and path.with_name(f"{FILE}-wal").exists():  # which a bus that ends in order folds and removes
        line = f'"{path}" was removed under an earlier bus: the messages and dead letters in it are lost'
    try:
        try:
            return Store(path, settled_most=settled_most, clock=clock), line
        except sqlite3.Error as error:
            if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF not in _DAMAGED:
                raise
            aside = path.with_name(f"{FILE}.damaged-{int(time.time())}")
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
            line = f'set "{path}" aside as "{aside.name}", with the messages in it: it is damaged ({error})'
            return Store(path, settled_most=settled_most, clock=clock), line
    except (sqlite3.Error, OSError, HostFailure) as error:
        reason = f"cannot keep it: {shortage(directory, error)}"
        return NoStore(reason), f"goes on without a store, and refuses messages to receivers that are not there: {reason}"


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)  # made here, used by the thread alone afterwards
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        connection.close()
        raise HostFailure(f"its schema is version {version}, this bus knows {SCHEMA_VERSION}")
    if version == 0:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    return connection


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _columns(row: Row) -> tuple[object, ...]:
    head = row.header
    return (row.number, head.id, row.address, head.sender, head.to, head.topic, head.flags, row.expires_at, row.stored_at, row.attempts)


def _tokens(effects: Sequence[Durable]) -> list[int]:
    """Give what is answered: the numbers of messages, and what was awaited."""
    return [one.token if isinstance(one, Await) else one.row.number for one in effects if isinstance(one, Keep | Replay | Await)]
