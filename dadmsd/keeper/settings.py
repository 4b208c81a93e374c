"""What a daemon is started with, once everything in it has been checked."""

from pathlib import Path

import msgspec

from dadmsd.keeper.servers import ServerCommand


class Settings(msgspec.Struct, frozen=True):
    """Paths, the servers' commands, and how the daemon lives and ends."""

    runtime_dir: Path
    state_dir: Path
    commands: tuple[ServerCommand, ...]
    config: str | None = None  # path of the checked copy
    config_dir: str = ""
    config_source: Path | None = None  # the original, which is read again when somebody asks for it
    lease_fd: int | None = None  # a private daemon lives until it reads as ended
    stop_timeout: float = 30.0  # seconds
    environment: dict[str, str] = {}  # of the servers

    @property
    def is_private(self) -> bool:
        """Tell whether the daemon belongs to one ``dadmsctl run``."""
        return self.lease_fd is not None
