"""The tcp ports of a door: bound by us and handed to libzmq, so that a wrong one is told with the system's reason, and so that it can be shut.

A port is shut by a socket filter that drops whatever comes for the listening socket (socket(7), SO_ATTACH_FILTER): to libzmq nothing happens, connections that are
open stay, and whoever tries to connect waits as for a busy host. Unbinding would end every connection that the port ever accepted. Where only root may filter
(kernel.unprivileged_bpf_disabled), the port stays open, and who is too many is cut as soon as they are accepted.
"""

import ctypes
import os
import socket
import struct

import zmq

from dadms_ipc.errors import HostFailure
from dadms_ipc.keys import Pair
from dadmsd import addresses

BACKLOG = 128  # connections that wait to be accepted
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h
DROP_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K with 0 bytes kept
ZAP_DOMAIN = b"dadms"

_filter = ctypes.create_string_buffer(DROP_ALL, len(DROP_ALL))
_program = struct.pack("HP", 1, ctypes.addressof(_filter))  # struct sock_fprog: one instruction


class Listener:
    """One port."""

    def __init__(self, name: str, address: str, port: int) -> None:
        self.name = name
        self.port = port
        self.place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        self.is_shut = False
        try:
            self._socket = addresses.bound(address, port)
            self._socket.setblocking(False)
            self._socket.listen(BACKLOG)
        except OSError as error:
            raise HostFailure(f"cannot listen on {self.place} ({name}): {error.strerror}") from error

    def attach(self, router: "zmq.Socket[bytes]", pair: Pair, *, thread: int) -> None:
        """Let a ROUTER accept from this port, and only who does the CURVE handshake and is on the list."""
        for option, value in (
            (zmq.CURVE_SERVER, 1),
            (zmq.CURVE_SECRETKEY, pair.secret.encode()),
            (zmq.ZAP_DOMAIN, ZAP_DOMAIN),
            (zmq.IPV6, int(self._socket.family == socket.AF_INET6)),
            (zmq.AFFINITY, 1 << thread),  # not the one that serves this machine: handshakes and ciphers take time
            (zmq.TCP_KEEPALIVE, 1),  # a peer whose machine is gone is noticed; one that is suspended is not cut
            (zmq.TCP_KEEPALIVE_IDLE, 30),  # seconds
            (zmq.TCP_KEEPALIVE_INTVL, 10),  # seconds
            (zmq.TCP_KEEPALIVE_CNT, 3),
            (zmq.USE_FD, os.dup(self._socket.fileno())),  # libzmq closes its own
        ):
            router.setsockopt(option, value)
        router.bind(f"tcp://{self.place}")
        router.setsockopt(zmq.USE_FD, -1)

    def shut(self) -> bool:
        """Accept nobody for now; False where the host lets only root filter."""
        if not self.is_shut:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, _program)
            except PermissionError:
                return False
            self.is_shut = True
        return True

    def open(self) -> None:
        """Accept again."""
        if self.is_shut:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
            self.is_shut = False

    def close(self) -> None:
        """Give our descriptor back."""
        self._socket.close()
