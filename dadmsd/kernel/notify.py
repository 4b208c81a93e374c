"""Where a process says how it is: a datagram socket of its incarnation, in the manner of sd_notify(3).

1. The socket outlives kernels (the keeper stores it), so what is said while none is there is read by the next one. Its path is in NOTIFY_SOCKET of the process.
2. Who speaks is known by the credentials that the host attaches (unix(7), SO_PASSCRED): the main itself, or whoever is in its process's group at the moment of reading. Anybody else
   is refused, and told of once for each reading.
3. Descriptors that come along are closed at once: that answers BARRIER=1, which waits for it, and stores nothing (a process's descriptors are its own affair).
"""

import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from dadms_ipc.errors import HostFailure
from dadmsd.kernel.core import events

DATAGRAMS_A_TURN = 64  # of one process, so that one cannot keep the others waiting
SIZE_MOST = 4096  # bytes of a datagram; what is longer is cut, and its last line with it
FDS_MOST = 16
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid
_ANCILLARY = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(FDS_MOST * 4)


def path_of(runtime_dir: str, name: str) -> Path:
    """Give the path of the socket of an incarnation ("1001.1")."""
    return Path(runtime_dir, "notify", name)


def remove_strays(runtime_dir: str, known: set[str]) -> None:
    """Remove the sockets of nobody, which a daemon left that was killed; and their directory when nothing is in it."""
    directory = path_of(runtime_dir, "any").parent
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            if path.name not in known:
                path.unlink()
        directory.rmdir()


class Notify:
    """The socket of one incarnation."""

    def __init__(self, name: str, sock: socket.socket, path: Path) -> None:
        self.name = name
        self.path = path
        self._socket = sock

    @classmethod
    def make(cls, name: str, runtime_dir: str, *, is_open_to_all: bool) -> "Notify":
        """Make and bind a socket; ``is_open_to_all`` where its process runs as another user. Raises HostFailure."""
        path = path_of(runtime_dir, name)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            path.parent.mkdir(mode=0o711, exist_ok=True)
            path.unlink(missing_ok=True)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            sock.bind(str(path))
            path.chmod(0o666 if is_open_to_all else 0o600)
        except OSError as error:
            sock.close()
            raise HostFailure(f'cannot make the notify socket "{path}": {error.strerror or error}') from error
        return cls(name, sock, path)

    def fileno(self) -> int:
        """Give the descriptor, for a selector and for the keeper's store."""
        return self._socket.fileno()

    def receive(self, is_own: Callable[[str, int], bool]) -> list[events.Event]:
        """Read what was said; ``is_own`` tells whether an OS process belongs to the process of this name."""
        found: list[events.Event] = []
        strangers: set[int] = set()
        for _ in range(DATAGRAMS_A_TURN):
            try:
                text, ancillary, _flags, _sender = self._socket.recvmsg(
                    SIZE_MOST, _ANCILLARY, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
                )
            except OSError:  # nothing more
                break
            os_pid = _credentials_of(ancillary)
            if os_pid and is_own(self.name, os_pid):
                found.append(parse(self.name, text))
            else:
                strangers.add(os_pid)
        return found + [events.NotifyRefused(self.name, os_pid) for os_pid in sorted(strangers)]

    def close(self) -> None:
        """Let go of the socket and its path."""
        self._socket.close()
        with contextlib.suppress(OSError):
            self.path.unlink()


def _credentials_of(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Give the pid of the sender, 0 if it is of no process that can be seen; closes what came along."""
    os_pid = 0
    for level, kind, data in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_CREDENTIALS:
            os_pid = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])[0]
        elif kind == socket.SCM_RIGHTS:
            for (fd,) in struct.iter_unpack("i", data[: len(data) - len(data) % 4]):
                os.close(fd)
    return os_pid


def parse(name: str, text: bytes) -> events.Notified:
    """Read a datagram: a line for each assignment, those that mean nothing here passed over."""
    said = dict(line.partition("=")[::2] for line in text.decode("utf-8", "replace").split("\n") if "=" in line)
    extension = said.get("EXTEND_TIMEOUT_USEC", "")
    return events.Notified(
        name,
        is_ready=said.get("READY") == "1",
        is_alive=said.get("WATCHDOG") == "1",
        is_stopping=said.get("STOPPING") == "1",
        status=said.get("STATUS"),
        extension=int(extension[:15]) / 1e6 if extension.isdecimal() else 0.0,
    )
