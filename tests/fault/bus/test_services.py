"""Services that the daemon did not start: over the network as far as a key may, with the bus killed on the way, and gone with their program."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dadms_ipc import aio
from dadms_ipc.client import Client
from dadms_ipc.errors import RequestRefused
from tests.fault.bus.network import Network
from tests.integration.bus.daemon import Daemon, await_true

PROGRAM = """
import sys
from dadms_ipc.client import Client
with Client(sys.argv[1], service="prices") as client:
    print(client.address, flush=True)
    client.receive(timeout=60.0)
"""


def _serve(client: Client, count: int) -> threading.Thread:
    """Answer so many requests."""

    def work() -> None:
        for _ in range(count):
            message = client.receive(timeout=30.0)
            client.reply(message, message.body.upper())

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_key_offers_the_names_that_it_was_given(tmp_path: Path) -> None:
    with Network(tmp_path, more='[access]\nservices = { prices = ["key:laptop"] }') as network:
        laptop, wall = network.key("laptop"), network.key("wall")
        with Client(network.place(), key=laptop, service="prices") as far, Client(network.daemon.directory, timeout=20.0) as near:
            thread = _serve(far, 1)
            assert near.request("prices", b"x8") == b"X8"
            thread.join()
        with pytest.raises(RequestRefused, match=r"\[access\] services does not give it to key \"wall\""):
            Client(network.place(), key=wall, service="prices")
        assert 'what="HELLO" why="cannot offer the service' in network.audit()


def test_a_service_has_its_name_again_after_the_bus_was_killed(daemon: Daemon) -> None:
    """And who asks meanwhile is not refused."""
    with Client(daemon.directory, service="prices") as service, Client(daemon.directory, timeout=20.0) as asker:
        thread = _serve(service, 2)
        assert asker.request("prices", b"one") == b"ONE"
        daemon.kill_bus()
        daemon.start_bus()
        assert asker.request("prices", b"two") == b"TWO"
        thread.join()


def test_the_name_of_a_program_that_was_killed_is_free(daemon: Daemon) -> None:
    """At once; until then it is refused, with who has it."""
    command = [sys.executable, "-c", PROGRAM, str(daemon.directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        address = program.stdout.readline().strip()
        with pytest.raises(RequestRefused, match=rf"{address} \(uid \d+ pid {program.pid}\) has it"):
            Client(daemon.directory, service="prices")
        program.kill()
        program.wait()

    def is_free() -> bool:
        try:
            Client(daemon.directory, service="prices").close()
        except RequestRefused:
            return False
        return True

    await_true(is_free, "the name is free")


async def _offer(directory: Path) -> str:
    async with aio.Client(directory, service="prices") as service, aio.Client(directory) as asker:
        task = asyncio.create_task(asker.request("prices", b"x8", timeout=10.0))
        message = await service.receive(timeout=10.0)
        service.reply(message, b"81")
        return (await task).decode()


def test_the_asyncio_client_offers_one_too(daemon: Daemon) -> None:
    assert asyncio.run(_offer(daemon.directory)) == "81"


def test_a_client_of_a_process_that_only_sends_gets_nothing_that_is_for_the_process(daemon: Daemon) -> None:
    """Though it came last, and after the bus was killed as well."""
    identity = daemon.kernel.enroll(1001)
    with (
        Client(daemon.directory, identity=identity) as receiver,
        Client(daemon.directory, timeout=20.0) as asker,
        Client(daemon.directory, identity=identity, receives=False) as sender,
    ):
        thread = _serve(receiver, 2)
        sender.subscribe("a")
        assert asker.request("1001", b"one") == b"ONE"
        daemon.kill_bus()
        daemon.start_bus()
        asker.publish("a", b"told")
        assert asker.request("1001", b"two") == b"TWO"
        thread.join()
        sender.subscribe("b")
        asker.publish("b", b"told")
        assert sender.receive(timeout=10.0).sender == asker.address
