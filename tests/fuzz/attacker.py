"""The attacker: a program of its own that sends wrong messages over many connections, as fast as it can, until it has sent enough or its time is up.

It says on stdout, as one line, how many messages it sent. Connections that the bus cuts come back, as a broken client's would.
"""

import argparse
import contextlib
import os
import random
import socket
import sys
import time
from pathlib import Path

import zmq

from dadms_ipc.codec import encode_body, encode_header
from dadms_ipc.envelope import VERSION, Header, Hello, Kind, message_id
from dadms_ipc.keys import read_key
from tests.fuzz.frames import bytes_below, message

CONNECTIONS = 16  # half of them with a session
DEAF = 2  # of them never read
BURST = 50  # messages over one connection before the next has its turn
GREETED = (
    b"\xff"
    + bytes(7)
    + b"\x01\x7f\x03\x00"
    + b"NULL".ljust(20, b"\0")
    + bytes(32)
    + b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
)  # ZeroMQ RFC 23
BROKEN = b"\x01\x01\xc1\x00\x00"  # a message: a header that is none, and an empty body
STRANGERS = 8  # connections of strangers that are open at once


def main() -> int:
    """Attack; gives the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--ports", type=int, nargs=2, metavar=("CONTROL", "DATA"), default=(0, 0))
    parser.add_argument(
        "--gives-way",
        action="store_true",
        help="run only where nobody else wants to; a nice program may end its slice of some ms while others wait, but goes on beside them",
    )
    asked = parser.parse_args()
    # What is measured is the bus, not who gets the machine: an attacker has one of its own.
    if asked.gives_way:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(10)
    chance = random.Random(asked.seed)
    places = [f"ipc://{asked.directory / name}" for name in ("control.sock", "data.sock")]
    if asked.key:
        places += [f"tcp://127.0.0.1:{port}" for port in asked.ports]
    with zmq.Context() as context:
        sockets = [_connect(context, places[number % len(places)], asked.key, number) for number in range(CONNECTIONS)]
        strangers: list[socket.socket] = []
        sent, end = 0, time.monotonic() + asked.seconds
        while sent < asked.messages and time.monotonic() < end:
            for number, one in enumerate(sockets):
                sent += _burst(one, chance, reads=number >= DEAF)
                if sent >= asked.messages:
                    break
            _disturb(asked.directory, asked.ports, chance, strangers)
            sent += _say_and_go(asked.directory, chance)
        for stranger in strangers:
            stranger.close()
        for one in sockets:
            one.close(0)
    sys.stdout.write(f"{sent}\n")
    return 0


def _connect(context: "zmq.Context[zmq.Socket[bytes]]", place: str, key: Path | None, number: int) -> "zmq.Socket[bytes]":
    one = context.socket(zmq.DEALER)
    for option, value in ((zmq.LINGER, 0), (zmq.RECONNECT_IVL, 10), (zmq.SNDHWM, 1000), (zmq.RCVHWM, 1 if number < DEAF else 10_000)):
        one.setsockopt(option, value)
    if place.startswith("tcp") and key is not None:
        found = read_key(key)
        one.curve_serverkey, one.curve_publickey, one.curve_secretkey = (
            half.encode() for half in (found.server, found.public, found.secret)
        )
    one.connect(place)
    if number % 2:
        client = bytes([200 + number]) * 16
        hello = encode_body(Hello(client, [VERSION], "fuzz", 1000))
        one.send_multipart([encode_header(Header(VERSION, Kind.HELLO, message_id(client, 1))), hello])
    return one


def _burst(one: "zmq.Socket[bytes]", chance: random.Random, *, reads: bool) -> int:
    sent = 0
    for _ in range(BURST):
        try:
            one.send_multipart(message(chance), zmq.NOBLOCK)
        except zmq.Again:
            one.poll(1, zmq.POLLOUT)  # it is full, or was cut and is not back yet
            break
        sent += 1
    if reads:
        with contextlib.suppress(zmq.Again):
            while True:
                one.recv_multipart(zmq.NOBLOCK)
    return sent


def _disturb(directory: Path, ports: tuple[int, int], chance: random.Random, strangers: list[socket.socket]) -> None:
    """Connect as somebody who speaks no ZMTP, and leave some time later."""
    kind = chance.randrange(4)
    if kind > 1 and not ports[0]:
        return
    stranger = socket.socket(socket.AF_UNIX if kind < 2 else socket.AF_INET)
    stranger.settimeout(0.2)
    with contextlib.suppress(OSError):
        stranger.connect(str(directory / ("control.sock", "data.sock")[kind]) if kind < 2 else ("127.0.0.1", ports[kind - 2]))
        stranger.sendall(bytes_below(chance))
    strangers.append(stranger)
    if len(strangers) > STRANGERS:
        strangers.pop(chance.randrange(STRANGERS)).close()


def _say_and_go(directory: Path, chance: random.Random) -> int:
    """Say what is broken, and be gone before it is heard; gives how many messages that were. libzmq lets nobody say more before its own READY came."""
    with socket.socket(socket.AF_UNIX) as stranger, contextlib.suppress(OSError):
        stranger.settimeout(0.2)
        stranger.connect(str(directory / chance.choice(("control.sock", "data.sock"))))
        stranger.sendall(GREETED)
        heard = b""
        while b"READY" not in heard:
            piece = stranger.recv(1000)
            if not piece:
                return 0
            heard += piece
        stranger.sendall(BROKEN * BURST)
        return BURST
    return 0


if __name__ == "__main__":
    sys.exit(main())
