"""A real bus for the tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.integration.bus.daemon import Daemon


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """Give a bus that runs, linked with a small kernel."""
    with Daemon() as running:
        yield running
