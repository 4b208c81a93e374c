"""The kernel itself under wrong requests, shortly: ``make fuzz`` has the long form."""

import pytest

from tests.conftest import Daemon
from tests.fuzz.assault import Assault

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.mark.parametrize("seed", [1, 2])
def test_no_request_ends_the_kernel_or_keeps_others_waiting(keeper_daemon: Daemon, seed: int) -> None:
    """Of every verb, changed in one to three places; the daemon stops in order after it and leaves nothing."""
    assault = Assault(keeper_daemon.runtime_dir, seed)
    outcome = assault.run(messages=1500, seconds=30.0)
    assert outcome.failures == [], (keeper_daemon.said()[-3000:], assault.suspects())
    assert outcome.statuses["ok"] > 50, outcome.statuses
    assert outcome.statuses["refused"] > 500, outcome.statuses
    assert not outcome.statuses["internal"], keeper_daemon.said()[-3000:]
    assert keeper_daemon.stop() == 0
    assert "Traceback" not in keeper_daemon.said()
