"""The systems as whoever measures sees them: how each is started, how its programs are, and what it lacks here.

Rule 1: everything is started for one run, in a directory of its own, and ends with it. Rule 2: the clients of peers live in a virtual environment of the
benchmark's own, made once; whatever is missing is said, and that peer is left out.
"""

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from dadms_ipc.errors import HostFailure
from dadmsctl.private import PrivateDaemon

PATIENCE = 60.0  # seconds for any answer of a program
CLIENTS = ("redis", "hiredis", "nats-py")  # of PyPI
CHECKOUT = Path(__file__).parents[2]


class System(NamedTuple):
    """One way to carry messages, running."""

    module: str  # of benchmarks.bus_peers
    python: str
    address: str


class Program:
    """A role of a system, in a process of its own."""

    def __init__(self, system: System, role: str, name: str = "", *arguments: str) -> None:
        command = [
            system.python,
            "-m",
            f"benchmarks.bus_peers.{system.module}",
            role,
            system.address,
            *([name] if name else []),
            *arguments,
        ]
        self.what = f"{system.module} {role}"
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors)
        self.name = ""

    def __enter__(self) -> Self:
        self.name = self.answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def order(self, do: str, **details: Any) -> None:
        """Give an order; ``answer`` waits for its end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # seen by answer()
            self._process.stdin.write(json.dumps({"do": do, **details}).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self) -> Any:
        """Give what the program says next."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            self._errors.seek(0)
            last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
            raise HostFailure(f"cannot measure {self.what}: {last[0] if last else f'it said nothing in {PATIENCE:g} s'}")
        return json.loads(line)


@contextlib.contextmanager
def ours() -> Iterator[System]:
    """Start a private daemon with this bus."""
    with PrivateDaemon(PATIENCE) as daemon:
        yield System("dadms", sys.executable, str(daemon.door.runtime_dir))


@contextlib.contextmanager
def router() -> Iterator[System]:
    """Start the bare ROUTER."""
    with _directory() as directory:
        system = System("router", sys.executable, f"ipc://{directory}/router.sock")
        with Program(system, "forward"):
            yield system


@contextlib.contextmanager
def redis(python: str) -> Iterator[System]:
    """Start a Redis on a unix socket, without any persistence."""
    with _directory() as directory:
        path = directory / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(directory)]
        unbounded = ["--client-output-buffer-limit", "pubsub 0 0 0"]
        with _server([found("redis-server") or "", *options, *unbounded], lambda: _connects(socket.AF_UNIX, str(path))):
            yield System("redis", python, str(path))


@contextlib.contextmanager
def nats(python: str) -> Iterator[System]:
    """Start a NATS on the loopback; it has no unix sockets."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with _server([found("nats-server") or "", "-a", "127.0.0.1", "-p", str(port)], lambda: _connects(socket.AF_INET, ("127.0.0.1", port))):
        yield System("nats", python, f"nats://127.0.0.1:{port}")


def found(server: str) -> str | None:
    """Give the path of a server; Debian installs some where an ordinary user's PATH does not look."""
    return shutil.which(server, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def clients() -> tuple[str | None, str]:
    """Make the environment with the peers' clients, once; gives its Python, or the reason why there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "dadms" / f"benchmark-peers-{sys.version_info.major}.{sys.version_info.minor}"
    python = directory / "bin" / "python"
    imports = [str(python), "-c", "import nats, redis"]
    if python.exists() and subprocess.run(imports, check=False, capture_output=True).returncode == 0:
        return str(python), ""
    try:
        shutil.rmtree(directory, ignore_errors=True)
        for command in ([sys.executable, "-m", "venv", str(directory)], [str(python), "-m", "pip", "install", "-q", *CLIENTS], imports):
            subprocess.run(command, check=True, capture_output=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        last = getattr(error, "stderr", None) or str(error).encode()
        return None, f"pip cannot install {' '.join(CLIENTS)}: {last.decode(errors='replace').strip().splitlines()[-1]}"
    return str(python), ""


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dadms-bench-") as directory:
        yield Path(directory)


@contextlib.contextmanager
def _server(command: list[str], is_up: Any) -> Iterator[None]:
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while not is_up():
            if server.poll() is not None or time.monotonic() > end:
                raise HostFailure(f"cannot measure {command[0]}: it does not start")
            time.sleep(0.01)
        yield
    finally:
        server.kill()
        server.wait()


def _connects(family: socket.AddressFamily, address: Any) -> bool:
    with socket.socket(family) as sock:
        return sock.connect_ex(address) == 0
