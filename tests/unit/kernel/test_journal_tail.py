"""The newest turns in front of the file of rows: what is there after a death at any instant, and when the disk is full."""

import errno
import math
import os
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dadms_ipc.errors import HostFailure
from dadmsd.kernel import journal as journal_module
from dadmsd.kernel.core.records import Cell, Counters, Record
from dadmsd.kernel.frames import MAGIC
from dadmsd.kernel.journal import HELD_MOST, Journal
from dadmsd.kernel.tail import LEAST, Tail

TURNS = 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kernel.db"


def opened(path: Path) -> Journal:
    return Journal(path, boot_id="boot", daemon="daemon")


def cell(number: int, value: bytes = b"\xc0") -> dict[tuple[str, object], Record | None]:
    record = Cell(pid=1001, region="r", key=f"k{number}", value=value, version=number)
    return {("cell", (1001, "r", record.key)): record}


def turn(number: int) -> dict[tuple[str, object], Record | None]:
    """Two rows that belong together, and the end of one that came three turns before."""
    rows: dict[tuple[str, object], Record | None] = {**cell(number), ("counters", 0): Counters(next_tid=number)}
    if number > 3:
        rows["cell", (1001, "r", f"k{number - 3}")] = None
    return rows


def found(path: Path) -> tuple[int, set[int]]:
    """Give the turn that the journal stands at, and the cells that it has."""
    journal = opened(path)
    records = list(journal.rows())
    journal.close()
    reached = [record.next_tid for record in records if isinstance(record, Counters)]
    return (reached[0] if reached else 0), {record.version for record in records if isinstance(record, Cell)}


def found_beside(path: Path) -> tuple[int, set[int]]:
    """Give the same as a kernel that follows would find it now, while this one has the files to itself."""
    copy = path.parent.with_name(f"{path.parent.name}-copy")
    shutil.copytree(path.parent, copy)
    return found(copy / path.name)


def cells_after(number: int) -> set[int]:
    return set(range(max(1, number - 2), number + 1))


def killed(act: Callable[[], None]) -> None:
    """Have it done by a process that ends without a word: no descriptor is closed in order, no transaction ended."""
    child = os.fork()
    if not child:
        try:
            act()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Have every write beyond this many bytes of a file fail, as on a disk that is full (setrlimit(2), RLIMIT_FSIZE)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def only_tail(path: Path) -> Path:
    [tail] = path.parent.glob("kernel.tail-*")
    return tail


def test_what_was_committed_is_there_after_a_kill(path: Path) -> None:
    def work() -> None:
        journal = opened(path)
        for number in range(1, TURNS + 1):
            journal.commit(turn(number))

    killed(work)
    assert found(path) == (TURNS, cells_after(TURNS))


def test_a_journal_that_is_closed_has_no_tail(path: Path) -> None:
    journal = opened(path)
    for number in range(1, TURNS + 1):
        journal.commit(turn(number))
    journal.close()
    assert not list(path.parent.glob("kernel.tail-*"))
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM cell").fetchone() == (3,)
    connection.close()


def test_a_tail_that_ends_anywhere_is_read_up_to_its_last_whole_turn(path: Path) -> None:
    """A turn is there with all its rows or with none, wherever the write was cut."""

    def work() -> None:
        journal = opened(path)
        for number in range(1, 6):
            journal.commit(turn(number))

    killed(work)
    whole = only_tail(path).read_bytes().rstrip(b"\0") + bytes(40)  # all that was written, and something of the room beyond it
    rows = path.read_bytes()
    reached = []
    for length in range(len(whole) + 1):
        for each in path.parent.iterdir():
            each.unlink()
        path.write_bytes(rows)
        (path.parent / "kernel.tail-00000000000000000001").write_bytes(whole[:length])
        number, cells = found(path)
        assert cells == (cells_after(number) if number else set())
        reached.append(number)
    assert reached == sorted(reached)
    assert set(reached) == set(range(6))


@pytest.mark.parametrize("slices", range(14))
def test_a_kill_in_the_middle_of_folding_loses_nothing(path: Path, slices: int) -> None:
    """After any number of rows, and with turns that are committed meanwhile."""

    def work() -> None:
        journal = opened(path)
        for number in range(1, 4):
            journal.commit(turn(number))
        for number in range(slices):
            if journal.next_fold() is not None:
                journal.fold(0.0)
            journal.commit(turn(4 + number))

    killed(work)
    assert found(path) == (3 + slices, cells_after(3 + slices))
    assert found(path) == (3 + slices, cells_after(3 + slices))


def test_what_came_and_went_between_two_folds_is_never_a_row(path: Path) -> None:
    journal = opened(path)
    for number in range(1, TURNS + 1):
        journal.commit(turn(number))
    assert len(list(path.parent.glob("kernel.tail-*"))) == 1
    while journal.next_fold() is not None:
        journal.fold(0.0)
    assert only_tail(path).read_bytes().rstrip(b"\0") == MAGIC
    journal.commit(turn(TURNS + 1))
    journal.close()
    assert found(path) == (TURNS + 1, cells_after(TURNS + 1))


def test_turns_that_find_no_room_are_held_and_written_when_there_is_some(path: Path) -> None:
    journal = opened(path)
    journal.commit(turn(1))
    with file_size_limit(4096):
        journal.commit(cell(99, msgpack_of(8192)))
        assert journal.trouble().startswith(f'file too large ("{path.parent}": ')
        journal.commit(turn(2))
        assert journal.look_at is not None
    assert found_beside(path) == (1, {1})
    while journal.trouble():  # it is looked at now and then
        pass
    journal.commit(turn(3))
    journal.close()
    assert found(path) == (3, {1, 2, 3, 99})


def test_what_is_held_has_a_bound(path: Path) -> None:
    journal = opened(path)
    journal.commit(turn(1))
    with file_size_limit(4096):
        many = HELD_MOST // 60_100  # each row has some bytes beside its value
        strained = []
        for number in range(many):
            journal.commit(cell(100 + number, msgpack_of(60_000)))
            strained.append(journal.is_strained)
        assert strained == sorted(strained)
        assert 0.4 * many < sum(strained) < 0.6 * many
        with pytest.raises(HostFailure, match="bytes wait in memory, at most"):
            journal.commit({**cell(9, msgpack_of(60_000)), **cell(8, msgpack_of(60_000))})
    journal.close()
    assert found(path)[1] == {1, 8, 9, *range(100, 100 + many)}, "there is room at the end"


def test_a_kernel_that_follows_goes_on_in_the_room_that_its_predecessor_had(path: Path) -> None:
    def work() -> None:
        journal = opened(path)
        for number in range(1, 4):
            journal.commit(turn(number))

    killed(work)
    tail = only_tail(path)
    room = tail.stat().st_blocks
    assert room * 512 >= LEAST
    following = opened(path)
    following.commit(turn(4))
    assert only_tail(path) == tail
    assert tail.stat().st_blocks == room
    del following
    assert found_beside(path) == (4, cells_after(4))


def msgpack_of(size: int) -> bytes:
    return b"\xc5" + size.to_bytes(2, "big") + bytes(size)


def test_a_fold_that_fails_is_tried_again_and_the_tail_has_it_meanwhile(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    journal = opened(path)
    for number in range(1, 4):
        journal.commit(cell(number, msgpack_of(60_000)))
    with file_size_limit(100_000):
        for _ in range(100):
            journal.fold(1.0)
            if "cannot fold" in (said := capfd.readouterr().err):
                break
    assert "it is tried again" in said
    journal.commit(turn(7))
    journal.close()
    assert found(path) == (7, {1, 2, 3, 7})


def test_a_file_that_was_begun_and_has_no_word_in_it_hides_nobody(path: Path) -> None:
    """Its kernel died between two system calls; the next one goes on in the file before it, dies as well, and after a fold nothing of that is lost."""

    def work() -> None:
        journal = opened(path)
        journal.commit(turn(1))

    killed(work)
    (path.parent / "kernel.tail-00000000000000000002").write_bytes(bytes(4096))

    def go_on() -> None:
        journal = opened(path)
        journal.commit(turn(2))
        while journal.next_fold() is not None:
            journal.fold(math.inf)
        journal.commit(turn(3))

    killed(go_on)
    assert found(path) == (3, {1, 2, 3})


def test_a_tail_that_fills_the_disk_itself_is_folded_where_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no room for a new file; what came and went gives its room back."""
    journal = opened(path)
    large = msgpack_of(60_000)
    for number in range(1, 40):
        journal.commit({**cell(number, large), **({("cell", (1001, "r", f"k{number - 1}")): None} if number > 1 else {})})
    journal.commit(turn(7))
    size = sum(each.stat().st_size for each in path.parent.glob("kernel.tail-*"))

    def refuse(_tail: Tail, _sequence: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Tail, "rotate", refuse)
    monkeypatch.setattr(journal_module, "IN_PLACE_LEAST", 1 << 20)
    journal.fold(0.0)
    assert journal.next_fold() is None
    assert sum(each.stat().st_size for each in path.parent.glob("kernel.tail-*")) < size // 10
    assert journal.trouble() == ""
    journal.commit(turn(8))
    journal.close()
    number, cells = found(path)
    assert number == 8
    assert cells == {39, 7, 8}
