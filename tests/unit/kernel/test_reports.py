"""Exits that zygotes report: whoever waits to reap is told, whatever the kernel holds of the child."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from dadms_ipc.channel import Channel, Frame, pair
from dadmsd.kernel.confine import Confinement
from dadmsd.kernel.core import effects, events
from dadmsd.kernel.hands import Hands
from dadmsd.kernel.host import detect
from dadmsd.kernel.ports import Port
from dadmsd.kernel.reports import Reports
from dadmsd.zygote import messages as zygote
from tests.unit.kernel.driver import Driver

KEEPER = msgspec.Raw  # what it is told is not read here


@pytest.mark.parametrize("name", ["1001.1", "1001.9"])
def test_an_exit_of_a_child_without_a_port_is_reaped_as_well(tmp_path: Path, name: str) -> None:
    """An earlier kernel had it forked and died before the keeper had its port; or the child's row is gone."""
    driver = Driver()
    driver.run()
    state = driver.state
    state.settings = msgspec.structs.replace(state.settings, state_dir=str(tmp_path), runtime_dir=str(tmp_path))
    backend = detect("dadms-testreports")
    backend.dismantle()  # none of its groups is needed here
    ours, keepers = pair()
    hands = Hands(
        state,
        Confinement(backend, memory_limit=1 << 30),
        Channel(ours, KEEPER),
        lambda _port: None,
        lambda _port: None,
    )
    kernels, zygotes = pair()
    hands.base = Port("base", "zygote", "", kernels, epoch=2)
    reports = Reports(state, hands)
    port = hands.base
    found = reports.zygote(port, Frame(2, 1, zygote.Exited(name, 4711, 1, 0, 0.0, 0), []))
    assert [(type(event), getattr(event, "name", "")) for event in found] == [(events.Exited, name)]
    hands.perform(effects.Bury(name))
    heard: Channel[Any] = Channel(zygotes, zygote.ToZygote)
    frame = heard.receive(1.0)
    assert frame is not None, "nobody was told to reap"
    assert frame.body == zygote.Reap(name)
    heard.close()
    port.close()
    keepers.close()
    ours.close()
