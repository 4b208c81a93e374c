"""Files and values of the command line: read whole, or refused with the place and the reason."""

import json
import os
from pathlib import Path

import click
import pytest

from dadms_ipc.errors import RequestRefused
from dadmsctl.reading import FILE_LIMIT, read_config, read_file, read_object, read_setting, read_variables


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [
        ("budget=2000000", "budget", 2_000_000),
        ("share=0.25", "share", 0.25),
        ("is_urgent=true", "is_urgent", True),
        ("nothing=null", "nothing", None),
        ("region=north", "region", "north"),
        ("region=", "region", ""),
        ("text=a=b=c", "text", "a=b=c"),
        ('quoted="3"', "quoted", "3"),
        ('list=[1, "two"]', "list", [1, "two"]),
        ('map={"a": {"b": 1}}', "map", {"a": {"b": 1}}),
        (" spaced =1", "spaced", 1),
        ("word=NULL", "word", "NULL"),
    ],
)
def test_a_setting_is_json_where_it_reads_as_json_and_text_elsewhere(setting: str, name: str, value: object) -> None:
    assert read_setting(setting) == (name, value)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("a=NaN", 'cannot set "a": NaN is not JSON'),
        ("a=-Infinity", 'cannot set "a": -Infinity is not JSON'),
        ("a=1e999", "too large for a float"),
        ('a={"b": }', 'cannot set "a": not JSON: expecting value at column 7'),
        ("a=[1, 2", "not JSON"),
        ('a="open', "not JSON"),
        ("a=18446744073709551616", "has 65 bits, at most 64"),
        ('a={"b": [1, 18446744073709551616]}', 'the integer of "b[1]" has 65 bits'),
        ('a={"k": 1, "k": 2}', 'the key "k" stands twice'),
        (r'a="\ud800"', "half of a surrogate pair"),
        ("a=\udcff", "not UTF-8"),
        ("a=" + "[" * 200 + "]" * 200, "nested more than 64 levels"),
        ("a=" + "[" * 100_000, "nested more than 64 levels"),
    ],
)
def test_a_value_that_cannot_be_a_variable_is_refused_with_the_reason(setting: str, reason: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        read_setting(setting)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("setting", ["budget", "=1", " =1", ""])
def test_a_setting_without_a_name_or_a_value_is_a_usage_error(setting: str) -> None:
    with pytest.raises(click.UsageError):
        read_setting(setting)


def test_the_same_name_set_twice_is_a_usage_error() -> None:
    with pytest.raises(click.UsageError, match="--set a=… is given 2 times"):
        read_variables([], ["a=1", "b=2", "a=1"])


def test_later_files_win_over_earlier_ones_and_settings_over_all(tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text('{"a": 1, "b": 1, "c": 1}')
    second.write_text('{"b": 2, "c": 2}')
    assert read_variables([first, second], ["c=3"]) == {"a": 1, "b": 2, "c": 3}


def test_an_input_file_that_is_not_json_is_refused_with_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "inputs.json"
    file.write_text('{\n  "a": 1,\n  "b": x\n}\n')
    with pytest.raises(RequestRefused) as refused:
        read_object(file, "the input")
    assert str(refused.value) == f"cannot read the input {file}:3:8: not JSON: expecting value"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "1:1: not JSON"),
        (b"[1, 2]", "it holds a list"),
        (b"null", "it holds null"),
        (b"3", "it holds a number"),
        (b'{"a": 1, "a": 2}', 'the key "a" stands twice'),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
    ],
)
def test_an_input_file_that_is_no_object_of_variables_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "inputs.json"
    file.write_bytes(content)
    with pytest.raises(RequestRefused) as refused:
        read_object(file, "the input")
    assert reason in str(refused.value)
    assert str(file) in str(refused.value)


def test_an_input_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "inputs.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_object(file, "the input") == {"a": 1}


def test_files_that_cannot_be_read_are_refused_with_the_machines_reason(tmp_path: Path) -> None:
    for path, reason in [(tmp_path / "absent", "No such file"), (tmp_path, "Is a directory"), (Path("a\0b"), "null byte")]:
        with pytest.raises(RequestRefused) as refused:
            read_file(path, "the model")
        assert reason in str(refused.value)
        assert str(refused.value).startswith("cannot read the model ")


def test_a_file_of_the_limit_is_read_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"x" * FILE_LIMIT)
    assert len(read_file(file, "the model")) == FILE_LIMIT
    with file.open("ab") as more:
        more.write(b"x")
    with pytest.raises(RequestRefused, match="larger than 8 MiB"):
        read_file(file, "the model")


def test_a_file_without_an_end_is_refused_and_not_read_for_ever() -> None:
    with pytest.raises(RequestRefused, match='"/dev/zero": it is no regular file'):
        read_file(Path("/dev/zero"), "the model")


def test_a_fifo_that_nobody_writes_to_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f.bpmn")
    with pytest.raises(RequestRefused, match=r'cannot read the model ".*f\.bpmn": it is no regular file'):
        read_file(tmp_path / "f.bpmn", "the model")


def test_what_the_shell_has_opened_for_us_is_read_to_its_end() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader), os.fdopen(writer, "wb") as file:
        file.write(b'{"a": 1}')
        file.close()
        assert read_object(Path(f"/dev/fd/{reader}"), "the input") == {"a": 1}


def test_a_configuration_is_an_object_as_it_stands_or_a_file_that_holds_one(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"a": [1]}))
    assert read_config(str(file)) == {"a": [1]} == read_config(' {"a": [1]}')
    with pytest.raises(RequestRefused, match="cannot use --config: not JSON"):
        read_config('{"a": [1}')
