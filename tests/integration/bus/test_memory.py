"""The bus's memory is flat: what was delivered, stored and settled, published and dropped leaves nothing behind."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from dadms_ipc import aio
from dadms_ipc.client import Client
from dadms_ipc.envelope import Identity
from dadms_ipc.errors import DeadlinePassed
from tests.integration.bus.daemon import Daemon

ROUND = 6000  # messages; more than a receiver's acknowledgements are remembered
GROWTH = 4 * 1024 * 1024  # bytes from the third round to the sixth: below one byte a message and what the allocator rounds up


def _resident(os_pid: int) -> int:
    """Give the resident bytes of a process (proc_pid_statm(5))."""
    return int(Path(f"/proc/{os_pid}/statm").read_text().split()[1]) * 4096


async def _send(client: aio.Client) -> None:
    for _ in range(ROUND // 500):
        await asyncio.gather(*(client.send("1001", "t", b"x" * 140, timeout=60) for _ in range(500)))


async def _publish(client: aio.Client) -> None:
    for number in range(ROUND):
        await client.publish(f"nobody/{number}", b"x" * 140, timeout=60)


def _receive(daemon: Daemon, identity: Identity, stop: threading.Event) -> None:
    with Client(daemon.directory, identity=identity, timeout=30) as client:
        while not stop.is_set():
            try:
                client.receive(timeout=0.2)
            except DeadlinePassed:
                continue


@pytest.mark.parametrize("work", [_send, _publish])
def test_memory_is_flat(daemon: Daemon, work: Callable[[aio.Client], Awaitable[None]]) -> None:
    """After the first rounds, which fill what is bounded."""
    stop = threading.Event()
    receiver = threading.Thread(target=_receive, args=(daemon, daemon.kernel.enroll(1001), stop))
    receiver.start()

    async def rounds() -> list[int]:
        found = []
        async with aio.Client(daemon.directory, timeout=30) as client:
            for _ in range(6):
                await work(client)
                assert daemon.bus is not None
                found.append(_resident(daemon.bus.pid))
        return found

    try:
        found = asyncio.run(rounds())
    finally:
        stop.set()
        receiver.join(30)
    assert found[5] - found[2] < GROWTH, found
