"""Definitions of processes: what a file means, and what is said of one that means nothing."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dadms_ipc.requests import Limits, Spec
from dadmsd import definitions
from dadmsd.definitions import read

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "definitions.md"


def written(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / f"{name}.toml").write_text(text)
    return directory


def test_a_file_defines_one_process_of_its_name_or_several(tmp_path: Path) -> None:
    written(
        tmp_path,
        web='command = "serve --port 80"',
        two='[process.db]\ncommand = ["db"]\n[process.job]\nkind = "tool"\ncommand = "job"\nenabled = false',
    )
    reading = read(tmp_path)
    assert reading.mistakes == []
    found = {each.name: (each.file, each.spec.kind, each.spec.command, each.is_enabled) for each in reading.definitions}
    assert found == {
        "db": ("two.toml", "service", ["db"], True),
        "job": ("two.toml", "tool", ["job"], False),
        "web": ("web.toml", "service", ["serve", "--port", "80"], True),
    }


def test_keys_are_written_as_people_write_them(tmp_path: Path) -> None:
    text = """
command = "serve 'a b'"
user = "root"
user_group = 7
umask = "027"
stop_signal = "INT"
memory_request = "1G"
after = ["db"]
success_codes = [0, 3]
[limits]
memory = "64M"
cpu = 0.5
[environment]
A = "b $HOME %s"
"""
    (definition,) = read(written(tmp_path, web=text)).definitions
    spec = definition.spec
    assert (spec.command, spec.uid, spec.gid, spec.umask, spec.stop_signal) == (["serve", "a b"], 0, 7, 0o027, 2)
    assert (spec.memory_request, spec.after, spec.success_codes) == (1 << 30, ["db"], (0, 3))
    assert spec.limits == Limits(memory=64 << 20, cpu=0.5)
    assert spec.environment == {"A": "b $HOME %s"}, "nothing is expanded"


def test_an_orchestrator_has_its_config(tmp_path: Path) -> None:
    (definition,) = read(written(tmp_path, run='orchestrator = "bpmn"\n[config]\nmodel = "/m.bpmn"')).definitions
    assert definition.spec.kind == "orchestrator"
    assert msgspec.msgpack.decode(definition.spec.config) == {"model": "/m.bpmn"}


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ('command = "a"\ncomand = "b"', ['a.toml:2: unknown key "comand"; did you mean "command"?']),
        ('command = "a"\n\n[limits]\nmemry = 1', ['a.toml:4: unknown limit "memry"; did you mean "memory"?']),
        ('command = "a"\n[limits]\nnice = 3', ['a.toml:3: unknown limit "nice": it is a key of the process itself']),
        ('command = "a"\n[limits]\nnise = 3', ['a.toml:3: unknown limit "nise"; did you mean "nice" of the process itself?']),
        ('command = "a"\nmemroy = "1G"', ['a.toml:2: unknown key "memroy"; did you mean "memory" of [limits]?']),
        ('command = "a"\ncpu = 1', ['a.toml:2: unknown key "cpu": it is a key of [limits]']),
        ('command = "a"\n[limits]\nzzzzzz = 1', [f'a.toml:3: unknown limit "zzzzzz"; there are {", ".join(Limits.__struct_fields__)}']),
        (
            'command = "a"\n[limits]\nmemory = "much"',
            ["a.toml:3: limit memory = 'much': it is no size: write bytes, or a number and K, M, G or T, such as 64M"],
        ),
        ('[process.a]\ncommand = "a"\nnice = "low"', ["a.toml:3: [process.a] nice = 'low': expected int, got str"]),
        ('command = "a"\nnice = 99', ['a.toml:2: "a": nice is 99, it can be from -20 to 19']),
        ('command = "a"\nuser = "nobody-at-all"', ["a.toml:2: user = 'nobody-at-all': there is no user 'nobody-at-all'"]),
        ('command = "a"\nuser = 987654', ["a.toml:2: user = 987654: there is no user 987654"]),
        ('command = "a\n', ["a.toml:1: not TOML: Illegal character '\\n'"]),
        ('command = "a \'b"', ['a.toml:1: command = "a \'b": no closing quotation']),
        ('kind = "service"', ['a.toml:1: "a": a service needs a command']),
        ('command = "a"\nstop_signal = "NONE"', ["a.toml:2: stop_signal = 'NONE': there is no such signal"]),
        ('x = 1\n[process.a]\ncommand = "a"', ['a.toml:1: "x" stands beside [process.NAME] tables: it belongs into one of them']),
        ("[process]\na = 1", ["a.toml:2: [process.a] must be a table"]),
        ('command = "a"\numask = "9"', ["a.toml:2: umask = '9': it is no mask of modes: write it in octal, such as 027"]),
        (
            'command = "a"\nnice = 99\nrestart = "x"\nready_command = "y"',
            [
                'a.toml:2: "a": nice is 99, it can be from -20 to 19',
                "a.toml:3: \"a\": no restart 'x'; there are never, on-failure, always",
                'a.toml:4: "a": ready = "exec" needs a ready_command, and nothing else does',
            ],
        ),
        (
            'comand = "a"\nnice = 99',
            ['a.toml:1: unknown key "comand"; did you mean "command"?', 'a.toml:2: "a": nice is 99, it can be from -20 to 19'],
        ),
    ],
)
def test_each_mistake_has_its_file_line_key_and_the_nearest_name(tmp_path: Path, text: str, mistakes: list[str]) -> None:
    reading = read(written(tmp_path, a=text, good='command = "good"'))
    assert reading.mistakes == mistakes
    assert reading.bad_files == ["a.toml"]
    assert [each.name for each in reading.definitions] == ["good"], "one bad file never stops the others"


def test_names_are_compared_as_they_are_and_each_is_defined_once(tmp_path: Path) -> None:
    reading = read(written(tmp_path, a='[process.web]\ncommand = "a"', b='[process.Web]\ncommand = "b"', c='[process.web]\ncommand = "c"'))
    assert [each.name for each in reading.definitions] == ["web", "Web"]
    assert reading.mistakes == ['c.toml:1: process "web" is defined in a.toml already']


def test_what_cannot_be_read_is_said_and_what_is_not_there_defines_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "none").definitions == []
    os.mkfifo(tmp_path / "pipe.toml")
    assert read(tmp_path).mistakes == ["pipe.toml: it is no regular file"]


@pytest.mark.parametrize(
    "text", ["[[process]]", "process = 5", "[process.a.b]\nc=1", "\x00", "[limits]", "command = []", "config = 5", "x = " + "[" * 500]
)
def test_nothing_that_is_written_breaks_the_reader(tmp_path: Path, text: str) -> None:
    assert read(written(tmp_path, a=text)).mistakes


def test_the_page_has_every_key() -> None:
    text = PAGE.read_text(encoding="utf-8")
    own: set[str] = {"user", "user_group", "enabled"}
    hidden = {"uid", "gid", "parent"}
    names: Any = {field.name for field in msgspec.structs.fields(Spec)} - hidden | own
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_what_a_bad_file_would_define_is_known_by_name_as_far_as_it_can_be_read(tmp_path: Path) -> None:
    written(
        tmp_path,
        broken='command = "x',
        two='[process.good]\ncommand = "x"\n[process.bad]\ncommand = "x"\nnise = 3',
        web='comand = "x"',
    )
    spoilt = read(tmp_path).bad_names
    assert {name: " ".join(why.split()[:6]) for name, why in spoilt.items()} == {
        "broken": "its file has a mistake: broken.toml:1:",
        "good": "its file has a mistake: two.toml:5:",
        "bad": "its file has a mistake: two.toml:5:",
        "web": "its file has a mistake: web.toml:1:",
    }


def test_a_name_that_is_not_utf_8_costs_its_own_file(tmp_path: Path) -> None:
    """What is said of it is sent and stored, which nothing but UTF-8 can be."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.toml")).write_text('command = "sleep 9"')
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/h\xe9.py")).touch()
    (tmp_path / "h.py").symlink_to(os.fsdecode(b"h\xe9.py"))
    reading = read(written(tmp_path, web='command = "sleep 9"', model='orchestrator = "bpmn"\nhandlers = "h.py"'))
    assert [each.name for each in reading.definitions] == ["web"]
    assert reading.mistakes[0] == "caf\\xe9.toml: its name is not UTF-8"
    assert reading.mistakes[1].startswith("model.toml:2: handlers = 'h.py': it is ")
    assert reading.mistakes[1].endswith('h\\xe9.py", which is not UTF-8')
    assert msgspec.msgpack.encode(reading)


def test_a_directory_that_cannot_be_read_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loop").symlink_to("loop")
    reading = read(tmp_path / "loop")
    assert not reading.is_whole
    (mistake,) = reading.mistakes
    assert mistake.endswith("/loop: it cannot be read (Too many levels of symbolic links), and what it defined stays as it is")
    written(tmp_path, a='command = "a"', b='command = "b"', c='command = "c"')
    monkeypatch.setattr(definitions, "FILES_MOST", 2)
    reading = read(tmp_path)
    assert ([each.name for each in reading.definitions], reading.is_whole) == (["a", "b"], False)
    assert reading.mistakes == [f"{tmp_path}: 3 files are in it, and the first 2 are read; what the others defined stays as it is"]
