"""A batch on a daemon: a decision process that serves it alone, the rows, how far they are, and the end of all of it.

1. The process ends with the batch, with a summary as its outcome. Whatever else ends the command, it is killed; when the command itself is killed, it ends after the
   idle time-out that it was started with.
2. Results go to the output as they come. A batch that is broken off leaves those that were written.
3. Progress and summary are for stderr, as stdout may be the output.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

import click
import msgspec

from dadms_ipc import requests
from dadms_ipc.errors import DadmsError, RequestRefused
from dadmsctl import ending, pursuit, running
from dadmsctl.batching import TOPIC, Batch
from dadmsctl.decisions import Decision, listed
from dadmsctl.door import Door
from dadmsctl.exits import Exit, WorkLost
from dadmsctl.narrator import Narrator
from dadmsctl.quantities import seconds_text
from dadmsctl.results import Csv, JsonLines, Result, Writer
from dadmsctl.rows import Row, RowFile, form_of
from dadmsctl.running import Asked
from dadmsctl.terminal import console, printable
from dadmsctl.waiting import await_end

if TYPE_CHECKING:
    from rich.progress import Progress

    from dadms_ipc.client import Client

CHUNK_PATIENCE = 3000.0  # seconds for an answer; every thread has a time-out, and the bus keeps a message for an hour
PROGRESS_EVERY = 0.1  # seconds between two looks at the screen


@dataclass
class Tally:
    """How many rows there were."""

    rows: int = 0
    failed: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Give how long it has taken."""
        return time.monotonic() - self.began

    def summary(self) -> dict[str, Any]:
        """Give it as the outcome of the process."""
        seconds = self.seconds
        return {
            "rows": self.rows,
            "failed": self.failed,
            "seconds": round(seconds, 3),
            "rows_per_second": round(self.rows / seconds if seconds else 0.0, 1),
        }

    def __str__(self) -> str:
        rate = self.rows / self.seconds if self.seconds else 0.0
        return f"{self.rows:,} rows, {self.failed:,} failed, {seconds_text(self.seconds)}, {rate:,.0f} rows/s"


@contextlib.contextmanager
def output_of(path: Path | None, rows: Path) -> Iterator[TextIO]:
    """Open the output; raises RequestRefused for a file that cannot be written, or that is the rows themselves."""
    if path is None:
        yield sys.stdout
        return
    if path.exists() and path.samefile(rows):
        raise RequestRefused(f'cannot write "{path}": it is the file with the rows')
    try:
        file = path.open("w", encoding="utf-8", newline="")
    except (OSError, ValueError) as error:
        raise RequestRefused(f'cannot write "{path}": {getattr(error, "strerror", None) or error}') from error
    with file:
        yield file


def writer_of(file: TextIO, output: Path | None, rows: RowFile, decision: Decision) -> Writer:
    """Give what writes the results: in the form that the output's name says, else in that of the rows."""
    if (form_of(output) if output is not None else rows.form) == "jsonl":
        return JsonLines(file)
    return Csv(file, rows.names or list(dict.fromkeys([*rows.first_names, *decision.inputs])), decision.outputs)


def run(door: Door, asked: Asked, rows: RowFile, writer: Writer) -> Exit:
    """Evaluate all rows, say what they came to, and give the exit code."""
    with (
        Narrator(console(stderr=True), is_quiet=True, began=asked.began) as narrator,
        running.daemon(door, narrator, asked) as (place, private),
        place.connect() as client,
    ):
        pid = pursuit.spawn(client, running.spec_of(client, asked, narrator))
        tally = Tally()
        try:
            process = await_end(client, pid, until="ready")
            for warning in process.warnings:
                narrator.warn(warning)
            if not process.ended_at:
                tally.began = time.monotonic()
                asyncio.run(_exchange(place, pid, rows, _Teller(rows, writer, tally), asked.caps["workers"]))
                process = await_end(client, pid, timeout=place.timeout)
        except BaseException as error:
            process = _broken_off(client, pid, tally, error)  # raises it again, unless the process itself had ended
        if process.status != "completed":
            ending.tell_failure(process, running.log_of(client, process), keeps_log=private is None)
            return Exit.FAILED
    if dropped := list(getattr(writer, "dropped", ())):
        columns = "has no column" if len(dropped) == 1 else "have no columns"
        click.echo(printable(f"dadmsctl: warning: {listed(dropped)} of some rows {columns} in the output"), err=True)
    click.echo(str(tally), err=True)
    return Exit.FAILED if tally.failed else Exit.DONE


async def _exchange(place: Door, pid: int, rows: RowFile, teller: "_Teller", workers: int) -> None:
    """Carry the rows there and the results back, and tell the process that this was all."""
    from dadms_ipc.aio import Client as AsyncClient

    async with AsyncClient(
        place.place, timeout=place.timeout, start_timeout=place.timeout, key=place.key if place.host else None
    ) as client:

        async def ask(body: bytes) -> bytes:
            return await client.request(str(pid), body, topic=TOPIC, timeout=CHUNK_PATIENCE)

        echoes = rows.form == "csv" and isinstance(teller.writer, JsonLines)
        with teller:
            await Batch(ask, workers=workers, names=rows.names, echoes=echoes).run(iter(rows), teller.take)
        await client.request(str(pid), msgspec.msgpack.encode({"done": teller.tally.summary()}), topic=TOPIC)


def _broken_off(client: "Client", pid: int, tally: Tally, error: BaseException) -> requests.ProcessInfo:
    """Give the process when it was its end that broke the batch off; else end it, and raise the error again."""
    ended: requests.ProcessInfo | None = None
    if isinstance(error, RequestRefused):
        with contextlib.suppress(DadmsError):
            ended = await_end(client, pid, timeout=client.timeout)  # the bus refuses before the last of it has ended
    if tally.rows and (ended is None or ended.status != "completed"):  # one that completed had all rows: only its last answer was late
        click.echo(f"broken off after {tally}", err=True)
    if ended is not None:
        return ended
    if isinstance(error, WorkLost):
        raise error.after(f"{tally.rows:,} rows were done") from error
    with contextlib.suppress(DadmsError):
        client.call(requests.Kill(pid, reason="its batch was broken off"))
    raise error


class _Teller:
    """Takes results, writes them, and shows on a terminal how far they are; a context manager that leaves the terminal as it was."""

    def __init__(self, rows: RowFile, writer: Writer, tally: Tally) -> None:
        self.rows, self.writer, self.tally = rows, writer, tally
        self._screen = console(stderr=True)
        self._progress: Progress | None = None
        self._looked = 0.0

    def __enter__(self) -> Self:
        if self._screen.is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (BarColumn(), TextColumn("{task.percentage:3.0f} %"), TextColumn("{task.description}"), TimeRemainingColumn())
            self._progress = Progress(*columns, console=self._screen, transient=True)
            self._task = self._progress.add_task("", total=self.rows.size or None)
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()

    def take(self, row: Row, result: Result) -> None:
        """Write a row, and count it."""
        self.writer.write(row, result)
        self.tally.rows += 1
        self.tally.failed += bool(result.errors)
        if self._progress is not None and (now := time.monotonic()) - self._looked > PROGRESS_EVERY:
            self._looked = now
            self._progress.update(self._task, completed=self.rows.position, description=str(self.tally))
