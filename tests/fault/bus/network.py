"""A bus that listens on the network of this machine alone, and keys for it."""

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from dadms_ipc.keys import Key, KeyList, entry_of
from dadms_ipc.sockets import new_pair
from tests.integration.bus.daemon import Daemon, await_true

NAMES = ("kernel", "process_manager", "thread_manager", "resource_manager", "orchestrator_registry", "data")


def free_ports(count: int) -> list[int]:
    """Give ports that nobody has just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


class Network:
    """A daemon's doors to the network, and its allow-list."""

    def __init__(self, directory: Path, *, files: int | None = None, more: str = "", **ports: int) -> None:
        free = dict(zip(NAMES, free_ports(len(NAMES)), strict=True)) | ports
        path = directory / "dadms.toml"
        lines = [f"{name}_port = {port}" for name, port in free.items()]
        path.write_text("\n".join(["[network]", "enabled = true", *lines, more]))
        self.ports = free
        self.daemon = Daemon(config=path, files=files)
        self.list = KeyList(self.daemon.directory)
        self.list.prepare()
        self.server = self.list.make_server_pair(new_pair())

    def key(self, name: str, role: str = "operate", *, uid: int = 0, is_allowed: bool = True) -> Key:
        """Make a key."""
        pair = new_pair()
        if is_allowed:
            self.list.add(name, entry_of(pair.public, role, uid))
        return Key(name, self.server.public, pair.public, pair.secret)

    def place(self, name: str = "kernel") -> str:
        """Give the address of a port."""
        return f"tcp://127.0.0.1:{self.ports[name]}"

    def audit(self) -> str:
        """Give the audit file."""
        path = self.daemon.directory / "logs" / "audit.log"
        return path.read_text() if path.exists() else ""

    def __enter__(self) -> Self:
        self.daemon.__enter__()
        await_true(self._listens, "the bus listens")
        return self

    def _listens(self) -> bool:
        try:
            for port in self.ports.values():
                if port:
                    socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        self.daemon.__exit__()
