"""The short form of the fuzzing that ``make fuzz`` does at length: the same ways to be wrong, few enough for every run of the tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dadms_ipc import requests
from dadms_ipc.client import Client
from tests.fault.bus.raw import RawClient
from tests.fuzz.frames import WAYS, Way, message
from tests.fuzz.reading import read
from tests.fuzz.siege import Siege
from tests.integration.bus.daemon import INFO, Daemon


@pytest.mark.usefixtures("no_leaks")
@pytest.mark.parametrize("seed", [1, 2])
def test_a_bus_under_attack_serves_others_and_does_not_grow(tmp_path: Path, seed: int) -> None:
    """Twenty thousand wrong messages over unix sockets and tcp, and strangers that speak no ZMTP."""
    outcome = Siege(tmp_path, seed).run(messages=20_000, seconds=40.0)
    assert outcome.failures == []
    assert outcome.sent >= 20_000
    assert outcome.violations > 200  # the rest is not heard
    assert outcome.cut > 10
    assert outcome.audit < 1024 * 1024


@pytest.mark.parametrize("seed", [3, 4])
def test_the_core_reads_whatever_is_said_and_keeps_its_rules(seed: int) -> None:
    """Twenty thousand wrong messages, each of them read: the bus itself soon stops to listen to who says nothing else."""
    reading = read(seed, 20_000)
    assert reading.violations > 10_000
    assert reading.cut > 100


@pytest.fixture(scope="module")
def bus() -> Iterator[Daemon]:
    """Give one bus to all examples."""
    with Daemon() as running:
        yield running


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["control", "data"]),
    st.booleans(),
    st.lists(
        st.tuples(st.sampled_from([message, *(lambda chance, way=way: way(chance) for way in WAYS)]), st.randoms(use_true_random=False)),
        max_size=15,
    ),
)
def test_a_client_is_answered_after_whatever_another_said(bus: Daemon, door: str, greets: bool, said: list[tuple[Way, object]]) -> None:
    """With a session and without, at both doors; what breaks it is made smaller until only that is left."""
    with RawClient(bus.directory, door) as hostile, Client(bus.directory) as client:
        if greets:
            hostile.hello()
        for way, chance in said:
            try:
                frames = way(chance)  # type: ignore[arg-type]  # Hypothesis' chance has the form of random.Random
            except OverflowError:  # a number that msgpack has no form for
                continue
            hostile.socket.send_multipart(frames)
        assert client.call(requests.Status()) == INFO
    assert bus.bus is not None
    assert bus.bus.poll() is None
