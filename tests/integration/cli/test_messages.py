"""Messages and dead letters as a person and a script use them, against a real daemon and a process that answers."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dadms_ipc import requests
from dadms_ipc.client import Client
from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl, Start

MAILBOX = """
from dadms_ipc.envelope import Kind
from dadms_orchestrators.contract import Orchestrator
from dadms_orchestrators.sdk.process import MessageArrived
from dadms_orchestrators.sdk.session import StopRequested
import dadms_orchestrators.sdk.line
import msgspec


def run(process):
    process.ready([])
    while True:
        event = process.next_event()
        if isinstance(event, StopRequested):
            return
        if not isinstance(event, MessageArrived):
            continue
        message, said = event.message, msgspec.msgpack.decode(event.message.body)
        if said == "refuse":
            process.refuse(message, "not today")
        elif said == "publish too much":
            for _ in range(2):
                process.publish("news", bytes(64 * 1024 * 1024 + 1))
            process.reply(message, "tried")
        elif said == "the wrong way":
            (process.acknowledge if message.kind == Kind.REQUEST else lambda one: process.reply(one, "well"))(message)
            process.refuse(message, "it was answered the wrong way")
        elif message.kind == Kind.REQUEST:
            process.reply(message, {"said": said, "thread": message.thread})
        else:
            process.acknowledge(message)


ORCHESTRATOR = Orchestrator(name="mailbox", version="1", run=run, entries={})
"""


@pytest.fixture
def at(keeper_daemon: Daemon, wait_for: Callable[[Daemon], None]) -> tuple[str, str]:
    """Give the options that lead to a real daemon, which answers."""
    wait_for(keeper_daemon)
    return "--runtime-dir", str(keeper_daemon.runtime_dir)


def _spawn(client: Client, folder: Path, *, group: str = "") -> int:
    """Start a mailbox that is started again long after it died; gives its pid."""
    (folder / "mailbox.py").write_text(MAILBOX)
    spec = requests.Spec(
        "mailbox",
        "mailbox:ORCHESTRATOR",
        environment={"PYTHONPATH": str(folder)},
        restart="always",
        backoff=600.0,
        backoff_most=600.0,
        group=group,
    )
    pid: int = client.call(requests.Spawn(spec))["pid"]
    assert client.call(requests.Wait(pid, until="ready", timeout=30.0), timeout=40.0).status == "running"
    return pid


def test_messages_and_dead_letters(ctl: Ctl, start: Start, at: tuple[str, str], keeper_daemon: Daemon, tmp_path: Path) -> None:
    """From the first message to a process, over its death, to the replay of what it could not be given."""
    with Client(keeper_daemon.runtime_dir, timeout=20) as client:
        pid = str(_spawn(client, tmp_path))
        for to in (pid, "mailbox"):
            done = ctl(*at, "send", to, '{"n": 1}', "--type", "STATUS_UPDATE", "--timeout", "20")
            assert (done.stdout, done.stderr) == ("handled\n", "")
        done = ctl(*at, "request", f"{pid}/17", "hello", "--json")
        assert json.loads(done.stdout) == {"body": {"said": "hello", "thread": 17}}
        refused = ctl(*at, "send", pid, "refuse")
        assert (refused.returncode, refused.stderr) == (4, f'dadmsctl: cannot send to "{pid}": not today\n')
        done = ctl(*at, "broadcast", "all", "pause", "--json")
        assert json.loads(done.stdout) == {"handled": 1, "stored": 0, "failures": 0, "failed": {}}

        os.kill(client.call(requests.Status(int(pid))).os_pid, signal.SIGKILL)
        assert json.loads(ctl(*at, "send", pid, "late", "--expiry", "600", "--json").stdout) == {"outcome": "stored"}
        assert ctl(*at, "dlq", "ls", "--json").stdout == "[]\n"
        assert ctl(*at, "kill", pid).returncode == 0
        letters = json.loads(ctl(*at, "dlq", "ls", "--json").stdout)
        assert [(one["to"], one["type"], one["reason"]) for one in letters] == [(pid, "TASK_REQUEST", f"process {pid} ended")]
        number = str(letters[0]["number"])
        assert json.loads(ctl(*at, "dlq", "show", number, "--json").stdout)["body"] == "late"
        assert "late" in ctl(*at, "dlq", "show", number).stdout
        assert f"process {pid} ended" in ctl(*at, "dlq", "ls").stdout

        failed = ctl(*at, "dlq", "replay", number)
        assert (failed.returncode, failed.stderr) == (
            4,
            f'dadmsctl: cannot replay dead letter {number}: there is no process "{pid}"\n',
        )
        other = str(_spawn(client, tmp_path))
        replayed = ctl(*at, "dlq", "replay", number, "--to", other)
        assert replayed.stdout.startswith(f"{number} is message ")
        end = time.monotonic() + 20
        while (outcomes := client.bus_status()["outcomes"])["handled"] < 1:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert (outcomes["kept"], outcomes["dead"], outcomes["replayed"]) == (2, 1, 1)
        gone = ctl(*at, "dlq", "drop", number)
        assert (gone.returncode, gone.stderr) == (4, f"dadmsctl: cannot drop dead letter {number}: there is none\n")
        assert ctl(*at, "dlq", "drop", "--all").stdout == "0 dropped\n"
        assert ctl(*at, "dlq", "drop").returncode == 2


def test_an_answer_of_the_wrong_kind_is_told_in_the_log(ctl: Ctl, at: tuple[str, str], keeper_daemon: Daemon, tmp_path: Path) -> None:
    """Once for each kind, with what to call instead; the process goes on."""
    with Client(keeper_daemon.runtime_dir, timeout=20) as client:
        pid = str(_spawn(client, tmp_path))
    for command in ("send", "request", "send", "request"):
        assert "it was answered the wrong way" in ctl(*at, command, pid, "the wrong way").stderr
    log = ctl(*at, "logs", pid).stdout
    assert log.count("cannot reply to message") == 1
    assert "it is a SEND; process.acknowledge(message) or process.refuse(message, reason) answers a SEND" in log
    assert log.count("cannot acknowledge message") == 1
    assert "it is a REQUEST; process.reply(message, body) or process.refuse(message, reason) answers it" in log
    assert json.loads(ctl(*at, "request", pid, "hello", "--json").stdout)["body"]["said"] == "hello"


def test_a_publication_that_cannot_be_is_told_in_the_log_and_ends_nothing(
    ctl: Ctl, at: tuple[str, str], keeper_daemon: Daemon, tmp_path: Path
) -> None:
    with Client(keeper_daemon.runtime_dir, timeout=20) as client:
        pid = str(_spawn(client, tmp_path))
    for text in ("publish too much", "hello"):
        done = ctl(*at, "request", pid, text, "--timeout", "20")
        assert (done.returncode, done.stderr) == (0, "")
    assert ctl(*at, "logs", pid).stdout.count('cannot publish "news": cannot send') == 1


def test_publications_reach_a_subscriber_at_the_terminal(ctl: Ctl, start: Start, at: tuple[str, str], tmp_path: Path) -> None:
    """In the order of publishing; JSON, texts and bytes."""
    listener = start(*at, "subscribe", "news.#", "--count", "3", "--json")
    assert listener.stderr is not None
    assert listener.stderr.readline() == "dadmsctl: listening to news.#\n"
    (tmp_path / "body").write_bytes(b"\xff\x00")
    for arguments in (["news/today", '{"a": [1]}'], ["news.tomorrow", "rain"], ["news", "--file", str(tmp_path / "body")]):
        assert ctl(*at, "publish", *arguments).returncode == 0
    out, _ = listener.communicate(timeout=60)
    heard = [json.loads(line) for line in out.splitlines()]
    assert [(one["topic"], one.get("body"), one.get("base64")) for one in heard] == [
        ("news/today", {"a": [1]}, None),
        ("news.tomorrow", "rain", None),
        ("news", None, "/wA="),
    ]
    assert listener.returncode == 0


def test_a_subscriber_at_the_terminal_ends_with_the_daemon(ctl: Ctl, start: Start, at: tuple[str, str]) -> None:
    """As whoever follows events does."""
    listener = start(*at, "subscribe", "news/#")
    assert listener.stderr is not None
    assert listener.stderr.readline() == "dadmsctl: listening to news/#\n"
    assert ctl(*at, "shutdown").returncode == 0
    out, told = listener.communicate(timeout=30)
    assert (listener.returncode, out) == (3, "")
    assert told == f'dadmsctl: cannot go on: the daemon on "{at[1]}" has ended: nobody listens there, and nobody holds its lock\n'


def test_a_broadcast_to_a_group_takes_both_spellings_and_refuses_one_that_there_is_not(
    ctl: Ctl, at: tuple[str, str], keeper_daemon: Daemon, tmp_path: Path
) -> None:
    with Client(keeper_daemon.runtime_dir, timeout=20) as client:
        pid = str(_spawn(client, tmp_path, group="etl"))
    reached = [ctl(*at, "broadcast", scope, "x", "--timeout", "20").stdout for scope in ("group/etl", "group:etl")]
    assert reached == ["1 handled, 0 stored, 0 failed\n"] * 2
    for scope in ("group/nosuch", "group:nosuch"):
        done = ctl(*at, "broadcast", scope, "x")
        assert (done.returncode, done.stdout, done.stderr) == (
            4,
            "",
            'dadmsctl: cannot broadcast to "group/nosuch": no group is called "nosuch"; there are etl\n',
        )
    assert ctl(*at, "kill", pid).returncode == 0
    assert ctl(*at, "broadcast", "group/etl", "x").returncode == 0, "it is a group, and nobody of it lives"


def test_what_cannot_be_said_is_refused_with_the_exit_code_of_its_reason(ctl: Ctl, at: tuple[str, str], tmp_path: Path) -> None:
    """2 usage, 4 refused, 5 too late."""
    for arguments, code, reason in (
        (["send", "nobody", "x"], 4, 'cannot reach "nobody": nobody of that address is connected'),
        (["publish", "a/*", "x"], 4, 'cannot publish: "a/*" is a pattern, not a topic'),
        (["publish", "kernel/x", "x"], 4, 'cannot publish to "kernel/x": "kernel" is the daemon\'s own'),
        (["subscribe", "#/a"], 4, 'cannot subscribe: "#/a" goes on after "#"'),
        (["subscribe", "a", "--count", "1", "--for", "0.2"], 5, "cannot wait longer: 0 of 1 messages came in 0.2 s"),
        (
            ["broadcast", "some"],
            4,
            'cannot broadcast to "some": no such scope; there are all, children, children/PID, type/TYPE, group/NAME',
        ),
        (["send", "1001", "x", "--file", str(tmp_path / "none")], 2, "a BODY and --file are two bodies: give one of them"),
        (["send", "1001", "--file", str(tmp_path / "none")], 2, "No such file or directory"),
        (["dlq", "show", "9"], 4, "cannot show dead letter 9: there is none"),
    ):
        done = ctl(*at, *arguments)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert reason in done.stderr


def test_a_message_to_one_that_has_ended_says_so_and_what_starts_it(ctl: Ctl, at: tuple[str, str]) -> None:
    pid = ctl(*at, "spawn", "shout", "--service", "--", "sleep", "1000").stdout.strip()
    assert ctl(*at, "stop", "shout").returncode == 0
    said = f'"shout" ({pid}) is stopped; dadmsctl start {pid} starts it\n'
    for to in ("shout", pid, f"{pid}/7"):
        for command, verb in (("send", "send to"), ("request", "ask")):
            done = ctl(*at, command, to, "yo")
            assert (done.returncode, done.stdout, done.stderr) == (4, "", f'dadmsctl: cannot {verb} "{to}": {said}')
    assert ctl(*at, "kill", "shout").returncode in (0, 4)


def test_spawn_of_a_program_without_its_command_says_how_one_is_started(ctl: Ctl, at: tuple[str, str]) -> None:
    done = ctl(*at, "spawn", "foo")
    words = 'no orchestrator "foo"; there are bpmn, decision; a program is started by: dadmsctl spawn NAME -- COMMAND\n'
    assert (done.returncode, done.stdout, done.stderr) == (4, "", f'dadmsctl: cannot start "foo": {words}')


def test_a_request_that_nobody_answers_says_so_once(ctl: Ctl, at: tuple[str, str]) -> None:
    pid = ctl(*at, "spawn", "mute", "--service", "--", "sleep", "1000").stdout.strip()
    done = ctl(*at, "request", pid, "yo", "--timeout", "0.5")
    assert (done.returncode, done.stderr) == (5, "dadmsctl: no answer in 0.5 s\n")
    assert ctl(*at, "kill", "mute").returncode == 0
