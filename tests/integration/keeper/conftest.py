"""A keeper with puppets, in a directory of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.keeper.theatre import Theatre


@pytest.fixture
def theatre(short_path: Path) -> Iterator[Theatre]:
    """Give a theatre that is closed at the end."""
    made = Theatre(short_path)
    yield made
    made.close()
