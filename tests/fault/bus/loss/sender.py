"""``python -m tests.fault.bus.loss.sender RUNTIME_DIR LOG NAME FIRST LAST PID…``: sends numbered messages, and writes down what it was told of each.

It says each number to one receiver, in their order, with up to WINDOW on their way. A line of its log is a number, its receiver, and "handled", "stored" or why not.
A sender that is killed is followed by another one with another name, which goes on behind the last number that it may have said.
"""

import asyncio
import os
import sys
from pathlib import Path

from dadms_ipc.aio import Client
from dadms_ipc.errors import DadmsError

WINDOW = 400  # messages without an answer
TIMEOUT = 120.0  # seconds: longer than any fault lasts
EXPIRY = 3600.0  # seconds


async def send_all(runtime_dir: Path, log: int, name: str, numbers: range, pids: list[str]) -> None:
    """Send each number to its receiver."""
    room = asyncio.Semaphore(WINDOW)

    async def send(client: Client, number: int) -> None:
        pid = pids[number % len(pids)]
        try:
            outcome = await client.send(pid, "STATUS_UPDATE", f"{name} {number}".encode(), timeout=TIMEOUT, expiry=EXPIRY)
        except DadmsError as error:
            outcome = f"{type(error).__name__}: {' '.join(str(error).split())}"
        os.write(log, f"{number} {pid} {outcome}\n".encode())
        room.release()

    async with Client(runtime_dir, timeout=60, start_timeout=60) as client, asyncio.TaskGroup() as group:
        for number in numbers:
            await room.acquire()
            group.create_task(send(client, number))


def main() -> None:
    """Send what the command line says."""
    runtime_dir, path, name, first, last, *pids = sys.argv[1:]
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    asyncio.run(send_all(Path(runtime_dir), log, name, range(int(first), int(last)), pids))


if __name__ == "__main__":
    main()
