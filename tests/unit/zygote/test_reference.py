"""docs/reference/zygote.md is compared with the code: frames, tags and fields of every message, roles, exit codes."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from dadms_ipc.channel import Channel, pair
from dadmsd.worker import messages as worker
from dadmsd.zygote import exits
from dadmsd.zygote.birth import DESCRIPTORS, GATES
from dadmsd.zygote.messages import CommandGate, Fork, FromZygote, Rlimit, ToZygote, WorkerGate, ZygoteGate
from dadmsd.zygote.server import ROLES_WITH_CODE, ROLES_WITHOUT_CODE

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
TEXT = (REFERENCE / "zygote.md").read_text()
PAGE = (REFERENCE / "page.md").read_text()


def frame_of(message: msgspec.Struct) -> str:
    """Give the packet as the reference shows it: sixteen bytes a line."""
    mine, theirs = pair()
    channel: Channel[object] = Channel(mine, Fork, epoch=3)
    channel._sequence = 6
    channel.send(message)
    packet = theirs.recv(1000)
    channel.close()
    theirs.close()
    return "\n".join(packet[start : start + 16].hex(" ") for start in range(0, len(packet), 16))


def test_frames_are_shown_literally() -> None:
    gate = WorkerGate(1001, 1, 3, 1, msgspec.Raw(b"\x80"), "/w")
    shown = re.findall(r"```hex\n(.*?)\n```", TEXT, re.DOTALL)
    assert shown == [frame_of(Fork("1001.1", "main", 5.0)), frame_of(gate)]


def shape_of(kind: type[msgspec.Struct]) -> str:
    return "[" + ", ".join([f'"{kind.__struct_config__.tag}"', *kind.__struct_fields__]) + "]"


@pytest.mark.parametrize(
    "kind", [*get_args(ToZygote), *get_args(FromZygote), ZygoteGate, WorkerGate, CommandGate], ids=lambda kind: kind.__name__
)
def test_every_message_is_shown_with_its_fields(kind: type[msgspec.Struct]) -> None:
    assert f"`{shape_of(kind)}`" in TEXT


@pytest.mark.parametrize(
    "kind", [worker.Hello, worker.Consumed, worker.Finish, worker.Ready, worker.Doorbell, worker.Progress], ids=lambda kind: kind.__name__
)
def test_every_message_of_a_worker_is_shown_with_its_fields(kind: type[msgspec.Struct]) -> None:
    assert f"`{shape_of(kind)}`" in PAGE


def test_a_batch_and_an_outcome_are_shown_with_their_fields() -> None:
    assert worker.Batch.__struct_fields__ == ("first_sequence", "items", "spans")
    assert worker.Span.__struct_fields__ == ("first_tid", "entry", "arguments")
    item = ", ".join(worker.Item.__struct_fields__)
    assert f'`["batch", first_sequence, [[{item}], …], [[first_tid, entry, [arguments, …]], …]]`' in PAGE
    assert f"[{', '.join(worker.Outcome.__struct_fields__)}]" in PAGE


def test_an_rlimit_is_shown_as_it_is() -> None:
    assert f"`{msgspec.json.encode(Rlimit('RLIMIT_NOFILE', 1024)).decode().replace(',', ', ')}`" in TEXT


def test_the_roles_are_those_of_the_table() -> None:
    rows = {
        role: (forker, descriptors)
        for role, forker, _, descriptors in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (port.*?) \|$", TEXT, re.MULTILINE)
    }
    assert set(rows) == set(DESCRIPTORS) == set(GATES)
    for role, (forker, descriptors) in rows.items():
        assert len(descriptors.split(", ")) == DESCRIPTORS[role]
        assert ("base" in forker) == (role in ROLES_WITHOUT_CODE)
        assert ("version zygote" in forker) == (role in ROLES_WITH_CODE)


def test_exit_codes_are_those_of_the_table() -> None:
    codes = {value for name, value in vars(exits).items() if name.isupper() and name != "DONE"}
    assert {int(code) for code in re.findall(r"^\| (\d{3}) \|", TEXT, re.MULTILINE)} == codes
