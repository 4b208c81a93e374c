"""Rows in chunks: in order whatever comes back when, the rest of a part is asked for again, and a failure finds the row that is to blame."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest

from dadms_ipc.errors import PeerViolation, RequestRefused
from dadms_ipc.requests import ProcessInfo
from dadmsctl import batchrun
from dadmsctl.batching import CHUNK_BYTES, MOST_ROWS, WINDOW, Batch
from dadmsctl.results import Result
from dadmsctl.rows import Row

Rows = list[Any]


class Peer:
    """What stands for the decision process: a function from the rows of a chunk to its answer, and what it was asked."""

    def __init__(self, answer: Callable[[Rows], dict[str, Any]], turns: Callable[[Rows], int] = lambda _: 1) -> None:
        self.asked: list[Rows] = []
        self.at_once = self.most_at_once = 0
        self._answer = answer
        self._turns = turns  # of the event loop until a chunk is answered

    async def ask(self, body: bytes) -> bytes:
        rows = msgspec.msgpack.decode(body)["rows"]["rows"]
        self.asked.append(rows)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        for _ in range(self._turns(rows)):
            await asyncio.sleep(0)
        self.at_once -= 1
        return msgspec.msgpack.encode(self._answer(rows))


def echo(rows: Rows) -> dict[str, Any]:
    return {"results": [[str(row).encode()] for row in rows]}


def run(peer: Peer, rows: list[Row], workers: int = 2) -> list[tuple[Row, Result]]:
    taken: list[tuple[Row, Result]] = []
    batch = Batch(peer.ask, workers=workers, names=[], echoes=False)
    asyncio.run(batch.run(iter(rows), lambda row, result: taken.append((row, result))))
    return taken


def lines(count: int) -> list[Row]:
    return [Row(number, number, str(number)) for number in range(1, count + 1)]


def test_results_keep_the_order_although_answers_do_not() -> None:
    peer = Peer(echo, turns=lambda rows: 200 if int(rows[0]) % 2 else 1)
    taken = run(peer, lines(5000))
    assert [row.number for row, _ in taken] == list(range(1, 5001))
    assert all(result.value == str(row.number).encode() for row, result in taken)
    assert peer.most_at_once > 1


def test_chunks_grow_to_their_limit_and_no_more_are_under_way_than_the_window_has() -> None:
    peer = Peer(echo, turns=lambda _: 5)
    run(peer, lines(30 * MOST_ROWS), workers=3)
    assert max(map(len, peer.asked)) == MOST_ROWS
    assert peer.most_at_once == 3 * WINDOW


def test_rows_are_read_no_further_than_the_window() -> None:
    read = 0

    def rows() -> Any:
        nonlocal read
        for row in lines(100_000):
            read += 1
            yield row

    peer = Peer(echo)
    ahead: list[int] = []
    batch = Batch(peer.ask, workers=1, names=[], echoes=False)
    asyncio.run(batch.run(rows(), lambda row, _: ahead.append(read - row.number)))
    assert len(ahead) == 100_000
    assert max(ahead) <= WINDOW * MOST_ROWS


def test_a_chunk_takes_no_further_row_when_it_has_bytes_enough() -> None:
    peer = Peer(lambda rows: {"results": [[b"1"]] * len(rows)})
    run(peer, [Row(number, number, "x" * (CHUNK_BYTES // 3)) for number in range(1, 20)])
    assert max(map(len, peer.asked)) == 3


def test_what_came_back_in_part_is_asked_for_again_and_later_chunks_are_smaller() -> None:
    peer = Peer(lambda rows: echo(rows[:10]))
    taken = run(peer, lines(1000))
    assert [result.value for _, result in taken] == [str(number).encode() for number in range(1, 1001)]
    assert len(peer.asked[-1]) <= 20


def test_a_chunk_that_failed_is_asked_for_row_by_row() -> None:
    def answer(rows: Rows) -> dict[str, Any]:
        return {"failed": "did not end within 2 s"} if "7" in rows else echo(rows)

    taken = run(Peer(answer), lines(200))
    assert [(row.number, result.errors) for row, result in taken if result.errors] == [(7, ["did not end within 2 s"])]
    assert len(taken) == 200


def test_rows_that_could_not_be_read_travel_nowhere() -> None:
    rows = [Row(1, 2, "1"), Row(2, 9, "", "byte 3 of the line is not UTF-8"), Row(3, 10, "3"), Row(4, 12, "x")]

    def answer(asked: Rows) -> dict[str, Any]:
        return {"results": [[b"null", ["it is no JSON"], [], b"", False] if row == "x" else [b"1"] for row in asked]}

    peer = Peer(answer)
    taken = run(peer, rows)
    assert peer.asked == [["1", "3", "x"]]
    assert [result.errors for _, result in taken] == [
        [],
        ["cannot read line 9: byte 3 of the line is not UTF-8"],
        [],
        ["cannot read line 12: it is no JSON"],
    ]
    assert [result.is_read for _, result in taken] == [True, False, True, False]


def test_an_answer_without_rows_and_without_a_reason_ends_the_batch() -> None:
    with pytest.raises(PeerViolation, match="of 3 rows none was evaluated"):
        run(Peer(lambda _: {"results": []}), lines(3))


def test_an_error_ends_everything_that_is_under_way() -> None:
    def answer(rows: Rows) -> dict[str, Any]:
        if "500" in rows:
            raise ConnectionError("gone")
        return echo(rows)

    with pytest.raises(ConnectionError):
        run(Peer(answer), lines(5000))


def test_no_rows_are_no_work() -> None:
    peer = Peer(echo)
    assert run(peer, []) == []
    assert peer.asked == []


class Ended:
    """A daemon whose process has ended as it is said."""

    timeout = 1.0

    def __init__(self, status: str) -> None:
        self.found = ProcessInfo(1001, 1, "m", "decision", status, 0)

    def call(self, request: object) -> ProcessInfo:
        return self.found


@pytest.mark.parametrize(("status", "told"), [("completed", ""), ("killed", "broken off after 5 rows")])
def test_a_batch_whose_last_answer_came_too_late_was_not_broken_off(status: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    daemon = Ended(status)
    refused = RequestRefused("it has ended")
    assert batchrun._broken_off(cast("Any", daemon), 1001, batchrun.Tally(rows=5), refused) is daemon.found
    said = capsys.readouterr().err
    assert said.startswith(told)
    assert bool(said) == bool(told)
