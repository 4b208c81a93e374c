"""The page: what maps, what is refused, what is revoked, and that docs/reference/page.md shows it literally."""

import fcntl
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dadms_ipc.errors import PeerViolation, RequestRefused
from dadmsd.worker import page as layout
from dadmsd.worker.messages import Outcome
from dadmsd.worker.page import Page, PageViolation
from dadmsd.worker.results import REWIND, Results

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "page.md"
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
EXAMPLE = Outcome(5, 12, "completed", msgspec.Raw(b"\x2a"), started_at=1.5, run_seconds=0.25, cpu_seconds=0.125)


class Both:
    """Both sides of a page."""

    def __init__(self, first_sequence: int = 1) -> None:
        self.kernel, self.fd = Page.create("test", first_sequence=first_sequence)
        self.worker = Results(self.fd)

    def close(self) -> None:
        self.worker.close()
        self.kernel.close()
        os.close(self.fd)


@pytest.fixture
def both() -> Iterator[Both]:
    both = Both()
    yield both
    both.close()


def record(sequence: int, size: int = 1) -> bytes:
    value = msgspec.Raw(msgspec.msgpack.encode(bytes(size)))
    return msgspec.msgpack.encode(Outcome(sequence, sequence, "completed", value))


def test_a_page_can_neither_shrink_nor_grow(both: Both) -> None:
    for size in (0, layout.SIZE * 2):
        with pytest.raises(PermissionError):
            os.ftruncate(both.fd, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(both.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def _memfd(size: int, seals: int, words: dict[int, int]) -> int:
    fd = os.memfd_create("other", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    with mmap.mmap(fd, size) as memory, memoryview(memory) as whole, whole.cast("Q") as view:
        for index, word in words.items():
            view[index] = word
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


GOOD = {layout.MAGIC_WORD: layout.MAGIC, layout.SIZE_WORD: layout.SIZE}


@pytest.mark.parametrize(
    ("size", "seals", "words", "reason"),
    [
        (layout.SIZE, 0, GOOD, "can still be truncated"),
        (layout.SIZE, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL, GOOD, "can still be truncated"),
        (4096, SEALS, {0: layout.MAGIC, 1: 4096}, "4096 bytes, 1048576 in version 2"),
        (layout.SIZE, SEALS, GOOD | {layout.MAGIC_WORD: layout.MAGIC + (1 << 56)}, "another version"),
        (layout.SIZE, SEALS, GOOD | {layout.SIZE_WORD: 1 << 40}, "another version"),
        (layout.SIZE, SEALS, GOOD | {layout.TAIL: 7, layout.HEAD: 8}, "cannot be read on"),
        (layout.SIZE, SEALS, GOOD | {layout.TAIL: 16, layout.HEAD: 8}, "cannot be read on"),
        (layout.SIZE, SEALS, GOOD | {layout.HEAD: layout.CAPACITY + 8}, "cannot be read on"),
    ],
)
def test_what_is_no_page_is_refused(size: int, seals: int, words: dict[int, int], reason: str) -> None:
    fd = _memfd(size, seals, words)
    try:
        with pytest.raises(PeerViolation, match=reason):
            Page.map(fd)
    finally:
        os.close(fd)


def test_a_descriptor_of_another_kind_is_refused() -> None:
    read, write = os.pipe()
    with pytest.raises(PeerViolation, match="no page"):
        Page.map(read)
    os.close(read)
    os.close(write)


def test_the_first_sequence_is_that_of_the_gate() -> None:
    both = Both(first_sequence=41)
    assert (both.kernel.begun, both.kernel.done, both.kernel.seen, both.worker.seen) == (40, 40, 40, 40)
    both.close()


def test_results_are_read_again_until_they_are_consumed(both: Both) -> None:
    for sequence in (1, 2, 3):
        both.worker.begin(sequence)
        assert both.worker.write(record(sequence))
        both.worker.finish(sequence)
    assert [outcome.sequence for outcome in both.kernel.read_results()] == [1, 2, 3]
    both.kernel.consume(2)
    assert [outcome.sequence for outcome in both.kernel.read_results()] == [3]
    assert (both.kernel.begun, both.kernel.done) == (3, 3)
    assert [outcome.sequence for outcome in Page.map(both.fd).read_results()] == [3]


def test_a_ring_that_is_emptied_is_used_from_its_start_again(both: Both) -> None:
    size = 1000
    for sequence in range(1, 3 * REWIND // size):
        assert both.worker.write(record(sequence, size))
        both.kernel.read_results()
        both.kernel.consume(sequence)
    touched = both.kernel._bytes[layout.HEADER_SIZE + REWIND + 2 * size :]
    assert not any(touched[: 4 * REWIND])


def test_a_full_ring_takes_no_more_until_the_kernel_consumes(both: Both) -> None:
    sequence = 0
    while both.worker.write(record(sequence + 1, 100_000)):
        sequence += 1
    assert sequence == layout.CAPACITY // 100_000
    assert len(both.kernel.read_results()) == sequence
    both.kernel.consume(1)
    assert both.worker.write(record(sequence + 1, 90_000))


def test_the_good_results_in_front_of_garbage_are_carried_by_the_violation(both: Both) -> None:
    both.worker.write(record(1))
    both.worker.write(b"\xc1 is no msgpack")
    with pytest.raises(PageViolation, match="no outcome") as caught:
        both.kernel.read_results()
    assert [outcome.sequence for outcome in caught.value.outcomes] == [1]
    both.kernel.consume(1)
    with pytest.raises(PageViolation) as caught:
        both.kernel.read_results()
    assert caught.value.outcomes == []


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome(0, 1, "completed", msgspec.Raw(b"\xc0")), "thread 0 after that of 0"),
        (Outcome(-1, 1, "completed", msgspec.Raw(b"\xc0")), "thread -1"),
        (Outcome(1, 1, "splendid" * 100, msgspec.Raw(b"\xc0")), "the status"),
        (Outcome(1, 1, "error", msgspec.Raw(b"\xc0"), run_seconds=float("nan")), "impossible duration"),
        (Outcome(1, 1, "error", msgspec.Raw(b"\xc0"), cpu_seconds=float("inf")), "impossible duration"),
        (Outcome(1, 1, "error", msgspec.Raw(b"\xc0"), started_at=-1.0), "impossible duration"),
        (Outcome(1, 1, "completed", msgspec.Raw(b"\x91" * 100_000 + b"\xc0")), "no outcome"),
    ],
)
def test_an_outcome_that_cannot_be_is_a_violation(both: Both, outcome: Outcome, reason: str) -> None:
    both.worker.write(msgspec.msgpack.encode(outcome))
    with pytest.raises(PageViolation, match=reason):
        both.kernel.read_results()


def test_results_come_in_the_order_of_their_sequences(both: Both) -> None:
    both.worker.write(record(2))
    both.worker.write(record(2))
    with pytest.raises(PageViolation, match="thread 2 after that of 2"):
        both.kernel.read_results()


def test_revoking_takes_what_has_not_begun(both: Both) -> None:
    assert both.worker.begin(1)
    assert both.kernel.revoke(1, 3) == (2, 3)
    both.worker.finish(1)
    assert not both.worker.begin(2)
    assert both.kernel.revoke(1, 2) is None
    assert both.kernel.revoked == (2, 3)
    both.worker.finish(2)
    assert not both.worker.begin(3)
    both.worker.finish(3)
    assert both.worker.begin(4)


def test_a_range_that_is_still_to_be_skipped_grows_and_has_no_gaps(both: Both) -> None:
    assert both.kernel.revoke(5, 6) == (5, 6)
    with pytest.raises(RequestRefused, match="5 to 6 are still to be skipped"):
        both.kernel.revoke(8, 9)
    with pytest.raises(RequestRefused):
        both.kernel.revoke(2, 3)
    assert both.kernel.revoke(7, 8) == (7, 8)
    assert both.kernel.revoked == (5, 8)
    assert both.kernel.revoke(2, 4) == (2, 4)
    assert Page.map(both.fd).revoked == (2, 8)


def test_a_thread_that_is_about_to_look_is_still_to_be_skipped(both: Both) -> None:
    """Begun says that it will look; only done says that it has."""
    both.kernel.revoke(1, 1)
    words = both.worker._words
    words[layout.BEGUN] = 1
    assert both.kernel.revoke(2, 2) == (2, 2)
    assert both.kernel.revoked == (1, 2)


@pytest.mark.parametrize("access", range(4))
def test_a_later_range_does_not_skip_the_thread_that_looks(both: Both, access: int) -> None:
    """Whichever access it comes before: thread 3 runs if it was begun when the range was made, and is skipped otherwise."""
    both.kernel.revoke(1, 2)
    for sequence in (1, 2):
        both.worker.begin(sequence)
        both.worker.finish(sequence)
    words = both.worker._words
    revoked: list[Any] = []

    class Watched:
        """The words, with a kernel that comes at one access."""

        count = 0

        def step(self) -> None:
            if self.count == access:
                revoked.append(both.kernel.revoke(3, 9))
            self.count += 1

        def __getitem__(self, index: int) -> int:
            self.step()
            return words[index]

        def __setitem__(self, index: int, value: int) -> None:
            self.step()
            words[index] = value

    both.worker._words = Watched()  # type: ignore[assignment] # stands in between
    runs = both.worker.begin(3)
    both.worker._words = words
    assert runs == (revoked != [(3, 9)])


def test_the_reference_shows_the_layout_literally(both: Both) -> None:
    text = REFERENCE.read_text()
    names = ["MAGIC_WORD", "SIZE_WORD", "BEGUN", "DONE", "SEEN", "REVOKED_FIRST", "REVOKED_LAST", "HEAD", "TAIL", "WAITS", "WANTED"]
    documented = dict(re.findall(r"^\| (\d+) \| \*?`?([a-z_]+)", text, re.MULTILINE))
    assert documented == {str(8 * getattr(layout, name)): name.removesuffix("_WORD").lower() for name in names}
    for number in (layout.SIZE, layout.HEADER_SIZE, layout.CAPACITY, layout.RESULT_LIMIT, layout.RECORD_LIMIT):
        assert f"{number:,}".replace(",", " ") in text


def test_the_reference_shows_a_page_literally() -> None:
    both = Both(first_sequence=5)
    both.worker.mark_seen(6)
    both.worker.begin(5)
    both.worker.write(msgspec.msgpack.encode(EXAMPLE))
    both.worker.finish(5)
    both.kernel.revoke(6, 6)
    shown = re.search(r"```hexdump\n(.*?)```", REFERENCE.read_text(), re.DOTALL)
    assert shown is not None
    assert shown.group(1) == dump(bytes(both.kernel._bytes[:208]))
    both.close()


def dump(content: bytes) -> str:
    """Show bytes as the reference does."""
    lines = []
    for start in range(0, len(content), 16):
        part = content[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:04x}  {part.hex(' ')}  {text}\n")
    return "".join(lines)
