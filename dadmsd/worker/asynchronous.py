"""An async worker: one loop, which reads the port and steps many threads; it leaves each result in its page.

1. A thread is marked begun when it arrives, and its coroutine is made at once; a sequence that was seen is dropped. They end in any order: the sequence of a result is the ordinal of its end.
2. Every step is the loop's: an entry that computes keeps all others waiting. What blocks belongs into ``asyncio.to_thread``, or into a plain entry.
3. A full ring keeps nobody waiting: results queue here, in their order, until the kernel has consumed; there are never more of them than threads were handed out.
4. The doorbell rings once for all that ends in one turn of the loop.
5. To cancel a thread is ``Task.cancel``: it may put things in order, and its end is marked as that of a cancelled one. To hold it is not to step it (``stepping``).
6. Tasks that an entry began and left are cancelled with its thread (``left_tasks``).
7. Whatever an entry raises is an error of its thread. What a task of its own raises to end the program (SystemExit) is printed, and ends nothing.
8. The working directory is everybody's: it is set back whenever a thread ends after it was changed.
"""

import asyncio
import contextvars
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from inspect import isawaitable
from typing import Any

import msgspec

from dadms_ipc.calls import Calls
from dadms_ipc.channel import Channel
from dadms_ipc.errors import ChannelClosed, DeadlinePassed, PeerViolation
from dadms_ipc.port import Asked, ContextAnswer
from dadms_ipc.running import TID
from dadmsd.stderr import say, say_all
from dadmsd.worker import failure
from dadmsd.worker.failure import Timing
from dadmsd.worker.left_tasks import Tasks
from dadmsd.worker.loop import PROGRESS_INTERVAL, TEXT_LIMIT, Entry
from dadmsd.worker.messages import Batch, Consumed, Doorbell, Finish, Hello, Progress, Ready, Span, Steer
from dadmsd.worker.moves import moves
from dadmsd.worker.results import Results
from dadmsd.worker.stepping import Stepped
from dadmsd.worker.thread_async import AsyncPlace, AsyncThread
from dadmsd.worker.traces import Traces
from dadmsd.zygote.messages import WorkerGate

FRAMES_A_TURN = 64  # that are read before threads are stepped again

_decode = msgspec.msgpack.Decoder().decode


class _Run:
    """One thread that is under way."""

    __slots__ = ("entry", "is_cancelled", "started", "stepped", "task")

    def __init__(self, entry: str) -> None:
        self.entry = entry
        self.started = time.monotonic()
        self.stepped = Stepped()
        self.is_cancelled = False
        self.task: asyncio.Task[tuple[Any, BaseException | None]] | None = None


class AsyncWorker:
    """One async worker, from its gate to its end."""

    def __init__(self, port: Channel[Any], results: Results, gate: WorkerGate, entries: Mapping[str, Entry]) -> None:
        self._port = port
        self._results = results
        self._entries = entries
        self._loop = asyncio.new_event_loop()
        self._place = AsyncPlace(gate.pid, gate.worker, gate.directory, gate.config, self._report, self._ask, gate.workplace, self._loop)
        self._runs: dict[int, _Run] = {}
        self._tasks = Tasks()
        self._loop.set_task_factory(self._tasks.make)
        self._has_told_of_left = False
        self._ended = 0  # threads, so far
        self._unwritten: deque[bytes] = deque()  # records that the ring has no room for
        self._calls = Calls()
        self._waiting: dict[int, asyncio.Future[None]] = {}  # by the sequence of a call
        self._sending = threading.Lock()  # progress may come from helper threads
        self._is_rung = False  # a doorbell waits in the outbox
        self._is_announcing = False  # the doorbell rings at the end of this turn
        self._is_writing = False  # the loop waits for room in the socket
        self._is_finishing = False
        self._is_over = False
        self._next_progress: dict[int, float] = {}  # by thread, monotonic seconds
        self._home = os.open(".", os.O_PATH | os.O_CLOEXEC)
        self._os_pid = os.getpid()
        self._orders: dict[type[Any], Callable[[Any], None]] = {
            Batch: self._begin,
            Steer: self._steer,
            Consumed: lambda _order: self._write_waiting(),
            Hello: lambda _order: self._greet(),
            ContextAnswer: self._answer,
            Finish: lambda _order: self._finish(),
        }
        self._traces = Traces()
        moves.watch()

    def run(self) -> None:
        """Run threads until ``Finish``, or until the port closes."""
        loop = self._loop
        loop.add_reader(self._port.fileno(), self._read)
        self._send(Ready())
        while not self._is_over:
            try:
                loop.run_forever()
            except BaseException:  # rule 7: a task that an entry left behind ended in SystemExit or KeyboardInterrupt
                self._leave_if_forked()
                say_all(traceback.format_exc())

    def close(self) -> None:
        """Give back what it holds, once it has run; a worker that exits need not."""
        self._loop.remove_reader(self._port.fileno())
        while left := asyncio.all_tasks(self._loop):
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(left))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        self._results.close()
        self._port.close()
        os.close(self._home)

    def _stop(self) -> None:
        self._is_over = True
        self._loop.stop()

    def _leave_if_forked(self) -> None:
        if os.getpid() != self._os_pid:
            os._exit(0)  # a child that an entry forked came back from it: it is no worker

    # what comes in

    def _read(self) -> None:
        self._leave_if_forked()
        for _ in range(FRAMES_A_TURN):
            try:
                frame = self._port.receive(0.0)
            except ChannelClosed:
                self._stop()
                return
            except PeerViolation as error:
                say(f"worker: a message was dropped: {error}")
                continue
            if frame is None:
                return
            for fd in frame.fds:
                os.close(fd)
            if frame.epoch >= self._port.epoch:
                self._port.epoch = frame.epoch
                act = self._orders.get(type(frame.body))
                if act is not None:  # some words are for plain workers alone
                    act(frame.body)

    def _begin(self, batch: Batch) -> None:
        """Begin what was not seen, all of it."""
        results = self._results
        seen, sequence = results.seen, batch.first_sequence
        spans = [*(Span(item.tid, item.entry, [item.arguments]) for item in batch.items), *batch.spans]
        last = sequence + sum(len(span.arguments) for span in spans) - 1
        if last <= seen:
            return
        results.mark_seen(last)
        for span in spans:
            for tid, arguments in enumerate(span.arguments, span.first_tid):
                if sequence > seen and results.begin(sequence):
                    self._start(tid, span.entry, arguments)
                sequence += 1

    def _start(self, tid: int, entry: str, arguments: msgspec.Raw) -> None:
        run = self._runs[tid] = _Run(entry)
        context = contextvars.copy_context()
        context.run(TID.set, tid)
        run.task = self._loop.create_task(self._drive(run, tid, entry, arguments), name=f"thread {tid}", context=context)
        self._tasks.open(tid)
        run.task.add_done_callback(partial(self._end, tid, run))

    async def _drive(self, run: _Run, tid: int, name: str, arguments: msgspec.Raw) -> tuple[Any, BaseException | None]:
        try:
            entry = self._entries.get(name)
            if entry is None:
                raise LookupError(f'there is no entry "{name}"')
            value = entry(_decode(arguments), AsyncThread(tid, self._place))
            return (await run.stepped.of(value) if isawaitable(value) else value), None
        except BaseException as error:
            return None, error

    def _steer(self, order: Steer) -> None:
        if order.verb == "cancel":
            for tid in order.tids:
                run = self._runs.get(tid)
                if run is not None and run.task is not None and not run.is_cancelled:  # once: a second one would end what it puts in order
                    run.is_cancelled = True
                    run.stepped.release()
                    run.task.cancel()
        elif order.verb == "hold":
            held = set(order.tids)
            for tid, run in self._runs.items():
                if tid in held and not run.is_cancelled:
                    run.stepped.hold()
                else:
                    run.stepped.release()

    def _greet(self) -> None:
        self._ring()
        for call in self._calls.repeat():
            self._send(call)

    def _finish(self) -> None:
        self._is_finishing = True
        self._stop_if_idle()

    def _stop_if_idle(self) -> None:
        if self._is_finishing and not self._runs and not self._unwritten:
            self._stop()

    # what goes out

    def _end(self, tid: int, run: _Run, task: "asyncio.Task[tuple[Any, BaseException | None]]") -> None:
        """A thread has ended: its result goes into the page, behind those that wait for room there."""
        self._leave_if_forked()
        del self._runs[tid]
        self._cancel_left(tid)
        self._next_progress.pop(tid, None)
        value, error = (None, asyncio.CancelledError()) if task.cancelled() else task.result()
        now = time.monotonic()
        timing = Timing(time.time() - now + run.started, now - run.started, run.stepped.cpu_seconds)
        self._ended += 1
        if error is None:
            record = failure.record_of_result(self._ended, tid, value, timing)
        else:
            trace = failure.shortened(error)
            if not run.is_cancelled:
                self._traces.write(tid, run.entry, trace)
            record = failure.record_of_error(
                self._ended, tid, error, timing, status="cancelled" if run.is_cancelled else "error", trace=trace
            )
            error.__traceback__ = None  # its frames hold whatever the entry held
        if moves.is_away:
            os.fchdir(self._home)
            moves.is_away = False
        if self._unwritten or not self._write(record):
            self._unwritten.append(record)
            self._results.mark_waiting(is_waiting=True)
            self._write_waiting()  # the kernel may have made room before it could see the mark
        if not self._is_announcing:
            self._is_announcing = True
            self._loop.call_soon(self._announce)

    def _cancel_left(self, tid: int) -> None:
        left = self._tasks.close(tid)
        if left and not self._has_told_of_left:
            self._has_told_of_left = True  # once: who has read it knows
            say(
                f"worker: {left} {'task' if left == 1 else 'tasks'} that thread {tid} had begun and not awaited {'is' if left == 1 else 'are'} cancelled with it"
            )

    def _write(self, record: bytes) -> bool:
        if not self._results.write(record):
            return False
        self._results.finish(self._ended - len(self._unwritten))
        return True

    def _write_waiting(self) -> None:
        has_written = False
        while self._unwritten and self._results.write(self._unwritten[0]):
            self._unwritten.popleft()
            self._results.finish(self._ended - len(self._unwritten))
            has_written = True
        if not self._unwritten:
            self._results.mark_waiting(is_waiting=False)
        if has_written:
            self._announce()

    def _announce(self) -> None:
        self._is_announcing = False
        self._ring()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()  # of a line that is not ended
        self._stop_if_idle()

    def _ring(self) -> None:
        with self._sending:
            if self._port.waits_to_write and self._is_rung:
                return  # it goes out before anything that would be newer
            self._try_to_send(Doorbell(self._results.done))
            self._is_rung = self._port.waits_to_write
        self._watch_writing()

    def _send(self, message: msgspec.Struct) -> None:
        with self._sending:
            self._try_to_send(message)
        self._watch_writing()

    def _try_to_send(self, message: msgspec.Struct) -> None:
        try:
            self._port.send(message)
        except ChannelClosed:
            self._stop()

    def _watch_writing(self) -> None:
        """Have the loop write what the socket did not take."""
        if self._port.waits_to_write and not self._is_writing:
            self._is_writing = True
            self._loop.add_writer(self._port.fileno(), self._flush)

    def _flush(self) -> None:
        with self._sending:
            try:
                is_done = self._port.flush()
            except ChannelClosed:
                self._stop()
                is_done = True
        if is_done:
            self._is_writing = False
            self._loop.remove_writer(self._port.fileno())
            if self._is_rung:
                self._is_rung = False
                self._ring()  # it may have gone out a while before the last of what waited

    # what threads ask

    async def _ask(self, tid: int, operation: Asked, pid: int, seconds: float) -> ContextAnswer:
        """Ask the kernel for a thread and wait for the answer. Raises DeadlinePassed when none came."""
        call = self._calls.ask(operation, tid=tid, pid=pid)
        self._waiting[call.sequence] = self._loop.create_future()
        try:
            self._send(call)
            async with asyncio.timeout(seconds):
                await self._waiting[call.sequence]
            answer = self._calls.take(call.sequence)
            assert answer is not None, "told without an answer"
            return answer
        except TimeoutError:
            raise DeadlinePassed(f"cannot {operation.__struct_config__.tag}: no kernel answered in {seconds:g} s") from None
        finally:
            del self._waiting[call.sequence]
            self._calls.abandon(call.sequence)  # if it has no answer: an exception came instead

    def _answer(self, answer: ContextAnswer) -> None:
        for call in self._calls.receive(answer):
            self._send(call)
        waiting = self._waiting.get(answer.sequence)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _report(self, tid: int, text: str, fraction: float | None) -> None:
        """Report how far a thread is, unless it just did, or the kernel does not read."""
        now = time.monotonic()
        if now < self._next_progress.get(tid, 0.0):
            return
        self._next_progress[tid] = now + PROGRESS_INTERVAL
        message = Progress(tid, str(text)[:TEXT_LIMIT], None if fraction is None else min(1.0, max(0.0, float(fraction))))
        with self._sending:
            if not self._port.waits_to_write:
                self._try_to_send(message)
