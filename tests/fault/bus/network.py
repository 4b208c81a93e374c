"""A bus that listens on the network of this machine alone, and keys for it."""

from pathlib import Path
from typing import Self

from dadms_ipc.keys import Key, KeyList, entry_of
from dadms_ipc.sockets import new_pair
from tests.integration.bus.daemon import Daemon, await_true
from tests.ports import Ports, listening

NAMES = ("kernel", "process_manager", "thread_manager", "resource_manager", "orchestrator_registry", "data")


class Network:
    """A daemon's doors to the network, and its allow-list."""

    def __init__(self, directory: Path, *, files: int | None = None, more: str = "", **ports: int) -> None:
        self._held = Ports(len(NAMES))
        free = dict(zip(NAMES, self._held.numbers, strict=True)) | ports
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
        bus = self.daemon.bus
        assert bus is not None
        assert bus.poll() is None, f"the bus ended with {bus.returncode}: {self.daemon.text()}"
        return listening(bus.pid) >= {port for port in self.ports.values() if port}

    def __exit__(self, *_: object) -> None:
        self.daemon.__exit__()
        self._held.close()
