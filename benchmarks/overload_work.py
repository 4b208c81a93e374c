"""Who overloads the bus, and who is overloaded: ``python -m benchmarks.overload_work ROLE RUNTIME_DIRECTORY``.

``slow`` handles RATE messages a second and no more. ``send`` offers as many as it is told, or as fast as it can, to one receiver; it has a lower priority than the
bus, as a client of another machine has a machine of its own.
"""

import asyncio
import os
import statistics
import sys
from collections import Counter
from time import monotonic, sleep

from benchmarks.bus_peers.role import Order, say, serve
from dadms_ipc import aio
from dadms_ipc.client import Client
from dadms_ipc.errors import DadmsError, DeadlinePassed, RequestRefused

RATE = 500  # messages a second that the receiver handles
TICK = 0.01  # seconds
SIZE = 140  # bytes of a body
DEADLINE = 4.0  # seconds of a message
UNDER_WAY = 4000  # messages of a sender that knows no rate


def slow(directory: str) -> None:
    """Handle RATE messages a second."""
    with Client(directory) as client:
        client.subscribe("bench/nobody")  # the data door is open from here on
        say(client.address)
        due = monotonic()
        while True:
            for _ in range(int(RATE * TICK)):
                client.receive(timeout=3600.0)
            due = max(due + TICK, monotonic() - TICK)
            sleep(max(0.0, due - monotonic()))


async def _offer(directory: str, to: str, rate: float, seconds: float) -> dict[str, float]:
    counts: Counter[str] = Counter()
    refusals: list[float] = []
    tasks: set[asyncio.Task[None]] = set()
    body = bytes(SIZE)
    async with aio.Client(directory, timeout=DEADLINE) as client:

        async def one() -> None:
            began = monotonic()
            try:
                await client.send(to, "bench", body)
                counts["handled"] += 1
            except DeadlinePassed:
                counts["expired"] += 1
            except RequestRefused:
                counts["refused"] += 1
                refusals.append(monotonic() - began)
            except DadmsError:
                counts["failed"] += 1

        began = monotonic()
        while (passed := monotonic() - began) < seconds:
            due = int(passed * rate) - counts["offered"] if rate else UNDER_WAY - len(tasks)
            for _ in range(due):
                task = asyncio.create_task(one())
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            counts["offered"] += due
            await asyncio.sleep(TICK if rate else 0)
        if tasks:
            await asyncio.wait(tasks)
    late = statistics.median(refusals) * 1000 if refusals else 0.0
    return {**counts, "refused_in_ms_p50": late, "seconds": seconds}


def send(directory: str) -> None:
    """Offer messages."""
    os.nice(10)

    def run(order: Order) -> dict[str, float]:
        return asyncio.run(_offer(directory, order["to"], order["rate"], order["seconds"]))

    serve("sender", {"send": run})


if __name__ == "__main__":
    {"slow": slow, "send": send}[sys.argv[1]](sys.argv[2])
