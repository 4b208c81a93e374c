"""Services and tools speak on the bus as the processes that they are: real commands below a real daemon, its kernel killed on the way."""

import os
import pwd
import re
import shutil
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dadms_ipc.client import Client
from dadms_ipc.envelope import Identity
from dadms_ipc.errors import DadmsError, RequestRefused
from dadms_ipc.identity import own_identity
from dadms_ipc.paths import secret_path
from dadms_ipc.requests import ReadLog, Spawn, Spec, Status, Stop, Wait
from tests.conftest import Daemon
from tests.fault.kernel.daemon import client, daemon, kill_server
from tests.integration.bus.daemon import await_true
from tests.integration.bus.test_interoperability import CLIENTS, node

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "services-on-the-bus.md"
NOBODY = 65534
SERVICE = """
import os
from dadms_ipc.client import Client
with Client.of_process() as client:
    client.publish("started", client.address.encode())
    while True:
        message = client.receive(timeout=60.0, acknowledge=False)
        if message.kind.name == "REQUEST":
            client.reply(message, f"{client.address} {client.role} {os.environ['DADMS_INCARNATION']} {message.body.decode()}".encode())
        elif message.topic == "crash":
            client.acknowledge(message)
            raise SystemExit(1)
        else:
            print("took", message.body.decode(), flush=True)
            client.acknowledge(message)
"""


@pytest.fixture
def made(short_path: Path, no_leaks: None) -> Iterator[Daemon]:
    """Give a real daemon."""
    with daemon(short_path) as running:
        yield running


def spawn(door: Client, command: list[str], **changes: Any) -> int:
    """Start a service."""
    spec = Spec(
        **{"name": "speaker", "kind": "service", "command": command, "backoff": 0.05, "start_limit": 0, "stop_timeout": 2.0, **changes}
    )
    return int(door.call(Spawn(spec))["pid"])


def log_of(door: Client, pid: int) -> str:
    """Give what a process has written."""
    return bytes(door.call(ReadLog(pid)).data).decode()


def test_a_service_is_a_member_of_the_bus_as_itself(made: Daemon, short_path: Path) -> None:
    """By its pid, its name and as a thread of it; with the role of a process, and under its pid to those whom it sends to."""
    (short_path / "service.py").write_text(SERVICE)
    with client(made) as door:
        door.subscribe("started")
        pid = spawn(door, [sys.executable, str(short_path / "service.py")])
        assert door.receive().sender == str(pid)
        for to in (str(pid), "speaker", f"{pid}/7"):
            assert door.request(to, b"hi") == f"{pid} operate 1 hi".encode()


def test_what_the_command_has_started_speaks_as_it(made: Daemon, short_path: Path) -> None:
    """A shell's child, which inherits nothing but the environment."""
    (short_path / "service.py").write_text(SERVICE)
    with client(made) as door:
        pid = spawn(door, ["sh", "-c", f"{sys.executable} {short_path}/service.py; exit 3"])
        assert door.request(str(pid), b"from a child") == f"{pid} operate 1 from a child".encode()


def test_messages_wait_for_the_next_incarnation_of_a_service(made: Daemon, short_path: Path) -> None:
    (short_path / "service.py").write_text(SERVICE)
    with client(made) as door:
        pid = spawn(door, [sys.executable, str(short_path / "service.py")], backoff=1.0, backoff_jitter=0.0)
        assert door.request(str(pid), b"") == f"{pid} operate 1 ".encode()
        assert door.send(str(pid), "crash") == "handled"
        assert door.send(str(pid), "note", b"for the next one") == "stored"
        assert door.request(str(pid), b"") == f"{pid} operate 2 ".encode()
        await_true(lambda: "took for the next one" in log_of(door, pid), "the next incarnation has it")


def test_the_secret_is_where_only_its_user_looks(made: Daemon, short_path: Path) -> None:
    """In one file, from before the program runs until its incarnation has ended; and nowhere else."""
    (short_path / "service.py").write_text(SERVICE)
    with client(made) as door:
        pid = spawn(door, [sys.executable, str(short_path / "service.py")])
        door.request(str(pid), b"")
        path = secret_path(made.runtime_dir, pid, 1)
        secret = path.read_bytes()
        assert len(secret) == 32
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o711
        os_pid = door.call(Status(pid)).os_pid
        told = Path(f"/proc/{os_pid}/environ").read_bytes() + Path(f"/proc/{os_pid}/cmdline").read_bytes()
        for trace in (secret, secret.hex().encode()):
            assert trace not in told
            for file in (path for path in (made.state_dir / "logs").rglob("*") if path.is_file()):
                assert trace not in file.read_bytes(), file
        door.send(str(pid), "crash")
        door.request(str(pid), b"")
        assert sorted(found.name for found in path.parent.iterdir()) == [f"{pid}.2"]
        assert secret_path(made.runtime_dir, pid, 2).read_bytes() != secret
        with pytest.raises(RequestRefused, match="it does not live, or the secret is not its own"):
            Client(made.runtime_dir, identity=Identity(pid, 1, secret))
        door.call(Stop(pid))
        door.call(Wait(pid, timeout=20.0))
        assert list(path.parent.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts processes of another user")
def test_another_users_service_has_a_secret_of_its_own(made: Daemon, short_path: Path) -> None:
    """Which belongs to it, and is closed to everybody else."""
    for directory in (short_path, short_path.parent):  # of the test: a system daemon's are open to pass through
        directory.chmod(0o711)
    third = next(entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid not in (0, NOBODY))
    with client(made) as door:
        pid = spawn(door, ["sh", "-c", 'wc -c < "$DADMS_RUNTIME_DIR/secrets/$DADMS_PID.1"; exec sleep 60'], uid=NOBODY)
        path = secret_path(made.runtime_dir, pid, 1)
        await_true(path.exists, "it is started")
        assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (NOBODY, 0o600)
        await_true(lambda: "32" in log_of(door, pid).split(), "it reads its own")
        other = spawn(door, ["sh", "-c", f"cat {path}; ls {path.parent}; exec sleep 60"], uid=third)
        await_true(lambda: log_of(door, other).count("ermission denied") == 2, "another user reads neither the file nor the directory")


def test_a_service_goes_on_speaking_when_the_servers_are_killed(made: Daemon, short_path: Path) -> None:
    """Its secret stays where it is, and the roster of the next kernel has it."""
    (short_path / "service.py").write_text(SERVICE)
    with client(made) as door:
        pid = spawn(door, [sys.executable, str(short_path / "service.py")])
        assert door.request(str(pid), b"one") == f"{pid} operate 1 one".encode()
        stray = secret_path(made.runtime_dir, 999, 1)
        stray.write_bytes(b"of a daemon that was killed")
        for server in ("kernel", "bus"):
            kill_server(door, server)
            await_true(lambda: int(door.call(Status()).servers["bus"]["os_pid"]) > 0, "the next one answers")
            assert door.request(str(pid), b"on", timeout=20.0) == f"{pid} operate 1 on".encode()
        assert not stray.exists()
        assert secret_path(made.runtime_dir, pid, 1).exists()


def test_a_broadcast_is_for_a_command_that_has_said_hello(made: Daemon, short_path: Path) -> None:
    """And for no other: nothing would ever take it from the disk."""
    (short_path / "service.py").write_text(SERVICE)
    with client(made) as door:
        silent = spawn(door, ["sleep", "60"], name="silent")
        pid = spawn(door, [sys.executable, str(short_path / "service.py")])
        door.request(str(pid), b"")
        reached = door.broadcast("all", "note", b"to all")
        assert (reached.handled, reached.stored, reached.failures) == (1, 0, 0)
        assert door.send(str(silent), "note", b"to it") == "stored"


def test_a_service_in_node_answers(made: Daemon, short_path: Path) -> None:
    """The one of the page that tells how."""
    node()
    (code,) = re.findall(r"<!-- file: shout.mjs -->\n```js\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (short_path / "shout.mjs").write_text(code)
    shutil.copy(CLIENTS / "node" / "client.mjs", short_path)
    (short_path / "node_modules").symlink_to(CLIENTS / "node" / "node_modules")
    with client(made) as door:
        pid = spawn(door, [shutil.which("node") or "node", str(short_path / "shout.mjs")], name="shout")
        assert door.request("shout", b"hello", timeout=20.0) == b"HELLO"
        assert door.send("shout", "note") == "handled"
        await_true(lambda: f"I am {pid}" in log_of(door, pid), "it knows who it is")


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ({}, "DADMS_PID, DADMS_INCARNATION is not in the environment"),
        ({"DADMS_PID": "1001x", "DADMS_INCARNATION": "1"}, "are numbers"),
        ({"DADMS_PID": "1001", "DADMS_INCARNATION": "1"}, "it has ended"),
        ({"DADMS_PID": "1002", "DADMS_INCARNATION": "1"}, "cannot read"),
    ],
)
def test_who_is_no_process_is_told_so(named: dict[str, str], why: str, short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DADMS_RUNTIME_DIR", str(short_path))
    for name in ("DADMS_PID", "DADMS_INCARNATION"):
        monkeypatch.delenv(name, raising=False)
    secret_path(short_path, 1002, 1).mkdir(parents=True)
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DadmsError, match=why):
        own_identity()


def test_a_stopped_daemon_leaves_no_secret(short_path: Path, no_leaks: None) -> None:
    """Whether it was stopped in order, or its keeper was killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with daemon(short_path) as made:
            with client(made) as door:
                pid = spawn(door, ["sleep", "60"])
                await_true(secret_path(made.runtime_dir, pid, 1).exists, "it is started")
            made.process.send_signal(number)
            made.process.wait(40)
            await_true(lambda: not secret_path(made.runtime_dir, pid, 1).exists(), "the secret is gone")  # noqa: B023 - asked at once
