"""A model goes on from its checkpoint: its main is killed, or everything is, and what was done is not done again."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from dadms_ipc import requests
from dadms_ipc.client import Client
from dadmsd.kernel.core.restarts import RESUMES_MOST
from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl, Start, await_line

# Each task notes that it ran; "wait" ends when the test lets it.
SOURCE = """
import os, pathlib, time
def note(task, **found):
    with open(task.variables["ledger"], "a") as ledger:
        ledger.write(task.element + "\\n")
    return found
@handler("one")
def one(task: Task): return note(task, first=[1, 2, 3])
@handler("two")
def two(task: Task): return note(task, second=sum(task.variables["first"]))
@handler("wait")
def wait(task: Task):
    note(task)
    while not os.path.exists(task.variables["gate"]): time.sleep(0.01)
    return {"third": task.variables["second"] * 2}
@handler("four")
def four(task: Task): return note(task, fourth=task.variables["third"] + len(task.variables.get("ballast", "")))
"""


def ran(ledger: Path) -> Counter[str]:
    return Counter(ledger.read_text().split())


def at_rest(client: Client, pid: int, ledger: Path) -> None:
    """Wait until the task that waits has begun; its worker says so in the ledger, and nobody tells when."""
    while not (ledger.exists() and "wait" in ran(ledger)):
        client.call(requests.Events(1 << 40, wait=0.02))  # what it says does not matter
        assert not [each for each in client.call(requests.List()) if each.pid == pid and each.ended_at]


@pytest.mark.parametrize("ballast", [0, 400_000], ids=["inline", "as_an_artifact"])
def test_a_main_that_is_killed_goes_on_and_no_task_that_was_done_is_done_again(
    ctl: Ctl,
    keeper_daemon: Daemon,
    wait_for: Callable[[Daemon], None],
    linear: Callable[..., Path],
    handlers: Callable[[str], Path],
    short_path: Path,
    ballast: int,
) -> None:
    wait_for(keeper_daemon)
    at = ("--runtime-dir", str(keeper_daemon.runtime_dir))
    ledger, gate = short_path / "ledger", short_path / "gate"
    (short_path / "given.json").write_text(json.dumps({"ledger": str(ledger), "gate": str(gate), "ballast": "x" * ballast}))
    model = linear("one", "two", "wait", "four")
    done = ctl(*at, "run", model, "--handlers", handlers(SOURCE), "--input", short_path / "given.json", "--detach")
    pid = int(done.stdout)
    with Client(keeper_daemon.runtime_dir, timeout=20.0) as client:
        at_rest(client, pid, ledger)
        info = client.call(requests.Status(pid))
        assert info.checkpoint_at > 0
        os.kill(info.os_pid, signal.SIGKILL)
        while (again := client.call(requests.Status(pid))).incarnation != 2 or again.status != "running":
            client.call(requests.Wait(pid, until="ready", timeout=1.0))
        gate.touch()
        ended = client.call(requests.Wait(pid, timeout=30.0), timeout=40.0)
    assert (ended.status, ended.incarnation, ended.checkpoint_at) == ("completed", 2, 0.0), ended
    assert (ended.outcome["variables"]["third"], ended.outcome["variables"]["fourth"]) == (12, 12 + ballast)
    assert [task["element"] for task in ended.outcome["tasks"]] == ["one", "two", "wait", "four"]
    assert ran(ledger) == {"one": 1, "two": 1, "wait": 2, "four": 1}, "what was open is begun again, what was done is not"
    left = list((keeper_daemon.state_dir / "work" / str(pid)).glob("artifacts/*"))
    assert len(left) <= 1, f"checkpoints that nothing can go on from: {left}"


def test_after_the_end_of_everything_a_run_goes_on_under_the_next_daemon_and_its_command_tells_it(
    start: Start,
    keeper_daemon: Daemon,
    wait_for: Callable[[Daemon], None],
    linear: Callable[..., Path],
    handlers: Callable[[str], Path],
    short_path: Path,
) -> None:
    wait_for(keeper_daemon)
    ledger, gate = short_path / "ledger", short_path / "gate"
    given = ("--set", f"ledger={ledger}", "--set", f"gate={gate}")
    running = start(
        "--runtime-dir", keeper_daemon.runtime_dir, "run", linear("one", "two", "wait", "four"), "--handlers", handlers(SOURCE), *given
    )
    with Client(keeper_daemon.runtime_dir, timeout=20.0) as client:
        at_rest(client, 1001, ledger)
    keeper_daemon.process.kill()
    keeper_daemon.process.wait()
    await_line(running, "waiting for the next one")
    following = Daemon(short_path)  # as a service manager does
    try:
        lines = await_line(running, "goes on from a checkpoint: 2 tasks had ended, 1 open")
        assert any("a daemon is there again" in line for line in lines)
        gate.touch()
        out, _ = running.communicate(timeout=60)
    finally:
        following.close()
    assert running.returncode == 0, out
    assert "OUTCOME" in out
    assert ran(ledger) == {"one": 1, "two": 1, "wait": 2, "four": 1}


def test_a_timer_that_waits_goes_on_and_fires_when_it_would_have(
    ctl: Ctl,
    keeper_daemon: Daemon,
    wait_for: Callable[[Daemon], None],
    linear: Callable[..., Path],
    handlers: Callable[[str], Path],
    short_path: Path,
) -> None:
    """And a task beside it, which was done, stays done: tokens of both branches are in the checkpoint."""
    wait_for(keeper_daemon)
    at = ("--runtime-dir", str(keeper_daemon.runtime_dir))
    ledger = short_path / "ledger"
    model = linear("one", "wait", "four")
    text = model.read_text()
    old = '<bpmn:serviceTask id="wait" name="Do wait" camunda:type="external" camunda:topic="wait"/>'
    timer = '<bpmn:intermediateCatchEvent id="wait"><bpmn:timerEventDefinition><bpmn:timeDuration>PT4S</bpmn:timeDuration></bpmn:timerEventDefinition></bpmn:intermediateCatchEvent>'
    assert old in text
    model.write_text(text.replace(old, timer))
    source = SOURCE.replace('task.variables["third"] + ', "")
    pid = int(ctl(*at, "run", model, "--handlers", handlers(source), "--set", f"ledger={ledger}", "--detach").stdout)
    with Client(keeper_daemon.runtime_dir, timeout=20.0) as client:
        while (info := client.call(requests.Status(pid))).threads_done != 1:
            client.call(requests.Wait(pid, timeout=0.05))
        begun = time.time()
        time.sleep(2.0)  # half of what the timer has to wait
        os.kill(info.os_pid, signal.SIGKILL)
        ended = client.call(requests.Wait(pid, timeout=30.0), timeout=40.0)
    assert (ended.status, ended.incarnation) == ("completed", 2), ended
    assert ran(ledger) == {"one": 1, "four": 1}
    assert 3.5 < ended.ended_at - begun < 5.8, "it did not begin to wait anew"


def test_one_that_is_lost_again_and_again_fails_and_says_so(
    ctl: Ctl,
    keeper_daemon: Daemon,
    wait_for: Callable[[Daemon], None],
    linear: Callable[..., Path],
    handlers: Callable[[str], Path],
    short_path: Path,
) -> None:
    wait_for(keeper_daemon)
    at = ("--runtime-dir", str(keeper_daemon.runtime_dir))
    given = ("--set", f"ledger={short_path / 'ledger'}", "--set", f"gate={short_path / 'gate'}")
    pid = int(ctl(*at, "run", linear("one", "two", "wait"), "--handlers", handlers(SOURCE), *given, "--detach").stdout)
    with Client(keeper_daemon.runtime_dir, timeout=20.0) as client:
        at_rest(client, pid, short_path / "ledger")
        info = client.call(requests.Status(pid))
        incarnation = 0
        while not info.ended_at:
            if info.status == "running" and info.incarnation > incarnation:
                incarnation = info.incarnation
                os.kill(info.os_pid, signal.SIGKILL)
            info = client.call(requests.Wait(pid, timeout=0.1))
    assert (info.status, info.incarnation) == ("failed", 1 + RESUMES_MOST), info
    assert info.reason == "signal 9 (SIGKILL), not by us; it had gone on from the same checkpoint 3 times"
    assert info.checkpoint_at, "dadmsctl start goes on from there"


def test_a_state_that_cannot_be_kept_is_a_warning_at_the_start_and_the_run_goes_on_without(
    ctl: Ctl, wait_for: Callable[[Daemon], None], linear: Callable[..., Path], handlers: Callable[[str], Path], short_path: Path
) -> None:
    """Here the artifact that would hold it finds no room within what all processes together may have."""
    (short_path / "dadms.toml").write_text("[resource_manager]\ndisk_limit_mb = 16\n")
    (short_path / "given.json").write_text(json.dumps({"ledger": str(short_path / "ledger"), "ballast": "x" * (6 << 20)}))
    work = short_path / "s" / "work"  # measured when the kernel starts
    work.mkdir(mode=0o700, parents=True)
    work.parent.chmod(0o700)
    (work / "somebody").write_bytes(bytes(14 << 20))
    daemon = Daemon(short_path, "--config", str(short_path / "dadms.toml"))
    try:
        wait_for(daemon)
        at = ("--runtime-dir", str(daemon.runtime_dir))
        done = ctl(*at, "run", linear("one"), "--handlers", handlers(SOURCE), "--input", short_path / "given.json", "--json")
    finally:
        daemon.close()
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["outcome"]["variables"]["first"] == [1, 2, 3]
    assert "no checkpoints are kept from now on, and what is lost begins anew: cannot keep an artifact" in done.stdout + done.stderr
