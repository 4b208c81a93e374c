"""A base zygote for each test, ended with everything that it forked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.zygote.small_kernel import Zygote


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Zygote]:
    """Give a base zygote with a kernel on it."""
    with Zygote(tmp_path / "zygote.log") as zygote:
        yield zygote
