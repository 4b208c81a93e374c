"""The worker: it takes batches from its port, runs their threads one after the other, and leaves results in its page.

1. A thread is marked begun, then looked up in the revoked range, and only then run; its result is in the page before it is marked done. Whatever kills this
   process, between any two instructions, leaves a page that tells what ran (dadmsd/worker/page.py).
2. A thread whose sequence was seen is dropped: the next kernel sends a batch again.
3. What a short thread returned goes into a stretch, a record that many share (docs/reference/page.md); it is there before the next one begins all the same.
4. An entry that writes into the page (C code may) ends its worker and carries the blame: the page is looked at when it returns, before anything else is written.
5. Whatever an entry raises, SystemExit and KeyboardInterrupt included, is an error of its thread; the worker lives. The working directory is set back.
6. The doorbell rings at the end of a batch, and within a batch as soon as a result would wait longer than PROMPT for it. The worker cannot ring while an
   entry runs, so it goes by how long that entry took before; for an entry that is slow for the first time, the kernel's own look at its pages is the bound.
7. A full ring is waited for: the worker marks that it waits, then rings; the kernel consumes, and answers ``Consumed`` when it finds the mark.
8. The port's end ends the worker: there is no kernel, and none will come.
"""

import contextlib
import os
import sys
import time
from _thread import allocate_lock, get_ident
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import msgspec

from dadms_ipc.channel import Channel
from dadms_ipc.errors import ChannelClosed
from dadms_ipc.port import Asked, ContextAnswer
from dadmsd.worker import failure
from dadmsd.worker.failure import Record, Timing
from dadmsd.worker.inlet import Inlet
from dadmsd.worker.messages import Batch, Consumed, Doorbell, Finish, Progress, Ready, Span, Spoiled, Yield
from dadmsd.worker.moves import moves as _moves
from dadmsd.worker.page import RESULT_LIMIT
from dadmsd.worker.results import Results
from dadmsd.worker.thread import Place, Thread
from dadmsd.worker.traces import Traces
from dadmsd.zygote.messages import WorkerGate

PROMPT = 0.018  # seconds that a result may wait for the doorbell, one and a half batches: a batch that takes no longer than was expected rings once. A ring takes kernel and process a third of a millisecond of a core that the workers want
NEWEST_WEIGHT = 0.2  # of a run time in what is expected of its entry: one that lost its CPU for a while is soon forgotten
PROGRESS_INTERVAL = 0.02  # seconds between two reports of progress; those between are dropped
TEXT_LIMIT = 500  # characters of a report
SPOILED = 115  # exit code; those of children that never got to their work end at 114

TURN = 0.005  # seconds that a thread which was asked to give way runs on at least: giving way costs two messages

LARGE = 4096  # bytes of a record above which encoding it is not to be charged to the next thread

SHORT = 0.002  # seconds that a thread runs at most whose CPU time is not measured, and whose result shares a stretch: measuring costs what some of them take
TOUCHING = 0.00005  # seconds; a thread that took longer may have changed the directory without Python's knowledge

Entry = Callable[[Any, Any], object]

_decode = msgspec.msgpack.Decoder().decode


def _missing(name: str) -> Entry:
    """Stand for an entry that is not there."""

    def fail(_arguments: Any, _thread: Any) -> object:
        raise LookupError(f'there is no entry "{name}"')

    return fail


class Worker:
    """One worker, from its gate to its end."""

    def __init__(self, port: Channel[Any], results: Results, gate: WorkerGate, entries: Mapping[str, Entry]) -> None:
        self._port = port
        self._results = results
        self._entries = entries
        self._place = Place(gate.pid, gate.worker, gate.directory, gate.config, self._report, self._call, gate.workplace, self._give_way)
        self._inlet = Inlet(port, self._send, self._ring)
        self._home = os.open(".", os.O_PATH | os.O_CLOEXEC)
        self._expected: dict[str, float] = {}  # seconds, by entry
        self._backlog: deque[Batch | Finish] = deque()  # what came while the ring was full
        self._is_rung = False  # a doorbell waits in the outbox, and will announce whatever is in the page by then
        self._sending = allocate_lock()  # entries may report progress from threads of their own
        self._next_progress = 0.0  # monotonic, seconds
        self._cpu = 0.0  # of this process when it was last measured, seconds
        self._unmeasured = 0.0  # seconds that short threads ran since then
        self._epoch = 0.0  # wall clock minus monotonic time, seconds
        self._oldest = 0.0  # monotonic: when the first result that is not announced was there; 0: all are
        self._traces = Traces()
        _moves.watch()
        self._os_pid = os.getpid()
        self._main = get_ident()
        self._yields = 0
        self._turn = (0, 0.0)  # sequence of a thread that was asked to give way, and since when it runs since then, monotonic
        self._stood = 0.0  # seconds that the thread which runs waited after it gave way

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
        """Wait for the next message that matters to the loop; a ``Hello`` is answered by the inlet."""
        return self._inlet.order()

    def _run_batch(self, batch: Batch) -> None:
        results = self._results
        seen = results.seen
        sequence = batch.first_sequence
        spans = batch.spans
        if batch.items:
            spans = [*(Span(item.tid, item.entry, [item.arguments]) for item in batch.items), *spans]
        last = sequence - 1
        for span in spans:
            last += len(span.arguments)
        if last <= seen:
            return
        results.mark_seen(last)
        now = time.monotonic()
        self._epoch = time.time() - now
        self._measure()
        self._oldest = 0.0
        for span in spans:
            known = 0 if seen < sequence else min(len(span.arguments), seen + 1 - sequence)
            sequence += known
            if known < len(span.arguments):
                now = self._run_span(sequence, span, known, now)
                sequence += len(span.arguments) - known
        results.close_stretch()
        self._ring()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()  # of a line that is not ended

    def _run_span(self, sequence: int, span: Span, known: int, now: float) -> float:
        """Run the threads of a span, without the first ones, which are known; ``now`` is the monotonic time, and the one afterwards is given."""
        results = self._results
        name = span.entry
        entry = self._entries.get(name) or _missing(name)
        expected = self._expected.get(name)
        begin, finish, append, is_spoiled = results.begin, results.finish, results.append, results.is_spoiled
        place, epoch, os_pid = self._place, self._epoch, self._os_pid
        decode, clock, getpid = _decode, time.monotonic, os.getpid
        tid = span.first_tid + known
        for arguments in span.arguments[known:] if known else span.arguments:
            if self._oldest and now - self._oldest + (PROMPT if expected is None else expected) >= PROMPT:
                self._ring()
                self._oldest = 0.0
                now = clock()
            if begin(sequence):
                started = now
                try:
                    value = entry(decode(arguments), Thread(tid, place))
                except BaseException as error:
                    if is_spoiled(sequence):
                        self._give_up(sequence, tid)
                    record, now = self._failed(sequence, tid, name, error, started)
                    took = now - started
                else:
                    if getpid() != os_pid:
                        os._exit(
                            0
                        )  # a child that the entry forked came back from it: it is no worker, and has nothing to say in its parent's page
                    if is_spoiled(sequence):
                        self._give_up(sequence, tid)
                    now = clock()
                    took = now - started
                    record = b""
                    short = self._short(value, took) if took <= SHORT else b""
                    if short and append(sequence, tid, short, epoch + started):
                        self._unmeasured += took
                        if took > TOUCHING or _moves.is_away:
                            self._go_home()
                    else:
                        record, now = self._record(sequence, tid, value, started)
                if record and not results.write(record):
                    self._wait_and_write(record)
                expected = took if expected is None else expected + (took - expected) * NEWEST_WEIGHT
            finish(sequence)
            self._oldest = self._oldest or now
            sequence += 1
            tid += 1
        if expected is not None:
            self._expected[name] = expected
        return now

    def _give_up(self, sequence: int, tid: int) -> NoReturn:
        """End: a thread has written into the page, and it is the one to blame, not the next whose result cannot be read."""
        self._results.mend(sequence)
        with contextlib.suppress(ChannelClosed):
            self._send(Spoiled(tid))
            while self._port.waits_to_write and not self._port.flush():
                time.sleep(0.001)  # a kernel that is being replaced
        os._exit(SPOILED)

    def _short(self, value: object, took: float) -> bytes:
        """Encode what a short thread leaves; empty when it needs more words than that."""
        try:
            record = failure.encode((value, took))
        except Exception:  # said in words by ``_record``
            return b""
        return record if len(record) <= LARGE else b""

    def _failed(self, sequence: int, tid: int, entry: str, error: BaseException, started: float) -> tuple[bytes, float]:
        """Give the record of a thread whose entry raised, and when it ended."""
        now, cpu = self._settle()
        trace = failure.shortened(error)
        self._traces.write(tid, entry, trace)
        record = failure.record_of_error(
            sequence, tid, error, Timing(self._epoch + started, now - started - self._take_stood(), cpu), trace=trace
        )
        error.__traceback__ = None  # its frames hold whatever the entry held
        self._measure()  # putting it into words takes longer than many a thread, and is not the next one's
        return record, now

    def _record(self, sequence: int, tid: int, value: object, started: float) -> tuple[bytes, float]:
        """Give the record of a thread whose entry returned, and when it ended."""
        now, cpu = self._settle()
        wall, run = self._epoch + started, now - started - self._take_stood()
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
            self._measure()
        return record, now

    def _settle(self) -> tuple[float, float]:
        """Go home; give the time, and the CPU time that this process used since the last thread."""
        if os.getpid() != self._os_pid:
            os._exit(0)
        self._go_home()
        before = self._cpu + self._unmeasured
        self._measure()
        return time.monotonic(), max(0.0, self._cpu - before)

    def _measure(self) -> None:
        self._cpu, self._unmeasured = time.process_time(), 0.0

    def _go_home(self) -> None:
        os.fchdir(self._home)
        _moves.is_away = False

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

    def _call(self, tid: int, operation: Asked, pid: int, seconds: float) -> ContextAnswer:
        """Ask the kernel something about shared context, for a thread."""
        return self._inlet.call(tid, operation, pid, seconds)

    def _give_way(self) -> None:
        """Let others have the slot of the thread that runs, if they wait for one and it ran for a while; it goes on from here."""
        if not self._results.is_wanted or get_ident() != self._main or os.getpid() != self._os_pid:
            return
        now, sequence = time.monotonic(), self._results.begun
        if self._turn[0] != sequence:
            self._turn = (sequence, now)
        if now - self._turn[1] < TURN:
            return
        self._results.close_stretch()
        self._ring()
        self._yields += 1
        self._inlet.give_way(Yield(self._yields, sequence))
        after = time.monotonic()
        self._stood += after - now
        self._turn = (sequence, after)

    def _take_stood(self) -> float:
        stood, self._stood = self._stood, 0.0
        return stood

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
