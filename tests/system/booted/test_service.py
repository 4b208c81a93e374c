"""The service under a real systemd: ready when it says so, watched, started again, read again, and gone without a trace."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from dadms_ipc.client import Client
from dadms_ipc.requests import Kill, List, ProcessInfo, Spawn, Spec, Status, Wait
from tests.system.booted.service import (
    CHECKOUT,
    CONFIG,
    PATIENCE,
    RUNTIME,
    STATE,
    UNIT,
    WATCHDOG,
    awaited,
    children,
    commands,
    groups,
    journal,
    main_pid,
    running,
    server_pid,
    show,
    systemctl,
)

SLEEPER = Spec("sleeper", kind="service", command=["/bin/sleep", "600"])


def spawned(client: Client) -> ProcessInfo:
    """Start a process that works for minutes."""
    pid = client.call(Spawn(SLEEPER))["pid"]
    info: ProcessInfo = client.call(Wait(pid, until="ready", timeout=PATIENCE))
    assert info.status == "running", info
    return info


def test_it_is_active_when_it_answers_and_stops_without_a_trace() -> None:
    with running() as client:
        assert show("ActiveState", "SubState", "StatusText") == {
            "ActiveState": "active",
            "SubState": "running",
            "StatusText": f"ready on {RUNTIME}",
        }
        info = client.call(Status())
        assert (info.state_dir, info.is_private) == (str(STATE), False)
        main = spawned(client).os_pid
        begun = time.monotonic()
        assert systemctl("stop", UNIT).returncode == 0
        assert time.monotonic() - begun < PATIENCE / 2
    assert show("Result", "ExecMainStatus", "ActiveState") == {"Result": "success", "ExecMainStatus": "0", "ActiveState": "inactive"}
    assert not Path(f"/proc/{main}").exists()
    assert commands() == []
    assert not RUNTIME.exists()
    assert groups() == []


def test_a_keeper_that_hangs_is_ended_by_the_watchdog_and_everything_begins_again() -> None:
    with running(WatchdogSec=str(WATCHDOG)) as client:
        old, main = main_pid(), spawned(client).os_pid
        os.kill(old, signal.SIGSTOP)
        assert awaited(lambda: show("NRestarts", "SubState") == {"NRestarts": "1", "SubState": "running"} and main_pid() != old)
        assert "Watchdog timeout" in journal()
        assert not Path(f"/proc/{main}").exists()
        with Client(RUNTIME, timeout=PATIENCE) as again:
            assert again.call(Status()).servers["bus"]["restarts"] == 0
        time.sleep(WATCHDOG + 1)  # longer than the watchdog's patience: the signs of life of a healthy keeper are what is tested
        assert show("NRestarts")["NRestarts"] == "1"


@pytest.mark.parametrize("server", ["kernel", "bus", "logger", "zygote"])
def test_a_server_that_is_killed_comes_back_and_systemd_does_not_notice(server: str) -> None:
    with running() as client:
        main, info = main_pid(), spawned(client)
        old = server_pid(client, server)
        os.kill(old, signal.SIGKILL)
        assert awaited(lambda: server_pid(client, server) not in (0, old))
        assert client.call(Wait(info.pid, until="ready", timeout=PATIENCE)).status == "running"
        assert Path(f"/proc/{info.os_pid}").exists()
        assert main_pid() == main
        assert show("NRestarts", "SubState") == {"NRestarts": "0", "SubState": "running"}


def test_after_kill_9_of_the_keeper_everything_ends_and_a_new_daemon_serves() -> None:
    with running() as client:
        old, info = main_pid(), spawned(client)
        begun = children(old)
        os.kill(old, signal.SIGKILL)
        assert awaited(lambda: show("NRestarts", "SubState") == {"NRestarts": "1", "SubState": "running"} and main_pid() != old)
        assert not [pid for pid in (*begun, info.os_pid) if Path(f"/proc/{pid}").exists()]
        with Client(RUNTIME, timeout=PATIENCE) as again:
            assert again.call(Status(info.pid)).os_pid != info.os_pid
            assert spawned(again).pid > info.pid  # numbers are never used again
    assert groups() == []


TASKS = """import os, time
from dadms_orchestrators import Task, handler
@handler("count")
def count(task: Task):
    with open("/run/t/ledger", "a") as ledger:
        ledger.write(task.element + "\\n")
    while task.element == "left" and not os.path.exists("/run/t/gate"):
        time.sleep(0.02)
    return {task.element: 1}
"""


def test_a_run_goes_on_after_kill_9_of_the_keeper() -> None:
    """The user's command is told the end of it; what was done is not done again."""
    ledger, gate, tasks = (Path("/run/t", name) for name in ("ledger", "gate", "tasks.py"))
    ledger.parent.mkdir(exist_ok=True)
    for path in (ledger, gate):
        path.unlink(missing_ok=True)
    tasks.write_text(TASKS)
    with running():
        old = main_pid()
        told = subprocess.Popen(
            ["dadmsctl", "--timeout", str(PATIENCE), "run", CHECKOUT / "tests/integration/example/data/fork_join.bpmn", "--handlers", tasks],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            assert awaited(lambda: {"first", "left", "right"} <= set(ledger.read_text().split()))
            with Client(RUNTIME, timeout=PATIENCE) as client:
                assert awaited(
                    lambda: [each.threads_done for each in client.call(List()) if each.orchestrator and not each.ended_at] == [2]
                )
            os.kill(old, signal.SIGKILL)
            assert awaited(lambda: ledger.read_text().split().count("left") == 2)
            gate.touch()
            out, _ = told.communicate(timeout=PATIENCE)
        finally:
            told.kill()
            told.communicate()
        assert told.returncode == 0, out
        assert "goes on from a checkpoint" in out
        assert [ledger.read_text().split().count(task) for task in ("first", "right", "left")] == [1, 1, 2]


def test_a_reload_starts_those_again_that_read_what_changed_and_what_runs_runs_on() -> None:
    with running("[logger]\nkeep_files = 3\n") as client:
        info = spawned(client)
        before = {name: server_pid(client, name) for name in ("kernel", "bus", "logger", "zygote")}
        CONFIG.write_text("[logger]\nkeep_files = 3\n[process_kernel]\nmax_processes = 1\n")
        reloaded = systemctl("reload", UNIT)
        assert reloaded.returncode == 0, reloaded.stderr
        assert awaited(lambda: server_pid(client, "kernel") not in (0, before["kernel"]))
        after = {name: server_pid(client, name) for name in before}
        assert {name for name in before if before[name] != after[name]} == {"kernel"}
        assert client.call(Wait(info.pid, until="ready", timeout=PATIENCE)).status == "running"
        refused = subprocess.run(
            ["dadmsctl", "run", CHECKOUT / "examples/uas_selection/uas_selection.bpmn", "--detach"],
            capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
        assert refused.returncode == 4, refused
        CONFIG.write_text("[process_kernel]\nmax_proceses = 5\n")
        systemctl("reload", UNIT)
        assert awaited(lambda: 'did you mean "max_processes"?' in journal())
        assert server_pid(client, "kernel") == after["kernel"]
        assert show("ActiveState") == {"ActiveState": "active"}


def test_what_processes_print_goes_to_the_journal_and_outlives_its_restart() -> None:
    with running('[logger]\nto = "journald"\n') as client:
        info = spawned(client)
        pipe = Path(f"/proc/{info.os_pid}/fd/1")

        def said(text: str) -> bool:
            told = subprocess.run(["journalctl", "--sync"], check=False, capture_output=True, timeout=60) and subprocess.run(
                ["journalctl", f"DADMS_PID={info.pid}", "-o", "cat", "--no-pager"], capture_output=True, text=True, check=False, timeout=60
            )
            return text in told.stdout.splitlines()

        with pipe.open("w") as out:
            out.write("before\n")
        assert awaited(lambda: said("before"))
        assert systemctl("restart", "systemd-journald").returncode == 0
        with pipe.open("w") as out:
            out.write("".join(f"line {number}\n" for number in range(500)))
        assert awaited(lambda: said("line 499"))
        assert all(said(f"line {number}") for number in (0, 250))
        client.call(Kill(info.pid, force=True))
