"""The Python client and one that was written in another language from the protocol's page alone pass the same script."""

import contextlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from dadms_ipc.client import Client
from dadms_ipc.envelope import Kind
from dadms_ipc.errors import DadmsError
from tests.integration.bus.daemon import Daemon

CLIENTS = Path(__file__).parents[3] / "examples" / "clients"
INSTALL_TIMEOUT = 90.0  # seconds for npm
SCRIPT_TIMEOUT = 60.0  # seconds


class Partner:
    """Acknowledges what it is sent, and answers requests with their bodies."""

    def __init__(self, directory: Path) -> None:
        self._is_over = threading.Event()
        self._has_begun = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(directory,))
        self.address = ""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._has_begun.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(10)

    def _serve(self, directory: Path) -> None:
        with Client(directory) as client:
            client.subscribe("interoperability/nothing")
            self.address = client.address
            self._has_begun.set()
            while not self._is_over.is_set():
                with contextlib.suppress(DadmsError):
                    message = client.receive(timeout=0.1)
                    if message.kind == Kind.REQUEST:
                        client.reply(message, message.body)


def node() -> list[str]:
    """Give the command of the Node client; skips where Node or npm is missing, or npm cannot install."""
    folder = CLIENTS / "node"
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node or npm is not installed")
    major = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.lstrip("v").partition(".")[0]
    if int(major) < 20:
        pytest.skip(f"node {major} is older than 20")
    command = ["node", str(folder / "interoperability.mjs")]
    has_modules = ["node", "-e", "Promise.all([import('zeromq'), import('@msgpack/msgpack')]).catch(() => process.exit(1))"]
    if subprocess.run(has_modules, cwd=folder, capture_output=True, timeout=30, check=False).returncode == 0:
        return command
    try:
        subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, timeout=INSTALL_TIMEOUT, check=True, text=True
        )
        subprocess.run(has_modules, cwd=folder, capture_output=True, timeout=30, check=True, text=True)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install the Node client's dependencies in {INSTALL_TIMEOUT:g} s")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"npm cannot install the Node client's dependencies: {(error.stderr or '').strip()[-200:]}")
    return command


@contextlib.contextmanager
def running(command: list[str], directory: Path, partner: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a script against a daemon."""
    with subprocess.Popen(
        [*command, str(directory), partner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        watch = threading.Timer(SCRIPT_TIMEOUT, process.kill)
        watch.start()
        try:
            yield process
        finally:
            watch.cancel()
            process.kill()


@pytest.mark.parametrize("language", ["python", "node"])
def test_a_client_passes_the_script(daemon: Daemon, language: str) -> None:
    """Every step of one table, with the bus killed in the middle of it."""
    command = node() if language == "node" else [sys.executable, str(CLIENTS / "python" / "interoperability.py")]
    with Partner(daemon.directory) as partner, running(command, daemon.directory, partner.address) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line == "restart\n":
                daemon.kill_bus()
                daemon.start_bus()
                process.stdin.write("done\n")
                process.stdin.flush()
        assert process.wait(10) == 0, "".join(said)
    assert said[0] == "restart\n"
    assert said[-1].startswith("passed ")
