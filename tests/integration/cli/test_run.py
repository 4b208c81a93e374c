"""``dadmsctl run`` from the model to the outcome: on a daemon of its own, and on one that runs already."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Daemon
from tests.integration.cli.conftest import HEAD, TAIL, Ctl

Linear = Callable[..., Path]
Handlers = Callable[[str], Path]

GREET = """
@handler("greet")
def greet(task: Task) -> dict:
    return {"greeting": f"hello {task.variables['who']}", "os_pid": __import__("os").getpid()}
"""


def test_run_ends_with_the_outcome_and_leaves_nothing(ctl: Ctl, linear: Linear, handlers: Handlers) -> None:
    done = ctl("run", linear("greet"), "--handlers", handlers(GREET), "--set", "who=world")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"▶ Do greet +w1 +OS pid \d+", done.stdout)
    assert re.search(r"✔ Do greet +w1 +\d", done.stdout)
    assert "OUTCOME  end" in done.stdout
    assert re.search(r"greeting +hello world", done.stdout)
    assert "start of a private daemon" in done.stdout
    assert re.search(r"· code imported in \d\.\d\d s\n", done.stdout)
    assert "zygote/" not in done.stdout
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout


def test_a_story_that_nobody_can_write_down_costs_neither_the_work_nor_its_outcome(
    environment: dict[str, str], linear: Linear, handlers: Handlers
) -> None:
    files = (str(linear("greet")), "--handlers", str(handlers(GREET)))
    command = [sys.executable, "-m", "dadmsctl", "run", *files, "--set", "who=world", "--json"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, env=environment, timeout=60, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout)["status"] == "completed"


def test_verbose_tells_of_the_zygotes_too(ctl: Ctl, linear: Linear, handlers: Handlers) -> None:
    done = ctl("run", linear("greet"), "--handlers", handlers(GREET), "--set", "who=world", "-v")
    assert re.search(
        r"zygote/1 imports .*\n.*zygote/1 has imported .*\n.*zygote/2 imports .*\n.*zygote/2 has imported .*\n.*is forked from zygote/2",
        done.stdout,
    )


def test_json_is_one_document_on_stdout_and_the_story_goes_to_stderr(ctl: Ctl, linear: Linear, handlers: Handlers) -> None:
    done = ctl("run", linear("greet"), "--handlers", handlers(GREET), "--set", "who=world", "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert document["status"] == "completed"
    assert document["outcome"]["variables"]["greeting"] == "hello world"
    [task] = document["tasks"]
    assert (task["label"], task["state"], task["os_pid"]) == ("Do greet", "completed", document["outcome"]["variables"]["os_pid"])
    seconds = document["seconds"]
    parts = [seconds[name] for name in ("check", "daemon", "importing", "starting", "tasks", "other")]
    assert sum(parts) == pytest.approx(seconds["total"], rel=0.05)
    assert "▶ Do greet" in done.stderr


def test_quiet_leaves_only_the_outcome(ctl: Ctl, linear: Linear, handlers: Handlers) -> None:
    done = ctl("run", linear("greet"), "--handlers", handlers(GREET), "--set", "who=world", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    said = [
        line for line in done.stdout.splitlines() if line.strip() and "not enforced" not in line
    ]  # an ordinary user hears what rlimits cannot hold
    assert said[0].startswith("OUTCOME")
    assert "WHERE THE TIME WENT" not in done.stdout


def test_parallel_branches_run_in_different_os_processes_at_once(ctl: Ctl, forked: Linear, handlers: Handlers) -> None:
    """Each handler waits until the other has begun, so that one after the other would never end."""
    source = """
import os, pathlib, time
def meet(task, me, other):
    here = pathlib.Path(task.variables["place"])
    (here / me).touch()
    while not (here / other).exists():
        time.sleep(0.005)
    return {me: os.getpid()}

@handler("left")
def left(task): return meet(task, "left", "right")

@handler("right")
def right(task): return meet(task, "right", "left")
"""
    path = handlers(source)
    done = ctl("run", forked("left", "right"), "--handlers", path, "--set", f"place={path.parent}", "--json", "--thread-timeout", "20")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["outcome"]["variables"]["left"] != document["outcome"]["variables"]["right"]
    assert len({task["worker"] for task in document["tasks"]}) == 2


def test_limits_that_were_asked_for_are_in_force_before_the_code_runs(ctl: Ctl, linear: Linear, handlers: Handlers) -> None:
    done = ctl("run", linear("greet"), "--handlers", handlers(GREET), "--set", "who=x", "--memory", "200M", "--json")
    assert done.returncode == 0, done.stderr
    limits = json.loads(done.stdout)["limits"]
    assert limits["memory"].startswith("200 MiB")
    assert "read back" in limits["memory"]
    assert json.loads(done.stdout)["limit_values"]["memory"] == 200 << 20


def test_user_tasks_are_answered_from_the_values_and_asked_for_when_they_are_missing(
    ctl: Ctl, short_path: Path, environment: dict[str, str]
) -> None:
    model = short_path / "form.bpmn"
    model.write_text(
        HEAD
        + """<bpmn:startEvent id="begin"/><bpmn:endEvent id="end"/>
<bpmn:userTask id="approve" name="Approve"><bpmn:extensionElements><camunda:formData><camunda:formField id="approved" type="boolean">
<camunda:validation><camunda:constraint name="required"/></camunda:validation></camunda:formField></camunda:formData></bpmn:extensionElements></bpmn:userTask>
<bpmn:sequenceFlow id="f1" sourceRef="begin" targetRef="approve"/><bpmn:sequenceFlow id="f2" sourceRef="approve" targetRef="end"/>"""
        + TAIL
    )
    done = ctl("run", model)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.splitlines()[0] == 'user task "Approve" needs: --set approved=…'
    assert done.stderr.splitlines()[-1].startswith('dadmsctl: cannot run "form.bpmn": ')
    assert os.listdir(environment["TMPDIR"]) == []  # noqa: PTH208 - names
    done = ctl("run", model, "--set", "approved=true", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"]["variables"]["approved"] is True


def test_run_uses_the_daemon_that_runs_and_leaves_its_log_there(
    ctl: Ctl, linear: Linear, handlers: Handlers, keeper_daemon: Daemon, wait_for: Callable[[Daemon], None]
) -> None:
    wait_for(keeper_daemon)
    broken = handlers('@handler("greet")\ndef greet(task):\n    print("about to fail")\n    raise ValueError("no budget")\n')
    done = ctl("--runtime-dir", keeper_daemon.runtime_dir, "run", linear("greet"), "--handlers", broken)
    assert done.returncode == 1
    assert "private daemon" not in done.stdout
    path = re.search(r"^its log: (.*)$", done.stderr, re.MULTILINE)
    assert path is not None
    assert "about to fail" in Path(path[1]).read_text()
    assert re.search(r'^dadmsctl: "order" \(\d+\) failed: .*"Do greet".*ValueError: no budget', done.stderr, re.MULTILINE)


def test_no_private_refuses_to_start_a_daemon(ctl: Ctl, linear: Linear, environment: dict[str, str]) -> None:
    done = ctl("run", linear("greet"), "--no-private")
    assert done.returncode == 3
    assert done.stderr.startswith("dadmsctl: cannot reach a daemon: none runs on ")
    assert os.listdir(environment["TMPDIR"]) == []  # noqa: PTH208 - names


def test_a_private_daemon_that_cannot_start_is_told_with_its_own_words(linear: Linear, environment: dict[str, str]) -> None:
    few = 'ulimit -n 10 && exec "$0" "$@"'  # descriptors: enough for the command line, too few for a daemon
    command = ["sh", "-c", few, sys.executable, "-m", "dadmsctl", "run", str(linear("greet")), "-q"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert re.fullmatch(
        r"dadmsctl: cannot start: the private daemon has ended \(exit code 4\): .*10 open files are allowed \(RLIMIT_NOFILE, hard\), at least 128 are needed\n",
        done.stderr,
    )
    assert os.listdir(environment["TMPDIR"]) == []  # noqa: PTH208 - names
