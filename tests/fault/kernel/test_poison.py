"""A message that breaks whoever takes it costs its attempts, and is a dead letter then."""

import sys
from pathlib import Path

import msgspec

from dadms_ipc.dead_letters import DeadLetters
from dadms_ipc.requests import ReadLog, Spawn, Spec, Status, Wait
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


SERVICE = """
from dadms_ipc.client import Client

with Client.of_process() as client:  # an exception leaves it in order: it says goodbye
    while True:
        message = client.receive(timeout=600.0, acknowledge=False)
        print("took", int(message.body), flush=True)
        client.acknowledge(message)
"""


def test_a_message_that_breaks_the_client_of_a_service_is_taken_out_as_well(short_path: Path) -> None:
    (short_path / "service.py").write_text(SERVICE)
    with daemon(short_path) as made, client(made) as door:
        command = [sys.executable, str(short_path / "service.py")]
        spec = Spec(
            "touchy", kind="service", command=command, backoff=1.0, backoff_most=1.0, start_limit=20
        )  # its messages go to disk meanwhile
        pid = door.call(Spawn(spec))["pid"]
        door.call(Wait(pid, until="ready", timeout=20.0))
        assert door.send(str(pid), "NOTE", b"no number", timeout=20.0) == "stored"
        await_true(lambda: bool(door.call(DeadLetters())), "it is a dead letter", seconds=60.0)
        [letter] = door.call(DeadLetters())
        assert (letter.attempts, "it said goodbye" in letter.reason) == (4, True), letter
        assert door.send(str(pid), "NOTE", b"5", timeout=20.0) in ("handled", "stored")
        await_true(lambda: b"took 5" in bytes(door.call(ReadLog(pid)).data), "the next one is handled")
        assert door.call(Status(pid)).incarnation == 5
