"""circusd and supervisord, each with one group of children that waits for a command to start."""

import contextlib
import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path

import zmq

from dadms_ipc.errors import HostFailure

PATIENCE = 60.0  # seconds


@contextlib.contextmanager
def circus(programs: Path, child: list[str], count: int) -> Iterator[Callable[[], None]]:
    """Run circusd; gives the command that starts the children."""
    with tempfile.TemporaryDirectory(prefix="dadms-bench-") as directory:
        place = f"ipc://{directory}/control"
        config = Path(directory, "circus.ini")
        config.write_text(
            f"[circus]\nendpoint = {place}\npubsub_endpoint = ipc://{directory}/events\nwarmup_delay = 0\n"
            f"[watcher:group]\ncmd = {shlex.join(child)}\nnumprocesses = {count}\nautostart = false\nwarmup_delay = 0\ngraceful_timeout = 1\n"
            "copy_env = true\n"
        )
        context = zmq.Context()
        door = context.socket(zmq.DEALER)
        door.linger = 0

        def ask(command: str, **properties: object) -> dict[str, object]:
            door.send_json({"id": "1", "command": command, "properties": properties})
            if not door.poll(int(PATIENCE * 1000)):
                raise HostFailure(f"cannot measure: circusd did not answer {command} in {PATIENCE:g} s")
            answer: dict[str, object] = json.loads(door.recv())
            return answer

        with _program([programs / "circusd", str(config)]):
            door.connect(place)
            try:
                ask("list")
                yield lambda: door.send_json({"id": "2", "command": "start", "properties": {"name": "group", "waiting": False}})
            finally:
                door.close()
                context.term()


class _UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over a unix socket, as supervisorctl speaks it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, _host: object) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(self._path)
        return connection


@contextlib.contextmanager
def supervisord(programs: Path, child: list[str], count: int) -> Iterator[Callable[[], None]]:
    """Run supervisord; gives the command that starts the children."""
    with tempfile.TemporaryDirectory(prefix="dadms-bench-") as directory:
        config = Path(directory, "supervisord.conf")
        config.write_text(
            f"[unix_http_server]\nfile={directory}/control\n"
            f"[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={directory}/pid\nchildlogdir={directory}\nminfds=1024\n"
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[program:group]\ncommand={_escaped(child)}\nnumprocs={count}\nprocess_name=%(process_num)d\nautostart=false\nstartsecs=0\nautorestart=false\n"
            "stopwaitsecs=1\n"
        )
        with _program([programs / "supervisord", "-c", str(config)]):
            _await(Path(directory, "control"))
            door = xmlrpc.client.ServerProxy("http://localhost", transport=_UnixTransport(f"{directory}/control"))
            yield lambda: _started(door)


def _started(door: xmlrpc.client.ServerProxy) -> None:
    door.supervisor.startProcessGroup("group", False)


def _escaped(child: list[str]) -> str:
    return shlex.join(child).replace("%", "%%")


def _await(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > deadline:
            raise HostFailure(f"cannot measure: {path} is not there after {PATIENCE:g} s")
        time.sleep(0.01)


@contextlib.contextmanager
def _program(command: list[Path | str]) -> Iterator[None]:
    """Run a supervisor, and end it with everything that it started."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=dict(os.environ))
    try:
        yield
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def python(code: str, path: Path, directory: Path) -> list[str]:
    """Give the command of a child: a file, since a configuration's line holds no program."""
    program = directory / "child.py"
    program.write_text(code)
    return [sys.executable, str(program), str(path)]
