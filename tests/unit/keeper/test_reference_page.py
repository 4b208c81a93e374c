"""docs/reference/keeper.md shows every message literally, as the encoder makes it and the decoder reads it."""

import json
import os
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from dadms_ipc import channel as channels
from dadms_ipc.channel import VERSION, Channel
from dadmsd.keeper import messages
from dadmsd.keeper.stages import RULES, Stage

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "keeper.md").read_text()
BOOT_ID = "2f1c9e6a-7b54-4c0e-9d0f-0a6d2b8c1e77"
EPOCH, SEQUENCE = 3, 1
EXAMPLES: tuple[messages.Message, ...] = (
    messages.Welcome(3, BOOT_ID, "/run/dadms", "/var/lib/dadms", None, False, "", 3, "5f0c"),
    messages.Stored("v1/port/1001.1"),
    messages.StoreSent(42),
    messages.Linked("bus", 1),
    messages.ServerChanged("bus", 4243, 1, True, ""),
    messages.OrphanExited(5001, os.CLD_KILLED, 9, 1763827200.5),
    messages.StopAsked("SIGTERM"),
    messages.StoreRefused("v1/port/1", "full"),
    messages.Store("v1/port/1001.1"),
    messages.Drop("v1/log/1001.1"),
    messages.OrphanAcknowledged(5001),
    messages.Ready(),
    messages.ShutdownAsked(),
    messages.Stopped(),
    messages.Drained("v1/log/1001.1"),
)


def frame(message: messages.Message) -> bytes:
    return msgspec.msgpack.encode((VERSION, EPOCH, SEQUENCE, message))


def shown(name: str) -> tuple[Any, bytes]:
    """Give the array and the bytes that the page shows for a message."""
    found = re.search(rf"^### `{name}`.*?```text\n(\[.*?\])\n((?:[0-9a-f]{{2}} ?\n?)+)```", PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"the page shows no frame of {name}"
    return json.loads(found.group(1)), bytes.fromhex(found.group(2))


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_the_page_shows_the_frame_that_is_sent(message: messages.Message) -> None:
    array, packet = shown(type(message).__name__)
    assert packet == frame(message)
    assert array == json.loads(msgspec.json.encode((VERSION, EPOCH, SEQUENCE, message)))


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_the_frame_of_the_page_is_read_by_a_channel(message: messages.Message) -> None:
    near, far = channels.pair()
    receives = next(union for union in (messages.FromKeeper, messages.FromKernel, messages.FromLogger) if type(message) in get_args(union))
    channel: Channel[Any] = Channel(far, receives)
    near.send(shown(type(message).__name__)[1])
    read = channel.receive()
    assert read is not None
    assert (read.epoch, read.sequence, read.body, read.fds) == (EPOCH, SEQUENCE, message, [])
    near.close()
    channel.close()


def test_every_message_has_an_example_and_every_field_is_named_on_the_page() -> None:
    unions = (messages.FromKeeper, messages.FromKernel, messages.FromLogger, messages.FromBus)
    assert {kind for union in unions for kind in get_args(union)} == {type(message) for message in EXAMPLES}
    for message in EXAMPLES:
        section = PAGE.partition(f"### `{type(message).__name__}`")[2].partition("\n##")[0]
        for field in message.__struct_fields__:
            assert f"`{field}`" in section, f"{type(message).__name__}.{field}"


def test_the_page_shows_the_stages_of_the_end_as_they_are() -> None:
    for stage, rule in RULES.items():
        if stage in (Stage.RUNNING, Stage.OVER):
            continue
        lasts = f"{rule.lasts:g} s" if stage is not Stage.ASKED else f"{rule.lasts:g} s (`stop_timeout_ms`)"
        assert re.search(rf"^\| {stage.name} \|.*\| {re.escape(lasts)} \| {rule.then.name} \| {rule.late.name} \|", PAGE, re.MULTILINE), (
            stage.name
        )
