"""Programs that talk over this bus by way of the client library: ``python -m benchmarks.bus_peers.dadms ROLE RUNTIME_DIRECTORY NAME``.

Each one-way message is acknowledged by its receiver, and the clock stops when the last sender knows it.
"""

import asyncio
import sys
from collections.abc import Callable
from time import monotonic

from benchmarks.bus_peers.role import Order, latencies, say, serve
from dadms_ipc import aio
from dadms_ipc.client import Client

FOREVER = 3600.0  # seconds
TOPIC = "bench/everybody"


def respond(directory: str, _name: str) -> None:
    """Answer each request with its own body."""
    with Client(directory) as client:
        client.subscribe("bench/nobody")  # the data door is open from here on
        say(client.address)
        while True:
            message = client.receive(timeout=FOREVER)
            client.reply(message, message.body)


def request(directory: str, _name: str) -> None:
    """Ask, one request after the other."""
    with Client(directory, timeout=30.0) as client:

        def run(order: Order) -> list[float]:
            to, body = order["to"][0], bytes(order["size"])
            return latencies(lambda: client.request(to, body), order["count"])

        serve(client.address, {"request": run})


def receive(directory: str, _name: str) -> None:
    """Take messages and acknowledge each."""
    with Client(directory) as client:
        client.subscribe("bench/nobody")

        def run(order: Order) -> float:
            missing = order["count"]
            while missing > 0:
                missing -= len(client.receive_many(timeout=60.0))
            return monotonic()

        serve(client.address, {"receive": run})


def send(directory: str, name: str) -> None:
    """Send, in runs or each in a frame of its own with some under way; returns when all are acknowledged."""
    with Client(directory, timeout=60.0) as client:

        def together(order: Order) -> list[float]:
            body, began = bytes(order["size"]), monotonic()
            names, rounds = order["to"], order["count"] // (order["batch"] * len(order["to"]))
            if len(names) == 1:
                client.send_many(names[0], "bench", [body] * order["count"])
            else:
                for _ in range(rounds):
                    for to in names:
                        client.send_many(to, "bench", [body] * order["batch"])
            return [began, monotonic()]

        def alone(order: Order) -> list[float]:
            bodies, names = [bytes(order["size"])] * (order["count"] // len(order["to"])), order["to"]
            with Client(directory, timeout=60.0, coalesce=False) as single:
                single.subscribe("bench/nobody")
                began = monotonic()
                for to in names:
                    single.send_many(to, "bench", bodies)
                return [began, monotonic()]

        serve(name, {"send": lambda order: together(order) if order["batch"] > 1 else alone(order)})


def subscribe(directory: str, name: str, count: str) -> None:
    """Receive what is published over many sessions."""

    async def taken(client: aio.Client, missing: int) -> None:
        for _ in range(missing):
            await client.receive(timeout=60.0)

    with asyncio.Runner() as runner:
        clients = [aio.Client(directory) for _ in range(int(count))]

        async def enter() -> None:
            for client in clients:
                await client.__aenter__()
                await client.subscribe(TOPIC)

        async def run(missing: int) -> float:
            await asyncio.gather(*(taken(client, missing) for client in clients))
            return monotonic()

        runner.run(enter())
        serve(name, {"receive": lambda order: runner.run(run(order["count"]))})


def publish(directory: str, _name: str) -> None:
    """Publish; the bus counts what a subscriber has no room for, and here nothing may be dropped."""
    with Client(directory) as client:
        client.subscribe("bench/nobody")

        def run(order: Order) -> list[float]:
            body, began = bytes(order["size"]), monotonic()
            for _ in range(order["count"]):
                client.publish(TOPIC, body)
            return [began, monotonic()]

        serve(client.address, {"send": run})


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
