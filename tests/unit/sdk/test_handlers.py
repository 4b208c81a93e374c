"""Declaring handlers, and every way in which a handlers module can be wrong."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dadms_ipc.errors import DadmsError, HostFailure, InternalError, RequestRefused
from dadms_orchestrators import BpmnError, handlers
from dadms_orchestrators.sdk import loading
from dadms_orchestrators.sdk.tasks import BadReturn, call_handler

HEAD = "from dadms_orchestrators import BpmnError, Task, handler\n"


@dataclass
class ThreadStub:
    tid: int = 4
    pid: int = 1001
    worker: int = 2
    config: Any = None
    directory: str = "/nowhere"
    context: Any = None
    artifacts: Any = None

    def __post_init__(self) -> None:
        self.said: list[tuple[str, float | None]] = []

    def artifact(self, value: object) -> Any:
        raise NotImplementedError

    def open(self, value: object) -> Any:
        raise NotImplementedError

    def yield_(self) -> None:
        return None

    def progress(self, text: str, fraction: float | None = None) -> None:
        self.said.append((text, fraction))


@pytest.fixture
def load(tmp_path: Path) -> Any:
    before = list(sys.path)

    def write_and_load(text: str) -> list[str]:
        path = tmp_path / "mine.py"
        path.write_text(HEAD + text)
        return loading.load(str(path))

    yield write_and_load
    handlers.forget()
    sys.path[:] = before


def arguments(topic: str, **variables: Any) -> dict[str, Any]:
    return {
        "topic": topic,
        "name": "A task",
        "element": "a",
        "variables": variables,
        "inputs": {},
        "properties": {"p": "1"},
        "documentation": "do",
        "connector": {},
    }


def test_topics_come_in_their_order_and_the_star_serves_the_rest(load: Callable[[str], list[str]]) -> None:
    assert load(
        "@handler('b', 'a')\ndef one(task): return {'who': 'one'}\n@handler('*')\ndef rest(task): return {'who': 'rest', 'topic': task.topic}\n"
    ) == ["b", "a", "*"]
    assert call_handler(arguments("a"), ThreadStub()) == {"who": "one"}
    assert call_handler(arguments("zzz"), ThreadStub()) == {"who": "rest", "topic": "zzz"}


def test_handler_sees_its_task(load: Callable[[str], list[str]]) -> None:
    load(
        "@handler('t')\ndef look(task):\n    task.progress('half', 0.5)\n"
        "    return {'seen': [task.name, task.element, task.tid, task.pid, task.documentation, task.directory, task.properties['p'], task.variables['x'], repr(task)]}\n"
    )
    thread = ThreadStub()
    seen = call_handler(arguments("t", x=[1]), thread)["seen"]
    assert seen[:-1] == ["A task", "a", 4, 1001, "do", "/nowhere", "1", [1]]
    assert "topic='t'" in seen[-1]
    assert thread.said == [("half", 0.5)]


def test_variables_cannot_be_changed_in_place(load: Callable[[str], list[str]]) -> None:
    load("@handler('t')\ndef change(task):\n    task.variables['x'] = 2\n")
    with pytest.raises(TypeError, match="does not support item assignment"):
        call_handler(arguments("t", x=1), ThreadStub())


def test_returning_nothing_sets_nothing(load: Callable[[str], list[str]]) -> None:
    load("@handler('t')\ndef nothing(task): pass\n")
    assert call_handler(arguments("t"), ThreadStub()) == {}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("return [1]", 'handler "f" (mine.py:2) returned list, and returns a mapping of variables, or None'),
        (
            "return {'x': {'y': {1}}}",
            'handler "f" (mine.py:2) returned a variable that cannot be kept: "x.y" is of type set, which is not JSON',
        ),
    ],
)
def test_what_cannot_be_variables_is_named(load: Callable[[str], list[str]], body: str, text: str) -> None:
    load(f"@handler('t')\ndef f(task): {body}\n")
    with pytest.raises(BadReturn) as caught:
        call_handler(arguments("t"), ThreadStub())
    assert str(caught.value) == text


def test_bpmn_error_carries_its_code(load: Callable[[str], list[str]]) -> None:
    load("@handler('t')\ndef f(task): raise BpmnError('NO_DATA', 'nothing came')\n")
    with pytest.raises(BpmnError, match="nothing came") as caught:
        call_handler(arguments("t"), ThreadStub())
    assert caught.value.bpmn_code == "NO_DATA"
    assert str(BpmnError("X")) == "X"


def test_topic_without_a_handler_is_our_bug_in_a_worker(load: Callable[[str], list[str]]) -> None:
    load("@handler('t')\ndef f(task): pass\n")
    with pytest.raises(InternalError, match='no handler for topic "u"'):
        call_handler(arguments("u"), ThreadStub())


WRONG = [
    (
        "@handler('t')\ndef a(task): pass\n@handler('t')\ndef b(task): pass\n",
        'topic "t" has two functions: a (mine.py:2) and b (mine.py:4)',
    ),
    ("x = 1\n", "it declares none"),
    ("@handler()\ndef a(task): pass\n", "line 2: cannot declare a handler without its topics"),
    ("@handler\ndef a(task): pass\n", "line 2: cannot declare a handler without its topics"),
    ("@handler('t')\ndef a(): pass\n", 'line 2: cannot declare "a" a handler: it must take exactly one argument'),
    ("@handler('t')\nasync def a(task): pass\n", 'line 2: cannot declare "a" a handler: it is async'),
    ("@handler('t')\nclass A:\n    def __init__(self, task): pass\n", 'line 2: cannot declare "A" a handler: it is no function'),
    ("import no_such_module\n", "line 2: ModuleNotFoundError: No module named 'no_such_module'"),
    ("def f(:\n", "line 2: "),
    ("raise SystemExit(5)\n", "line 2: it exits (status 5) while it is imported"),
    ("raise MemoryError\n", "line 2: out of memory"),
    ("def f():\n    return 1 / 0\nf()\n", "line 3: ZeroDivisionError"),
]


@pytest.mark.parametrize(("text", "reason"), WRONG)
def test_wrong_module_is_one_sentence_with_its_line(load: Callable[[str], list[str]], text: str, reason: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        load(text)
    assert reason in str(caught.value)
    assert "mine.py" in str(caught.value)


def test_null_byte_is_refused_like_any_other_wrong_module(tmp_path: Path) -> None:
    path = tmp_path / "binary.py"
    path.write_bytes(b"\x00\x01")
    with pytest.raises(DadmsError, match="cannot import handlers"):
        loading.load(str(path))


def test_unreadable_module_names_the_reason(tmp_path: Path) -> None:
    with pytest.raises(HostFailure, match="No such file"):
        loading.load(str(tmp_path / "absent.py"))
    with pytest.raises(HostFailure, match="Is a directory"):
        loading.load(str(tmp_path))


def test_module_imports_its_neighbours_and_leaves_nothing_beside_itself(tmp_path: Path, load: Callable[[str], list[str]]) -> None:
    (tmp_path / "neighbour_of_mine.py").write_text("NAME = 'next door'\n")
    load("import neighbour_of_mine\n@handler('t')\ndef f(task): return {'n': neighbour_of_mine.NAME}\n")
    assert call_handler(arguments("t"), ThreadStub()) == {"n": "next door"}
    assert not list(tmp_path.glob("__pycache__/mine*"))


def test_second_module_replaces_the_first(load: Callable[[str], list[str]]) -> None:
    load("@handler('old')\ndef f(task): pass\n")
    assert load("@handler('new')\ndef f(task): pass\n") == ["new"]
    assert handlers.find("old") is None
    assert (handlers.module() or "").endswith("mine.py")


@pytest.mark.parametrize(
    ("source", "said"),
    [(b"# -*- coding: nonsense -*-\n", "unknown encoding: nonsense"), (b"x = 1\n\0", "source code string cannot contain null bytes")],
    ids=["encoding", "null byte"],
)
def test_what_is_wrong_with_a_whole_file_has_no_line(load: Any, tmp_path: Path, source: bytes, said: str) -> None:
    for name in ("alone.py", "beside.py"):
        (tmp_path / name).write_bytes(source)
    with pytest.raises(RequestRefused) as refused:
        loading.load(str(tmp_path / "alone.py"))
    assert str(refused.value).startswith(f'cannot import handlers "{tmp_path / "alone.py"}": ')
    assert said in str(refused.value)
    with pytest.raises(RequestRefused) as led:
        load("import beside\n")
    for text in (str(refused.value), str(led.value)):
        assert "None" not in text
        assert "line 0" not in text
        assert ":0:" not in text
