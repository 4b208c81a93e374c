"""One door: a ROUTER socket on a unix path, what it receives and from whom, and how it is kept from running out of descriptors.

1. The operating system says who is at the other end (SO_PEERCRED, through libzmq's ``Peer-Address``), once a connection.
2. libzmq aborts its process when it cannot accept for want of descriptors, so connections are counted (by the socket's monitor) and the door is unbound
   before that, and bound again when enough have gone.
3. A connection is cut by shutting down its descriptor; libzmq notices and its peer connects again, if it cares.
"""

import os
import socket
from pathlib import Path
from typing import NamedTuple, cast

import zmq
from zmq.utils.monitor import parse_monitor_message

from dadms_ipc.envelope import Door
from dadmsd.bus.core.events import Body, Forget, Peer, Received

HWM = 256  # messages that wait in libzmq for one connection, each way: more waits in the core's queues, where it is counted
COPIED = 32 * 1024  # bytes: a smaller body is copied, a larger one passes as the frame that libzmq made
BACKLOG = 128  # connections that wait to be accepted
REBIND_SHARE = 0.9  # of the ceiling: below it a door that was unbound opens again


class _Origin(NamedTuple):
    uid: int
    pid: int
    fd: int  # libzmq's own descriptor of the connection


class Router:
    """The socket of one door."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", door: Door, path: Path, *, body_limit: int, ceiling: int, umask: int
    ) -> None:
        self.door = door
        self.path = path
        self.ceiling = ceiling  # connections
        self.connections = 0
        self.is_bound = False
        self._umask = umask
        self._origins: dict[bytes, _Origin] = {}
        self.socket = context.socket(zmq.ROUTER)
        for option, value in (
            (zmq.ROUTER_MANDATORY, 1),  # what cannot be delivered is known
            (zmq.SNDHWM, HWM),
            (zmq.RCVHWM, HWM),
            (zmq.MAXMSGSIZE, body_limit),
            (zmq.LINGER, 200),  # ms for last answers
            (zmq.BACKLOG, BACKLOG),
            (zmq.AFFINITY, 1 << door),  # an I/O thread of its own: large bodies at one door do not delay the other
        ):
            self.socket.setsockopt(option, value)
        watched = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED
        endpoint = f"inproc://monitor-{door.name.lower()}"
        self.socket.monitor(endpoint, watched)
        self.monitor = context.socket(zmq.PAIR)
        self.monitor.setsockopt(zmq.RCVHWM, 0)  # libzmq drops events for which there is no room, and the count would drift
        self.monitor.connect(endpoint)
        self.bind()

    def bind(self) -> None:
        """Open the door: a stale socket of a dead bus is replaced."""
        self.path.unlink(missing_ok=True)
        before = os.umask(self._umask)
        try:
            self.socket.bind(f"ipc://{self.path}")
        finally:
            os.umask(before)
        self.is_bound = True

    def count(self) -> str | None:
        """Take the monitor's events; gives a line for the audit when the door was shut or opened by that."""
        while True:
            try:
                frames = self.monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self.connections += 1 if parse_monitor_message(frames)["event"] == zmq.EVENT_ACCEPTED else -1
        if self.is_bound and self.connections >= self.ceiling:
            self.socket.unbind(f"ipc://{self.path}")
            self.path.unlink(missing_ok=True)
            self.is_bound = False
            return f"shut the {self.door.name.lower()} door: {self.connections} connections, at most {self.ceiling}"
        if not self.is_bound and self.connections < self.ceiling * REBIND_SHARE:
            self.bind()
            return f"opened the {self.door.name.lower()} door again: {self.connections} connections"
        return None

    def receive(self) -> Received | None:
        """Give the next message, if there is one."""
        sock = self.socket
        try:
            route = sock.recv(zmq.NOBLOCK)
        except zmq.Again:
            return None
        first = sock.recv(copy=False)
        origin = self._origins.get(route)
        if origin is None:
            origin = self._origins[route] = _origin(first)
        frames: list[Body] = [first.bytes]
        is_cut_short = False
        if first.more:
            body = sock.recv(copy=False)
            frames.append(body.bytes if len(body) <= COPIED else body)
            while body.more:  # libzmq has them all already: it hands out whole messages only
                body = sock.recv(copy=False)
                is_cut_short = True
        return Received(Peer(self.door, route), origin.uid, origin.pid, frames, is_cut_short)

    def send(self, route: bytes, header: bytes, body: Body) -> bool | None:
        """Send; True when it was taken, False when the connection is gone, None when it does not read."""
        sock = self.socket
        try:
            sock.send(route, zmq.NOBLOCK | zmq.SNDMORE)
            sock.send(header, zmq.NOBLOCK | zmq.SNDMORE)
            sock.send(cast("bytes", body), zmq.NOBLOCK)  # or a zmq.Frame, which goes on uncopied
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise
        return True

    def cut(self, route: bytes) -> None:
        """Shut a connection's descriptor down, unless it is somebody else's by now."""
        origin = self._origins.get(route)
        if origin is None or origin.fd < 0:
            return
        try:
            duplicate = socket.socket(fileno=os.dup(origin.fd))
        except OSError:
            return  # closed already
        with duplicate:
            try:
                credentials = duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                if int.from_bytes(credentials[:4], "little") == origin.pid:
                    duplicate.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # gone in the meantime

    def forget(self, effect: Forget) -> None:
        """Forget who a connection came from."""
        self._origins.pop(effect.peer.route, None)

    def close(self) -> None:
        """Close the door; what was sent has the linger's time to go out."""
        self.socket.disable_monitor()
        self.monitor.close(0)
        if self.is_bound:
            self.path.unlink(missing_ok=True)
        self.socket.close()


def _origin(frame: zmq.Frame) -> _Origin:
    """Read who is at the other end: "localhost:UID:GID:PID"."""
    try:
        _, uid, _, pid = str(frame.get("Peer-Address")).split(":")
        descriptor = frame.get(zmq.SRCFD)
        return _Origin(int(uid), int(pid), int(descriptor))
    except (zmq.ZMQError, ValueError):
        return _Origin(-1, -1, -1)
