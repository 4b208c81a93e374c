"""Crowds: more connections than there is room for, idle ones by the thousand. Each is refused or cut, that is written down, and who works is served."""

import contextlib
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dadms_ipc import requests
from dadms_ipc.client import Client
from tests.conftest import Daemon as System
from tests.fault.bus.network import Network
from tests.integration.bus.daemon import INFO, Daemon, await_true

IDLE = 9000
SLOW = """
import socket, sys
with socket.socket(socket.AF_UNIX) as one:
    one.connect(sys.argv[1])
    one.send(b"\\xff")
    while one.recv(100):
        pass
"""  # begins a handshake, and does not go on
SHARE = 1024  # connections of one process at a door of 4096


def _left(strangers: list[socket.socket]) -> int:
    """Count the connections that the other side has not ended, and close the others."""
    left = 0
    for stranger in strangers:
        if stranger.fileno() < 0:
            continue
        try:
            is_over = stranger.recv(1000) == b""
        except BlockingIOError:
            is_over = False
        except OSError:
            is_over = True
        if is_over:
            stranger.close()
        else:
            left += 1
    return left


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 20_000, reason="this host lets a process have fewer than 20 000 descriptors"
)
def test_nine_thousand_idle_peers_cost_nobody_anything(no_leaks: None) -> None:
    """One program has its share of the door; what it may have and leaves idle is cut as well, after ten seconds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    strangers: list[socket.socket] = []
    try:
        with Daemon() as daemon, Client(daemon.directory, timeout=30) as client:
            path = str(daemon.directory / "control.sock")
            slow = subprocess.Popen([sys.executable, "-c", SLOW, path])
            for number in range(IDLE):
                stranger = socket.socket(socket.AF_UNIX)
                stranger.settimeout(5.0)
                with contextlib.suppress(OSError):
                    stranger.connect(path)
                stranger.setblocking(False)
                strangers.append(stranger)
                if number % 100 == 0:
                    assert client.call(requests.Status()) == INFO
            await_true(lambda: _left(strangers) <= SHARE, "what is beyond its share was cut", 20)
            began = time.monotonic()
            while _left(strangers):
                assert client.call(requests.Status()) == INFO
                assert time.monotonic() - began < 30, "the idle ones were not cut"
                time.sleep(0.05)
            audit = (daemon.directory / "logs" / "audit.log").read_text()
            assert f"connections of process {os.getpid()}, at most {SHARE} may be" in audit
            assert slow.wait(20) == 0
            assert f'cut uid={os.geteuid()} pid={slow.pid} why="it said nothing for 10 s"' in audit
            assert daemon.bus is not None
            assert daemon.bus.poll() is None
            assert client.call(requests.Status()) == INFO
    finally:
        for stranger in strangers:
            stranger.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


CROWDS = 6  # programs
CROWD = """
import socket, sys
held = []
for _ in range(1500):
    one = socket.socket(socket.AF_UNIX)
    one.setblocking(False)
    try:
        one.connect(sys.argv[1])
    except OSError:
        one.close()
    else:
        held.append(one)
print(len(held), flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def _crowds(door: Path) -> Iterator[None]:
    """Have programs connect to a door as often as it lets them, all at once, and hold on to that."""
    crowds = [
        subprocess.Popen([sys.executable, "-c", CROWD, str(door)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(CROWDS)
    ]
    try:
        for crowd in crowds:
            assert crowd.stdout is not None
            assert int(crowd.stdout.readline()) >= 0
        yield
    finally:
        for crowd in crowds:
            crowd.kill()
            crowd.communicate()


@pytest.mark.usefixtures("no_leaks")
def test_a_crowd_that_comes_at_once_does_not_cost_the_bus_its_descriptors() -> None:
    """They come faster than they are looked at, and libzmq ends its program when it has no descriptor for one more: the door is shut before anything else is done."""
    with Daemon(files=2048) as daemon, Client(daemon.directory, timeout=30) as client:
        with _crowds(daemon.directory / "control.sock"):
            assert client.call(requests.Status()) == INFO
            await_true(lambda: "shut the control door" in (daemon.directory / "logs" / "audit.log").read_text(), "people are told")
            assert daemon.starts == 1, daemon.text()
        await_true(lambda: "opened the control door again" in (daemon.directory / "logs" / "audit.log").read_text(), "the door was opened")
        with Client(daemon.directory, timeout=30) as other:
            assert other.call(requests.Status()) == INFO


@pytest.mark.usefixtures("no_leaks")
def test_where_few_descriptors_are_allowed_a_crowd_costs_a_delay_at_most(short_path: Path) -> None:
    """The thread of libzmq may accept all that there is room for before the bus gets a processor to shut the door: then the bus ends, and the keeper starts another."""
    made = System(short_path, files=400)
    try:
        with Client(made.runtime_dir, timeout=60.0, start_timeout=20.0) as client:
            assert client.call(requests.Status())
            with _crowds(made.control):
                client.call(requests.Status())
            pid = client.call(requests.Spawn(requests.Spec("after", kind="tool", command=["/bin/true"])))["pid"]
            assert client.call(requests.Wait(pid)).exit_code == 0
    finally:
        made.close()


def test_a_crowd_on_the_network_is_shut_out_and_the_unix_sockets_stay_open(tmp_path: Path) -> None:
    """From many addresses, each within its share: the port takes nobody until some have gone."""
    with Network(tmp_path, files=256) as network:
        key = network.key("laptop")
        port = network.ports["kernel"]
        crowd: list[socket.socket] = []
        with Client(network.daemon.directory, timeout=30) as local, Client(network.place(), key=key, timeout=30) as early:
            for address in range(2, 8):
                for _ in range(8):
                    one = socket.socket()
                    one.bind((f"127.0.0.{address}", 0))
                    one.settimeout(0.3)
                    with contextlib.suppress(OSError):
                        one.connect(("127.0.0.1", port))
                    crowd.append(one)
            if os.geteuid() == 0:
                await_true(lambda: f"shut port 127.0.0.1:{port} (kernel)" in network.audit(), "the port was shut")
                with pytest.raises(TimeoutError):
                    socket.create_connection(("127.0.0.1", port), timeout=0.5)
            else:  # many hosts let only root filter a socket
                words = f"shut port 127.0.0.1:{port} (kernel)", "connections over the network, at most"
                await_true(lambda: any(each in network.audit() for each in words), "the port was shut, or who is too many was cut")
            for client in (local, early):
                assert client.call(requests.Status()) == INFO
            for one in crowd:
                one.close()
            if os.geteuid() == 0:
                await_true(lambda: f"opened port 127.0.0.1:{port} (kernel) again" in network.audit(), "the port was opened")
        with Client(network.place(), key=key, timeout=30) as client:
            assert client.call(requests.Status()) == INFO


def test_one_address_has_its_share_of_the_network(tmp_path: Path) -> None:
    """What is beyond it is cut, and another address comes in."""
    with Network(tmp_path, files=256) as network:
        crowd = []
        for _ in range(20):
            one = socket.socket()
            one.bind(("127.0.0.9", 0))
            one.settimeout(5.0)
            with contextlib.suppress(OSError):
                one.connect(("127.0.0.1", network.ports["kernel"]))
            crowd.append(one)
        await_true(lambda: "connections of address 127.0.0.9, at most 12 may be" in network.audit(), "it was cut")
        with Client(network.place(), key=network.key("laptop"), timeout=30) as client:
            assert client.call(requests.Status()) == INFO
        for one in crowd:
            one.close()
