"""The async worker by itself: a kernel's end of its port, its page, and entries that do what entries do."""

import asyncio
import contextlib
import contextvars
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dadms_ipc import context
from dadms_ipc.channel import Channel, pair
from dadms_ipc.errors import ChannelClosed, DeadlinePassed
from dadms_ipc.port import ContextAnswer, ContextCall
from dadms_ipc.running import current_tid
from dadmsd.worker.asynchronous import AsyncWorker
from dadmsd.worker.messages import (
    Batch,
    Consumed,
    Doorbell,
    Finish,
    FromWorker,
    Hello,
    Item,
    Outcome,
    Progress,
    Ready,
    Steer,
    ToWorker,
)
from dadmsd.worker.page import Page
from dadmsd.worker.results import Results
from dadmsd.zygote.messages import WorkerGate

NIL = msgspec.Raw(b"\xc0")
SECONDS = 20.0  # that something may take which has to happen


class Kernel:
    """The kernel's end of one worker, which runs in a thread of this process."""

    def __init__(self, directory: Path, entries: dict[str, Callable[[Any, Any], Any]]) -> None:
        ours, theirs = pair()
        self.channel: Channel[Any] = Channel(ours, FromWorker, epoch=1)
        self.page, fd = Page.create("test")
        port: Channel[Any] = Channel(theirs, ToWorker)
        gate = WorkerGate(1001, 2, 3, 1, msgspec.Raw(b"\x80"), str(directory), is_async=True)
        self.worker = AsyncWorker(port, Results(fd), gate, entries)
        os.close(fd)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        self.sequence = 1
        self.said: list[Any] = []
        self.ended: list[Outcome] = []
        assert isinstance(self.hear(Ready), Ready)

    def _run(self) -> None:
        self.worker.run()
        self.worker.close()

    def begin(self, *items: tuple[int, str, Any], again: bool = False) -> None:
        """Send threads: (tid, entry, argument)."""
        first = self.sequence
        self.channel.send(Batch(first, [Item(tid, entry, msgspec.Raw(msgspec.msgpack.encode(value))) for tid, entry, value in items]))
        if not again:
            self.sequence += len(items)

    def hear(self, kind: type[Any]) -> Any:
        """Wait for a message of a kind; the others are kept in ``said``."""
        while True:
            frame = self.channel.receive(SECONDS)
            assert frame is not None, f"no {kind.__name__} came"
            if isinstance(frame.body, kind):
                return frame.body
            self.said.append(frame.body)

    def results(self, count: int, *, consumes: bool = True) -> list[Outcome]:
        """Wait for so many results that were not had yet."""
        found: list[Outcome] = []
        while len(found) < count:
            fresh = [outcome for outcome in self.page.read_results() if outcome not in self.ended]
            found += fresh
            self.ended += fresh
            if fresh and consumes:
                self.page.consume(fresh[-1].sequence)
                if self.page.waits:
                    self.channel.send(Consumed())
            elif len(found) < count:
                self.hear(Doorbell)
        return found

    def close(self) -> None:
        """Have it finish, and wait for that."""
        if self.thread.is_alive():
            with contextlib.suppress(ChannelClosed):
                self.channel.send(Finish())
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()
        self.channel.close()
        self.page.close()


@contextlib.contextmanager
def kernel(directory: Path, **entries: Callable[[Any, Any], Any]) -> Iterator[Kernel]:
    made = Kernel(directory, entries)
    yield made
    made.close()


def value(outcome: Outcome) -> Any:
    """Give what an entry returned."""
    assert outcome.status == "completed", outcome
    return msgspec.msgpack.decode(outcome.value)


async def nap(seconds: float, thread: Any) -> list[Any]:
    """Sleep."""
    await asyncio.sleep(seconds)
    task = asyncio.current_task()
    return [thread.tid, current_tid(), task.get_name() if task is not None else ""]


def test_results_come_in_the_order_of_their_ends_numbered_by_it(tmp_path: Path) -> None:
    with kernel(tmp_path, nap=nap) as made:
        made.begin((7, "nap", 0.2), (8, "nap", 0.01), (9, "nap", 0.1))
        found = made.results(3)
        assert [(outcome.sequence, outcome.tid) for outcome in found] == [(1, 8), (2, 9), (3, 7)]
        assert [value(outcome) for outcome in found] == [[tid, tid, f"thread {tid}"] for tid in (8, 9, 7)]
        assert (made.page.begun, made.page.seen, made.page.done) == (3, 3, 3)
        assert 0.2 <= found[2].run_seconds < 5.0
        assert found[2].cpu_seconds < 0.1


def test_what_was_seen_is_dropped(tmp_path: Path) -> None:
    begun = []

    async def note(argument: int, _thread: Any) -> None:
        begun.append(argument)

    with kernel(tmp_path, note=note) as made:
        made.begin((1, "note", 1), (2, "note", 2), again=True)
        made.begin((1, "note", 1), (2, "note", 2), (3, "note", 3))
        made.results(3)
    assert begun == [1, 2, 3]


def test_errors_are_data_and_so_is_whatever_ends_a_program(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def exits(_argument: Any, _thread: Any) -> None:
        raise SystemExit(3)

    async def leaves_one_that_exits(_argument: Any, _thread: Any) -> str:
        async def later() -> None:
            raise KeyboardInterrupt

        task = asyncio.get_running_loop().create_task(later())
        await asyncio.sleep(0.01)
        return type(task.exception()).__name__

    async def cancels_itself(_argument: Any, _thread: Any) -> None:
        raise asyncio.CancelledError("by itself")

    def plain(argument: Any, _thread: Any) -> Any:
        return argument

    async def strange(_argument: Any, _thread: Any) -> object:
        return object()

    with kernel(tmp_path, exits=exits, leaves=leaves_one_that_exits, cancels=cancels_itself, plain=plain, strange=strange) as made:
        made.begin(*((tid, entry, 5) for tid, entry in enumerate(("exits", "cancels", "plain", "strange", "nobody", "leaves"), 1)))
        found = {outcome.tid: outcome for outcome in made.results(6)}
    assert [(outcome.status, outcome.kind) for _, outcome in sorted(found.items())] == [
        ("error", "SystemExit"),
        ("error", "CancelledError"),
        ("completed", ""),
        ("error", "result-not-encodable"),
        ("error", "LookupError"),
        ("completed", ""),
    ]
    assert value(found[6]) == "KeyboardInterrupt", "the worker lived on"
    assert found[1].traceback.count("File ") == 1, "it begins at the user's own code"
    assert f"thread 1 (exits):\n{found[1].traceback}" in capfd.readouterr().err


def test_one_is_cancelled_and_its_end_says_so(tmp_path: Path) -> None:
    ends = []

    async def tidy(argument: int, _thread: Any) -> None:
        try:
            await asyncio.sleep(60.0)
        finally:
            await asyncio.sleep(0.01)
            ends.append(argument)

    with kernel(tmp_path, tidy=tidy, nap=nap) as made:
        made.begin((1, "tidy", 1), (2, "tidy", 2), (3, "nap", 0.2))
        made.channel.send(Steer("cancel", [2, 99]))
        made.channel.send(Steer("cancel", [2]))  # again, by a next kernel
        (first,) = made.results(1)
        assert (first.tid, first.status, first.kind) == (2, "cancelled", "CancelledError")
        assert made.results(1)[0].tid == 3
        made.channel.send(Steer("cancel", [1]))
        assert made.results(1)[0].status == "cancelled"
    assert ends in ([2, 1], [1]), "one that had not begun its first step has nothing to put in order"


def test_one_that_is_cancelled_before_its_first_step_ends_as_cancelled(tmp_path: Path) -> None:
    with kernel(tmp_path, nap=nap) as made:
        made.begin(*((tid, "nap", 60.0) for tid in range(1, 50)))
        made.channel.send(Steer("cancel", list(range(1, 50))))
        assert {outcome.status for outcome in made.results(49)} == {"cancelled"}


def test_one_that_is_held_is_not_stepped_and_loses_nothing(tmp_path: Path) -> None:
    steps: list[int] = []
    reached, go = threading.Event(), threading.Event()

    async def walk(_argument: Any, thread: Any) -> str:
        for step in range(1000):
            steps.append(step)
            if step == 3:
                reached.set()
                await asyncio.to_thread(go.wait, SECONDS)  # what it waits for comes while it is held
        return f"walked {thread.tid}"

    with kernel(tmp_path, walk=walk, nap=nap) as made:
        made.begin((1, "walk", None))
        assert reached.wait(SECONDS)
        made.channel.send(Steer("hold", [1]))
        made.begin((2, "nap", 0.0))
        assert made.results(1)[0].tid == 2, "the hold was heard before"
        go.set()
        made.begin((3, "nap", 0.1))
        assert made.results(1)[0].tid == 3
        assert steps == [0, 1, 2, 3]
        made.channel.send(Steer("hold", []))
        assert value(made.results(1)[0]) == "walked 1"


def test_one_that_is_held_and_cancelled_goes_on_to_end(tmp_path: Path) -> None:
    with kernel(tmp_path, nap=nap) as made:
        made.begin((1, "nap", 0.01), (2, "nap", 0.2))
        made.channel.send(Steer("hold", [1]))
        assert made.results(1)[0].tid == 2
        made.channel.send(Steer("cancel", [1]))
        assert made.results(1)[0].status == "cancelled"


def test_a_time_out_of_its_own_is_heard_when_it_goes_on(tmp_path: Path) -> None:
    async def impatient(_argument: Any, _thread: Any) -> str:
        try:
            async with asyncio.timeout(0.05):
                await asyncio.sleep(60.0)
        except TimeoutError:
            return "was too slow"
        return "?"

    with kernel(tmp_path, impatient=impatient, nap=nap) as made:
        made.begin((1, "impatient", None), (2, "nap", 0.3))
        made.channel.send(Steer("hold", [1]))
        assert made.results(1)[0].tid == 2
        made.channel.send(Steer("hold", []))
        assert value(made.results(1)[0]) == "was too slow"


def test_a_full_ring_keeps_no_thread_waiting(tmp_path: Path) -> None:
    """Fifty results of 200 kB are more than the ring holds: all threads end before any is consumed, and all come out in the end."""
    ended = []

    async def large(argument: int, _thread: Any) -> bytes:
        ended.append(argument)
        await asyncio.sleep(0)
        return bytes([argument]) * 200_000

    with kernel(tmp_path, large=large) as made:
        made.begin(*((tid, "large", tid) for tid in range(1, 51)))
        first = made.results(5, consumes=False)
        made.channel.send(Hello())
        made.hear(Doorbell)
        assert len(ended) == 50
        assert made.page.waits
        made.page.consume(first[-1].sequence)
        made.channel.send(Consumed())
        rest = made.results(45)
        assert [outcome.sequence for outcome in [*first, *rest]] == list(range(1, 51))
        assert {value(outcome)[0] for outcome in [*first, *rest]} == set(range(1, 51))
        assert not made.page.waits


def test_calls_are_awaited_repeated_after_a_hello_and_given_up(tmp_path: Path) -> None:
    async def asks(_argument: Any, thread: Any) -> Any:
        return (await thread.context.get("r", "k")).value

    async def gives_up(_argument: Any, thread: Any) -> str:
        try:
            await thread._place.ask(thread.tid, context.Get("r", "k"), 0, 0.05)
        except DeadlinePassed as error:
            return str(error)
        return "?"

    with kernel(tmp_path, asks=asks, gives_up=gives_up, nap=nap) as made:
        made.begin((1, "asks", None), (2, "nap", 0.01))
        call = made.hear(ContextCall)
        assert (call.tid, call.sequence) == (1, 1)
        assert made.results(1)[0].tid == 2, "nobody else waits for the answer"
        made.channel.send(Hello())
        again = made.hear(ContextCall)
        assert again == call
        body = msgspec.Raw(msgspec.msgpack.encode(context.Cell(7, 42)))
        for _ in range(2):
            made.channel.send(ContextAnswer(1, "ok", body))
        assert value(made.results(1)[0]) == 42
        made.begin((3, "gives_up", None))
        assert "no kernel answered in 0.05 s" in value(made.results(1)[0])


def test_an_artifact_is_written_and_opened_and_progress_is_told(tmp_path: Path) -> None:
    async def keeps(argument: str, thread: Any) -> str:
        thread.progress("half", 0.5)
        thread.progress("dropped: it said something just now", 2.0)
        made = await thread.artifact(argument.encode())
        return bytes(thread.open(made)).decode()

    with kernel(tmp_path, keeps=keeps) as made:
        made.begin((1, "keeps", "words"))
        call = made.hear(ContextCall)
        made.channel.send(ContextAnswer(call.sequence, "ok", msgspec.Raw(msgspec.msgpack.encode({"used": 5, "limit": 100}))))
        assert value(made.results(1)[0]) == "words"
        assert [each for each in made.said if isinstance(each, Progress)] == [Progress(1, "half", 0.5)]


def test_the_working_directory_is_set_back_when_one_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def wanders(_argument: Any, _thread: Any) -> str:
        os.chdir("/")
        return str(Path.cwd())

    with kernel(tmp_path, wanders=wanders) as made:
        made.begin((1, "wanders", None))
        assert value(made.results(1)[0]) == "/"
        assert Path.cwd() == tmp_path


def test_it_ends_with_its_port(tmp_path: Path) -> None:
    made = Kernel(tmp_path, {"nap": nap})
    made.begin((1, "nap", 60.0))
    made.channel.close()
    made.thread.join(SECONDS)
    assert not made.thread.is_alive()
    made.page.close()


def test_finish_lets_what_runs_end(tmp_path: Path) -> None:
    with kernel(tmp_path, nap=nap) as made:
        made.begin((1, "nap", 0.1))
        made.channel.send(Finish())
        assert made.results(1)[0].tid == 1


LEFT: dict[str, asyncio.Task[Any]] = {}


async def _until_cancelled(name: str) -> None:
    LEFT[name] = asyncio.current_task()  # type: ignore[assignment]  # it runs in one
    await asyncio.sleep(3600)


async def leave(how: str, _thread: Any) -> str:
    """Begin a task, one below it and one by way of a helper thread, and end without them."""

    async def nested() -> None:
        asyncio.create_task(_until_cancelled(f"{how} nested"))  # noqa: RUF006 - it is left
        await _until_cancelled(f"{how} left")

    asyncio.create_task(nested())  # noqa: RUF006 - it is left
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(_until_cancelled(f"{how} threaded"), loop))
    asyncio.create_task(_until_cancelled(f"{how} own"), context=contextvars.Context())  # noqa: RUF006 - it is left
    while len([name for name in LEFT if name.startswith(how)]) < 4:
        await asyncio.sleep(0)
    if how == "raises":
        raise ValueError(how)
    if how == "is cancelled":
        await asyncio.sleep(3600)
    return how


async def look(how: str, _thread: Any) -> list[bool]:
    """Tell which of the tasks that a thread left are cancelled, once all have had a turn."""
    for _ in range(3):
        await asyncio.sleep(0)
    return [LEFT[f"{how} {name}"].cancelled() for name in ("left", "nested", "threaded", "own")]


@pytest.mark.parametrize("how", ["returns", "raises", "is cancelled"])
def test_tasks_that_an_entry_left_end_with_its_thread(tmp_path: Path, how: str, capfd: pytest.CaptureFixture[str]) -> None:
    """However it ends; not those that were begun in a context of their own."""
    LEFT.clear()
    with kernel(tmp_path, leave=leave, look=look) as made:
        made.begin((7, "leave", how))
        while how == "is cancelled" and len(LEFT) < 4:
            made.channel.send(Hello())
            made.hear(Doorbell)
        if how == "is cancelled":
            made.channel.send(Steer("cancel", [7]))
        assert made.results(1)[0].status == {"returns": "completed", "raises": "error", "is cancelled": "cancelled"}[how]
        made.begin((8, "look", how))
        assert value(made.results(1)[0]) == [True, True, True, False]
        made.begin((9, "leave", f"{how} again"))
        made.results(1) if how != "is cancelled" else None
        if how != "is cancelled":
            made.begin((10, "look", f"{how} again"))
            assert value(made.results(1)[0]) == [True, True, True, False]
        else:
            made.channel.send(Steer("cancel", [9]))
            made.results(1)
    said = [line for line in capfd.readouterr().err.splitlines() if "cancelled with it" in line]
    assert said == ["worker: 3 tasks that thread 7 had begun and not awaited are cancelled with it"], "once a worker"


def test_a_task_that_was_awaited_is_nobodys(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def gather(_argument: Any, _thread: Any) -> int:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0.001, number)) for number in range(10)]
        return sum(task.result() for task in tasks)

    with kernel(tmp_path, gather=gather) as made:
        made.begin((7, "gather", None))
        assert value(made.results(1)[0]) == 45
    assert "cancelled" not in capfd.readouterr().err
