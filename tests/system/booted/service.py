"""``systemd/dadmsd.service`` installed under a booted systemd, and hands to look at it and to hurt it."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dadms_ipc.client import Client
from dadms_ipc.requests import Status

CHECKOUT = Path(__file__).parents[3]
UNIT = "dadmsd.service"
INSTALLED = Path("/etc/systemd/system") / UNIT
RUNTIME, STATE = Path("/run/dadms"), Path("/var/lib/dadms")
CONFIG = Path("/etc/dadms.toml")
IS_EMULATED = (
    os.environ.get("DADMS_BOOTED") == "vm"
)  # where a second of the machine is a tenth of one of its host's, and less where others work
PATIENCE = 150.0 if IS_EMULATED else 40.0  # seconds: for a loaded machine
WATCHDOG = 15 if IS_EMULATED else 2  # seconds: a healthy keeper that is given no CPU for so long is not what is tested


def systemctl(*argv: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Ask the manager."""
    return subprocess.run(["systemctl", *argv], capture_output=True, text=True, check=False, timeout=timeout)


def show(*names: str) -> dict[str, str]:
    """Give properties of the unit."""
    told = systemctl("show", UNIT, *(f"--property={name}" for name in names)).stdout
    return dict(line.split("=", 1) for line in told.splitlines())


def awaited(claim: Callable[[], bool]) -> bool:
    """Wait for what another program will do; nobody would tell us."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError, KeyError):
            if claim():
                return True
        time.sleep(0.02)
    return False


def install(config: str = "", **settings: str) -> None:
    """Install the unit of the checkout; only where dadmsd is differs from what is shipped, and what the test asks for."""
    text = (CHECKOUT / "systemd" / UNIT).read_text()
    assert "\nExecStart=/usr/local/bin/dadmsd\n" in text
    command = f"/payload/bin/dadmsd --config {CONFIG}"
    text = text.replace("\nExecStart=/usr/local/bin/dadmsd\n", f"\nExecStart={command}\n")
    for key, value in settings.items():
        lines = [line for line in text.splitlines() if line.startswith(f"{key}=")]
        assert len(lines) == 1, key
        text = text.replace(lines[0], f"{key}={value}")
    INSTALLED.write_text(text)
    CONFIG.write_text(config)
    assert systemctl("daemon-reload").returncode == 0


@contextlib.contextmanager
def running(config: str = "", **settings: str) -> Iterator[Client]:
    """Start the service, and stop it at the end."""
    install(config, **settings)
    started = systemctl("start", UNIT)
    try:
        assert started.returncode == 0, started.stderr + journal()
        with Client(RUNTIME, timeout=PATIENCE) as client:
            yield client
    finally:
        systemctl("stop", UNIT)
        systemctl("reset-failed", UNIT)


def journal() -> str:
    """What the journal has of the unit."""
    return subprocess.run(
        ["journalctl", "-u", UNIT, "-o", "cat", "--no-pager"], capture_output=True, text=True, check=False, timeout=60
    ).stdout


def main_pid() -> int:
    return int(show("MainPID")["MainPID"])


def server_pid(client: Client, name: str) -> int:
    info: Any = client.call(Status())
    return int(info.servers[name]["os_pid"])


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def commands() -> list[str]:
    """The command lines of everything of ours that lives."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - names; glob() trips over one that ends while it looks
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if "dadmsd" in line and "pytest" not in line and int(name) != os.getpid():
                found.append(line)
    return found


def groups() -> list[str]:
    """The cgroups of the unit and below, in every hierarchy."""
    return [str(path) for path in Path("/sys/fs/cgroup").rglob(f"{UNIT}*") if path.is_dir()]
