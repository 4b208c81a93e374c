"""Every backend that this host can give, and nothing of it left behind."""

import os
from collections.abc import Callable, Iterator

import pytest

from dadmsd.kernel.host.mounts import Found
from tests.integration.host.place import Place, on_this_host

KINDS: dict[str, Callable[[Found], Found]] = {
    "v1": lambda found: found,
    "v1 without v2": lambda found: Found(None, found.v1),
    "v2": lambda found: Found(found.v2, {}),
    "v2 without controllers": lambda found: Found(found.v2, {}),
    "rlimits": lambda found: Found(None, {}),
}
EXPECTED = {
    "v1": "cgroup v1",
    "v1 without v2": "cgroup v1",
    "v2": "cgroup v2",
    "v2 without controllers": "cgroup v2 (no memory, no cpu, no pids)",
    "rlimits": "rlimits only (no delegated cgroup)",
}


def _place(kind: str) -> Iterator[Place]:
    if os.geteuid() != 0 and kind != "rlimits":
        pytest.skip("making cgroups takes root here")
    place = Place(KINDS[kind](on_this_host()))
    try:
        if place.backend.name != EXPECTED[kind]:
            pytest.skip(f'this host gives "{place.backend.name}", not "{EXPECTED[kind]}": {"; ".join(place.backend.reasons)}')
        yield place
    finally:
        place.close()


@pytest.fixture(params=["v1", "v1 without v2", "v2"])
def capped(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Give each backend that holds caps here."""
    yield from _place(request.param)


@pytest.fixture(params=list(KINDS))
def any_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Give every backend that works here."""
    yield from _place(request.param)


@pytest.fixture
def rlimits() -> Iterator[Place]:
    """Give the backend without cgroups."""
    yield from _place("rlimits")
