"""The asyncio client: the same session, moved by a loop."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dadms_ipc import requests
from dadms_ipc.aio import Client
from dadms_ipc.client import Client as Blocking
from dadms_ipc.envelope import Identity, Kind
from dadms_ipc.errors import DeadlinePassed, PartlyRefused, RequestRefused, Unreachable
from dadms_ipc.inbox import WINDOW
from dadmsd.bus import doors
from tests.integration.bus.daemon import INFO, Daemon


async def _serve(client: Client) -> None:
    """Answer requests until a message says stop."""
    while (message := await client.receive(timeout=20)).topic != "stop":
        client.reply(message, message.body)


def test_calls_and_messages_work_as_in_the_other_client(daemon: Daemon) -> None:
    """Many at once: what is asked in one turn of the loop leaves together."""

    async def main() -> None:
        identity = daemon.kernel.enroll(1001)
        async with Client(daemon.directory) as client, Client(daemon.directory, identity=identity) as process:
            server = asyncio.create_task(_serve(process))
            assert await client.call(requests.Status()) == INFO
            assert (client.role, process.address, process.role) == ("admin", "1001", "operate")
            bodies = [str(number).encode() for number in range(500)]
            assert await asyncio.gather(*(client.request("1001", body) for body in bodies)) == bodies
            await client.send("1001", "stop")
            await server
            with pytest.raises(RequestRefused, match="cannot do"):
                await client.call(requests.Kill(7))

    asyncio.run(main())


def test_publications_and_acknowledgements(daemon: Daemon) -> None:
    """Subscribed, published, received, taken back, refused."""

    async def main() -> None:
        async with Client(daemon.directory) as one, Client(daemon.directory) as two:
            await one.subscribe("a/#")
            await two.publish("a/b", b"news")
            message = await one.receive()
            assert (message.kind, message.topic, message.body) == (Kind.PUBLISH, "a/b", b"news")
            await one.unsubscribe("a/#")
            await two.publish("a/b")
            with pytest.raises(DeadlinePassed):
                await one.receive(timeout=0.1)
            sending = asyncio.create_task(two.send(one.address, "t", b"x"))
            message = await one.receive(acknowledge=False)
            with pytest.raises(RequestRefused, match="it is a SEND"):
                one.reply(message)
            one.acknowledge(message)
            await sending
            sending = asyncio.create_task(two.send(one.address, "t", b"y"))
            one.refuse(await one.receive(acknowledge=False), "not today")
            with pytest.raises(RequestRefused, match="not today"):
                await sending
            assert one.lost == 0
            assert (await one.bus_status())["sessions"] == 2

    asyncio.run(main())


def test_a_restart_of_the_bus_is_not_noticed(daemon: Daemon) -> None:
    """Calls that wait are answered by way of the next bus, once."""

    async def main() -> None:
        async with Client(daemon.directory, timeout=15) as client:
            daemon.kernel.is_mute.set()
            calls = [asyncio.create_task(client.call(requests.Spawn(requests.Spec("a", "bpmn")))) for _ in range(20)]
            while len(daemon.kernel.journal) < 20:
                await asyncio.sleep(0.005)
            daemon.kill_bus()
            daemon.kernel.is_mute.clear()
            daemon.start_bus()
            answers = await asyncio.gather(*calls)
            assert sorted(answer["pid"] for answer in answers) == list(range(1001, 1021))

    asyncio.run(main())


def test_a_deadline_passes_and_a_cancelled_call_is_given_up(daemon: Daemon) -> None:
    """Neither disturbs what follows."""

    async def main() -> None:
        async with Client(daemon.directory) as client:
            daemon.kernel.is_mute.set()
            with pytest.raises(DeadlinePassed, match=r"0\.1 s"):
                await client.call(requests.Status(), timeout=0.1)
            task = asyncio.create_task(client.call(requests.Status(), timeout=10))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            daemon.kernel.is_mute.clear()
            assert await client.call(requests.Status()) == INFO

    asyncio.run(main())


async def _use_closed(daemon: Daemon) -> None:
    client = Client(daemon.directory)
    async with client:
        pass
    await client.call(requests.Status())


async def _steal(daemon: Daemon) -> None:
    daemon.kernel.enroll(1001)
    async with Client(daemon.directory, identity=Identity(1001, 1, b"guess")):
        pass


async def _miss(daemon: Daemon) -> None:
    async with Client(daemon.directory / "nowhere"):
        pass


@pytest.mark.parametrize(
    ("work", "error", "text"),
    [(_use_closed, RequestRefused, "not open"), (_steal, RequestRefused, "cannot speak as"), (_miss, Unreachable, "is missing")],
)
def test_what_cannot_work_says_so(daemon: Daemon, work: Callable[[Daemon], Awaitable[None]], error: type[Exception], text: str) -> None:
    """With the errors of the other client."""
    with pytest.raises(error, match=text):
        asyncio.run(work(daemon))  # type: ignore[arg-type]  # a coroutine function's result


def test_many_messages_arrive_in_their_order_and_each_is_answered(daemon: Daemon) -> None:
    """Small and large ones, and what the receiver refuses is told by number, in both clients."""
    bodies = [str(number).encode() for number in range(1000)] + [bytes([number]) * 100_000 for number in range(100)]

    async def receive(client: Client, missing: int) -> list[bytes]:
        found: list[bytes] = []
        while len(found) < missing:
            for message in await client.receive_many(timeout=10.0, acknowledge=False):
                found.append(message.body)
                if message.body == b"7":
                    client.refuse(message, "not seven")
                else:
                    client.acknowledge(message)
        return found

    async def run() -> None:
        async with Client(daemon.directory) as sender, Client(daemon.directory) as receiver:
            await receiver.subscribe("nothing")
            receiving = asyncio.create_task(receive(receiver, 2 * len(bodies)))
            with pytest.raises(PartlyRefused) as refused:
                await sender.send_many(receiver.address, "many", bodies, timeout=20.0)
            assert refused.value.refused == {7: "not seven"}

            def send() -> None:
                with Blocking(daemon.directory) as other, pytest.raises(PartlyRefused, match="1 of 1100 messages"):
                    other.send_many(receiver.address, "many", bodies, timeout=20.0)

            await asyncio.to_thread(send)
            assert await receiving == bodies + bodies

    asyncio.run(run())


def test_a_receiver_that_reads_never_finds_its_pipe_full() -> None:
    """The bus cuts whoever does not read: more than a whole window and its answers fits into the socket."""
    assert doors.SNDHWM > WINDOW
