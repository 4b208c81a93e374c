"""Who is at the other end of a connection, as the operating system or the handshake told: asked once, of its first message.

Over a unix socket that is SO_PEERCRED (through libzmq's ``Peer-Address``, "localhost:UID:GID:PID") and SO_PEERGROUPS: what the process was when it connected,
whatever its pid is used for later. Over tcp it is the key whose secret the CURVE handshake proved (``User-Id``, which our own answer to ZAP gave), and the address.
"""

import os
import socket
import struct
from pathlib import Path
from typing import NamedTuple

import zmq

from dadmsd.bus.core.events import NOBODY, Who

SO_PEERGROUPS = 59  # asm-generic/socket.h, Linux 4.13
GROUPS_BYTES = 1024  # of one answer, the most that Python takes: 256 groups
GID = struct.Struct("I")
PF_EXITING = 0x4  # of a task's flags: it is in do_exit (include/linux/sched.h)


class Origin(NamedTuple):
    """Where a connection comes from, and the descriptor that libzmq has for it."""

    who: Who
    fd: int  # libzmq's own
    inode: int  # of that descriptor: tells whether it is still the same socket


UNKNOWN = Origin(NOBODY, -1, -1)


def origin_of(frame: zmq.Frame) -> Origin:
    """Read who sent a frame."""
    try:
        address = str(frame.get("Peer-Address"))
        descriptor = int(frame.get(zmq.SRCFD))
    except (zmq.ZMQError, ValueError):
        return UNKNOWN
    key, _, public = _user_id(frame).partition(" ")
    if key:
        return _held(Who(-1, -1, (), key, public, address), descriptor)
    try:
        _, uid, gid, pid = address.split(":")
        who = Who(int(uid), int(pid), (int(gid),))
    except ValueError:
        return UNKNOWN
    return _held(who._replace(gids=(*who.gids, *_groups(descriptor))), descriptor)


def _user_id(frame: zmq.Frame) -> str:
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""


def inode_of(descriptor: int) -> int:
    """Tell which socket has a descriptor of libzmq's; -1: none has."""
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return -1


def _held(who: Who, descriptor: int) -> Origin:
    inode = inode_of(descriptor)
    return (
        Origin(who, descriptor, inode) if inode >= 0 else Origin(who, -1, -1)
    )  # closed already: who it was is known, there is nothing to cut


def _groups(descriptor: int) -> tuple[int, ...]:
    """Give the supplementary groups of the process that connected; none when they cannot be told."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as duplicate:
            found = duplicate.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, GROUPS_BYTES)
    except OSError:  # closed already, or a member of more groups than fit: then only its first group counts
        return ()
    return tuple(gid for (gid,) in GID.iter_unpack(found))


def is_dead(who: Who) -> bool:
    """Tell whether the process that connected has ended or is about to: it closes its sockets some time before it is a zombie.

    One whose number another has by now counts as alive, as does whoever came over a network.
    """
    if who.is_remote or who.pid <= 0:
        return False
    try:
        fields = Path("/proc", str(who.pid), "stat").read_bytes().rpartition(b")")[2].split()  # proc_pid_stat(5), from the third on
        return fields[0] in (b"Z", b"X") or bool(int(fields[6]) & PF_EXITING)
    except FileNotFoundError:
        return True
    except (OSError, IndexError, ValueError):
        return False


def shut_down(origin: Origin) -> None:
    """Shut a connection's descriptor down, unless it is somebody else's by now."""
    try:
        duplicate = socket.socket(fileno=os.dup(origin.fd))
    except OSError:
        return  # closed already
    with duplicate:
        try:
            if os.fstat(duplicate.fileno()).st_ino == origin.inode:
                duplicate.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # gone in the meantime
