"""The ring of results: whatever fits comes out once, in order and unchanged; whatever a worker scribbles costs PageViolation and nothing else."""

import os
from collections import deque

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dadmsd.worker.messages import Outcome
from dadmsd.worker.page import CAPACITY, HEAD, HEADER_SIZE, RECORD_LIMIT, SIZE, Page, PageViolation
from dadmsd.worker.results import Results

LARGEST_VALUE = RECORD_LIMIT - 100  # bytes; the record around it takes less than that
SIZES = st.one_of(st.integers(0, 200), st.integers(0, LARGEST_VALUE), st.just(LARGEST_VALUE))


def record_of(sequence: int, size: int) -> bytes:
    """Encode an outcome whose value is that many bytes long."""
    value = msgspec.Raw(msgspec.msgpack.encode(bytes([sequence % 251]) * size))
    return msgspec.msgpack.encode(Outcome(sequence, sequence, "completed", value, run_seconds=0.5))


def short(sequence: int) -> bytes:
    return msgspec.msgpack.encode((sequence, 0.25))


class Ring(RuleBasedStateMachine):
    """One writer, one reader, and a list that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.page, self.fd = Page.create("ring")
        self.results = Results(self.fd)
        self.held: deque[tuple[int, bytes]] = deque()
        self.sequence = 0

    @rule(size=SIZES)
    def write(self, size: int) -> None:
        """An empty ring takes any record, and a ring never takes more than it can hold."""
        record = record_of(self.sequence + 1, size)
        if self.results.write(record):
            self.sequence += 1
            self.held.append((self.sequence, record))
        else:
            assert self.held

    @rule(count=st.integers(1, 300), size=st.integers(0, 2000))
    def write_many(self, count: int, size: int) -> None:
        for _ in range(count):
            self.write(size)

    @rule(part=st.floats(0.0, 1.0))
    def consume(self, part: float) -> None:
        outcomes = self.page.read_results()
        through = self.sequence - len(outcomes) + round(part * len(outcomes))
        self.page.consume(through)
        while self.held and self.held[0][0] <= through:
            self.held.popleft()

    @rule()
    def next_kernel(self) -> None:
        """A new kernel finds exactly what was not consumed."""
        self.page.close()
        self.page = Page.map(self.fd)

    @invariant()
    def what_was_written_is_read(self) -> None:
        assert [msgspec.msgpack.encode(outcome) for outcome in self.page.read_results()] == [record for _, record in self.held]

    def teardown(self) -> None:
        self.results.close()
        self.page.close()
        os.close(self.fd)


TestRing = Ring.TestCase
TestRing.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)

WORDS = st.one_of(
    st.integers(0, 64), st.integers(0, CAPACITY + 64), st.integers(0, 2**64 - 1), st.sampled_from([2**64 - 1, RECORD_LIMIT, CAPACITY])
)


@settings(max_examples=300, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 3000), max_size=20),
    words=st.lists(st.tuples(st.integers(0, 400), WORDS), max_size=8),
    scribbles=st.lists(st.tuples(st.integers(HEADER_SIZE, HEADER_SIZE + 8000), st.binary(min_size=1, max_size=64)), max_size=6),
)
@example(sizes=[10], words=[(HEAD, 2**64 - 8)], scribbles=[])
@example(sizes=[10], words=[(HEAD, CAPACITY), (HEADER_SIZE // 8, 2**64 - 1)], scribbles=[])
def test_whatever_a_worker_writes_costs_a_violation_at_most(
    sizes: list[int], words: list[tuple[int, int]], scribbles: list[tuple[int, bytes]]
) -> None:
    page, fd = Page.create("hostile")
    results = Results(fd)
    try:
        for sequence, size in enumerate(sizes, 1):
            assert results.write(record_of(sequence, size)) if size % 2 else results.append(sequence, sequence, short(sequence), 1.0)
        for index, word in words:
            results._words[index] = word
        for start, scribble in scribbles:
            results._bytes[start : start + len(scribble)] = scribble
        for _ in range(len(sizes) + 2):
            text = ""
            try:
                outcomes = page.read_results()
            except PageViolation as violation:
                outcomes, text = violation.outcomes, str(violation)
            assert len(text) < 1000
            sequences = [outcome.sequence for outcome in outcomes]
            assert sequences == sorted(set(sequences))
            if sequences:
                page.consume(sequences[0])
        assert page._tail % 8 == 0  # its own, whatever the word says
        revoked = page.revoke(1, 2**64 - 2)
        assert revoked is None or revoked[0] > page.begun
    finally:
        results.close()
        page.close()
        os.close(fd)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_a_record_of_arbitrary_bytes_is_an_outcome_or_a_violation(record: bytes) -> None:
    page, fd = Page.create("bytes")
    results = Results(fd)
    try:
        assert results.write(record_of(1, 8))
        assert results.write(record or b"\xc1")
        try:
            outcomes = page.read_results()
        except PageViolation as violation:
            outcomes = violation.outcomes
        assert outcomes[0].sequence == 1
    finally:
        results.close()
        page.close()
        os.close(fd)


def test_the_file_is_as_large_as_the_layout_says() -> None:
    page, fd = Page.create("size")
    assert os.fstat(fd).st_size == SIZE == HEADER_SIZE + CAPACITY
    page.close()
    os.close(fd)
