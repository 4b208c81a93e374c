"""The kernel under mains and workers that say over their ports whatever chance gives, shortly: ``make fuzz`` has the long form."""

import pytest

from tests.conftest import Daemon
from tests.fuzz.children import besiege

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.mark.parametrize("role", ["main", "worker"])
def test_no_child_ends_the_kernel_over_its_port(keeper_daemon: Daemon, role: str) -> None:
    """What they said costs them alone: the kernel is the same one, and the next one can read what it wrote."""
    assert besiege(keeper_daemon.runtime_dir, role, range(5)) == [], keeper_daemon.said()[-3000:]
    assert keeper_daemon.stop() == 0
    assert "Traceback" not in keeper_daemon.said()
