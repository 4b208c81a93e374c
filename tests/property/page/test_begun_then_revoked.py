"""Rule 6, model-checked: a worker writes begun and then reads revoked; a kernel freezes, reads begun, then writes revoked. No thread runs twice, none is lost.

The worker is the real loop on a real page. Before each of its accesses to shared memory the world may step in: a kernel takes threads back, takes results in,
dies between any two of its stores and is followed by the next one, or the worker itself is killed. A step of the world happens while the worker stands still,
which is what freezing is.
"""

import math
import os
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dadms_ipc.channel import Channel, pair
from dadms_ipc.errors import RequestRefused
from dadmsd.worker import loop
from dadmsd.worker.loop import Worker
from dadmsd.worker.messages import Batch, FromWorker, Item
from dadmsd.worker.page import Page
from dadmsd.worker.results import Results
from dadmsd.zygote.messages import WorkerGate

NIL = msgspec.Raw(b"\xc0")
NOTHING, REVOKE, COLLECT, KILL_WORKER = "nothing", "revoke", "collect", "kill-worker"


class WorkerKilledError(BaseException):
    """SIGKILL, as the code between two accesses sees it."""


class KernelKilledError(BaseException):
    """SIGKILL of the kernel."""


class Memory:
    """Shared memory whose every access is a point where something may happen."""

    def __init__(self, memory: memoryview, before_access: Any) -> None:
        self._memory = memory
        self._before_access = before_access

    def __getitem__(self, index: Any) -> Any:
        self._before_access(self._memory, index, None)
        return self._memory[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._before_access(self._memory, index, value)
        self._memory[index] = value

    def release(self) -> None:
        self._memory.release()


class World:
    """Threads, the journal of a kernel, its page, and the worker."""

    def __init__(self, data: st.DataObject, threads: int) -> None:
        self._data = data
        self._steps = data.draw(
            st.lists(st.sampled_from([NOTHING] * 6 + [REVOKE, REVOKE, COLLECT, KILL_WORKER]), min_size=20, max_size=80), label="steps"
        )
        self._stores_until_death = 0  # of the kernel; 0: it lives
        self.runs: Counter[int] = Counter()
        # the journal
        self.waiting = deque(range(1, threads + 1))  # tids without a worker
        self.assigned: dict[int, int] = {}  # sequence to tid
        self.ended: dict[int, str] = {}  # tid to status
        self._next_sequence = 1
        self.messages: deque[Batch] = deque()  # on their way to the worker
        self._start_worker()

    # the worker

    def _start_worker(self) -> None:
        self._next_sequence = 1
        self.messages.clear()
        self.is_alive = True
        self.page, self._fd = Page.create("model")
        self._watch_kernel()
        mine, theirs = pair()
        self._port: Channel[Any] = Channel(mine, FromWorker)
        self._results = Results(self._fd)
        self._results._words = Memory(self._results._words, self._before_access)  # type: ignore[assignment] # stands in between
        self._results._bytes = Memory(self._results._bytes, self._before_access)  # type: ignore[assignment] # the same
        self._worker_port: Channel[Any] = Channel(theirs, Batch)
        self.worker = Worker(self._worker_port, self._results, WorkerGate(1, 1, 1, 1, NIL, "/"), {"run": self._entry})

    def _entry(self, tid: Any, thread: Any) -> int:
        self.runs[tid] += 1
        if self._next_step() == KILL_WORKER:
            self.is_alive = False  # every further access of it raises
        return int(tid)

    def _next_step(self) -> str:
        return self._steps.pop() if self._steps else NOTHING

    def _before_access(self, memory: memoryview, index: Any, value: Any) -> None:
        if self.is_alive:
            step = self._next_step()
            if step == KILL_WORKER:
                self.is_alive = False
            elif step != NOTHING:
                self._kernel_acts(step)
        if not self.is_alive:
            if isinstance(index, slice) and value is not None:  # it dies in the middle of a record
                half = len(value) // 2
                memory[index.start : index.start + half] = value[:half]
            raise WorkerKilledError

    # the kernel

    def _watch_kernel(self) -> None:
        self.page._words = Memory(self.page._words, self._before_store)  # type: ignore[assignment] # stands in between

    def _before_store(self, memory: memoryview, index: Any, value: Any) -> None:
        if value is not None and self._stores_until_death:
            self._stores_until_death -= 1
            if not self._stores_until_death:
                raise KernelKilledError

    def _kernel_acts(self, step: str) -> None:
        self._stores_until_death = self._data.draw(st.integers(0, 4), label="stores until the kernel dies")
        try:
            if step == REVOKE:
                self._take_back()
            else:
                self.take_results()
            if self._stores_until_death:
                self._stores_until_death = 0
                raise KernelKilledError  # after its last store, before it did anything else
        except KernelKilledError:
            self._adopt()

    def _take_back(self) -> None:
        if not self.assigned:
            return
        first = self._data.draw(st.sampled_from(sorted(self.assigned)), label="revoke from")
        last = self._data.draw(st.integers(first, self._next_sequence - 1), label="revoke to")
        try:
            revoked = self.page.revoke(first, last)
        except RequestRefused:
            return
        if revoked is None:
            return
        if self._stores_until_death == 4:
            raise KernelKilledError  # between the page and the journal
        self._requeue(*revoked)

    def _requeue(self, first: int, last: int) -> None:
        for sequence in [sequence for sequence in self.assigned if first <= sequence <= last]:
            self.waiting.append(self.assigned.pop(sequence))

    def take_results(self) -> None:
        """Journal what is in the page, then make room."""
        outcomes = self.page.read_results()
        for outcome in outcomes:
            tid = self.assigned.pop(outcome.sequence, None)
            if tid is not None:
                assert tid == outcome.tid
                assert tid not in self.ended
                self.ended[tid] = outcome.status
        if self._stores_until_death == 4:
            raise KernelKilledError  # between the journal and the page
        if outcomes:
            self.page.consume(outcomes[-1].sequence)

    def _adopt(self) -> None:
        """Be the next kernel: what is revoked in the page never runs, whoever wrote it; all other batches are sent again."""
        self._stores_until_death = 0
        self.page.close()
        self.page = Page.map(self._fd)
        self._watch_kernel()
        self.take_results()
        if self.page.revoked:
            self._requeue(*self.page.revoked)
        self.messages = deque(self._batch([sequence]) for sequence in sorted(self.assigned))

    def _batch(self, sequences: list[int]) -> Batch:
        return Batch(
            sequences[0], [Item(self.assigned[sequence], "run", msgspec.Raw(bytes([self.assigned[sequence]]))) for sequence in sequences]
        )

    def send(self) -> None:
        """Assign what waits, in one batch or two."""
        while self.waiting:
            count = min(len(self.waiting), self._data.draw(st.integers(1, 4), label="threads in a batch"))
            sequences = list(range(self._next_sequence, self._next_sequence + count))
            self._next_sequence += count
            for sequence in sequences:
                self.assigned[sequence] = self.waiting.popleft()
            self.messages.append(self._batch(sequences))

    def bury(self) -> None:
        """Look at what a dead worker left: results count, the thread that was begun is lost, the rest goes back."""
        self._stores_until_death = 0
        self.take_results()
        begun = self.page.begun
        if self.page.revoked:
            self._requeue(*self.page.revoked)
        for sequence, tid in list(self.assigned.items()):
            del self.assigned[sequence]
            if sequence <= begun:
                self.ended[tid] = "lost"
            else:
                self.waiting.append(tid)
        self.close()
        self._start_worker()

    def close(self) -> None:
        """Let go of worker and page."""
        self.page.close()
        self._results.close()
        self._port.close()
        self._worker_port.close()
        os.close(self.worker._home)
        os.close(self._fd)

    def run(self) -> None:
        """Go on until every thread has ended."""
        rounds = 0
        while self.waiting or self.assigned:
            rounds += 1
            assert rounds < 1000, f"lost: {self.assigned}"
            self.send()
            try:
                while self.messages:
                    self.worker._run_batch(self.messages.popleft())
                    while self._port.receive() is not None:
                        pass
                    if self._next_step() == COLLECT:
                        self._kernel_acts(COLLECT)
            except WorkerKilledError:
                self.bury()
            else:
                self.take_results()


@contextmanager
def _world(data: st.DataObject, threads: int, short: float = math.inf) -> Iterator[World]:
    home = os.open(".", os.O_PATH)
    # It rings before each thread, and all of them are short or none: neither must depend on the time.
    with mock.patch.object(loop, "PROMPT", math.inf), mock.patch.object(loop, "SHORT", short):
        world = World(data, threads)
        try:
            yield world
        finally:
            world.close()
            os.fchdir(home)
            os.close(home)


@pytest.mark.parametrize("short", [math.inf, -1.0], ids=["in stretches", "a record each"])
@settings(deadline=None, max_examples=300)
@given(data=st.data(), threads=st.integers(1, 12))
def test_every_thread_ends_once_and_runs_at_most_once(short: float, data: st.DataObject, threads: int) -> None:
    with _world(data, threads, short) as world:
        world.run()
        assert sorted(world.ended) == list(range(1, threads + 1))
        assert all(count == 1 for count in world.runs.values()), world.runs
        for tid, status in world.ended.items():
            assert status == "lost" or world.runs[tid] == 1
