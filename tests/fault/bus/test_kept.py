"""Messages on disk outlive whatever dies: the bus, their receiver, both."""

import subprocess
import sys

from dadms_ipc.client import Client
from dadms_ipc.errors import DeadlinePassed
from tests.fault.bus.test_restarts import Crowd
from tests.integration.bus.daemon import Daemon, await_true


def _take(client: Client, count: int) -> list[tuple[bytes, bool]]:
    taken = []
    for _ in range(count):
        message = client.receive(timeout=10)
        taken.append((message.body, message.is_retry))
    return taken


def test_a_message_to_a_restarting_process_outlives_the_bus(daemon: Daemon) -> None:
    """Stored, the bus is killed twice, and the next incarnation has it: in order, marked, once."""
    daemon.kernel.expect(1001, "etl")
    with Client(daemon.directory, timeout=10) as sender:
        assert [sender.send("etl", "STATUS_UPDATE", b"%d" % number) for number in range(3)] == ["stored"] * 3
        daemon.kill_bus()
        daemon.start_bus()
        assert sender.send("1001", "STATUS_UPDATE", b"3") == "stored"
        daemon.kill_bus()
        daemon.start_bus()
        identity = daemon.kernel.enroll(1001)
        with Client(daemon.directory, identity=identity, timeout=10) as receiver:
            assert _take(receiver, 4) == [(b"%d" % number, True) for number in range(4)]
            await_true(lambda: sender.bus_status()["outcomes"]["handled"] == 4, "all are handled")
    assert daemon.kernel.wanted[-1] == 1001


def test_what_was_in_a_killed_receivers_hands_comes_to_its_next_incarnation(daemon: Daemon) -> None:
    """The sender hears that it is safe; what the dead one had handled is not handled again."""
    identity = daemon.kernel.enroll(1001)
    with Client(daemon.directory, timeout=10) as sender:
        program = (
            "import os, sys; from dadms_ipc.client import Client, Identity\n"
            f"with Client({str(daemon.directory)!r}, identity=Identity(1001, 1, bytes.fromhex(sys.argv[1]))) as client:\n"
            "    client.reply(client.receive(timeout=30), b'yes')\n"
            "    client.receive(timeout=30)\n"  # acknowledged as it is handed over
            "    client.receive(timeout=30, acknowledge=False)\n"
            "    os.kill(os.getpid(), 9)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", program, identity.secret.hex()])
        assert sender.request("1001", b"are you there", timeout=20) == b"yes"
        assert sender.send("1001", "TASK_REQUEST", b"done") == "handled"
        answers: list[str] = []
        crowd = Crowd([lambda _: answers.append(_send(daemon, b"work"))])
        assert process.wait(20) == -9
        daemon.kernel.discharge(identity, returns=True)
        await_true(lambda: answers == ["stored"], "the sender hears that it is safe")
        crowd.join()
        second = daemon.kernel.enroll(1001, 2)
        with Client(daemon.directory, identity=second, timeout=10) as receiver:
            assert _take(receiver, 1) == [(b"work", True)]
            await_true(lambda: sender.bus_status()["outcomes"]["handled"] == 1, "it is handled")


def _send(daemon: Daemon, body: bytes) -> str:
    with Client(daemon.directory, timeout=20) as client:
        return client.send("1001", "TASK_REQUEST", body)


def test_an_expired_message_is_not_delivered_by_a_later_bus(daemon: Daemon) -> None:
    """Its time is on disk as well."""
    daemon.kernel.expect(1001, "etl")
    with Client(daemon.directory, timeout=10) as sender:
        assert sender.send("1001", "t", expiry=0.3) == "stored"
        daemon.kill_bus()
        daemon.start_bus()
        await_true(lambda: sender.bus_status()["outcomes"]["expired"] == 1, "it expires")
        identity = daemon.kernel.enroll(1001)
        with Client(daemon.directory, identity=identity, timeout=10) as receiver:
            try:
                message = receiver.receive(timeout=0.3)
            except DeadlinePassed:
                return
            raise AssertionError(f"{message} came")
