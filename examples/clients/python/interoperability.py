"""Runs the steps of ../interoperability.json with the Python client: python interoperability.py RUNTIME_DIRECTORY PARTNER.

PARTNER is the address of a program that acknowledges what it is sent and answers requests with their bodies. At the step "restart" this says so on standard
output, and goes on when it is told on standard input that the bus is a new one.
"""

import asyncio
import json
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec

from dadms_ipc.aio import Client, Message
from dadms_ipc.errors import DadmsError, DeadlinePassed, RequestRefused

Step = dict[str, Any]
STEPS: list[Step] = json.loads((Path(__file__).parents[1] / "interoperability.json").read_text(encoding="utf-8"))


def body_of(step: Step) -> bytes:
    """Give the body that a step names, by its text or its size."""
    return b"x" * int(step["size"]) if "size" in step else str(step.get("body", "")).encode()


async def status_of(work: Coroutine[Any, Any, object]) -> tuple[str, object]:
    """Give the protocol's word for how something came out, and what it gave."""
    try:
        return "ok", await work
    except RequestRefused:
        return "refused", None
    except DeadlinePassed:
        return "expired", None


class Script:
    """The steps, by what they do."""

    def __init__(self, directory: str, partner: str) -> None:
        self.directory = directory
        self.clients: dict[str, Client] = {}
        self.addresses = {"partner": partner}
        self.begun: dict[str, asyncio.Task[tuple[str, object]]] = {}

    def whose(self, name: str) -> str:
        """Give the address that a step means."""
        return self.addresses.get(name, name)

    async def connect(self, step: Step) -> None:
        """Open a session, with both doors."""
        client = self.clients[step["as"]] = await Client(self.directory, timeout=10.0).__aenter__()
        self.addresses[step["as"]] = client.address
        await client.subscribe("interoperability/nothing")

    async def call(self, step: Step) -> None:
        """Ask a service."""
        body = msgspec.msgpack.encode(step["request"])
        answer = await self.clients[step["as"]].call_raw(body, to=step.get("to", "kernel"))
        assert answer.status == step["status"], answer

    async def subscribe(self, step: Step) -> None:
        """Ask for publications."""
        await self.clients[step["as"]].subscribe(step["topic"])

    async def unsubscribe(self, step: Step) -> None:
        """Ask for no more of them."""
        await self.clients[step["as"]].unsubscribe(step["topic"])

    async def publish(self, step: Step) -> None:
        """Tell whoever subscribes."""
        await self.clients[step["as"]].publish(step["topic"], body_of(step))

    async def send(self, step: Step) -> None:
        """Begin to send."""
        work = self.clients[step["as"]].send(self.whose(step["to"]), step["topic"], body_of(step))
        self.begun[step["begin"]] = asyncio.create_task(status_of(work))

    async def request(self, step: Step) -> None:
        """Begin to ask somebody."""
        timeout = step["timeout"] / 1000.0 if "timeout" in step else None
        work = self.clients[step["as"]].request(self.whose(step["to"]), body_of(step), timeout=timeout)
        self.begun[step["begin"]] = asyncio.create_task(status_of(work))

    async def receive(self, step: Step) -> None:
        """Take a message, and answer it if that is wanted."""
        client = self.clients[step["as"]]
        message: Message = await client.receive(acknowledge=False)
        found = (message.kind.name, message.topic, message.body.decode())
        assert found == (step["kind"], step["topic"], step["body"]), message
        assert "from" not in step or message.sender == self.whose(step["from"]), message
        match step.get("then"):
            case "acknowledge":
                client.acknowledge(message)
            case "refuse":
                client.refuse(message, "not today")
            case "reply":
                client.reply(message, str(step["answer"]).encode())

    async def end(self, step: Step) -> None:
        """Wait for what was begun."""
        status, body = await self.begun[step["of"]]
        assert status == step["status"], status
        assert not {"body", "size"} & step.keys() or body == body_of(step), body

    async def large(self, step: Step) -> None:
        """Send large ones in turn, more than may be in flight without credit."""
        for _ in range(step["count"]):
            sending = asyncio.create_task(self.clients[step["as"]].send(self.whose(step["to"]), "large", body_of(step)))
            message = await self.clients[step["to"]].receive()
            assert message.body == body_of(step)
            await sending

    async def many(self, step: Step) -> None:
        """Send many at once, which arrive in their order."""
        bodies = [str(number).encode() for number in range(step["count"])]
        client = self.clients[step["as"]]
        sending = asyncio.gather(*(client.send(self.whose(step["to"]), step["topic"], body) for body in bodies))
        if step["to"] in self.clients:
            for body in bodies:
                message = await self.clients[step["to"]].receive()
                assert message.body == body, message
        await sending

    async def restart(self, _step: Step) -> None:
        """Have the bus killed and started again; the clients find it by themselves."""
        sys.stdout.write("restart\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        for client in self.clients.values():
            await client.subscribe("interoperability/nothing", timeout=10.0)

    async def close(self, step: Step) -> None:
        """End a session."""
        await self.clients.pop(step["as"]).close()


async def run(directory: str, partner: str) -> int:
    """Do all steps; gives the exit code."""
    script = Script(directory, partner)
    for number, step in enumerate(STEPS, 1):
        try:
            await getattr(script, step["do"])(step)
        except (AssertionError, DadmsError) as error:
            sys.stdout.write(f"failed at step {number}, {json.dumps(step)}: {error!r}\n")
            return 1
    sys.stdout.write(f"passed {len(STEPS)} steps\n")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(run(*sys.argv[1:])))
