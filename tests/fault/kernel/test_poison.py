"""A message that breaks whoever takes it costs its attempts, and is a dead letter then."""

from pathlib import Path

import msgspec

from dadms_ipc.dead_letters import DeadLetters
from dadms_ipc.requests import Spawn, Spec, Status
from tests.fault.kernel.daemon import client, daemon, until
from tests.integration.bus.daemon import await_true

TOUCHY = "tests.fault.kernel.touchy_orchestrator:ORCHESTRATOR"


def test_a_message_that_breaks_its_receiver_again_and_again_is_taken_out_and_the_next_ones_are_handled(short_path: Path) -> None:
    """Its receiver ends by an exception, and in order: what it had in its hands counts as what it died with."""
    with daemon(short_path) as made, client(made) as door:
        spec = Spec("touchy", TOUCHY, config=msgspec.Raw(b"\x80"), restart="always", backoff=0.05, backoff_most=0.1, start_limit=20)
        pid = door.call(Spawn(spec))["pid"]
        until(door, lambda event: event.kind == "process.running" and event.pid == pid)
        assert door.send(str(pid), "NOTE", msgspec.msgpack.encode("no number"), timeout=20.0) == "stored"
        await_true(lambda: bool(door.call(DeadLetters())), "it is a dead letter", seconds=60.0)
        [letter] = door.call(DeadLetters())
        assert letter.attempts == 4, "the first, and as many again as retry_attempts says"
        assert door.send(str(pid), "NOTE", msgspec.msgpack.encode(5), timeout=20.0) in ("handled", "stored")
        until(door, lambda event: event.kind == "note" and event.text == "5")
        assert door.call(Status(pid)).incarnation == 5
