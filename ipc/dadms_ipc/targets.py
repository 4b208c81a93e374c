"""Where a daemon is, as a client sees it: a runtime directory of this machine, or a host with a key.

A client names one place. That there are two doors, and at which port the second is, the daemon tells in its WELCOME.
"""

import os
import re
import socket
from pathlib import Path

from dadms_ipc import paths, presence
from dadms_ipc.envelope import Door
from dadms_ipc.errors import HostFailure, RequestRefused, Unreachable
from dadms_ipc.keys import Key, read_key

SOCKETS = {Door.CONTROL: paths.CONTROL_SOCKET, Door.DATA: paths.DATA_SOCKET}
PATH_LIMIT = 107  # bytes of a unix socket's path (unix(7)), the final NUL taken off
LOOK_SECONDS = 1.0  # for a connection, after all the time that a daemon had to speak
KERNEL_PORT = 3017  # that DADMS allocates to the kernel
_PLACE = re.compile(r"(?:tcp://)?(\[[0-9A-Fa-f:.%a-z]+\]|[^\s:/\[\]]+)(?::(\d{1,5}))?")


class Local:
    """A daemon of this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        longest = len(os.fsencode(directory / SOCKETS[Door.CONTROL]))
        if longest > PATH_LIMIT:
            raise HostFailure(
                f"cannot reach a daemon on {directory}: the path of its socket has {longest} bytes, at most {PATH_LIMIT} work"
            )

    def path(self, door: Door) -> str:
        """Give the path of a door's socket."""
        return str(self.directory / SOCKETS[door])

    def is_bound(self, door: Door) -> bool:
        """Tell whether the door's socket exists; whether anybody listens is another question. Raises RequestRefused where nobody lets us look."""
        try:
            return (self.directory / SOCKETS[door]).exists()
        except PermissionError as error:
            raise RequestRefused(f"cannot reach a daemon on {self.directory}: its directory is closed to uid {os.geteuid()}") from error

    def unreachable(self, seconds: float, diagnosis: str = "") -> Unreachable:  # noqa: ARG002 - a directory shows all there is to see
        """Give the error for a daemon that does not answer."""
        name = SOCKETS[Door.CONTROL]
        if not self.is_bound(Door.CONTROL):
            return Unreachable(f'cannot reach a daemon on "{self.directory}": {name} is missing')
        return Unreachable(f'cannot reach a daemon on "{self.directory}": {name} is there, but nobody spoke in {seconds:g} s')

    def check(self) -> None:
        """Find nothing wrong with a path."""

    def diagnosis(self) -> str:
        """Give what can be seen from here of a daemon that does not answer."""
        return ""

    def is_gone(self) -> bool:
        """Tell whether nobody keeps a daemon here any more; one whose bus is being restarted is kept."""
        return not presence.is_listening(self.directory / SOCKETS[Door.CONTROL]) and not presence.lock_holders(self.directory)

    def gone(self) -> Unreachable:
        """Give the error for a daemon that ended while its answer was waited for."""
        return Unreachable(f'cannot go on: the daemon on "{self.directory}" has ended: nobody listens there, and nobody holds its lock')

    def denied(self) -> RequestRefused:
        """Give the error for who is not let in; a socket of this machine is never closed without a word."""
        return RequestRefused(f"cannot speak with a daemon on {self}")

    def __str__(self) -> str:
        return str(self.directory)


class Remote:
    """A daemon behind a network."""

    def __init__(self, host: str, port: int, key: Key) -> None:
        self.host, self.port, self.key = host, port, key

    def endpoint(self, door: Door, ports: dict[str, int]) -> str:
        """Give the address of a door; raises RequestRefused when the daemon has none for data on its network."""
        port = self.port if door == Door.CONTROL else ports.get("data", 0)
        if not port:
            raise RequestRefused(f"cannot send or receive messages at {self}: its data door is not open to the network")
        return f"tcp://{self.host}:{port}"

    def is_bound(self, door: Door) -> bool:  # noqa: ARG002 - nothing can be seen from here
        """Tell that there is no telling without trying."""
        return True

    def unreachable(self, seconds: float, diagnosis: str = "") -> Unreachable:
        """Give the error for a daemon that does not answer, with what ``diagnosis`` has seen."""
        why = diagnosis or "it may listen elsewhere, or have another key than the one in yours"
        return Unreachable(f"cannot reach a daemon at {self}: nobody spoke in {seconds:g} s; {why}")

    def check(self) -> None:
        """Have the name resolved, which may take as long as the system lets it; raises Unreachable where nobody has it."""
        try:
            socket.getaddrinfo(self.host.strip("[]"), self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unreachable(f'cannot reach a daemon at {self}: the name "{self.host}" cannot be resolved: {error.strerror}') from error

    def diagnosis(self) -> str:
        """Try the port itself, for up to a second, and say what can be seen of it."""
        try:
            with socket.create_connection((self.host.strip("[]"), self.port), LOOK_SECONDS):
                return "something listens there; it may be no daemon, or have another key than the one in yours"
        except TimeoutError:
            return f"no connection came about in {LOOK_SECONDS:g} s either; something between here and there may drop it"
        except OSError as error:
            return f"nobody can be connected with there: {error.strerror}"

    def is_gone(self) -> bool:
        """Tell that there is no telling: a network that is silent may speak again."""
        return False

    def gone(self) -> Unreachable:
        """Give the error for a daemon that is gone."""
        return self.unreachable(0.0)

    def denied(self) -> RequestRefused:
        """Give the error for a key that is not let in."""
        return RequestRefused(f'cannot speak with {self}: the key "{self.key.name}" is not, or no longer, on its list')

    def __str__(self) -> str:
        return f"tcp://{self.host}:{self.port}"


Target = Local | Remote


def find(place: "str | Path | None", key: "str | Path | Key | None" = None) -> Target:
    """Give the daemon that is meant: a directory, ``tcp://HOST[:PORT]``, or what the environment says (``DADMS_HOST`` and ``DADMS_KEY``, else paths.py)."""
    if place is None and (named := os.environ.get("DADMS_HOST")):
        place = named if named.startswith("tcp://") else f"tcp://{named}"
    if not isinstance(place, str) or not place.startswith("tcp://"):
        if key is not None:
            raise RequestRefused(
                "cannot use a key for a daemon of this machine: the system tells it who you are; a key goes with tcp://HOST"
            )
        return Local(Path(place) if place is not None else paths.runtime_dir())
    found = _PLACE.fullmatch(place)
    port = int(found[2] or KERNEL_PORT) if found is not None else 0
    if found is None or not 0 < port < 65536:
        raise RequestRefused(f'cannot reach "{place}": a daemon behind a network is tcp://HOST or tcp://HOST:PORT')
    key = key if key is not None else os.environ.get("DADMS_KEY")
    if not key:
        raise RequestRefused(f'cannot reach "{place}" without a key: --key FILE, or DADMS_KEY; "dadmsctl keys new" at the daemon makes one')
    return Remote(found[1], port, key if isinstance(key, Key) else read_key(Path(key)))
