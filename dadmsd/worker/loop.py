"""The worker: it takes batches from its port, runs their threads one after the other, and leaves results in its page.

1. A thread is marked begun, then looked up in the revoked range, and only then run; its result is in the page before it is marked done. Whatever kills this
   process, between any two instructions, leaves a page that tells what ran (dadmsd/worker/page.py).
2. A thread whose sequence was seen is dropped: the next kernel sends a batch again.
3. Whatever an entry raises, SystemExit and KeyboardInterrupt included, is an error of its thread; the worker lives. The working directory is set back.
4. The doorbell rings at the end of a batch, and within a batch as soon as a result would wait longer than PROMPT for it. The worker cannot ring while an
   entry runs, so it goes by how long that entry took before; for an entry that is slow for the first time, the kernel's own look at its pages is the bound.
5. A full ring is waited for: the worker marks that it waits, then rings; the kernel consumes, and answers ``Consumed`` when it finds the mark.
6. The port's end ends the worker: there is no kernel, and none will come.
"""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from dadms_ipc.channel import Channel
from dadms_ipc.errors import ChannelClosed, PeerViolation
from dadmsd.worker import failure
from dadmsd.worker.failure import Record, Timing
from dadmsd.worker.messages import Batch, Consumed, Doorbell, Finish, Hello, Item, Progress, Ready
from dadmsd.worker.page import RESULT_LIMIT
from dadmsd.worker.results import Results
from dadmsd.worker.thread import Place, Thread
from dadmsd.zygote.messages import WorkerGate

PROMPT = 0.001  # seconds that a result may wait for the doorbell: a ring costs both sides some 10 microseconds
FORGETTING = 0.05  # of the gap by which an entry's expected duration comes down again each time that it is faster
PROGRESS_INTERVAL = 0.02  # seconds between two reports of progress; those between are dropped
TEXT_LIMIT = 500  # characters of a report

LARGE = 4096  # bytes of a record above which encoding it is not to be charged to the next thread

Entry = Callable[[Any, Any], object]


class Worker:
    """One worker, from its gate to its end."""

    def __init__(self, port: Channel[Any], results: Results, gate: WorkerGate, entries: Mapping[str, Entry]) -> None:
        self._port = port
        self._results = results
        self._entries = entries
        self._place = Place(gate.pid, gate.worker, gate.directory, gate.config, self._report)
        self._home = os.open(".", os.O_PATH | os.O_CLOEXEC)
        self._expected: dict[str, float] = {}  # seconds, by entry
        self._backlog: deque[Batch | Finish] = deque()  # what came while the ring was full
        self._is_rung = False  # a doorbell waits in the outbox, and will announce whatever is in the page by then
        self._sending = threading.Lock()  # entries may report progress from threads of their own
        self._next_progress = 0.0  # monotonic, seconds
        self._cpu = 0.0  # of this process when the last thread ended, seconds
        self._os_pid = os.getpid()

    def run(self) -> None:
        """Run batches until ``Finish``, or until the port closes."""
        try:
            self._send(Ready())
            while True:
                order = self._backlog.popleft() if self._backlog else self._receive()
                if isinstance(order, Batch):
                    self._run_batch(order)
                elif isinstance(order, Finish):
                    return
        except ChannelClosed:
            return

    def _receive(self) -> Any:
        """Wait for the next message that matters to the loop; a ``Hello`` is answered here."""
        while True:
            try:
                frame = self._port.receive(None)
            except PeerViolation as error:
                print(f"worker: a message was dropped: {error}", file=sys.stderr)  # noqa: T201 - stderr is the log
                continue
            assert frame is not None  # it waits for ever
            for fd in frame.fds:
                os.close(fd)
            if frame.epoch < self._port.epoch:
                continue
            self._port.epoch = frame.epoch
            if isinstance(frame.body, Hello):
                self._ring()
                continue
            return frame.body

    def _run_batch(self, batch: Batch) -> None:
        results = self._results
        expected = self._expected
        items = batch.items
        sequence = batch.first_sequence
        seen = results.seen
        if sequence <= seen:
            items = items[seen + 1 - sequence :]
            sequence = seen + 1
        if not items:
            return
        results.mark_seen(sequence + len(items) - 1)
        now = time.monotonic()
        epoch = time.time() - now
        self._cpu = time.process_time()
        oldest = 0.0  # when the first result that is not announced was there; 0: all are
        for item in items:
            if oldest and now - oldest + expected.get(item.entry, PROMPT) >= PROMPT:
                self._ring()
                oldest = 0.0
                now = time.monotonic()
            if results.begin(sequence):
                started = now
                record, now = self._run(sequence, item, started, epoch)
                took = now - started
                before = expected.get(item.entry, 0.0)
                expected[item.entry] = took if took > before else before - (before - took) * FORGETTING
                if not results.write(record):
                    self._wait_and_write(record)
            results.finish(sequence)
            oldest = oldest or now
            sequence += 1
        self._ring()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()  # of a line that is not ended

    def _run(self, sequence: int, item: Item, started: float, epoch: float) -> tuple[bytes, float]:
        """Run one thread; give its record, and when it ended."""
        tid = item.tid
        try:
            entry = self._entries.get(item.entry)
            if entry is None:
                raise LookupError(f'there is no entry "{item.entry}"')
            value = entry(msgspec.msgpack.decode(item.arguments), Thread(tid, self._place))
        except BaseException as error:
            now, cpu = self._settle()
            record = failure.record_of_error(sequence, tid, error, Timing(epoch + started, now - started, cpu))
            error.__traceback__ = None  # its frames hold whatever the entry held
            self._cpu = time.process_time()  # putting it into words takes longer than many a thread, and is not the next one's
            return record, now
        now, cpu = self._settle()
        wall, run = epoch + started, now - started
        try:
            record = failure.encode(Record(sequence, tid, "completed", value, "", "", "", "", wall, run, cpu))
            if len(record) > RESULT_LIMIT:
                size = len(failure.encode(value))
                if size > RESULT_LIMIT:
                    record = failure.record_of_size(sequence, tid, size, Timing(wall, run, cpu))
        except MemoryError as error:
            record = failure.record_of_error(sequence, tid, error, Timing(wall, run, cpu))
        except Exception as error:  # an object's own code runs while it is encoded
            record = failure.record_of_value(sequence, tid, value, error, Timing(wall, run, cpu))
        if len(record) > LARGE:
            self._cpu = time.process_time()
        return record, now

    def _settle(self) -> tuple[float, float]:
        """Go home; give the time, and the CPU time that this process used since the last thread."""
        if os.getpid() != self._os_pid:
            os._exit(0)  # a child that the entry forked came back from it: it is no worker, and has nothing to say in its parent's page
        os.fchdir(self._home)
        before = self._cpu
        self._cpu = time.process_time()
        return time.monotonic(), self._cpu - before

    def _wait_and_write(self, record: bytes) -> None:
        """Wait until the kernel has consumed enough for this record, then write it."""
        results = self._results
        while True:
            results.mark_waiting(is_waiting=True)
            self._ring()
            if results.write(record):
                break
            order = self._receive()
            if not isinstance(order, Consumed):
                self._backlog.append(order)
            if results.write(record):
                break
        results.mark_waiting(is_waiting=False)

    def _ring(self) -> None:
        with self._sending:
            if self._port.waits_to_write and not self._port.flush() and self._is_rung:
                return
            self._port.send(Doorbell(self._results.done))
            self._is_rung = self._port.waits_to_write

    def _send(self, message: msgspec.Struct) -> None:
        with self._sending:
            self._port.send(message)

    def _report(self, tid: int, text: str, fraction: float | None) -> None:
        """Report how far a thread is, unless one was just reported, or the kernel does not read."""
        now = time.monotonic()
        if now < self._next_progress:
            return
        message = Progress(tid, str(text)[:TEXT_LIMIT], None if fraction is None else min(1.0, max(0.0, float(fraction))))
        with self._sending:
            self._next_progress = now + PROGRESS_INTERVAL
            try:
                if not self._port.waits_to_write or self._port.flush():
                    self._port.send(message)
                    self._is_rung = False  # if anything waits now, it is this
            except ChannelClosed:  # the loop finds that out by itself
                return
