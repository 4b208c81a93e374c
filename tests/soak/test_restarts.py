"""The short form of ``make soak-restarts``: a hundred restarts, and nothing is left of them but what is told of the past."""

from pathlib import Path

from dadms_ipc.client import Client
from tests.conftest import Daemon
from tests.soak.restarts import grown, restart

PAST = 1 << 20  # bytes of events and lives of sixty restarts, which are kept; a hundredth of it is what they take


def test_restarts_leave_no_descriptor_and_only_their_history(short_path: Path) -> None:
    made = Daemon(short_path)
    try:
        with Client(made.runtime_dir, timeout=30.0, start_timeout=20.0) as client:
            first, second = restart(client, made.runtime_dir, restarts=120, every=60, seed=5, seconds=60.0, say=lambda _moment: None)
            assert second.restarts > first.restarts
            assert not grown(first, second, memory=PAST, journal=PAST)
    finally:
        made.close()
