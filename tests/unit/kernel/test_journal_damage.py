"""A tail that is damaged: one wrong bit costs nothing, anything else is told with its place, and what is in front of it and what only grows are kept."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dadms_ipc.requests import EventInfo
from dadmsd.kernel.core.records import Cell, Child, Counters, EventRow
from dadmsd.kernel.frames import HEADER, MAGIC, read
from dadmsd.kernel.journal import JOURNAL_DAMAGED, Journal
from dadmsd.kernel.tail import ASIDE
from tests.unit.kernel.test_journal_tail import cell, found, killed, only_tail, opened, turn

TURNS = 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a journal whose kernel was killed with some turns in its tail."""
    made = tmp_path / "state" / "kernel.db"
    made.parent.mkdir()

    def work() -> None:
        journal = opened(made)
        for number in range(1, TURNS + 1):
            journal.commit({**turn(number), ("event", number): EventRow(number=number, info=EventInfo(number, 0.0, 0, "note", "", None))})

    killed(work)
    return made


def places(content: bytes | bytearray) -> list[int]:
    """Give where each frame begins, and where the last one ends."""
    found, place = [len(MAGIC)], len(MAGIC)
    for _ in range(TURNS):
        place += HEADER.size + HEADER.unpack_from(content, place)[1]
        found.append(place)
    return found


def damaged(path: Path, act: Callable[[bytearray], None]) -> Path:
    """Give a copy of the journal that somebody did something to; earlier copies go."""
    copy = path.parent.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(path.parent, copy)
    tail = only_tail(copy / path.name)
    content = bytearray(tail.read_bytes())
    act(content)
    tail.write_bytes(content)
    return copy / path.name


def told(path: Path) -> tuple[int, set[int], list[str], str]:
    """Open it; give the turn that it stands at, its cells, what is said of damages, and what ended everything."""
    journal = opened(path)
    rows = list(journal.rows())
    numbers = [record.next_tid for record in rows if isinstance(record, Counters)]
    cells = {record.version for record in rows if isinstance(record, Cell)}
    words = journal.damage_words()
    interruption = journal.interruption
    journal.close()
    return numbers[0], cells, words, interruption


def test_any_one_bit_of_a_tail_that_is_wrong_is_put_right(path: Path) -> None:
    """Every bit of the file, up to the end of its last frame."""
    content = only_tail(path).read_bytes()[: 1 << 14]
    whole = [frame.payload for frame in read(content, 1)]
    assert len(whole) == TURNS
    for bit in range(len(MAGIC) * 8, places(content)[-1] * 8):
        wrong = bytearray(content)
        wrong[bit // 8] ^= 1 << bit % 8
        frames = list(read(bytes(wrong), 1))
        assert [frame.payload for frame in frames] == whole, f"bit {bit % 8} of byte {bit // 8}"
        assert [frame.sequence for frame in frames] == [1, 2, 3, 4, 5]
        assert sum(frame.is_mended for frame in frames) == 1


@pytest.mark.parametrize("bit", [*range(0, len(MAGIC) * 8, 25), *range(len(MAGIC) * 8, 3000, 59)])
def test_one_bit_that_is_wrong_costs_nothing_and_is_told(path: Path, bit: int) -> None:
    def flip(content: bytearray) -> None:
        assert bit < places(content)[-1] * 8
        content[bit // 8] ^= 1 << bit % 8

    number, cells, [line], interruption = told(damaged(path, flip))
    assert (number, cells, interruption) == (TURNS, {3, 4, 5}, "")
    assert "one bit was wrong and is put right; nothing is lost" in line


def test_a_bit_in_the_room_beyond_the_end_is_nothing(path: Path) -> None:
    def flip(content: bytearray) -> None:
        content[places(content)[-1] + 1000] ^= 1

    assert told(damaged(path, flip)) == (TURNS, {3, 4, 5}, [], "")


@pytest.mark.parametrize("broken", range(TURNS - 1))
@pytest.mark.parametrize("offset", [0, 9, 13, 20, 40])
def test_more_than_a_bit_is_told_with_its_place_and_the_file_is_kept(path: Path, broken: int, offset: int) -> None:
    """The rows are those of the last whole turn before it; numbers that only grow and events are the newest."""
    where = places(only_tail(path).read_bytes())

    def smash(content: bytearray) -> None:
        content[where[broken] + offset] ^= 0xFF

    copy = damaged(path, smash)
    was = only_tail(copy).read_bytes()
    journal = opened(copy)
    assert journal.interruption == JOURNAL_DAMAGED
    [line] = journal.damage_words()
    kept = copy.parent / f"{ASIDE}kernel.tail-{1:020d}"
    assert line == (
        f'the journal is damaged: "{copy.parent}/kernel.tail-{1:020d}" at byte {where[broken]}: {where[-1] - where[broken]} bytes are left out, '
        f'from turn {broken + 1} on; what they knew is lost (the file is kept as "{kept.name}")'
    )
    assert kept.read_bytes() == was
    rows = list(journal.rows())
    assert {record.version for record in rows if isinstance(record, Cell)} == set(range(max(1, broken - 2), broken + 1))
    assert [record.next_tid for record in rows if isinstance(record, Counters)] == [TURNS], "a number was given twice"
    assert {record.number for record in rows if isinstance(record, EventRow)} == {*range(1, TURNS + 1)} - {broken + 1}
    journal.commit(cell(77))
    journal.close()
    number, cells, words, interruption = told(copy)
    assert (number, words, interruption) == (TURNS, [], ""), "told once"
    assert 77 in cells


def test_children_that_only_left_out_turns_know_are_known_as_strays(path: Path) -> None:
    def work() -> None:
        journal = opened(path)
        journal.commit({("child", "1001.1"): Child(name="1001.1", role="main", parent="base", os_pid=4711)})

    killed(work)
    where = places(only_tail(path).read_bytes())

    def smash(content: bytearray) -> None:
        content[where[2] + 30 : where[2] + 34] = b"\xff" * 4

    journal = opened(damaged(path, smash))
    assert [stray.os_pid for stray in journal.strays] == [4711]
    journal.close()


def test_a_file_of_the_tail_that_is_missing_is_told(path: Path) -> None:
    """As after a power loss that took a commit of the rows, and not the end of the file that it had replaced."""

    def work() -> None:
        journal = opened(path)
        journal.fold(0.0)  # what follows goes to another file
        journal.commit(turn(TURNS + 1))

    killed(work)
    first, second = sorted(path.parent.glob("kernel.tail-*"))
    first.unlink()
    number, _, [line], interruption = told(path)
    assert number == TURNS + 1
    assert interruption == JOURNAL_DAMAGED
    assert f'"{second}" at byte {len(MAGIC)}' in line
    assert "from turn 1 on" in line


def test_what_is_broken_at_the_end_of_a_file_before_others_is_told_of_that_file(path: Path) -> None:
    def work() -> None:
        journal = opened(path)
        journal.fold(0.0)
        journal.commit(turn(TURNS + 1))

    killed(work)
    first, _ = sorted(path.parent.glob("kernel.tail-*"))
    content = bytearray(first.read_bytes())
    where = places(content)
    content[where[-2] + 20 : where[-2] + 24] = b"\xff" * 4
    first.write_bytes(content)
    number, cells, words, _ = told(path)
    assert (number, cells) == (TURNS + 1, {2, 3, 4})
    assert f'"{first}" at byte {where[-2]}: {where[-1] - where[-2]} bytes' in words[0]


def test_a_kernel_that_dies_as_it_takes_over_is_followed_by_one_that_finds_the_same(path: Path) -> None:
    """The rows and their number are one transaction; a file that it did not remove any more is taken over already."""

    def smash(content: bytearray) -> None:
        content[places(content)[1] + 20 : places(content)[1] + 24] = b"\xff" * 4

    copy = damaged(path, smash)
    tail = only_tail(copy)
    content = tail.read_bytes()
    killed(lambda: opened(copy).close())
    tail.write_bytes(content)
    assert found(copy) == (TURNS, {1})
    assert Journal(copy, boot_id="boot", daemon="daemon").damages == []


def test_a_file_of_rows_that_is_gone_is_told_by_the_name_of_the_tail_behind_it(path: Path) -> None:
    """Also where no turn is in that tail yet: its name says how many there were. Numbers of turns go on above them, and nothing that lives is taken for known."""
    tail = only_tail(path)
    tail.rename(tail.with_name("kernel.tail-00000000000000000009"))
    only_tail(path).write_bytes(MAGIC + bytes(4096))
    for name in ("kernel.db", "kernel.db-wal"):
        path.with_name(name).unlink(missing_ok=True)
    journal = opened(path)
    (words,) = journal.damage_words()
    assert "turns 1 to 8 are missing, and so are their rows; what they knew is lost" in words
    assert journal.interruption
    assert list(journal.rows()) == []
    journal.commit(turn(1))
    assert only_tail(path).name == "kernel.tail-00000000000000000009"
    journal.close()
    again = opened(path)
    assert again.damage_words() == []
    again.close()
