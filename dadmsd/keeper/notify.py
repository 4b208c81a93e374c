"""What the keeper tells systemd (sd_notify(3)): ready, stopping, still alive. Without a NOTIFY_SOCKET, nothing."""

import os
import socket


class Notify:
    """The service manager's socket, as the environment names it."""

    def __init__(self, environment: dict[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) if address else None
        self.interval = (
            _watchdog_interval(environment) if address else None
        )  # seconds between two signs of life; None: nobody waits for them

    def tell(self, *states: str) -> None:
        """Send states such as ``READY=1``; a manager that does not listen is no reason to stop."""
        if self._socket is not None:
            try:
                self._socket.sendto("\n".join(states).encode(), self._address)
            except OSError:
                return

    def close(self) -> None:
        """Let go of the manager."""
        if self._socket is not None:
            self._socket.close()


def _watchdog_interval(environment: dict[str, str]) -> float | None:
    """Give half of WATCHDOG_USEC, when it is meant for this process (WATCHDOG_PID)."""
    usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 2_000_000
