"""Files of rows as they stand there: what is no row has a reason, and the next one goes on."""

import os
import threading
from pathlib import Path

import pytest

from dadms_ipc.errors import RequestRefused
from dadmsctl import rows
from dadmsctl.rows import ROW_LIMIT, Row, RowFile, form_of


def rows_of(path: Path) -> list[Row]:
    file = RowFile(path)
    try:
        return list(file)
    finally:
        file.close()


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_csv_rows_are_their_cells_and_empty_lines_are_none(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", b'\xef\xbb\xbfage, risk\r\n1,low\r\n\r\n2,"a ""b"",\nc"\r\n')
    file = RowFile(path)
    assert file.names == file.first_names == ["age", "risk"]
    assert list(file) == [Row(1, 2, ["1", "low"]), Row(2, 5, ["2", 'a "b",\nc'])]
    assert file.position == file.size == path.stat().st_size
    file.close()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_first_line_tells_what_stands_between_cells(tmp_path: Path, delimiter: str) -> None:
    path = written(tmp_path, "a.csv", f"a{delimiter}b\n1{delimiter}2\n".encode())
    assert rows_of(path)[0].body == ["1", "2"]


def test_json_lines_stay_as_they_are(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", b'{"a": 0.10, "b": 1}\n\n  {"a":1}\nnot json\n')
    file = RowFile(path)
    assert file.first_names == ["a", "b"]
    assert list(file) == [Row(1, 1, '{"a": 0.10, "b": 1}'), Row(2, 3, '{"a":1}'), Row(3, 4, "not json")]
    file.close()


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_line_that_is_no_text_or_too_long_is_a_row_with_a_reason(tmp_path: Path, name: str) -> None:
    good = b"1\n" if name == "a.csv" else b'{"a": 1}\n'
    head = b"a\n" if name == "a.csv" else b""
    path = written(tmp_path, name, head + good + b"\xff\n" + b"x" * (4 * ROW_LIMIT + 10) + b"\n" + b"y" * (ROW_LIMIT + 1) + b"\n" + good)
    found = rows_of(path)
    assert [bool(row.problem) for row in found] == [False, True, True, True, False]
    assert [row.number for row in found] == [1, 2, 3, 4, 5]
    assert found[1].problem == "byte 0 of the line is not UTF-8"
    assert found[2].problem == "the line is longer than 1000000 characters"
    assert "1000000" in found[3].problem or str(ROW_LIMIT + 1) in found[3].problem
    assert all(row.line == row.number + (name == "a.csv") for row in found)


def test_a_quote_that_is_not_closed_costs_its_lines_and_no_more(tmp_path: Path) -> None:
    swallowed = b'"open,1\n' + b"z,1\n" * (ROW_LIMIT // 4)
    found = rows_of(written(tmp_path, "a.csv", b"a,b\n1,2\n" + swallowed + b"3,4\n"))
    assert found[0].body == ["1", "2"]
    assert found[1].problem.startswith("lines 3 to ")
    assert found[-1].body == ["3", "4"]


def test_broken_quoting_is_a_row_with_a_reason(tmp_path: Path) -> None:
    found = rows_of(written(tmp_path, "a.csv", b'a,b\n"x"y,1\n3,4\n'))
    assert "no CSV" in found[0].problem
    assert found[1:] == [Row(2, 3, ["3", "4"])]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"a,b,a\n", '2 columns are named "a"'),
        ("a.csv", b"", "names no columns"),
        ("a.csv", b"\xff\n", "line 1: byte 0 of the line is not UTF-8"),
        ("a.csv", b'"a"b\n', "line 1: it is no CSV"),
        ("a.json", b' [{"a": 1}]', "it holds a list"),
        ("a.xlsx", b"", "its name ends with none of .csv"),
    ],
)
def test_a_file_that_cannot_be_rows_is_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(RequestRefused, match=reason):
        RowFile(written(tmp_path, name, content))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestRefused, match=r'cannot read the rows ".*absent.csv": No such file'):
        RowFile(tmp_path / "absent.csv")
    with pytest.raises(RequestRefused, match="null byte"):
        RowFile(Path("a\0.csv"))


def test_a_fifo_that_nobody_writes_to_is_refused_after_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "FIFO_PATIENCE", 0.05)
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(RequestRefused, match=r'cannot read the rows ".*a.csv": it is a FIFO, and nobody has written to it for 0.05 s'):
        RowFile(tmp_path / "a.csv")


def test_rows_come_through_a_fifo(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"a\n1\n2\n",))
    writer.start()
    assert [row.body for row in rows_of(path)] == [["1"], ["2"]]
    writer.join()


def test_names_tell_the_form() -> None:
    assert [form_of(Path(name)) for name in ("a.CSV", "b.tsv", "c.jsonl", "d.ndjson")] == ["csv", "csv", "jsonl", "jsonl"]
