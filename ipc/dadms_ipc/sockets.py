"""A client's ZeroMQ sockets: one place for the options that the protocol leans on."""

from typing import cast

import zmq
from zmq.backend import Socket as Basic

from dadms_ipc.envelope import BODY_LIMIT, Door
from dadms_ipc.errors import Unreachable
from dadms_ipc.keys import Pair
from dadms_ipc.targets import Target

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

_NETWORK_OPTIONS = (
    (zmq.IPV6, 1),  # both families
    (zmq.TCP_KEEPALIVE, 1),  # answered by the kernel of the peer's machine, also while the peer is suspended
    (zmq.TCP_KEEPALIVE_IDLE, 30),  # seconds
    (zmq.TCP_KEEPALIVE_INTVL, 10),  # seconds
    (zmq.TCP_KEEPALIVE_CNT, 3),
)


def connect(context: zmq.Context[zmq.Socket[bytes]], target: Target, door: Door, ports: dict[str, int]) -> zmq.Socket[bytes]:
    """Give a socket that connects, and reconnects, to a door of a daemon; ``ports`` is what WELCOME said of its doors."""
    endpoint = target.endpoint(door, ports)
    socket = context.socket(zmq.DEALER)
    for option, value in _OPTIONS:
        socket.setsockopt(option, value)
    if target.key is not None:
        for option, half in (
            (zmq.CURVE_SERVERKEY, target.key.server),
            (zmq.CURVE_PUBLICKEY, target.key.public),
            (zmq.CURVE_SECRETKEY, target.key.secret),
        ):
            socket.setsockopt(option, half.encode())
        for option, value in _NETWORK_OPTIONS:
            socket.setsockopt(option, value)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close(0)
        raise Unreachable(f"cannot reach {endpoint}: {error.strerror}") from error
    return socket


# pyzmq's Python layer looks at the types of each call, and turns enumerations into numbers at each.
_NOW = int(zmq.NOBLOCK)
_MORE_NOW = int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS = int(zmq.EVENTS)
_READABLE = int(zmq.POLLIN)
_recv, _send, _get = Basic.recv, Basic.send, Basic.get


PATIENCE = 1.0  # seconds that `Wire.receive` waits, if it is to
WAIT = 0  # flags of `Wire.receive`


class Wire:
    """A socket that connects, and reconnects, to a door of a daemon; nothing in it waits unless it is told to.

    Its descriptor tells of changes only, and sending may take the news: ``has_more`` is asked before anybody waits for it, unless it ``is_quiet``.
    """

    __slots__ = ("door", "fd", "is_quiet", "socket")

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], target: Target, door: Door, ports: dict[str, int]) -> None:
        self.door = door
        self.is_quiet = False
        self.socket = connect(context, target, door, ports)
        self.socket.setsockopt(zmq.RCVTIMEO, int(PATIENCE * 1000))
        self.fd: int = self.socket.fileno()

    def has_more(self) -> bool:
        """Tell whether a message waits."""
        self.is_quiet = not cast("int", _get(self.socket, _EVENTS)) & _READABLE
        return not self.is_quiet

    def receive(self, flags: int = _NOW) -> list[bytes] | None:
        """Give the frames of the next message, if there is one; an interrupt may leave the socket in the middle of it.

        With the flags ``WAIT`` once there is one, or None after PATIENCE: cheaper than to be woken by the descriptor and to look then.
        """
        socket = self.socket
        try:
            frames = [_recv(socket, flags)]
        except zmq.Again:
            self.is_quiet = True
            return None
        self.is_quiet = False
        try:
            body = _recv(socket, _NOW, copy=False)
        except zmq.Again:  # the bus does not say so little; whoever does is not believed
            return frames
        frames.append(body.bytes)
        while body.more:  # a frame knows it, and the socket is dear to ask
            body = _recv(socket, _NOW, copy=False)
            frames.append(body.bytes)
        return frames

    def send(self, frames: list[bytes]) -> bool:
        """Send a message of two frames; False when there is no room."""
        socket = self.socket
        self.is_quiet = False
        try:
            _send(socket, frames[0], _MORE_NOW)
            _send(socket, frames[1], _NOW)
        except zmq.Again:
            return False
        return True

    def close(self, linger: int | None = None) -> None:
        """Close the socket; what was sent has the linger's milliseconds to go out."""
        self.socket.close(linger)


class Denials:
    """Hears whether the daemon turned the key of a socket away: libzmq would try again for ever."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket: zmq.Socket[bytes] = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)

    def hear(self) -> bool:
        """Take the events that there are; tell whether there was one."""
        is_denied = False
        while True:
            try:
                self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return is_denied
            is_denied = True


def new_pair() -> Pair:
    """Make the two halves of a key."""
    public, secret = zmq.curve_keypair()
    return Pair(public.decode(), secret.decode())
