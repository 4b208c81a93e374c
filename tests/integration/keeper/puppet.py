"""A stand-in for a server: a real process with a real channel to the keeper, whose strings a test holds.

It tells the test (a SEQPACKET socket at $DADMS_PUPPETS, JSON) what it hears from the keeper, and does what the test says. Descriptors that it is given stay
here, under the name of what they came with.
"""

import argparse
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from dadms_ipc import channel as channels
from dadms_ipc.errors import ChannelClosed
from dadmsd.keeper import messages


class Puppet:
    """One stand-in."""

    def __init__(self, name: str, keeper_fd: int) -> None:
        self.held: dict[str, list[int]] = {}
        self.keeper: Any = None
        self.raw: socket.socket | None = None
        if name == "zygote":
            self.raw = channels.adopt(keeper_fd)
        else:
            self.keeper = channels.Channel(channels.adopt(keeper_fd), messages.FromKeeper)
        self.test = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.test.connect(os.environ["DADMS_PUPPETS"])
        self.tell(name=name, pid=os.getpid(), fds=sorted(int(fd) for fd in os.listdir("/proc/self/fd")))  # noqa: PTH208 - numbers, not paths

    def tell(self, **what: Any) -> None:
        self.test.send(json.dumps(what).encode())

    def run(self) -> None:
        """Hear and obey until the keeper or the test is gone."""
        while True:
            sources = [one for one in (self.keeper, self.raw, self.test) if one is not None]
            readable, _, _ = select.select(sources, [], [])
            if self.keeper in readable and self.keeper is not None:
                self.hear()
            if self.raw in readable and self.raw is not None:
                word = self.raw.recv(100)
                if not word:
                    sys.exit(0)
                self.raw.send(b"zygote heard " + word)
            if self.test in readable:
                order = self.test.recv(65536)
                if not order:
                    sys.exit(0)
                self.obey(**json.loads(order))

    def hear(self) -> None:
        """Pass on one message of the keeper."""
        try:
            frame = self.keeper.receive()
        except ChannelClosed:
            sys.exit(0)
        if frame is None:
            return
        fields = {field: getattr(frame.body, field) for field in frame.body.__struct_fields__}
        if frame.fds:
            self.held[str(fields.get("name", fields.get("server")))] = list(frame.fds)
        self.tell(heard=type(frame.body).__name__, fields=fields, fds=len(frame.fds), epoch=frame.epoch)

    def obey(self, do: str, **order: Any) -> None:
        """Do one thing and say that it is done."""
        result = getattr(self, f"do_{do}")(**order)
        self.tell(done=do, result=result)

    def do_say(self, message: str, args: list[Any]) -> None:
        """Say a message of the keeper's vocabulary."""
        self.keeper.send(getattr(messages, message)(*args))

    def do_store(self, name: str, pipes: int = 1) -> None:
        """Store pipes, read end, write end and so on; copies stay here under the same name."""
        fds = [fd for _ in range(pipes) for fd in os.pipe()]
        self.keeper.send(messages.Store(name), fds)
        self.held[name] = fds

    def do_store_then_die(self, name: str) -> None:
        """Die before the keeper can have read the message."""
        os.kill(os.getppid(), signal.SIGSTOP)
        self.do_store(name)
        os.kill(os.getpid(), signal.SIGKILL)

    def do_number_of(self, name: str, index: int = 1) -> int:
        """Give the number of a descriptor, for /proc/PID/fd."""
        return self.held[name][index]

    def do_let_go(self, name: str) -> None:
        """Close the descriptors that are held under a name."""
        for fd in self.held.pop(name):
            os.close(fd)

    def do_store_many(self, first: int, count: int, prefix: str = "v1/port/") -> int:
        """Store ``count`` entries as fast as the keeper takes them."""
        fds = os.pipe()
        for number in range(first, first + count):
            while not self.keeper.flush():
                select.select([], [self.keeper], [])
            self.keeper.send(messages.Store(f"{prefix}{number}"), fds)
        while not self.keeper.flush():
            select.select([], [self.keeper], [])
        for fd in fds:
            os.close(fd)
        return count

    def do_store_pair(self, name: str) -> None:
        """Store one end of a socket pair, and keep the other as ``NAME/far``."""
        near, far = channels.pair()
        self.keeper.send(messages.Store(name), [near.fileno()])
        near.close()
        self.held[f"{name}/far"] = [far.detach()]

    def do_write(self, name: str, text: str, index: int = 0) -> int:
        return os.write(self.held[name][index], text.encode())

    def do_read(self, name: str, index: int = 0) -> str:
        fd = self.held[name][index]
        if not select.select([fd], [], [], 10.0)[0]:
            return "(nothing came in 10 s)"
        return os.read(fd, 65536).decode()

    def do_raw(self, packet: str) -> None:
        """Send bytes that may be anything."""
        os.write(self.keeper.fileno(), bytes.fromhex(packet))

    def do_pause(self, seconds: float) -> None:
        """Let time pass, which is what is tested."""
        time.sleep(seconds)

    def do_exit(self, code: int) -> None:
        os._exit(code)

    def do_close(self) -> None:
        """Close the channel and live on."""
        self.keeper.close()
        self.keeper = None

    def do_ignore(self, signal_name: str) -> None:
        signal.signal(signal.Signals[signal_name], signal.SIG_IGN)

    def do_orphan(self, code: int, sleep: float = 0.0) -> int:
        """Leave a grandchild behind, which ends with ``code``; gives its pid."""
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.setsid()
            grandchild = os.fork()
            if grandchild:
                os.write(write_end, str(grandchild).encode())
                os._exit(0)
            os.closerange(3, 1000)  # it must not look like a living server
            time.sleep(sleep)
            os._exit(code)
        os.waitpid(child, 0)
        pid = int(os.read(read_end, 20))
        os.close(read_end)
        os.close(write_end)
        return pid

    def do_orphans(self, count: int) -> None:
        """Leave many grandchildren behind, which end at once with codes 0, 1, 2 … 99 and again."""
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in range(count):
                if os.fork() == 0:
                    os._exit(number % 100)
            os._exit(0)
        os.waitpid(child, 0)


def main() -> None:
    """Play a part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--keeper-fd", type=int, required=True)
    options = parser.parse_args()
    Puppet(options.name, options.keeper_fd).run()


if __name__ == "__main__":
    main()
