"""A configuration file on its way into force: checked by the command line, told about at the daemon's start, obeyed by its servers."""

from collections.abc import Callable
from pathlib import Path

from dadms_ipc.client import Client
from tests.conftest import Daemon
from tests.integration.cli.conftest import Ctl

TEXT = '[message_bus]\nmax_queue_size = 3\n[thread_scheduler]\npolicy = "deadline"\n'


def test_what_is_in_force_is_obeyed_and_what_is_not_is_told(short_path: Path, ctl: Ctl, wait_for: Callable[[Daemon], None]) -> None:
    path = short_path / "dadms.toml"
    path.write_text(TEXT)
    checked = ctl("config", "check", path)
    assert (checked.returncode, checked.stdout) == (0, f"{path} is in order\n")
    assert checked.stderr.startswith(f'dadmsctl: warning: {path} line 4: [thread_scheduler] policy = "deadline" is not in force yet: ')
    daemon = Daemon(short_path, "--config", str(path))
    try:
        wait_for(daemon)
        with Client(daemon.runtime_dir) as client:
            bounds = client.bus_status()["bounds"]
    finally:
        daemon.close()
    assert bounds["queue"] == 3
    assert daemon.said().startswith(f'dadmsd: warning: {path} line 4: [thread_scheduler] policy = "deadline" is not in force yet: ')
