"""Ports that are this test's alone, whatever else runs on the machine.

1. None is of the range from which the system takes the local ports of outgoing connections (ip(7), ip_local_port_range): such a port may be taken between the moment at which it
   was found free and the one at which it is bound.
2. Who has one holds an abstract unix socket with its number in the name: other suites that ask here pass it over, and it is free again when its holder has ended, however that was.
"""

import contextlib
import random
import socket
from contextlib import ExitStack
from pathlib import Path

FIRST, LAST = 20_000, 32_000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Ports(ExitStack):
    """So many ports, until the end of the ``with`` statement."""

    def __init__(self, count: int) -> None:
        super().__init__()
        low, high = map(int, EPHEMERAL.read_text().split())
        mine = [port for port in range(FIRST, LAST) if not low <= port <= high]
        start = random.SystemRandom().randrange(len(mine))
        self.numbers: list[int] = []
        for port in mine[start:] + mine[:start]:
            if len(self.numbers) == count:
                break
            if self._take(port):
                self.numbers.append(port)
        assert len(self.numbers) == count, f"no {count} free ports from {FIRST} to {LAST}"

    def _take(self, port: int) -> bool:
        with contextlib.ExitStack() as held:
            try:
                sign = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
                sign.bind(f"\0dadms test port {port}")
                with socket.socket() as trial:
                    trial.bind(("127.0.0.1", port))
            except OSError:
                return False
            self.push(held.pop_all())
        return True


def listening(os_pid: int) -> set[int]:
    """Give the tcp ports on which an OS process listens, without a word to it: a connection would be one more in its books."""
    inodes = {
        line.split()[9]: int(line.split()[1].rpartition(":")[2], 16)
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{os_pid}/net/{name}").read_text().splitlines()[1:]
        if line.split()[3] == "0A"  # TCP_LISTEN
    }
    found = set()
    for fd in Path(f"/proc/{os_pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            inode = str(fd.readlink()).removeprefix("socket:[").removesuffix("]")
            if inode in inodes:
                found.add(inodes[inode])
    return found
