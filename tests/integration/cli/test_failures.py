"""What goes wrong in a run: one clear reason, an exit code, no traceback, and nothing left running."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl

Linear = Callable[..., Path]
Handlers = Callable[[str], Path]


class Case(NamedTuple):
    """A handlers module that will not do, and what must be said."""

    source: str
    words: tuple[str, ...]
    options: tuple[str, ...] = ()


BAD_MODULES = {
    "does not import": Case("import no_such_module_anywhere\n", ("handlers.py", "no_such_module_anywhere")),
    "is no Python": Case("def broken(:\n", ("handlers.py", "line 2")),
    "raises": Case("raise RuntimeError('not today')\n", ("handlers.py", "not today")),
    "exits": Case("import sys\nsys.exit(3)\n", ("handlers.py", "3")),
    "exits at once": Case("import os\nos._exit(7)\n", ("exit", "7")),
    "kills itself": Case("import os\nos.kill(os.getpid(), 9)\n", ("SIGKILL",)),
    "imports for ever": Case("while True:\n    pass\n", ("2 s",), ("--ready-timeout", "2")),
    "sleeps for ever": Case("import time\ntime.sleep(1e6)\n", ("2 s",), ("--ready-timeout", "2")),
    "allocates without end": Case(
        "hoard = []\nwhile True:\n    hoard.append(bytearray(1 << 20))\n", ("memory",), ("--memory", "96M", "--ready-timeout", "20")
    ),
    "serves another topic": Case(
        '@handler("other")\ndef other(task):\n    return {}\n', ('no handler for topic "greet"', "Do greet", "order.bpmn")
    ),
}


@pytest.mark.parametrize("name", BAD_MODULES)
def test_a_handlers_module_that_will_not_do_is_one_clear_failure(name: str, ctl: Ctl, linear: Linear, handlers: Handlers) -> None:
    case = BAD_MODULES[name]
    done = ctl("run", linear("greet"), "--handlers", handlers(case.source), *case.options)
    assert done.returncode == 1
    first = done.stderr.splitlines()[0]
    assert first.startswith('dadmsctl: "order" (')
    for word in case.words:
        assert word in first, f"{word!r} is not in {first!r}"
    assert "Traceback" not in done.stdout
    assert "Traceback" not in first
    assert "/dadms_orchestrators/" not in done.stderr


UNFIT_MODULES = {
    "no handler": ("greeting = 1\n", "it declares none"),
    "a topic twice": ('@handler("a")\ndef f(task): pass\n\n@handler("a")\ndef g(task): pass\n', 'topic "a" has two functions'),
}


@pytest.mark.parametrize("name", UNFIT_MODULES)
def test_a_refusal_of_ours_is_one_sentence_without_a_traceback(name: str, ctl: Ctl, linear: Linear, handlers: Handlers) -> None:
    source, words = UNFIT_MODULES[name]
    done = ctl("run", linear("greet"), "--handlers", handlers(source), "-q")
    assert done.returncode == 1
    [sentence] = done.stderr.splitlines()
    assert words in sentence


BAD_TASKS = {
    "raises": Case("raise ValueError('no budget')", ("Do greet", "order.bpmn:", "ValueError: no budget")),
    "exits": Case("import os; os._exit(7)", ("Do greet", "worker_lost")),
    "is killed": Case("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", ("Do greet", "worker_lost", "signal 9")),
    "grows without end": Case(
        "hoard = []\n    while True: hoard.append(bytearray(1 << 20))", ("Do greet", "oom"), ("--worker-memory", "96M", "--memory", "512M")
    ),
    "runs too long": Case("import time; time.sleep(1e6)", ("Do greet", "timed_out"), ("--thread-timeout", "1")),
    "gives what is not JSON": Case("return {'a': object()}", ("Do greet", "object")),
}


@pytest.mark.parametrize("name", BAD_TASKS)
def test_a_failed_task_is_a_failed_run_with_task_and_cause(name: str, ctl: Ctl, linear: Linear, handlers: Handlers) -> None:
    case = BAD_TASKS[name]
    path = handlers(f'@handler("greet")\ndef greet(task):\n    {case.source}\n')
    done = ctl("run", linear("greet"), "--handlers", path, "--json", *case.options)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["status"] == "failed"
    assert [task["state"] for task in document["tasks"]] != ["completed"]
    [sentence] = [line for line in done.stderr.splitlines() if line.startswith("dadmsctl: ")]
    for word in case.words:
        assert word in sentence, f"{word!r} is not in {sentence!r}"


def test_a_quiet_run_says_first_what_failed_and_then_where_in_the_users_own_code(ctl: Ctl, linear: Linear, handlers: Handlers) -> None:
    path = handlers('def inner(x):\n    return 1 / x\n\n@handler("greet")\ndef greet(task):\n    return {"a": inner(0)}\n')
    done = ctl("run", linear("greet"), "--handlers", path, "-q")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith('dadmsctl: "order" (1001) failed: "Do greet" (order.bpmn:')
    assert lines[0].endswith("ZeroDivisionError: division by zero")
    assert lines[1:] == [
        "the end of its log:",
        f'    File "{path}", line 7, in greet',
        '      return {"a": inner(0)}',
        f'    File "{path}", line 3, in inner',
        "      return 1 / x",
        "  ZeroDivisionError: division by zero",
    ]


def test_a_model_that_is_refused_is_refused_before_anything_is_spawned(ctl: Ctl, short_path: Path, environment: dict[str, str]) -> None:
    model = short_path / "broken.bpmn"
    model.write_text("")
    done = ctl("run", model)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.splitlines() == [f"{model}: the file is empty (0 bytes)", 'dadmsctl: cannot run "broken.bpmn": the model is refused']
    assert not list(Path(environment["TMPDIR"]).iterdir())


def test_a_limit_beyond_the_machine_is_refused_with_the_numbers(ctl: Ctl, linear: Linear, handlers: Handlers) -> None:
    done = ctl("run", linear("greet"), "--handlers", handlers('@handler("greet")\ndef greet(task):\n    return {}\n'), "--memory", "1")
    assert done.returncode in (1, 4)
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("dadmsctl: ")


def test_more_than_all_processes_may_use_is_refused_before_a_private_daemon_starts(
    keeper_daemon: Daemon, wait_for: Callable[[Daemon], None], ctl: Ctl, linear: Linear, handlers: Handlers
) -> None:
    """In the words of a daemon that runs, with the same defaults."""
    asked = ["run", linear("greet"), "--handlers", handlers('@handler("greet")\ndef greet(task):\n    return {}\n'), "--memory", "1T"]
    wait_for(keeper_daemon)
    done, there = ctl(*asked), ctl("--runtime-dir", str(keeper_daemon.runtime_dir), *asked)
    assert (done.returncode, there.returncode) == (4, 4)
    assert "private daemon" not in done.stdout + done.stderr
    assert done.stderr.splitlines()[-1].endswith(": a memory limit of 1 TiB asked, all processes together may use 4 GiB (memory_limit_mb)")
    if "cannot be enforced here" not in there.stderr:  # which a host without cgroups of ours says first
        assert done.stderr.splitlines()[-1] == there.stderr.splitlines()[-1]


def test_a_business_rule_task_that_fails_shows_its_reason_and_no_traceback(ctl: Ctl, linear: Linear, short_path: Path) -> None:
    decision = short_path / "fee.dmn"
    decision.write_text(
        '<definitions xmlns="https://www.omg.org/spec/DMN/20191111/MODEL/" name="f" namespace="f" id="f">'
        '<decision id="fee" name="Fee"><variable name="Fee" typeRef="number"/><literalExpression><text>"none"</text></literalExpression></decision></definitions>'
    )
    model = linear("rule")
    task = '<bpmn:businessRuleTask id="rule" name="Do rule" camunda:decisionRef="fee" camunda:resultVariable="fee"/>'
    old = '<bpmn:serviceTask id="rule" name="Do rule" camunda:type="external" camunda:topic="rule"/>'
    text = model.read_text()
    assert old in text
    model.write_text(text.replace(old, task))
    done = ctl("run", model, "--decisions", decision, "-q")
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith('dadmsctl: "order" (1001) failed: "Do rule"'), done.stderr
    assert "Traceback" not in done.stderr
    assert 'File "' not in done.stderr


def test_a_result_that_is_too_large_names_its_handler_and_what_keeps_it(ctl: Ctl, linear: Linear, handlers: Handlers) -> None:
    path = handlers('@handler("greet")\ndef greet(task):\n    return {"text": "x" * 300_000}\n')
    done = ctl("run", linear("greet"), "--handlers", path, "-q")
    assert done.returncode == 1
    assert 'failed: result-too-large: handler "greet" (handlers.py:' in done.stderr
    assert "task.artifact(value) in a handler" in done.stderr
    assert "cause:" not in done.stderr
