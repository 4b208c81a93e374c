"""A daemon, and a client of it, for the tests here that need nothing of them but to be there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dadms_ipc.client import Client
from tests.conftest import Daemon
from tests.fault.kernel.daemon import client, daemon


@pytest.fixture
def made(short_path: Path) -> Iterator[Daemon]:
    """Give a daemon that runs."""
    with daemon(short_path) as running:
        yield running


@pytest.fixture
def door(made: Daemon) -> Iterator[Client]:
    """Give a client of it."""
    with client(made) as opened:
        yield opened
