"""Dates on disk, held against a wall clock that somebody sets.

1. A running bus reckons by the steady clock alone. A date on disk is a time of that clock and what the wall clock was ahead of it when the bus began.
2. That is on disk as well, with the id of the boot. A bus that begins within the same boot, and finds the wall clock set meanwhile, moves every date by as much:
   what had ten minutes left has them still.
3. After a reboot nobody knows what the steady clock was, and dates are taken as they are.
"""

import contextlib
import sqlite3
import time
from typing import NamedTuple

LEAST = 1.0  # seconds: less is the clock being disciplined (adjtime(3)), and not worth a transaction at each start

_TABLE = "CREATE TABLE IF NOT EXISTS clock (boot_id TEXT NOT NULL, ahead REAL NOT NULL)"
_MOVES = (
    "UPDATE message SET expires_at = expires_at + ?1, stored_at = stored_at + ?1, died_at = died_at + ?1",
    "UPDATE settled SET at = at + ?1",
)


class Clock(NamedTuple):
    """The wall clock as it was when the bus began."""

    boot_id: str
    ahead: float  # seconds, of the steady clock

    def date(self) -> float:
        """Give the date of now."""
        return time.monotonic() + self.ahead


def hold(connection: sqlite3.Connection, clock: Clock) -> None:
    """Move the dates of a file if the clock was set; what finds no room on the disk is left for the next start. Raises sqlite3.Error for a damaged file."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_TABLE)
        known = connection.execute("SELECT boot_id, ahead FROM clock").fetchone()
        if known is None or known[0] != clock.boot_id or abs(clock.ahead - known[1]) >= LEAST:
            if known is not None and known[0] == clock.boot_id:
                for move in _MOVES:
                    connection.execute(move, (clock.ahead - known[1],))
            connection.execute("DELETE FROM clock")
            connection.execute("INSERT INTO clock VALUES (?, ?)", clock)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise
