"""Programs that talk over NATS by way of nats-py: ``python -m benchmarks.bus_peers.nats ROLE URL NAME``.

Core NATS: at most once, nothing is kept or acknowledged. The client coalesces what is published in one turn of its loop.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

import nats

from benchmarks.bus_peers.role import Order, say, serve, shares

SUBJECT = "everybody"
UNBOUNDED = {"pending_msgs_limit": -1, "pending_bytes_limit": -1}


def respond(url: str, name: str) -> None:
    """Answer each request with its own body."""

    async def run() -> None:
        client = await nats.connect(url)

        async def answer(message: Any) -> None:
            await message.respond(message.data)

        await client.subscribe(name, cb=answer)
        await client.flush()
        say(name)
        await asyncio.Event().wait()

    asyncio.run(run())


def request(url: str, name: str) -> None:
    """Ask, one request after the other."""

    async def run(client: Any, order: Order) -> list[float]:
        to, body, spent = order["to"][0], bytes(order["size"]), []
        for _ in range(order["count"]):
            began = monotonic()
            await client.request(to, body, timeout=30)
            spent.append((monotonic() - began) * 1e6)
        return spent

    _serve(url, name, {"request": run})


def receive(url: str, name: str) -> None:
    """Count messages by way of a callback, the fastest way that the client has."""
    _count(url, name, name, 1)


def subscribe(url: str, name: str, count: str) -> None:
    """Receive what is published over many connections."""
    _count(url, name, SUBJECT, int(count))


def _count(url: str, name: str, subject: str, connections: int) -> None:
    counted = [0]
    arrived = asyncio.Event()
    wanted = [1 << 62]

    async def count(_message: Any) -> None:
        counted[0] += 1
        if counted[0] >= wanted[0]:
            arrived.set()

    async def prepare(client: Any) -> list[Any]:
        clients = [client] + [await nats.connect(url) for _ in range(connections - 1)]
        for one in clients:
            await one.subscribe(subject, cb=count, **UNBOUNDED)
            await one.flush()
        return clients

    async def run(_client: Any, order: Order) -> float:
        wanted[0] = order["count"] * connections
        if counted[0] < wanted[0]:
            await arrived.wait()
        counted[0] -= wanted[0]
        wanted[0] = 1 << 62
        arrived.clear()
        return monotonic()

    _serve(url, name, {"receive": run}, prepare)


def send(url: str, name: str) -> None:
    """Publish to receivers' subjects; a batch is what is published before the client is let go on."""

    async def run(client: Any, order: Order) -> list[float]:
        body, began = bytes(order["size"]), monotonic()
        for receiver, share in shares(order):
            for _ in range(share):
                await client.publish(receiver, body)
        await client.flush(timeout=60)
        return [began, monotonic()]

    _serve(url, name, {"send": run})


def publish(url: str, name: str) -> None:
    """Publish to everybody."""

    async def run(client: Any, order: Order) -> list[float]:
        body, began = bytes(order["size"]), monotonic()
        for _ in range(order["count"]):
            await client.publish(SUBJECT, body)
        await client.flush(timeout=60)
        return [began, monotonic()]

    _serve(url, name, {"send": run})


def _serve(
    url: str,
    name: str,
    tasks: dict[str, Callable[[Any, Order], Coroutine[Any, Any, object]]],
    prepare: Callable[[Any], Coroutine[Any, Any, object]] | None = None,
) -> None:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        client = runner.run(nats.connect(url))
        if prepare is not None:
            runner.run(prepare(client))

        def task(run: Callable[[Any, Order], Coroutine[Any, Any, object]]) -> Callable[[Order], object]:
            return lambda order: loop.run_until_complete(run(client, order))

        serve(name, {do: task(run) for do, run in tasks.items()})


ROLES: dict[str, Callable[..., None]] = {
    "respond": respond,
    "request": request,
    "receive": receive,
    "send": send,
    "subscribe": subscribe,
    "publish": publish,
}

if __name__ == "__main__":
    ROLES[sys.argv[1]](*sys.argv[2:])
