"""The kernel under services that say to their notify sockets whatever chance gives, shortly: ``make fuzz`` has the long form."""

import pytest

from tests.conftest import Daemon
from tests.fuzz.notices import listen

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_no_word_to_a_notify_socket_ends_the_kernel_or_fills_its_events(keeper_daemon: Daemon) -> None:
    """Nor leaves a descriptor open; the next kernel reads what this one wrote of it."""
    assert listen(keeper_daemon.runtime_dir, range(3), 700) == [], keeper_daemon.said()[-3000:]
    assert keeper_daemon.stop() == 0
    assert "Traceback" not in keeper_daemon.said()
