"""What is to be spawned, put together and checked; and how it is refused when it will not do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dadms_ipc.errors import RequestRefused

CONFIG_LIMIT = 15 * 1024 * 1024  # bytes; a request to the kernel has at most 16 MiB (dadms_ipc.envelope.CONTROL_BODY_LIMIT)


class Job(msgspec.Struct, frozen=True):
    """What is to be spawned, and what to say about it."""

    name: str
    orchestrator: str
    config: bytes  # msgpack
    headline: str
    warnings: list[str]


def name_of(model: Path) -> str:
    """Give what the process of a model is called: as its file is, without the ending unless digits alone were left, which mean a pid."""
    return model.name if model.stem.isdecimal() else model.stem


class ModelUnfit(RequestRefused):
    """The model, or what was given with it, will not do; ``lines`` are all the reasons."""

    def __init__(self, what: str, lines: Sequence[str]) -> None:
        super().__init__(what)
        self.lines = list(lines)


def packed(config: Mapping[str, Any]) -> bytes:
    """Encode a configuration; raises RequestRefused for one that is too large to travel."""
    encoded = msgspec.msgpack.encode(config)
    if len(encoded) > CONFIG_LIMIT:
        raise RequestRefused(f"cannot start it: model and variables together have {len(encoded)} bytes, at most {CONFIG_LIMIT} are carried")
    return encoded
