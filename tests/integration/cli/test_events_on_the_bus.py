"""What the kernel tells is published under the topics that the protocol's page names, and is what it gives to who asks."""

from collections.abc import Callable

import msgspec

from dadms_ipc import requests
from dadms_ipc.client import Client
from tests.conftest import Daemon


def test_events_are_published_by_process_and_kind_and_are_those_that_one_can_ask_for(
    keeper_daemon: Daemon, wait_for: Callable[[Daemon], None]
) -> None:
    wait_for(keeper_daemon)
    with Client(keeper_daemon.runtime_dir, timeout=20.0) as client:
        before = client.call(requests.Events(limit=1)).last
        client.subscribe("events/*/process/ended")
        first, second = (int(client.call(requests.Spawn(requests.Spec("t", kind="tool", command=["/bin/true"])))["pid"]) for _ in range(2))
        heard: dict[int, requests.EventInfo] = {}
        while len(heard) < 2:
            message = client.receive(timeout=20.0)
            info = msgspec.msgpack.decode(message.body, type=requests.EventInfo)
            assert (message.topic, message.sender, message.number) == (f"events/{info.pid}/{info.kind}", "kernel", info.number)
            heard[info.pid] = info
        assert heard.keys() == {first, second}
        kept = {info.number: info for info in client.call(requests.Events(after=before)).events}
        assert [kept[info.number] for info in heard.values()] == list(heard.values())
        client.unsubscribe("events/*/process/ended")
        client.subscribe(f"events/{second}/#")
        client.call(requests.Start(first))
        client.call(requests.Start(second))
        topics = [client.receive(timeout=20.0).topic for _ in range(3)]
        assert all(topic.startswith(f"events/{second}/") for topic in topics), topics
