"""The store's file: what was said to be kept is there afterwards, whatever happened in between."""

import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dadms_ipc.envelope import VERSION, Header, Kind, message_id
from dadmsd.bus.core.disk import Await, Bury, Keep, Kept, NotKept, Replay, Row, Settle, Tried
from dadmsd.bus.dates import Clock
from dadmsd.bus.store import FILE, NoStore, Store, open_store


def _id(number: int) -> bytes:
    return message_id(b"c" * 16, number)


def _keep(number: int, body: bytes = b"body") -> Keep:
    header = Header(VERSION, Kind.SEND, _id(number), "client/a", "1001/3", "t", b"", 0, 2)
    return Keep(Row(number, header, "1001", len(body), 5000.0, 4000.0, 1), body)


def _answer(store: Store | NoStore) -> list[Kept | NotKept]:
    end = time.monotonic() + 10
    while not (events := store.events()):
        assert time.monotonic() < end
        time.sleep(0.002)
    return events


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Give a function that closes the store and opens it again."""
    stores: list[Store] = []

    def again() -> Store:
        if stores:
            stores[-1].close()
        store, line = open_store(tmp_path, settled_most=100, clock=Clock("boot", 0.0))
        assert isinstance(store, Store)
        assert line == ""
        stores.append(store)
        return store

    yield again
    stores[-1].close()


def test_what_was_kept_is_found_again(reopen: Callable[[], Store]) -> None:
    """Rows in their order with their bodies, the letter with its reason, the outcomes, the tallies, and the last number."""
    store = reopen()
    store.write([_keep(2), _keep(1, b"one"), _keep(3), _keep(4), Tried(1, 3), Await(-1)])
    store.write([Settle(3, _id(3), "handled"), Bury(4, _id(4), 4500.0, 2, "why"), Settle(99, _id(99), "handled"), Await(-2)])
    tokens = [token for event in _answer(store) for token in event.tokens]
    while -2 not in tokens:
        tokens += [token for event in _answer(store) for token in event.tokens]
    assert tokens == [2, 1, 3, 4, -1, -2]
    assert store.body(1) == b"one"
    assert store.body(3) is None
    found = reopen().restored
    assert [(row.number, row.header.to, row.header.flags, row.address, row.attempts) for row in found.rows] == [
        (1, "1001/3", 2, "1001", 3),
        (2, "1001/3", 2, "1001", 1),
    ]
    [letter] = found.letters
    assert (letter.number, letter.reason, letter.died_at, letter.attempts, letter.size) == (4, "why", 4500.0, 2, 4)
    assert dict(found.settled) == {_id(3): "handled", _id(4): "dead"}
    assert {name: found.tallies[name] for name in ("kept", "handled", "dead")} == {"kept": 4, "handled": 1, "dead": 1}
    assert found.last_number == 4


def test_a_letter_is_replayed_in_one_transaction(reopen: Callable[[], Store]) -> None:
    """Its body goes to the new message; one that is not there is refused, and nothing changes."""
    store = reopen()
    store.write([_keep(1, b"old"), Bury(1, _id(1), 1.0, 1, "why"), Replay(_keep(2).row, 1)])
    assert _answer(store) == [Kept([1, 2])]
    assert (store.body(1), store.body(2)) == (None, b"old")
    store.write([Replay(_keep(3).row, 1), Settle(2, _id(2), "handled")])
    [refused] = _answer(store)
    assert isinstance(refused, NotKept)
    assert refused.tokens == [3]
    found = reopen().restored
    assert (found.rows, found.letters) == ([], [])
    assert (found.tallies["kept"], found.tallies["replayed"], found.tallies["handled"]) == (2, 1, 1)


def test_a_letter_that_was_handled_after_all_counts_once(reopen: Callable[[], Store]) -> None:
    """It leaves the dead."""
    store = reopen()
    store.write([_keep(1), Bury(1, _id(1), 1.0, 1, "why"), Settle(1, _id(1), "handled", was_letter=True)])
    _answer(store)
    tallies = reopen().restored.tallies
    assert (tallies["kept"], tallies["dead"], tallies["handled"]) == (1, 0, 1)


def test_what_is_written_counts_whatever_else_fails(tmp_path: Path, reopen: Callable[[], Store]) -> None:
    """A batch that cannot be kept is refused with the reason; what took something away in it is done all the same."""
    store = reopen()
    store.write([_keep(1)])
    _answer(store)
    store.write([_keep(1), Settle(1, _id(1), "handled")])
    [refused] = _answer(store)
    assert isinstance(refused, NotKept)
    assert "UNIQUE constraint failed" in refused.reason
    assert reopen().restored.rows == []
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    """With a line that says so; the bus begins anew."""
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    store, line = open_store(tmp_path, settled_most=100, clock=Clock("boot", 0.0))
    assert isinstance(store, Store)
    store.close()
    assert "damaged" in line
    [aside] = [path for path in tmp_path.iterdir() if path.name.startswith(f"{FILE}.damaged-")]
    assert aside.read_bytes().startswith(b"no database")


def test_a_file_that_was_removed_under_an_earlier_bus_is_told_by_what_it_left_behind(tmp_path: Path) -> None:
    """Its write-ahead log, which no bus leaves that ended in order."""
    (tmp_path / f"{FILE}-wal").write_bytes(bytes(4096))
    store, line = open_store(tmp_path, settled_most=100, clock=Clock("boot", 0.0))
    assert isinstance(store, Store)
    store.write([_keep(1)])
    assert [type(event) for event in _answer(store)] == [Kept]
    store.close()
    assert line == f'"{tmp_path / FILE}" was removed under an earlier bus: the messages and dead letters in it are lost'
    store, line = open_store(tmp_path, settled_most=100, clock=Clock("boot", 0.0))
    assert isinstance(store, Store)
    assert ([row.number for row in store.restored.rows], line) == ([1], "")
    store.close()


def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    """The bus goes on without a store, and refuses with the reason."""
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    store, line = open_store(tmp_path, settled_most=100, clock=Clock("boot", 0.0))
    assert isinstance(store, NoStore)
    assert "its schema is version 99, this bus knows 1" in line
    store.write([_keep(1), Tried(1, 1), Await(-1)])
    [refused] = _answer(store)
    assert isinstance(refused, NotKept)
    assert refused.tokens == [1, -1]
    assert "version 99" in refused.reason
    store.write([Tried(1, 1)])
    assert (store.events(), store.body(1), store.restored) == ([], None, None)
    store.close()


@pytest.mark.parametrize("set_by", [10_800.0, -10_800.0])
def test_a_clock_that_is_set_within_a_boot_moves_nobodys_expiry(tmp_path: Path, set_by: float) -> None:
    """What is left of an expiry is the same by the steady clock; after a reboot dates are what they say."""
    store, _ = open_store(tmp_path, settled_most=100, clock=Clock("boot", 4000.0))
    store.write([_keep(1), Bury(1, _id(1), 4500.0, 2, "why"), _keep(2), Await(-1)])
    while not any(-1 in event.tokens for event in _answer(store)):
        pass
    store.close()
    for clock, expires_at in (
        (Clock("boot", 4000.5), 5000.0),
        (Clock("boot", 4000.0 + set_by), 5000.0 + set_by),
        (Clock("next boot", 9.0), 5000.0 + set_by),
        (Clock("next boot", 19.0), 5010.0 + set_by),
    ):
        store, line = open_store(tmp_path, settled_most=100, clock=clock)
        assert (isinstance(store, Store), line) == (True, "")
        assert store.restored is not None
        assert [row.expires_at for row in store.restored.rows] == [expires_at]
        assert [(letter.stored_at, letter.died_at) for letter in store.restored.letters] == [(expires_at - 1000.0, expires_at - 500.0)]
        store.close()
