"""Results as CSV and JSON lines: digits as they came, a column for each component, and rows without inputs."""

import csv
import io
import json

from dadmsctl.results import Csv, JsonLines, Result
from dadmsctl.rows import Row


def table(rows: list[tuple[Row, Result]], inputs: list[str], outputs: list[str]) -> tuple[list[list[str]], Csv]:
    text = io.StringIO()
    writer = Csv(text, inputs, outputs)
    for row, result in rows:
        writer.write(row, result)
    return list(csv.reader(io.StringIO(text.getvalue()))), writer


def test_scalars_are_their_text_and_the_rest_is_json() -> None:
    values = [b"null", b"true", b"12345678901234567890123", b"0.10", b'"a \\"b\\""', b'{"a":[1]}', b"[1, 2]"]
    found, _ = table([(Row(1, 1, ["7"]), Result(value)) for value in values], ["n"], [])
    assert found[0] == ["n", "value", "errors", "rules"]
    assert [row[1] for row in found[1:]] == ["", "true", "12345678901234567890123", "0.10", 'a "b"', '{"a":[1]}', "[1, 2]"]


def test_components_have_columns_and_a_null_leaves_them_empty() -> None:
    rows = [
        (Row(1, 1, ["1"]), Result(b'{"y": "no", "x": 1.50}', [], ["t: 1", "u: 2"])),
        (Row(2, 2, ["2"]), Result(b"null", ["a", "b"])),
        (Row(3, 3, []), Result(b"null", ["bad"], is_read=False)),
    ]
    found, _ = table(rows, ["n"], ["x", "y"])
    assert found == [
        ["n", "value.x", "value.y", "errors", "rules"],
        ["1", "1.50", "no", "", "t: 1; u: 2"],
        ["2", "", "", "a; b", ""],
        ["", "", "", "bad", ""],
    ]


def test_columns_of_the_rows_keep_their_names() -> None:
    found, _ = table([], ["value", "errors", "errors_"], [])
    assert found == [["value", "errors", "errors_", "value_", "errors__", "rules"]]


def test_json_lines_in_a_table_fill_the_columns_that_there_are() -> None:
    rows = [
        (Row(1, 1, '{"a": 1.0, "c": "x"}'), Result(b"1")),
        (Row(2, 2, '{"b": [1], "a": null}'), Result(b"2")),
        (Row(3, 3, "{"), Result(b"null", ["bad"], is_read=False)),
    ]
    found, writer = table(rows, ["a", "b"], [])
    assert [row[:3] for row in found[1:]] == [["1.0", "", "1"], ["", "[1]", "2"], ["", "", ""]]
    assert list(writer.dropped) == ["c"]


def test_json_lines_hold_inputs_as_they_came_or_as_they_were_read() -> None:
    text = io.StringIO()
    writer = JsonLines(text)
    writer.write(Row(1, 1, '{"a": 0.10}'), Result(b"1.50", [], ["t: 1"]))
    writer.write(Row(2, 2, ["1"]), Result(b'"x"', inputs=b'{"a":1}'))
    writer.write(Row(3, 3, "{"), Result(b"null", ["bad"], is_read=False))
    lines = text.getvalue().splitlines()
    assert lines[0] == '{"row":1,"inputs":{"a": 0.10},"value":1.50,"errors":[],"rules":["t: 1"]}'
    assert [json.loads(line)["inputs"] for line in lines] == [{"a": 0.1}, {"a": 1}, None]
    assert json.loads(lines[2]) == {"row": 3, "inputs": None, "value": None, "errors": ["bad"], "rules": []}
