"""How a checkpoint travels: small ones inline, large ones as an artifact of the process whose reference travels.

1. What is inline is ``[value]``, what is not is ``[nil, reference]``; the artifact holds ``[incarnation, number, value]``, so that no other artifact has its content and its name.
2. The artifact of a checkpoint is removed when a later one is in the kernel's journal, and not before: until then the earlier one is what the next incarnation would go on from.
"""

import sys
from collections.abc import Callable
from typing import Any

import msgspec

from dadms_ipc.artifacts import Artifact, Store
from dadms_ipc.errors import DadmsError, RequestRefused
from dadms_ipc.port import CHECKPOINT_BYTES


class Checkpoints:
    """Those of one incarnation, and the one that it began with."""

    def __init__(self, incarnation: int, store: Callable[[], Store]) -> None:
        self._incarnation = incarnation
        self._store = store
        self._artifacts: dict[int, Artifact] = {}  # of checkpoints that are or may be in the journal, by number
        self._encoder = msgspec.msgpack.Encoder()

    def make(self, value: object, number: int) -> bytes:
        """Give a checkpoint as it travels; raises RequestRefused, HostFailure."""
        try:
            encoded = self._encoder.encode([value])
        except (TypeError, OverflowError, RecursionError) as error:
            raise RequestRefused(f"cannot keep a checkpoint: its value does not encode as msgpack: {error}") from error
        if len(encoded) <= CHECKPOINT_BYTES:
            return encoded
        made = self._store().put(self._encoder.encode([self._incarnation, number, value]))
        self._artifacts[number] = made
        return self._encoder.encode([None, made])

    def kept(self, number: int, reason: str) -> None:
        """Take in what came of a checkpoint, and remove the artifacts that nothing can go on from any more."""
        if reason:
            print(reason, file=sys.stderr)  # noqa: T201 - stderr is this process's log
            return
        for earlier in [each for each in self._artifacts if each < number]:
            self._store().discard(self._artifacts.pop(earlier))

    def restored(self, kept: bytes | None) -> Any:
        """Read the checkpoint that the gate brought; raises RequestRefused when it cannot be read."""
        if kept is None:
            return None
        try:
            found = msgspec.msgpack.decode(kept)
            if len(found) == 1:
                return found[0]
            artifact = msgspec.convert(found[1], Artifact)
            value = msgspec.msgpack.decode(self._store().open(artifact))[2]
        except (msgspec.MsgspecError, DadmsError, LookupError, TypeError) as error:
            raise RequestRefused(f"cannot go on from the checkpoint: {error}") from None
        self._artifacts[0] = artifact
        return value
