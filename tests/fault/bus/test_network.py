"""The doors to the network: who has a key may do what its role says; everybody else is turned away, and that is told and written down."""

import asyncio
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import zmq

from dadms_ipc import aio, requests
from dadms_ipc.client import Client
from dadms_ipc.envelope import Identity
from dadms_ipc.errors import DadmsError, RequestRefused, Unreachable
from dadms_ipc.keys import Key
from dadms_ipc.sockets import new_pair
from tests.fault.bus.network import NAMES, Network
from tests.integration.bus.daemon import INFO, Daemon, await_true


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """Give a bus that listens."""
    with Network(tmp_path) as network:
        yield network


def test_nothing_listens_unless_it_is_turned_on(no_leaks: None) -> None:
    with Daemon() as daemon, Client(daemon.directory) as client:
        client.call(requests.Status())
        assert daemon.bus is not None
        assert psutil.Process(daemon.bus.pid).net_connections("inet") == []


def test_each_control_port_reaches_all_services(network: Network) -> None:
    """Whatever the service that the port was allocated to."""
    key = network.key("laptop")
    for name in NAMES[:-1]:
        with Client(network.place(name), key=key) as client:
            assert client.call(requests.Status()) == INFO
            assert client.call_raw(b"\x81\xa4verb\xa6status", to="resource-manager").status == "ok"
            assert client.role == "operate"


def test_messages_go_through_the_data_port_without_its_being_named(network: Network) -> None:
    """To and from clients of this machine."""
    key = network.key("laptop")
    with Client(network.place(), key=key) as far, Client(network.daemon.directory) as near:
        near.subscribe("a/#")
        far.publish("a/b", b"x" * 200_000)
        assert near.receive().body == b"x" * 200_000
        far.subscribe("b/#")
        near.publish("b/c", b"back")
        assert far.receive().body == b"back"


def test_the_asyncio_client_comes_the_same_way(network: Network) -> None:
    key = network.key("laptop")

    async def go() -> None:
        async with aio.Client(network.place(), key=key) as client:
            assert await client.call(requests.Status()) == INFO
            await client.subscribe("a/#")
            await client.publish("a/b", b"own")
            assert (await client.receive()).body == b"own"
        with pytest.raises(RequestRefused, match='the key "stranger" is not, or no longer, on its list'):
            async with aio.Client(network.place(), key=network.key("stranger", is_allowed=False)):
                pass

    asyncio.run(go())


def test_who_asks_is_the_key_and_its_user(network: Network) -> None:
    """As the kernel is told."""
    with Client(network.place(), key=network.key("laptop", uid=1234)) as client:
        client.call(requests.Status())
    asked = network.daemon.kernel.requests[-1]
    assert (asked.uid, asked.role, asked.origin) == (1234, "operate", 'key "laptop" at 127.0.0.1')


def test_a_key_that_is_not_on_the_list_is_turned_away(network: Network) -> None:
    """At the handshake, at once, with a line that says which key."""
    key = network.key("stranger", is_allowed=False)
    before = time.monotonic()
    with pytest.raises(RequestRefused, match='the key "stranger" is not, or no longer, on its list'):
        Client(network.place(), key=key, timeout=20)
    assert time.monotonic() - before < 10
    assert f'refused address=127.0.0.1 what="handshake" why="the key \\"{key.public}\\" is not on the list"' in network.audit()
    assert key.secret not in network.audit() + network.daemon.text()


def test_a_client_without_a_key_is_turned_away(network: Network) -> None:
    """It does not get as far as a word."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.setsockopt(zmq.PROBE_ROUTER, 1)
        socket.connect(network.place())
        line = re.compile(r'refused address=\S+ what="handshake" why="it (does not speak CURVE|broke off the handshake)"')
        await_true(lambda: line.search(network.audit()) is not None, "it was written down")
        assert not socket.poll(50)


def test_a_client_that_knows_another_daemons_key_is_turned_away(network: Network) -> None:
    """It would not speak with an impostor either."""
    right = network.key("laptop")
    with pytest.raises(Unreachable, match="another key than the one in yours"):
        Client(network.place(), key=Key("laptop", new_pair().public, right.public, right.secret), timeout=0.5)
    await_true(lambda: 'why="it does not know this daemon\'s key"' in network.audit(), "it was written down")


def test_a_revoked_key_is_cut_at_once(network: Network) -> None:
    """Though its connections are open; another key's stay open."""
    laptop, wall = network.key("laptop"), network.key("wall", "observe")
    with Client(network.place(), key=laptop) as cut, Client(network.place(), key=wall) as kept:
        cut.subscribe("a/#")
        kept.call(requests.Status())
        network.list.remove("laptop")
        with pytest.raises(RequestRefused, match='key "laptop" was revoked'):
            cut.receive(timeout=10)
        with pytest.raises(RequestRefused):
            cut.call(requests.Status())
        assert kept.call(requests.Status()) == INFO
    with pytest.raises(RequestRefused, match="not, or no longer, on its list"):
        Client(network.place(), key=laptop)
    audit = network.audit()
    assert 'cut key="laptop" address=127.0.0.1 why="key \\"laptop\\" was revoked"' in audit
    assert 'note why="key \\"laptop\\" is revoked"' in audit


def test_an_idle_connection_of_a_revoked_key_is_closed(network: Network) -> None:
    """One that said hello and nothing since: the descriptor goes, not only the session."""
    key = network.key("laptop")
    with Client(network.place(), key=key):
        assert network.daemon.bus is not None
        bus = psutil.Process(network.daemon.bus.pid)

        def established() -> int:
            return sum(1 for one in bus.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED)

        await_true(lambda: established() == 1, "it is connected")
        network.list.remove("laptop")
        await_true(lambda: 'was revoked"' in network.audit(), "it was cut")
        await_true(lambda: established() == 0, "it is closed, and does not come back")


def test_a_key_under_a_name_that_was_revoked_is_another_key(network: Network) -> None:
    """The old one stays out."""
    old = network.key("laptop")
    network.list.remove("laptop")
    new = network.key("laptop")
    await_true(lambda: network.audit().count("may come in") >= 1, "the list was read")
    with Client(network.place(), key=new) as client:
        assert client.call(requests.Status()) == INFO
    with pytest.raises(RequestRefused):
        Client(network.place(), key=old)


def test_a_key_may_do_what_its_role_says(network: Network) -> None:
    """One that looks is not let send, nor speak as a process whose secret it has got hold of."""
    key = network.key("wall", "observe")
    identity = network.daemon.kernel.enroll(1001)
    with Client(network.place(), key=key) as client:
        assert client.role == "observe"
        client.subscribe("a/#")
        with pytest.raises(RequestRefused, match="the role operate is needed, yours is observe"):
            client.send("1001", "t")
    for proof in (identity, Identity(1001, 1, os.urandom(32))):
        with pytest.raises(RequestRefused, match="a process does so on its own host"):
            Client(network.place(), key=key, identity=proof)
    assert 'refused key="wall" address=127.0.0.1 what="SEND" why="SEND needs the role operate"' in network.audit()


def test_a_role_that_changes_takes_effect_at_once(network: Network) -> None:
    """The client comes back by itself, with the new role."""
    key = network.key("laptop", "operate")
    with Client(network.place(), key=key) as client:
        entry = (network.list.allowed / "laptop").read_text()
        fresh = network.list.directory / "laptop.new"
        fresh.write_text(entry.replace("operate", "observe"))
        fresh.chmod(0o600)
        fresh.rename(network.list.allowed / "laptop")
        await_true(lambda: "has changed (observe)" in network.audit(), "the list was read")

        def role() -> str:
            client.call(requests.Status())
            return client.role

        await_true(lambda: role() == "observe", "it has the new role")


def test_an_entry_that_cannot_be_read_lets_nobody_in_and_is_told(network: Network) -> None:
    """Once; the others stay."""
    key = network.key("laptop")
    (network.list.allowed / "broken").write_text("nonsense = [")
    (network.list.allowed / "writable").write_text("x")
    (network.list.allowed / "writable").chmod(0o666)
    await_true(lambda: "it is no entry of DADMS" in network.audit() and "others may write it" in network.audit(), "they were told")
    with Client(network.place(), key=key) as client:
        assert client.call(requests.Status()) == INFO


def test_a_port_that_is_taken_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    """In one line, as what else would be wrong."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        network = Network(tmp_path, kernel=taken.getsockname()[1])
        try:
            network.daemon.start_bus(linked=False)
            assert network.daemon.bus is not None
            assert network.daemon.bus.wait(20) == 1
            assert f"cannot listen on 127.0.0.1:{taken.getsockname()[1]} (kernel): Address already in use" in network.daemon.text()
            assert "Traceback" not in network.daemon.text()
        finally:
            network.__exit__()


def test_a_server_key_that_others_may_read_ends_the_start(tmp_path: Path) -> None:
    """It is not known who has read it."""
    network = Network(tmp_path)
    network.list.server.chmod(0o644)
    try:
        network.daemon.start_bus(linked=False)
        assert network.daemon.bus is not None
        assert network.daemon.bus.wait(20) == 1
        assert "cannot use the daemon's own key: others may read it (mode 0644" in network.daemon.text()
    finally:
        network.__exit__()


def test_a_port_can_be_turned_off(tmp_path: Path) -> None:
    """Without the data port, a client over the network calls and sends nothing."""
    with Network(tmp_path, thread_manager=0, data=0) as network:
        assert network.daemon.bus is not None
        connections = psutil.Process(network.daemon.bus.pid).net_connections("tcp")
        assert sorted(one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN) == sorted(
            port for port in network.ports.values() if port
        )
        with Client(network.place(), key=network.key("laptop")) as client:
            assert client.call(requests.Status()) == INFO
            with pytest.raises(RequestRefused, match="its data door is not open to the network"):
                client.publish("a", b"")


def test_a_restarted_bus_lets_the_same_keys_in(network: Network) -> None:
    """Its clients come back by themselves."""
    with Client(network.place(), key=network.key("laptop")) as client:
        network.daemon.kill_bus()
        network.daemon.start_bus()
        assert client.call(requests.Status(), timeout=20) == INFO


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("tcp://", "tcp://HOST"),
        ("tcp://h:0", "tcp://HOST"),
        ("tcp://h:70000", "tcp://HOST"),
        ("tcp://h:1/x", "tcp://HOST"),
        ("tcp://h", "without a key"),
    ],
)
def test_a_place_that_cannot_be_meant_is_refused(place: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DADMS_KEY", raising=False)
    with pytest.raises(DadmsError, match=said):
        Client(place)


def test_a_list_that_is_replaced_as_a_whole_is_still_the_list(network: Network) -> None:
    """A watch is one of a directory, and not of its name: another one in its place has to be watched anew."""
    with Client(network.place(), key=network.key("laptop")) as client:
        client.call(requests.Status())
        network.list.allowed.rename(network.list.directory / "old")
        await_true(lambda: 'key \\"laptop\\" is revoked' in network.audit(), "nobody is let in by what was moved away")
        with pytest.raises(RequestRefused, match="was revoked"):
            client.call(requests.Status())
    await_true(network.list.allowed.is_dir, "it is made anew")
    with Client(network.place(), key=network.key("tower")) as client:
        client.call(requests.Status())
        network.list.remove("tower")
        await_true(lambda: 'key \\"tower\\" is revoked' in network.audit(), "it was seen")


def test_a_file_among_the_keys_whose_name_is_not_utf_8_is_told_and_nothing_more(network: Network) -> None:
    key = network.key("laptop")
    Path(os.fsdecode(os.fsencode(network.list.allowed) + b"/caf\xe9")).touch()
    await_true(lambda: "cannot name a key" in network.audit(), "it was told")
    with Client(network.place(), key=key) as client:
        assert client.call(requests.Status()) == INFO
