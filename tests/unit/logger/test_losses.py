"""The counts of what logs did not take, over the death of the logger that counted."""

import os
import random
import resource
from pathlib import Path

import msgspec
import pytest

from dadmsd.logger import losses
from dadmsd.logger.losses import NOTHING, Loss, Losses
from dadmsd.logger.rate import Allowance
from dadmsd.logger.sink import Sink, Unwritten

LOST = Loss("1001.2", 7, 70, "No space left on device")


class Full:
    """A destination that takes nothing while ``is_full``."""

    def __init__(self) -> None:
        self.is_full = True
        self.texts: list[bytes] = []

    def write(self, texts: list[bytes], tag: str, now: float) -> None:
        if self.is_full:
            raise Unwritten(texts, "No space left on device")
        self.texts += texts

    def leave(self) -> None:
        """Nothing is held."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "losses"


def test_what_was_kept_is_found_by_the_next_once(path: Path) -> None:
    Losses(path).take("1001").keep(LOST)
    found = Losses(path)
    assert found.stems == ["1001"]
    slot = found.take("1001")
    assert slot.found == LOST
    assert found.stems == []
    assert found.take("1001").found == NOTHING
    slot.keep(NOTHING)
    assert Losses(path).stems == []


def test_slots_are_used_again_and_the_file_grows_by_what_is_open_at_once(path: Path) -> None:
    made = Losses(path)
    for _ in range(3 * losses.ROOM):
        made.take("1001").leave()
    assert path.stat().st_size == losses.ROOM * losses.SLOT
    open_ones = [made.take(str(number)) for number in range(losses.ROOM + 1)]
    assert path.stat().st_size == 2 * losses.ROOM * losses.SLOT
    assert len({slot.number for slot in open_ones}) == len(open_ones)


def test_the_longest_tag_and_reason_fit(path: Path) -> None:
    longest = Loss(f"{'s' * 100}.{'t' * 90}", 1 << 60, 1 << 62, max((os.strerror(number) for number in range(200)), key=len))
    Losses(path).take("s" * 100).keep(longest)
    assert Losses(path).take("s" * 100).found == longest


def test_without_room_for_a_slot_the_count_is_in_memory_alone(path: Path) -> None:
    made = Losses(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        slot = made.take("1001")
        slot.keep(LOST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    slot.leave()
    assert Losses(path).stems == []
    assert made.take("1002").number is not None


def in_a_slot(tag: str, lines: int, size: int) -> bytes:
    body = msgspec.msgpack.encode([tag, lines, size, "é"])
    return (len(body).to_bytes(2, "little") + body).ljust(losses.SLOT, b"\0")


@pytest.mark.parametrize(
    "content",
    [b"\xff" * 2048, b"\x05\x00hello" + bytes(600), random.Random(1).randbytes(1024), b"x"]
    + [in_a_slot("1001", 7, 70).replace("é".encode(), b"\xff\xff"), in_a_slot("../1001", 7, 70)]
    + [in_a_slot("1001", *counts) for counts in ((2**64 - 1, 70), (7, 2**64 - 1), (-7, 70), (7, -70), (0, 0))],
    ids=[
        "ones",
        "text",
        "random",
        "short",
        "no UTF-8",
        "no log",
        "too many",
        "too large",
        "less than none",
        "smaller than nothing",
        "none",
    ],
)
def test_a_file_that_is_not_ours_is_no_count(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    made = Losses(path)
    assert made.stems == []
    made.take("1001").keep(LOST)
    assert Losses(path).take("1001").found == LOST


def test_a_file_that_was_made_huge_is_read_as_far_as_it_can_be_ours(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "MOST", 3)
    path.write_bytes(bytes(100 * losses.SLOT))
    made = Losses(path)
    assert sorted(number for number in (made.take(str(name)).number for name in range(5)) if number is not None) == [0, 1, 2]


def test_a_file_that_cannot_be_opened_is_said_and_done_without(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path.symlink_to("/dev/full")
    slot = Losses(path).take("1001")
    slot.keep(LOST)
    assert "cannot use" in capfd.readouterr().err


def test_the_next_logger_tells_what_the_one_before_counted(path: Path) -> None:
    full = Full()
    sink = Sink(full, Allowance(0, 0.0), "", Losses(path).take("1001"))
    sink.write([b"one", b"two"], "1001.1", 0.0)
    sink.write([b"three"], "1001.2", 0.0)
    del sink  # killed
    after = Sink(full, Allowance(0, 0.0), "", Losses(path).take("1001"))
    after.write([b"four"], "1001.2", 0.0)
    full.is_full = False
    after.write([b"five"], "1001.2", 0.0)
    assert full.texts == [b"[logger: 4 lines (15 bytes) were lost here: No space left on device]", b"five"]
    assert Losses(path).stems == []
