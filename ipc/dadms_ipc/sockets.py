"""A client's ZeroMQ sockets: one place for the options that the protocol leans on."""

import os
from pathlib import Path

import zmq

from dadms_ipc.envelope import BODY_LIMIT, Door
from dadms_ipc.errors import RequestRefused
from dadms_ipc.paths import CONTROL_SOCKET, DATA_SOCKET

PATHS = {Door.CONTROL: CONTROL_SOCKET, Door.DATA: DATA_SOCKET}
PATH_LIMIT = 107  # bytes of a unix socket's path (unix(7)), the final NUL taken off

_OPTIONS = (
    (zmq.PROBE_ROUTER, 1),  # an empty message on each new connection: the bus answers INVITE, so a restart is seen without a monitor
    (zmq.IMMEDIATE, 1),  # nothing waits in libzmq for a bus that is away: stale messages would precede HELLO
    (zmq.RECONNECT_IVL, 10),  # ms: a restarted bus is found within tens of milliseconds
    (zmq.RECONNECT_IVL_MAX, 50),  # ms: a bus that stays away costs 20 attempts a second
    (zmq.SNDHWM, 1000),  # messages: acknowledgements of a program that then does something else must find room
    (zmq.RCVHWM, 1024),  # messages: above the window, so that the bus never meets a full pipe of a client that reads
    (zmq.MAXMSGSIZE, BODY_LIMIT + 4096),
    (zmq.LINGER, 100),  # ms that close may take to hand over what was sent
)


def connect(context: zmq.Context[zmq.Socket[bytes]], directory: Path, door: Door) -> zmq.Socket[bytes]:
    """Give a socket that connects, and reconnects, to a door of the daemon on this runtime directory."""
    socket = context.socket(zmq.DEALER)
    for option, value in _OPTIONS:
        socket.setsockopt(option, value)
    socket.connect(f"ipc://{directory / PATHS[door]}")
    return socket


def is_bound(directory: Path, door: Door) -> bool:
    """Tell whether the door's socket exists; whether anybody listens is another question. Raises RequestRefused where nobody lets us look."""
    try:
        return (directory / PATHS[door]).exists()
    except PermissionError as error:
        raise RequestRefused(f"cannot reach a daemon on {directory}: its directory is closed to uid {os.geteuid()}") from error
