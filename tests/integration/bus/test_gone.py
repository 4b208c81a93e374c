"""A daemon that is gone while its answer is waited for: both clients notice it alike, long before the request's own deadline."""

import asyncio
import time
from collections.abc import Callable

import pytest

from dadms_ipc import aio, requests
from dadms_ipc.client import Client
from dadms_ipc.errors import Unreachable
from tests.integration.bus.daemon import INFO, Daemon

PATIENCE = 60.0  # seconds that the request itself would wait
SOON = 15.0  # seconds: two of patience, and a busy machine


def _blocking(daemon: Daemon, kill: Callable[[], None]) -> None:
    with Client(daemon.directory) as client:
        kill()
        client.call(requests.Status(), timeout=PATIENCE)


async def _error_of(task: "asyncio.Task[bytes]") -> BaseException | None:
    await asyncio.wait([task])
    return task.exception()


def _asyncio(daemon: Daemon, kill: Callable[[], None]) -> None:
    async def main() -> None:
        async with aio.Client(daemon.directory) as client:
            kill()
            other = asyncio.create_task(client.request("1001", timeout=PATIENCE))
            try:
                await client.call(requests.Status(), timeout=PATIENCE)
            finally:
                assert type(await asyncio.wait_for(_error_of(other), 1.0)) is Unreachable

    asyncio.run(main())


def _end(daemon: Daemon) -> None:
    daemon.close_keeper()
    daemon.kill_bus()


@pytest.mark.parametrize("ask", [_blocking, _asyncio])
def test_whoever_waits_for_a_daemon_that_has_ended_is_told_so(daemon: Daemon, ask: Callable[[Daemon, Callable[[], None]], None]) -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match="has ended: nobody listens there, and nobody holds its lock"):
        ask(daemon, lambda: _end(daemon))
    assert time.monotonic() - began < SOON


def test_a_daemon_that_comes_back_is_not_gone(daemon: Daemon) -> None:
    """Its keeper holds the lock, so the client waits for as long as a new bus takes."""

    async def main() -> None:
        async with aio.Client(daemon.directory) as client:
            daemon.kill_bus()
            asked = asyncio.create_task(client.call(requests.Status(), timeout=PATIENCE))
            await asyncio.sleep(3.5)  # looks have found nobody who listens, for longer than a daemon that ended is waited for
            assert not asked.done()
            await asyncio.to_thread(daemon.start_bus)
            assert await asked == INFO

    asyncio.run(main())
