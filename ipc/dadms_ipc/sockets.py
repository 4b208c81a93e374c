"""A client's ZeroMQ sockets, for a daemon behind a network: one place for the options that the protocol leans on. Only this module brings pyzmq."""

from typing import cast

import zmq
from zmq.backend import Socket as Basic

from dadms_ipc.envelope import BODY_LIMIT, Door
from dadms_ipc.errors import Unreachable
from dadms_ipc.keys import Pair
from dadms_ipc.targets import Remote
from dadms_ipc.wires import NOW, PATIENCE, Watcher

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


def connect(context: zmq.Context[zmq.Socket[bytes]], target: Remote, door: Door, ports: dict[str, int]) -> zmq.Socket[bytes]:
    """Give a socket that connects, and reconnects, to a door of a daemon; ``ports`` is what WELCOME said of its doors."""
    endpoint = target.endpoint(door, ports)
    socket = context.socket(zmq.DEALER)
    for option, value in _OPTIONS:
        socket.setsockopt(option, value)
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


class SocketWire:
    """The way to a door by a socket of libzmq's, whose own thread connects, and connects again; what its methods promise is in wires.py.

    Its descriptor tells of changes only, and sending may take the news: ``has_more`` is asked before anybody waits for it, unless it ``is_quiet``.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], target: Remote, door: Door, ports: dict[str, int], watcher: Watcher
    ) -> None:
        self.door = door
        self.is_quiet = False
        self.is_settled = True  # as far as this side knows
        self.due: float | None = None
        self.socket = connect(context, target, door, ports)
        self.socket.setsockopt(zmq.RCVTIMEO, int(PATIENCE * 1000))
        self._monitor: zmq.Socket[bytes] | None = None
        self._watcher = watcher
        self.fd: int = self.socket.fileno()
        watcher.joined(self.fd)

    def listen_for_denials(self) -> None:
        """Have the descriptor's owner woken when a handshake fails."""
        self._monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        self._watcher.joined(self._monitor.fileno())

    def is_denied(self) -> bool:
        """Tell whether a handshake has failed since this was last asked."""
        is_denied = False
        while self._monitor is not None:
            try:
                self._monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            is_denied = True
        return is_denied

    def has_more(self) -> bool:
        """Tell whether a message waits."""
        self.is_quiet = not cast("int", _get(self.socket, _EVENTS)) & _READABLE
        return not self.is_quiet

    def receive(self, flags: int = NOW) -> list[bytes] | None:
        """Give the next message, if there is one; an interrupt may leave the socket in the middle of it."""
        socket = self.socket
        try:
            frames = [_recv(socket, _NOW if flags else 0)]
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

    def push(self) -> None:
        """Do nothing: libzmq's thread does."""

    def revive(self, now: float) -> None:
        """Do nothing: libzmq's thread does."""

    def close(self, linger: int | None = None) -> None:
        """Close the socket; what was sent has the linger's milliseconds to go out."""
        self._watcher.left(self.fd)
        if self._monitor is not None:
            self._watcher.left(self._monitor.fileno())
            self.socket.disable_monitor()
            self._monitor.close(0)
            self._monitor = None
        self.socket.close(linger)


class Network:
    """The ways to a daemon behind a network, and its word on who is let in."""

    def __init__(self, target: Remote) -> None:
        self._target = target
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._control: SocketWire | None = None

    def open(self, door: Door, ports: dict[str, int], watcher: Watcher) -> SocketWire:
        """Give the way to a door."""
        wire = SocketWire(self._context, self._target, door, ports, watcher)
        if door == Door.CONTROL:
            wire.listen_for_denials()
            self._control = wire
        return wire

    def is_denied(self) -> bool:
        """Tell whether the daemon has turned this key away since it was last asked: libzmq would try again for ever."""
        return self._control is not None and self._control.is_denied()

    def close(self) -> None:
        """End libzmq's threads, once all ways are closed."""
        self._control = None
        self._context.term()


def new_pair() -> Pair:
    """Make the two halves of a key."""
    public, secret = zmq.curve_keypair()
    return Pair(public.decode(), secret.decode())
