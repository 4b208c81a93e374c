"""Stretches among records: whatever is written, read and consumed when, every result comes, in order, and none that was consumed comes again."""

import os

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from dadmsd.worker.messages import Outcome
from dadmsd.worker.page import CAPACITY, Page, singly
from dadmsd.worker.results import Results

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("short"), st.integers(0, 4000)),
        st.tuples(st.just("long"), st.integers(0, 200_000)),
        st.tuples(st.just("many"), st.integers(1, 60)),
        st.tuples(st.just("gap"), st.integers(1, 3)),
        st.tuples(st.just("close"), st.just(0)),
        st.tuples(st.just("read"), st.integers(0, 8)),
        st.tuples(st.just("adopt"), st.just(0)),
    ),
    max_size=60,
)


class Both:
    """A page, its two ends, and what should come out of it."""

    def __init__(self) -> None:
        self.page, self.fd = Page.create("both")
        self.results = Results(self.fd)
        self.sequence = 0
        self.written: list[tuple[int, int]] = []  # sequence, bytes of its value; not consumed
        self.consumed = 0

    def short(self, size: int) -> None:
        record = msgspec.msgpack.encode((bytes(size), 0.001))
        if self.results.append(self.sequence + 1, self.sequence + 101, record, 5.0):
            self.sequence += 1
            self.written.append((self.sequence, size))

    def long(self, size: int) -> None:
        value = msgspec.Raw(msgspec.msgpack.encode(bytes(size)))
        if self.results.write(msgspec.msgpack.encode(Outcome(self.sequence + 1, self.sequence + 101, "completed", value))):
            self.sequence += 1
            self.written.append((self.sequence, size))

    def many(self, count: int) -> None:
        for _ in range(count):
            self.short(2500)

    def gap(self, count: int) -> None:
        self.sequence += count

    def close(self, _nothing: int) -> None:
        self.results.close_stretch()

    def read(self, left: int) -> None:
        """Read all, and consume all but the last few, as far as a record ends there."""
        found = self.page.read()
        outcomes = [outcome for outcome in singly(found) if outcome.sequence > self.consumed]
        assert [(each.sequence, len(msgspec.msgpack.decode(each.value))) for each in outcomes] == self.written
        assert all(each.tid == each.sequence + 100 for each in outcomes)
        if len(outcomes) > left:
            self.consumed = outcomes[-1 - left].sequence
            self.written = [each for each in self.written if each[0] > self.consumed]
            self.page.consume(self.consumed)
        elif not found:
            self.page.free_known()

    def adopt(self, _nothing: int) -> None:
        self.page.close()
        self.page = Page.map(self.fd)

    def end(self) -> None:
        self.page.close()
        self.results.close()
        os.close(self.fd)


@settings(deadline=None, max_examples=200)
@given(STEPS)
def test_every_result_comes_in_order_and_none_that_was_consumed(steps: list[tuple[str, int]]) -> None:
    both = Both()
    try:
        for name, number in steps:
            getattr(both, name)(number)
        both.results.close_stretch()
        both.read(0)
        both.read(0)
        assert both.results._head - both.page._tail <= CAPACITY
        assert both.page._tail == both.results._head, "what was consumed is free"
    finally:
        both.end()
