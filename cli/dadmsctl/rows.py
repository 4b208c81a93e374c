"""Rows of a CSV or JSON-lines file as they stand there, one after the other, whatever the file's length.

1. What cells and values mean is not decided here: the worker reads them, as it has the model.
2. A line that is no text, too long, or no CSV is a row with a reason, and the next one goes on.
3. What is read at once is bounded: a line, and of CSV a row, by ROW_LIMIT.
"""

import contextlib
import csv
import os
import re
import select
import stat
from collections.abc import Iterator
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import msgspec

from dadms_ipc.errors import RequestRefused

ROW_LIMIT = 1_000_000  # characters, as the decision engine's own readers have it
CSV_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
LINES_SUFFIXES = (".jsonl", ".ndjson", ".json")
DELIMITERS = (",", ";", "\t", "|")  # the one that the first line has most of, the first of equals
FIFO_PATIENCE = 5.0  # seconds that a FIFO has for its first byte: whoever writes to it was started with us
FORMS = ("csv", "jsonl")
_SURROGATE = re.compile("[\ud800-\udfff]")  # a byte that is no UTF-8


class Row(NamedTuple):
    """One row: its cells, or its line of JSON, or the reason why it is neither."""

    number: int  # from 1
    line: int  # of the file, where it ends
    body: list[str] | str
    problem: str = ""

    @property
    def size(self) -> int:
        """Give about how many bytes it takes in a message."""
        return len(self.body) + 5 if isinstance(self.body, str) else sum(map(len, self.body)) + 5 * len(self.body)


def form_of(path: Path) -> str:
    """Give the form that a file's name says: "csv" or "jsonl"; raises RequestRefused for another."""
    suffix = path.suffix.lower()
    if suffix in CSV_SUFFIXES:
        return "csv"
    if suffix in LINES_SUFFIXES:
        return "jsonl"
    raise RequestRefused(f'cannot tell the form of "{path}": its name ends with none of {", ".join((*CSV_SUFFIXES, *LINES_SUFFIXES))}')


def _opened(path: Path) -> int:
    """Open a file, or a FIFO once something has come through it; raises RequestRefused for what rows cannot come from."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # lest a FIFO that nobody writes to keeps us for ever
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode):
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if not poll.poll(FIFO_PATIENCE * 1000):
                raise RequestRefused(f'cannot read the rows "{path}": it is a FIFO, and nobody has written to it for {FIFO_PATIENCE:g} s')
        elif not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a directory has a reason of its own
            raise RequestRefused(f'cannot read the rows "{path}": it is no regular file')
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class RowFile:
    """A file of rows that is open; iterate over it once."""

    def __init__(self, path: Path) -> None:
        """Open it; raises RequestRefused."""
        self.path = path
        self.form = form_of(path)
        self.names: list[str] = []  # of the columns of a CSV
        self.line = 0  # that was read last
        self._problem = ""  # of the lines since the last row
        try:
            self._file: BufferedReader = os.fdopen(_opened(path), "rb")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise RequestRefused(f'cannot read the rows "{path}": {reason}') from error
        self.size = path.stat().st_size  # bytes; 0 for a pipe
        self._read_bytes = 0
        self._lines = self._read()
        self._rows: Iterator[Row] = self._csv() if self.form == "csv" else self._json_lines()
        self.first_names: list[str] = []  # of the first row
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    @property
    def position(self) -> int:
        """Give how many bytes were read."""
        return self._read_bytes

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    def _read(self) -> Iterator[str]:
        """Iterate over lines as text; what is wrong with one is kept for the row that it belongs to."""
        limit = 4 * ROW_LIMIT + 2  # bytes of so many characters
        while raw := self._file.readline(limit):
            self._read_bytes += len(raw)
            self.line += 1
            if len(raw) == limit and not raw.endswith(b"\n"):
                self._problem = f"the line is longer than {ROW_LIMIT} characters"
                while (rest := self._file.readline(limit)) and not rest.endswith(b"\n"):
                    self._read_bytes += len(rest)
                self._read_bytes += len(rest)
                yield "\n"
                continue
            if self.line == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            try:
                yield raw.decode()
            except UnicodeDecodeError as error:
                self._problem = f"byte {error.start} of the line is not UTF-8"
                yield _SURROGATE.sub("\ufffd", raw.decode(errors="surrogateescape"))

    def _taken_problem(self) -> str:
        problem, self._problem = self._problem, ""
        return problem

    def _json_lines(self) -> Iterator[Row]:
        number = 0
        for text in self._lines:
            problem = self._taken_problem()
            body = text.strip()
            if not body and not problem:
                continue
            number += 1
            if len(body) > ROW_LIMIT:
                problem, body = f"it has {len(body)} characters, at most {ROW_LIMIT} are read", ""
            yield Row(number, self.line, body, problem)

    def _begin(self) -> None:
        """Learn the names from the beginning of the file."""
        if self.form == "csv":
            self._begin_csv()
        elif self._file.peek(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
            raise RequestRefused(f'cannot read the rows "{self.path}": it holds a list, and one JSON object a line is needed')
        else:
            self._begin_json_lines()

    def _begin_json_lines(self) -> None:
        """Look which names the first row has, where it can be read."""
        first = next(self._rows, None)
        if first is None:
            return
        with contextlib.suppress(msgspec.DecodeError, RecursionError):  # the worker says what is wrong with it
            self.first_names = list(msgspec.json.decode(first.body, type=dict[str, msgspec.Raw]) if isinstance(first.body, str) else [])
        self._rows = chain([first], self._rows)

    def _begin_csv(self) -> None:
        """Read the head, which names the columns."""
        head = next(self._lines, "")
        if problem := self._taken_problem():
            raise RequestRefused(f'cannot read the rows "{self.path}": line 1: {problem}')
        csv.field_size_limit(ROW_LIMIT)
        delimiter = max(DELIMITERS, key=lambda one: (head.count(one), -DELIMITERS.index(one)))

        def lines() -> Iterator[str]:
            yield head
            yield from self._lines

        self._reader = csv.reader(lines(), delimiter=delimiter, strict=True)
        try:
            self.names = [name.strip() for name in next(self._reader, [])]
        except csv.Error as error:
            raise RequestRefused(f'cannot read the rows "{self.path}": line 1: it is no CSV: {error}') from error
        if not any(self.names):
            raise RequestRefused(f'cannot read the rows "{self.path}": its first line names no columns')
        twice = [name for name in self.names if self.names.count(name) > 1]
        self.first_names = self.names
        if twice:
            raise RequestRefused(f'cannot read the rows "{self.path}": {self.names.count(twice[0])} columns are named "{twice[0]}"')

    def _csv(self) -> Iterator[Row]:
        number = 0
        while True:
            begin = self.line + 1
            problem = ""
            cells: list[str] = []
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:  # the reader goes on with the next line
                lines = f"lines {begin} to {self.line} are" if self.line > begin else "it is"
                problem = f"{lines} no CSV: {error}"
            problem = self._taken_problem() or problem
            if not cells and not problem:
                continue
            number += 1
            if sum(map(len, cells)) > ROW_LIMIT:
                problem = f"it has {sum(map(len, cells))} characters, at most {ROW_LIMIT} are read"
            yield Row(number, self.line, [] if problem else cells, problem)
