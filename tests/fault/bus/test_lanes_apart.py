"""Control and data are apart: what is on its way through the data door holds up no request to the kernel."""

from dadms_ipc import requests
from dadms_ipc.client import Client
from dadms_ipc.envelope import BODY_LIMIT, Kind
from tests.fault.bus.wire import Wire, head
from tests.integration.bus.daemon import INFO, Daemon

PIECE = 4 * 1024 * 1024  # bytes


def test_a_request_is_answered_between_the_pieces_of_a_large_body(daemon: Daemon) -> None:
    """64 MiB that come in sixteen pieces: after each of them requests are answered, before the body is whole; then it arrives, unharmed."""
    body = bytes(range(256)) * (PIECE // 256)
    with (
        Client(daemon.directory, timeout=30) as control,
        Client(daemon.directory, timeout=60) as subscriber,
        Wire(daemon.directory) as wire,
    ):
        subscriber.subscribe("large/#")
        wire.hello()
        wire.socket.sendall(wire.header(Kind.PUBLISH, topic="large/body") + head(BODY_LIMIT))
        for _ in range(BODY_LIMIT // PIECE):
            before = len(daemon.kernel.requests)
            assert control.call(requests.Status()) == INFO
            assert len(daemon.kernel.requests) == before + 1
            assert control.bus_status()["counters"]["published"] == 0
            wire.socket.sendall(body)
        message = subscriber.receive()
        assert (len(message.body), message.body[:PIECE] == body, message.body[-PIECE:] == body) == (BODY_LIMIT, True, True)


def test_one_stalled_sender_of_data_holds_up_no_other(daemon: Daemon) -> None:
    """Nor does one that stops in the middle of a body for ever."""
    with Client(daemon.directory, timeout=30) as one, Client(daemon.directory, timeout=30) as other, Wire(daemon.directory) as wire:
        one.subscribe("a/#")
        wire.hello()
        wire.socket.sendall(wire.header(Kind.PUBLISH, topic="a/never") + head(BODY_LIMIT) + bytes(PIECE))
        for number in range(20):
            other.publish("a/b", str(number).encode())
            assert one.receive().body == str(number).encode()
            assert other.call(requests.Status()) == INFO
