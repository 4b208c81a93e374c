"""What libzmq would hold without bound: an endless message, answers that nobody reads. Each costs its connection, and nobody else anything."""

import os
import threading
import time
from pathlib import Path

import pytest
import zmq

from dadms_ipc import requests
from dadms_ipc.client import Client
from dadms_ipc.codec import encode_body
from dadms_ipc.envelope import Kind
from dadms_ipc.errors import DeadlinePassed
from tests.fault.bus.raw import RawClient
from tests.fault.bus.wire import MORE, Wire, frame
from tests.integration.bus.daemon import INFO, Daemon, await_true

CAP = 512 * 1024 * 1024  # bytes: of the bus's group
PIECE = bytes(1024 * 1024)


def resident(daemon: Daemon) -> int:
    """Give the bytes of the bus in memory."""
    assert daemon.bus is not None
    return int(Path(f"/proc/{daemon.bus.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def _pour(wire: Wire, piece: bytes, most: int) -> None:
    """Send a piece again and again."""
    for _ in range(most // len(piece)):
        wire.socket.sendall(piece)


@pytest.mark.parametrize("greets", [True, False])
@pytest.mark.parametrize("door", ["control", "data"])
def test_a_message_without_end_costs_its_connection(daemon: Daemon, door: str, greets: bool) -> None:
    """It may send ten times the cap, as fast as it can: it is cut before, and another client is served all the while."""
    sent, peak, is_cut = 0, 0, threading.Event()

    def pour(wire: Wire) -> None:
        nonlocal sent
        piece = frame(PIECE, flags=MORE)
        try:
            while sent < 10 * CAP:
                wire.socket.sendall(piece)
                sent += len(piece)
        except OSError:
            is_cut.set()

    with Client(daemon.directory, timeout=30) as client, Wire(daemon.directory, door) as wire:
        if greets:
            wire.hello()
        thread = threading.Thread(target=pour, args=(wire,))
        thread.start()
        while thread.is_alive():
            assert client.call(requests.Status()) == INFO
            peak = max(peak, resident(daemon))
        thread.join()
        assert is_cut.is_set(), f"{sent} bytes were taken"
        assert peak < CAP
        await_true(lambda: "this connection sends a message without end" in daemon.text(), "it is written down")
        assert client.call(requests.Status()) == INFO
        await_true(lambda: resident(daemon) < 200 * 1024 * 1024, "the bus has given the memory back")
    assert daemon.bus is not None
    assert daemon.bus.poll() is None


def test_a_message_without_end_is_seen_when_nobody_else_says_a_word(daemon: Daemon) -> None:
    """Nothing tells the bus of it, as it is no whole message; that bytes come is enough to look. It is cut before it has sent the cap twice."""
    with Wire(daemon.directory, "data") as wire:
        wire.hello()
        piece = frame(PIECE, flags=MORE)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            _pour(wire, piece, 2 * CAP)
    await_true(lambda: "this connection sends a message without end" in daemon.text(), "it is written down")


def test_one_that_never_reads_large_answers_is_cut(daemon: Daemon) -> None:
    """They would wait in libzmq, which counts messages and not bytes."""
    identity = daemon.kernel.enroll(1001)
    with (
        Client(daemon.directory, timeout=30) as client,
        Client(daemon.directory, identity=identity) as process,
        RawClient(daemon.directory, "data") as deaf,
    ):
        deaf.socket.close()
        deaf.socket = deaf.context.socket(zmq.DEALER)
        deaf.socket.linger = 0
        deaf.socket.setsockopt(zmq.RCVHWM, 1)
        deaf.socket.connect(f"ipc://{daemon.directory / 'data.sock'}")
        deaf.hello()
        process.subscribe("ready")
        answered = 0
        while "this connection does not read" not in daemon.text():
            deaf.say(Kind.REQUEST, to="1001", topic="t", deadline=60_000)
            try:
                asked = process.receive(timeout=5)
            except DeadlinePassed:
                assert "this connection does not read" in daemon.text()  # it was cut after we had looked, and before it was heard
                break
            process.reply(asked, PIECE * 16)
            answered += 1
            assert answered < 200
            assert client.call(requests.Status()) == INFO
            assert resident(daemon) < CAP
        assert encode_body(client.bus_status()["counters"]["cut"])
    assert daemon.bus is not None
    assert daemon.bus.poll() is None


def test_large_bodies_of_those_who_behave_are_no_reason_to_cut(daemon: Daemon) -> None:
    """A hundred times 16 MiB, one after the other, to somebody who reads them."""
    with Client(daemon.directory, timeout=60) as speaker, Client(daemon.directory, timeout=60) as reader:
        reader.subscribe("a/#")
        for _ in range(100):
            speaker.publish("a/b", PIECE * 16)
            assert len(reader.receive().body) == len(PIECE) * 16
        assert speaker.bus_status()["counters"]["hellos"] == 4
        assert "cut a connection" not in daemon.text()


def _switches(pid: int) -> int:
    """Count how often the main thread of a process has waited for something, and got it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches"):
            return int(line.split()[1])
    raise AssertionError("no such line")


def test_a_bus_to_which_nobody_speaks_does_nothing(daemon: Daemon) -> None:
    """However many are connected: it wakes up for what happens, and once more to look at its memory."""
    clients = [Client(daemon.directory) for _ in range(20)]
    try:
        for client in clients:
            client.subscribe("a")
        assert daemon.bus is not None
        pid = daemon.bus.pid

        def is_quiet() -> bool:  # the last look has been
            before = _switches(pid)
            time.sleep(0.5)  # what is measured is an interval
            return _switches(pid) == before

        await_true(is_quiet, "it is quiet after the last word")
        before = _switches(pid)
        time.sleep(3.0)  # the same: thirty looks would fall in it
        assert _switches(pid) - before <= 3  # a PING
    finally:
        for client in clients:
            client.close()
