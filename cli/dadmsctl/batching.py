"""A batch on its way: rows in chunks to a decision process and back, several at once, the results in the order of the rows.

1. Memory is flat: at most WINDOW chunks a worker are on their way or wait for one before them; then nothing more is read.
2. A chunk comes back in part when its results do not fit one answer or its time is up; the rest is asked for again, and the next chunks are smaller.
3. A chunk whose thread failed (its time, its memory, its worker's death) is asked for row by row, so that only the rows that are to blame have errors.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain

import msgspec

from dadms_ipc.errors import PeerViolation
from dadmsctl.results import Result
from dadmsctl.rows import Row

WINDOW = 3  # chunks a worker that are under way: one runs, one waits in the worker, one is on its way back
FIRST_ROWS, MOST_ROWS = 64, 1000  # of a chunk; above, what a thread costs by itself is nothing any more
CHUNK_BYTES = 512 * 1024  # after which a chunk takes no further row: a frame has 64 MiB, and a row at most 1 000 000 characters
TOPIC = "ROWS"

Ask = Callable[[bytes], Awaitable[bytes]]
Take = Callable[[Row, Result], None]


class Answered(msgspec.Struct, frozen=True):
    """What the decision process says of a chunk."""

    results: list[Result] = []
    failed: str = ""  # why its thread came to nothing


class Batch:
    """One batch; ``ask`` carries a body to the decision process and its answer back."""

    def __init__(self, ask: Ask, *, workers: int, names: Sequence[str], echoes: bool) -> None:
        self._ask = ask
        self._window = WINDOW * workers
        self._names = list(names)
        self._echoes = echoes
        self._rows_at_once = FIRST_ROWS
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Answered).decode

    async def run(self, rows: Iterator[Row], take: Take) -> None:
        """Evaluate all rows, and hand each over with its result, in order."""
        under_way: deque[tuple[list[Row], asyncio.Task[list[Result]]]] = deque()
        try:
            while True:
                while len(under_way) < self._window and (chunk := self._next(rows)):
                    under_way.append((chunk, asyncio.create_task(self._results(chunk))))
                if not under_way:
                    return
                chunk, task = under_way[0]
                results = await task
                under_way.popleft()
                for row, result in zip(chunk, results, strict=True):
                    take(row, result)
        finally:
            for _, task in under_way:
                task.cancel()
            await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)

    def _next(self, rows: Iterator[Row]) -> list[Row]:
        chunk: list[Row] = []
        size = 0
        while len(chunk) < self._rows_at_once and (row := next(rows, None)) is not None:
            chunk.append(row)
            size += row.size
            if size > CHUNK_BYTES:
                break
        return chunk

    async def _results(self, chunk: list[Row]) -> list[Result]:
        """Give the results of a chunk's rows; those that could not even be read are answered here."""
        sound = [row for row in chunk if not row.problem]
        found = iter(await self._evaluated(sound))
        return [unread(row) if row.problem else next(found) for row in chunk]

    async def _evaluated(self, rows: list[Row]) -> list[Result]:
        results: list[Result] = []
        while len(results) < len(rows):
            rest = rows[len(results) :]
            answer = await self._asked(rest)
            if answer.failed and len(rest) == 1:
                results.append(Result(b"null", [answer.failed]))
            elif answer.failed:
                return results + list(chain.from_iterable([await self._evaluated([row]) for row in rest]))
            elif not answer.results:
                raise PeerViolation(f"cannot go on with the batch: of {len(rest)} rows none was evaluated, and no reason was given")
            else:
                results += [placed(row, result) for row, result in zip(rest, answer.results, strict=False)]
                self._adapt(len(rest), len(answer.results))
        return results

    async def _asked(self, rows: list[Row]) -> Answered:
        body = {"rows": {"rows": [row.body for row in rows], "names": self._names, "echoes": self._echoes}}
        return self._decode(await self._ask(self._encode(body)))

    def _adapt(self, asked: int, done: int) -> None:
        if done < asked:
            self._rows_at_once = max(1, done)
        elif asked >= self._rows_at_once:
            self._rows_at_once = min(MOST_ROWS, 2 * self._rows_at_once)


def unread(row: Row) -> Result:
    """Give the result of a row that could not be read."""
    return Result(b"null", [f"cannot read line {row.line}: {row.problem}"], is_read=False)


def placed(row: Row, result: Result) -> Result:
    """Say where a row stands that the worker could not read."""
    if result.is_read:
        return result
    return msgspec.structs.replace(result, errors=[f"cannot read line {row.line}: {error}" for error in result.errors])
