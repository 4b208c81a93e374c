"""What a thread comes to: a value that travels, or an error in words; the loop runs here in this process, on a real port and page."""

import numbers
import os
import select
import signal
import threading
import time
from collections import UserString
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dadms_ipc.channel import Channel, pair
from dadms_orchestrators.entries import thread
from dadmsd.worker import failure, traces
from dadmsd.worker import messages as worker
from dadmsd.worker.loop import Worker
from dadmsd.worker.messages import Batch, Finish, FromWorker, Item, Outcome
from dadmsd.worker.page import RECORD_LIMIT, RESULT_LIMIT, Page
from dadmsd.worker.results import Results
from dadmsd.zygote.messages import WorkerGate

NIL = msgspec.Raw(b"\xc0")


class Bench:
    """A worker in this process: what is sent to it is run when ``finish`` is called."""

    def __init__(self, directory: Path) -> None:
        self._home = Path.cwd()
        os.chdir(directory)
        self.page, self.page_fd = Page.create("bench")
        self.results = Results(self.page_fd)
        mine, theirs = pair()
        self.port: Channel[FromWorker] = Channel(mine, FromWorker)
        self._worker_port: Channel[Any] = Channel(theirs, worker.ToWorker)
        self.entries: dict[str, Callable[[Any, Any], object]] = {}
        config = msgspec.Raw(msgspec.msgpack.encode({"depth": [1, 2]}))
        self.worker = Worker(self._worker_port, self.results, WorkerGate(1001, 2, 3, 1, config, str(directory)), self.entries)

    def run(self, *entries: Callable[[Any, Any], object]) -> list[Outcome]:
        """Run each as a thread of one batch."""
        items = []
        for number, entry in enumerate(entries, 1):
            self.entries[str(number)] = entry
            items.append(Item(100 + number, str(number), NIL))
        self.port.send(Batch(1, items))
        self.port.send(Finish())
        self.worker.run()
        return self.page.read_results()

    def rings(self) -> list[int]:
        """Give what each doorbell said."""
        found = []
        while (frame := self.port.receive()) is not None:
            if isinstance(frame.body, worker.Doorbell):
                found.append(frame.body.done)
        return found

    def close(self) -> None:
        self.results.close()
        self.page.close()
        self.port.close()
        self._worker_port.close()
        os.close(self.page_fd)
        os.close(self.worker._home)
        os.chdir(self._home)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def value_of(bench: Bench, value: object) -> Any:
    (outcome,) = bench.run(lambda arguments, thread: value)
    assert outcome.status == "completed", outcome.message
    return msgspec.msgpack.decode(outcome.value)


@dataclass
class Point:
    x: float
    y: object


class Label(str):
    __slots__ = ()


class Double(float):
    """As numpy's float64: a float and more."""


class Single:
    """As numpy's float32: no float, but registered as a real number."""

    def __float__(self) -> float:
        return 0.5


class Long:
    """As numpy's int64: no int, but registered as an integer."""

    def __int__(self) -> int:
        return 7


numbers.Real.register(Single)
numbers.Integral.register(Long)


PLAIN: list[tuple[object, object]] = [
    (None, None),
    ({"a": [1, 2.5, "x", True, None]}, {"a": [1, 2.5, "x", True, None]}),
    (float("inf"), float("inf")),
    (Decimal("1.50"), "1.50"),
    (datetime(2026, 11, 22, 16, 55, tzinfo=UTC), datetime(2026, 11, 22, 16, 55, tzinfo=UTC)),
    (Point(1.0, [2]), {"x": 1.0, "y": [2]}),
    (Label("of a kind"), "of a kind"),
    (Double(2.5), 2.5),
    (Single(), 0.5),
    (Long(), 7),
    ({"scores": [Double(1.0)]}, {"scores": [1.0]}),
]


@pytest.mark.parametrize(("value", "travelled"), PLAIN, ids=[type(value).__name__ for value, _ in PLAIN])
def test_what_msgpack_can_say_travels(bench: Bench, value: object, travelled: object) -> None:
    assert value_of(bench, value) == travelled


def test_not_a_number_travels(bench: Bench) -> None:
    value = value_of(bench, float("nan"))
    assert value != value


def _endless() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


class Array:
    """It has the name of one of NumPy, which is no dependency."""


Array.__module__, Array.__qualname__ = "numpy", "ndarray"


class Hostile:
    @property
    def __dataclass_fields__(self) -> dict[str, object]:
        raise RuntimeError("no looking")


REFUSED: list[tuple[object, str]] = [
    ({"scores": [1, 2, {"x": object()}]}, "result['scores'][2]['x'] is a object, which msgpack cannot encode"),
    (Fraction(1, 3), "result is a fractions.Fraction, which msgpack cannot encode"),
    (Point(1.0, UserString("x")), "result.y is a collections.UserString, which msgpack cannot encode"),
    ([2**64], "result[0] is a int, which msgpack cannot encode (can't serialize ints < -2**63 or > 2**64 - 1)"),
    (["\ud800"], "result[0] is a str, which msgpack cannot encode ('utf-8' codec"),
    (({1, 2j},), "an element of result[0] is a complex, which msgpack cannot encode"),
    ({Fraction(1, 2): 1}, "the key Fraction(1, 2) of result is a fractions.Fraction"),
    (_endless(), "is nested too deeply, or contains itself"),
    (Hostile(), "looking at it raises RuntimeError"),
    ({"a": Array()}, "result['a'] is a numpy.ndarray, which msgpack cannot encode: return an artifact instead, whose reference is small"),
    (print, "result is a builtin_function_or_method, which msgpack cannot encode"),
]


@pytest.mark.parametrize(("value", "message"), REFUSED, ids=[type(value).__name__ for value, _ in REFUSED])
def test_what_it_cannot_is_an_error_that_names_the_part(bench: Bench, value: object, message: str) -> None:
    failed, after = bench.run(lambda arguments, thread: value, lambda arguments, thread: "next")
    assert (failed.status, failed.kind, failed.traceback) == ("error", "result-not-encodable", "")
    assert message in failed.message
    assert failed.message.startswith("the result cannot travel between processes: ")
    assert after.status == "completed"


def test_a_result_may_be_as_large_as_the_limit_and_no_larger(bench: Bench) -> None:
    largest = RESULT_LIMIT - 5  # the header of a msgpack bin
    fits, too_large = bench.run(lambda arguments, thread: bytes(largest), lambda arguments, thread: bytes(largest + 1))
    assert (fits.status, len(bytes(fits.value))) == ("completed", RESULT_LIMIT)
    assert (too_large.status, too_large.kind) == ("error", "result-too-large")
    assert f"{RESULT_LIMIT + 1} bytes" in too_large.message
    assert f"at most {RESULT_LIMIT}" in too_large.message


def _raise(error: BaseException) -> Callable[[Any, Any], object]:
    def entry(arguments: Any, thread: Any) -> object:
        raise error

    return entry


class Bpmn(Exception):
    bpmn_code = "E-17"


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("no")


class Leaving(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


ERRORS: list[tuple[BaseException, str, str, str]] = [
    (ValueError("bad"), "ValueError", "bad", ""),
    (SystemExit(3), "SystemExit", "3", ""),
    (KeyboardInterrupt(), "KeyboardInterrupt", "", ""),
    (MemoryError(), "MemoryError", "", ""),
    (GeneratorExit(), "GeneratorExit", "", ""),
    (Bpmn("told"), "Bpmn", "told", "E-17"),
    (Unspeakable(), "Unspeakable", "(its text cannot be shown)", ""),
    (Leaving(), "Leaving", "(its text cannot be shown)", ""),
    (type("", (Exception,), {})("nobody"), "(unnamed)", "nobody", ""),
    (ValueError("\ud800 half a character"), "ValueError", "\\ud800 half a character", ""),
]


@pytest.mark.parametrize(("error", "kind", "message", "code"), ERRORS, ids=[kind + message[:4] for _, kind, message, _ in ERRORS])
def test_whatever_an_entry_raises_is_its_threads_error(bench: Bench, error: BaseException, kind: str, message: str, code: str) -> None:
    failed, after = bench.run(_raise(error), lambda arguments, thread: thread.tid)
    assert (failed.status, failed.kind, failed.message, failed.code, failed.tid) == ("error", kind, message, code, 101)
    assert after.status == "completed"


def test_a_traceback_begins_where_the_users_code_does(bench: Bench) -> None:
    def deeper() -> object:
        return dict[str, int]()["key"]

    def entry(arguments: Any, thread: Any) -> object:
        try:
            return deeper()
        except KeyError as error:
            raise RuntimeError("no such thing") from error

    (failed,) = bench.run(entry)
    assert failed.traceback.count('File "') == 3
    assert failed.traceback.count(__file__) == 3
    assert "direct cause" in failed.traceback
    assert failed.traceback.endswith("RuntimeError: no such thing\n")


@thread
def declared(depth: int = 1) -> object:
    raise KeyError(depth)


def test_a_traceback_of_a_declared_entry_begins_in_its_function(bench: Bench) -> None:
    (failed,) = bench.run(declared)
    assert failed.traceback.count('File "') == 1
    assert "in declared\n" in failed.traceback


def test_a_traceback_stands_in_the_log_behind_what_the_entry_wrote(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    def entry(arguments: Any, thread: Any) -> object:
        os.write(2, b"said before\n")
        raise LookupError("no such thing")

    (failed,) = bench.run(entry)
    assert capfd.readouterr().err == f"said before\nthread 101 (1):\n{failed.traceback}"


def test_of_very_many_tracebacks_the_log_has_some_and_says_so(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    failed = bench.run(*(_raise(ValueError(f"number {number}")) for number in range(traces.MOST + 5)))
    said = capfd.readouterr().err
    assert len(failed) == traces.MOST + 5
    assert said.count("Traceback (most recent call last):") <= traces.MOST
    assert said.count(f"worker: more than {traces.MOST} tracebacks in a second") == 1


def test_a_log_that_nobody_reads_costs_a_traceback_and_no_thread(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    kept, (reader, writer) = os.dup(2), os.pipe()
    try:
        while select.select([], [writer], [], 0.0)[1]:
            os.write(writer, bytes(select.PIPE_BUF))
        os.dup2(writer, 2)
        failed, after = bench.run(_raise(ValueError("nobody reads this")), lambda arguments, thread: thread.tid)
    finally:
        os.dup2(kept, 2)
        for fd in (kept, reader, writer):
            os.close(fd)
    assert (failed.message, after.status) == ("nobody reads this", "completed")


def test_errors_of_any_size_fit_into_a_record(bench: Bench) -> None:
    (failed,) = bench.run(_raise(ValueError("ü" * 1_000_000)))
    assert len(failed.message) == failure.MESSAGE_LIMIT + 1
    assert len(failed.traceback) == failure.TRACEBACK_LIMIT + 1
    assert len(msgspec.msgpack.encode(failed)) < RECORD_LIMIT


def test_an_unknown_entry_is_an_error_of_its_thread(bench: Bench) -> None:
    bench.port.send(Batch(1, [Item(7, "nobody", NIL)]))
    (failed,) = bench.run()
    assert (failed.kind, failed.message) == ("LookupError", 'there is no entry "nobody"')


def test_a_thread_knows_where_it_runs(bench: Bench, tmp_path: Path) -> None:
    def entry(arguments: Any, thread: Any) -> object:
        thread.config["depth"].append(3)
        return [thread.tid, thread.pid, thread.worker, thread.config, thread.directory]

    (outcome,) = bench.run(entry)
    assert msgspec.msgpack.decode(outcome.value) == [101, 1001, 3, {"depth": [1, 2]}, str(tmp_path)]


def test_the_working_directory_is_set_back(bench: Bench, tmp_path: Path) -> None:
    outcomes = bench.run(lambda arguments, thread: os.chdir("/"), lambda arguments, thread: str(Path.cwd()))
    assert msgspec.msgpack.decode(outcomes[1].value) == str(tmp_path)


def test_times_are_measured(bench: Bench) -> None:
    def busy(arguments: Any, thread: Any) -> None:
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass

    before = time.time()
    slept, worked, idle = bench.run(lambda arguments, thread: time.sleep(0.02), busy, lambda arguments, thread: None)
    assert before - 0.001 <= slept.started_at <= worked.started_at <= time.time()
    assert slept.run_seconds >= 0.02 > slept.cpu_seconds
    assert worked.run_seconds >= 0.02
    assert worked.run_seconds + 0.01 > worked.cpu_seconds >= 0.02  # it begins where the thread before it ended, a doorbell earlier
    assert idle.cpu_seconds < 0.02


def test_a_slow_thread_is_not_begun_before_the_results_in_front_of_it_are_announced(bench: Bench) -> None:
    """Entries run for the first time count as slow."""
    seen: list[int] = []

    def slow(arguments: Any, thread: Any) -> None:
        seen.extend(bench.rings())

    bench.run(lambda arguments, thread: None, slow)
    assert seen == [1]


def test_quick_threads_share_a_doorbell(bench: Bench) -> None:
    bench.entries["quick"] = lambda arguments, thread: None
    bench.port.send(Batch(1, [Item(1, "quick", NIL)]))
    bench.port.send(Batch(2, [Item(2, "quick", NIL)] * 50))
    bench.run()
    assert bench.rings()[-1] == 51
    assert len(bench.page.read_results()) == 51


def test_a_batch_that_comes_again_in_part_is_run_in_part(bench: Bench) -> None:
    ran: list[object] = []
    bench.entries["note"] = lambda arguments, thread: ran.append(thread.tid)
    bench.port.send(Batch(1, [Item(1, "note", NIL), Item(2, "note", NIL)]))
    bench.port.send(Batch(1, [Item(1, "note", NIL), Item(2, "note", NIL), Item(3, "note", NIL)]))
    bench.port.send(Batch(2, [Item(2, "note", NIL)]))
    bench.run()
    assert ran == [1, 2, 3]


def test_progress_is_limited_and_may_come_from_any_thread(bench: Bench) -> None:
    def entry(arguments: Any, thread: Any) -> None:
        helper = threading.Thread(target=thread.progress, args=["x" * 5000, 7.0])
        helper.start()
        helper.join()
        for _ in range(100):
            thread.progress("more")

    bench.run(entry)
    told = []
    while (frame := bench.port.receive()) is not None:
        if isinstance(frame.body, worker.Progress):
            told.append(frame.body)
    assert told[0] == worker.Progress(101, "x" * 500, 1.0)
    assert len(told) < 10


def test_a_signal_in_an_entry_is_that_threads_error(bench: Bench) -> None:
    failed, after = bench.run(lambda arguments, thread: signal.raise_signal(signal.SIGINT), lambda arguments, thread: 1)
    assert (failed.kind, after.status) == ("KeyboardInterrupt", "completed")
