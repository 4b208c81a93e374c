"""Programs that talk over Redis by way of redis-py: ``python -m benchmarks.bus_peers.redis ROLE SOCKET NAME``.

Requests and one-way messages go through lists (a list a receiver; a batch is one RPUSH), publications through PUBLISH. A list keeps what its receiver has not
taken; what was taken is nobody's, and no receiver acknowledges.
"""

import select
import sys
from collections.abc import Callable
from time import monotonic

import redis

from benchmarks.bus_peers.role import Order, latencies, say, serve, shares

CHANNEL = "everybody"
TAKEN = 256  # elements that a receiver takes at once, at most


def respond(path: str, name: str) -> None:
    """Answer each request with its own body; the first bytes say to whom."""
    server = redis.Redis(unix_socket_path=path)
    say(name)
    while True:
        _, body = server.blpop([name])
        server.rpush(body[:16].rstrip(b"\0").decode(), body)


def request(path: str, name: str) -> None:
    """Ask, one request after the other."""
    server = redis.Redis(unix_socket_path=path)

    def run(order: Order) -> list[float]:
        to, body = order["to"][0], name.encode().ljust(order["size"], b"\0")

        def ask() -> None:
            server.rpush(to, body)
            server.blpop([name])

        return latencies(ask, order["count"])

    serve(name, {"request": run})


def receive(path: str, name: str) -> None:
    """Take what is there, or wait for one."""
    server = redis.Redis(unix_socket_path=path)

    def run(order: Order) -> float:
        missing = order["count"]
        while missing > 0:
            taken = server.lpop(name, TAKEN)
            missing -= len(taken) if taken else bool(server.blpop([name]))
        return monotonic()

    serve(name, {"receive": run})


def send(path: str, name: str) -> None:
    """Push batches; the server's answer is waited for."""
    server = redis.Redis(unix_socket_path=path)

    def run(order: Order) -> list[float]:
        body, began = bytes(order["size"]), monotonic()
        for receiver, share in shares(order):
            server.rpush(receiver, *([body] * share))
        return [began, monotonic()]

    serve(name, {"send": run})


def subscribe(path: str, name: str, count: str) -> None:
    """Receive what is published over many connections."""
    server = redis.Redis(unix_socket_path=path)
    subscriptions = {}
    poll = select.poll()
    for _ in range(int(count)):
        one = server.pubsub(ignore_subscribe_messages=True)
        one.subscribe(CHANNEL)
        one.get_message(timeout=5.0)
        sock = one.connection._sock  # redis-py names no other way to wait for many
        subscriptions[sock.fileno()] = one
        poll.register(sock, select.POLLIN)

    def run(order: Order) -> float:
        missing = order["count"] * len(subscriptions)
        while missing > 0:
            for fd, _ in poll.poll():
                while subscriptions[fd].get_message(timeout=0.0) is not None:
                    missing -= 1
        return monotonic()

    serve(name, {"receive": run})


def publish(path: str, name: str) -> None:
    """Publish in pipelines."""
    server = redis.Redis(unix_socket_path=path)

    def run(order: Order) -> list[float]:
        body, began, left = bytes(order["size"]), monotonic(), order["count"]
        while left > 0:
            with server.pipeline(transaction=False) as pipeline:
                for _ in range(min(left, order["batch"])):
                    pipeline.publish(CHANNEL, body)
                pipeline.execute()
            left -= order["batch"]
        return [began, monotonic()]

    serve(name, {"send": run})


ROLES: dict[str, Callable[..., None]] = {
    "respond": respond,
    "request": request,
    "receive": receive,
    "send": send,
    "subscribe": subscribe,
    "publish": publish,
}

if __name__ == "__main__":
    ROLES[sys.argv[1]](*sys.argv[2:])
