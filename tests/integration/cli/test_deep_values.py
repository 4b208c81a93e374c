"""How deep a variable may be nested is one number from the command line to the outcome."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Ctl = Callable[..., "CompletedProcess[str]"]
LEVELS = 64
ECHO = '@handler("greet")\ndef greet(task):\n    return {"again": task.variables["deep"]}\n'
DEEPER = '@handler("greet")\ndef greet(task):\n    return {"again": [task.variables["deep"]]}\n'


def deep(levels: int) -> str:
    return "deep=" + "[" * levels + "]" * levels


def test_what_is_as_deep_as_may_be_comes_out_again(ctl: Ctl, linear: Callable[..., Path], handlers: Callable[[str], Path]) -> None:
    done = ctl("run", linear("greet"), "--handlers", handlers(ECHO), "--set", deep(LEVELS), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"]["variables"]["again"] == json.loads(deep(LEVELS).partition("=")[2])


def test_what_is_one_level_deeper_is_refused_where_it_comes_in(
    ctl: Ctl, linear: Callable[..., Path], handlers: Callable[[str], Path]
) -> None:
    """Before anything is started; or the task fails that made it."""
    done = ctl("run", linear("greet"), "--handlers", handlers(ECHO), "--set", deep(LEVELS + 1))
    assert done.returncode in (2, 4)
    assert "nested more than 64 levels" in done.stderr
    done = ctl("run", linear("greet"), "--handlers", handlers(DEEPER), "--set", deep(LEVELS))
    assert done.returncode == 1
    assert "nested more than 64 levels" in done.stderr
    assert "Do greet" in done.stderr
