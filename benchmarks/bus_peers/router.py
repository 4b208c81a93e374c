"""A bare ROUTER that forwards without looking, and the DEALERs around it: ``python -m benchmarks.bus_peers.router ROLE ENDPOINT NAME``.

No sessions, acknowledgements, counters, bounds, roles or deadlines. A batch is one frame with a msgpack array of bodies, which the receiver takes apart.
"""

import sys
from collections.abc import Callable
from time import monotonic

import msgspec
import zmq

from benchmarks.bus_peers.role import Order, latencies, say, serve, shares

EVERYBODY = b"*"

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(list[bytes]).decode


def forward(endpoint: str) -> None:
    """Forward [from][to][…] as [to][from][…]; what is for everybody goes to each subscriber."""
    socket = _socket(zmq.Context(), zmq.ROUTER)
    socket.bind(endpoint)
    say("router")
    subscribers: list[bytes] = []
    while True:
        sender, receiver, *rest = socket.recv_multipart()
        if receiver != EVERYBODY:
            socket.send_multipart([receiver, sender, *rest])
        elif rest == [b"join"]:
            subscribers.append(sender)
            socket.send_multipart([sender, b"", b"joined"])
        else:
            for one in subscribers:
                socket.send_multipart([one, sender, *rest])


def respond(endpoint: str, name: str) -> None:
    """Answer each request with its own body."""
    socket = connect(zmq.Context(), endpoint, name)
    say(name)
    while True:
        socket.send_multipart(socket.recv_multipart())


def request(endpoint: str, name: str) -> None:
    """Ask, one request after the other."""
    socket = connect(zmq.Context(), endpoint, name)

    def run(order: Order) -> list[float]:
        frames = [order["to"][0].encode(), bytes(order["size"])]

        def ask() -> None:
            socket.send_multipart(frames)
            socket.recv_multipart()

        return latencies(ask, order["count"])

    serve(name, {"request": run})


def receive(endpoint: str, name: str) -> None:
    """Count messages."""
    socket = connect(zmq.Context(), endpoint, name)

    def run(order: Order) -> float:
        missing = order["count"]
        while missing > 0:
            frames = socket.recv_multipart()
            missing -= len(decode(frames[2])) if len(frames) > 2 else 1
        return monotonic()

    serve(name, {"receive": run})


def send(endpoint: str, name: str) -> None:
    """Send as fast as the socket takes it; nobody acknowledges."""
    socket = connect(zmq.Context(), endpoint, name)

    def run(order: Order) -> list[float]:
        body, began = bytes(order["size"]), monotonic()
        for receiver, share in shares(order):
            if order["batch"] == 1:
                socket.send_multipart([receiver.encode(), body])
            else:
                socket.send_multipart([receiver.encode(), b"", encode([body] * share)])
        return [began, monotonic()]

    serve(name, {"send": run})


def subscribe(endpoint: str, name: str, count: str) -> None:
    """Receive what is for everybody over many connections."""
    context = zmq.Context()
    sockets = [connect(context, endpoint, f"{name}-{number}") for number in range(int(count))]
    poller = zmq.Poller()
    for socket in sockets:
        socket.send_multipart([EVERYBODY, b"join"])
        socket.recv_multipart()
        poller.register(socket, zmq.POLLIN)

    def run(order: Order) -> float:
        missing = order["count"] * len(sockets)
        while missing > 0:
            for socket, _ in poller.poll():
                socket.recv_multipart()
                missing -= 1
        return monotonic()

    serve(name, {"receive": run})


def publish(endpoint: str, name: str) -> None:
    """Send to everybody."""
    socket = connect(zmq.Context(), endpoint, name)

    def run(order: Order) -> list[float]:
        frames, began = [EVERYBODY, bytes(order["size"])], monotonic()
        for _ in range(order["count"]):
            socket.send_multipart(frames)
        return [began, monotonic()]

    serve(name, {"send": run})


def connect(context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str, name: str) -> "zmq.Socket[bytes]":
    """Connect a DEALER of this name."""
    socket = _socket(context, zmq.DEALER)
    socket.setsockopt(zmq.ROUTING_ID, name.encode())
    socket.connect(endpoint)
    return socket


def _socket(context: "zmq.Context[zmq.Socket[bytes]]", kind: int) -> "zmq.Socket[bytes]":
    socket = context.socket(kind)
    for option in (zmq.SNDHWM, zmq.RCVHWM, zmq.LINGER):  # a ROUTER drops what finds a full pipe: nothing is full here
        socket.setsockopt(option, 0)
    return socket


ROLES: dict[str, Callable[..., None]] = {
    "forward": forward,
    "respond": respond,
    "request": request,
    "receive": receive,
    "send": send,
    "subscribe": subscribe,
    "publish": publish,
}

if __name__ == "__main__":
    ROLES[sys.argv[1]](*sys.argv[2:])
